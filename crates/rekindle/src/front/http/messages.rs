//! Messages over HTTP: sending one or many, and receiving them under leases.
//!
//! Invariants: messages of one request are in the queue in its order; each has exactly one result,
//! at its place; what was granted to a caller that went away is given back.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use rekindle_services::limits::{
    BODY_BYTES_MAX, FAIRNESS_KEY_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX, OWNER_BYTES_MAX,
    RECEIVE_MESSAGES_MAX, SEND_MESSAGES_MAX, VISIBILITY_MS_MAX,
};
use rekindle_services::queues::{Delivery, MessageId, NewMessage, Queues, ReceiveRequest};
use rekindle_services::{Acknowledged, Identity, Ticket};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::serving;
use super::object::Object;
use super::operation::{Given, Operation, Taken, of};
use super::payload;
use super::problem::{Code, Problem};
use super::queues::{DURABILITIES, NAME};
use super::reply::{Answered, Refusal, json, ok};
use super::request::{Asked, how_many_and_how_long};
use super::route::Working;
use crate::front::limits::LONG_POLL_MS_MAX;
use crate::front::long_poll::waited;
use crate::metrics::Counters;
use crate::state::Server;

/// A header of a message.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// Its name; names may repeat, the order is kept.
    name: String,
    /// Its value.
    value: String,
}

/// A message to be sent. Without a body it is empty. What it may not have refuses it alone, where
/// it is one of many: this is said in words, so that what is right by the schema is answered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OneMessage {
    /// The payload as text: at most 1 MiB of UTF-8.
    body: Option<String>,
    /// The payload as base64, instead of `body`.
    #[schemars(extend("contentEncoding" = "base64"))]
    body_base64: Option<String>,
    /// At most 100, of 16 KiB in all.
    #[schemars(with = "Option<Vec<Header>>")]
    headers: Option<Vec<Object<Header>>>,
    /// Messages of one key are first in, first out; keys take turns. At most 249 bytes.
    fairness_key: Option<String>,
    /// How long it stays away before it can be received; at most 366 days.
    delay_ms: Option<u64>,
}

/// Messages to be sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ManyMessages {
    /// In the order in which they will stand in the queue.
    #[schemars(length(min = 1, max = SEND_MESSAGES_MAX))]
    #[schemars(with = "Vec<OneMessage>")]
    messages: Vec<Object<OneMessage>>,
}

/// One message, or `{"messages":[…]}`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "it is there for its schema; a body is parsed as one or the other")]
enum SendMessages {
    One(OneMessage),
    Many(ManyMessages),
}

/// What a body of a send is, before it is known which.
#[derive(Debug, Deserialize)]
struct Peek {
    messages: Option<serde::de::IgnoredAny>,
}

/// A message that was sent.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SentMessage {
    /// Names the message.
    id: String,
    /// The transaction that sent it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

/// An item that was refused; the others are not affected.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RefusedItem {
    /// Why.
    pub(super) problem: Problem,
}

/// What became of one message.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum SendResult {
    Sent(SentMessage),
    Refused(RefusedItem),
}

/// What became of messages.
#[derive(Debug, Serialize, JsonSchema)]
struct SendResults {
    /// One for each message, in their order.
    results: Vec<SendResult>,
}

