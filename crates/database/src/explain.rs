//! What replay says about a record that it refuses: what should have been there, and what was.

use rekindle_journal::{Record, RecordKind};
use rekindle_recovery::{Acked, Finding, Label, Place, Verdict};

use crate::classify::{FEATURE_LEVEL, Fit, Piece};
use crate::codec::CommitMark;
use crate::replay::{Decoded, OPEN_BYTES_MAX, Replay};

impl Replay {
    /// What a refused record should have been, and what it is.
    pub(crate) fn explain(&self, record: &Record<'_>, decoded: &Decoded<'_>) -> (String, String) {
        let position = record.position;
        match decoded {
            Decoded::Txns(txns) => (
                format!("version {}", self.expected()),
                format!("version {} at position {position}", txns.base_version),
            ),
            Decoded::Loss(loss) => (
                format!("version {} or later", self.expected()),
                format!("a loss followed by version {}", loss.next_version),
            ),
            Decoded::Commit(commit) => self.explain_commit(commit, position),
            Decoded::Part(_) | Decoded::Begin(_) => (
                format!("at most {OPEN_BYTES_MAX} bytes of open transactions"),
                format!("{} bytes before position {position}", self.open_bytes),
            ),
            Decoded::Feature(level) => (
                format!("feature level {FEATURE_LEVEL} or lower (a newer program wrote this)"),
                format!("feature level {level} at position {position}"),
            ),
            Decoded::Abort(_) | Decoded::Other => {
                unreachable!("the table refuses none of these")
            }
        }
    }

    fn explain_commit(&self, commit: &CommitMark, position: u64) -> (String, String) {
        let (id, version) = (commit.txn_id, commit.version);
        if self.fit(version, version) == Fit::Gap {
            let found = format!("version {version} at position {position}");
            return (format!("version {}", self.expected()), found);
        }
        match self.open.get(&id) {
            Some(open) => (
                format!("{} parts of transaction {id}", commit.parts),
                format!("{} parts before position {position}", open.parts.len()),
            ),
            None => (
                format!("a Begin of transaction {id} (version {version})"),
                format!("its commit at position {position} alone"),
            ),
        }
    }
}

/// What a kind of record is to the database.
pub(crate) fn piece(kind: RecordKind) -> Piece {
    match kind {
        RecordKind::Txns => Piece::Txns,
        RecordKind::Begin => Piece::Begin,
        RecordKind::Part => Piece::Part,
        RecordKind::Commit => Piece::Commit,
        RecordKind::Abort => Piece::Abort,
        RecordKind::Loss => Piece::Loss,
        RecordKind::Feature => Piece::Feature,
        RecordKind::Noop | RecordKind::Membership | RecordKind::Barrier => Piece::Other,
    }
}

/// The finding that refuses a record: verified bytes that cannot be.
pub(crate) fn refusal(label: Label, place: &Place, expected: &str, found: &str) -> Finding {
    Finding {
        label,
        place: place.clone(),
        verdict: Some(Verdict::Corrupt),
        acked: Acked::Yes,
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}
