//! T6: a request that is asked again with its identity after a crash has one effect, and the answer
//! that it had.

use super::Check;
use crate::effect::effects;
use crate::execute::execute;
use crate::jobs::{JobAnswer, JobRequest};
use crate::model::Model;
use crate::oracle::Asked;
use crate::request::{Answer, Refusal, Request};
use crate::store::Store;

/// Asks again on a store that came back at `version`; an effect that was not there is told to the
/// model, which then knows that it must be.
///
/// # Errors
/// When a request whose effect is there gets another answer, or has another effect.
pub fn check(model: &mut Model, store: &Store, asked: &Asked, version: u64) -> Check {
    if asked.request.identity().is_none() {
        return Ok(());
    }
    let Some(first) = asked.answer.as_ref().map(items) else { return Ok(()) };
    let before = store.database.current_version();
    let now = store.now();
    let answer = execute(store, &asked.request, None)?;
    let again = items(&answer);
    let mut there = 0;
    for (at, (done, said)) in first.iter().enumerate() {
        if done.is_none_or(|done| done > version) {
            continue;
        }
        there += 1;
        let found = again.get(at).map(|(_, said)| said);
        if found != Some(said) {
            let request = &asked.request;
            return Err(format!("{request:?}: asked again, {found:?} instead of {said:?}"));
        }
    }
    if there == first.len() && store.database.current_version() != before {
        return Err(format!("{:?}: asked again, it had a second effect", asked.request));
    }
    let settled_before =
        |at: usize| first.get(at).is_some_and(|(done, _)| done.is_some_and(|done| done <= version));
    for (at, (done, effect)) in effects(&asked.request, &answer, now).iter().enumerate() {
        let by_token =
            matches!(asked.request, Request::Settle(..) | Request::Job(JobRequest::Work(..)));
        // What each token did is told at the version of the transaction that was asked again; a
        // refusal of the whole is there at none.
        let repeated = if by_token { settled_before(at) } else { (1..=before).contains(done) };
        if !repeated {
            model.apply(*done, effect)?;
        }
    }
    Ok(())
}

/// One item of an answer: the version of its effect, and what was answered.
type Item = (Option<u64>, Answer);

/// The items of an answer, each as an answer of its own.
fn items(answer: &Answer) -> Vec<Item> {
    match answer {
        Answer::Sent(all) => all
            .iter()
            .map(|one| (one.as_ref().ok().map(|one| one.0), Answer::Sent(vec![one.clone()])))
            .collect(),
        Answer::Settled(version, all) => all
            .iter()
            .map(|one| {
                let done = one.is_ok().then_some(*version);
                // A repeated answer is true at a later version; what counts is what it says.
                let said =
                    one.clone().map_err(|refusal| Refusal { message: String::new(), ..refusal });
                (done, Answer::Settled(0, vec![said]))
            })
            .collect(),
        Answer::Job(answer) => job_items(answer),
        Answer::Done(version) => vec![(Some(*version), answer.clone())],
        other => vec![(None, other.clone())],
    }
}

fn job_items(answer: &JobAnswer) -> Vec<Item> {
    let of = |done: Option<u64>, said: JobAnswer| (done, Answer::Job(said));
    match answer {
        JobAnswer::Submitted(all) => {
            let one = |one: &Result<(u64, _), _>| {
                of(one.as_ref().ok().map(|one| one.0), JobAnswer::Submitted(vec![one.clone()]))
            };
            all.iter().map(one).collect()
        }
        JobAnswer::Worked(version, all) => {
            let one = |one: &Result<_, Refusal>| {
                let said =
                    one.clone().map_err(|refusal| Refusal { message: String::new(), ..refusal });
                of(one.is_ok().then_some(*version), JobAnswer::Worked(0, vec![said]))
            };
            all.iter().map(one).collect()
        }
        JobAnswer::Altered(version, _) | JobAnswer::Ran(version, _) => {
            vec![of(Some(*version), answer.clone())]
        }
        JobAnswer::Claimed(..) => vec![of(None, answer.clone())],
    }
}
