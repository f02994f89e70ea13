//! `receive`: leases on ready messages, one transaction for all of them.
//!
//! Messages are reserved in the index, so that no two grants try the same one, and given their
//! leases in a transaction. Invariants: no lease is taken beyond what is answered; a reservation
//! ends with its grant or goes back; a grant whose receiver went away is given back as `released`.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use rekindle_database::Transaction;

use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::keys::message as key;
use crate::limits::{OWNER_BYTES_MAX, RECEIVE_BYTES_MAX, RECEIVE_MESSAGES_MAX, VISIBILITY_MS_MAX};
use crate::queues::definition::{Definition, check_name};
use crate::queues::index::{Listener, Reserved};
use crate::queues::message::parse;
use crate::queues::{Delivery, MessageId, ReceiveRequest, Token, settle, state};
use crate::ticket::{Acknowledged, Durability, Ticket};

/// Grants that are tried when all reserved messages were finished or taken up again meanwhile. The
/// index learns of that when it is applied, which an acknowledgement does not wait for in every
/// mode.
const TRIES: usize = 3;

/// Gives leases on reserved messages.
pub(crate) struct Grant<'a> {
    core: &'a Arc<Core>,
    definition: Arc<Definition>,
    owner: &'a str,
    visibility_ms: u64,
    reserved: Vec<Reserved>,
    /// How many of `reserved`, from the front, the last build looked at.
    looked_at: usize,
}

/// The queue of a request that is in order.
fn checked(core: &Core, request: &ReceiveRequest<'_>) -> Result<Arc<Definition>, Error> {
    check_name(request.queue)?;
    if request.max == 0 {
        return Err(Error::invalid("a receive of 0 messages; ask for at least 1"));
    }
    if request.owner.len() > OWNER_BYTES_MAX {
        return Err(Error::invalid(format!(
            "an owner's name of {} bytes; at most {OWNER_BYTES_MAX} are allowed",
            request.owner.len()
        )));
    }
    if let Some(visibility_ms) = request.visibility_ms
        && !(1..=VISIBILITY_MS_MAX).contains(&visibility_ms)
    {
        return Err(Error::invalid(format!(
            "a visibility of {visibility_ms} ms; choose 1 ms to {VISIBILITY_MS_MAX} ms (12 h)"
        )));
    }
    core.alive()?;
    core.definition(request.queue)
}

impl<'a> Grant<'a> {
    /// Reserves what is ready; `None` when nothing is.
    fn reserve(
        core: &'a Arc<Core>,
        definition: &Arc<Definition>,
        request: &ReceiveRequest<'a>,
    ) -> Option<Self> {
        if core.closing.load(Ordering::Acquire) {
            return None;
        }
        let mut reserved = Vec::new();
        let max = request.max.min(RECEIVE_MESSAGES_MAX);
        let now_ms = core.database.log_time_ms();
        core.index.reserve(definition.id, max, now_ms, &mut reserved);
        if reserved.is_empty() {
            return None;
        }
        let visibility_ms = request.visibility_ms.unwrap_or(definition.settings.visibility_ms);
        Some(Self {
            core,
            definition: Arc::clone(definition),
            owner: request.owner,
            visibility_ms,
            reserved,
            looked_at: 0,
        })
    }

    /// After the grant was ordered: those that got a lease are the transaction's now; what was not
    /// looked at is ready for others at once.
    fn keep_rest(&mut self, ticket: &Ticket<Vec<Delivery>>) {
        let rest = self.reserved.split_off(self.looked_at);
        self.core.index.unreserve(self.definition.id, rest.iter().map(|one| one.number));
        let granted = ticket.peek().map_or(&[][..], Vec::as_slice);
        let mut granted = granted.iter().map(|delivery| delivery.id.number).peekable();
        // Deliveries are in the order of the reservation, with some left out.
        self.reserved.retain(|one| granted.next_if_eq(&one.number).is_none());
    }

    /// One message: its lease, unless it was finished or taken up again meanwhile.
    fn one(
        &self,
        txn: &mut Transaction,
        reserved: Reserved,
        now_ms: u64,
    ) -> Result<Option<Delivery>, Stop> {
        let keyspaces = &self.core.keyspaces;
        let id = MessageId { queue: self.definition.id, number: reserved.number };
        let key = key::encode(id);
        let Some(row) = txn.get(keyspaces.messages, &key)? else { return Ok(None) };
        let mut attempts = None;
        if reserved.attempted {
            if txn.get(keyspaces.leases, &key)?.is_some() {
                return Ok(None);
            }
            attempts = match settle::load_attempts(self.core, txn, id) {
                Err(Stop::Refused(error)) => return Ok(self.set_aside(id, &error)),
                attempts => attempts?,
            };
        }
        let message = match parse(&row.bytes) {
            Ok(message) => message,
            Err(malformed) => return Ok(self.set_aside(id, &malformed)),
        };
        let lease = state::grant(attempts.as_ref(), now_ms, self.visibility_ms, self.owner);
        let delivery = Delivery {
            id,
            token: Token { message: id, grant: 0 },
            attempt: lease.attempt,
            deadline_ms: lease.deadline_ms,
            visibility_ms: self.visibility_ms,
            sent_ms: message.sent_ms,
            fairness_key: message.fairness_key.to_owned(),
            headers: owned(&message.headers),
            body_at: row.bytes.len() - message.body.len(),
            row: Arc::clone(&row.bytes),
        };
        let expiry = LeaseExpiry { deadline_ms: lease.deadline_ms, message: id };
        txn.put(keyspaces.leases, &key, &lease.encode());
        txn.put(keyspaces.lease_expiry, &lease_expiry::encode(expiry), &[]);
        Ok(Some(delivery))
    }

