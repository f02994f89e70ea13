//! What a route is handed: the parameters of a request, its body, and who asks.
//!
//! Invariants: what a parameter means is checked here, in one way for all routes; the bytes of a
//! request stay in flight for as long as this does.

use std::collections::HashMap;
use std::net::IpAddr;

use rekindle_services::Identity;
use rekindle_services::limits::RECEIVE_MESSAGES_MAX;
use serde::de::DeserializeOwned;

use super::body::Content;
use super::object::Object;
use super::reply::Refusal;
use crate::front::budget::Flight;
use crate::front::limits::LONG_POLL_MS_MAX;

/// How many claims a body asks for (1 where it does not say), and how many milliseconds it would
/// wait for the first of them (0): within the bounds of both fronts, else refused.
pub(super) fn how_many_and_how_long(
    max: Option<u64>,
    wait_ms: Option<u64>,
) -> Result<(usize, u64), Refusal> {
    let max = usize::try_from(max.unwrap_or(1)).unwrap_or(usize::MAX);
    if !(1..=RECEIVE_MESSAGES_MAX).contains(&max) {
        let message = format!("max is {max}; 1 to {RECEIVE_MESSAGES_MAX} may be");
        return Err(Refusal::invalid(message));
    }
    let wait_ms = wait_ms.unwrap_or(0);
    if wait_ms > LONG_POLL_MS_MAX {
        let message = format!("wait_ms is {wait_ms}; at most {LONG_POLL_MS_MAX} may be");
        return Err(Refusal::invalid(message));
    }
    Ok((max, wait_ms))
}

/// Names and their values.
pub type Parameters = HashMap<String, String>;

/// Who asks, and what the request holds of the server.
#[derive(Debug, Default)]
pub(super) struct Caller {
    /// From where, where that is known.
    pub(super) address: Option<IpAddr>,
    /// The identity of the request, where its route takes one.
    pub(super) identity: Option<Identity>,
    /// The bytes of work in flight; given back when the request is answered.
    pub(super) _flight: Option<Flight>,
}

/// A request as a route's answer sees it.
#[derive(Debug, Default)]
pub struct Asked {
    parameters: Parameters,
    content: Content,
    caller: Caller,
}

impl Asked {
    /// A request with the parameters of its path and its query, its body, and who asks.
    pub(super) fn new(parameters: Parameters, content: Content, caller: Caller) -> Self {
        Self { parameters, content, caller }
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
        Ok(self.number_if_any(name, range)?.unwrap_or(otherwise))
    }

    /// A parameter that is a number in a range, where it is given.
    pub fn number_if_any(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            Refusal::invalid(format!("{name} is not a whole number from {least} to {most}"))
        })
    }

    /// The length of a page: `limit`, from 1 to `most`, or `otherwise`.
    pub fn limit(&self, most: usize, otherwise: usize) -> Result<usize, Refusal> {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let limit = self.number_if_any("limit", 1..=most)?;
        Ok(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(otherwise))
    }

    /// A parameter that is `true` or `false`; false where it is not given.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::invalid(format!("{name} is neither true nor false"))),
        }
    }

    /// The body, which is a JSON object of this shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.content.json).map(|Object(value)| value).map_err(|error| {
            Refusal::invalid(format!("the request's body is not what this takes: {error}"))
        })
    }

    /// A field of the form.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.content.form.get(name).map(String::as_str)
    }

    /// The identity with which this request may be repeated.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.caller.identity
    }

    /// Who asks, for the audit log.
    #[must_use]
    pub fn who(&self) -> String {
        self.caller.address.map_or_else(|| "http".to_owned(), |from| format!("http {from}"))
    }
}
