//! L11: what managed a queue, a schedule or a type of jobs is in the audit log together with the
//! change, or neither is there.

use std::collections::BTreeMap;

use super::Check;
use crate::store::{ALL_ROWS, Store};

/// Holds the audit log against queues, schedules and types: numbers without a gap, nothing that
/// nobody made, nothing that is there although it was deleted. A dead-letter queue may be made by
/// its queue.
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
            let kind = record.action.split_once('.').map_or("", |(kind, _)| kind).to_owned();
            last.insert((kind, record.target), record.action);
        }
        if !page.more {
            break;
        }
    }
    let (queues, _) = store.services.queues().list("", 0).map_err(|error| error.to_string())?;
    let targets = queues.iter().filter_map(|queue| queue.settings.dead_letter.as_deref());
    let made: Vec<&str> = targets.collect();
    for queue in &queues {
        let told = last.remove(&("queue".to_owned(), queue.name.clone()));
        let there = told.as_deref().is_some_and(|action| action != "queue.delete");
        if !there && !made.contains(&queue.name.as_str()) && !queue.name.ends_with(".dead") {
            return Err(format!("queue {} is there, and its last record is {told:?}", queue.name));
        }
    }
    let (schedules, _) = store.services.schedules().list("", 0).map_err(|e| e.to_string())?;
    for schedule in schedules {
        let told = last.remove(&("schedule".to_owned(), schedule.name.clone()));
        if told.as_deref() != Some("schedule.create") {
            let name = schedule.name;
            return Err(format!("schedule {name} is there, and its last record is {told:?}"));
        }
    }
    let (types, _) = store.services.jobs().types("", 0).map_err(|error| error.to_string())?;
    let types: Vec<String> = types.into_iter().map(|kind| kind.name).collect();
    let gone = last.into_iter().find(|((kind, name), action)| match kind.as_str() {
        "job_type" => !types.contains(name),
        _ => !action.ends_with(".delete"),
    });
    gone.map_or(Ok(()), |((kind, name), action)| {
        Err(format!("{kind} {name} is not there, and its last record is {action}"))
    })
}
