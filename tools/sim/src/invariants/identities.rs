//! T6: a request that is asked again with its identity after a crash has one effect, and the answer
//! that it had.

use super::Check;
use crate::effect::{Effect, effects};
use crate::execute::execute;
use crate::model::Model;
use crate::oracle::Asked;
use crate::request::{Answer, Refusal};
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
    let now_ms = store.database.log_time_ms();
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
    for (at, (done, effect)) in effects(&asked.request, &answer, now_ms).iter().enumerate() {
        let repeated = match effect {
            Effect::Settled { .. } => settled_before(at),
            _ => *done <= before,
        };
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
        Answer::Done(version) => vec![(Some(*version), answer.clone())],
        other => vec![(None, other.clone())],
    }
}
