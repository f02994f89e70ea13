//! `/healthz` and `/v1/alerts`: how the server stands, and why.

use axum::http::StatusCode;
use rekindle_services::{Acknowledged, NewAudit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::operation::{Field, Given, Kind, Operation, Parameter, Shape, Taken, of};
use super::problem::Code;
use super::reply::{Answered, Refusal, json, ok};
use super::request::Asked;
use super::reviews::who;
use crate::alerts::{DAMAGE, Damage, RULES};
use crate::boot::Recovered;
use crate::health::{self, HealthStatus, Status};
use crate::state::Server;

/// What `/healthz` says.
#[derive(Serialize)]
struct Shown {
    version: &'static str,
    status: crate::progress::Status,
    incarnation: Option<u64>,
    recovery_code: Option<i32>,
    durability: String,
    insecure_allow_remote: bool,
    poisoned: Option<String>,
    #[serde(flatten)]
    health: HealthStatus,
}

const SHOWN: &[Field] = &[
    ("version", "string", "Of the program."),
    ("status", "object", "As `/readyz`."),
    ("incarnation", "integer|null", "The number of this run."),
    ("recovery_code", "integer|null", "0 clean, 3 torn tail cut, 4 healed."),
    ("durability", "string", "The mode, and what it may lose."),
    ("insecure_allow_remote", "boolean", "Whether remote callers are allowed."),
    ("poisoned", "string|null", "Why the store stopped."),
    ("system_health", "object", "`status` and `reasons`, the worst first."),
];

pub(super) const HEALTH: Operation = Operation {
    id: "getHealth",
    tag: "server",
    summary: "How the server stands, why, and what to do.",
    about: "For people and their tools; probes that end servers belong on `/livez`.",
    parameters: &[],
    takes: None,
    answers: &[
        Given::ok("It serves, degraded or not.", Shape::Fields(SHOWN)),
        Given { status: 503, about: "It does not serve.", shape: Shape::Fields(SHOWN) },
    ],
    refuses: &[],
    once: false,
};

/// What an operator looks at first: 200 while it serves, degraded or not, otherwise 503.
pub(super) fn health(server: &Server, _: &Asked) -> Answered {
    let recovered = server.recovered();
    let health = health::of(server);
    let status = match health.system_health.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    let shown = Shown {
        version: env!("CARGO_PKG_VERSION"),
        status: server.progress.status(),
        incarnation: recovered.map(|recovered| recovered.report.incarnation),
        recovery_code: recovered.map(|recovered| recovered.report.code),
        durability: server.config.loss_window(),
        insecure_allow_remote: server.config.insecure_allow_remote,
        poisoned: recovered.and_then(|recovered| recovered.database.poisoned()),
        health,
    };
    Ok(json(status, &shown))
}

pub(super) const ALERTS: Operation = Operation {
    id: "listAlerts",
    tag: "server",
    summary: "All alert rules, and which fire.",
    about: "There is a fixed number of them, so this has no pages.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok(
        "The rules.",
        Shape::Fields(&[(
            "alerts",
            "array",
            "Of `alert`, `state`, `since`, `value`, `threshold`, `unit`, `summary`, `next_step`.",
        )]),
    )],
    refuses: &[],
    once: false,
};

/// `/v1/alerts`: all rules.
pub(super) fn alerts(server: &Server, _: &Asked) -> Answered {
    ok(&json!({ "alerts": server.alerts.all() }))
}

/// What an acknowledgement is sent with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AcknowledgeAlert")]
struct Acknowledges {
    /// What was looked at, and what became of it.
    reason: String,
    /// Who says so, by their own account.
    #[serde(default)]
    by: String,
}

pub(super) const ACKNOWLEDGE: Operation = Operation {
    id: "acknowledgeAlert",
    tag: "server",
    summary: "Takes note of damage.",
    about: "Only the rule `corruption_found` is acknowledged; the others resolve by themselves.",
    parameters: &[Parameter::path(
        "rule",
        Kind::Text,
        "The name of an alert rule.",
        "corruption_found",
    )],
    takes: Some(Taken { shape: of::<Acknowledges>(), example: r#"{"reason":"looked at it"}"# }),
    answers: &[Given::ok(
        "It is noted.",
        Shape::Fields(&[
            ("alert", "string", "The rule."),
            ("result", "string", "What was noted."),
            ("audit", "integer", "The number of the audit record."),
            ("version", "integer", "The transaction that did it."),
            ("durability", "string", "What is promised."),
        ]),
    )],
    refuses: &[Code::NotFound, Code::Conflict, Code::Full, Code::NoSpace],
    once: false,
};

/// POST `/v1/alerts/{rule}/acknowledge`: somebody took note of the damage that there is by now. It
/// is written into the audit log first, and counts no more then.
pub(super) fn acknowledge(server: &Server, asked: &Asked) -> Answered {
    let recovered = server.serving().ok_or(Refusal::NotNow)?;
    let name = asked.text("rule").unwrap_or_default();
    let Acknowledges { reason, by } = asked.json()?;
    let noted = take_note(server, recovered, name, (&reason, &who(&by)))?;
    ok(&json!({
        "alert": DAMAGE,
        "result": noted.result,
        "audit": noted.record.value,
        "version": noted.record.version,
        "durability": noted.record.durability.as_str(),
    }))
}

/// Damage that somebody took note of.
pub(in crate::front) struct Noted {
    result: String,
    /// The audit record.
    pub(in crate::front) record: Acknowledged<u64>,
}

/// Takes note of the damage that there is by now, for this reason, by whom.
pub(in crate::front) fn take_note(
    server: &Server,
    recovered: &Recovered,
    name: &str,
    (reason, who): (&str, &str),
) -> Result<Noted, Refusal> {
    let refuse = |status, message: String| Err(Refusal::new(status, message));
    let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no alert rule {name:?}"));
    };
    if rule.name != DAMAGE {
        let message = format!("{name} is resolved by itself; only {DAMAGE} is acknowledged");
        return refuse(StatusCode::CONFLICT, message);
    }
    if reason.trim().is_empty() {
        let message = "an acknowledgement needs a reason: what was looked at";
        return refuse(StatusCode::BAD_REQUEST, message.to_owned());
    }
    let damages = &server.alerts.damages;
    let (open, met) = (damages.open(Damage::of(&recovered.report)), damages.met_by_now());
    if open.count == 0 {
        let message = "there is no damage that nobody took note of".to_owned();
        return refuse(StatusCode::CONFLICT, message);
    }
    let result = format!("{} damages taken note of", open.count);
    let (action, target, why) = ("alert.acknowledge", rule.name, reason.trim());
    let entry = NewAudit { who, action, target, why, result: &result };
    let record = recovered.services.audit().record(&entry)?;
    damages.take_note(&met);
    Ok(Noted { result, record })
}
