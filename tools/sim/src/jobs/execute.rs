//! Requests about jobs and schedules, asked of a store through its public interface.

use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rekindle_services::Identity;
use rekindle_services::jobs::{
    Change, ClaimRequest, Claimed, Done, Failure, Heartbeat, JobFilter, JobInfo, NewJob, Unique,
    When,
};
use rekindle_services::queues::Token;
use rekindle_services::schedules::NewSchedule;

use crate::jobs::transaction::run;
use crate::jobs::{Deed, Fired, JobAnswer, JobRequest, Picked, Rota, Task, read_stamp, stamp};
use crate::request::{Answer, Refusal};
use crate::store::Store;

/// Who works and who manages.
pub const WORKER: &str = "client";

/// Looks at an answer that is on its way, after which it does not come any more.
const POLLS_MAX: usize = 16;

/// Asks a store.
///
/// # Errors
/// A broken promise that the client itself can see.
pub fn execute(store: &Store, request: &JobRequest) -> Result<Answer, String> {
    let (jobs, schedules) = (store.services.jobs(), store.services.schedules());
    Ok(match request {
        JobRequest::SetType(kind, settings, identity) => {
            let done = jobs.set_type(kind, settings, WORKER, *identity);
            refused_or(done.map(|answer| Answer::Done(answer.version)))
        }
        JobRequest::Submit(tasks, identity) => submit(store, tasks, *identity),
        JobRequest::Claim { kinds, max, lease_ms, inside } => {
            let types: Vec<&str> = kinds.iter().map(String::as_str).collect();
            let (max, lease_ms) = (*max, *lease_ms);
            let request = ClaimRequest { types: &types, max, lease_ms, worker: WORKER };
            let claimed = if *inside {
                finish(store, jobs.claim_inside(&request, ready(())))?
            } else {
                jobs.claim(&request)
            };
            match claimed {
                Ok(answer) => {
                    let picked = answer.value.iter().map(|one| picked(one, *inside));
                    let picked = picked.collect::<Result<_, _>>()?;
                    Answer::Job(JobAnswer::Claimed(answer.version, picked))
                }
                Err(error) => Answer::Refused(error.into()),
            }
        }
        JobRequest::Work(items, identity) => {
            let results: Vec<[u8; 8]> = items.iter().map(|(_, deed)| deed.bytes()).collect();
            let items: Vec<(Token, Done<'_>)> = items
                .iter()
                .zip(&results)
                .map(|((token, deed), bytes)| (*token, deed.done(bytes)))
                .collect();
            refused_or(jobs.done(&items, *identity).map(|answer| {
                let results = answer.value.into_iter().map(|one| one.map_err(Refusal::from));
                Answer::Job(JobAnswer::Worked(answer.version, results.collect()))
            }))
        }
        JobRequest::Alter(id, change, identity) => {
            let done = match change {
                Change::Cancelled => jobs.cancel(*id, "not needed", WORKER, *identity),
                _ => jobs.retry(*id, WORKER, *identity),
            };
            let altered = |version, changed| Answer::Job(JobAnswer::Altered(version, changed));
            refused_or(done.map(|answer| altered(answer.version, answer.value)))
        }
        JobRequest::Schedule(name, rota, identity) => {
            let (cron, payload) = (rota.cron(), stamp(0, 0));
            let schedule = new_schedule(rota, &cron, &payload);
            let done = schedules.create(name, &schedule, WORKER, *identity);
            refused_or(done.map(|answer| Answer::Done(answer.version)))
        }
        JobRequest::Unschedule(name, identity) => {
            let done = schedules.delete(name, WORKER, *identity);
            refused_or(done.map(|answer| Answer::Done(answer.version)))
        }
        JobRequest::Run { steps, refused, identity, .. } => {
            let answer = run(store, steps, *identity);
            if *refused && !matches!(answer, Answer::Refused(_)) {
                return Err(format!("a transaction that must be refused was answered {answer:?}"));
            }
            answer
        }
    })
}

/// Polls to the end: no thread works for the store, so a flush brings what is on its way there.
pub(crate) fn finish<T>(store: &Store, future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        // Where it is refused, the answer says so.
        drop(store.database.flush());
    }
    Err("what an executor asked for was never answered".to_owned())
}

