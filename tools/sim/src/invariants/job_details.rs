//! J2: a job carries what was submitted, tells how far it is, why its last claim ended and what it
//! resulted in, and has one event of its end, if it ended.

use rekindle_services::claims::Cause;
use rekindle_services::jobs::{JobDetail, JobEvent, Status};

use super::Check;
use crate::jobs::job::Job;
use crate::jobs::stamp;
use crate::model::Model;
use crate::store::Store;

/// The events that end a job.
const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];

/// Looks at every job.
///
/// # Errors
/// With the first one of which something is wrong.
pub fn check(model: &Model, store: &Store) -> Check {
    for (id, job) in &model.jobs.jobs {
        let detail = store.services.jobs().show(*id);
        let detail = detail.map_err(|error| format!("job {id} cannot be shown: {error}"))?;
        one(job, &detail).map_err(|what| format!("{what}: {detail:?}, expected {job:?}"))?;
    }
    Ok(())
}

/// Why the last claim that was settled ended; empty: none was.
pub(crate) fn last_cause(events: &[JobEvent]) -> &'static str {
    let mut ended = events.iter().rev().filter(|event| event.event == "attempt_ended");
    ended.next().map_or("", |event| event.cause)
}

fn one(job: &Job, detail: &JobDetail) -> Check {
    let status = detail.info.status;
    if detail.payload != stamp(job.task.serial, job.task.mark) {
        return Err("it carries something else".to_owned());
    }
    let words = |number: &u64| number.to_be_bytes().to_vec();
    let progress = detail.progress.as_ref().map(|(_, words)| words.clone());
    if progress != job.progress.as_ref().map(words) {
        return Err("it is elsewhere in its work".to_owned());
    }
    let result = job.result.as_ref().map(words).filter(|_| status == Status::Completed);
    if detail.result != result {
        return Err("it resulted in something else".to_owned());
    }
    if last_cause(&detail.events) != job.cause.map_or("", Cause::as_str) {
        return Err("its last claim ended otherwise".to_owned());
    }
    let ends: Vec<&str> = detail.events.iter().map(|event| event.event).collect();
    let ends: Vec<&str> = ends.into_iter().filter(|event| ENDS.contains(event)).collect();
    let expected = if status.is_finished() { vec![status.as_str()] } else { vec![] };
    if ends != expected {
        return Err(format!("it has the ends {ends:?}"));
    }
    Ok(())
}
