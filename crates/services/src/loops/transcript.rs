//! Transcripts: what happened to each execution, in a file of lines for people and scripts.
//!
//! ```text
//! loop_events ─▶ observer: which executions have news ─▶ writer: rows ─▶ line ─▶ EXECUTION.jsonl
//!                                                        start: read ─▶ table ─▶ cut, written anew
//!                                                        rebuild: lines ─▶ rows of another store
//! ```
//! Invariants: a transcript is derived: it says nothing that the journal does not, is written
//! behind the commit, and whatever is wrong with it is made again from the journal; a file in which
//! something is damaged is set aside and never changed.

pub(crate) mod line;
pub(crate) mod read;
pub(crate) mod rebuild;
pub(crate) mod writer;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::loops::id::LoopId;

/// A transcript goes on in a new file once it has so many bytes.
pub(crate) const PART_BYTES: u64 = 4 * 1024 * 1024;

/// The folder, beside the transcripts, of those that are damaged.
pub(crate) const ASIDE: &str = "quarantine";

const SUFFIX: &str = ".jsonl";

/// A place in a transcript that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CorruptedRecord {
    /// The file, as it was named when it was read.
    pub file: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for CorruptedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.reason),
            line => write!(f, "{} line {line}: {}", self.file, self.reason),
        }
    }
}

/// The file in which a transcript goes on.
pub(crate) fn current(dir: &Path, id: LoopId) -> PathBuf {
    dir.join(format!("{id}{SUFFIX}"))
}

/// The file of an earlier part of it, by its first line's number.
pub(crate) fn part(dir: &Path, id: LoopId, first: u64) -> PathBuf {
    dir.join(format!("{id}.{first:010}{SUFFIX}"))
}

/// Whose transcript a file of this name is, and for an earlier part the number of its first line.
pub(crate) fn parse_name(name: &str) -> Option<(LoopId, Option<u64>)> {
    let name = name.strip_suffix(SUFFIX)?;
    match name.split_once('.') {
        None => Some((name.parse().ok()?, None)),
        Some((id, first)) => {
            let is_number = first.len() >= 10 && first.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(())?;
            Some((id.parse().ok()?, Some(first.parse().ok()?)))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_none() {
        let (dir, id) = (Path::new("/loops"), LoopId::new(9, [7; 10]));
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(parse_name(&name(current(dir, id))), Some((id, None)));
        assert_eq!(parse_name(&name(part(dir, id, 1))), Some((id, Some(1))));
        let large = 12_345_678_901;
        assert_eq!(parse_name(&name(part(dir, id, large))), Some((id, Some(large))));
        for wrong in ["", "a.jsonl", ".jsonl", "workspaces", &format!("{id}"), &format!("{id}.log")]
        {
            assert_eq!(parse_name(wrong), None, "{wrong}");
        }
        for wrong in ["1", "+000000001", "000000000x", "99999999999999999999999"] {
            assert_eq!(parse_name(&format!("{id}.{wrong}.jsonl")), None, "{wrong}");
        }
    }
}
