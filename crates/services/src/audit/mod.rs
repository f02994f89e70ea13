//! The audit log: who did what to what, when, why, and what came of it.
//!
//! A keyspace of its own. Invariants: a record is written by the transaction that does what it
//! tells, so both are there or neither; records are only ever added, with dense numbers, and never
//! changed. Above [`AUDIT_MAX`] the oldest go, a block at a time, and a record says so: what is
//! missing in front is never a secret. Nobody's payloads, tokens or secrets are in it.

mod losses;
mod restored;
mod row;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use rekindle_database::{Database, KeyspaceId, Row, Snapshot, Transaction};

pub(crate) use losses::tell as tell_losses;
pub(crate) use restored::record as record_restore;
pub use row::{AuditRecord, NewAudit};

use crate::bytes::truncated;
use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::keys::audit as key;
use crate::limits::{AUDIT_BLOCK, AUDIT_LIST_MAX, AUDIT_MAX, AUDIT_TEXT_BYTES_MAX};
use crate::ticket::{Acknowledged, Ticket};

/// Behind every number that a store gives.
const END: u64 = u64::MAX;

/// The audit log of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Audit {
    core: Arc<Core>,
}

/// A page of the log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The records that can be read.
    pub records: Vec<AuditRecord>,
    /// Numbers of rows that cannot: they stay as they are.
    pub unreadable: Vec<u64>,
    /// Whether more follow.
    pub more: bool,
}

impl Audit {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Records what happened outside of a transaction; blocks until it is acknowledged. Answers
    /// the record's number.
    pub fn record(&self, entry: &NewAudit<'_>) -> Result<Acknowledged<u64>, Error> {
        entry.check()?;
        self.core.submit(&mut Record(*entry))?.wait()
    }

    /// The same, on its way.
    pub async fn submit_record(&self, entry: &NewAudit<'_>) -> Result<Ticket<u64>, Error> {
        entry.check()?;
        self.core.submit_async(&mut Record(*entry)).await
    }

    /// Up to `limit` records behind number `after`; without it the newest ones. Oldest first.
    pub fn list(&self, after: Option<u64>, limit: usize) -> Result<AuditPage, Error> {
        self.core.alive()?;
        let limit = limit.clamp(1, AUDIT_LIST_MAX);
        let snapshot = self.core.database.snapshot()?;
        let Some(after) = after else {
            let mut rows = scan(&snapshot, &self.core, (0, END), limit, true)?;
            rows.reverse();
            return Ok(page(&rows));
        };
        let mut rows = scan(&snapshot, &self.core, (after, END), limit + 1, false)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(AuditPage { more, ..page(&rows) })
    }

    /// What all records of this action are about.
    fn targets_of(&self, action: &str) -> Result<BTreeSet<String>, Error> {
        let mut targets = BTreeSet::new();
        let mut after = 0;
        loop {
            let page = self.list(Some(after), AUDIT_LIST_MAX)?;
            let last = page.records.iter().map(|record| record.number);
            let last = last.chain(page.unreadable.iter().copied()).max();
            let of = page.records.into_iter().filter(|record| record.action == action);
            targets.extend(of.map(|record| record.target));
            match last {
                Some(last) if page.more && last > after => after = last,
                _ => return Ok(targets),
            }
        }
    }

    /// The newest record about `target` whose action begins with `action`.
    pub fn last_of(&self, target: &str, action: &str) -> Result<Option<AuditRecord>, Error> {
        let snapshot = self.core.database.snapshot()?;
        let mut before = END;
        loop {
            let rows = scan(&snapshot, &self.core, (0, before), AUDIT_LIST_MAX, true)?;
            let of = |row: &Row| {
                let record = read(row).ok()?;
                let is = record.target == target && record.action.starts_with(action);
                is.then_some(record)
            };
            if let Some(found) = rows.iter().find_map(of) {
                return Ok(Some(found));
            }
            let last = rows.last().and_then(|row| key::parse(&row.key).ok());
            match last {
                Some(last) if rows.len() == AUDIT_LIST_MAX => before = last,
                _ => return Ok(None),
            }
        }
    }
}

