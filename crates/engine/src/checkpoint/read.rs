//! Reading a checkpoint: one pass, one buffer, everything verified.
//!
//! Invariants: memory is one buffer of 1 MiB or the largest block, and eight blocks on their way to
//! the builder, whatever the file claims; a row is
//! handed on only after the checksum of its block; a summary is given only when header, blocks,
//! counts, order, footer and state hash agree and nothing follows. Damage is an answer, never a
//! panic; a disk that refuses a read is an I/O error, never damage.

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

use rekindle_env::ReadFile;

use super::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER, BLOCK_MAGIC, FOOTER_BYTES, FOOTER_MAGIC, Footer,
    HEADER_BYTES_MIN, Header, Mismatch, mismatch, part_crc, seed,
};
use crate::memory::{Bulk, MemoryEngine};
use crate::row::{EncodedRow, StateHash, decode, field};

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// From this length on a second thread pays.
const TWO_THREADS_BYTES: u64 = 4 << 20;

/// Verified blocks that wait for the builder: half a MiB.
const BLOCKS_AHEAD: usize = 8;

/// Which place of a checkpoint is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in the file.
    pub offset: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk refused.
    #[error("reading at offset {offset}: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("damaged at offset {}: expected {}, found {}", .0.offset, .0.expected, .0.found)]
    Damaged(Damage),
    /// It is whole, but of a format or with features that this program does not know.
    #[error("too new: expected {}, found {}", .0.expected, .0.found)]
    TooNew(Damage),
}

/// What a verified checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its header.
    pub header: Header,
    /// Its footer.
    pub footer: Footer,
}

/// Verifies every byte of checkpoint `id` of a store; keeps nothing.
pub fn check(file: &dyn ReadFile, store_id: &[u8; 16], id: u64) -> Result<Summary, ReadError> {
    visit_rows(file, store_id, id, |_| {})
}

