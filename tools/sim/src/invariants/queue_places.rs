//! B7: every message is in exactly one place: ready, leased, delayed, or finished.

use super::Check;
use crate::model::Model;
use crate::store::Store;

/// Holds what the store tells about its queues against the model.
///
/// # Errors
/// When a queue or a message is missing, or there twice, or elsewhere.
pub fn check(model: &Model, store: &Store) -> Check {
    let now_ms = store.database.log_time_ms();
    let (found, _) = store.services.queues().list("", 0).map_err(|error| error.to_string())?;
    let names: Vec<&str> = found.iter().map(|queue| queue.name.as_str()).collect();
    let expected: Vec<&str> = model.queues.keys().map(String::as_str).collect();
    if names != expected {
        return Err(format!("queues {names:?} are there, not {expected:?}"));
    }
    for queue in &found {
        let stats = queue.stats;
        let there = [stats.ready, stats.leased, stats.delayed, stats.keys];
        let expected = model.queues.get(&queue.name).map(|one| one.counts(now_ms));
        if expected != Some(there) || stats.review != 0 {
            return Err(format!(
                "queue {} at {now_ms} has ready, leased, delayed, keys {there:?} and {} in \
                 review, not {expected:?}",
                queue.name, stats.review
            ));
        }
    }
    Ok(())
}
