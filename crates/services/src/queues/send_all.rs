//! Sending several messages: as few transactions as they fit into.
//!
//! Invariants: the messages are in the queue in their order; a refused one hinders no other one;
//! whatever a transaction holds is there after a crash, or none of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rekindle_database::Transaction;

use crate::claims::grant::check_count;
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::limits::SEND_MESSAGES_MAX;
use crate::queues::send::Send;
use crate::queues::{MessageId, NewMessage};
use crate::ticket::{Acknowledged, Ticket};

/// The most messages of one transaction.
const TOGETHER: usize = 64;
/// A transaction is full with so many bytes of messages, headers and fairness keys included.
const TOGETHER_BYTES: usize = 256 << 10;

/// A message with everything that was looked at beforehand, or why it is refused.
type Item<'a> = Result<Send<'a>, Error>;

/// What became of the messages of one transaction.
type Sent = Vec<Result<Answer<MessageId>, Error>>;

/// Several messages on their way, in their order. Await them, or [`SendTickets::wait`].
#[derive(Debug, Default)]
#[must_use = "the messages are not acknowledged before their tickets resolve"]
pub struct SendTickets {
    together: VecDeque<Together>,
    done: Vec<Result<Acknowledged<MessageId>, Error>>,
}

/// The messages of one transaction.
#[derive(Debug)]
struct Together {
    count: usize,
    /// Those that were refused before it was begun, and why: that is so whatever becomes of it.
    refused: Vec<(usize, Error)>,
    ticket: Result<Ticket<Sent>, Error>,
}

impl SendTickets {
    /// Blocks until all are acknowledged or refused. Never call this on an asynchronous runtime's
    /// thread.
    pub fn wait(mut self) -> Vec<Result<Acknowledged<MessageId>, Error>> {
        while let Some(Together { count, refused, ticket }) = self.together.pop_front() {
            let outcome = ticket.and_then(Ticket::wait);
            self.done.extend(one_by_one(count, refused, outcome));
        }
        self.done
    }

    fn add(&mut self, items: &[Item<'_>], ticket: Result<Ticket<Sent>, Error>) {
        let refusal = |(at, item): (usize, &Item<'_>)| Some((at, item.as_ref().err()?.clone()));
        let refused = items.iter().enumerate().filter_map(refusal).collect();
        self.together.push_back(Together { count: items.len(), refused, ticket });
    }
}

impl Future for SendTickets {
    type Output = Vec<Result<Acknowledged<MessageId>, Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(next) = this.together.front_mut() {
            let outcome = match &mut next.ticket {
                Ok(ticket) => ready!(Pin::new(ticket).poll(context)),
                Err(error) => Err(error.clone()),
            };
            let (count, refused) = (next.count, std::mem::take(&mut next.refused));
            this.together.pop_front();
            this.done.extend(one_by_one(count, refused, outcome));
        }
        Poll::Ready(std::mem::take(&mut this.done))
    }
}

/// What became of each message.
fn one_by_one(
    count: usize,
    refused: Vec<(usize, Error)>,
    outcome: Result<Acknowledged<Sent>, Error>,
) -> Vec<Result<Acknowledged<MessageId>, Error>> {
    let Acknowledged { value: sent, version, durability } = match outcome {
        Ok(acknowledged) => acknowledged,
        Err(error) => {
            let mut all = vec![Err(error); count];
            for (at, refusal) in refused {
                if let Some(one) = all.get_mut(at) {
                    *one = Err(refusal);
                }
            }
            return all;
        }
    };
    assert_eq!(sent.len(), count, "each message has its answer");
    let acknowledged = |answer: Answer<MessageId>| Acknowledged {
        value: answer.value,
        version: answer.version.unwrap_or(version),
        durability,
    };
    sent.into_iter().map(|one| one.map(acknowledged)).collect()
}

/// Sends these messages in one transaction.
struct SendTogether<'a, 'b> {
    items: &'b [Item<'a>],
}

