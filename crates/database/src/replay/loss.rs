//! Replay at a loss: where it was accepted, and where nobody did.
//!
//! Invariant: versions are never taken back.

use rekindle_journal::Record;
use rekindle_recovery::{Label, Place};

use super::{Decoded, Replay};

impl Replay {
    /// Passes over a hole that nobody accepted, for who only looks: versions go on at `next` where
    /// that is known, and a commit may lack its parts.
    pub(crate) fn pass_hole(&mut self, next: Option<u64>) {
        self.after_loss = true;
        if let Some(next) = next {
            assert!(next >= self.expected(), "versions only grow");
            self.last = Some(next - 1);
        }
    }

    /// An accepted loss: positions and versions go on behind it.
    pub(super) fn jump(
        &mut self,
        record: &Record<'_>,
        decoded: &Decoded<'_>,
        place: &Place,
        label: Label,
    ) {
        let Decoded::Loss(loss) = decoded else { return };
        let (from, to, next) = (loss.from_position, loss.to_position, loss.next_version);
        let (position, expected) = (record.position, self.expected());
        let found = if loss.held_records() {
            tracing::warn!(
                "An accepted loss stands for positions {from}..={to}; version {next} follows"
            );
            format!("a loss of positions {from}..={to}, accepted at position {position}")
        } else {
            format!("a repair at position {position} that lost no record")
        };
        self.note(label, place, &format!("version {expected}"), &found);
        assert!(self.last.is_none_or(|last| next > last), "a loss never takes versions back");
        self.last = Some(next - 1);
        self.after_loss |= loss.held_records();
        self.stats.final_version = self.stats.final_version.max(next - 1);
        self.losses.push(record, loss, place);
    }

    /// A commit whose parts lie in an accepted loss: its version stays taken.
    pub(super) fn lost(
        &mut self,
        record: &Record<'_>,
        decoded: &Decoded<'_>,
        place: &Place,
        label: Label,
    ) {
        let Decoded::Commit(commit) = decoded else { return };
        self.take_open(commit.txn_id);
        let (id, version, position) = (commit.txn_id, commit.version, record.position);
        tracing::warn!("Discarding transaction {id} (version {version}): its parts were lost");
        let found = format!("the commit of transaction {id} at position {position} without them");
        self.note(label, place, "all its parts, which lie in an accepted loss", &found);
        self.last = Some(version);
        self.stats.final_version = self.stats.final_version.max(version);
    }
}
