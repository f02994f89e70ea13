//! The journal as it will be once it is repaired: what can be read, and the stand-ins between.
//!
//! Invariant: reads only; what replays from here replays from the repaired journal, record by
//! record.

use rekindle_env::ReadDisk;
use rekindle_recovery::{Failure, Place};

use crate::api::{Record, RecordKind};
use crate::recovery::judge::TrustedJournal;
use crate::replay::{Damage, Listener, Records, Replayed};

/// A record of kind Loss that a repair writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// Its position: the first that it stands for.
    pub position: u64,
    /// The last that it stands for.
    pub to_position: u64,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl StandIn {
    fn record(&self) -> Record<'_> {
        Record { position: self.position, term: 0, kind: RecordKind::Loss, payload: &self.payload }
    }
}

/// A journal with stand-ins.
#[derive(Debug)]
pub struct Patched<'a> {
    trusted: &'a TrustedJournal,
    stand_ins: &'a [StandIn],
    next_position: u64,
}

impl<'a> Patched<'a> {
    /// `stand_ins` ascend; `next_position` is the one behind everything that can be read.
    #[must_use]
    pub fn new(trusted: &'a TrustedJournal, stand_ins: &'a [StandIn], next_position: u64) -> Self {
        assert!(stand_ins.is_sorted_by_key(|it| it.position), "in the order of the journal");
        let behind = stand_ins.last().map_or(0, |last| last.to_position + 1);
        Self { trusted, stand_ins, next_position: next_position.max(behind) }
    }

    /// Whether a stand-in has this position.
    pub(super) fn stands_in(&self, position: u64) -> bool {
        self.stand_ins.binary_search_by_key(&position, |it| it.position).is_ok()
    }
}

impl Records for Patched<'_> {
    fn replay(
        &self,
        disk: &dyn ReadDisk,
        from: u64,
        listener: &mut Listener<'_>,
    ) -> Result<(), Failure> {
        let mut next = self.stand_ins.iter().filter(|it| it.position >= from).peekable();
        self.trusted.tell(disk, from, Damage::PassedOver, &mut |told, place| {
            if let Replayed::Record(record) = &told {
                while let Some(it) = next.next_if(|it| it.position < record.position) {
                    listener(Replayed::Record(&it.record()), place)?;
                }
            }
            listener(told, place)
        })?;
        for it in next {
            listener(Replayed::Record(&it.record()), &Place::default())?;
        }
        Ok(())
    }

    fn last_position(&self) -> u64 {
        self.next_position - 1
    }
}
