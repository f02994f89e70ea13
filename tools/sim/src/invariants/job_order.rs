//! J4: jobs of a type come by priority and then in the order of submission, each once, as many as
//! may be in work at once.

use super::Check;
use crate::effect::effects;
use crate::execute::execute;
use crate::jobs::JobRequest;
use crate::model::Model;
use crate::request::{Answer, Request};
use crate::store::Store;

/// Claims everything that is pending and lets the model judge each claim.
///
/// # Errors
/// When a job is missing, comes twice, or before its turn.
pub fn check(model: &mut Model, store: &Store) -> Check {
    let now = store.now();
    let kinds: Vec<String> = model.jobs.types.keys().cloned().collect();
    for kind in kinds {
        let (kinds, max) = (vec![kind.clone()], 1_000);
        let request = JobRequest::Claim { kinds, max, lease_ms: None, inside: false };
        let request = Request::Job(request);
        // A start makes a few deliverable, and more as these are claimed.
        loop {
            let answer = execute(store, &request, None)?;
            if let Answer::Refused(refusal) = &answer {
                return Err(format!("nothing can be claimed of {kind}: {refusal:?}"));
            }
            let claimed = effects(&request, &answer, now);
            for (version, effect) in &claimed {
                model.apply(*version, effect)?;
            }
            if claimed.is_empty() {
                break;
            }
        }
        let left = model.jobs.pending(&kind);
        if !left.is_empty() && model.jobs.room(&kind) > 0 {
            return Err(format!("pending jobs of {kind} were not handed out: {left:?}"));
        }
    }
    Ok(())
}
