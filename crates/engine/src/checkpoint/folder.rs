//! The folder `checkpoints/`: names, and giving back files that nothing names.
//!
//! Invariant: only files whose names this module made are ever removed.

use std::io;
use std::path::Path;

use rekindle_env::{Disk, EntryKind};
use rekindle_recovery::numbers::{NUMBER_MAX, is_near};

/// The folder's name inside a shard.
pub const DIRECTORY: &str = "checkpoints";

/// What a file of the folder is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// A finished checkpoint with this id.
    Finished(u64),
    /// One that is or was being written.
    Temporary(u64),
}

/// The name of the checkpoint `id`.
#[must_use]
pub fn file_name(id: u64) -> String {
    format!("{id:016x}.ckpt")
}

/// The name of the checkpoint `id` while it is written.
#[must_use]
pub fn temporary_name(id: u64) -> String {
    format!("{id:016x}.tmp")
}

/// Reads a name; `None` for files that are not ours.
#[must_use]
pub fn parse_name(name: &str) -> Option<FileName> {
    let (id, kind) = name.split_once('.')?;
    let lower = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if id.len() != 16 || !lower {
        return None;
    }
    let id = u64::from_str_radix(id, 16).ok().filter(|id| *id <= NUMBER_MAX)?;
    match kind {
        "ckpt" => Some(FileName::Finished(id)),
        "tmp" => Some(FileName::Temporary(id)),
        _ => None,
    }
}

/// Removes every checkpoint of the folder `dir` but those in `keep`, and what an abandoned writer
/// left. Call it after the journal's meta names the ids in `keep`, and with no writer at work.
/// Answers how many files went.
pub fn retire(disk: &dyn Disk, dir: &Path, keep: &[u64]) -> io::Result<u64> {
    let mut removed = 0;
    let newest = keep.iter().copied().max().unwrap_or(0);
    for entry in disk.list(dir)? {
        let goes = match parse_name(&entry.name) {
            Some(FileName::Finished(id)) => !keep.contains(&id) && is_near(id, newest),
            Some(FileName::Temporary(id)) => is_near(id, newest),
            None => false,
        };
        if goes && entry.kind == EntryKind::File {
            disk.remove_file(&dir.join(&entry.name))?;
            removed += 1;
        }
    }
    if removed > 0 {
        disk.sync_dir(dir)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_not_ours() {
        for id in [0, 1, 0xABCD, NUMBER_MAX] {
            assert_eq!(parse_name(&file_name(id)), Some(FileName::Finished(id)));
            assert_eq!(parse_name(&temporary_name(id)), Some(FileName::Temporary(id)));
        }
        let others = [
            "",
            ".ckpt",
            "1.ckpt",
            "000000000000000A.ckpt",
            "0000000000000001",
            "notes.txt",
            "0000000000000001.ckpt.bak",
            "+000000000000001.ckpt",
            "00000000000000001.tmp",
            "4000000000000001.ckpt",
            "fffffffffffffffd.ckpt",
            "ffffffffffffffff.tmp",
        ];
        for name in others {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
