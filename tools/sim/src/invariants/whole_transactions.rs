//! S1: a transaction is never half visible. What it did carries its mark: the key, the job that it
//! submitted, the result of the job that it completed; all of them are there, or none.

use std::collections::BTreeMap;

use rekindle_services::kv::{ScanRequest, Scope};

use super::Check;
use crate::jobs::execute::all_jobs;
use crate::jobs::plan::mark_key;
use crate::jobs::read_stamp;
use crate::model::Model;
use crate::store::Store;

/// Looks for marks in the kv service and in jobs.
///
/// # Errors
/// With a mark that is in one place and not in another.
pub fn check(model: &Model, store: &Store) -> Check {
    let marks = &model.jobs.marks;
    let request = ScanRequest { start: b"mark-", end: b"mark.", ..ScanRequest::default() };
    let page = store.services.kv().scan(&Scope::default(), &request);
    let rows = page.map_err(|error| format!("scanning marks: {error}"))?.rows;
    let found: BTreeMap<_, _> = rows.into_iter().map(|row| (row.key, row.version)).collect();
    let expected: BTreeMap<_, _> =
        marks.iter().map(|(mark, version)| (mark_key(*mark), *version)).collect();
    if found != expected {
        return Err(format!("transactions {expected:?} were done, marks are {found:?}"));
    }
    for info in all_jobs(store)? {
        let id = info.id;
        let detail = store.services.jobs().show(id);
        let detail = detail.map_err(|error| format!("job {id} cannot be shown: {error}"))?;
        let submitted = read_stamp(&detail.payload).map_or(0, |(_, mark)| mark);
        let result = detail.result.as_ref().and_then(|result| result.first_chunk());
        let completed = result.map_or(0, |bytes| u64::from_be_bytes(*bytes));
        for mark in [submitted, completed].into_iter().filter(|mark| *mark != 0) {
            let key = mark_key(mark);
            let done = found.get(&key);
            let done = done.ok_or_else(|| format!("half of transaction {mark} is in job {id}"))?;
            // A job that was tried again has a later version.
            if mark == submitted && info.version < *done {
                return Err(format!("job {id} is older than its transaction {mark}"));
            }
        }
    }
    Ok(())
}
