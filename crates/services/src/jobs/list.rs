//! Pages of jobs, over one type or all of them, in the order of their submission or the other way
//! round.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use rekindle_database::Snapshot;

use crate::claims::Subject;
use crate::error::Error;
use crate::exec::Core;
use crate::jobs::kind::{JobType, check_name};
use crate::jobs::look::{Now, Stored, Strand, info};
use crate::jobs::{JobFilter, JobId, JobInfo, JobPage, not_a_job};
use crate::keys::{Keyspaces, job_unique, subject as key};
use crate::limits::{LIST_HISTORIES_MAX, LIST_JOBS_LOOKED_AT, LIST_JOBS_MAX};

/// Rows that are read at once of one of a few types.
const CHUNK: usize = 256;
/// The same when there are many types.
const CHUNK_OF_MANY: usize = 8;
/// More types than these are many.
const FEW: usize = 32;

/// The jobs of one type, a chunk at a time.
struct Source {
    kind: Arc<JobType>,
    chunk: usize,
    newest_first: bool,
    /// The number behind which the next chunk begins.
    behind: Option<u64>,
    buffer: VecDeque<JobInfo>,
    dry: bool,
    events: bool,
}

impl Source {
    /// The next job, which is not taken.
    fn peek(
        &mut self,
        snapshot: &Snapshot,
        keyspaces: &Keyspaces,
        now: Now,
    ) -> Result<Option<JobId>, Error> {
        while self.buffer.is_empty() && !self.dry {
            self.fill(snapshot, keyspaces, now)?;
        }
        Ok(self.buffer.front().map(|job| job.id))
    }

    fn fill(&mut self, snapshot: &Snapshot, keyspaces: &Keyspaces, now: Now) -> Result<(), Error> {
        let (first, behind) = key::range(self.kind.id);
        let cursor = self.behind.map(|number| key::encode(Subject { line: self.kind.id, number }));
        let cursor = cursor.as_ref().map(|key| Bound::Excluded(&key[..]));
        let whole = (Bound::Included(&first[..]), Bound::Excluded(&behind[..]));
        let range = match (cursor, self.newest_first) {
            (Some(cursor), false) => (cursor, whole.1),
            (Some(cursor), true) => (whole.0, cursor),
            (None, _) => whole,
        };
        let rows = snapshot.scan(keyspaces.jobs, range, self.chunk, self.newest_first)?;
        self.dry = rows.len() < self.chunk;
        let (Some(from), Some(to)) = (rows.first(), rows.last()) else { return Ok(()) };
        let window = (from.key.as_ref(), to.key.as_ref());
        let size = (rows.len(), self.newest_first);
        let strand = |keyspace| Strand::read(snapshot, keyspace, window, size);
        let mut outcomes = strand(keyspaces.job_outcomes)?;
        let mut leases = strand(keyspaces.leases)?;
        let mut attempts = strand(keyspaces.attempts)?;
        for row in rows {
            let Ok(id) = key::parse(&row.key) else { continue };
            self.behind = Some(id.number);
            let stored = Stored {
                outcome: outcomes.take(&row.key),
                lease: leases.take(&row.key),
                attempts: attempts.take(&row.key),
                job: Some(rekindle_database::Value { version: row.version, bytes: row.value }),
            };
            let mut job = info(&stored, id, &self.kind, now);
            if self.events {
                job.events = stored.events();
            }
            self.buffer.push_back(job);
        }
        Ok(())
    }
}

/// The types that a filter looks at: those that have jobs of its statuses.
fn kinds(core: &Core, filter: &JobFilter<'_>) -> Result<Vec<Arc<JobType>>, Error> {
    let mut kinds = match filter.kind {
        None => core.index.job_types(),
        Some(name) => {
            check_name(name)?;
            core.index.job_type(name).into_iter().collect()
        }
    };
    if !filter.statuses.is_empty() {
        kinds.retain(|kind| {
            let counts = core.index.job_counts(kind.id);
            filter.statuses.iter().any(|status| counts.of(*status) > 0)
        });
    }
    Ok(kinds)
}

