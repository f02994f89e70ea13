//! Where a shard's files are, and how segments are named.

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{Entry, ReadDisk};
use rekindle_recovery::numbers::NUMBER_MAX;

/// How the folders of the quarantine end in which repairs keep what they replaced.
pub(crate) const REPAIR_SUFFIX: &str = "-repair";

/// The paths of one shard.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The store's directory.
    pub store: PathBuf,
    /// The shard's number.
    pub shard: u32,
}

impl Layout {
    /// The layout of shard `shard` of the store at `store`.
    #[must_use]
    pub fn new(store: &Path, shard: u32) -> Self {
        Self { store: store.to_owned(), shard }
    }

    /// `DIR/shards/N`.
    #[must_use]
    pub fn shard_dir(&self) -> PathBuf {
        self.store.join("shards").join(self.shard.to_string())
    }

    /// `DIR/shards/N/journal`.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.shard_dir().join("journal")
    }

    /// `DIR/quarantine`.
    #[must_use]
    pub fn quarantine_dir(&self) -> PathBuf {
        self.store.join("quarantine")
    }

    /// Where a repair keeps what it replaced; `first` is the number of its first segment.
    #[must_use]
    pub fn repair_dir(&self, first: u64) -> PathBuf {
        self.quarantine_dir().join(format!("{}{REPAIR_SUFFIX}", segment_name(first)))
    }

    /// `meta.a` for odd sequences, `meta.b` for even ones.
    #[must_use]
    pub fn meta(&self, copy: MetaCopy) -> PathBuf {
        self.shard_dir().join(copy.name())
    }

    /// `tip`.
    #[must_use]
    pub fn tip(&self) -> PathBuf {
        self.shard_dir().join("tip")
    }

    /// A segment's file.
    #[must_use]
    pub fn segment(&self, seq: u64) -> PathBuf {
        self.journal_dir().join(segment_name(seq))
    }

    /// The segments that there are, by their names: number and entry, oldest first. None where the
    /// directory does not exist.
    pub fn segments(&self, disk: &dyn ReadDisk) -> io::Result<Vec<(u64, Entry)>> {
        let entries = match disk.list(&self.journal_dir()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // Names of one length sort as their numbers do.
        let own = entries.into_iter();
        Ok(own.filter_map(|entry| Some((parse_segment_name(&entry.name)?, entry))).collect())
    }

    /// A path as findings name it: relative to the store, with slashes.
    #[must_use]
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.store).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// The two copies of the shard's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaCopy {
    /// Odd sequences.
    A,
    /// Even sequences.
    B,
}

impl MetaCopy {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The copy that a sequence is written to.
    #[must_use]
    pub fn of(sequence: u64) -> Self {
        if sequence % 2 == 1 { Self::A } else { Self::B }
    }

    /// Its file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "meta.a",
            Self::B => "meta.b",
        }
    }
}

/// A segment's file name: its number in 16 hexadecimal digits.
#[must_use]
pub(crate) fn segment_name(seq: u64) -> String {
    format!("{seq:016x}")
}

/// The number of the segment with this file name; none where it is larger than any of ours.
#[must_use]
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = if digits { u64::from_str_radix(name, 16).ok() } else { None };
    number.filter(|seq| *seq <= NUMBER_MAX)
}
