//! J1, T4: a claim whose time is not over is kept, and its token works; the token of a job that was
//! claimed again or is finished never does, whatever became of the job since.

use rekindle_services::jobs::Status;
use rekindle_services::queues::Token;

use super::Check;
use crate::effect::effects;
use crate::execute::execute;
use crate::jobs::{Deed, JobAnswer, JobRequest};
use crate::model::Model;
use crate::request::{Answer, Request};
use crate::store::Store;

/// Tries tokens of finished work, and completes every other claimed job.
///
/// # Errors
/// When a token that must work does not, or one that must not does.
pub fn check(model: &mut Model, store: &Store) -> Check {
    let old: Vec<Token> = model.jobs.fenced.iter().copied().collect();
    // The model refuses whatever is not fenced.
    work(model, store, &old, Deed::Heartbeat { by_ms: 1_000, progress: None })?;
    let live: Vec<Token> = model.jobs.live_tokens().into_iter().step_by(2).collect();
    for (token, result) in live.iter().zip(work(model, store, &live, Deed::Complete { mark: 0 })?) {
        if result != Ok(Status::Completed) {
            return Err(format!("the claim of {token} was not kept: {result:?}"));
        }
    }
    Ok(())
}

fn work(
    model: &mut Model,
    store: &Store,
    tokens: &[Token],
    deed: Deed,
) -> Result<Vec<Result<Status, String>>, String> {
    let now = store.now();
    let items = tokens.iter().map(|token| (*token, deed)).collect();
    let request = Request::Job(JobRequest::Work(items, None));
    let answer = execute(store, &request, None)?;
    for (version, effect) in effects(&request, &answer, now) {
        model.apply(version, &effect)?;
    }
    match answer {
        Answer::Job(JobAnswer::Worked(_, results)) => Ok(results
            .into_iter()
            .map(|one| one.map(|changed| changed.status).map_err(|refusal| refusal.kind))
            .collect()),
        other => Err(format!("workers were answered {other:?}")),
    }
}