impl Command for SendTogether<'_, '_> {
    type Value = Sent;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Sent>, Stop> {
        let mut session = core.session(core.database.log_time_ms());
        let mut line = None;
        let mut sent = Vec::with_capacity(self.items.len());
        for item in self.items {
            sent.push(match item {
                Ok(send) => send.once(core, txn, &mut session, &mut line)?,
                Err(error) => Err(error.clone()),
            });
        }
        session.write(txn)?;
        Ok(Answer::new(sent))
    }
}

/// What is still to be sent, a transaction at a time, and what is on its way.
struct Sending<'a, 'b> {
    core: &'a Core,
    queue: &'a str,
    identity: Option<Identity>,
    messages: &'b [NewMessage<'b>],
    /// The next of them.
    at: usize,
    /// Those that go one by one, before it.
    alone: VecDeque<Item<'a>>,
    tickets: SendTickets,
}

impl<'a, 'b> Sending<'a, 'b> {
    fn new(
        core: &'a Core,
        queue: &'a str,
        messages: &'b [NewMessage<'b>],
        identity: Option<Identity>,
    ) -> Self {
        let (alone, tickets) = (VecDeque::new(), SendTickets::default());
        Self { core, queue, identity, messages, at: 0, alone, tickets }
    }

    /// The messages of the next transaction.
    fn next(&mut self) -> Option<Vec<Item<'a>>> {
        if let Some(one) = self.alone.pop_front() {
            return Some(vec![one]);
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(message) = self.messages.get(self.at)
            && items.len() < TOGETHER
        {
            let headers = message.headers.iter().map(|(name, value)| name.len() + value.len());
            let size = message.body.len() + headers.sum::<usize>() + message.fairness_key.len();
            if !items.is_empty() && bytes + size > TOGETHER_BYTES {
                break;
            }
            let identity = self.identity.map(|identity| identity.item(self.at));
            let item = check_count("messages", self.messages.len(), SEND_MESSAGES_MAX)
                .and_then(|()| Send::new(self.core, self.queue, message, identity));
            items.push(item);
            (self.at, bytes) = (self.at + 1, bytes + size);
        }
        (!items.is_empty()).then_some(items)
    }

    /// They are on their way, or go again one by one.
    fn submitted(&mut self, items: Vec<Item<'a>>, ticket: Result<Ticket<Sent>, Error>) {
        match is_too_much(&items, &ticket) {
            true => self.alone.extend(items),
            false => self.tickets.add(&items, ticket),
        }
    }
}

/// Whether the messages go one by one: where all of them find no room, or one of them meets a row
/// that cannot be read, others need not. Nothing of the transaction was ordered then.
fn is_too_much(items: &[Item<'_>], ticket: &Result<Ticket<Sent>, Error>) -> bool {
    const OF_ONE: [Kind; 4] = [Kind::Full, Kind::Corrupt, Kind::Compacted, Kind::Retry];
    items.len() > 1 && ticket.as_ref().is_err_and(|error| OF_ONE.contains(&error.kind()))
}

/// Puts them on their way, blocking only for room in the journal.
pub(crate) fn submit(
    core: &Core,
    queue: &str,
    messages: &[NewMessage<'_>],
    identity: Option<Identity>,
) -> SendTickets {
    let mut sending = Sending::new(core, queue, messages, identity);
    while let Some(items) = sending.next() {
        let ticket = core.submit(&mut SendTogether { items: &items });
        sending.submitted(items, ticket);
    }
    sending.tickets
}

/// The same; awaits room.
pub(crate) async fn submit_async(
    core: &Core,
    queue: &str,
    messages: &[NewMessage<'_>],
    identity: Option<Identity>,
) -> SendTickets {
    let mut sending = Sending::new(core, queue, messages, identity);
    while let Some(items) = sending.next() {
        let ticket = core.submit_async(&mut SendTogether { items: &items }).await;
        sending.submitted(items, ticket);
    }
    sending.tickets
}
