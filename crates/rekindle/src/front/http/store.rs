//! What `/v1/store` answers: what the store of this server is.

use axum::http::StatusCode;
use rekindle_database::store_info_while_held;

use super::operation::{Given, Operation, Shape};
use super::problem::Code;
use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::state::Server;

pub(super) const STORE: Operation = Operation {
    id: "getStore",
    tag: "server",
    summary: "What the store is.",
    about: "The object of `store info --json`, described in docs/reference.md.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok(
        "The store.",
        Shape::Fields(&[
            ("code", "integer", "The exit code; the worst finding decides."),
            ("store_id", "string|null", "32 hexadecimal digits."),
            ("lineage", "string|null", "32 hexadecimal digits."),
            ("program", "object", "The program that answers."),
            ("versions", "object", "`from` and `to`."),
            ("positions", "object", "`from` and `to`."),
            ("segments", "object", "How many, their bytes, the oldest and the newest."),
            ("checkpoints", "array", "Newest first."),
            ("copies", "array", "Of the identity and the metadata."),
            ("running", "object|null", "What a running server adds."),
            ("findings", "array", "What is wrong."),
            ("notes", "array", "What is told besides."),
        ]),
    )],
    refuses: &[Code::Unavailable, Code::Internal],
    once: false,
};

/// Identity, versions, segments, checkpoints, copies, as `store info` tells them of a directory.
pub(super) fn store(server: &Server, _: &Asked) -> Answered {
    let Some(recovered) = server.recovered() else { return Err(Refusal::NotNow) };
    let data = &server.config.data;
    match store_info_while_held(data, &server.env, Some(&recovered.database)) {
        Ok(info) => ok(&info),
        Err(fault) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string())),
    }
}
