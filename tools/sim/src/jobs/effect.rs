//! What an answered request about jobs means for the state.
//!
//! Invariant: as in effect.rs, an effect comes from a request and its answer alone. The effects of
//! a transaction have one version, so a model has all of them or none.

use rekindle_services::jobs::{Change, Changed, JobId, JobSettings, Submitted};
use rekindle_services::queues::Token;
use rekindle_services::transact;

use crate::effect::{Effect, sent_effect};
use crate::jobs::evidence::Lead;
use crate::jobs::{Deed, Fired, JobAnswer, JobRequest, Now, Picked, Rota, Step, Task};
use crate::request::{Answer, Change as Write, How, Refusal};

/// One change of what a client knows about jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEffect {
    /// A type has these settings.
    Typed(String, JobSettings),
    /// A job is there, or another one had its key.
    Submitted {
        /// Which.
        task: Task,
        /// What was answered.
        result: Submitted,
        /// When.
        now: Now,
    },
    /// A run began, and settled what executors of the one before had.
    Led(Lead),
    /// A job is claimed.
    Granted {
        /// The claim.
        picked: Picked,
        /// How long it was asked for.
        lease_ms: Option<u64>,
        /// When.
        now: Now,
    },
    /// A worker asked for something.
    Worked {
        /// With this token.
        token: Token,
        /// What.
        deed: Deed,
        /// What became of the job, or the kind of the refusal.
        result: Result<Changed, String>,
        /// When.
        now: Now,
    },
    /// A job was to be cancelled or retried.
    Altered {
        /// Which.
        id: JobId,
        /// What.
        change: Change,
        /// How it stands, or the kind of the refusal.
        result: Result<Changed, String>,
        /// When.
        now: Now,
    },
    /// A schedule is there, from this wall time on.
    Scheduled(String, Rota, u64),
    /// It is gone.
    Unscheduled(String),
    /// It made a job.
    Fired(Fired),
    /// A transaction with this mark was done at this version.
    Marked(u64, u64),
}

/// The effects of a request about jobs, each with its version.
#[must_use]
pub fn effects(request: &JobRequest, answer: &Answer, now: Now) -> Vec<(u64, Effect)> {
    let of = |version: u64, effect: JobEffect| (version, Effect::Job(effect));
    match (request, answer) {
        (JobRequest::SetType(kind, settings, _), Answer::Done(version)) => {
            vec![of(*version, JobEffect::Typed(kind.clone(), *settings))]
        }
        (JobRequest::Submit(tasks, _), Answer::Job(JobAnswer::Submitted(each))) => {
            let one = |(task, result): (&Task, &Result<(u64, Submitted), Refusal>)| {
                let (version, result) = *result.as_ref().ok()?;
                Some(of(version, JobEffect::Submitted { task: task.clone(), result, now }))
            };
            tasks.iter().zip(each).filter_map(one).collect()
        }
        (JobRequest::Claim { lease_ms, .. }, Answer::Job(JobAnswer::Claimed(version, all))) => {
            let granted = |picked: &Picked| {
                let picked = picked.clone();
                of(*version, JobEffect::Granted { picked, lease_ms: *lease_ms, now })
            };
            all.iter().map(granted).collect()
        }
        (JobRequest::Work(items, _), Answer::Job(JobAnswer::Worked(version, results))) => {
            let worked = |((token, deed), result): (&(Token, Deed), &Result<Changed, Refusal>)| {
                let result = result.clone().map_err(|refusal| refusal.kind);
                of(*version, JobEffect::Worked { token: *token, deed: *deed, result, now })
            };
            items.iter().zip(results).map(worked).collect()
        }
        (JobRequest::Alter(id, change, _), answer) => {
            let (version, result) = match answer {
                Answer::Job(JobAnswer::Altered(version, changed)) => (*version, Ok(*changed)),
                // A refusal is there at every version.
                Answer::Refused(refusal) => (0, Err(refusal.kind.clone())),
                _ => return vec![],
            };
            vec![of(version, JobEffect::Altered { id: *id, change: *change, result, now })]
        }
        (JobRequest::Schedule(name, rota, _), Answer::Done(version)) => {
            vec![of(*version, JobEffect::Scheduled(name.clone(), rota.clone(), now.wall_ms))]
        }
        (JobRequest::Unschedule(name, _), Answer::Done(version)) => {
            vec![of(*version, JobEffect::Unscheduled(name.clone()))]
        }
        (JobRequest::Run { mark, steps, .. }, Answer::Job(JobAnswer::Ran(version, done))) => {
            let each =
                steps.iter().zip(done).filter_map(|(step, done)| step_effect(step, *done, now));
            let marked = Effect::Job(JobEffect::Marked(*mark, *version));
            each.chain([marked]).map(|effect| (*version, effect)).collect()
        }
        _ => vec![],
    }
}

fn step_effect(step: &Step, done: transact::Effect, now: Now) -> Option<Effect> {
    Some(match (step, done) {
        (Step::Put(key, value), transact::Effect::Done) => {
            Effect::Kv(vec![Write::Put(key.clone(), value.clone())])
        }
        (Step::Send(queue, message), transact::Effect::Sent(_)) => {
            sent_effect(queue, message, now.log_ms)
        }
        (Step::Ack(token), transact::Effect::Settled(settled)) => Effect::Settled {
            token: *token,
            how: How::Ack,
            result: Some(settled),
            now_ms: now.log_ms,
        },
        (Step::Submit(task), transact::Effect::Submitted(result)) => {
            Effect::Job(JobEffect::Submitted { task: task.clone(), result, now })
        }
        (Step::Work(token, deed), transact::Effect::Changed(changed)) => {
            let result = Ok(changed);
            Effect::Job(JobEffect::Worked { token: *token, deed: *deed, result, now })
        }
        _ => return None,
    })
}