    /// A damaged message is not served; it waits for a person, the others do not wait for it.
    fn set_aside(&self, id: MessageId, why: &dyn std::fmt::Display) -> Option<Delivery> {
        tracing::error!(queue = %self.definition.name, message = %id, %why, "message set aside");
        self.core.index.set_aside(id, self.core.database.log_time_ms());
        None
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Command for Grant<'_> {
    type Value = Vec<Delivery>;
    const FREES_WORK: bool = true;

    fn build(&mut self, _: &Core, txn: &mut Transaction) -> Result<Answer<Vec<Delivery>>, Stop> {
        let now_ms = self.core.database.log_time_ms();
        let mut deliveries = Vec::with_capacity(self.reserved.len());
        let mut bytes = 0;
        self.looked_at = 0;
        for &reserved in &self.reserved {
            if bytes >= RECEIVE_BYTES_MAX {
                break;
            }
            self.looked_at += 1;
            if let Some(delivery) = self.one(txn, reserved, now_ms)? {
                bytes += delivery.row.len();
                deliveries.push(delivery);
            }
        }
        Ok(Answer::new(deliveries))
    }

    fn ordered(deliveries: &mut Vec<Delivery>, version: u64) {
        for delivery in deliveries {
            delivery.token.grant = version;
        }
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        self.core.index.unreserve(self.definition.id, self.reserved.iter().map(|one| one.number));
    }
}

/// Gives leases back when their receiver goes away before it has its answer.
struct Handover<'a> {
    core: &'a Core,
    tokens: Vec<Token>,
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let mut abandoned = self.core.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned.extend(self.tokens.drain(..));
        drop(abandoned);
        self.core.alarm.ring(0);
    }
}

/// Leases what is ready; nothing ready is an empty answer.
pub(crate) fn receive(
    core: &Arc<Core>,
    request: &ReceiveRequest<'_>,
) -> Result<Acknowledged<Vec<Delivery>>, Error> {
    core.settle()?;
    let definition = checked(core, request)?;
    for _ in 0..TRIES {
        let Some(mut grant) = Grant::reserve(core, &definition, request) else { break };
        let ticket = core.submit(&mut grant)?;
        grant.keep_rest(&ticket);
        let answer = ticket.wait()?;
        if !answer.value.is_empty() {
            return Ok(answer);
        }
    }
    Ok(nothing(core))
}

/// The same; where nothing is ready, waits until something is or `deadline` resolves.
pub(crate) async fn receive_wait(
    core: &Arc<Core>,
    request: &ReceiveRequest<'_>,
    deadline: impl Future<Output = ()>,
) -> Result<Acknowledged<Vec<Delivery>>, Error> {
    // What was sent before must not be missed by a receiver that does not wait.
    core.settled().await?;
    let mut deadline = pin!(deadline);
    let mut listener: Option<Listener> = None;
    loop {
        let definition = checked(core, request)?;
        for _ in 0..TRIES {
            let Some(mut grant) = Grant::reserve(core, &definition, request) else { break };
            let ticket = core.submit_async(&mut grant).await?;
            grant.keep_rest(&ticket);
            let tokens = ticket.peek().into_iter().flatten().map(|one| one.token).collect();
            let mut handover = Handover { core, tokens };
            let answer = ticket.await?;
            handover.tokens.clear();
            if !answer.value.is_empty() {
                return Ok(answer);
            }
        }
        if core.closing.load(Ordering::Acquire) {
            return Ok(nothing(core));
        }
        // Listen first, look again, and only then wait: nothing that comes in between is missed.
        let Some(heard) = &mut listener else {
            listener = Some(core.index.listen(definition.id)?);
            continue;
        };
        let mut heard = pin!(heard);
        let woken = std::future::poll_fn(|context| {
            if heard.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            deadline.as_mut().poll(context).map(|()| false)
        });
        if !woken.await {
            return Ok(nothing(core));
        }
        listener = None;
    }
}

/// Nothing was ready.
fn nothing(core: &Core) -> Acknowledged<Vec<Delivery>> {
    let version = core.database.current_version();
    Acknowledged { value: vec![], version, durability: Durability::Memory }
}

/// A listener of this queue.
pub(crate) fn listen(core: &Arc<Core>, queue: &str) -> Result<Listener, Error> {
    check_name(queue)?;
    let definition = core.definition(queue)?;
    core.index.listen(definition.id)
}

/// Refuses a call with too many items.
pub(crate) fn check_count(what: &str, found: usize, limit: usize) -> Result<(), Error> {
    if found > limit {
        let message = format!("{found} {what} in one call; at most {limit} are allowed");
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(())
}
