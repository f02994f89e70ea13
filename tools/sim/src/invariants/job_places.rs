//! J1, J2: every job stands where the state machine says, in the rows and in the counts; none is in
//! processing without a claim that runs; a unique key has one unfinished job; a time of a schedule
//! has one job.

use std::collections::{BTreeMap, BTreeSet};

use rekindle_services::jobs::{JobCounts, JobInfo, Status};

use super::Check;
use crate::jobs::Now;
use crate::jobs::execute::all_jobs;
use crate::jobs::job::{Job, Place, Span};
use crate::model::Model;
use crate::store::Store;

/// Holds what the store tells of its jobs and schedules against the model, which learns when pauses
/// end. A tick went before: what is due is done.
///
/// # Errors
/// With the first job that is missing, too many, or elsewhere.
pub fn check(model: &mut Model, store: &Store) -> Check {
    let now = store.now();
    let found = all_jobs(store)?;
    for info in &found {
        let job = model.jobs.jobs.get_mut(&info.id);
        let job = job.ok_or_else(|| format!("a job that nobody submitted: {info:?}"))?;
        one(job, info, now).map_err(|broken| format!("{broken}: {info:?}, expected {job:?}"))?;
    }
    let there: BTreeSet<_> = found.iter().map(|info| info.id).collect();
    let known = &model.jobs;
    let missing = known.jobs.iter().filter(|(id, _)| !there.contains(id));
    let gone: Vec<_> = missing.map(|(id, job)| (*id, job.clone())).collect();
    for (id, job) in gone {
        if !known.may_be_gone(&job, now.log_ms) {
            return Err(format!("job {id} is not there: {job:?}"));
        }
    }
    model.jobs.jobs.retain(|id, _| there.contains(id));
    alone(&found)?;
    counts(model, store, &found)?;
    schedules(model, store)
}

fn one(job: &mut Job, info: &JobInfo, now: Now) -> Check {
    let wrong = |what: &str| Err(format!("at {now:?}, {what}"));
    match &mut job.place {
        Place::Waiting(due) if !due.has(info.due_ms) => return wrong("it waits for another time"),
        Place::Waiting(due) => {
            *due = Span::at(info.due_ms);
            job.ready = info.due_ms <= now.log_ms;
        }
        Place::Claimed(until_ms) if info.deadline_ms != *until_ms => {
            return wrong("its claim lasts for another time");
        }
        Place::Ended(_, when) if !when.has(info.finished_ms) => return wrong("it ended then"),
        Place::Ended(_, when) => *when = Span::at(info.finished_ms),
        Place::Appointed(_) | Place::Claimed(_) | Place::Review => {}
    }
    if job.status(now) != Some(info.status) {
        return wrong("it stands elsewhere");
    }
    if info.status == Status::Processing && info.deadline_ms <= now.log_ms {
        return wrong("nobody works on it");
    }
    if (info.attempts, info.charged) != (job.attempts, job.charged) {
        return wrong("its attempts are other ones");
    }
    let unique = job.task.unique.as_ref().map_or("", |(key, _)| key.as_str());
    if (&info.kind, info.priority, info.unique_key.as_str(), &info.schedule)
        != (&job.task.kind, job.task.priority, unique, &job.schedule)
    {
        return wrong("it is another one");
    }
    Ok(())
}

/// Keys and times that only one job may have.
fn alone(found: &[JobInfo]) -> Check {
    let (mut keys, mut times) = (BTreeSet::new(), BTreeSet::new());
    for info in found {
        let fresh = info.schedule.as_ref().is_none_or(|time| times.insert(time));
        if !fresh {
            return Err(format!("a time of a schedule was fired twice: {info:?}"));
        }
        // A key with a window may be given again before its job is finished.
        let has_key = matches!(info.unique_key.as_str(), "one" | "two");
        if has_key && !info.status.is_finished() && !keys.insert((&info.kind, &info.unique_key)) {
            return Err(format!("a unique key has two unfinished jobs: {info:?}"));
        }
    }
    Ok(())
}

/// The counts are those of the rows.
fn counts(model: &Model, store: &Store, found: &[JobInfo]) -> Check {
    let mut expected: BTreeMap<&str, JobCounts> = BTreeMap::new();
    expected.extend(model.jobs.types.keys().map(|kind| (kind.as_str(), JobCounts::default())));
    for info in found {
        let counts = expected.entry(&info.kind).or_default();
        *match info.status {
            Status::Scheduled => &mut counts.scheduled,
            Status::Pending => &mut counts.pending,
            Status::Processing => &mut counts.processing,
            Status::Completed => &mut counts.completed,
            Status::Failed => &mut counts.failed,
            Status::Cancelled => &mut counts.cancelled,
            Status::NeedsReview => &mut counts.needs_review,
        } += 1;
    }
    let (types, _) = store.services.jobs().types("", 0).map_err(|error| error.to_string())?;
    let told: BTreeMap<&str, JobCounts> =
        types.iter().map(|kind| (kind.name.as_str(), kind.counts)).collect();
    if told != expected {
        return Err(format!("jobs are counted as {told:?}, not {expected:?}"));
    }
    let wrong = types.iter().find(|kind| model.jobs.settings(&kind.name) != kind.settings);
    wrong.map_or(Ok(()), |kind| Err(format!("job type {} has other settings", kind.name)))
}

/// Schedules fired as often as they should, and know what comes next.
fn schedules(model: &Model, store: &Store) -> Check {
    let (found, _) = store.services.schedules().list("", 0).map_err(|error| error.to_string())?;
    let known = &model.jobs.timetable.schedules;
    if !found.iter().map(|schedule| &schedule.name).eq(known.keys()) {
        return Err(format!("schedules {found:?} are there, not {known:?}"));
    }
    for (schedule, known) in found.iter().zip(known.values()) {
        let told = (schedule.fired, schedule.next_ms, schedule.missed);
        if told != (known.fired, Some(known.next_ms()), known.rota.missed) {
            return Err(format!("{schedule:?}, expected {known:?}"));
        }
    }
    Ok(())
}
