//! From a request to a page: what each screen is made of is gathered here, and rendered elsewhere.
//!
//! Invariants: a refusal is a page too, with the status that programs rely on; a screen and the
//! events that keep it up to date are made by the same functions.

pub(super) mod alerts;
pub(super) mod api;
pub(super) mod audit;
pub(super) mod jobs;
pub(super) mod limited;
pub(super) mod loops;
pub(super) mod overview;
pub(super) mod queues;
pub(super) mod recovery;
pub(super) mod reviews;
pub(super) mod schedules;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};

use super::frame::{self, Facts, Page, State, nothing};
use super::progress::{ProgressView, progress};
use super::recovery::in_progress;
use crate::boot::Recovered;
use crate::front::http::reply::{self, Answered, Refusal};
use crate::front::http::request::Asked;
use crate::progress::{Outcome, Stage};
use crate::state::Server;

/// After so many seconds a browser without scripts loads the page of a start again.
pub(super) const START_RELOAD_S: u64 = 2;
/// The port of the gRPC front that commands use when none is named.
const GRPC_PORT: u16 = 7_611;

/// What the head says.
pub(super) fn facts(server: &Server) -> Facts {
    let config = &server.config;
    let address = server.addresses().map_or(config.http, |addresses| addresses.http);
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let recovered = server.recovered();
    let poisoned = recovered.and_then(|recovered| recovered.database.poisoned());
    let state = match (poisoned, server.progress.outcome(), server.progress.stage()) {
        (Some(reason), ..) => State::Failed(reason),
        (None, Some(Outcome::Ready), _) => State::Serving,
        (None, Some(Outcome::Stopped), _) => State::Ending,
        (None, Some(Outcome::RecoveryMode), _) => recovery_mode(server),
        (None, Some(Outcome::Refused { code, message }), _) => State::Refused(code, message),
        (None, None, stage) => State::Starting(word(&stage)),
    };
    let class = match &state {
        State::Starting(_) | State::Refused(..) => "start",
        State::Serving | State::Ending | State::Failed(_) | State::RecoveryMode(_) => "run",
    };
    let durability = config.loss_window();
    Facts {
        name: address.to_string(),
        data: data.display().to_string(),
        run: recovered.map(|recovered| recovered.report.incarnation),
        durability: durability.split(' ').next().unwrap_or_default().to_owned(),
        state,
        exposed: !config.http.ip().is_loopback() || !config.grpc.ip().is_loopback(),
        epoch: format!("{:016x}-{class}", server.page.boot),
    }
}

/// Recovery mode, with what the look at the directory found.
fn recovery_mode(server: &Server) -> State {
    let Some(mode) = server.recovery_mode() else { return State::Ending };
    let verdict = mode.report().verdict_line();
    let message = format!("no work is served: {verdict}");
    State::RecoveryMode(message)
}