/// The same; `row` is handed each row, which counts only when the whole is verified.
pub(super) fn visit_rows(
    file: &dyn ReadFile,
    store_id: &[u8; 16],
    id: u64,
    mut row: impl FnMut(&EncodedRow<'_>),
) -> Result<Summary, ReadError> {
    let mut order = Order::default();
    let summary = read(file, store_id, id, |block| order.visit(&block, &mut row))?;
    order.check_versions(&summary)?;
    Ok(summary)
}

/// The same, and builds the engine on the way; a checkpoint whose rows are elsewhere is refused.
pub fn load(
    file: &dyn ReadFile,
    store_id: &[u8; 16],
    id: u64,
) -> Result<(Summary, MemoryEngine), ReadError> {
    let mut order = Order::default();
    let mut bulk = Bulk::new();
    let len = file.len().map_err(|source| ReadError::Io { offset: 0, source })?;
    let summary = if len < TWO_THREADS_BYTES {
        read(file, store_id, id, |block| order.visit(&block, |row| bulk.push(row)))?
    } else {
        read_ahead(file, store_id, id, |block| order.visit(&block, |row| bulk.push(row)))?
    };
    order.check_versions(&summary)?;
    if summary.header.elsewhere {
        return Err(ReadError::Damaged(Damage {
            offset: 12,
            expected: "rows".to_owned(),
            found: "that they are in the files of the engine".to_owned(),
        }));
    }
    let engine = bulk.finish(summary.header.mark, summary.footer.rows);
    Ok((summary, engine))
}

/// Like [`read`], with reading and checksums on a thread of their own: they and the building of
/// rows take about as long as each other.
fn read_ahead(
    file: &dyn ReadFile,
    store_id: &[u8; 16],
    id: u64,
    mut visit: impl FnMut(Block<'_>) -> Result<(), Damage>,
) -> Result<Summary, ReadError> {
    let (sender, receiver) = sync_channel::<(u64, u32, Vec<u8>)>(BLOCKS_AHEAD);
    thread::scope(|scope| {
        let reading = move || {
            read(file, store_id, id, |block| {
                let sent = sender.send((block.offset, block.rows, block.content.to_vec()));
                // The visitor's damage is the answer then; this one only ends the reading.
                sent.map_err(|_| Damage {
                    offset: block.offset,
                    expected: String::new(),
                    found: String::new(),
                })
            })
        };
        let reader = thread::Builder::new().name("checkpoint-read".to_owned());
        let reader = reader.spawn_scoped(scope, reading);
        let reader = reader.map_err(|source| ReadError::Io { offset: 0, source })?;
        for (offset, rows, content) in receiver {
            visit(Block { offset, rows, content: &content }).map_err(ReadError::Damaged)?;
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Verifies header and footer only: enough to notice a missing, empty or shortened file.
pub(crate) fn surface(
    file: &dyn ReadFile,
    store_id: &[u8; 16],
    id: u64,
) -> Result<Summary, ReadError> {
    let mut input = Input::open(file)?;
    let header = input.header(store_id, id)?;
    let at = input.len.saturating_sub(FOOTER_BYTES as u64);
    if at < input.position() {
        return Err(input.damaged(input.position(), mismatch("a footer", "the end of the file")));
    }
    input.seek(at);
    let footer = input.footer(seed(store_id, id))?;
    input.check_footer(&header, &footer, at)?;
    Ok(Summary { header, footer })
}

/// A block whose checksum fits.
struct Block<'a> {
    /// Offset of the block in the file.
    offset: u64,
    rows: u32,
    content: &'a [u8],
}

fn read(
    file: &dyn ReadFile,
    store_id: &[u8; 16],
    id: u64,
    mut visit: impl FnMut(Block<'_>) -> Result<(), Damage>,
) -> Result<Summary, ReadError> {
    let mut input = Input::open(file)?;
    let header = input.header(store_id, id)?;
    let blocks_at = input.position();
    let seed = seed(store_id, id);
    let mut counted = Footer::default();
    let mut hash = StateHash::default();
    loop {
        let offset = input.position();
        if input.need(4)?.is_some_and(|magic| *magic == FOOTER_MAGIC) {
            let footer = input.footer(seed)?;
            input.check_footer(&header, &footer, offset)?;
            let seen = counted.content_bytes + counted.blocks * BLOCK_HEADER as u64;
            assert_eq!(offset - blocks_at, seen, "no byte between header and footer is skipped");
            counted.state_hash = hash.digest();
            input.check_counts(&counted, &footer, offset)?;
            return Ok(Summary { header, footer });
        }
        let (content, rows) = input.block(seed, counted.blocks)?;
        hash.update(content);
        visit(Block { offset, rows, content }).map_err(ReadError::Damaged)?;
        let len = content.len();
        counted.blocks += 1;
        counted.rows += u64::from(rows);
        counted.content_bytes += len as u64;
        input.skip(BLOCK_HEADER + len);
    }
}

/// Checks that rows ascend over all blocks, and their versions.
#[derive(Default)]
struct Order {
    version_max: u64,
    /// Keyspace and key of the last row, for the first of the next block.
    last: Option<(u16, Vec<u8>)>,
}

impl Order {
    /// Hands on the rows of a block.
    fn visit(
        &mut self,
        block: &Block<'_>,
        mut row: impl FnMut(&EncodedRow<'_>),
    ) -> Result<(), Damage> {
        let wrong = |expected: &str, found: String| {
            let expected = expected.to_owned();
            Err(Damage { offset: block.offset, expected, found })
        };
        let mut content = block.content;
        let mut rows = 0_u64;
        let carried = self.last.take();
        let mut last = carried.as_ref().map(|(keyspace, key)| (*keyspace, key.as_slice()));
        while !content.is_empty() {
            let Some((next, rest)) = decode(content) else {
                return wrong("a whole row", format!("a cut one behind {rows} rows"));
            };
            if last.is_some_and(|last| last >= (next.keyspace, next.key)) {
                return wrong("rows in ascending order", format!("row {rows} does not ascend"));
            }
            if next.version == 0 {
                return wrong("versions from 1", format!("row {rows} has version 0"));
            }
            row(&next);
            rows += 1;
            self.version_max = self.version_max.max(next.version);
            last = Some((next.keyspace, next.key));
            content = rest;
        }
        self.last = last.map(|(keyspace, key)| (keyspace, key.to_vec()));
        if rows == u64::from(block.rows) {
            return Ok(());
        }
        wrong(&format!("{} rows", block.rows), format!("{rows} rows"))
    }

    /// No row is newer than the checkpoint.
    fn check_versions(&self, summary: &Summary) -> Result<(), ReadError> {
        let version = summary.header.mark.version;
        if self.version_max <= version {
            return Ok(());
        }
        let expected = format!("versions up to {version}");
        let found = format!("version {}", self.version_max);
        Err(ReadError::Damaged(Damage { offset: 72, expected, found }))
    }
}

/// A window that moves over the file.
struct Input<'a> {
    file: &'a dyn ReadFile,
    len: u64,
    /// File offset of the window.
    offset: u64,
    buffer: Vec<u8>,
    /// Read bytes of the window.
    filled: usize,
    /// Consumed bytes of the window.
    used: usize,
}

impl<'a> Input<'a> {
    fn open(file: &'a dyn ReadFile) -> Result<Self, ReadError> {
        let len = file.len().map_err(|source| ReadError::Io { offset: 0, source })?;
        Ok(Self { file, len, offset: 0, buffer: Vec::new(), filled: 0, used: 0 })
    }

    fn position(&self) -> u64 {
        self.offset + self.used as u64
    }

    fn seek(&mut self, offset: u64) {
        *self =
            Self { file: self.file, len: self.len, offset, buffer: Vec::new(), filled: 0, used: 0 };
    }

    fn skip(&mut self, bytes: usize) {
        self.used += bytes;
        assert!(self.used <= self.filled, "only bytes that were seen are skipped");
    }

    fn damaged(&self, offset: u64, wrong: Mismatch) -> ReadError {
        let Mismatch { expected, found, newer } = wrong;
        let damage = Damage { offset, expected, found };
        if newer { ReadError::TooNew(damage) } else { ReadError::Damaged(damage) }
    }

    /// The next `bytes` bytes, not consumed; `None` when the file ends before. The length is held
    /// against the rest of the file before the buffer grows.
    fn need(&mut self, bytes: usize) -> Result<Option<&[u8]>, ReadError> {
        if bytes as u64 > self.len.saturating_sub(self.position()) {
            return Ok(None);
        }
        if self.filled - self.used < bytes {
            self.refill(bytes)?;
        }
        Ok(self.buffer.get(self.used..self.filled).and_then(|rest| rest.get(..bytes)))
    }

    fn refill(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.offset = self.position();
        self.buffer.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        let rest = usize::try_from(self.len - self.offset).unwrap_or(usize::MAX);
        let wanted = bytes.max(READ_BYTES.min(rest));
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let offset = self.offset + self.filled as u64;
        let read = self.file.read_at(room, offset);
        self.filled += read.map_err(|source| ReadError::Io { offset, source })?;
        assert!(self.filled <= self.buffer.len(), "a read gives no more than was asked for");
        Ok(())
    }

    fn header(&mut self, store_id: &[u8; 16], id: u64) -> Result<Header, ReadError> {
        let cut = |len: u64| mismatch("a whole header", format!("a file of {len} B"));
        let len = self.len;
        let Some(first) = self.need(HEADER_BYTES_MIN)? else {
            return Err(self.damaged(0, cut(len)));
        };
        let peeked = Header::peek_len(first);
        let header_len = peeked.map_err(|wrong| self.damaged(0, wrong))?;
        let Some(bytes) = self.need(header_len)? else {
            return Err(self.damaged(0, cut(len)));
        };
        let decoded = Header::decode(bytes);
        let header = decoded.map_err(|wrong| self.damaged(0, wrong))?;
        if header.store_id != *store_id {
            let hex = |id: &[u8; 16]| format!("store {:032x}", u128::from_be_bytes(*id));
            return Err(self.damaged(24, mismatch(hex(store_id), hex(&header.store_id))));
        }
        if header.id != id {
            let name = |id: u64| format!("checkpoint {id:016x}");
            return Err(self.damaged(40, mismatch(name(id), name(header.id))));
        }
        self.skip(header_len);
        Ok(header)
    }

    /// The content of the next block, verified, not consumed.
    fn block(&mut self, seed: u32, number: u64) -> Result<(&[u8], u32), ReadError> {
        let at = self.position();
        let Some(head) = self.need(BLOCK_HEADER)? else {
            return Err(self.damaged(at, mismatch("a block or the footer", "the end of the file")));
        };
        let magic = field::<4>(head, 0);
        let stored = field(head, 4).map_or(0, u32::from_le_bytes);
        let len = field(head, 8).map_or(0, u32::from_le_bytes);
        let rows = field(head, 12).map_or(0, u32::from_le_bytes);
        if magic != Some(BLOCK_MAGIC) {
            return Err(self.damaged(at, mismatch("a block or the footer", "other bytes")));
        }
        let fits = usize::try_from(len).ok().filter(|len| (1..=BLOCK_BYTES_MAX).contains(len));
        let Some(len) = fits else {
            let expected = format!("a block of 1 to {BLOCK_BYTES_MAX} B");
            return Err(self.damaged(at, mismatch(expected, format!("{len} B"))));
        };
        if self.need(BLOCK_HEADER + len)?.is_none() {
            let expected = format!("a block of {len} B");
            return Err(self.damaged(at, mismatch(expected, "the end of the file")));
        }
        let block = self.buffer.get(self.used..).and_then(|rest| rest.get(..BLOCK_HEADER + len));
        let covered = block.and_then(|block| block.get(8..)).unwrap_or_default();
        let computed = part_crc(seed, number, covered);
        if computed != stored {
            let wrong = mismatch(format!("crc {stored:08x}"), format!("crc {computed:08x}"));
            return Err(self.damaged(at, wrong));
        }
        let content = self.buffer.get(self.used + BLOCK_HEADER..).unwrap_or_default();
        Ok((content.get(..len).unwrap_or_default(), rows))
    }

    fn footer(&mut self, seed: u32) -> Result<Footer, ReadError> {
        let at = self.position();
        let decoded = match self.need(FOOTER_BYTES)? {
            Some(bytes) => Footer::decode(bytes, seed),
            None => Err(mismatch("a footer of 80 B", "the end of the file")),
        };
        decoded.map_err(|wrong| self.damaged(at, wrong))
    }

    /// Holds the footer against the header and the file.
    fn check_footer(&self, header: &Header, footer: &Footer, at: u64) -> Result<(), ReadError> {
        let expected = (header.mark.version, header.mark.position, self.len);
        let found = (footer.version, footer.position, footer.file_len);
        if expected != found || at + FOOTER_BYTES as u64 != self.len {
            let text = |(version, position, len): (u64, u64, u64)| {
                format!("version {version}, position {position}, {len} B")
            };
            return Err(self.damaged(at, mismatch(text(expected), text(found))));
        }
        if header.elsewhere && !header.derived && footer.blocks > 0 {
            let found = format!("{} blocks", footer.blocks);
            return Err(self.damaged(at, mismatch("no block, the rows are elsewhere", found)));
        }
        Ok(())
    }

    /// Holds the footer against what was read.
    fn check_counts(&self, read: &Footer, footer: &Footer, at: u64) -> Result<(), ReadError> {
        let text = |footer: &Footer| {
            let Footer { blocks, rows, content_bytes, state_hash, .. } = footer;
            format!("{blocks} blocks, {rows} rows, {content_bytes} B, hash {state_hash:032x}")
        };
        let (expected, found) = (text(footer), text(read));
        if expected == found {
            return Ok(());
        }
        Err(self.damaged(at, mismatch(expected, found)))
    }
}
