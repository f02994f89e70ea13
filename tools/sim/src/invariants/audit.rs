//! L11: what managed a queue is in the audit log together with the change, or neither is there.

use std::collections::BTreeMap;

use super::Check;
use crate::store::{ALL_ROWS, Store};

/// Holds the audit log against the queues: numbers without a gap, no queue that nobody made, none
/// that is there although it was deleted. A dead-letter queue may be made by its queue.
///
/// # Errors
/// With the first record or queue that does not fit.
pub fn check(store: &Store) -> Check {
    let audit = store.services.audit();
    let mut last = BTreeMap::new();
    let mut number = 0;
    loop {
        let page = audit.list(Some(number), ALL_ROWS).map_err(|error| error.to_string())?;
        if let Some(unreadable) = page.unreadable.first() {
            return Err(format!("audit record {unreadable} cannot be read"));
        }
        for record in page.records {
            if record.number != number + 1 {
                return Err(format!("audit record {} follows {number}", record.number));
            }
            number = record.number;
            last.insert(record.target, record.action);
        }
        if !page.more {
            break;
        }
    }
    let (queues, _) = store.services.queues().list("", 0).map_err(|error| error.to_string())?;
    let targets = queues.iter().filter_map(|queue| queue.settings.dead_letter.as_deref());
    let made: Vec<&str> = targets.collect();
    for queue in &queues {
        let told = last.remove(&queue.name);
        let there = told.as_deref().is_some_and(|action| action != "queue.delete");
        if !there && !made.contains(&queue.name.as_str()) && !queue.name.ends_with(".dead") {
            return Err(format!("queue {} is there, and its last record is {told:?}", queue.name));
        }
    }
    let gone = last.into_iter().find(|(_, action)| action != "queue.delete");
    gone.map_or(Ok(()), |(queue, action)| {
        Err(format!("queue {queue} is not there, and its last record is {action}"))
    })
}
