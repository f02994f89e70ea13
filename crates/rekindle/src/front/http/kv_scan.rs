//! `GET /v1/kv`: a page of keys, and the cursor that leads to the next.
//!
//! Invariants: all pages of one scan are read at the version of its first; a cursor says only where
//! the scan goes on and at which version, so a caller repeats the other parameters with it.
//!
//! ```text
//! cursor (base64url of): 0x01 | version: 8 bytes, big-endian | the last key
//! ```

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rekindle_services::keys::user::behind;
use rekindle_services::kv::{Page, ScanRequest};
use rekindle_services::limits::KV_SCAN_ROWS_MAX;
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::serving;
use super::kv::{AGENT, APP, AT_VERSION, EntryView, RUN, TENANT, TYPE, scope};
use super::operation::{Given, Operation, Parameter, of};
use super::payload::{self, ENCODING};
use super::problem::Code;
use super::reply::{Refusal, ok};
use super::request::Asked;
use super::route::Working;
use crate::state::Server;

/// Rows of a page whose length nobody asked for.
const PAGE: usize = 100;
/// The form of a cursor.
const FORM: u8 = 1;

/// A page of keys.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EntriesPage {
    /// In order.
    rows: Vec<EntryView>,
    /// The version that was read.
    version: u64,
    /// Whether more follow.
    more: bool,
    /// What to give as `cursor` for the next page.
    next: Option<String>,
}

pub(super) const SCAN: Operation = Operation {
    id: "scanKeys",
    tag: "kv",
    summary: "A page of keys, in their order.",
    about: "From `start` up to `end`, or all that begin with `prefix`. For the next page repeat \
            the request with `cursor`: all pages are read at the version of the first. A page ends \
            after 2 MiB.",
    parameters: &[
        Parameter::text("prefix", "Only keys that begin so; instead of `start` and `end`.")
            .such_as("col"),
        Parameter::text("start", "The first key."),
        Parameter::text("end", "The end of the keys, itself not included."),
        ENCODING,
        Parameter::number("limit", 1, KV_SCAN_ROWS_MAX as u64, "The most rows of the page (100)."),
        Parameter::flag("reverse", "From the last key to the first."),
        Parameter::flag("keys_only", "Without values."),
        AT_VERSION,
        Parameter::text("cursor", "Where an earlier page ended: its `next`."),
        TENANT,
        APP,
        AGENT,
        RUN,
        TYPE,
    ],
    takes: None,
    answers: &[Given::ok("The page.", of::<EntriesPage>())],
    refuses: &[Code::Compacted],
    once: false,
};

/// GET `/v1/kv`.
pub(super) fn scan(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let scope = scope(&asked)?;
        let (mut start, mut end) = range(&asked)?;
        let limit = asked.limit(KV_SCAN_ROWS_MAX, PAGE)?;
        let (reverse, keys_only) = (asked.flag("reverse")?, asked.flag("keys_only")?);
        let mut at_version = asked.number_if_any("at_version", 0..=u64::MAX)?;
        if let Some(cursor) = asked.text("cursor") {
            let (version, last) = parse(cursor)?;
            if at_version.is_some_and(|asked| asked != version) {
                let message = "at_version is not that of the cursor; leave it out";
                return Err(Refusal::invalid(message));
            }
            at_version = Some(version);
            match reverse {
                true if end.is_empty() || last < end => end = last,
                // The smallest key behind the last one.
                false if last >= start => start = [&last[..], &[0]].concat(),
                true | false => {}
            }
        }
        let kv = serving(&server)?.services.kv();
        kv.settled().await?;
        let asked_for =
            ScanRequest { start: &start, end: &end, limit, reverse, at_version, keys_only };
        let page = kv.scan(&scope, &asked_for)?;
        let rows = page.rows.iter().map(|entry| EntryView::of(entry, !keys_only)).collect();
        let Page { version, more, .. } = page;
        let last = page.rows.last().filter(|_| more);
        let next = last.map(|entry| cursor(version, &entry.key));
        ok(&EntriesPage { rows, version, more, next })
    })
}

/// From where to where.
fn range(asked: &Asked) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let start = payload::key(asked, "start")?;
    let end = payload::key(asked, "end")?;
    match payload::key(asked, "prefix")? {
        Some(_) if start.is_some() || end.is_some() => {
            Err(Refusal::invalid("prefix stands beside start or end; give one or the other"))
        }
        Some(prefix) => {
            let end = behind(&prefix);
            Ok((prefix, end))
        }
        None => Ok((start.unwrap_or_default(), end.unwrap_or_default())),
    }
}

/// Where the page behind this key begins.
fn cursor(version: u64, last: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&[FORM][..], &version.to_be_bytes(), last].concat())
}

/// The version and the last key.
fn parse(cursor: &str) -> Result<(u64, Vec<u8>), Refusal> {
    let parse = || {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (form, rest) = bytes.split_first()?;
        let (version, last) = rest.split_first_chunk::<8>()?;
        (*form == FORM).then(|| (u64::from_be_bytes(*version), last.to_vec()))
    };
    let message = "this is no cursor; give `next` of an earlier page as it was";
    parse().ok_or_else(|| Refusal::invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cursor is what it was made of, and nothing else is one.
    #[test]
    fn cursors_round_trip() {
        for (version, last) in [(0, &b""[..]), (7, b"k"), (u64::MAX, &[0xFF, 0x00, b'/'])] {
            assert_eq!(parse(&cursor(version, last)), Ok((version, last.to_vec())));
        }
        for wrong in ["", "AQ", "AgAAAAAAAAAAaw", "AQAAAAAAAAAA=", "é", "AQAAAAAAAA"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
