//! From a request to the answer of its route: permission, time, body, answer; in this order.
//!
//! Invariants: what may wait for the disk runs on a thread that may, and at most [`WAITING_MAX`] of
//! them; work is counted as in flight before anything of it is looked at, so a graceful end waits
//! for its answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{delete, get, post, put};

use super::body::Bounds;
use super::identity::identity;
use super::problem::Code;
use super::reply::{Answered, Refusal, error};
use super::request::{Asked, Caller, Parameters};
use super::route::{Answer, Does, Route};
use crate::front::access::Principal;
use crate::front::connections::Peer;
use crate::front::limits::{BODY_TIMEOUT, HTTP_WAITING_MAX as WAITING_MAX};
use crate::state::Server;

/// Names and values as they stand in a query.
type Pairs = Vec<(String, String)>;

/// The router of these routes.
pub(super) fn router_of(routes: &[Route], server: &Arc<Server>, principal: Principal) -> Router {
    let mut router = Router::new();
    for &route in routes {
        let handler = move |State(server): State<Arc<Server>>,
                            path: Result<Path<Parameters>, PathRejection>,
                            query: Result<Query<Pairs>, QueryRejection>,
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
        let by_method = match route.does {
            Does::Get => get(handler),
            Does::Post => post(handler),
            Does::Put => put(handler),
            Does::Delete => delete(handler),
        };
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
    query: Result<Query<Pairs>, QueryRejection>,
) -> Result<Parameters, Refusal> {
    let Path(mut parameters) =
        path.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
    let Query(query) = query.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
    let mut of_query = Parameters::new();
    for (name, value) in query {
        // One that stands twice means something else to everybody who reads it.
        let message = format!("the parameter {name:?} stands twice");
        if of_query.insert(name, value).is_some() {
            return Err(Refusal::invalid(message));
        }
    }
    // What the path says wins over a parameter of the same name.
    for (name, value) in of_query {
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
        return Err(Refusal::of(Code::Forbidden, message));
    }
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
    let address = peer.address;
    let flight = route.is_work().then(|| server.budget.begin(peer));
    if !route.when.is_now(server) {
        return Err(route.when.refusal(server));
    }
    let (head, body) = request.into_parts();
    let once = route.operation().is_some_and(|operation| operation.once);
    let identity = if once { identity(&head.headers)? } else { None };
    let bounds = Bounds { bytes: route.body_bytes_max(), flight: flight.as_ref() };
    let content = route.takes.read(&head.headers, body, bounds, &server.form_token).await?;
    let asked = Asked::new(parameters, content, Caller { address, identity, _flight: flight });
    match route.answer {
        Answer::Look(answer) => answer(server, &asked),
        Answer::Wait(answer) => wait(answer, Arc::clone(server), asked).await,
        Answer::Work(answer) => answer(Arc::clone(server), asked).await,
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
        return Err(Refusal::of(Code::Retry, message));
    };
    let answering = tokio::task::spawn_blocking(move || {
        let _place = place;
        answer(&server, &asked)
    });
    answering.await.unwrap_or_else(|error| {
        let message = format!("the answer failed: {error}");
        Err(Refusal::of(Code::Internal, message))
    })
}
