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
        let (kinds, lease_ms) = (vec![kind.clone()], None);
        let request = Request::Job(JobRequest::Claim { kinds, max: 1_000, lease_ms });
        let answer = execute(store, &request, None)?;
        if let Answer::Refused(refusal) = &answer {
            return Err(format!("nothing can be claimed of {kind}: {refusal:?}"));
        }
        for (version, effect) in effects(&request, &answer, now) {
            model.apply(version, &effect)?;
        }
        let left = model.jobs.pending(&kind);
        if !left.is_empty() && model.jobs.room(&kind) > 0 {
            return Err(format!("pending jobs of {kind} were not handed out: {left:?}"));
        }
    }
    Ok(())
}
