//! Reviews over HTTP: what waits for a person, its evidence, and the decision.

use rekindle_services::limits::LIST_REVIEWS_MAX;
use rekindle_services::queues::review::{Evidence, RowEvidence, SettledAttempt};
use rekindle_services::queues::{Decision, ReviewId, ReviewItem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit;
use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::boot::Recovered;
use crate::state::Server;

/// Reviews of a page whose length nobody asked for.
const PAGE: u64 = 100;

/// What a decision is sent with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decides {
    /// Why.
    reason: String,
    /// Who says so, by their own account: nobody is asked who they are.
    #[serde(default)]
    by: String,
}

/// `/v1/reviews?after=ID&limit=N`
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let limit = asked.number("limit", 1..=LIST_REVIEWS_MAX as u64, PAGE)?;
    let limit = usize::try_from(limit).unwrap_or(LIST_REVIEWS_MAX);
    let after = asked.text("after").map(str::parse::<ReviewId>).transpose()?;
    let (items, more) = recovered.services.reviews().list(after, limit)?;
    let now_ms = recovered.database.log_time_ms();
    let items: Vec<Value> = items.iter().map(|item| show_item(item, now_ms)).collect();
    ok(&json!({ "reviews": items, "more": more }))
}

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
        "last_decision": evidence.decision.as_ref().map(audit::show),
    })
}
