//! Walks both tables: nothing is reachable without its permission, and nothing is missing in them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, Request, StatusCode, header};
use rekindle_env::Env;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};
use tower::{Layer, ServiceExt, service_fn};

use super::access::{Permission, Principal};
use super::grpc::gate::Gate;
use super::grpc::table::METHODS;
use super::http::body::Takes;
use super::http::table::{self, Route};
use crate::config::Config;
use crate::progress::Stage;
use crate::state::Server;

/// Both tables of HTTP routes.
fn routes() -> Vec<Route> {
    table::ROUTES.iter().chain(super::ui::ROUTES).copied().collect()
}

fn server() -> Arc<Server> {
    Server::new(Config::default(), &Env::real())
}

/// Asks a route of a server that has not recovered.
async fn ask(principal: Principal, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(axum::body::Body::empty()).unwrap();
    let router = super::http::router(&server(), principal);
    let response = router.oneshot(request).await.unwrap();
    let retry_after = response.headers().contains_key(header::RETRY_AFTER);
    Answer { status: response.status(), retry_after }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    retry_after: bool,
}

/// A path with something in the place of its parameters.
fn filled(path: &str) -> String {
    let segments = path.split('/').map(|it| if it.starts_with('{') { "1" } else { it });
    segments.collect::<Vec<_>>().join("/")
}

const LOCAL: &[(&str, &str)] = &[("host", "localhost:7610")];

/// Calls a gRPC method through the gate; answers the code and whether the service was reached.
async fn call(principal: Principal, path: &str, origin: Option<&str>) -> (Code, bool) {
    let reached = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reached);
    let service = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<Response<Body>, Infallible>(Status::ok("reached").into_http()) }
    });
    let mut request = Request::builder().uri(path);
    if let Some(origin) = origin {
        request = request.header(header::ORIGIN, origin);
    }
    let request = request.body(Body::empty()).unwrap();
    let gated = Gate::new(server(), principal).layer(service);
    let response = gated.oneshot(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    (status.code(), reached.load(Ordering::SeqCst) > 0)
}

/// A caller without permissions is refused by every entry of both tables but the probes, and no
/// service sees the call; a caller with all of them is refused by none.
#[tokio::test]
async fn every_entry_of_both_tables_asks_for_its_permission() {
    let routes = routes();
    for route in &routes {
        let (path, method) = (filled(route.path()), route.method());
        let probe = route.permission() == Permission::Probe;
        let nobody = ask(Principal::Nobody, method.clone(), &path, LOCAL).await;
        assert_eq!(nobody.status == StatusCode::FORBIDDEN, !probe, "{path}");
        let local = ask(Principal::Local, method.clone(), &path, LOCAL).await;
        assert_ne!(local.status, StatusCode::FORBIDDEN, "{path}");
        let methods: Vec<Method> =
            routes.iter().filter(|other| other.path() == route.path()).map(Route::method).collect();
        for other in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let refused = ask(Principal::Local, other.clone(), &path, LOCAL).await.status;
            let wrong = refused == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(wrong, !methods.contains(&other), "{other} {path}");
        }
        // Whoever changes something is asked for a body, or a method, that no page of another
        // origin can send.
        let has_body = [Method::POST, Method::PUT].contains(&method);
        assert_eq!(has_body, route.takes() != Takes::Nothing, "{path}");
    }
    for method in METHODS {
        let uri = format!("http://localhost:7611{}", method.path());
        let probe = method.permission() == Permission::Probe;
        let denied = call(Principal::Nobody, &uri, None).await;
        let expected = if probe { (Code::Ok, true) } else { (Code::PermissionDenied, false) };
        assert_eq!(denied, expected, "{uri}");
        assert_eq!(call(Principal::Local, &uri, None).await, (Code::Ok, true), "{uri}");
    }
}

/// What stands in no table is reached by nobody.
#[tokio::test]
async fn what_stands_in_no_table_is_denied() {
    let secret = ask(Principal::Local, Method::GET, "/v1/secret", LOCAL).await;
    assert_eq!(secret.status, StatusCode::NOT_FOUND);
    let uri = "http://localhost/rekindle.v1.Queues/Secret";
    assert_eq!(call(Principal::Local, uri, None).await, (Code::Unimplemented, false));
}

