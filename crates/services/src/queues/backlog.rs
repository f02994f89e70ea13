//! How old the oldest ready message of a queue is.

use crate::claims::Subject;
use crate::error::Error;
use crate::exec::Core;
use crate::keys::subject as key;
use crate::queues::message::parse_head;

/// The age of a queue's oldest ready message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The queue.
    pub queue: String,
    /// How long ago that message was sent, milliseconds of log time; 0 when nothing is ready.
    pub oldest_age_ms: u64,
}

/// The backlog of up to `limit` queues, the first by name. Of a queue with more than 10,000
/// fairness keys only the keys are looked at whose turn is next.
pub(crate) fn backlog(core: &Core, limit: usize) -> Result<Vec<Backlog>, Error> {
    let now_ms = core.database.log_time_ms();
    let snapshot = core.database.snapshot()?;
    let (queues, _) = core.index.list("", limit, now_ms);
    let mut backlog = Vec::with_capacity(queues.len());
    for queue in queues {
        let mut oldest_age_ms = 0;
        if let Some(definition) = core.index.definition(&queue.name)
            && let Some(number) = core.index.oldest_ready(definition.id)
        {
            let id = Subject { line: definition.id, number };
            let row = snapshot.get(core.keyspaces.messages, &key::encode(id))?;
            let head = row.as_ref().and_then(|row| parse_head(&row.bytes).ok());
            // A delayed message waits from when it was due.
            let ready_ms = head.map(|head| head.sent_ms.max(head.due_ms));
            oldest_age_ms = ready_ms.map_or(0, |since| now_ms.saturating_sub(since));
        }
        backlog.push(Backlog { queue: queue.name, oldest_age_ms });
    }
    Ok(backlog)
}
