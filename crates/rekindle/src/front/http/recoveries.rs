//! Recoveries over HTTP: the reports that were written down, and how far the one of now is.
//!
//! Invariant: all of it is answered from the first moment of a start, also of one that is refused.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::Event;
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::answers::recovered;
use super::reply::{Answered, Refusal, events, ok};
use super::request::Asked;
use crate::progress::Outcome;
use crate::reports;
use crate::state::Server;

/// Most reports of one page: all that are kept.
const PAGE: u64 = reports::KEPT as u64;
/// How long a list waits for the report of this run.
const REPORT_WAIT: Duration = Duration::from_secs(2);
/// How often progress is told; a change of the stage is told at once.
const EVERY: Duration = Duration::from_millis(200);

/// A page of reports, newest first: `?before=N&limit=M`.
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let limit = usize::try_from(asked.number("limit", 1..=PAGE, PAGE)?).unwrap_or(usize::MAX);
    let before = asked.number("before", 1..=u64::MAX, u64::MAX)?;
    await_own(server);
    let page = reports::list(&server.env, &server.config.data, Some(before), limit);
    ok(&page.map_err(|error| {
        let message = format!("the reports cannot be listed: {error}");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?)
}

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

/// The report of this run's recovery; in recovery mode, of the look at the directory.
pub(super) fn latest(server: &Server, _: &Asked) -> Answered {
    if let Some(mode) = server.recovery_mode() {
        return ok(&mode.report());
    }
    ok(&recovered(server)?.report)
}

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
