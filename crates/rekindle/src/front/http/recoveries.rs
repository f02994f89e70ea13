//! Recoveries over HTTP: the reports that were written down, and how far the one of now is.
//!
//! Invariant: all of it is answered from the first moment of a start, also of one that is refused.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::Event;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::answers::recovered;
use super::operation::{Field, Given, Kind, Operation, Parameter, Shape};
use super::problem::Code;
use super::reply::{Answered, Refusal, events, ok};
use super::request::Asked;
use crate::progress::Outcome;
use crate::reports;
use crate::state::Server;

/// Most reports of one page: all that are kept.
const PAGE: usize = reports::KEPT;
/// How long a list waits for the report of this run.
const REPORT_WAIT: Duration = Duration::from_secs(2);
/// How often progress is told; a change of the stage is told at once.
const EVERY: Duration = Duration::from_millis(200);

/// The recovery report.
const REPORT: &[Field] = &[
    ("code", "integer", "The exit code; the worst finding decides."),
    ("findings", "array", "The findings with a verdict."),
    ("notes", "array", "The other findings."),
    ("incarnation", "integer", "The run that this recovery began."),
    ("started_wall_ms", "integer", "When it began, milliseconds since 1970."),
    ("micros", "integer", "How long it took."),
    ("summary", "string", "What was done, on one line."),
    ("layers", "array", "Actions, figures and stages of each layer."),
];

pub(super) const LIST: Operation = Operation {
    id: "listRecoveries",
    tag: "recovery",
    summary: "The recovery reports that are kept.",
    about: "Newest first; the last 100 starts, refused ones included.",
    parameters: &[
        Parameter::number("before", 1, u64::MAX, "Only reports with numbers below this one."),
        Parameter::number("limit", 1, PAGE as u64, "The most reports of the page (100)."),
    ],
    takes: None,
    answers: &[Given::ok(
        "The page.",
        Shape::Fields(&[
            ("recoveries", "array", "Each report in short."),
            ("more", "boolean", "Whether there are older ones."),
            ("next", "integer|null", "What to give as `before` for the next page."),
        ]),
    )],
    refuses: &[Code::Unavailable],
    once: false,
};

/// A page of reports, newest first: `?before=N&limit=M`.
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let limit = asked.limit(PAGE, PAGE)?;
    let before = asked.number("before", 1..=u64::MAX, u64::MAX)?;
    await_own(server);
    let page = reports::list(&server.env, &server.config.data, Some(before), limit);
    let page = page.map_err(|error| {
        let message = format!("the reports cannot be listed: {error}");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let next = page.recoveries.last().filter(|_| page.more).map(reports::Listed::number);
    ok(&json!({ "recoveries": page.recoveries, "more": page.more, "next": next }))
}

pub(super) const SHOW: Operation = Operation {
    id: "getRecovery",
    tag: "recovery",
    summary: "One recovery report.",
    about: "As it was written; docs/reference.md describes all of it.",
    parameters: &[Parameter::path("n", Kind::Number(1, u64::MAX), "Its number.", "1")],
    takes: None,
    answers: &[Given::ok("The report.", Shape::Fields(REPORT))],
    refuses: &[Code::NotFound],
    once: false,
};

/// One report, as it was written.
pub(super) fn show(server: &Server, asked: &Asked) -> Answered {
    let number = asked.number("n", 1..=u64::MAX, 0)?;
    await_own(server);
    let (_, value) = reports::read(&server.env, &server.config.data, number)
        .map_err(|unread| Refusal::new(StatusCode::NOT_FOUND, unread.reason))?;
    ok(&value)
}

/// Waits until this run's report is among those that are listed; not longer than a disk may take.
pub(in crate::front) fn await_own(server: &Server) {
    let Some(recovered) = server.recovered() else { return };
    let written = tokio::time::timeout(REPORT_WAIT, recovered.writing.done());
    // Answers that may wait run on threads that may.
    let _ = tokio::runtime::Handle::current().block_on(written);
}

pub(super) const LATEST: Operation = Operation {
    id: "getLatestRecovery",
    tag: "recovery",
    summary: "The recovery report of this run.",
    about: "In recovery mode that of the look at the directory.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok("The report.", Shape::Fields(REPORT))],
    refuses: &[Code::Unavailable],
    once: false,
};

/// The report of this run's recovery; in recovery mode, of the look at the directory.
pub(super) fn latest(server: &Server, _: &Asked) -> Answered {
    if let Some(mode) = server.recovery_mode() {
        return ok(&mode.report());
    }
    ok(&recovered(server)?.report)
}

pub(super) const PROGRESS: Operation = Operation {
    id: "watchRecovery",
    tag: "recovery",
    summary: "How far the start is, as server-sent events.",
    about: "`progress` with the object of `/readyz`, then one `ready`, `recovery-mode`, `stopped` \
            or `refused`, and the end.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok("The events.", Shape::Text("text/event-stream"))],
    refuses: &[],
    once: false,
};

/// Events until the start is over: `progress`, then one `ready`, `refused` or `stopped`.
pub(super) fn progress(server: Arc<Server>, _: Asked) -> Answered {
    // Subscribed before the first look, so that no change is missed.
    let watching = server.progress.watch();
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let telling = Some(Telling { server, watching, every });
    Ok(events(futures::stream::unfold(telling, |telling| async move { telling?.next().await })))
}

/// Somebody who is told.
struct Telling {
    server: Arc<Server>,
    watching: tokio::sync::watch::Receiver<()>,
    every: Interval,
}

impl Telling {
    /// The next event, and who is told the one after it.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        tokio::select! {
            _ = self.every.tick() => {}
            _ = self.watching.changed() => {}
        }
        let progress = &self.server.progress;
        let event = match progress.outcome() {
            None => event("progress", &progress.status()),
            Some(outcome @ Outcome::Refused { .. }) => {
                return Some((event("refused", &outcome), None));
            }
            Some(Outcome::RecoveryMode) => {
                return Some((event("recovery-mode", &progress.status()), None));
            }
            Some(Outcome::Ready) => return Some((event("ready", &progress.status()), None)),
            Some(Outcome::Stopped) => return Some((event("stopped", &progress.status()), None)),
        };
        Some((event, Some(self)))
    }
}

fn event(name: &str, value: &impl Serialize) -> Event {
    let data = serde_json::to_string(value).expect("numbers and strings always serialize");
    Event::default().event(name).data(data)
}
