//! S1: a transaction is never half visible. What it did carries its mark: the key, the job that it
//! submitted, the result of the job that it completed; all of them are there, or none.

use std::collections::BTreeMap;

use rekindle_services::kv::{ScanRequest, Scope};

use super::Check;
use crate::jobs::plan::mark_key;
use crate::model::Model;
use crate::store::Store;

/// Looks for marks in the kv service, and for those of all jobs among them; what the jobs carry and
/// resulted in was held against the model before.
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
    for (id, job) in &model.jobs.jobs {
        let marks = [job.task.mark, job.result.unwrap_or(0)];
        let half =
            marks.into_iter().find(|mark| *mark != 0 && !found.contains_key(&mark_key(*mark)));
        if let Some(mark) = half {
            return Err(format!("half of transaction {mark} is in job {id}"));
        }
    }
    Ok(())
}
