//! What every route may rely on: bodies, forms, events, methods, waiting; on a table of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::sse::Event;
use rekindle_env::Env;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::problem::Code;
use super::reply::{self, Answered, Refusal};
use super::request::Asked;
use super::serve::router_of;
use super::table::{Route, When};
use super::token::FormToken;
use crate::config::Config;
use crate::front::access::{Permission, Principal, Subject, Verb};
use crate::front::limits::{BODY_TIMEOUT, HTTP_BODY_BYTES_MAX, HTTP_WAITING_MAX};
use crate::state::Server;

const READ: Permission = Permission::Needs(Subject::Server, Verb::Read);
const MANAGE: Permission = Permission::Needs(Subject::Server, Verb::Manage);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    a: u64,
    b: u64,
}

fn add(_: &Server, asked: &Asked) -> Answered {
    // It may wait here: on a thread of the runtime this panics.
    tokio::runtime::Handle::current().block_on(async {});
    let Sum { a, b } = asked.json()?;
    let name = asked.text("name").unwrap_or("");
    reply::ok(&json!({ "name": name, "sum": a + b }))
}

fn decide(_: &Server, asked: &Asked) -> Answered {
    assert_eq!(asked.field("why"), Some("a & b"));
    reply::see_other("/page")
}

fn page(server: &Server, _: &Asked) -> Answered {
    let page = format!("<form>{}</form>", server.form_token.as_str());
    Ok(reply::html(StatusCode::OK, page))
}

fn tell(_: Arc<Server>, _: Asked) -> Answered {
    let events = [1, 2].map(|number| Event::default().event("n").data(number.to_string()));
    Ok(reply::events(futures::stream::iter(events)))
}

fn lose(_: &Server, _: &Asked) -> Answered {
    Err(Refusal::with_code(StatusCode::INTERNAL_SERVER_ERROR, 75, "nobody knows"))
}

fn plain(_: &Server, asked: &Asked) -> Answered {
    let limit = asked.number("limit", 1..=9, 5)?;
    Ok(reply::text(StatusCode::OK, limit.to_string()))
}

const TABLE: &[Route] = &[
    Route::post("/add/{name}", MANAGE, When::Always, add),
    Route::get("/add/{name}", READ, When::Always, page),
    Route::form("/decide", MANAGE, When::Always, decide),
    Route::read("/page", READ, When::Always, page),
    Route::events("/events", READ, When::Always, tell),
    Route::post("/later", MANAGE, When::Ready, add),
    Route::post("/lose", MANAGE, When::Always, lose),
    Route::read("/plain", READ, When::Always, plain),
];

fn server() -> Arc<Server> {
    Server::new(Config::default(), &Env::real())
}