/// A stage as the probes say it.
fn word(stage: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(stage).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

/// How far the start is, while there is one.
pub(super) fn progress_view(server: &Server) -> Option<ProgressView> {
    let status = server.progress.status();
    (status.stage < Stage::RecoveryMode).then(|| ProgressView {
        stage: word(&status.stage),
        layer: status.layer.map(|layer| (layer.to_owned(), word(&status.layer_stage))),
        elapsed_ms: status.elapsed_ms,
        last_ms: status.estimate_ms,
        remaining_ms: status.remaining_ms,
        bytes: (status.bytes_done, status.bytes_total),
        bytes_per_second: status.bytes_per_second,
        records: (status.records_done, status.records_total),
    })
}

/// The parts of a screen that change by themselves. The parameters are those of its address, and
/// `screen`, its name.
pub(super) fn parts(server: &Server, asked: &Asked, facts: &Facts) -> Vec<(&'static str, Markup)> {
    let mut parts = vec![("state", frame::state(facts))];
    if asked.text("screen") == Some("alerts") {
        parts.push(alerts::parts(server));
    }
    if let Some(view) = progress_view(server) {
        parts.push(("progress", progress(&view)));
        return parts;
    }
    let Some(recovered) = server.recovered() else { return parts };
    match asked.text("screen") {
        Some("overview") => parts.extend(overview::parts(server, recovered)),
        Some("queues") => parts.extend(queues::parts(server, recovered, asked)),
        Some("reviews") => parts.extend(reviews::parts(recovered, asked)),
        Some("queue") => parts.extend(queues::one_part(recovered, asked)),
        Some("jobs") => parts.extend(jobs::parts(server, recovered, asked)),
        Some("job") => parts.extend(jobs::one_parts(server, recovered, asked)),
        Some("job-types") => parts.extend(jobs::types_part(server, recovered, asked)),
        Some("schedules") => parts.extend(schedules::parts(server, recovered, asked)),
        Some("loops") => parts.extend(loops::parts(server, recovered, asked)),
        Some("loop") => parts.extend(loops::one_parts(server, recovered, asked)),
        Some("loop-events") => parts.extend(loops::events_part(server, recovered, asked)),
        Some("workers") => parts.extend(jobs::workers_part(server, recovered)),
        _ => {}
    }
    parts
}

/// A page of this server.
fn page(server: &Server, status: StatusCode, page: &Page<'_>) -> Response {
    reply::html(status, frame::document(&facts(server), page))
}

/// What is recovered, while work is accepted.
fn serving(server: &Server) -> Result<&Recovered, Refusal> {
    server.serving().ok_or(Refusal::NotNow)
}

/// What can be read: the same, and in recovery mode.
fn readable(server: &Server) -> Result<&Recovered, Refusal> {
    server.readable().ok_or(Refusal::NotNow)
}

/// A parameter without the blanks around it; empty where it is not given.
fn text(asked: &Asked, name: &str) -> String {
    asked.text(name).unwrap_or("").trim().to_owned()
}

/// Who decides on a page, by their own account.
fn by(name: &str) -> String {
    match name {
        "" => "page".to_owned(),
        name => format!("{name} (page)"),
    }
}

/// What makes a first queue, as it is typed on this machine.
fn first_command(server: &Server) -> String {
    let address = address_flag(server);
    format!("echo hello | rekindle queue send greetings --create{address}")
}

/// How a command finds this server, where it does not do so by itself.
fn address_flag(server: &Server) -> String {
    match server.addresses() {
        Some(addresses) if addresses.grpc.port() != GRPC_PORT => {
            format!(" --addr {}", addresses.grpc)
        }
        _ => String::new(),
    }
}

/// `/` and `/ui`: where the page is.
pub(super) fn home(_: &Server, _: &Asked) -> Answered {
    reply::see_other("/ui/")
}

/// Where no page is.
pub(super) fn nowhere(_: &Server, _: &Asked) -> Answered {
    Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such page"))
}

/// A refusal as a page.
pub(super) fn refused(server: &Server, refusal: &Refusal) -> Response {
    let (status, title, body) = match refusal {
        Refusal::Because { status, message, .. } => {
            let title = match *status {
                StatusCode::NOT_FOUND => "Not found",
                StatusCode::FORBIDDEN => "Refused",
                _ => "That did not work",
            };
            (*status, title, html! { section.card { (nothing(message, None)) } })
        }
        Refusal::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "Not yet", not_now(server)),
    };
    let starting = *refusal == Refusal::NotNow;
    let mut response = page(
        server,
        status,
        &Page {
            screen: None,
            title,
            live: starting.then_some("/ui/live"),
            reload_s: starting.then_some(START_RELOAD_S),
            body,
        },
    );
    if starting {
        let seconds = HeaderValue::from(reply::retry_after_s(server));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// What is going on while nothing is served.
fn not_now(server: &Server) -> Markup {
    html! {
        @match progress_view(server) {
            Some(view) => {
                p { "This screen needs the store, which is being recovered." }
                (in_progress(&view))
                p { a href="/ui/recovery" { "What recovery found the last time" } }
            }
            None => {
                section.card {
                    (nothing(
                        "The server is shutting down: it takes no new work, finishes what runs and \
                         syncs everything. Start it again with:",
                        Some("rekindle serve"),
                    ))
                }
            }
        }
    }
}
