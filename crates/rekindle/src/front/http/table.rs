//! The table of HTTP routes: each with the permission that it needs and when it is served.
//!
//! Invariants: an [`axum::Router`] is built from a table and nowhere else, and a [`Route`] cannot
//! be made without a permission; what may wait for the disk runs on a thread that may, and at most
//! [`WAITING_MAX`] of them.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};

use super::reply::{Answered, Refusal, error};
use super::request::{Asked, Parameters, Takes};
use super::{answers, audit, backups, health, recoveries, recovery_mode, reviews, runs, store};
use crate::front::access::{Permission, Principal, Subject, Verb};
use crate::front::limits::{BODY_TIMEOUT, HTTP_WAITING_MAX as WAITING_MAX};
use crate::front::ui;
use crate::progress::Stage;
use crate::state::Server;

/// When a route is served; otherwise it answers 503 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From the first moment to the last.
    Always,
    /// Once recovery is done and until shutdown begins.
    Ready,
    /// The same, and in recovery mode once something can be read.
    Readable,
    /// In recovery mode.
    RecoveryMode,
}

impl When {
    /// Whether that is now.
    fn is_now(self, server: &Server) -> bool {
        match self {
            Self::Always => true,
            Self::Ready => server.serving().is_some(),
            Self::Readable => server.readable().is_some(),
            Self::RecoveryMode => server.progress.stage() == Stage::RecoveryMode,
        }
    }

    /// What is answered while it is not.
    fn refusal(self, server: &Server) -> Refusal {
        let limited = server.progress.stage() == Stage::RecoveryMode;
        let message = match self {
            Self::RecoveryMode if !limited => {
                "the server is not in recovery mode; start it with 'rekindle serve \
                 --recovery-mode'"
            }
            Self::Readable if limited => {
                "the store is damaged: nothing of it can be read like this"
            }
            Self::Ready if limited => {
                "the server is in recovery mode: it serves no work; start it without \
                 --recovery-mode"
            }
            _ => return Refusal::NotNow,
        };
        let status = if limited { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
        Refusal::new(status, message)
    }
}

/// How a route makes its answer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Of what is in memory, at once.
    Look(fn(&Server, &Asked) -> Answered),
    /// It may wait: for the disk, for a transaction. Runs to its end even when the caller goes.
    Wait(fn(&Server, &Asked) -> Answered),
    /// It goes on: server-sent events.
    Stream(fn(Arc<Server>, Asked) -> Answered),
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    path: &'static str,
    permission: Permission,
    when: When,
    takes: Takes,
    answer: Answer,
    for_people: bool,
}

impl Route {
    /// GET, answered from memory.
    #[must_use]
    pub const fn get(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self {
            path,
            permission,
            when,
            takes: Takes::Nothing,
            answer: Answer::Look(answer),
            for_people: false,
        }
    }

    /// GET whose answer may wait for the disk.
    #[must_use]
    pub const fn read(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self {
            path,
            permission,
            when,
            takes: Takes::Nothing,
            answer: Answer::Wait(answer),
            for_people: false,
        }
    }

    /// GET of server-sent events.
    #[must_use]
    pub const fn events(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(Arc<Server>, Asked) -> Answered,
    ) -> Self {
        Self {
            path,
            permission,
            when,
            takes: Takes::Nothing,
            answer: Answer::Stream(answer),
            for_people: false,
        }
    }

    /// POST of JSON ([`Asked::json`]); the answer may wait.
    #[must_use]
    pub const fn post(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self {
            path,
            permission,
            when,
            takes: Takes::Json,
            answer: Answer::Wait(answer),
            for_people: false,
        }
    }

    /// POST of a form of our own pages ([`Asked::field`]); the answer may wait.
    #[must_use]
    pub const fn form(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self {
            path,
            permission,
            when,
            takes: Takes::Form,
            answer: Answer::Wait(answer),
            for_people: false,
        }
    }

    /// The same, whose refusals are pages: a person in front of a browser asks.
    #[must_use]
    pub const fn for_people(mut self) -> Self {
        self.for_people = true;
        self
    }

    /// A refusal as this route shows it.
    fn refused(&self, refusal: Refusal, server: &Server) -> Response {
        match self.for_people {
            true => ui::refused(&refusal, server),
            false => refusal.response(server),
        }
    }

    /// Its path.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Its method.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self.takes {
            Takes::Nothing => Method::GET,
            Takes::Json | Takes::Form => Method::POST,
        }
    }

    /// What it needs.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        self.permission
    }

    /// What its body must be.
    #[must_use]
    pub const fn takes(&self) -> Takes {
        self.takes
    }
}

const READ_SERVER: Permission = Permission::Needs(Subject::Server, Verb::Read);
const MANAGE_SERVER: Permission = Permission::Needs(Subject::Server, Verb::Manage);
const READ_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Read);
const MANAGE_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Manage);

