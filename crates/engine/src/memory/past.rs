//! What of the past must stay readable: the floor, the pins, and the garbage that waits for them.
//!
//! A version `from` of a key, replaced at `until`, is needed by readers in `from..until`: none is
//! left once the floor reached `until` and no pin lies in between. So garbage is queued when it is
//! made, in order of `until`, and its head is reclaimed a few entries per apply; what a pin holds
//! moves to that pin and comes back with its last unpin. Nothing ever scans the rows.
//!
//! Invariant: the floor only rises and never passes the applied version.

use std::collections::BTreeMap;

use super::key::Key;
use crate::api::{EngineError, KeyspaceId};

/// A version of a key that was replaced.
#[derive(Clone, Debug)]
pub(super) struct Garbage {
    /// Where.
    pub(super) keyspace: KeyspaceId,
    /// The key.
    pub(super) key: Key,
    /// The version that can go.
    pub(super) from: u64,
    /// The version that replaced it. Equal to `from` when one transaction set and deleted a key:
    /// then nothing was replaced, and only the deletion itself is to be swept.
    pub(super) until: u64,
}

/// Floor, pins, and what they hold.
#[derive(Debug, Default)]
pub(super) struct Past {
    floor: u64,
    pins: BTreeMap<u64, Pin>,
    /// Garbage whose pin ended, by the list in which it waited.
    released: Vec<Vec<Garbage>>,
}

#[derive(Debug, Default)]
struct Pin {
    count: u64,
    held: Vec<Garbage>,
}

impl Past {
    pub(super) fn new(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Raises the floor; a lower one changes nothing.
    pub(super) fn raise(&mut self, floor: u64) -> u64 {
        self.floor = self.floor.max(floor);
        self.floor
    }

    pub(super) fn is_pinned(&self, at: u64) -> bool {
        self.pins.contains_key(&at)
    }

    pub(super) fn pin(&mut self, at: u64) -> Result<(), EngineError> {
        if at < self.floor && !self.is_pinned(at) {
            return Err(EngineError::Compacted { asked: at, oldest: self.floor });
        }
        self.pins.entry(at).or_default().count += 1;
        Ok(())
    }

    pub(super) fn unpin(&mut self, at: u64) {
        let pin = self.pins.get_mut(&at).expect("each unpin ends one pin of that version");
        assert!(pin.count > 0, "a pin without a holder is gone");
        pin.count -= 1;
        if pin.count > 0 {
            return;
        }
        let held = self.pins.remove(&at).map(|pin| pin.held).unwrap_or_default();
        if let Some(last) = held.last() {
            debug_assert!((last.from..last.until).contains(&at), "it held what its readers need");
            self.released.push(held);
        }
    }

    /// Whether an unpin left garbage behind.
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Whether garbage waits here; linear in the pins, for tests.
    pub(super) fn holds_garbage(&self) -> bool {
        self.has_released() || self.pins.values().any(|pin| !pin.held.is_empty())
    }

    /// One entry whose pin ended.
    pub(super) fn take_released(&mut self) -> Option<Garbage> {
        loop {
            let list = self.released.last_mut()?;
            match list.pop() {
                Some(garbage) => return Some(garbage),
                None => drop(self.released.pop()),
            }
        }
    }

    /// Gives garbage to a pin that still needs it, or back when none does.
    pub(super) fn hold(&mut self, garbage: Garbage) -> Option<Garbage> {
        debug_assert!(garbage.until <= self.floor, "garbage is swept below the floor only");
        if garbage.from == garbage.until {
            return Some(garbage);
        }
        match self.pins.range_mut(garbage.from..garbage.until).next_back() {
            Some((_, pin)) => {
                debug_assert!(pin.count > 0, "nothing waits for a pin that ended");
                pin.held.push(garbage);
                None
            }
            None => Some(garbage),
        }
    }
}
