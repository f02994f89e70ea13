//! Transactions over HTTP: several operations of every kind, all of them or none.
//!
//! Invariant: nothing here decides; a request becomes one transaction of the services, its effects
//! one answer, each at its place.

use std::sync::Arc;

use rekindle_database::Namespace;
use rekindle_services::jobs::{Done, Failure};
use rekindle_services::kv::{Expect, Scope, Write};
use rekindle_services::limits::{
    KV_VALUE_BYTES_MAX, RESULT_BYTES_MAX, TRANSACT_BYTES_MAX, TRANSACT_OPERATIONS_MAX,
};
use rekindle_services::queues::{Nack, NewMessage, Settled};
use rekindle_services::transact::{Effect, Operation as Does};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answers::serving;
use super::job_view::STATUSES;
use super::jobs::{OneJob, new_job, type_of};
use super::kv::{self, EXPECTED};
use super::messages::{OneMessage, Parts, check_size};
use super::object::Object;
use super::operation::{Given, Operation, Taken, of};
use super::payload;
use super::problem::Code;
use super::queues::DURABILITIES;
use super::reply::{Refusal, ok};
use super::request::Asked;
use super::route::Working;
use super::tokens::OUTCOMES;
use crate::state::Server;

/// A key, and where it lives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// The tenant of the namespace; empty unless it is given.
    tenant: Option<String>,
    /// The app of the namespace.
    app: Option<String>,
    /// The agent of the namespace.
    agent: Option<String>,
    /// The run of the namespace.
    run: Option<String>,
    /// What kind of thing the key names; `kv` unless it is given.
    r#type: Option<String>,
}

/// A key that must be so.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckKey {
    /// The key as text.
    key: Option<String>,
    /// The key as base64, instead of `key`.
    key_base64: Option<String>,
    /// It must have been written by this version.
    if_version: Option<u64>,
    /// It must not be there.
    if_absent: Option<bool>,
    /// Where it lives.
    #[schemars(with = "Option<Place>")]
    scope: Option<Object<Place>>,
}

/// A key that is set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutOne {
    /// The key as text.
    key: Option<String>,
    /// The key as base64, instead of `key`.
    key_base64: Option<String>,
    /// The value as text.
    value: Option<String>,
    /// The value as base64, instead of `value`.
    value_base64: Option<String>,
    /// Where it lives.
    #[schemars(with = "Option<Place>")]
    scope: Option<Object<Place>>,
}

/// A key that is removed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteOne {
    /// The key as text.
    key: Option<String>,
    /// The key as base64, instead of `key`.
    key_base64: Option<String>,
    /// Where it lives.
    #[schemars(with = "Option<Place>")]
    scope: Option<Object<Place>>,
}

/// A message that is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendMessage {
    /// Into which queue.
    queue: String,
    /// The message.
    #[schemars(with = "Option<OneMessage>")]
    message: Option<Object<OneMessage>>,
}

/// A token of a message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AckMessage {
    /// As it was received.
    token: String,
}

/// A message that is given back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NackMessage {
    /// As it was received.
    token: String,
    /// How long it stays away.
    delay_ms: Option<u64>,
    /// Kept with the attempt.
    reason: Option<String>,
    /// Given back unstarted: the attempt is not charged.
    release: Option<bool>,
}

/// A job that is completed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompleteOne {
    /// As it was claimed.
    token: String,
    /// What it resulted in: any JSON.
    #[schemars(with = "Option<serde_json::Value>")]
    result: Option<Box<RawValue>>,
}

/// A job that went wrong.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FailOne {
    /// As it was claimed.
    token: String,
    /// What went wrong.
    error: Option<String>,
    /// In how long it is tried again.
    retry_in_ms: Option<u64>,
    /// Trying again is of no use.
    last: Option<bool>,
}

