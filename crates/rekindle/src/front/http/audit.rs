//! The audit log over HTTP.

use rekindle_services::AuditRecord;
use rekindle_services::limits::AUDIT_LIST_MAX;
use serde_json::{Value, json};

use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::state::Server;

/// Records of a page whose length nobody asked for.
const PAGE: u64 = 100;

/// `/v1/audit?after=N&limit=N`: oldest first; without `after` the newest ones.
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let limit = asked.number("limit", 1..=AUDIT_LIST_MAX as u64, PAGE)?;
    let after = match asked.text("after") {
        Some(_) => Some(asked.number("after", 0..=u64::MAX, 0)?),
        None => None,
    };
    let limit = usize::try_from(limit).unwrap_or(AUDIT_LIST_MAX);
    let page = recovered.services.audit().list(after, limit)?;
    let records: Vec<Value> = page.records.iter().map(show).collect();
    ok(&json!({ "records": records, "unreadable": page.unreadable, "more": page.more }))
}

/// A record as JSON.
pub(super) fn show(record: &AuditRecord) -> Value {
    json!({
        "number": record.number,
        "version": record.version,
        "at_ms": record.at_ms,
        "wall_ms": record.wall_ms,
        "who": record.who,
        "action": record.action,
        "target": record.target,
        "why": record.why,
        "result": record.result,
    })
}
