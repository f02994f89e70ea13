//! Writing a checkpoint while writers go on.
//!
//! Invariants: what is written is exactly the frozen view, and nothing above durable; a file has
//! its final name only after its content was synced; an error or a crash leaves at most a `.tmp`,
//! or a file that nothing names yet.

use std::io;
use std::path::Path;

use rekindle_env::{Disk, WriteFile, durable};

use super::derived::{Derived, DerivedRows};
use super::folder::{file_name, temporary_name};
use super::format::{
    BLOCK_BYTES, BLOCK_BYTES_MAX, BLOCK_HEADER, BLOCK_MAGIC, FOOTER_BYTES, Footer,
    HEADER_BYTES_MIN, Header, part_crc, seed,
};
use crate::api::{EngineError, Mark};
use crate::memory::{Frozen, RowCursor};
use crate::row::{ROW_HEADER, StateHash, put};

/// Of a state that may be larger than memory, a sync each so many bytes, so that none of them has
/// much to do: the disk's other writers wait for it.
const SYNC_BYTES: u64 = 8 << 20;

/// Blocks are handed to the disk in pieces of about this size.
const WRITE_BYTES: usize = 1 << 20;

/// What a checkpoint says beside the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its id: above every id ever used in this folder.
    pub id: u64,
    /// The store.
    pub store_id: [u8; 16],
    /// Where replay must begin: the oldest open Begin, or position + 1.
    pub replay_from: u64,
    /// The store's feature level.
    pub feature_level: u32,
    /// Cluster membership; empty on a single node.
    pub membership: Vec<u8>,
}

/// A checkpoint that lasts and may be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What its header says.
    pub header: Header,
    /// What its footer says.
    pub footer: Footer,
}

/// Why there is no checkpoint; the ones before it are untouched.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk refused. Use another id for the next attempt.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The engine could not read its rows.
    #[error("reading the state: {0}")]
    Rows(#[from] EngineError),
    /// The caller stopped it.
    #[error("the checkpoint was stopped before it was complete")]
    Stopped,
}

/// Rows at one mark, ascending, in the encoding of a block.
pub trait RowStream {
    /// Where the state that they are of stands.
    fn mark(&self) -> Mark;

    /// Appends rows until `out` grew by `bytes` or more, or no row is left; 0 only at the end.
    fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<u32, EngineError>;
}

/// The rows of a frozen view.
#[derive(Debug)]
pub struct FrozenRows<'a> {
    frozen: &'a Frozen<'a>,
    cursor: RowCursor,
}

impl Frozen<'_> {
    /// Its rows, from the first on.
    #[must_use]
    pub fn rows(&self) -> FrozenRows<'_> {
        FrozenRows { frozen: self, cursor: RowCursor::new() }
    }
}

impl RowStream for FrozenRows<'_> {
    fn mark(&self) -> Mark {
        self.frozen.mark()
    }

    fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<u32, EngineError> {
        Ok(self.frozen.fill(&mut self.cursor, out, bytes))
    }
}

/// Writes the frozen view as checkpoint `stamp.id` into the folder `dir`, which is made where it is
/// missing. `go_on` is asked about every MiB, with the bytes written so far.
///
/// # Panics
/// When the view lies above `durable_position`: a checkpoint must never hold what the journal could
/// still lose.
pub fn write(
    disk: &dyn Disk,
    dir: &Path,
    frozen: &Frozen<'_>,
    stamp: &Stamp,
    durable_position: u64,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Written, WriteError> {
    let header = header(stamp, frozen.mark());
    write_file(disk, dir, (header, u64::MAX), &mut frozen.rows(), durable_position, go_on)
}

/// Writes a checkpoint without rows, for an engine with files of its own whose state on disk stands
/// at `mark` or above it: it says where replay begins, and keeps what was derived from the rows at
/// `mark`.
///
/// # Panics
/// As [`write`].
pub fn write_anchor(
    disk: &dyn Disk,
    dir: &Path,
    mark: Mark,
    derived: Option<&Derived>,
    stamp: &Stamp,
    durable_position: u64,
) -> Result<Written, WriteError> {
    // A row has a version, and there is none yet.
    let derived = derived.filter(|_| mark.version > 0);
    let header = Header { elsewhere: true, derived: derived.is_some(), ..header(stamp, mark) };
    let rows = &mut DerivedRows::new(mark, derived);
    write_file(disk, dir, (header, u64::MAX), rows, durable_position, &mut |_| true)
}

/// As [`write`], of rows from anywhere.
pub fn write_rows(
    disk: &dyn Disk,
    dir: &Path,
    rows: &mut dyn RowStream,
    stamp: &Stamp,
    durable_position: u64,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Written, WriteError> {
    let header = header(stamp, rows.mark());
    write_file(disk, dir, (header, SYNC_BYTES), rows, durable_position, go_on)
}

fn write_file(
    disk: &dyn Disk,
    dir: &Path,
    (header, sync_bytes): (Header, u64),
    rows: &mut dyn RowStream,
    durable_position: u64,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Written, WriteError> {
    let mark = header.mark;
    assert!(mark.position <= durable_position, "a checkpoint above the durable position");
    assert!(
        (1..=mark.position + 1).contains(&header.replay_from),
        "replay begins at an open transaction or right behind the checkpoint"
    );
    let temporary = dir.join(temporary_name(header.id));
    let finished = dir.join(file_name(header.id));
    let failed = |what: &str, source| WriteError::Io {
        context: format!("{what} {}", temporary.display()),
        source,
    };
    durable::create_dir_all(disk, dir).map_err(|source| failed("making the folder of", source))?;
    match disk.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("removing the leftover", error));
        }
        _ => {}
    }
    let file = disk.create(&temporary).map_err(|source| failed("creating", source))?;
    let mut output = Output::new(&*file, header, sync_bytes);
    let written = output.run(rows, go_on).map_err(|stop| match stop {
        Stop::Rows(error) => WriteError::Rows(error),
        Stop::Io(source) => failed("writing", source),
        Stop::Asked => WriteError::Stopped,
    });
    let Output { header, footer, .. } = output;
    drop(file);
    if let Err(error) = written {
        // Best effort: a leftover is removed by the next start or the next `retire`.
        let _ = disk.remove_file(&temporary);
        return Err(error);
    }
    durable::rename(disk, &temporary, &finished).map_err(|source| failed("renaming", source))?;
    Ok(Written { header, footer })
}

