//! What can be read of the files of an engine that is damaged.
//!
//! ```text
//! a table begins with its data blocks, each:
//!    0  magic 4           "LSM\x03"
//!    4  kind 1            0: data
//!    5  checksum 16       XXH3, 128 bits, of the content
//!   21  len 4             of the content
//!   25  len 4             the same: nothing is compressed
//!   29  checksum 4        XXH3 (the low 4 bytes) of these 29 bytes
//!   33  content
//! ```
//!
//! Blocks that are whole are read, whatever lies between them; of each key the newest version that
//! was read is handed out, and nothing of a key whose newest value lies in a blob file and cannot
//! be read there. Invariants: the files are only read; a row that is handed out was written with
//! this value and version; what could not be read is said.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::{Path, PathBuf};

use lsm_tree::table::Scanner;
use lsm_tree::{CompressionType, Slice, ValueType};
use rekindle_env::{Disk, ReadDisk, ReadFile, durable};
use xxhash_rust::xxh3::xxh3_128;

use super::check::{check_file, manifest};
use super::manifest::{BLOBS, Kind, TABLES};
use super::row::{self, STAND_KEY};
use super::values::Handle;
use crate::api::{EngineError, Mark};
use crate::checkpoint::RowStream;
use crate::files::{Stand, split_value};
use crate::row::{EncodedRow, encode, field};

const MAGIC: [u8; 4] = *b"LSM\x03";
const HEADER: usize = 33;
const DATA: u8 = 0;

/// A table is never larger, by far.
const TABLE_BYTES_MAX: u64 = 4 << 30;

/// A row of a table. The smallest key is the largest, and of one key the newest version.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Reverse<Slice>,
    version: u64,
    /// `None` for a deletion, and for a value that could not be read.
    value: Option<Slice>,
    from: usize,
}

/// The blob files.
struct Blobs<'a> {
    disk: &'a dyn Disk,
    folder: PathBuf,
    /// The last that was read.
    open: Option<(u64, Box<dyn ReadFile>)>,
    /// Values that could not be read, by file.
    lost: BTreeMap<u64, u64>,
}

impl Blobs<'_> {
    /// The value that lies there; `None` where it cannot be read, which is noted.
    fn value(&mut self, handle: Handle, key: &[u8]) -> Option<Slice> {
        let read = self.file(handle.blob).and_then(|file| handle.read(file, key));
        let value = read.ok().flatten();
        if value.is_none() {
            *self.lost.entry(handle.blob).or_default() += 1;
        }
        value.map(Slice::from)
    }

    fn file(&mut self, number: u64) -> std::io::Result<&dyn ReadFile> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            self.open = None;
            let file = self.disk.open_read(&self.folder.join(number.to_string()))?;
            self.open = Some((number, file));
        }
        self.open
            .as_ref()
            .map(|(_, file)| &**file)
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

/// The rows that can be read.
pub struct Readable<'a> {
    tables: Vec<(String, Scanner)>,
    heads: BinaryHeap<Head>,
    stand: Option<Stand>,
    mark: Mark,
    blobs: Blobs<'a>,
    unreadable: Vec<String>,
}

impl std::fmt::Debug for Readable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readable").field("mark", &self.mark).finish_non_exhaustive()
    }
}

