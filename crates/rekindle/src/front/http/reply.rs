//! What routes answer: JSON, pages, events, and refusals.
//!
//! Invariant: every refusal is a [`Problem`], and says when to ask again where that is invited;
//! where the command line must end with another code than the status means, it carries that as
//! `exit_code`.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::Path;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use rekindle_database::Error as DatabaseError;
use rekindle_recovery::exit;
use serde::Serialize;

use super::problem::{Code, Problem};
use crate::progress::Status;
use crate::state::Server;

/// The media type of refusals.
pub const PROBLEM: &str = "application/problem+json";

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
        /// What kind of problem it is.
        code: Code,
        /// The status.
        status: StatusCode,
        /// For people.
        message: String,
        /// The exit code for the command line, where the status does not say it.
        exit: Option<i32>,
    },
    /// Not now: the server starts, or ends. Says how far it is and when to ask again.
    NotNow,
}

impl Refusal {
    /// A refusal with a reason.
    #[must_use]
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let code = Code::of(status);
        Self::Because { code, status, message: message.into(), exit: None }
    }

    /// A refusal of this kind, with the status that goes with it.
    #[must_use]
    pub fn of(code: Code, message: impl Into<String>) -> Self {
        Self::Because { code, status: code.status(), message: message.into(), exit: None }
    }

    /// A request that cannot be meant.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::of(Code::Invalid, message)
    }

    /// A refusal with the exit code that a command ends with.
    #[must_use]
    pub fn with_code(status: StatusCode, exit: i32, message: impl Into<String>) -> Self {
        let code = Code::of_exit(status, exit);
        Self::Because { code, status, message: message.into(), exit: Some(exit) }
    }

    /// The problem of one item of a request whose others may succeed.
    #[must_use]
    pub fn into_item(self) -> Problem {
        match self {
            Self::Because { code, status, message, exit } => {
                Problem::new(code, status, &message, exit)
            }
            Self::NotNow => {
                let code = Code::Unavailable;
                Problem::new(code, code.status(), "the server does not serve now", None)
            }
        }
    }

    /// The damage that was met, where that is why a server that serves cannot answer.
    pub(super) fn damage(&self) -> Option<&str> {
        const STATUS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        match self {
            Self::Because { status: STATUS, message, exit: Some(exit::CORRUPT), .. } => {
                Some(message)
            }
            _ => None,
        }
    }

    /// As an answer of this server.
    #[must_use]
    pub fn response(self, server: &Server) -> Response {
        match self {
            Self::Because { code, status, message, exit } => {
                problem(status, code.retry_after_s(), &Problem::new(code, status, &message, exit))
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
        let (code, exit) = match fault.kind() {
            Kind::NotFound => (Code::NotFound, None),
            Kind::Invalid => (Code::Invalid, None),
            Kind::Conflict => (Code::Conflict, None),
            Kind::Exists => (Code::Exists, None),
            Kind::Fenced => (Code::Fenced, None),
            Kind::Compacted => (Code::Compacted, None),
            Kind::Full if fault.is_no_room() => (Code::NoSpace, None),
            Kind::Full => (Code::Full, None),
            Kind::Retry => (Code::Retry, None),
            // Nothing was done, and the process restarts within a second.
            Kind::Poisoned => (Code::Unavailable, None),
            Kind::Corrupt => (Code::Corrupt, Some(exit::CORRUPT)),
            Kind::Unknown => (Code::Unknown, Some(exit::UNKNOWN)),
            Kind::Io => (Code::Io, Some(exit::IO)),
        };
        let message = fault.message().to_owned();
        Self::Because { code, status: code.status(), message, exit }
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

/// A refusal that needs nothing of the server.
pub fn error(status: StatusCode, message: &str) -> Response {
    let code = Code::of(status);
    problem(status, code.retry_after_s(), &Problem::new(code, status, message, None))
}

/// A problem, and the seconds after which to ask again.
fn problem(status: StatusCode, again_s: Option<u64>, problem: &impl Serialize) -> Response {
    let mut response = json(status, problem);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    if let Some(seconds) = again_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A refusal for now, with how far the server is.
#[derive(Serialize)]
struct NotNow {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    progress: Status,
}

/// 503, with progress and when to ask again.
pub fn unavailable(server: &Server) -> Response {
    let (code, progress) = (Code::Unavailable, server.progress.status());
    let stage = serde_json::to_value(progress.stage).unwrap_or_default();
    let stage = stage.as_str().unwrap_or("unknown");
    let detail = format!("the server does not serve this now; its stage is {stage:?}");
    let body = NotNow { problem: Problem::new(code, code.status(), &detail, None), progress };
    problem(code.status(), Some(retry_after_s(server)), &body)
}

/// When to ask again, seconds.
#[must_use]
pub fn retry_after_s(server: &Server) -> u64 {
    let status = server.progress.status();
    status.remaining_ms.unwrap_or(0).div_ceil(1_000).clamp(1, 60)
}
