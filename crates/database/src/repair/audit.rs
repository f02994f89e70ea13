//! What is written down with an accepted loss: in its records, and beside the originals. JSON.

use std::fmt::Write as _;

use rekindle_recovery::Finding;

use super::{PlannedLoss, RepairOptions};
use crate::codec::NOTHING_LOST;

/// Most findings that are listed; all are counted.
const FINDINGS_MAX: usize = 100;

/// The text of the record that says only that a repair was done.
pub(super) fn of_nothing(text: &[u8]) -> Vec<u8> {
    [NOTHING_LOST, text.get(1..).unwrap_or_default()].concat()
}

/// The text of a record that stands for a loss, or for a piece of it: with the whole of it.
pub(super) fn of_loss(text: &[u8], loss: &PlannedLoss) -> Vec<u8> {
    let PlannedLoss { from_position, to_position, next_version, .. } = loss;
    let whole = format!(
        "{{\"from_position\":{from_position},\"to_position\":{to_position},\
         \"next_version\":{next_version},"
    );
    [whole.as_bytes(), text.get(1..).unwrap_or_default()].concat()
}

/// The audit text, one object.
pub(super) fn text(options: &RepairOptions, wall_ms: u64, findings: &[Finding]) -> Vec<u8> {
    let mut text = String::from("{");
    for (name, value) in
        [("who", &options.who), ("reason", &options.reason), ("program", &options.program)]
    {
        let _ = write!(text, "\"{name}\":{},", quoted(value));
    }
    let _ = write!(text, "\"wall_ms\":{wall_ms},\"findings\":[");
    for (at, finding) in findings.iter().take(FINDINGS_MAX).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let place = &finding.place;
        let _ = write!(
            text,
            "{comma}{{\"label\":{},\"file\":{},\"offset\":{},\"from\":{},\"to\":{},\
             \"expected\":{},\"found\":{}}}",
            quoted(finding.label.0),
            quoted(&place.file),
            place.offset,
            place.from,
            place.to,
            quoted(&finding.expected),
            quoted(&finding.found)
        );
    }
    let _ = write!(text, "],\"findings_total\":{}}}", findings.len());
    text.into_bytes()
}

/// A string of JSON.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