fn submit(store: &Store, tasks: &[Task], identity: Option<Identity>) -> Answer {
    let jobs = store.services.jobs();
    let payloads: Vec<Vec<u8>> = tasks.iter().map(Task::payload).collect();
    let new: Vec<(&str, NewJob<'_>)> = tasks
        .iter()
        .zip(&payloads)
        .map(|(task, payload)| (task.kind.as_str(), new_job(task, payload)))
        .collect();
    let submitted = match new.as_slice() {
        [(kind, job)] => vec![jobs.submit(kind, job, identity)],
        several => jobs.submit_all(several, identity),
    };
    let known = submitted.into_iter().map(|one| match one {
        Ok(answer) => Ok((answer.version, answer.value)),
        Err(error) => Err(Refusal::from(error)),
    });
    Answer::Job(JobAnswer::Submitted(known.collect()))
}

fn refused_or(done: Result<Answer, rekindle_services::Error>) -> Answer {
    done.unwrap_or_else(|error| Answer::Refused(error.into()))
}

/// A task as it is submitted.
pub(super) fn new_job<'a>(task: &'a Task, payload: &'a [u8]) -> NewJob<'a> {
    let unique = task.unique.as_ref();
    NewJob {
        payload,
        priority: task.priority,
        when: if task.in_ms == 0 { When::Now } else { When::In(task.in_ms) },
        max_attempts: task.max_attempts,
        unique: unique.map(|(key, window_ms)| Unique { key, window_ms: *window_ms }),
    }
}

fn new_schedule<'a>(rota: &'a Rota, cron: &'a str, payload: &'a [u8]) -> NewSchedule<'a> {
    let Rota { kind, missed, priority, .. } = rota;
    let (missed, priority) = (*missed, *priority);
    NewSchedule { kind, cron, missed, payload, priority, ..NewSchedule::default() }
}

impl Deed {
    /// The bytes that go with it.
    pub(super) fn bytes(self) -> [u8; 8] {
        match self {
            Self::Complete { mark } => mark.to_be_bytes(),
            Self::Heartbeat { progress, .. } => progress.unwrap_or(0).to_be_bytes(),
            _ => [0; 8],
        }
    }

    /// As the service is asked, with its bytes.
    pub(super) fn done(self, bytes: &[u8; 8]) -> Done<'_> {
        match self {
            Self::Complete { .. } => Done::Complete(bytes),
            Self::Fail { retry_in_ms, last } => {
                Done::Fail(Failure { error: "no", retry_in_ms, last })
            }
            Self::Release => Done::Release("later"),
            Self::Heartbeat { by_ms, progress } => {
                let progress = progress.map(|_| bytes.as_slice());
                Done::Heartbeat(Heartbeat { by_ms: Some(by_ms), progress })
            }
            Self::Hold { by_ms } => Done::Hold(by_ms),
            Self::Stop => Done::Stop("the server ends"),
            Self::Died => Done::Died("the server died"),
            Self::WorkerDied => Done::WorkerDied("its worker died"),
        }
    }
}

fn picked(claimed: &Claimed, inside: bool) -> Result<Picked, String> {
    let id = claimed.id;
    let (serial, _) = read_stamp(claimed.payload())
        .ok_or_else(|| format!("job {id} came with other bytes than were submitted"))?;
    let Claimed { token, attempt, priority, deadline_ms, .. } = *claimed;
    let kind = claimed.kind.clone();
    Ok(Picked { id, serial, token, kind, attempt, priority, deadline_ms, inside })
}

/// Every job of a store, in the order of submission.
///
/// # Errors
/// What the store answers.
pub fn all_jobs(store: &Store) -> Result<Vec<JobInfo>, String> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.services.jobs().list(&JobFilter { after, ..JobFilter::default() });
        let page = page.map_err(|error| format!("listing jobs: {error}"))?;
        all.extend(page.jobs);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// The jobs that schedules made in transactions behind this version.
///
/// # Errors
/// What the store answers.
pub fn fired_since(store: &Store, version: u64) -> Result<Vec<Fired>, String> {
    let wall_ms = store.now().wall_ms;
    let fired = all_jobs(store)?.into_iter().filter(|job| job.version > version);
    let fired = fired.filter_map(|job| {
        let (schedule, nominal_ms) = job.schedule?;
        let JobInfo { id, kind, priority, version, .. } = job;
        Some(Fired { id, schedule, nominal_ms, wall_ms, kind, priority, version })
    });
    Ok(fired.collect())
}