/// The table of methods and the protocol name the same methods.
#[test]
fn the_table_holds_every_method_of_the_protocol() {
    let protocol = [
        include_str!("../../../wire/proto/rekindle/v1/queues.proto"),
        include_str!("../../../wire/proto/rekindle/v1/kv.proto"),
        include_str!("../../../wire/proto/rekindle/v1/jobs.proto"),
        include_str!("../../../wire/proto/rekindle/v1/loops.proto"),
        include_str!("../../../wire/proto/rekindle/v1/schedules.proto"),
        include_str!("../../../wire/proto/rekindle/v1/transactions.proto"),
    ];
    let mut declared = BTreeSet::new();
    for file in protocol {
        let mut service = "";
        for line in file.lines().map(str::trim) {
            let word = |line: &'static str| line.split([' ', '(', '{']).next().unwrap();
            if let Some(rest) = line.strip_prefix("service ") {
                service = word(rest);
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                declared.insert(format!("/rekindle.v1.{service}/{}", word(rest)));
            }
        }
    }
    assert!(declared.len() > 10, "{declared:?}");
    let paths = METHODS.iter().map(|method| method.path().to_owned());
    let ours: BTreeSet<String> = paths.filter(|path| path.starts_with("/rekindle.v1.")).collect();
    assert_eq!(ours, declared);
}

/// Foreign hosts and origins are refused before any route or service sees them.
#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    for headers in [
        &[("host", "attacker.example:7610")][..],
        &[],
        &[("host", "localhost:7610"), ("origin", "http://attacker.example")],
        &[("host", "localhost:7610"), ("origin", "null")],
    ] {
        let answer = ask(Principal::Local, Method::GET, "/livez", headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let same = [("host", "localhost:7610"), ("origin", "http://localhost:7610")];
    let answer = ask(Principal::Local, Method::GET, "/livez", &same).await;
    assert_eq!(answer.status, StatusCode::OK);
    let method = "rekindle.v1.Queues/Send";
    let foreign = format!("http://attacker.example/{method}");
    assert_eq!(call(Principal::Local, &foreign, None).await, (Code::PermissionDenied, false));
    let ours = format!("http://localhost:7611/{method}");
    let page = call(Principal::Local, &ours, Some("http://localhost:7611")).await;
    assert_eq!(page, (Code::PermissionDenied, false), "gRPC clients send no origin");
}

/// Before recovery: alive, not started, not ready, and every work route says when to ask again.
#[tokio::test]
async fn before_recovery_only_probes_answer() {
    let alive = ask(Principal::Local, Method::GET, "/livez", LOCAL).await;
    assert_eq!(alive.status, StatusCode::OK);
    let limits = ask(Principal::Local, Method::GET, "/v1/limits", LOCAL).await;
    assert_eq!(limits.status, StatusCode::OK);
    let not_yet = [
        "/startupz",
        "/readyz",
        "/v1/recoveries/latest",
        "/v1/stats",
        "/v1/queues",
        "/v1/queues/q",
    ];
    for path in not_yet {
        let answer = ask(Principal::Local, Method::GET, path, LOCAL).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.retry_after, "{path}");
    }
}

/// Bytes in flight are counted as the body arrives and given back with the answer; a body above the
/// limit of its connection never reaches the service whole.
#[tokio::test]
async fn bodies_are_counted_while_they_arrive() {
    use axum::body::to_bytes;
    let mut config = Config::default();
    config.limits.inflight_bytes_per_connection = 1_000;
    let server = Server::new(config, &Env::real());
    let watched = Arc::clone(&server);
    let service = service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&watched);
        async move {
            let body = to_bytes(axum::body::Body::new(request.into_body()), usize::MAX).await;
            let status = match body {
                Ok(body) => {
                    assert_eq!(server.budget.inflight_bytes(), body.len() as u64);
                    Status::ok("")
                }
                Err(_) => Status::resource_exhausted(""),
            };
            Ok::<Response<Body>, Infallible>(status.into_http())
        }
    });
    let gate = Gate::new(Arc::clone(&server), Principal::Local);
    for (len, expected) in [(0, Code::Ok), (1_000, Code::Ok), (1_001, Code::ResourceExhausted)] {
        let uri = "http://localhost/rekindle.v1.Queues/Send";
        let body = Body::new(axum::body::Body::from(vec![7; len]));
        let request = Request::builder().uri(uri).body(body).unwrap();
        let response = gate.layer(service.clone()).oneshot(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), expected, "{len}");
        assert_eq!((server.budget.inflight_bytes(), server.budget.calls()), (0, 0), "{len}");
    }
    assert_eq!(server.progress.stage(), Stage::Starting);
}

/// A body that does not arrive in time ends its call.
///
/// fault: P4
#[tokio::test(start_paused = true)]
async fn a_body_has_a_time_to_arrive() {
    let server = server();
    let service = service_fn(move |request: Request<Body>| async move {
        let body = axum::body::Body::new(request.into_body());
        let error = axum::body::to_bytes(body, usize::MAX).await.unwrap_err();
        let status = Status::from_error(error.into());
        Ok::<Response<Body>, Infallible>(status.into_http())
    });
    let never = tokio_stream::pending::<Result<axum::body::Bytes, Infallible>>();
    let body = Body::new(axum::body::Body::from_stream(never));
    let uri = "http://localhost/rekindle.v1.Queues/Send";
    let request = Request::builder().uri(uri).body(body).unwrap();
    let gated = Gate::new(server, Principal::Local).layer(service);
    let response = gated.oneshot(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}