struct Heard {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

async fn ask(
    server: &Arc<Server>,
    principal: Principal,
    request: axum::http::request::Builder,
    body: Body,
) -> Heard {
    let request = request.header(header::HOST, "localhost").body(body).unwrap();
    let router = super::guarded(server, router_of(TABLE, server, principal));
    let response = router.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Heard { status: head.status, headers: head.headers, body }
}

async fn post(path: &str, media: &str, body: impl Into<Body>) -> Heard {
    let request = Request::post(path).header(header::CONTENT_TYPE, media);
    ask(&server(), Principal::Local, request, body.into()).await
}

const JSON: &str = "application/json";

/// A body is what its route takes, or the caller hears why not; parameters and body come together.
#[tokio::test]
async fn a_json_body_is_read_and_checked() {
    let heard = post("/add/x?name=y", "Application/JSON; charset=utf-8", r#"{"a":1,"b":2}"#).await;
    assert_eq!((heard.status, heard.json()), (StatusCode::OK, json!({ "name": "x", "sum": 3 })));
    for body in ["", "{", "[]", r#"{"a":1}"#, r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"a":1,"b":2}"#] {
        let heard = post("/add/x", JSON, body).await;
        assert_eq!(heard.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(heard.json()["error"].is_string(), "{body}");
    }
    for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let heard = post("/add/x", media, r#"{"a":1,"b":2}"#).await;
        assert_eq!(heard.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{media}");
    }
}

/// A body has a size: at the bound it is read, above it refused.
#[tokio::test]
async fn a_body_has_a_size() {
    let body = |len: usize| format!("{}{}", r#"{"a":1,"b":2}"#, " ".repeat(len - 13));
    let heard = post("/add/x", JSON, body(HTTP_BODY_BYTES_MAX)).await;
    assert_eq!(heard.status, StatusCode::OK, "{}", heard.body);
    let heard = post("/add/x", JSON, body(HTTP_BODY_BYTES_MAX + 1)).await;
    assert_eq!(heard.status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// A body that does not arrive, or breaks off, ends its request.
///
/// fault: P4
#[tokio::test(start_paused = true)]
async fn a_body_has_a_time_to_arrive_here_too() {
    let never = tokio_stream::pending::<Result<Bytes, Infallible>>();
    let began = tokio::time::Instant::now();
    let heard = post("/add/x", JSON, Body::from_stream(never)).await;
    assert_eq!(heard.status, StatusCode::REQUEST_TIMEOUT);
    assert!(began.elapsed() >= BODY_TIMEOUT);
    let broken = tokio_stream::once(Err::<Bytes, _>(std::io::Error::other("gone")));
    let heard = post("/add/x", JSON, Body::from_stream(broken)).await;
    assert_eq!(heard.status, StatusCode::BAD_REQUEST);
}

/// Nobody's body is read before the permission, the time and the method are right.
#[tokio::test]
async fn the_body_is_looked_at_last() {
    let never = || Body::from_stream(tokio_stream::pending::<Result<Bytes, Infallible>>());
    let request = || Request::post("/add/x").header(header::CONTENT_TYPE, JSON);
    let heard = ask(&server(), Principal::Nobody, request(), never()).await;
    assert_eq!(heard.status, StatusCode::FORBIDDEN);
    let later = Request::post("/later").header(header::CONTENT_TYPE, JSON);
    let heard = ask(&server(), Principal::Local, later, never()).await;
    assert_eq!(heard.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(heard.headers.contains_key(header::RETRY_AFTER));
    let foreign = request().header(header::ORIGIN, "http://attacker.example");
    let heard = ask(&server(), Principal::Local, foreign, never()).await;
    assert_eq!(heard.status, StatusCode::FORBIDDEN);
    let heard = ask(&server(), Principal::Local, Request::delete("/add/x"), never()).await;
    assert_eq!(heard.status, StatusCode::METHOD_NOT_ALLOWED);
    let allowed: Vec<&str> = heard.header(header::ALLOW).split(',').collect();
    assert!(allowed.contains(&"GET") && allowed.contains(&"POST"), "{allowed:?}");
    assert!(heard.json()["error"].as_str().unwrap().starts_with("DELETE"));
}

/// A form needs the token of this very process, once; then it leads to a page.
#[tokio::test]
async fn a_form_needs_the_token_of_its_page() {
    let server = server();
    let form = async |body: String| {
        let media = "application/x-www-form-urlencoded";
        let request = Request::post("/decide").header(header::CONTENT_TYPE, media);
        ask(&server, Principal::Local, request, Body::from(body)).await
    };
    let shown = ask(&server, Principal::Local, Request::get("/page"), Body::empty()).await;
    assert_eq!(shown.header(header::CONTENT_TYPE), "text/html; charset=utf-8");
    let policy = shown.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let token = server.form_token.as_str();
    assert!(shown.body.contains(token));
    let heard = form(format!("why=a+%26+b&token={token}")).await;
    assert_eq!(heard.status, StatusCode::SEE_OTHER);
    assert_eq!(heard.header(header::LOCATION), "/page");
    let other = FormToken::draw(Env::real().random.as_ref());
    for body in [String::new(), "why=x&token=".to_owned(), format!("token={}", other.as_str())] {
        assert_eq!(form(body).await.status, StatusCode::FORBIDDEN);
    }
    let twice = form(format!("why=a&why=b&token={token}")).await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
    let heard = post("/decide", JSON, "{}").await;
    assert_eq!(heard.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

/// Events are told one by one, and their stream ends.
#[tokio::test]
async fn events_are_told() {
    let heard = ask(&server(), Principal::Local, Request::get("/events"), Body::empty()).await;
    assert_eq!(heard.header(header::CONTENT_TYPE), "text/event-stream");
    assert_eq!(heard.body, "event: n\ndata: 1\n\nevent: n\ndata: 2\n\n");
}

/// Numbers have a range, refusals may carry the exit code of the command line.
#[tokio::test]
async fn refusals_say_why() {
    let number = async |query: &str| {
        let request = Request::get(format!("/plain{query}"));
        ask(&server(), Principal::Local, request, Body::empty()).await
    };
    assert_eq!(number("").await.body, "5");
    assert_eq!(number("?limit=9").await.body, "9");
    for wrong in ["?limit=0", "?limit=10", "?limit=", "?limit=x", "?limit=-1"] {
        assert_eq!(number(wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let heard = post("/lose", JSON, "{}").await;
    assert_eq!(heard.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(heard.header(header::CONTENT_TYPE), reply::PROBLEM);
    let unknown = Code::Unknown;
    let expected = json!({
        "type": "/ui/api#unknown",
        "title": unknown.title(),
        "status": 500,
        "detail": "nobody knows",
        "code": "unknown",
        "action": unknown.action(),
        "error": "nobody knows",
        "exit_code": 75,
    });
    assert_eq!(heard.json(), expected);
    assert!(!heard.headers.contains_key(header::RETRY_AFTER), "it is not to be repeated blindly");
}

/// While all places are taken a request whose answer may wait is refused after a while; others are
/// answered.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_are_bounded() {
    let server = server();
    let taken = u32::try_from(HTTP_WAITING_MAX).unwrap();
    let places = Arc::clone(&server.http_waiting).acquire_many_owned(taken).await.unwrap();
    let get = async |path| ask(&server, Principal::Local, Request::get(path), Body::empty()).await;
    assert_eq!(get("/page").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/add/x").await.status, StatusCode::OK);
    drop(places);
    tokio::time::resume();
    let answered = tokio::time::timeout(Duration::from_secs(20), get("/page")).await.unwrap();
    assert_eq!(answered.status, StatusCode::OK);
}
