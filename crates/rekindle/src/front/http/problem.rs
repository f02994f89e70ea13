//! What a refusal is as JSON: a problem of RFC 9457 with a stable code and what to do about it.
//!
//! Invariants: codes and their statuses never change their meaning, programs rely on them; `detail`
//! is for people and free to change; every code stands in [`Code::ALL`], and so on the page of the
//! interface.

use axum::http::StatusCode;
use rekindle_recovery::exit;
use schemars::JsonSchema;
use serde::Serialize;

/// Longest `detail`, bytes: what a caller sent is repeated in part only.
const DETAIL_BYTES_MAX: usize = 2_000;

/// What went wrong, as programs tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ProblemCode")]
pub enum Code {
    /// The request can never succeed as it is.
    Invalid,
    /// The caller may not do this, or the request names another server.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    Timeout,
    /// What was expected is not so.
    Conflict,
    /// It is there already, and differently.
    Exists,
    /// The token is not the current one.
    Fenced,
    /// The past that was asked for is not kept any more.
    Compacted,
    /// The body, or a part of it, is above a limit of size.
    TooLarge,
    /// The body is of another media type than the route takes.
    UnsupportedMediaType,
    /// Another process has the directory.
    Locked,
    /// There are as many as there may be.
    Full,
    /// The stored bytes that would answer this are damaged.
    Corrupt,
    /// The machine refused an operation.
    Io,
    /// A defect of the server.
    Internal,
    /// Nothing was done; the same request may succeed in a moment.
    Retry,
    /// Whether it was done cannot be told.
    Unknown,
    /// The server starts, ends, or serves something else.
    Unavailable,
    /// The store has no room, in memory or on disk.
    NoSpace,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Invalid,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::Exists,
        Self::Fenced,
        Self::Compacted,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Locked,
        Self::Full,
        Self::Corrupt,
        Self::Io,
        Self::Internal,
        Self::Retry,
        Self::Unknown,
        Self::Unavailable,
        Self::NoSpace,
    ];

    /// The word in `code`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// What it is called.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// What to do about it.
    #[must_use]
    pub const fn action(self) -> &'static str {
        self.row().3
    }

    /// Word, status, title, action.
    const fn row(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        use StatusCode as Is;
        match self {
            Self::Invalid => (
                "invalid",
                Is::BAD_REQUEST,
                "The request cannot be meant",
                "Correct the request as `detail` says; repeating it as it is helps nothing.",
            ),
            Self::Forbidden => (
                "forbidden",
                Is::FORBIDDEN,
                "The caller may not do this",
                "Ask by address or as localhost, with the permission that the route needs.",
            ),
            Self::NotFound => (
                "not_found",
                Is::NOT_FOUND,
                "There is no such thing",
                "Check the name, or create it first.",
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                Is::METHOD_NOT_ALLOWED,
                "The path has no such method",
                "Use one of the methods in the header Allow.",
            ),
            Self::Timeout => (
                "timeout",
                Is::REQUEST_TIMEOUT,
                "The body did not arrive in time",
                "Nothing was done. Send the request again, and its body without pauses.",
            ),
            Self::Conflict => (
                "conflict",
                Is::CONFLICT,
                "It is not as it was expected to be",
                "Nothing was done. Look at how it is now, decide anew, and ask for that.",
            ),
            Self::Exists => (
                "exists",
                Is::CONFLICT,
                "It is there already, and differently",
                "Nothing was done. Use it as it is, or choose another name.",
            ),
            Self::Fenced => (
                "fenced",
                Is::CONFLICT,
                "The token is not the current one",
                "Drop the work: its lease ran out, and it was granted again or is finished.",
            ),
            Self::Compacted => (
                "compacted",
                Is::CONFLICT,
                "That past is not kept any more",
                "Read without a version, or begin the pages anew without the cursor.",
            ),
            Self::TooLarge => (
                "too_large",
                Is::PAYLOAD_TOO_LARGE,
                "It is above a limit of size",
                "Nothing was done. Send less at once; GET /v1/limits has the limits.",
            ),
            _ => self.row_of_others(),
        }
    }

    /// The same, of media types and of what is not the caller's mistake.
    const fn row_of_others(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        use StatusCode as Is;
        match self {
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                Is::UNSUPPORTED_MEDIA_TYPE,
                "The body is of another media type",
                "Send the header Content-Type: application/json with a body of JSON.",
            ),
            Self::Locked => (
                "locked",
                Is::LOCKED,
                "Another process has the directory",
                "Nothing was done. End that process, then ask again.",
            ),
            Self::Full => (
                "full",
                Is::TOO_MANY_REQUESTS,
                "There are as many as there may be",
                "Nothing was done. Remove what is not needed, or ask again later.",
            ),
            Self::Corrupt => (
                "corrupt",
                Is::INTERNAL_SERVER_ERROR,
                "Stored bytes are damaged",
                "Look at /v1/alerts and the recovery report; asking again helps nothing.",
            ),
            Self::Io => (
                "io",
                Is::INTERNAL_SERVER_ERROR,
                "The machine refused an operation",
                "Look at the server's log and its disk, then ask again.",
            ),
            Self::Retry => (
                "retry",
                Is::SERVICE_UNAVAILABLE,
                "Not at this moment",
                "Nothing was done. Send the same request again after Retry-After.",
            ),
            Self::Unknown => (
                "unknown",
                Is::SERVICE_UNAVAILABLE,
                "Whether it was done cannot be told",
                "Repeat it only with the Idempotency-Key that it had; otherwise look first.",
            ),
            Self::Unavailable => (
                "unavailable",
                Is::SERVICE_UNAVAILABLE,
                "The server does not serve this now",
                "Nothing was done. Ask again after Retry-After; GET /readyz says how far it is.",
            ),
            Self::NoSpace => (
                "no_space",
                Is::INSUFFICIENT_STORAGE,
                "The store has no room",
                "Nothing was done. Receive, ack and delete go on; make room, then send again.",
            ),
            _ => (
                "internal",
                Is::INTERNAL_SERVER_ERROR,
                "The server failed",
                "Look at the server's log, and report it.",
            ),
        }
    }

    /// The code of a status, where nothing more is known.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Self::Internal,
            _ => Self::ALL
                .into_iter()
                .find(|code| code.status() == status)
                .unwrap_or(if status.is_client_error() { Self::Invalid } else { Self::Internal }),
        }
    }

    /// The code of a status and the exit code that a command ends with.
    #[must_use]
    pub fn of_exit(status: StatusCode, code: i32) -> Self {
        match (status, code) {
            (StatusCode::INTERNAL_SERVER_ERROR, exit::CORRUPT) => Self::Corrupt,
            (StatusCode::INTERNAL_SERVER_ERROR, exit::IO) => Self::Io,
            (_, exit::UNKNOWN) => Self::Unknown,
            _ => Self::of(status),
        }
    }

    /// Seconds after which the same request may be sent again, where that is invited.
    #[must_use]
    pub const fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::Retry | Self::Unavailable => Some(1),
            _ => None,
        }
    }
}

