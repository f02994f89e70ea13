//! The HTTP front: work on queues and keys, probes, metrics, reports, looks at what there is, and
//! what operators decide.
//!
//! Invariants: it answers from the first moment of a start; a request that names another server, or
//! comes from a page of another origin, is refused before any route sees it.

mod answers;
mod audit;
mod backups;
pub mod body;
pub(super) mod health;
pub mod identity;
mod job_types;
mod job_view;
mod job_work;
mod jobs;
mod kv;
mod kv_scan;
mod listener;
mod loops;
mod messages;
mod object;
pub mod openapi;
pub mod operation;
mod payload;
pub mod problem;
mod queues;
pub(super) mod recoveries;
pub(super) mod recovery_mode;
pub mod reply;
pub mod request;
mod reviews;
pub mod route;
mod runs;
mod schedules;
mod serve;
mod store;
pub mod table;
pub mod token;
mod tokens;
mod transactions;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use listener::serve;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use super::access::Principal;
use crate::state::Server;

/// The table's router behind the guard.
pub fn router(server: &Arc<Server>, principal: Principal) -> Router {
    guarded(server, table::router(server, principal))
}

/// Puts the guard before a router.
fn guarded(server: &Arc<Server>, router: Router) -> Router {
    let server = Arc::clone(server);
    let guard = move |request: Request, next: Next| {
        let server = Arc::clone(&server);
        async move { guard(&server, request, next).await }
    };
    router.layer(from_fn(guard))
}

/// Refuses foreign hosts and origins; marks every answer as not to be guessed at and,
/// unless it says otherwise, as not to be kept.
async fn guard(server: &Server, request: Request, next: Next) -> Response {
    let headers = request.headers();
    // A header that stands twice means something else to everybody who reads it: it is foreign.
    let text = |name| {
        let mut values = headers.get_all(name).iter();
        let first: &HeaderValue = values.next()?;
        let only = values.next().is_none();
        Some(first.to_str().ok().filter(|_| only).unwrap_or("?"))
    };
    // An absolute request target takes precedence over `Host` (RFC 9112, section 3.2.2).
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let authority = authority.or_else(|| text(header::HOST)).unwrap_or("");
    let mut response = if server.config.names.allow(authority, text(header::ORIGIN)) {
        next.run(request).await
    } else {
        let message = format!(
            "refused: Host {authority:?} or the Origin of this request is foreign. Ask by address \
             or as localhost, or list the name in server.allowed_hosts"
        );
        reply::error(StatusCode::FORBIDDEN, &message)
    };
    let headers = response.headers_mut();
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