/// A page of jobs.
pub(crate) fn list(core: &Core, filter: &JobFilter<'_>) -> Result<JobPage, Error> {
    if let Some(after) = filter.after.filter(|after| !after.is_job()) {
        return Err(not_a_job(after));
    }
    if let Some(unique) = filter.unique_key {
        return of_key(core, filter, unique);
    }
    let events = filter.events;
    let most = if events { LIST_HISTORIES_MAX } else { LIST_JOBS_MAX };
    let limit = if filter.limit == 0 { most } else { filter.limit.min(most) };
    let kinds = kinds(core, filter)?;
    let chunk = if kinds.len() > FEW { CHUNK_OF_MANY } else { CHUNK };
    let newest_first = filter.newest_first;
    let behind = filter.after.map(|after| after.number);
    let of = |kind| {
        let buffer = VecDeque::new();
        Source { kind, chunk, newest_first, behind, buffer, dry: false, events }
    };
    let mut sources: Vec<Source> = kinds.into_iter().map(of).collect();
    let snapshot = core.database.snapshot()?;
    let now = Now::of(&core.database);
    let mut page = JobPage::default();
    for _ in 0..LIST_JOBS_LOOKED_AT {
        let Some(job) = take_next(&mut sources, &snapshot, &core.keyspaces, now, newest_first)?
        else {
            page.next = None;
            return Ok(page);
        };
        page.next = Some(job.id);
        if filter.statuses.is_empty() || filter.statuses.contains(&job.status) {
            page.jobs.push(job);
        }
        if page.jobs.len() == limit {
            break;
        }
    }
    if take_next(&mut sources, &snapshot, &core.keyspaces, now, newest_first)?.is_none() {
        page.next = None;
    }
    Ok(page)
}

/// Takes the job whose turn it is among all types.
fn take_next(
    sources: &mut [Source],
    snapshot: &Snapshot,
    keyspaces: &Keyspaces,
    now: Now,
    newest_first: bool,
) -> Result<Option<JobInfo>, Error> {
    let mut best: Option<(u64, usize)> = None;
    for (at, source) in sources.iter_mut().enumerate() {
        let Some(id) = source.peek(snapshot, keyspaces, now)? else { continue };
        let earlier = |(number, _): (u64, usize)| {
            if newest_first { id.number > number } else { id.number < number }
        };
        if best.is_none_or(earlier) {
            best = Some((id.number, at));
        }
    }
    let source = best.and_then(|(_, at)| sources.get_mut(at));
    Ok(source.and_then(|source| source.buffer.pop_front()))
}

/// The job that has a unique key.
fn of_key(core: &Core, filter: &JobFilter<'_>, unique: &str) -> Result<JobPage, Error> {
    let Some(name) = filter.kind else {
        return Err(Error::invalid("a unique key belongs to a job type: name that, too"));
    };
    check_name(name)?;
    let Some(kind) = core.index.job_type(name) else { return Ok(JobPage::default()) };
    let snapshot = core.database.snapshot()?;
    let keyspaces = &core.keyspaces;
    let row = snapshot.get(keyspaces.job_unique, &job_unique::encode(kind.id, unique))?;
    let number = row.and_then(|row| super::submit::holder(&row.bytes));
    let Some(number) = number else { return Ok(JobPage::default()) };
    let id = Subject { line: kind.id, number };
    let key = key::encode(id);
    let get = |keyspace| snapshot.get(keyspace, &key);
    let stored = Stored {
        job: get(keyspaces.jobs)?,
        outcome: get(keyspaces.job_outcomes)?,
        lease: get(keyspaces.leases)?,
        attempts: get(keyspaces.attempts)?,
    };
    let there = stored.job.is_some();
    let mut job = info(&stored, id, &kind, Now::of(&core.database));
    if filter.events {
        job.events = stored.events();
    }
    let fits = filter.statuses.is_empty() || filter.statuses.contains(&job.status);
    let jobs = if there && fits { vec![job] } else { vec![] };
    Ok(JobPage { jobs, next: None })
}
