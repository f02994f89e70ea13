//! What routes answer: JSON, pages, events, and refusals.
//!
//! Invariant: every refusal is JSON with an `error` for people; where the command line must end
//! with another code than the status means, it carries that as `code`.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::Path;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use rekindle_database::Error as DatabaseError;
use rekindle_recovery::exit;
use serde_json::json;

use crate::state::Server;

/// What a page may load: its own style, script and pictures, from files, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                           img-src 'self'; connect-src 'self'; form-action 'self'; \
                           base-uri 'none'; frame-ancestors 'none'";

/// An answer, or why there is none.
pub type Answered = Result<Response, Refusal>;

/// Why a request is not answered as it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// With a reason.
    Because {
        /// The status.
        status: StatusCode,
        /// For people.
        message: String,
        /// The exit code for the command line, where the status does not say it.
        code: Option<i32>,
    },
    /// Not now: the server starts, or ends. Says how far it is and when to ask again.
    NotNow,
}

impl Refusal {
    /// A refusal with a reason.
    #[must_use]
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Because { status, message: message.into(), code: None }
    }

    /// The same, and the exit code that a command ends with.
    #[must_use]
    pub fn with_code(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self::Because { status, message: message.into(), code: Some(code) }
    }

    /// The damage that was met, where that is why a server that serves cannot answer.
    pub(super) fn damage(&self) -> Option<&str> {
        const STATUS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        match self {
            Self::Because { status: STATUS, message, code: Some(exit::CORRUPT) } => Some(message),
            _ => None,
        }
    }

    /// As an answer of this server.
    #[must_use]
    pub fn response(self, server: &Server) -> Response {
        match self {
            Self::Because { status, message, code: None } => error(status, &message),
            Self::Because { status, message, code } => {
                json(status, &json!({ "error": message, "code": code }))
            }
            Self::NotNow => unavailable(server),
        }
    }
}

/// The status of what a machine refused about a place that the caller named: it is the caller's to
/// name another, or to make room. `None` where it is about anything else.
pub(super) fn about_place(error: &DatabaseError, place: &Path) -> Option<StatusCode> {
    let DatabaseError::Io { context, source } = error else { return None };
    if !context.contains(&*place.to_string_lossy()) {
        return None;
    }
    Some(match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::BAD_REQUEST,
    })
}

/// A service's refusal as HTTP.
impl From<rekindle_services::Error> for Refusal {
    fn from(fault: rekindle_services::Error) -> Self {
        use rekindle_services::Kind;
        let (status, code) = match fault.kind() {
            Kind::NotFound => (StatusCode::NOT_FOUND, None),
            Kind::Invalid => (StatusCode::BAD_REQUEST, None),
            Kind::Conflict | Kind::Exists | Kind::Fenced | Kind::Compacted => {
                (StatusCode::CONFLICT, None)
            }
            Kind::Full => (StatusCode::INSUFFICIENT_STORAGE, None),
            Kind::Retry | Kind::Poisoned => (StatusCode::SERVICE_UNAVAILABLE, None),
            Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, Some(exit::CORRUPT)),
            Kind::Unknown => (StatusCode::INTERNAL_SERVER_ERROR, Some(exit::UNKNOWN)),
            Kind::Io => (StatusCode::INTERNAL_SERVER_ERROR, Some(exit::IO)),
        };
        Self::Because { status, message: fault.message().to_owned(), code }
    }
}

/// Any value as JSON, with 200.
pub fn ok(value: &impl serde::Serialize) -> Answered {
    Ok(json(StatusCode::OK, value))
}

/// Any value as JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    (status, axum::Json(value)).into_response()
}

/// A page, which may load nothing of other places and be shown in no frame.
pub fn html(status: StatusCode, page: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        // With `no-referrer` browsers send the page's own forms with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, page).into_response()
}

/// Plain text.
pub fn text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// After a form: to the page that shows what it did.
pub fn see_other(path: &str) -> Answered {
    let location = HeaderValue::from_str(path).map_err(|_| {
        let message = format!("{path:?} is no path to go to");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

/// Server-sent events until the stream ends; a comment keeps a quiet one alive.
pub fn events(stream: impl Stream<Item = Event> + Send + 'static) -> Response {
    let stream = futures::StreamExt::map(stream, Ok::<Event, Infallible>);
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// An error as JSON.
pub fn error(status: StatusCode, message: &str) -> Response {
    json(status, &json!({ "error": message }))
}

/// 503, with progress and when to ask again.
pub fn unavailable(server: &Server) -> Response {
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, &server.progress.status());
    let seconds = HeaderValue::from(retry_after_s(server));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

/// When to ask again, seconds.
#[must_use]
pub fn retry_after_s(server: &Server) -> u64 {
    let status = server.progress.status();
    status.remaining_ms.unwrap_or(0).div_ceil(1_000).clamp(1, 60)
}
