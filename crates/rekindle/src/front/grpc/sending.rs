//! Sending: a batch from submission to acknowledgement, and streams of batches.
//!
//! Invariants: the messages of a stream are submitted one after the other in its order, and batches
//! are answered in that order; a batch is answered only when each of its messages is acknowledged
//! or refused; reading goes on while earlier batches wait for the disk, up to a bound.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;
use prost::Message as _;
use rekindle_services::limits::SEND_MESSAGES_MAX;
use rekindle_services::queues::{MessageId, NewMessage, Queues, SendTickets};
use rekindle_services::{Acknowledged, Error, Kind};
use rekindle_wire::v1::{Message, RequestIdentity, SendAcks, SendBatch};
use tonic::{Status, Streaming};

use super::super::budget::Flight;
use super::super::limits::STREAM_MESSAGES_MAX;
use super::convert;
use super::gate;
use crate::metrics::Counters;
use crate::progress::Stage;
use crate::state::Server;

/// Bytes that gRPC puts before each message: a flag and a length.
const MESSAGE_PREFIX_BYTES: usize = 5;

/// A batch whose messages are submitted, or refused as a whole: the future of its answer.
#[derive(Debug)]
pub(super) enum Answering {
    Sent(SendTickets),
    Refused(usize, Error),
}

/// Submits messages to a queue, in their order.
pub(super) async fn submit(
    queues: &Queues,
    queue: &str,
    messages: &[Message],
    identity: Option<&RequestIdentity>,
) -> Answering {
    let identity = match check(messages, identity) {
        Ok(identity) => identity,
        Err(error) => return Answering::Refused(messages.len(), error),
    };
    let headers: Vec<Vec<(&str, &str)>> = messages
        .iter()
        .map(|it| it.headers.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect())
        .collect();
    let new = |(message, headers)| {
        let Message { body, fairness_key, delay_ms, .. }: &Message = message;
        NewMessage { body, headers, fairness_key, delay_ms: *delay_ms }
    };
    let messages: Vec<_> =
        messages.iter().zip(headers.iter().map(Vec::as_slice)).map(new).collect();
    Answering::Sent(queues.submit_send_all(queue, &messages, identity).await)
}

/// What concerns all messages of a batch.
fn check(
    messages: &[Message],
    identity: Option<&RequestIdentity>,
) -> Result<Option<rekindle_services::Identity>, Error> {
    if messages.len() > SEND_MESSAGES_MAX {
        let count = messages.len();
        let message = format!("{count} messages in one batch; at most {SEND_MESSAGES_MAX} may be");
        return Err(Error::new(Kind::Full, message));
    }
    convert::identity(identity)
}

impl Future for Answering {
    type Output = SendAcks;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SendAcks> {
        Poll::Ready(answer(match &mut *self {
            Self::Sent(tickets) => ready!(Pin::new(tickets).poll(cx)),
            Self::Refused(count, error) => vec![Err(error.clone()); *count],
        }))
    }
}

/// The answer to a batch.
fn answer(outcomes: Vec<Result<Acknowledged<MessageId>, Error>>) -> SendAcks {
    let mut acks = SendAcks { ids: Vec::with_capacity(outcomes.len()), ..SendAcks::default() };
    let mut durability = None;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        acks.ids.push(match outcome {
            Ok(sent) => {
                durability = Some(convert::weaker(durability, sent.durability));
                sent.value.to_string()
            }
            Err(error) => {
                acks.errors.push(convert::refuse_item(index, &error));
                String::new()
            }
        });
    }
    acks.durability = durability.map_or(0, convert::durability);
    acks
}

/// Counts what an answer says.
pub(super) fn count(counters: &Counters, acks: &SendAcks) {
    let add = |counter: &std::sync::atomic::AtomicU64, n: usize| {
        Counters::add(counter, u64::try_from(n).unwrap_or(0));
    };
    add(&counters.sent, acks.ids.len() - acks.errors.len());
    add(&counters.refused, acks.errors.len());
}

/// A batch on its way, and what it weighs.
struct Unanswered {
    sequence: u64,
    messages: usize,
    bytes: u64,
    answering: Answering,
}

