//! What a route is handed: the parameters of a request and its body, read within bounds.
//!
//! Invariants: a body is read only for who may send it, up to [`BODY_BYTES_MAX`] bytes and for at
//! most [`BODY_TIMEOUT`]; a form is handed over only with this process's [`FormToken`].

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::reply::Refusal;
use super::token::FormToken;
use crate::front::limits::{BODY_TIMEOUT, HTTP_BODY_BYTES_MAX as BODY_BYTES_MAX};

/// Names and their values.
pub type Parameters = HashMap<String, String>;

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
        token: &FormToken,
    ) -> Result<Content, Refusal> {
        let Some(expected) = self.media_type() else { return Ok(Content::default()) };
        let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|text| text.split(';').next()).unwrap_or("").trim();
        if !sent.eq_ignore_ascii_case(expected) {
            let message = format!("this takes a body with Content-Type: {expected}");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let Ok(bytes) = tokio::time::timeout(BODY_TIMEOUT, collect(body)).await else {
            let message = "the request's body did not arrive in time";
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message));
        };
        let json = bytes?;
        if self == Self::Json {
            return Ok(Content { json, form: Parameters::new() });
        }
        let form = fields(&json)?;
        if !form.get(FormToken::FIELD).is_some_and(|given| token.is(given)) {
            let message = "this form was made by another page or another run of the server; load \
                           the page again";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        Ok(Content { json: Bytes::new(), form })
    }
}

/// All bytes of a body, up to the bound.
async fn collect(body: Body) -> Result<Bytes, Refusal> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            let message = format!("the request's body did not arrive: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            let message = format!("the request's body has more than {BODY_BYTES_MAX} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// The fields of a form. One that stands twice means something else to everybody who reads it.
fn fields(bytes: &[u8]) -> Result<Parameters, Refusal> {
    let mut fields = Parameters::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        let message = format!("the field {name:?} stands twice");
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
    }
    Ok(fields)
}

/// A body that was read.
#[derive(Debug, Default)]
pub(super) struct Content {
    json: Bytes,
    form: Parameters,
}

/// A request as a route's answer sees it.
#[derive(Debug, Default)]
pub struct Asked {
    parameters: Parameters,
    content: Content,
}

impl Asked {
    /// A request with the parameters of its path and its query, and its body.
    pub(super) fn new(parameters: Parameters, content: Content) -> Self {
        Self { parameters, content }
    }

    /// A parameter of the path or the query.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// A parameter that is a number in a range; `otherwise` where it is not given.
    pub fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
        otherwise: u64,
    ) -> Result<u64, Refusal> {
        let Some(text) = self.text(name) else { return Ok(otherwise) };
        let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            let message = format!("{name} is not a whole number from {least} to {most}");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })
    }

    /// The body, which is JSON of this shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.content.json).map_err(|error| {
            let message = format!("the request's body is not what this takes: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })
    }

    /// A field of the form.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.content.form.get(name).map(String::as_str)
    }
}
