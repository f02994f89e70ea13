//! The audit log over HTTP.

use rekindle_services::AuditRecord;
use rekindle_services::limits::AUDIT_LIST_MAX;
use serde_json::{Value, json};

use super::operation::{Given, Operation, Parameter, Shape};
use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::state::Server;

/// Records of a page whose length nobody asked for.
const PAGE: usize = 100;

pub(super) const LIST: Operation = Operation {
    id: "listAuditRecords",
    tag: "audit",
    summary: "What operators did.",
    about: "Oldest first; without `after` the newest ones.",
    parameters: &[
        Parameter::number("after", 0, u64::MAX, "Only records with numbers above this one."),
        Parameter::number("limit", 1, AUDIT_LIST_MAX as u64, "The most records of the page (100)."),
    ],
    takes: None,
    answers: &[Given::ok(
        "The page.",
        Shape::Fields(&[
            ("records", "array", "Who did what to what, when, why, and what came of it."),
            ("unreadable", "array", "Numbers of records that cannot be read."),
            ("more", "boolean", "Whether newer ones follow."),
            ("next", "integer|null", "What to give as `after` for the next page."),
        ]),
    )],
    refuses: &[],
    once: false,
};

/// `/v1/audit?after=N&limit=N`: oldest first; without `after` the newest ones.
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let limit = asked.limit(AUDIT_LIST_MAX, PAGE)?;
    let after = asked.number_if_any("after", 0..=u64::MAX)?;
    let page = recovered.services.audit().list(after, limit)?;
    let records: Vec<Value> = page.records.iter().map(show).collect();
    let numbers = page.records.iter().map(|record| record.number);
    let last = numbers.chain(page.unreadable.iter().copied()).max();
    ok(&json!({
        "records": records,
        "unreadable": page.unreadable,
        "more": page.more,
        "next": last.filter(|_| page.more),
    }))
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