fn header(stamp: &Stamp, mark: Mark) -> Header {
    Header {
        store_id: stamp.store_id,
        id: stamp.id,
        mark,
        replay_from: stamp.replay_from,
        feature_level: stamp.feature_level,
        membership: stamp.membership.clone(),
        elsewhere: false,
        derived: false,
    }
}

enum Stop {
    Io(io::Error),
    Rows(EngineError),
    Asked,
}

/// The file as it grows.
struct Output<'a> {
    file: &'a dyn WriteFile,
    header: Header,
    footer: Footer,
    seed: u32,
    hash: StateHash,
    /// Bytes that are not yet written.
    buffer: Vec<u8>,
    /// Where they go.
    offset: u64,
    /// Up to where they were synced, and how much is written between two syncs.
    synced: u64,
    sync_bytes: u64,
}

impl<'a> Output<'a> {
    fn new(file: &'a dyn WriteFile, header: Header, sync_bytes: u64) -> Self {
        let seed = seed(&header.store_id, header.id);
        let footer = Footer {
            version: header.mark.version,
            position: header.mark.position,
            ..Footer::default()
        };
        let mut buffer = Vec::with_capacity(WRITE_BYTES + 2 * BLOCK_BYTES);
        buffer.extend_from_slice(&header.encode());
        let hash = StateHash::default();
        Self { file, header, footer, seed, hash, buffer, offset: 0, synced: 0, sync_bytes }
    }

    fn run(
        &mut self,
        rows: &mut dyn RowStream,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Stop> {
        while self.block(rows).map_err(Stop::Rows)? {
            if self.buffer.len() >= WRITE_BYTES {
                self.flush().map_err(Stop::Io)?;
                if !go_on(self.offset) {
                    return Err(Stop::Asked);
                }
            }
        }
        self.finish().map_err(Stop::Io)
    }

    /// Adds the next block; false when no row is left.
    fn block(&mut self, stream: &mut dyn RowStream) -> Result<bool, EngineError> {
        let start = self.buffer.len();
        self.buffer.resize(start + BLOCK_HEADER, 0);
        let rows = stream.fill(&mut self.buffer, BLOCK_BYTES)?;
        if rows == 0 {
            self.buffer.truncate(start);
            return Ok(false);
        }
        let (_, block) = self.buffer.split_at_mut(start);
        let (header, content) = block.split_at_mut(BLOCK_HEADER);
        assert!(!content.is_empty() && content.len() <= BLOCK_BYTES_MAX, "a block has a limit");
        self.hash.update(content);
        let content_len = u32::try_from(content.len()).expect("below BLOCK_BYTES_MAX");
        put(header, 0, &BLOCK_MAGIC);
        put(header, 8, &content_len.to_le_bytes());
        put(header, 12, &rows.to_le_bytes());
        let (_, covered) = block.split_at(8);
        let crc = part_crc(self.seed, self.footer.blocks, covered);
        put(block, 4, &crc.to_le_bytes());
        self.footer.blocks += 1;
        self.footer.rows += u64::from(rows);
        self.footer.content_bytes += u64::from(content_len);
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        if self.offset - self.synced >= self.sync_bytes {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    /// What a reader will hold against the footer.
    fn check_sums(&self) {
        let Footer { blocks, rows, content_bytes, file_len, .. } = self.footer;
        assert!(blocks <= rows, "no block is empty");
        assert!(rows * ROW_HEADER as u64 <= content_bytes, "each row has a header");
        let inside = content_bytes + blocks * BLOCK_HEADER as u64 + FOOTER_BYTES as u64;
        let header = file_len.checked_sub(inside).filter(|header| *header > 0);
        assert!(
            header.is_some_and(|header| header.is_multiple_of(HEADER_BYTES_MIN as u64)),
            "header, blocks and footer fill the file"
        );
    }

    fn finish(&mut self) -> io::Result<()> {
        self.footer.state_hash = self.hash.digest();
        self.footer.file_len = self.offset + (self.buffer.len() + FOOTER_BYTES) as u64;
        self.check_sums();
        let footer = self.footer.encode(self.seed);
        self.buffer.extend_from_slice(&footer);
        self.flush()?;
        assert_eq!(self.offset, self.footer.file_len, "the footer says how long the file is");
        if cfg!(planted = "checkpoint-renamed-before-sync") {
            return Ok(());
        }
        self.file.sync_all()
    }
}
