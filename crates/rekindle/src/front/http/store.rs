//! What `/v1/store` answers: what the store of this server is.

use axum::http::StatusCode;
use rekindle_database::store_info_while_held;

use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::state::Server;

/// Identity, versions, segments, checkpoints, copies, as `store info` tells them of a directory.
pub(super) fn store(server: &Server, _: &Asked) -> Answered {
    let Some(recovered) = server.recovered() else { return Err(Refusal::NotNow) };
    let data = &server.config.data;
    match store_info_while_held(data, &server.env, Some(&recovered.database)) {
        Ok(info) => ok(&info),
        Err(fault) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string())),
    }
}
