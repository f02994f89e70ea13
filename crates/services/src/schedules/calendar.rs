//! The schedules by what is due next: derived, fed by apply events, rebuilt by recovery.
//!
//! Invariant: a schedule is here with the state of its row; nothing is fired from here, only named.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::schedules::cron::Pattern;
use crate::schedules::row::Stored;

/// A schedule, and when it fires next.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) stored: Arc<Stored>,
    /// When it fires next, wall time; `None`: never again.
    pub(crate) next_ms: Option<u64>,
}

/// All schedules.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Calendar {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A schedule is as its row says. Whether it is due earlier than all others.
    pub(crate) fn put(&self, name: &str, stored: Stored, pattern: &Pattern) -> bool {
        let next_ms = pattern.next_ms(stored.handled_ms);
        let entry = Entry { stored: Arc::new(stored), next_ms };
        let mut entries = self.lock();
        entries.insert(name.to_owned(), entry);
        let first = entries.values().filter_map(|entry| entry.next_ms).min();
        next_ms.is_some() && first == next_ms
    }

    /// It is gone.
    pub(crate) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// The journal failed: what is here is no longer true.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The one with this name.
    pub(crate) fn get(&self, name: &str) -> Option<Entry> {
        self.lock().get(name).cloned()
    }

    /// Up to `limit` behind `after`, in the order of their names, and whether more follow.
    pub(crate) fn list(&self, after: &str, limit: usize) -> (Vec<(String, Entry)>, bool) {
        let entries = self.lock();
        let behind = entries.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let mut found: Vec<(String, Entry)> = behind
            .take(limit.saturating_add(1))
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }

    /// The names of those that are due at this wall time, and when the next one is.
    pub(crate) fn due(&self, wall_ms: u64) -> (Vec<String>, Option<u64>) {
        let entries = self.lock();
        let is_due = |entry: &Entry| entry.next_ms.is_some_and(|next_ms| next_ms <= wall_ms);
        let due = entries.iter().filter(|(_, entry)| is_due(entry));
        let due = due.map(|(name, _)| name.clone()).collect();
        let next = entries.values().filter(|entry| !is_due(entry)).filter_map(|it| it.next_ms);
        (due, next.min())
    }
}
