//! Who works: the claims of this moment, by the name that their holders gave.
//!
//! Derived from leases and stored nowhere. Invariants: at most [`WORKERS_CLAIMS_MAX`] claims are
//! looked at, those that end first of each type, and what was not looked at is told; a claim that
//! ended between the index and the snapshot is nobody's.

use std::collections::BTreeMap;

use crate::claims::Subject;
use crate::claims::lease::Lease;
use crate::error::Error;
use crate::exec::Core;
use crate::keys::subject as key;
use crate::limits::WORKERS_CLAIMS_MAX;

/// Somebody who holds claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// The name that they gave; empty: none.
    pub name: String,
    /// How many jobs of which types, in the order of the types' names.
    pub types: BTreeMap<String, u64>,
    /// When the oldest of the claims was granted, log time in milliseconds.
    pub oldest_ms: u64,
    /// When the first of them runs out, log time in milliseconds.
    pub deadline_ms: u64,
}

impl WorkerInfo {
    /// How many jobs they have.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.types.values().sum()
    }
}

/// Who works now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// In the order of their names.
    pub workers: Vec<WorkerInfo>,
    /// How many claims were looked at.
    pub looked_at: u64,
    /// There are more claims than were looked at.
    pub more: bool,
}

/// Who holds claims now.
pub(super) fn workers(core: &Core) -> Result<Workers, Error> {
    let (claimed, more) = core.index.claimed_jobs(WORKERS_CLAIMS_MAX);
    let snapshot = core.database.snapshot()?;
    let mut found: BTreeMap<String, WorkerInfo> = BTreeMap::new();
    let mut looked_at = 0;
    for (kind, number) in claimed {
        let key = key::encode(Subject { line: kind.id, number });
        let Some(row) = snapshot.get(core.keyspaces.leases, &key)? else { continue };
        // One that cannot be read is recovery's to tell; it has no holder that is known.
        let Ok(lease) = Lease::parse(&row.bytes, row.version) else { continue };
        looked_at += 1;
        let worker = found.entry(lease.owner).or_insert_with_key(|name| WorkerInfo {
            name: name.clone(),
            types: BTreeMap::new(),
            oldest_ms: u64::MAX,
            deadline_ms: u64::MAX,
        });
        *worker.types.entry(kind.name.clone()).or_default() += 1;
        worker.oldest_ms = worker.oldest_ms.min(lease.granted_ms);
        worker.deadline_ms = worker.deadline_ms.min(lease.deadline_ms);
    }
    Ok(Workers { workers: found.into_values().collect(), looked_at, more })
}
