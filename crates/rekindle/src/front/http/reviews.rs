//! Reviews over HTTP: what waits for a person, its evidence, and the decision.

use rekindle_services::limits::LIST_REVIEWS_MAX;
use rekindle_services::queues::review::{Evidence, RowEvidence, SettledAttempt};
use rekindle_services::queues::{Decision, ReviewId, ReviewItem};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit;
use super::operation::{Field, Given, Kind, Operation, Parameter, Shape, Taken, of};
use super::problem::Code;
use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::boot::Recovered;
use crate::state::Server;

/// Reviews of a page whose length nobody asked for.
const PAGE: usize = 100;

/// What a decision is sent with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DecideReview")]
struct Decides {
    /// Why.
    reason: String,
    /// Who says so, by their own account: nobody is asked who they are.
    #[serde(default)]
    by: String,
}

const REVIEW: &[Field] = &[
    ("id", "string", "One opaque word; of a message it is the message's id."),
    ("label", "string", "The situation; docs/recovery.md explains it."),
    ("queue", "string|null", "Its queue, where that is known."),
    ("job_type", "string|null", "Its type, where it is a job."),
    ("spec", "string|null", "Its spec, where it is an execution of a loop."),
    ("found", "string", "The situation in words."),
    ("since_ms", "integer", "Since when it waits, log time."),
    ("age_ms", "integer", "For how long."),
    ("decisions", "array", "What can be decided."),
    ("evidence", "object", "What is known of it."),
];

const ID: Parameter = Parameter::path("id", Kind::Text, "The id of a review.", "ID");

pub(super) const LIST: Operation = Operation {
    id: "listReviews",
    tag: "reviews",
    summary: "What waits for a person.",
    about: "In the order of their ids.",
    parameters: &[
        Parameter::text("after", "Only reviews whose ids are behind this one."),
        Parameter::number("limit", 1, LIST_REVIEWS_MAX as u64, "The most of the page (100)."),
    ],
    takes: None,
    answers: &[Given::ok(
        "The page.",
        Shape::Fields(&[
            ("reviews", "array", "What waits, without evidence."),
            ("more", "boolean", "Whether more follow."),
            ("next", "string|null", "What to give as `after` for the next page."),
        ]),
    )],
    refuses: &[],
    once: false,
};

/// `/v1/reviews?after=ID&limit=N`
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let limit = asked.limit(LIST_REVIEWS_MAX, PAGE)?;
    let after = asked.text("after").map(str::parse::<ReviewId>).transpose()?;
    let (items, more) = recovered.services.reviews().list(after, limit)?;
    let now_ms = recovered.database.log_time_ms();
    let next = items.last().filter(|_| more).map(|item| item.id.to_string());
    let items: Vec<Value> = items.iter().map(|item| show_item(item, now_ms)).collect();
    ok(&json!({ "reviews": items, "more": more, "next": next }))
}

pub(super) const SHOW: Operation = Operation {
    id: "getReview",
    tag: "reviews",
    summary: "One of them, with its evidence.",
    about: "What cannot be read of the evidence is null.",
    parameters: &[ID],
    takes: None,
    answers: &[Given::ok("The review.", Shape::Fields(REVIEW))],
    refuses: &[Code::NotFound],
    once: false,
};

/// `/v1/reviews/{id}`
pub(super) fn show(server: &Server, asked: &Asked) -> Answered {
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let (item, evidence) = recovered.services.reviews().show(id(asked)?)?;
    let mut value = show_item(&item, recovered.database.log_time_ms());
    if let Some(value) = value.as_object_mut() {
        value.insert("evidence".to_owned(), show_evidence(&evidence));
    }
    ok(&value)
}

pub(super) const DECIDE: Operation = Operation {
    id: "decideReview",
    tag: "reviews",
    summary: "Decides about what waits.",
    about: "One transaction with its audit record. Asked for again it is answered as before.",
    parameters: &[
        ID,
        Parameter::path(
            "decision",
            Kind::Word(&["approve", "retry", "fail"]),
            "What is decided.",
            "retry",
        ),
    ],
    takes: Some(Taken { shape: of::<Decides>(), example: r#"{"reason":"looked at it"}"# }),
    answers: &[Given::ok(
        "It is decided.",
        Shape::Fields(&[
            ("id", "string", "The review."),
            ("decision", "string", "What was decided."),
            ("result", "string", "What came of it."),
            ("audit", "integer", "The number of the audit record."),
            ("before", "boolean", "Whether it had been decided so already."),
            ("version", "integer", "The transaction that did it."),
            ("durability", "string", "What is promised."),
        ]),
    )],
    refuses: &[Code::NotFound, Code::Conflict, Code::Full, Code::NoSpace],
    once: false,
};

/// POST `/v1/reviews/{id}/{decision}`
pub(super) fn decide(server: &Server, asked: &Asked) -> Answered {
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let decision: Decision = asked.text("decision").unwrap_or_default().parse()?;
    let Decides { reason, by } = asked.json()?;
    ok(&make(recovered, id(asked)?, decision, &reason, &who(&by))?)
}

/// Makes a decision; what a page needs to do as well.
pub(super) fn make(
    recovered: &Recovered,
    id: ReviewId,
    decision: Decision,
    reason: &str,
    who: &str,
) -> Result<Value, Refusal> {
    let decided = recovered.services.reviews().decide(id, decision, reason, who)?;
    let done = &decided.value;
    Ok(json!({
        "id": done.id.to_string(),
        "decision": done.decision.as_str(),
        "result": done.result,
        "audit": done.audit,
        "before": done.before,
        "version": decided.version,
        "durability": decided.durability.as_str(),
    }))
}

/// Who decides, as far as is known.
pub(super) fn who(by: &str) -> String {
    let by = by.trim();
    if by.is_empty() { "http".to_owned() } else { format!("{by} (http)") }
}

fn id(asked: &Asked) -> Result<ReviewId, Refusal> {
    Ok(asked.text("id").unwrap_or_default().parse()?)
}

fn show_item(item: &ReviewItem, now_ms: u64) -> Value {
    let decisions: Vec<&str> = item.decisions.iter().map(|it| it.as_str()).collect();
    json!({
        "id": item.id.to_string(),
        "label": item.label,
        "queue": item.queue,
        "job_type": item.job_type,
        "spec": item.spec,
        "found": item.found,
        "since_ms": item.since_ms,
        "age_ms": now_ms.saturating_sub(item.since_ms),
        "decisions": decisions,
    })
}

fn show_evidence(evidence: &Evidence) -> Value {
    let row = |row: &RowEvidence| json!({ "keyspace": row.keyspace, "state": row.state });
    let attempt = |one: &SettledAttempt| {
        json!({
            "attempt": one.attempt,
            "cause": one.cause,
            "at_ms": one.at_ms,
            "reason": one.reason,
        })
    };
    json!({
        "rows": evidence.rows.iter().map(row).collect::<Vec<_>>(),
        "bytes": evidence.bytes,
        "sent_ms": evidence.sent_ms,
        "attempt": evidence.attempt,
        "charged": evidence.charged,
        "crashes": evidence.crashes,
        "lease": evidence.lease.as_ref().map(|lease| json!({
            "owner": lease.owner,
            "granted_ms": lease.granted_ms,
            "deadline_ms": lease.deadline_ms,
        })),
        "history": evidence.history.iter().map(attempt).collect::<Vec<_>>(),
        "execution": evidence.execution.as_deref().map(super::loops::detail),
        "last_decision": evidence.decision.as_ref().map(audit::show),
    })
}
