//! The table of HTTP routes: each with the permission that it needs and when it is served.
//!
//! Invariant: an [`axum::Router`] is built from this table and nowhere else, and a [`Route`] cannot
//! be made without a permission.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::answers;
use crate::front::access::{Permission, Principal, Subject, Verb};
use crate::state::Server;

/// The parameters of a request: of its path and its query.
pub type Parameters = HashMap<String, String>;

/// When a route is served; otherwise it answers 503 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From the first moment to the last.
    Always,
    /// Once recovery is done and until shutdown begins.
    Ready,
}

/// One route; all of them answer GET.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    path: &'static str,
    permission: Permission,
    when: When,
    answer: fn(&Server, &Parameters) -> Response,
}

impl Route {
    /// A route.
    const fn get(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Parameters) -> Response,
    ) -> Self {
        Self { path, permission, when, answer }
    }

    /// Its path.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// What it needs.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        self.permission
    }
}

const READ_SERVER: Permission = Permission::Needs(Subject::Server, Verb::Read);
const READ_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Read);

/// All routes.
pub static ROUTES: &[Route] = &[
    Route::get("/livez", Permission::Probe, When::Always, answers::alive),
    Route::get("/startupz", Permission::Probe, When::Always, answers::started),
    Route::get("/readyz", Permission::Probe, When::Always, answers::ready),
    Route::get("/healthz", READ_SERVER, When::Always, answers::health),
    Route::get("/metrics", READ_SERVER, When::Always, answers::metrics),
    Route::get("/v1/limits", READ_SERVER, When::Always, answers::limits),
    Route::get("/v1/recoveries/latest", READ_SERVER, When::Always, answers::recovery),
    Route::get("/v1/stats", READ_SERVER, When::Ready, answers::stats),
    Route::get("/v1/queues", READ_QUEUE, When::Ready, answers::queues),
    Route::get("/v1/queues/{name}", READ_QUEUE, When::Ready, answers::queue),
];

/// The router of a listener whose callers are `principal`.
pub fn router(server: &Arc<Server>, principal: Principal) -> Router {
    let mut router = Router::new();
    for &route in ROUTES {
        let handler = move |State(server): State<Arc<Server>>,
                            Path(mut parameters): Path<Parameters>,
                            Query(query): Query<Parameters>| async move {
            parameters.extend(query);
            serve(route, &server, principal, &parameters)
        };
        router = router.route(route.path, get(handler));
    }
    let nothing = || async { error(StatusCode::NOT_FOUND, "there is nothing at this path") };
    router.fallback(nothing).with_state(Arc::clone(server))
}

/// Checks what a route needs, then answers.
fn serve(route: Route, server: &Server, principal: Principal, parameters: &Parameters) -> Response {
    if !principal.may(route.permission) {
        let permission = route.permission;
        return error(StatusCode::FORBIDDEN, &format!("this needs the permission {permission}"));
    }
    if route.when == When::Ready && server.serving().is_none() {
        return unavailable(server);
    }
    (route.answer)(server, parameters)
}

/// 503, with progress and when to ask again.
pub(super) fn unavailable(server: &Server) -> Response {
    let status = server.progress.status();
    let left_ms = status.estimate_ms.unwrap_or(0).saturating_sub(status.elapsed_ms);
    let seconds = left_ms.div_ceil(1_000).clamp(1, 60);
    let mut response = json_answer(StatusCode::SERVICE_UNAVAILABLE, &status);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// An error as JSON.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json_answer(status, &json!({ "error": message }))
}

/// Any value as JSON.
pub(super) fn json_answer(status: StatusCode, value: &impl serde::Serialize) -> Response {
    (status, axum::Json(value)).into_response()
}
