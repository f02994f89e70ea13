//! Every transaction of a run in commit order, and the state after any prefix of them.
//!
//! The reference that recovered states are held against: a map, changed by one operation after the
//! other. Invariant: versions are dense from 1; it is filled by the run that did not crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rekindle_database::{Observer, Operation};

/// Keyspace and key to version and value.
pub type Rows = BTreeMap<(u16, Arc<[u8]>), (u64, Arc<[u8]>)>;

/// How many transactions lie between two states that are kept.
const STRIDE: usize = 16;

#[derive(Debug)]
enum Change {
    Put(u16, Arc<[u8]>, Arc<[u8]>),
    Delete(u16, Arc<[u8]>),
    DeleteRange(u16, Arc<[u8]>, Arc<[u8]>),
}

#[derive(Debug, Default)]
struct Inner {
    transactions: Vec<Vec<Change>>,
    /// Log time of each.
    log_times_ms: Vec<u64>,
    /// The state after `n * STRIDE` transactions.
    kept: Vec<Arc<Rows>>,
    newest: Rows,
    lost: bool,
}

/// What was committed.
#[derive(Debug, Default)]
pub struct History {
    inner: Mutex<Inner>,
}

impl History {
    /// How many transactions there are; the version of the last one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.with(|inner| inner.transactions.len() as u64)
    }

    /// Whether the journal told that it failed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.with(|inner| inner.lost)
    }

    /// The state after the first `version` transactions; `None` when there are fewer.
    #[must_use]
    pub fn state_at(&self, version: u64) -> Option<Arc<Rows>> {
        let version = usize::try_from(version).ok()?;
        self.with(|inner| {
            if version > inner.transactions.len() {
                return None;
            }
            let base = version / STRIDE;
            let kept = match base.checked_sub(1) {
                Some(index) => Arc::clone(inner.kept.get(index)?),
                None => Arc::default(),
            };
            if version.is_multiple_of(STRIDE) {
                return Some(kept);
            }
            let mut rows = Rows::clone(&kept);
            for (at, changes) in inner.transactions.iter().enumerate().take(version) {
                if at >= base * STRIDE {
                    apply(&mut rows, at as u64 + 1, changes);
                }
            }
            Some(Arc::new(rows))
        })
    }

    /// The last version whose log time is at or before this one.
    #[must_use]
    pub fn version_at(&self, log_time_ms: u64) -> u64 {
        self.with(|inner| inner.log_times_ms.partition_point(|ms| *ms <= log_time_ms) as u64)
    }

    /// Log time of a version.
    #[must_use]
    pub fn log_time_of(&self, version: u64) -> Option<u64> {
        let index = usize::try_from(version.checked_sub(1)?).ok()?;
        self.with(|inner| inner.log_times_ms.get(index).copied())
    }

    /// The state after the first `version` transactions without some of them.
    #[must_use]
    pub fn state_without(&self, version: u64, lost: &BTreeSet<u64>) -> Rows {
        let mut rows = Rows::new();
        self.with(|inner| {
            for (at, changes) in (1..=version).zip(&inner.transactions) {
                if !lost.contains(&at) {
                    apply(&mut rows, at, changes);
                }
            }
        });
        rows
    }

    fn with<T>(&self, body: impl FnOnce(&mut Inner) -> T) -> T {
        body(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn apply(rows: &mut Rows, version: u64, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(keyspace, key, value) => {
                rows.insert((*keyspace, Arc::clone(key)), (version, Arc::clone(value)));
            }
            Change::Delete(keyspace, key) => {
                rows.remove(&(*keyspace, Arc::clone(key)));
            }
            Change::DeleteRange(keyspace, start, end) => {
                let from = (*keyspace, Arc::clone(start));
                let inside = |key: &Arc<[u8]>| end.is_empty() || **key < **end;
                let doomed: Vec<_> = rows
                    .range(from..)
                    .map(|(key, _)| key)
                    .take_while(|(space, key)| space == keyspace && inside(key))
                    .cloned()
                    .collect();
                doomed.iter().for_each(|key| drop(rows.remove(key)));
            }
        }
    }
}

impl Observer for History {
    fn applied(
        &self,
        version: u64,
        log_time_ms: u64,
        operations: &mut dyn Iterator<Item = Operation<'_>>,
    ) {
        let changes: Vec<Change> = operations
            .map(|operation| match operation {
                Operation::Put { keyspace, key, value } => {
                    Change::Put(keyspace.0, key.into(), value.into())
                }
                Operation::Delete { keyspace, key } => Change::Delete(keyspace.0, key.into()),
                Operation::DeleteRange { keyspace, start, end } => {
                    Change::DeleteRange(keyspace.0, start.into(), end.into())
                }
            })
            .collect();
        self.with(|inner| {
            assert_eq!(version, inner.transactions.len() as u64 + 1, "versions are dense");
            apply(&mut inner.newest, version, &changes);
            inner.transactions.push(changes);
            inner.log_times_ms.push(log_time_ms);
            if inner.transactions.len().is_multiple_of(STRIDE) {
                inner.kept.push(Arc::new(inner.newest.clone()));
            }
        });
    }

    fn lost(&self) {
        self.with(|inner| inner.lost = true);
    }
}

/// The first difference between two states, for people.
#[must_use]
pub fn difference(expected: &Rows, found: &Rows) -> Option<String> {
    let show = |row: Option<&(u64, Arc<[u8]>)>| match row {
        Some((version, value)) => format!("version {version} \"{}\"", value.escape_ascii()),
        None => "nothing".to_owned(),
    };
    let keys = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key)));
    for key in keys {
        let (wanted, there) = (expected.get(key), found.get(key));
        if wanted != there {
            let (keyspace, name) = (key.0, key.1.escape_ascii());
            let (wanted, there) = (show(wanted), show(there));
            return Some(format!(
                "keyspace {keyspace} key \"{name}\": expected {wanted}, found {there}"
            ));
        }
    }
    None
}
