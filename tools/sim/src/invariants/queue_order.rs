//! B3: messages of one key come in the order of sending, each once, its attempts counted on.

use super::Check;
use crate::effect::effects;
use crate::execute::execute;
use crate::model::Model;
use crate::request::{Answer, Request};
use crate::store::Store;

/// Receives everything that is ready and lets the model judge each delivery.
///
/// # Errors
/// When a message is missing, comes twice, or before its turn.
pub fn check(model: &mut Model, store: &Store) -> Check {
    let now = store.now();
    let now_ms = now.log_ms;
    let names: Vec<String> = model.queues.keys().cloned().collect();
    for queue in names {
        let request = Request::Receive { queue: queue.clone(), max: 1_000, visibility_ms: None };
        let answer = execute(store, &request, None)?;
        if let Answer::Refused(refusal) = &answer {
            return Err(format!("nothing can be received from {queue}: {refusal:?}"));
        }
        for (version, effect) in effects(&request, &answer, now) {
            model.apply(version, &effect)?;
        }
        let left = model.queues.get(&queue).map_or(0, |queue| {
            queue.messages.values().filter(|message| message.is_ready(now_ms)).count()
        });
        if left > 0 {
            return Err(format!("{left} ready messages of {queue} were not delivered"));
        }
    }
    Ok(())
}
