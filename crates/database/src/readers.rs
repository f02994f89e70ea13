//! Who reads the past: running transactions and snapshots, and how old they may become.
//!
//! Invariant: a reader at the newest version holds nothing back and never expires; an older one
//! does when its age or the history's size is above its limit, and is told `Compacted` from then
//! on.

use std::collections::BTreeMap;

/// Readers at one version.
#[derive(Clone, Copy, Debug)]
struct Group {
    count: u64,
    /// Boot time at which the last of them came, milliseconds.
    since_ms: u64,
}

/// Transactions that have read something, by the version that they read at.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    open: BTreeMap<u64, Group>,
    /// Readers below this version were given up.
    floor: u64,
    expired: u64,
}

impl Readers {
    /// A transaction reads at this version from now on.
    pub(crate) fn register(&mut self, at: u64, now_ms: u64) {
        assert!(at >= self.floor, "new readers read the newest version");
        let group = self.open.entry(at).or_insert(Group { count: 0, since_ms: now_ms });
        group.count += 1;
        group.since_ms = now_ms;
    }

    /// It ended.
    pub(crate) fn release(&mut self, at: u64) {
        let Some(group) = self.open.get_mut(&at) else { return };
        assert!(group.count > 0, "a reader ends once");
        group.count -= 1;
        if group.count == 0 {
            self.open.remove(&at);
        }
    }

    /// The oldest version that somebody reads at.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.open.first_key_value().map(|(at, _)| *at)
    }

    /// Readers below this version were given up.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// How many were given up.
    pub(crate) fn expired(&self) -> u64 {
        self.expired
    }

    /// How many read.
    pub(crate) fn len(&self) -> u64 {
        self.open.values().map(|group| group.count).sum()
    }

    /// Gives up the readers below `latest` that came before `before_ms`.
    pub(crate) fn expire(&mut self, latest: u64, before_ms: u64) {
        while let Some((&at, group)) = self.open.first_key_value() {
            if at >= latest || group.since_ms >= before_ms {
                break;
            }
            self.expire_oldest(latest);
        }
    }

    /// Gives up the oldest readers, unless they read the newest version; whether there were any.
    pub(crate) fn expire_oldest(&mut self, latest: u64) -> bool {
        let Some((&at, &group)) = self.open.first_key_value() else { return false };
        if at >= latest {
            return false;
        }
        self.open.remove(&at);
        self.expired += group.count;
        assert!(self.floor <= at && at < latest, "the floor rises, and not above the newest");
        self.floor = at + 1;
        debug_assert!(self.oldest().is_none_or(|oldest| oldest >= self.floor));
        true
    }

    /// Forgets everybody: what was latest is gone. `visible` is the newest version again.
    pub(crate) fn reset(&mut self, visible: u64) {
        self.open.clear();
        self.floor = self.floor.min(visible);
    }
}

/// Open snapshots. Each holds a pin of the engine.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    open: BTreeMap<u64, (u64, u64)>,
    next_id: u64,
    expired: u64,
}

impl Snapshots {
    /// A snapshot of `version` was pinned; its id.
    pub(crate) fn register(&mut self, version: u64, now_ms: u64) -> u64 {
        self.next_id += 1;
        let before = self.open.insert(self.next_id, (version, now_ms));
        assert!(before.is_none(), "an id is used once");
        self.next_id
    }

    /// It ended; whether its pin is still held.
    pub(crate) fn release(&mut self, id: u64) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Whether it may still read.
    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// How many are open.
    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.open.len()).expect("a usize fits a u64")
    }

    /// How many were given up.
    pub(crate) fn expired(&self) -> u64 {
        self.expired
    }

    /// Gives up those below `visible` that were opened before `before_ms`; their versions, whose
    /// pins the caller releases.
    pub(crate) fn expire(&mut self, visible: u64, before_ms: u64) -> Vec<u64> {
        let old: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, (version, since_ms))| *version < visible && *since_ms < before_ms)
            .map(|(id, _)| *id)
            .collect();
        old.into_iter().filter_map(|id| self.expire_one(id)).collect()
    }

    /// Gives up the one with the oldest version, unless it shows the newest; its version.
    pub(crate) fn expire_oldest(&mut self, visible: u64) -> Option<u64> {
        let (&id, &(version, _)) = self.open.iter().min_by_key(|(_, (version, _))| *version)?;
        if version < visible { self.expire_one(id) } else { None }
    }

    fn expire_one(&mut self, id: u64) -> Option<u64> {
        let (version, _) = self.open.remove(&id)?;
        self.expired += 1;
        Some(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_the_newest_version_never_expire() {
        let mut readers = Readers::default();
        readers.register(5, 0);
        readers.expire(5, 1_000);
        assert_eq!((readers.len(), readers.oldest(), readers.expired()), (1, Some(5), 0));
        readers.expire(6, 1_000);
        assert_eq!((readers.len(), readers.floor(), readers.expired()), (0, 6, 1));
        readers.register(6, 1_000);
        readers.release(5);
        readers.release(6);
        assert_eq!(readers.len(), 0);
        assert!(!readers.expire_oldest(9));
    }

    #[test]
    fn snapshots_expire_by_age_and_from_the_oldest_version() {
        let mut snapshots = Snapshots::default();
        let a = snapshots.register(1, 0);
        let b = snapshots.register(2, 50);
        let c = snapshots.register(9, 0);
        assert_eq!(snapshots.expire(9, 10), vec![1]);
        assert!(!snapshots.is_open(a) && snapshots.is_open(b) && snapshots.is_open(c));
        assert_eq!(snapshots.expire_oldest(9), Some(2));
        assert_eq!(snapshots.expire_oldest(9), None);
        assert!(!snapshots.release(b));
        assert!(snapshots.release(c));
        assert_eq!((snapshots.len(), snapshots.expired()), (0, 2));
    }
}