pub(super) const SEND: Operation = Operation {
    id: "sendMessages",
    tag: "messages",
    summary: "Sends one message, or several.",
    about: "One message is answered 201, or refused as a whole. `{\"messages\":[…]}` is answered \
            200 with one result or problem for each; a refused one hinders no other, and item `i` \
            of an Idempotency-Key has the sequence + `i`. When the caller goes away, \
            the first ones may have been sent.",
    parameters: &[NAME],
    takes: Some(Taken { shape: of::<SendMessages>(), example: r#"{"body":"hello"}"# }),
    answers: &[
        Given::ok("The results of several messages.", of::<SendResults>()),
        Given::created("One message is in the queue.", of::<SentMessage>()),
    ],
    refuses: &[Code::NotFound, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/queues/{name}/messages`.
pub(super) fn send(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let Peek { messages } = asked.json()?;
        let queues = serving(&server)?.services.queues();
        let name = asked.text("name").unwrap_or("");
        if messages.is_some() {
            let ManyMessages { messages } = asked.json()?;
            return send_many(&server, queues, name, messages, asked.identity()).await;
        }
        let message: OneMessage = asked.json()?;
        let sent = match submit(queues, name, message, asked.identity()).await {
            Ok(ticket) => ticket.await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        match sent {
            Ok(sent) => {
                Counters::add(&server.counters.sent, 1);
                Ok(json(StatusCode::CREATED, &told(&sent)))
            }
            Err(refusal) => {
                Counters::add(&server.counters.refused, 1);
                Err(refusal)
            }
        }
    })
}

async fn send_many(
    server: &Server,
    queues: &Queues,
    name: &str,
    messages: Vec<Object<OneMessage>>,
    identity: Option<Identity>,
) -> Answered {
    let count = messages.len();
    if !(1..=SEND_MESSAGES_MAX).contains(&count) {
        let message = format!("{count} messages in one request; 1 to {SEND_MESSAGES_MAX} may be");
        return Err(Refusal::invalid(message));
    }
    let parts = messages.into_iter().map(|Object(message)| message.parts()).collect();
    let mut results = Vec::with_capacity(count);
    for sent in submit_all(queues, name, parts, identity).await {
        let counter = if sent.is_ok() { &server.counters.sent } else { &server.counters.refused };
        Counters::add(counter, 1);
        results.push(match sent {
            Ok(sent) => SendResult::Sent(told(&sent)),
            Err(refusal) => SendResult::Refused(RefusedItem { problem: refusal.into_item() }),
        });
    }
    ok(&SendResults { results })
}

/// A message, decoded.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) body: Vec<u8>,
    pub(super) fairness_key: String,
    pub(super) delay_ms: u64,
    headers: Vec<Object<Header>>,
}

impl Parts {
    /// Its headers.
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|Object(it)| (it.name.as_str(), it.value.as_str())).collect()
    }
}

impl OneMessage {
    /// The message, decoded.
    pub(super) fn parts(self) -> Result<Parts, Refusal> {
        let body = payload::bytes("body", self.body, self.body_base64.as_deref())?;
        let parts = Parts {
            body: body.unwrap_or_default(),
            fairness_key: self.fairness_key.unwrap_or_default(),
            delay_ms: self.delay_ms.unwrap_or(0),
            headers: self.headers.unwrap_or_default(),
        };
        let headers = parts.headers();
        check_size(&new_message(&parts, &headers))?;
        Ok(parts)
    }
}

fn new_message<'a>(parts: &'a Parts, headers: &'a [(&'a str, &'a str)]) -> NewMessage<'a> {
    let Parts { body, fairness_key, delay_ms, .. } = parts;
    NewMessage { body, headers, fairness_key, delay_ms: *delay_ms }
}

/// Puts one message on its way.
async fn submit(
    queues: &Queues,
    queue: &str,
    message: OneMessage,
    identity: Option<Identity>,
) -> Result<Ticket<MessageId>, Refusal> {
    let parts = message.parts()?;
    let headers = parts.headers();
    Ok(queues.submit_send(queue, &new_message(&parts, &headers), identity).await?)
}

/// Puts those that are well formed on their way, in their order, before the first is awaited; what
/// became of each.
async fn submit_all(
    queues: &Queues,
    queue: &str,
    parts: Vec<Result<Parts, Refusal>>,
    identity: Option<Identity>,
) -> Vec<Result<Acknowledged<MessageId>, Refusal>> {
    let mut at = 0;
    let mut submitted = Vec::new();
    for together in parts.chunk_by(|one, next| one.is_ok() == next.is_ok()) {
        let whole: Vec<&Parts> = together.iter().flatten().collect();
        let headers: Vec<_> = whole.iter().map(|it| it.headers()).collect();
        let messages: Vec<_> =
            whole.iter().zip(&headers).map(|(it, headers)| new_message(it, headers)).collect();
        let identity = identity.map(|identity| identity.item(at));
        submitted.push(queues.submit_send_all(queue, &messages, identity).await);
        at += together.len();
    }
    let mut sent = Vec::with_capacity(parts.len());
    for tickets in submitted {
        sent.extend(tickets.await);
    }
    let mut sent = sent.into_iter();
    let mut outcome = |_: Parts| sent.next().expect("each message has its answer");
    parts.into_iter().map(|parts| outcome(parts?).map_err(Refusal::from)).collect()
}

/// Refuses a message that is too large.
pub(super) fn check_size(message: &NewMessage<'_>) -> Result<(), Refusal> {
    let header_bytes = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    for (what, found, limit) in [
        ("bytes of the body", message.body.len(), BODY_BYTES_MAX),
        ("number of headers", message.headers.len(), HEADERS_MAX),
        ("bytes of the headers", header_bytes, HEADER_BYTES_MAX),
        ("bytes of the fairness key", message.fairness_key.len(), FAIRNESS_KEY_BYTES_MAX),
    ] {
        payload::within(what, found, limit)?;
    }
    Ok(())
}

fn told(sent: &Acknowledged<MessageId>) -> SentMessage {
    SentMessage {
        id: sent.value.to_string(),
        version: sent.version,
        durability: sent.durability.as_str(),
    }
}

/// What is received, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiveMessages {
    /// The most messages; 1 unless it is given.
    #[schemars(range(min = 1, max = RECEIVE_MESSAGES_MAX))]
    max: Option<u64>,
    /// How long to wait for the first one, where none is ready; 0, the default: not at all.
    #[schemars(range(max = LONG_POLL_MS_MAX))]
    wait_ms: Option<u64>,
    /// How long the leases last; the visibility of the queue unless it is given.
    #[schemars(range(min = 1, max = VISIBILITY_MS_MAX))]
    visibility_ms: Option<u64>,
    /// Who receives, for people who look at leases.
    #[schemars(length(max = OWNER_BYTES_MAX))]
    owner: Option<String>,
}

/// A message under a lease.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
struct DeliveryView {
    /// Names the message.
    id: String,
    /// Names the message and this grant: what ack, nack and extend take.
    token: String,
    /// 1 for the first grant.
    attempt: u32,
    /// When the lease runs out, log time.
    deadline_ms: u64,
    /// How long the lease lasts from the grant.
    visibility_ms: u64,
    /// When it was sent, log time.
    sent_ms: u64,
    /// Its fairness key.
    fairness_key: String,
    /// Its headers.
    headers: Vec<Header>,
    /// The payload, where it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The payload, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// What was received.
#[derive(Debug, Serialize, JsonSchema)]
struct Deliveries {
    /// None where nothing was ready.
    deliveries: Vec<DeliveryView>,
}

pub(super) const RECEIVE: Operation = Operation {
    id: "receiveMessages",
    tag: "messages",
    summary: "Leases what is ready.",
    about: "With `wait_ms` it waits for the first message; where too many wait already, or the \
            server ends, it answers at once with what there is. What was granted to a caller that \
            went away meanwhile is ready again at once, uncharged. A page ends after 2 MiB.",
    parameters: &[NAME],
    takes: Some(Taken { shape: of::<ReceiveMessages>(), example: r#"{"max":10,"wait_ms":1000}"# }),
    answers: &[Given::ok("What was leased; nothing is no error.", of::<Deliveries>())],
    refuses: &[Code::NotFound, Code::Full, Code::NoSpace],
    once: false,
};

/// POST `/v1/queues/{name}/receive`.
pub(super) fn receive(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let wanted: ReceiveMessages = asked.json()?;
        let (max, wait_ms) = how_many_and_how_long(wanted.max, wanted.wait_ms)?;
        let owner = wanted.owner.unwrap_or_default();
        let queue = asked.text("name").unwrap_or("");
        let visibility_ms = wanted.visibility_ms;
        let request = ReceiveRequest { queue, max, visibility_ms, owner: &owner };
        let queues = serving(&server)?.services.queues();
        let received = queues.receive_wait(&request, pin!(waited(&server, wait_ms))).await?;
        let (counters, deliveries) = (&server.counters, &received.value);
        Counters::add(&counters.received, u64::try_from(deliveries.len()).unwrap_or(0));
        let most = deliveries.iter().map(|delivery| delivery.attempt).max().unwrap_or(0);
        counters.most_attempts.fetch_max(u64::from(most), Ordering::Relaxed);
        ok(&Deliveries { deliveries: deliveries.iter().map(DeliveryView::from).collect() })
    })
}

impl From<&Delivery> for DeliveryView {
    fn from(delivery: &Delivery) -> Self {
        let header =
            |(name, value): &(String, String)| Header { name: name.clone(), value: value.clone() };
        let (body, body_base64) = payload::shown(delivery.body());
        Self {
            id: delivery.id.to_string(),
            token: delivery.token.to_string(),
            attempt: delivery.attempt,
            deadline_ms: delivery.deadline_ms,
            visibility_ms: delivery.visibility_ms,
            sent_ms: delivery.sent_ms,
            fairness_key: delivery.fairness_key.clone(),
            headers: delivery.headers.iter().map(header).collect(),
            body,
            body_base64,
        }
    }
}
