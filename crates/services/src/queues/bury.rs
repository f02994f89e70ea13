//! Messages whose attempts are used up, or that a person gave up: into the dead-letter queue.
//!
//! Invariant: a message is never lost and never tried for ever: the queue that it goes to is
//! created where it does not exist.

use rekindle_database::Transaction;

use crate::claims::Subject;
use crate::claims::attempts::Attempts;
use crate::claims::state::Ending;
use crate::error::Error;
use crate::exec::{Core, Stop};
use crate::keys::subject as key;
use crate::queues::create;
use crate::queues::definition::Definition;
use crate::queues::message::{Message, encode_dead, parse};

/// Puts a message whose attempts are used up into the dead-letter queue.
pub(crate) fn dead_letter(
    core: &Core,
    txn: &mut Transaction,
    queue: &Definition,
    id: Subject,
    attempts: &Attempts,
    ending: &Ending<'_>,
) -> Result<(), Stop> {
    let Some(row) = txn.get(core.keyspaces.messages, &key::encode(id))? else {
        return Err(Stop::Refused(Error::corrupt(format!("message {id} of a lease is missing"))));
    };
    let message = parse(&row.bytes)
        .map_err(|malformed| Error::corrupt(format!("message {id}: {malformed}")))?;
    bury(core, txn, queue, id, &message, attempts, ending.now_ms)?;
    Ok(())
}

/// Puts a message into the dead-letter queue of its queue, which is created where it does not
/// exist: a message is never lost and never tried for ever. Answers the name of that queue.
pub(crate) fn bury(
    core: &Core,
    txn: &mut Transaction,
    queue: &Definition,
    id: Subject,
    message: &Message<'_>,
    attempts: &Attempts,
    now_ms: u64,
) -> Result<String, Stop> {
    let default;
    let target = match queue.settings.dead_letter.as_deref() {
        Some(target) => target,
        None => {
            default = format!("{}.dead", queue.name);
            &default
        }
    };
    let to = create::ensure(core, txn, target, now_ms)?;
    let (origin, attempt) = (id.to_string(), attempts.attempt.to_string());
    let last = attempts.history.last();
    let why = [
        ("rekindle-dead-queue", queue.name.as_str()),
        ("rekindle-dead-id", origin.as_str()),
        ("rekindle-dead-attempts", attempt.as_str()),
        ("rekindle-dead-cause", last.map_or("", |settled| settled.cause.as_str())),
        ("rekindle-dead-reason", last.map_or("", |settled| settled.reason.as_str())),
    ];
    let moved = Subject { line: to, number: core.numbers.next()? };
    txn.put(core.keyspaces.messages, &key::encode(moved), &encode_dead(message, &why));
    Ok(target.to_owned())
}
