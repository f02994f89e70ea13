//! Who reads the past: running transactions and snapshots, and how old they may become.
//!
//! Invariant: a reader at the newest version holds nothing back and never expires; an older one
//! does when its age is above its limit, or the history's size is and it lags behind, and is told
//! `Compacted` from then on.

use std::collections::BTreeMap;

/// A reader that is given up for the history's size lags so many versions behind, or
const LAG_VERSIONS: u64 = 256;

/// is so old, milliseconds. What is younger holds next to nothing: the history is large because
/// something else holds it (a checkpoint that is written), or because it is swept as it is written.
const LAG_MS: u64 = 1_000;

/// What tells whether a reader lags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    pub(crate) visible: u64,
    pub(crate) now_ms: u64,
}

impl Lag {
    fn is_of(self, at: u64, since_ms: u64) -> bool {
        let lagged = self.visible.saturating_sub(at);
        lagged >= LAG_VERSIONS || (lagged > 0 && self.now_ms.saturating_sub(since_ms) >= LAG_MS)
    }
}

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

    /// Gives up the oldest readers where they lag; whether there were any.
    pub(crate) fn expire_lagging(&mut self, lag: Lag) -> bool {
        let oldest = self.open.first_key_value();
        oldest.is_some_and(|(&at, group)| lag.is_of(at, group.since_ms))
            && self.expire_oldest(lag.visible)
    }

    /// Gives up the oldest readers, unless they read the newest version; whether there were any.
    fn expire_oldest(&mut self, latest: u64) -> bool {
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

    /// Gives up the one with the oldest version, where it lags; its version.
    pub(crate) fn expire_oldest(&mut self, lag: Lag) -> Option<u64> {
        let oldest = self.open.iter().min_by_key(|(_, (version, _))| *version);
        let (&id, &(version, since_ms)) = oldest?;
        if lag.is_of(version, since_ms) { self.expire_one(id) } else { None }
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

    /// A transaction that began a moment ago is not what makes the history large.
    #[test]
    fn only_readers_that_lag_are_given_up_for_the_size() {
        let mut readers = Readers::default();
        readers.register(5, 100);
        assert!(!readers.expire_lagging(Lag { visible: 260, now_ms: 1_099 }));
        assert!(!readers.expire_lagging(Lag { visible: 5, now_ms: 99_999 }), "it is the newest");
        assert!(readers.expire_lagging(Lag { visible: 6, now_ms: 1_100 }), "by its age");
        readers.register(10, 2_000);
        assert!(readers.expire_lagging(Lag { visible: 266, now_ms: 2_001 }), "by versions");
        assert!(!readers.expire_lagging(Lag { visible: 999, now_ms: 99_999 }), "nobody is left");
    }

    #[test]
    fn snapshots_expire_by_age_and_from_the_oldest_version() {
        let mut snapshots = Snapshots::default();
        let a = snapshots.register(1, 0);
        let b = snapshots.register(2, 50);
        let c = snapshots.register(9, 0);
        assert_eq!(snapshots.expire(9, 10), vec![1]);
        assert!(!snapshots.is_open(a) && snapshots.is_open(b) && snapshots.is_open(c));
        // It came at 50.
        assert_eq!(snapshots.expire_oldest(Lag { visible: 9, now_ms: 1_049 }), None);
        assert_eq!(snapshots.expire_oldest(Lag { visible: 9, now_ms: 1_050 }), Some(2));
        assert_eq!(snapshots.expire_oldest(Lag { visible: 9, now_ms: 9_999 }), None);
        assert!(!snapshots.release(b));
        assert!(snapshots.release(c));
        assert_eq!((snapshots.len(), snapshots.expired()), (0, 2));
    }
}