/// A refusal (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// Where this kind of problem is explained: a place on this server.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What happened, for people; free to change.
    detail: String,
    /// What happened, for programs; stable.
    code: Code,
    /// What to do about it.
    action: &'static str,
    /// The same as `detail`.
    error: String,
    /// The code with which the command line ends, where the status does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(code: Code, status: StatusCode, detail: &str, exit_code: Option<i32>) -> Self {
        let detail = shortened(detail);
        Self {
            kind: format!("/ui/api#{}", code.as_str()),
            title: code.title(),
            status: status.as_u16(),
            error: detail.clone(),
            detail,
            code,
            action: code.action(),
            exit_code,
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }
}

/// The beginning of a text that is too long.
fn shortened(text: &str) -> String {
    if text.len() <= DETAIL_BYTES_MAX {
        return text.to_owned();
    }
    let kept = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= DETAIL_BYTES_MAX);
    let end = kept.last().unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code has a word of its own, the word that is serialized, a status and an action.
    #[test]
    fn codes_are_words() {
        let mut words: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        for code in Code::ALL {
            assert_eq!(serde_json::json!(code), code.as_str());
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(code.action().ends_with('.') && !code.title().is_empty(), "{code:?}");
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        // The last row is that of all others: none may have slipped into it.
        let internal = Code::ALL.iter().filter(|code| code.as_str() == "internal");
        assert_eq!(internal.count(), 1);
    }

    /// What is told only by its status has the code that says the least.
    #[test]
    fn statuses_have_codes() {
        for (status, code) in [
            (400, Code::Invalid),
            (403, Code::Forbidden),
            (404, Code::NotFound),
            (408, Code::Timeout),
            (409, Code::Conflict),
            (413, Code::TooLarge),
            (418, Code::Invalid),
            (423, Code::Locked),
            (429, Code::Full),
            (500, Code::Internal),
            (503, Code::Unavailable),
            (507, Code::NoSpace),
        ] {
            assert_eq!(Code::of(StatusCode::from_u16(status).expect("valid")), code, "{status}");
        }
    }

    /// What a caller sent is not sent back whole.
    #[test]
    fn details_have_a_length() {
        let long = "é".repeat(DETAIL_BYTES_MAX);
        let problem = Problem::new(Code::Invalid, StatusCode::BAD_REQUEST, &long, None);
        assert!(problem.detail.len() <= DETAIL_BYTES_MAX + 4 && problem.detail.ends_with('…'));
    }
}