/// All routes.
pub static ROUTES: &[Route] = &[
    Route::get("/livez", Permission::Probe, When::Always, answers::alive),
    Route::get("/startupz", Permission::Probe, When::Always, answers::started),
    Route::get("/readyz", Permission::Probe, When::Always, answers::ready),
    Route::get("/healthz", READ_SERVER, When::Always, health::health),
    Route::get("/v1/alerts", READ_SERVER, When::Always, health::alerts),
    Route::post("/v1/alerts/{rule}/acknowledge", MANAGE_SERVER, When::Ready, health::acknowledge),
    Route::get("/metrics", READ_SERVER, When::Always, answers::metrics),
    Route::get("/v1/limits", READ_SERVER, When::Always, answers::limits),
    Route::read("/v1/store", READ_SERVER, When::Always, store::store),
    Route::post("/v1/backups", MANAGE_SERVER, When::Ready, backups::take),
    Route::read("/v1/recoveries", READ_SERVER, When::Always, recoveries::list),
    Route::read("/v1/recoveries/{n}", READ_SERVER, When::Always, recoveries::show),
    Route::get("/v1/recoveries/latest", READ_SERVER, When::Always, recoveries::latest),
    Route::events("/v1/recoveries/progress", READ_SERVER, When::Always, recoveries::progress),
    Route::read("/v1/runs", READ_SERVER, When::Always, runs::list),
    Route::read("/v1/runs/{number}", READ_SERVER, When::Always, runs::show),
    Route::read("/v1/audit", READ_SERVER, When::Readable, audit::list),
    Route::read("/v1/reviews", READ_QUEUE, When::Readable, reviews::list),
    Route::read("/v1/reviews/{id}", READ_QUEUE, When::Readable, reviews::show),
    Route::post("/v1/reviews/{id}/{decision}", MANAGE_QUEUE, When::Ready, reviews::decide),
    Route::get("/v1/recovery-mode", READ_SERVER, When::RecoveryMode, recovery_mode::show),
    Route::post("/v1/repair", MANAGE_SERVER, When::RecoveryMode, recovery_mode::repair),
    Route::post("/v1/salvage", MANAGE_SERVER, When::RecoveryMode, recovery_mode::salvage),
    Route::get("/v1/stats", READ_SERVER, When::Readable, answers::stats),
    Route::get("/v1/queues", READ_QUEUE, When::Readable, answers::queues),
    Route::get("/v1/queues/{name}", READ_QUEUE, When::Readable, answers::queue),
];

/// The router of a listener whose callers are `principal`.
pub fn router(server: &Arc<Server>, principal: Principal) -> Router {
    let all: Vec<Route> = ROUTES.iter().chain(ui::ROUTES).copied().collect();
    router_of(&all, server, principal)
}

/// The router of these routes.
pub(super) fn router_of(routes: &[Route], server: &Arc<Server>, principal: Principal) -> Router {
    let mut router = Router::new();
    for &route in routes {
        let handler = move |State(server): State<Arc<Server>>,
                            path: Result<Path<Parameters>, PathRejection>,
                            query: Result<Query<Parameters>, QueryRejection>,
                            request: Request| async move {
            let answered = match parameters(path, query) {
                Ok(parameters) => serve(route, &server, principal, parameters, request).await,
                Err(refusal) => Err(refusal),
            };
            answered.unwrap_or_else(|refusal| {
                if let Some(damage) = refusal.damage() {
                    server.alerts.damages.met(damage);
                }
                route.refused(refusal, &server)
            })
        };
        let by_method = if route.method() == Method::GET { get(handler) } else { post(handler) };
        router = router.route(route.path, by_method);
    }
    let nothing = || async { error(StatusCode::NOT_FOUND, "there is nothing at this path") };
    let not_so = |method: Method| async move {
        let message = format!("{method} is not served at this path; see the header Allow");
        error(StatusCode::METHOD_NOT_ALLOWED, &message)
    };
    router.fallback(nothing).method_not_allowed_fallback(not_so).with_state(Arc::clone(server))
}

/// The parameters of the path and the query, which must be text.
fn parameters(
    path: Result<Path<Parameters>, PathRejection>,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Result<Parameters, Refusal> {
    let Path(mut parameters) =
        path.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
    let Query(query) = query.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
    // What the path says wins over a parameter of the same name.
    for (name, value) in query {
        parameters.entry(name).or_insert(value);
    }
    Ok(parameters)
}

/// Checks what a route needs, reads what it takes, then answers.
async fn serve(
    route: Route,
    server: &Arc<Server>,
    principal: Principal,
    parameters: Parameters,
    request: Request,
) -> Answered {
    if !principal.may(route.permission) {
        let message = format!("this needs the permission {}", route.permission);
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    if !route.when.is_now(server) {
        return Err(route.when.refusal(server));
    }
    let (head, body) = request.into_parts();
    let content = route.takes.read(&head.headers, body, &server.form_token).await?;
    let asked = Asked::new(parameters, content);
    match route.answer {
        Answer::Look(answer) => answer(server, &asked),
        Answer::Wait(answer) => wait(answer, Arc::clone(server), asked).await,
        Answer::Stream(answer) => answer(Arc::clone(server), asked),
    }
}

/// Answers on a thread that may wait, once one of ours is free.
async fn wait(
    answer: fn(&Server, &Asked) -> Answered,
    server: Arc<Server>,
    asked: Asked,
) -> Result<Response, Refusal> {
    let free = Arc::clone(&server.http_waiting).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout(BODY_TIMEOUT, free).await else {
        let message = format!("{WAITING_MAX} other requests wait for the disk; try again");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let answering = tokio::task::spawn_blocking(move || {
        let _place = place;
        answer(&server, &asked)
    });
    answering.await.unwrap_or_else(|error| {
        let message = format!("the answer failed: {error}");
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message))
    })
}