impl<'a> Readable<'a> {
    /// Reads the tables in the folder `dir`. Parts of damaged ones are written to the folder
    /// `aside`, which is there and must stay as long as this.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(disk: &'a dyn Disk, dir: &Path, aside: &Path) -> Result<Self, EngineError> {
        let mut unreadable = Vec::new();
        let files = manifest(disk, dir).map(|found| found.map_or_else(Vec::new, |it| it.files));
        for blob in files.iter().flatten().filter(|file| file.kind == Kind::Blob) {
            if let Some(wrong) = check_file(disk, dir, *blob)? {
                unreadable.push(format!("{}: it is not what was written", wrong.file));
            }
        }
        let tables = files.map(|files| {
            let tables = files.iter().filter(|file| file.kind == Kind::Table);
            tables.map(|table| (table.number, Some(table.checksum))).collect::<Vec<_>>()
        });
        let listed = match tables {
            Ok(tables) if !tables.is_empty() => tables,
            Err(EngineError::Io(error)) => return Err(EngineError::Io(error)),
            other => {
                let found = other.err().map_or_else(|| "no manifest".to_owned(), |e| e.to_string());
                unreadable.push(format!(
                    "{found}: which tables are in use cannot be told, rows that were deleted may \
                     be among those that were read"
                ));
                there(disk, dir)?
            }
        };
        let mut readable = Self {
            tables: Vec::new(),
            heads: BinaryHeap::new(),
            stand: None,
            mark: Mark::default(),
            blobs: Blobs { disk, folder: dir.join(BLOBS), open: None, lost: BTreeMap::new() },
            unreadable,
        };
        for (number, checksum) in listed {
            readable.table(disk, (dir, aside), number, checksum)?;
        }
        (0..readable.tables.len()).for_each(|from| readable.advance(from));
        while readable.heads.peek().is_some_and(|head| *head.key.0 == STAND_KEY) {
            let Some((_, value)) = readable.next() else { continue };
            readable.stand = value.and_then(|value| Stand::decode(&value));
        }
        readable.mark = readable.stand.map(|stand| stand.mark).unwrap_or_default();
        Ok(readable)
    }

    /// Where replay on top of the rows begins, where that could be read.
    #[must_use]
    pub fn replay_from(&self) -> Option<u64> {
        self.stand.map(|stand| stand.replay_from)
    }

    /// The rows stand here; for rows of which the files do not say it.
    pub fn assume(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// What could not be read so far, a line each.
    #[must_use]
    pub fn unreadable(&self) -> Vec<String> {
        let lost = self.blobs.lost.iter();
        let lost = lost.map(|(blob, count)| {
            format!("{BLOBS}/{blob}: {count} values could not be read, and their rows are left out")
        });
        self.unreadable.iter().cloned().chain(lost).collect()
    }

    fn table(
        &mut self,
        disk: &dyn Disk,
        (dir, aside): (&Path, &Path),
        number: u64,
        checksum: Option<u128>,
    ) -> Result<(), EngineError> {
        let (name, path) =
            (format!("{TABLES}/{number}"), dir.join(TABLES).join(number.to_string()));
        let bytes = match durable::read_file(disk, &path, TABLE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.unreadable.push(format!("{name}: no file"));
                return Ok(());
            }
            Err(error) => {
                return Err(EngineError::Io(format!("read {}: {error}", path.display())));
            }
        };
        let (blocks, lost) = blocks(&bytes);
        let whole = checksum == Some(xxh3_128(&bytes));
        if !whole {
            self.unreadable.push(format!(
                "{name}: it is not what was written; {} blocks could be read, and {lost} bytes \
                 between them could not",
                blocks.len()
            ));
        }
        let scanned: PathBuf = if lost == 0 { path } else { aside.join(format!("table-{number}")) };
        if lost > 0 {
            let kept: Vec<u8> = blocks.iter().flat_map(|block| block.iter().copied()).collect();
            let written = durable::create_file(disk, &scanned, &kept);
            written.map_err(|e| EngineError::Io(format!("write {}: {e}", scanned.display())))?;
        }
        if blocks.is_empty() {
            return Ok(());
        }
        match Scanner::new(&scanned, blocks.len(), CompressionType::None, 0) {
            Ok(scanner) => self.tables.push((name, scanner)),
            Err(error) => self.unreadable.push(format!("{name}: {error}")),
        }
        Ok(())
    }

    /// Brings up the next row of a table.
    fn advance(&mut self, from: usize) {
        let Some((name, scanner)) = self.tables.get_mut(from) else { return };
        match scanner.next() {
            None => {}
            Some(Err(error)) => self.unreadable.push(format!("{name}: {error}")),
            Some(Ok(row)) => {
                let value = match row.key.value_type {
                    ValueType::Value => Some(row.value),
                    ValueType::Tombstone | ValueType::WeakTombstone => None,
                    ValueType::Indirection => {
                        let handle = Handle::decode(&row.value);
                        handle.and_then(|it| self.blobs.value(it, &row.key.user_key))
                    }
                };
                let version = match &value {
                    None => row::version(row.key.seqno),
                    Some(value) if *row.key.user_key == STAND_KEY => {
                        Stand::decode(value).map_or(0, |stand| stand.mark.version)
                    }
                    Some(value) => split_value(value).map_or(0, |(version, _)| version),
                };
                let key = Reverse(row.key.user_key);
                self.heads.push(Head { key, version, value, from });
            }
        }
    }

    /// The next key, and its newest version that was read.
    fn next(&mut self) -> Option<(Slice, Option<Slice>)> {
        let Head { key: Reverse(key), value, from, .. } = self.heads.pop()?;
        self.advance(from);
        while self.heads.peek().is_some_and(|head| head.key.0 == key) {
            if let Some(hidden) = self.heads.pop() {
                self.advance(hidden.from);
            }
        }
        Some((key, value))
    }
}

