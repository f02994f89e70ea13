//! The ends of a lease, as every command that ends one writes them.
//!
//! The order of operations is what the ready index needs: a message goes before its lease, attempts
//! are written before the lease goes.

use rekindle_database::Transaction;

use crate::error::{Error, Kind};
use crate::exec::{Core, Stop};
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::keys::message as key;
use crate::queues::attempts::Attempts;
use crate::queues::definition::Definition;
use crate::queues::lease::Lease;
use crate::queues::message::{Message, encode_dead, parse};
use crate::queues::state::{Ending, Next};
use crate::queues::{MessageId, Settled, create, state};

/// The lease of a message.
pub(crate) fn load_lease(
    core: &Core,
    txn: &mut Transaction,
    id: MessageId,
) -> Result<Option<Lease>, Stop> {
    let Some(row) = txn.get(core.keyspaces.leases, &key::encode(id))? else { return Ok(None) };
    let lease = Lease::parse(&row.bytes, row.version)
        .map_err(|malformed| Error::corrupt(format!("the lease of {id}: {malformed}")))?;
    Ok(Some(lease))
}

/// The settled attempts of a message.
pub(crate) fn load_attempts(
    core: &Core,
    txn: &mut Transaction,
    id: MessageId,
) -> Result<Option<Attempts>, Stop> {
    let Some(row) = txn.get(core.keyspaces.attempts, &key::encode(id))? else { return Ok(None) };
    let attempts = Attempts::parse(&row.bytes)
        .map_err(|malformed| Error::corrupt(format!("the attempts of {id}: {malformed}")))?;
    Ok(Some(attempts))
}

/// Removes a lease and its row in the index by time.
pub(crate) fn remove_lease(core: &Core, txn: &mut Transaction, id: MessageId, lease: &Lease) {
    let expiry = LeaseExpiry { deadline_ms: lease.deadline_ms, message: id };
    txn.delete(core.keyspaces.leases, &key::encode(id));
    txn.delete(core.keyspaces.lease_expiry, &lease_expiry::encode(expiry));
}

/// Ends a lease with a cause: the message is ready again, or goes to the dead-letter queue.
pub(crate) fn settle(
    core: &Core,
    txn: &mut Transaction,
    queue: &Definition,
    id: MessageId,
    lease: &Lease,
    ending: &Ending<'_>,
) -> Result<Settled, Stop> {
    debug_assert_eq!(queue.id, id.queue);
    let attempts = if may_have_attempts(lease) { load_attempts(core, txn, id)? } else { None };
    match state::settle(lease, attempts, ending, queue.settings.max_attempts) {
        Next::Return(attempts) => {
            txn.put(core.keyspaces.attempts, &key::encode(id), &attempts.encode());
            remove_lease(core, txn, id, lease);
            Ok(Settled::Returned)
        }
        Next::Review(attempts) => {
            txn.put(core.keyspaces.attempts, &key::encode(id), &attempts.encode());
            remove_lease(core, txn, id, lease);
            Ok(Settled::UnderReview)
        }
        Next::DeadLetter(attempts) => {
            dead_letter(core, txn, queue, id, &attempts, ending)?;
            finish(core, txn, id, Some(lease));
            Ok(Settled::DeadLettered)
        }
    }
}

/// Whether there may be a row of attempts beside this lease: an earlier attempt was settled, or
/// this one was, and its late owner took it up again.
fn may_have_attempts(lease: &Lease) -> bool {
    lease.attempt > 1 || lease.extended
}

/// A message is done with: everything of it goes.
pub(crate) fn finish(core: &Core, txn: &mut Transaction, id: MessageId, lease: Option<&Lease>) {
    txn.delete(core.keyspaces.messages, &key::encode(id));
    if let Some(lease) = lease {
        remove_lease(core, txn, id, lease);
    }
    if lease.is_none_or(may_have_attempts) {
        txn.delete(core.keyspaces.attempts, &key::encode(id));
    }
}

/// Puts a message whose attempts are used up into the dead-letter queue.
fn dead_letter(
    core: &Core,
    txn: &mut Transaction,
    queue: &Definition,
    id: MessageId,
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
    id: MessageId,
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
    let moved = MessageId { queue: to, number: core.numbers.next()? };
    txn.put(core.keyspaces.messages, &key::encode(moved), &encode_dead(message, &why));
    Ok(target.to_owned())
}

/// A token that is no longer good.
pub(crate) fn fenced(id: MessageId) -> Error {
    Error::new(
        Kind::Fenced,
        format!(
            "the lease on {id} is over: the message was granted again or is finished; drop this \
             work, its new owner has it"
        ),
    )
}
