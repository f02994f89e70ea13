//! `report`: what the recovery of a running server found and did.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::Outcome;
use super::failure::Failure;
use super::http::{self, Admin};
use super::output::Out;

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReportArgs) -> Outcome {
    let report = latest(args.admin.address())?;
    let mut out = Out::new();
    if args.json {
        out.json(&report)?;
    } else {
        out.line(&text(&report))?;
    }
    out.flush()?;
    Ok(0)
}

/// The report of the newest recovery of the server at this address.
pub(super) fn latest(address: &str) -> Result<Value, Failure> {
    http::get(address, "/v1/recoveries/latest")?.value()
}

/// The report for people.
pub(super) fn text(report: &Value) -> String {
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!(
        "recovery of run {}: code {}, {}.{:03} ms",
        number("incarnation"),
        number("code"),
        number("micros") / 1_000,
        number("micros") % 1_000
    );
    let list = |name: &str| report.get(name).and_then(Value::as_array).into_iter().flatten();
    for finding in list("findings").chain(list("notes")) {
        let word = |name: &str| finding.get(name).and_then(Value::as_str).unwrap_or("-");
        let _ = write!(
            text,
            "\n  {} {} {} at {}: expected {}, found {}",
            word("label"),
            word("verdict"),
            word("file"),
            finding.get("offset").and_then(Value::as_u64).unwrap_or(0),
            word("expected"),
            word("found")
        );
    }
    for layer in list("layers") {
        let name = layer.get("layer").and_then(Value::as_str).unwrap_or("-");
        let figures = layer.get("figures").and_then(Value::as_object).into_iter().flatten();
        let figures: Vec<String> =
            figures.map(|(figure, value)| format!("{figure} {value}")).collect();
        if !figures.is_empty() {
            let _ = write!(text, "\n  {name}: {}", figures.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_read_findings_and_figures() {
        let report = json!({
            "code": 3, "incarnation": 7, "micros": 12_005,
            "findings": [{
                "label": "journal-3", "verdict": "torn", "file": "shards/0/journal/1", "offset": 64,
                "expected": "a frame", "found": "zeros"
            }],
            "notes": [],
            "layers": [{"layer": "journal", "figures": {"bytes_cut": 312}}, {"layer": "queues"}],
        });
        assert_eq!(
            text(&report),
            "recovery of run 7: code 3, 12.005 ms\n  \
             journal-3 torn shards/0/journal/1 at 64: expected a frame, found zeros\n  \
             journal: bytes_cut 312"
        );
    }
}