/// A text as a record can hold it: on one line, within the bound.
#[must_use]
pub fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    truncated(&plain, AUDIT_TEXT_BYTES_MAX).to_owned()
}

/// Rows with numbers behind the first and before the second.
fn scan(
    snapshot: &Snapshot,
    core: &Core,
    (after, before): (u64, u64),
    limit: usize,
    reverse: bool,
) -> Result<Vec<Row>, Error> {
    let (start, end) = (key::encode(after), key::encode(before));
    let range = (Bound::Excluded(&start[..]), Bound::Excluded(&end[..]));
    Ok(snapshot.scan(core.keyspaces.audit, range, limit, reverse)?)
}

fn read(row: &Row) -> Result<AuditRecord, u64> {
    let number = key::parse(&row.key).map_err(|_| 0_u64)?;
    AuditRecord::parse(number, row.version, &row.value).map_err(|_| number)
}

fn page(rows: &[Row]) -> AuditPage {
    let mut page = AuditPage::default();
    for row in rows {
        match read(row) {
            Ok(record) => page.records.push(record),
            Err(number) => page.unreadable.push(number),
        }
    }
    page
}

/// Adds a record to a transaction that does what it tells; answers its number. The log line says
/// the same to whoever keeps logs.
pub(crate) fn add(core: &Core, txn: &mut Transaction, entry: &NewAudit<'_>) -> Result<u64, Stop> {
    add_to(&core.database, core.keyspaces.audit, txn, entry)
}

/// The same, of a store that nobody leads.
pub(crate) fn add_to(
    database: &Database,
    keyspace: KeyspaceId,
    txn: &mut Transaction,
    entry: &NewAudit<'_>,
) -> Result<u64, Stop> {
    entry.check()?;
    let last = last(keyspace, txn)?;
    let number = last + 1;
    put(database, keyspace, txn, number, entry);
    if number > AUDIT_MAX && number.is_multiple_of(AUDIT_BLOCK) {
        let first_kept = number - AUDIT_MAX + 1;
        let (start, end) = (key::encode(0), key::encode(first_kept));
        txn.delete_range(keyspace, &start, &end);
        let target = format!("records before {first_kept}");
        let result = format!("{AUDIT_MAX} are kept");
        let gone = NewAudit {
            who: "rekindle",
            action: "audit.trim",
            target: &target,
            why: "the log is at its bound",
            result: &result,
        };
        put(database, keyspace, txn, number + 1, &gone);
    }
    Ok(number)
}

/// The newest number; 0 before the first.
fn last(keyspace: KeyspaceId, txn: &mut Transaction) -> Result<u64, Stop> {
    let (start, end) = (key::encode(0), key::encode(END));
    let range = (Bound::Excluded(&start[..]), Bound::Excluded(&end[..]));
    let newest = txn.scan(keyspace, range, 1, true)?;
    let Some(row) = newest.first() else { return Ok(0) };
    let number = key::parse(&row.key).map_err(|malformed| Error::corrupt(malformed.to_string()))?;
    Ok(number)
}

fn put(
    database: &Database,
    keyspace: KeyspaceId,
    txn: &mut Transaction,
    number: u64,
    entry: &NewAudit<'_>,
) {
    let wall_ms = database.env().clock.wall_ms();
    let value = entry.encode(database.log_time_ms(), wall_ms);
    txn.put(keyspace, &key::encode(number), &value);
}

/// A record of what happened elsewhere.
struct Record<'a>(NewAudit<'a>);

impl Command for Record<'_> {
    type Value = u64;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<u64>, Stop> {
        Ok(Answer::new(add(core, txn, &self.0)?))
    }
}
