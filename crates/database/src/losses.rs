//! The accepted losses that a replay meets.
//!
//! Invariant: the last one is always known, because it says where the journal goes on; of the
//! others a bounded number is kept.

use std::sync::atomic::{AtomicBool, Ordering};

use rekindle_journal::Record;
use rekindle_recovery::Place;

use crate::codec::Loss;

/// Most losses that are remembered for [`Database::accepted_losses`], the first ones.
///
/// [`Database::accepted_losses`]: crate::Database::accepted_losses
pub const LOSSES_MAX: usize = 1_000;

/// Most bytes that are kept of what was written down with each.
pub const AUDIT_BYTES_MAX: usize = 64 * 1024;

/// A loss that an operator accepted, as its record says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// Position of the record that stands for it.
    pub position: u64,
    /// First lost position.
    pub from_position: u64,
    /// Last lost position.
    pub to_position: u64,
    /// First lost address.
    pub from_lsn: u64,
    /// Behind the last lost address.
    pub end_lsn: u64,
    /// Version of the first transaction behind it.
    pub next_version: u64,
    /// Whether it may have held records that are nowhere else. Otherwise the record only says that
    /// a repair was done, and stands for its own position.
    pub held_records: bool,
    /// Who accepted it, when and why, as the repair wrote it: JSON.
    pub audit: Vec<u8>,
}

/// The losses of one replay.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    list: Vec<AcceptedLoss>,
    last: Option<(u64, u64, Place)>,
}

impl Losses {
    /// Takes one.
    pub(crate) fn push(&mut self, record: &Record<'_>, loss: &Loss<'_>, place: &Place) {
        let resume_at = loss.to_position.max(record.position) + 1;
        assert!(resume_at > record.position, "a loss stands for its own position at least");
        self.last = Some((record.position, resume_at, place.clone()));
        if self.list.len() < LOSSES_MAX {
            let audit = loss.audit.get(..AUDIT_BYTES_MAX).unwrap_or(loss.audit).to_vec();
            self.list.push(AcceptedLoss {
                position: record.position,
                from_position: loss.from_position,
                to_position: loss.to_position,
                from_lsn: loss.from_lsn,
                end_lsn: loss.end_lsn,
                next_version: loss.next_version,
                held_records: loss.held_records(),
                audit,
            });
        }
    }

    /// Those that are remembered, in order.
    pub(crate) fn list(&self) -> &[AcceptedLoss] {
        &self.list
    }

    /// Where the journal goes on behind the record at this position, if that is the last loss.
    pub(crate) fn resume_behind(&self, position: u64) -> Option<u64> {
        let last = self.last.as_ref().filter(|(at, _, _)| *at == position);
        last.map(|(_, resume_at, _)| *resume_at)
    }

    /// The last position that the last loss stands for, and where that one is; 0 without any.
    pub(crate) fn stands_for(&self) -> (u64, Place) {
        self.last.as_ref().map_or((0, Place::default()), |(_, at, place)| (at - 1, place.clone()))
    }
}

/// How long losses that nobody told hold checkpoints back, milliseconds of boot time: who embeds
/// the database may never tell them, and a replay may not grow for ever.
pub(crate) const UNTOLD_MS_MAX: u64 = 10 * 60 * 1000;

/// Whether somebody still has to tell what replay met. Replay is the only place that knows of a
/// loss: a checkpoint behind it, written before it was told, would hide it for ever.
#[derive(Debug)]
pub(crate) struct Untold {
    some: AtomicBool,
    until_ms: u64,
}

impl Untold {
    /// What a start met, at this boot time.
    pub(crate) fn new(some: bool, now_ms: u64) -> Self {
        let until_ms = now_ms.saturating_add(UNTOLD_MS_MAX);
        Self { some: AtomicBool::new(some), until_ms }
    }

    /// All of it is told, durably.
    pub(crate) fn told(&self) {
        self.some.store(false, Ordering::Release);
    }

    /// Whether there is still something to tell.
    pub(crate) fn is_some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Whether no checkpoint may be written by itself.
    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        self.is_some() && now_ms < self.until_ms
    }
}