/// A stream of batches as the stream of its answers: reading, submitting and answering are one
/// task.
pub(super) struct Sending {
    server: Arc<Server>,
    queues: Queues,
    flight: Arc<Flight>,
    batches: Streaming<SendBatch>,
    queue: Arc<str>,
    submitting: Option<BoxFuture<'static, Unanswered>>,
    unanswered: VecDeque<Unanswered>,
    unanswered_messages: usize,
    room: Option<BoxFuture<'static, ()>>,
    shutdown: BoxFuture<'static, ()>,
    /// Set once nothing more is read: how the stream ends.
    end: Option<Result<(), Status>>,
}

impl Sending {
    pub(super) fn new(
        server: Arc<Server>,
        queues: Queues,
        flight: Arc<Flight>,
        batches: Streaming<SendBatch>,
    ) -> Self {
        let watched = Arc::clone(&server);
        Self {
            server,
            queues,
            flight,
            batches,
            queue: "".into(),
            submitting: None,
            unanswered: VecDeque::new(),
            unanswered_messages: 0,
            room: None,
            shutdown: Box::pin(async move { watched.progress.reached(Stage::Shutdown).await }),
            end: None,
        }
    }

    /// Reads and submits as far as there is something to read and room for it.
    fn poll_submit(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Some(submitting) = &mut self.submitting {
                let Poll::Ready(next) = submitting.as_mut().poll(cx) else { return };
                self.submitting = None;
                self.unanswered_messages += next.messages;
                self.unanswered.push_back(next);
            }
            if self.end.is_some() || self.unanswered_messages >= STREAM_MESSAGES_MAX {
                return;
            }
            if self.shutdown.as_mut().poll(cx).is_ready() {
                // The batches that were submitted are still answered; what was not read was not
                // done.
                self.end = Some(Err(Status::unavailable("the server shuts down")));
                return;
            }
            if self.poll_room(cx).is_pending() {
                return;
            }
            match Pin::new(&mut self.batches).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Ready(Some(Err(status))) if gate::is_malformed(&status) => {
                    self.end = Some(Err(gate::invalid(&status)));
                }
                Poll::Ready(Some(Err(status))) => self.end = Some(Err(status)),
                Poll::Ready(Some(Ok(batch))) => self.submitting = Some(self.begin(batch)),
            }
        }
    }

    /// Waits until one more request of the largest size may be in flight.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.room.is_none() {
            if self.flight.has_room() {
                return Poll::Ready(());
            }
            let flight = Arc::clone(&self.flight);
            self.room = Some(Box::pin(async move { flight.room().await }));
        }
        if let Some(room) = &mut self.room {
            ready!(room.as_mut().poll(cx));
        }
        self.room = None;
        Poll::Ready(())
    }

    /// The submission of one batch.
    fn begin(&mut self, batch: SendBatch) -> BoxFuture<'static, Unanswered> {
        if !batch.queue.is_empty() && *batch.queue != *self.queue {
            self.queue = batch.queue.as_str().into();
        }
        let bytes = u64::try_from(batch.encoded_len() + MESSAGE_PREFIX_BYTES).unwrap_or(u64::MAX);
        let (queues, queue) = (self.queues.clone(), Arc::clone(&self.queue));
        Box::pin(async move {
            let (identity, messages) = (batch.identity.as_ref(), &batch.messages);
            let answering = submit(&queues, &queue, messages, identity).await;
            let messages = messages.len();
            Unanswered { sequence: batch.sequence, messages, bytes, answering }
        })
    }
}

impl Stream for Sending {
    type Item = Result<SendAcks, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.poll_submit(cx);
        let Some(first) = this.unanswered.front_mut() else {
            if this.submitting.is_some() {
                return Poll::Pending;
            }
            return match this.end.take() {
                None => Poll::Pending,
                Some(Ok(())) => Poll::Ready(None),
                Some(Err(status)) => {
                    this.end = Some(Ok(()));
                    Poll::Ready(Some(Err(status)))
                }
            };
        };
        let mut acks = ready!(Pin::new(&mut first.answering).poll(cx));
        acks.sequence = first.sequence;
        this.unanswered_messages -= first.messages;
        this.flight.give_back(first.bytes);
        this.unanswered.pop_front();
        count(&this.server.counters, &acks);
        Poll::Ready(Some(Ok(acks)))
    }
}
