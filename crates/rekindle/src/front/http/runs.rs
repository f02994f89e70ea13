//! The runs of this store's servers: when each began and ended, and why.

use axum::http::StatusCode;
use serde_json::json;

use super::operation::{Field, Given, Kind, Operation, Parameter, Shape};
use super::problem::Code;
use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::runs::files::{self, KEPT};
use crate::state::Server;

/// Runs of a page whose length nobody asked for.
const PAGE: usize = 100;

const RUN: &[Field] = &[
    ("number", "integer", "Of starts on this store."),
    ("version", "string", "Of the program."),
    ("pid", "integer", "Its process."),
    ("started_wall_ms", "integer", "When it began, milliseconds since 1970."),
    ("incarnation", "integer|null", "The run of the store that it was."),
    ("recovery", "object|null", "What its recovery found."),
    ("ended_wall_ms", "integer|null", "When it ended, where it could say so."),
    ("end", "string", "How it ended, or `running`."),
    ("code", "integer|null", "The exit code."),
    ("reason", "string", "Why it ended."),
];

pub(super) const LIST: Operation = Operation {
    id: "listRuns",
    tag: "recovery",
    summary: "The runs of this store's servers.",
    about: "Newest first; the last 1,000 are kept.",
    parameters: &[
        Parameter::number("before", 1, u64::MAX, "Only runs with numbers below this one."),
        Parameter::number("limit", 1, KEPT as u64, "The most runs of the page (100)."),
    ],
    takes: None,
    answers: &[Given::ok(
        "The page.",
        Shape::Fields(&[
            ("runs", "array", "Newest first."),
            ("unreadable", "integer", "How many records of this page cannot be read."),
            ("more", "boolean", "Whether there are older ones."),
            ("next", "integer|null", "What to give as `before` for the next page."),
        ]),
    )],
    refuses: &[Code::Internal],
    once: false,
};

/// `/v1/runs?before=N&limit=N`: the newest first.
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let limit = asked.limit(KEPT, PAGE)?;
    let before = asked.number_if_any("before", 1..=u64::MAX)?;
    let page = files::page(&server.env, &server.config.data, before, limit)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let files::Page { mut runs, unreadable, next } = page;
    runs.reverse();
    let more = next.is_some();
    ok(&json!({ "runs": runs, "unreadable": unreadable, "more": more, "next": next }))
}

pub(super) const SHOW: Operation = Operation {
    id: "getRun",
    tag: "recovery",
    summary: "One run.",
    about: "When it began and ended, and why.",
    parameters: &[Parameter::path("number", Kind::Number(1, u64::MAX), "Its number.", "1")],
    takes: None,
    answers: &[Given::ok("The run.", Shape::Fields(RUN))],
    refuses: &[Code::NotFound],
    once: false,
};

/// `/v1/runs/{number}`.
pub(super) fn show(server: &Server, asked: &Asked) -> Answered {
    let number = asked.number("number", 1..=u64::MAX, 0)?;
    let read = files::read(&server.env, &server.config.data, number);
    ok(&read.map_err(|error| {
        let message = format!("run {number} is not recorded here: {error}");
        Refusal::new(StatusCode::NOT_FOUND, message)
    })?)
}
