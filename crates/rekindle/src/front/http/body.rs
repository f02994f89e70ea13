//! The body of a request: what it must be, and reading it within bounds.
//!
//! Invariants: a body is read only for who may send it, up to the bytes of its kind of route and
//! for at most [`BODY_TIMEOUT`]; what is work counts its bytes in flight as they arrive; a form is
//! handed over only with this process's [`FormToken`]; JSON is looked at for its depth before
//! anything parses it.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use futures::StreamExt as _;

use super::problem::Code;
use super::reply::Refusal;
use super::request::Parameters;
use super::token::FormToken;
use crate::front::budget::Flight;
use crate::front::limits::{BODY_TIMEOUT, JSON_DEPTH_MAX};

/// Bytes of a body that is too large which are read and thrown away: a caller that writes before it
/// reads would not hear the refusal otherwise.
const DISCARDED_BYTES_MAX: usize = 8 << 20;
/// And for how long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// What the body of a request must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It is not looked at.
    Nothing,
    /// JSON; `Content-Type: application/json`.
    Json,
    /// The fields of an HTML form, with the token.
    Form,
}

/// A body that was read.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) json: Bytes,
    pub(super) form: Parameters,
}

/// Within what a body is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    /// The most bytes.
    pub(super) bytes: usize,
    /// What counts them, where they are those of work.
    pub(super) flight: Option<&'a Flight>,
}

impl Takes {
    /// The media type that says so.
    const fn media_type(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Json => Some("application/json"),
            Self::Form => Some("application/x-www-form-urlencoded"),
        }
    }

    /// Reads the body of a request.
    pub(super) async fn read(
        self,
        headers: &HeaderMap,
        body: Body,
        bounds: Bounds<'_>,
        token: &FormToken,
    ) -> Result<Content, Refusal> {
        let Some(expected) = self.media_type() else { return Ok(Content::default()) };
        let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|text| text.split(';').next()).unwrap_or("").trim();
        if !sent.eq_ignore_ascii_case(expected) {
            let message = format!("this takes a body with Content-Type: {expected}");
            return Err(Refusal::of(Code::UnsupportedMediaType, message));
        }
        // Who waits to be told to go on does not send what is refused now.
        if headers.contains_key(header::EXPECT) {
            let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            let told = told.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
            bounds.check_size(told)?;
        }
        let mut chunks = body.into_data_stream();
        let Ok(bytes) = tokio::time::timeout(BODY_TIMEOUT, collect(&mut chunks, bounds)).await
        else {
            let message = "the request's body did not arrive in time";
            return Err(Refusal::of(Code::Timeout, message));
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(refusal) => {
                let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(&mut chunks)).await;
                return Err(refusal);
            }
        };
        match self {
            Self::Form => Ok(Content { json: Bytes::new(), form: form(&bytes, token)? }),
            Self::Json | Self::Nothing => {
                check_depth(&bytes)?;
                Ok(Content { json: bytes, form: Parameters::new() })
            }
        }
    }
}

impl Bounds<'_> {
    fn check_size(self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let message = format!("the request's body has more than {} bytes", self.bytes);
        Err(Refusal::of(Code::TooLarge, message))
    }

    /// Counts bytes that arrived.
    fn take(self, bytes: usize) -> Result<(), Refusal> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.flight.is_none_or(|flight| flight.take(bytes)) {
            return Ok(());
        }
        let message = "too many bytes of requests are in flight; wait for answers, then try again";
        Err(Refusal::of(Code::Retry, message))
    }
}

/// All bytes of a body, up to the bound.
async fn collect(chunks: &mut BodyDataStream, bounds: Bounds<'_>) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Refusal::invalid(format!("the request's body did not arrive: {error}"))
        })?;
        bounds.check_size(bytes.len() + chunk.len())?;
        bounds.take(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// Reads on and keeps nothing.
async fn discard(chunks: &mut BodyDataStream) {
    let mut bytes: usize = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        bytes = bytes.saturating_add(chunk.len());
        if bytes > DISCARDED_BYTES_MAX {
            return;
        }
    }
}

/// The fields of a form with our token.
fn form(bytes: &[u8], token: &FormToken) -> Result<Parameters, Refusal> {
    let form = fields(bytes)?;
    if form.get(FormToken::FIELD).is_some_and(|given| token.is(given)) {
        return Ok(form);
    }
    let message = "this form was made by another page or another run of the server; load the page \
                   again";
    Err(Refusal::of(Code::Forbidden, message))
}

/// The fields of a form. One that stands twice means something else to everybody who reads it.
fn fields(bytes: &[u8]) -> Result<Parameters, Refusal> {
    let mut fields = Parameters::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        let message = format!("the field {name:?} stands twice");
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Refusal::invalid(message));
        }
    }
    Ok(fields)
}

/// Refuses JSON whose objects and lists stand deeper in each other than they may. What is no JSON
/// is left to the parser.
fn check_depth(json: &[u8]) -> Result<(), Refusal> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    let message = format!(
                        "the request's body is JSON that is nested deeper than {JSON_DEPTH_MAX}"
                    );
                    return Err(Refusal::invalid(message));
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the limit JSON may be nested, above it not; what stands in texts is no nesting.
    #[test]
    fn json_has_a_depth() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check_depth(nested(JSON_DEPTH_MAX).as_bytes()), Ok(()));
        assert!(check_depth(nested(JSON_DEPTH_MAX + 1).as_bytes()).is_err());
        let objects = "{\"a\":".repeat(JSON_DEPTH_MAX + 1);
        assert!(check_depth(objects.as_bytes()).is_err());
        let wide = "[{}],".repeat(JSON_DEPTH_MAX * 2);
        assert_eq!(check_depth(wide.as_bytes()), Ok(()));
        let text = format!("\"\\\"{}\\\\\"", "[".repeat(JSON_DEPTH_MAX * 2));
        assert_eq!(check_depth(text.as_bytes()), Ok(()));
        let behind = format!("\"\\\\\"{}", "[".repeat(JSON_DEPTH_MAX + 1));
        assert!(check_depth(behind.as_bytes()).is_err(), "the text ended");
    }
}