/// One operation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OneOperation {
    /// A key must be so.
    Check(#[schemars(with = "CheckKey")] Object<CheckKey>),
    /// A key is set.
    Put(#[schemars(with = "PutOne")] Object<PutOne>),
    /// A key is removed.
    Delete(#[schemars(with = "DeleteOne")] Object<DeleteOne>),
    /// A message is sent.
    Send(#[schemars(with = "SendMessage")] Object<SendMessage>),
    /// A message is finished.
    Ack(#[schemars(with = "AckMessage")] Object<AckMessage>),
    /// A message is given back.
    Nack(#[schemars(with = "NackMessage")] Object<NackMessage>),
    /// A job is submitted.
    Submit(#[schemars(with = "OneJob")] Object<OneJob>),
    /// A job is completed.
    Complete(#[schemars(with = "CompleteOne")] Object<CompleteOne>),
    /// A job's attempt ends.
    Fail(#[schemars(with = "FailOne")] Object<FailOne>),
}

/// Operations that happen together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunTransaction {
    /// In the order in which they happen; each sees what those in front of it did.
    #[schemars(length(max = TRANSACT_OPERATIONS_MAX))]
    operations: Vec<OneOperation>,
}

/// A message or a job that is there now.
#[derive(Debug, Serialize, JsonSchema)]
struct MadeEffect {
    /// Names the message or the job.
    id: String,
    /// Of a job; false: another one had its unique key.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<bool>,
}

/// What became of a leased message.
#[derive(Debug, Serialize, JsonSchema)]
struct SettledEffect {
    /// What became of it.
    #[schemars(extend("enum" = OUTCOMES))]
    outcome: &'static str,
}

/// What became of a job.
#[derive(Debug, Serialize, JsonSchema)]
struct ChangedEffect {
    /// The job.
    id: String,
    /// How it stands now.
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
}

/// An operation that says no more than that it was done.
#[derive(Debug, Serialize, JsonSchema)]
struct DoneEffect {
    /// Always true.
    done: bool,
}

/// What an operation did.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum EffectView {
    Changed(ChangedEffect),
    Made(MadeEffect),
    Settled(SettledEffect),
    Done(DoneEffect),
}

/// What a transaction did.
#[derive(Debug, Serialize, JsonSchema)]
struct TransactionDone {
    /// One for each operation, in their order.
    results: Vec<EffectView>,
    /// The transaction.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

pub(super) const RUN: Operation = Operation {
    id: "runTransaction",
    tag: "transactions",
    summary: "Does several things together, or none of them.",
    about: "Tokens and keys are checked inside the transaction. Where one operation is refused, \
            nothing of the whole is done, and the problem names its place: `operation 2: …`.",
    parameters: &[],
    takes: Some(Taken {
        shape: of::<RunTransaction>(),
        example: concat!(
            r#"{"operations":[{"check":{"key":"balance","if_absent":true}},"#,
            r#"{"put":{"key":"balance","value":"7"}},"#,
            r#"{"submit":{"type":"mail","payload":{"to":"ada"}}}]}"#
        ),
    }),
    answers: &[Given::ok("All of it is done.", of::<TransactionDone>())],
    refuses: &[Code::NotFound, Code::Conflict, Code::Fenced, Code::Full, Code::NoSpace],
    once: true,
};

/// An operation with everything that it borrows from.
enum Ready {
    Check { scope: Scope, key: Vec<u8>, expect: Expect },
    Put { scope: Scope, key: Vec<u8>, value: Vec<u8> },
    Delete { scope: Scope, key: Vec<u8> },
    Send { queue: String, parts: Parts },
    Ack(AckMessage),
    Nack(NackMessage),
    Submit(OneJob),
    Complete(CompleteOne),
    Fail(FailOne),
}

/// Where a key lives.
fn scope(place: Option<Object<Place>>) -> Result<Scope, Refusal> {
    let Object(place) = place.unwrap_or_default();
    let Place { tenant, app, agent, run, r#type } = place;
    let part = |part: Option<String>| part.unwrap_or_default();
    let namespace = Namespace::new(part(tenant), part(app), part(agent), part(run));
    Ok(Scope { namespace, tag: kv::tag(r#type.as_deref().unwrap_or("kv"))? })
}

fn key(text: Option<String>, base64: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let key = payload::bytes("key", text, base64)?;
    key.ok_or_else(|| Refusal::invalid("a key is missing: give key or key_base64"))
}

impl OneOperation {
    fn ready(self) -> Result<Ready, Refusal> {
        Ok(match self {
            Self::Check(Object(it)) => Ready::Check {
                scope: scope(it.scope)?,
                key: key(it.key, it.key_base64.as_deref())?,
                expect: match kv::expect(it.if_version, it.if_absent.unwrap_or(false))? {
                    Expect::Any => return Err(Refusal::invalid(EXPECTED)),
                    expect => expect,
                },
            },
            Self::Put(Object(it)) => Ready::Put {
                scope: scope(it.scope)?,
                key: key(it.key, it.key_base64.as_deref())?,
                value: payload::bytes("value", it.value, it.value_base64.as_deref())?
                    .unwrap_or_default(),
            },
            Self::Delete(Object(it)) => Ready::Delete {
                scope: scope(it.scope)?,
                key: key(it.key, it.key_base64.as_deref())?,
            },
            Self::Send(Object(it)) => {
                let Object(message) = it.message.unwrap_or_default();
                Ready::Send { queue: it.queue, parts: message.parts()? }
            }
            Self::Ack(Object(it)) => Ready::Ack(it),
            Self::Nack(Object(it)) => Ready::Nack(it),
            Self::Submit(Object(it)) => Ready::Submit(it),
            Self::Complete(Object(it)) => Ready::Complete(it),
            Self::Fail(Object(it)) => Ready::Fail(it),
        })
    }
}

impl Ready {
    fn does<'a>(&'a self, headers: &'a [(&'a str, &'a str)]) -> Result<Does<'a>, Refusal> {
        Ok(match self {
            Self::Check { scope, key, expect } => Does::Check { scope, key, expect: *expect },
            Self::Put { scope, key, value } => {
                Does::Write { scope, write: Write::Put { key, value } }
            }
            Self::Delete { scope, key } => Does::Write { scope, write: Write::Delete { key } },
            Self::Send { queue, parts } => {
                let (fairness_key, delay_ms) = (parts.fairness_key.as_str(), parts.delay_ms);
                let body = parts.body.as_slice();
                Does::Send { queue, message: NewMessage { body, headers, fairness_key, delay_ms } }
            }
            Self::Ack(it) => Does::Ack(it.token.parse()?),
            Self::Nack(it) => {
                let reason = it.reason.as_deref().unwrap_or("");
                let (delay_ms, release) = (it.delay_ms.unwrap_or(0), it.release.unwrap_or(false));
                Does::Nack(it.token.parse()?, Nack { delay_ms, reason, release })
            }
            Self::Submit(it) => Does::Submit { kind: type_of(it), job: new_job(it)? },
            Self::Complete(it) => {
                let result = it.result.as_ref().map_or("null", |result| result.get());
                Does::Job(it.token.parse()?, Done::Complete(result.as_bytes()))
            }
            Self::Fail(it) => {
                let (error, retry_in_ms) = (it.error.as_deref().unwrap_or(""), it.retry_in_ms);
                let failure = Failure { error, retry_in_ms, last: it.last.unwrap_or(false) };
                Does::Job(it.token.parse()?, Done::Fail(failure))
            }
        })
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Send { parts, .. } => parts.headers(),
            _ => vec![],
        }
    }
}

/// Refuses what carries more than it may.
fn sized(operation: Does<'_>) -> Result<Does<'_>, Refusal> {
    match &operation {
        Does::Write { write: Write::Put { value, .. }, .. } => {
            payload::within("bytes of the value", value.len(), KV_VALUE_BYTES_MAX)?;
        }
        Does::Send { message, .. } => check_size(message)?,
        Does::Job(_, Done::Complete(result)) => {
            payload::within("bytes of the result", result.len(), RESULT_BYTES_MAX)?;
        }
        // What is submitted was looked at; the rest has its limits in words.
        _ => {}
    }
    Ok(operation)
}

/// A refusal of the operation at this place.
fn at(place: usize, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Because { code, status, message, exit } => {
            let message = format!("operation {place}: {message}");
            Refusal::Because { code, status, message, exit }
        }
        Refusal::NotNow => Refusal::NotNow,
    }
}

/// POST `/v1/transactions`.
pub(super) fn run(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let RunTransaction { operations } = asked.json()?;
        let mut ready = Vec::with_capacity(operations.len());
        for (place, operation) in operations.into_iter().enumerate() {
            ready.push(operation.ready().map_err(|refusal| at(place, refusal))?);
        }
        let headers: Vec<Vec<(&str, &str)>> = ready.iter().map(Ready::headers).collect();
        let mut does = Vec::with_capacity(ready.len());
        for (place, (ready, headers)) in ready.iter().zip(&headers).enumerate() {
            let operation = ready.does(headers).and_then(sized);
            does.push(operation.map_err(|refusal| at(place, refusal))?);
        }
        let bytes = does.iter().map(Does::bytes).sum();
        payload::within("bytes of the transaction", bytes, TRANSACT_BYTES_MAX)?;
        let transactions = serving(&server)?.services.transactions();
        let done = transactions.submit_run(&does, asked.identity()).await?.await?;
        ok(&TransactionDone {
            results: done.value.iter().map(|effect| view(*effect)).collect(),
            version: done.version,
            durability: done.durability.as_str(),
        })
    })
}

fn view(effect: Effect) -> EffectView {
    match effect {
        Effect::Done => EffectView::Done(DoneEffect { done: true }),
        Effect::Sent(id) => EffectView::Made(MadeEffect { id: id.to_string(), new: None }),
        Effect::Settled(settled) => EffectView::Settled(SettledEffect {
            outcome: match settled {
                Settled::Acked => "acked",
                Settled::Returned => "returned",
                Settled::DeadLettered => "dead_lettered",
                Settled::UnderReview => "under_review",
                Settled::Extended { .. } => "extended",
            },
        }),
        Effect::Submitted(submitted) => {
            EffectView::Made(MadeEffect { id: submitted.id.to_string(), new: Some(submitted.new) })
        }
        Effect::Changed(changed) => EffectView::Changed(ChangedEffect {
            id: changed.id.to_string(),
            status: changed.status.as_str(),
        }),
    }
}