impl RowStream for Readable<'_> {
    fn mark(&self) -> Mark {
        self.mark
    }

    fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<u32, EngineError> {
        let (full, mut count) = (out.len() + bytes, 0);
        while out.len() < full {
            let Some((key, value)) = self.next() else { break };
            let Some(value) = value else { continue };
            let (Some((keyspace, key)), Some((version, value))) =
                (row::split(&key), split_value(&value))
            else {
                continue;
            };
            encode(out, &EncodedRow { keyspace: keyspace.0, version, key, value });
            count += 1;
        }
        Ok(count)
    }
}

/// All tables in the folder.
fn there(disk: &dyn ReadDisk, dir: &Path) -> Result<Vec<(u64, Option<u128>)>, EngineError> {
    let folder = dir.join(TABLES);
    let entries = durable::list_folder(disk, &folder);
    let entries =
        entries.map_err(|error| EngineError::Io(format!("list {}: {error}", folder.display())))?;
    let numbers = entries.unwrap_or_default().into_iter().map(|entry| entry.name.parse().ok());
    Ok(numbers.flatten().map(|number| (number, None)).collect())
}

/// The data blocks that are whole, and how many bytes in front of and between them are not.
fn blocks(table: &[u8]) -> (Vec<&[u8]>, usize) {
    let (mut blocks, mut lost, mut at) = (Vec::new(), 0, 0);
    // What is lost counts once something whole lies behind it.
    let mut skipped = 0;
    while let Some(rest) = table.get(at..).filter(|rest| rest.len() >= HEADER) {
        match block(rest) {
            Some((DATA, block)) => {
                lost += std::mem::take(&mut skipped);
                at += block.len();
                blocks.push(block);
            }
            Some(_) => {
                lost += skipped;
                return (blocks, lost);
            }
            None => {
                let next = rest
                    .get(1..)
                    .and_then(|rest| rest.windows(MAGIC.len()).position(|window| window == MAGIC));
                let next = next.map_or(rest.len(), |next| next + 1);
                skipped += next;
                at += next;
            }
        }
    }
    (blocks, lost + skipped)
}

/// The block that begins here, with its header.
fn block(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let covered = bytes.get(..HEADER - 4)?;
    let sum = xxh3_128(covered).to_le_bytes();
    let len = usize::try_from(u32::from_le_bytes(field(bytes, 21)?)).ok()?;
    if field::<4>(bytes, 0)? != MAGIC || field::<4>(bytes, HEADER - 4)? != field::<4>(&sum, 0)? {
        return None;
    }
    let block = bytes.get(..HEADER.checked_add(len)?)?;
    let content = block.get(HEADER..)?;
    let whole = xxh3_128(content) == u128::from_le_bytes(field(bytes, 5)?);
    (whole && field::<4>(bytes, 21) == field::<4>(bytes, 25)).then_some((*bytes.get(4)?, block))
}
