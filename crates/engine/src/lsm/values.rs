//! Large values, apart from their keys: in the crate's blob files, which a merge of tables does not
//! write again. (After WiscKey.)
//!
//! ```text
//! a blob file begins with its values, each:
//!    0  magic 4        "BLOB"
//!    4  checksum 16    XXH3, 128 bits, of key and value
//!   20  seqno 8
//!   28  key_len 2
//!   30  value_len 4    twice: nothing is compressed
//!   38  key, value
//!
//! a table has in place of the value, as varints (7 bits each, low ones first)
//!   offset, blob file, value_len, value_len
//! ```
//!
//! Where half of a blob file is needed no longer, a merge moves the other half into a new one.
//!
//! The crate syncs a blob file and not the folder that it lies in, before the manifest names it.
//! Invariant: we do, behind each flush, and in a merge when its last value was handed over: then
//! every file has its name, and no manifest knows it yet. A sync that failed is the last.

use std::io;
use std::panic::RefUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Verdict};
use lsm_tree::{Config, KvSeparationOptions};
use rekindle_env::{Directory, ReadFile};
use xxhash_rust::xxh3::Xxh3;

use super::manifest::BLOBS;
use crate::row::field;

/// A blob file is begun anew behind this.
const BLOB_FILE_BYTES: u64 = 64 << 20;

/// The part of a blob file that is needed no longer, when the rest is moved.
const STALE: f32 = 0.5;

const MAGIC: [u8; 4] = *b"BLOB";
const HEADER: usize = 38;

/// Why a merge ended where it must not go on.
pub(super) struct Unsynced(pub(super) String);

/// Syncs the folder of the blob files.
pub(super) type Sync = Arc<dyn Fn() -> io::Result<()> + Send + std::marker::Sync + RefUnwindSafe>;

/// The sync of the folder in this one, which stays open for it.
pub(super) fn sync_of(dir: &Path) -> io::Result<Sync> {
    let folder = Directory::open(&dir.join(BLOBS))?;
    Ok(Arc::new(move || folder.sync()))
}

/// With values from this size on apart from their keys.
pub(super) fn apart(config: Config, sync: Sync, from_bytes: u32) -> Config {
    let options = KvSeparationOptions::default()
        .separation_threshold(from_bytes)
        .file_target_size(BLOB_FILE_BYTES)
        .staleness_threshold(STALE)
        // All of them, not the oldest ones only.
        .age_cutoff(1.0);
    config
        .with_kv_separation(Some(options))
        .with_compaction_filter_factory(Some(Arc::new(AtEnd(sync))))
}

/// Whether so much of a blob file is stale that the next merge may move the rest.
pub(super) fn may_move(stale_bytes: u64, file_bytes: u64) -> bool {
    // A file is larger than its values: by the keys, too. So far for keys of up to 3 KiB.
    stale_bytes.saturating_mul(8) >= file_bytes
}

/// Has the folder of the blob files synced at the end of each merge.
struct AtEnd(Sync);

impl Factory for AtEnd {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl CompactionFilter for AtEnd {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        Ok(Verdict::Keep)
    }

    /// Comes behind the last value, and before the manifest that names the new files.
    fn finish(self: Box<Self>) {
        if let Err(error) = (self.0)() {
            // There is no other way to keep the crate from naming them.
            let reason = format!("sync the folder of blob files: {error}");
            std::panic::resume_unwind(Box::new(Unsynced(reason)));
        }
    }
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    /// The number of the blob file.
    pub(super) blob: u64,
    offset: u64,
    len: u32,
}

impl Handle {
    /// What a table has in place of a value.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut number = || varint(&mut bytes);
        let (offset, blob) = (number()?, number()?);
        let len = u32::try_from(number()?).ok()?;
        let same = u32::try_from(number()?).ok()? == len;
        same.then_some(Self { blob, offset, len })
    }

    /// The value, if it is what was written under this key.
    pub(super) fn read(self, file: &dyn ReadFile, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let value_at = HEADER + key.len();
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        let (end, file_bytes) = (self.offset.checked_add((value_at + len) as u64), file.len()?);
        if end.is_none_or(|end| end > file_bytes) {
            return Ok(None);
        }
        let mut bytes = vec![0; value_at + len];
        if file.read_at(&mut bytes, self.offset)? < bytes.len() {
            return Ok(None);
        }
        let mut hash = Xxh3::new();
        hash.update(key);
        hash.update(bytes.get(value_at..).unwrap_or_default());
        let checksum = field(&bytes, 4).map(u128::from_le_bytes);
        let is_whole = field(&bytes, 0) == Some(MAGIC)
            && bytes.get(HEADER..value_at) == Some(key)
            && checksum == Some(hash.digest128());
        Ok(is_whole.then(|| bytes.split_off(value_at)))
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
