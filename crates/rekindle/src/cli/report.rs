//! `report`: what the recovery of a running server found and did.

use std::fmt::Write as _;

use clap::Args;
use rekindle_recovery::exit;
use serde_json::Value;

use super::failure::Failure;
use super::output::Out;
use super::{Outcome, address, http};

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Address of the server's admin side (HTTP)
    #[arg(
        long,
        env = "REKINDLE_HTTP",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7610",
        value_parser = address
    )]
    http: String,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl ReportArgs {
    /// Where the admin side is.
    pub(super) fn address_mut(&mut self) -> &mut String {
        &mut self.http
    }
}

pub(super) fn run(args: &ReportArgs) -> Outcome {
    let report = latest(&args.http)?;
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
    let answer = http::get(address, "/v1/recoveries/latest")?;
    let said = String::from_utf8_lossy(&answer.body).trim().to_owned();
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::new(exit::REFUSED, format!("{address} answered no report: {error}"))
        }),
        503 => Err(Failure::new(exit::UNREACHABLE, format!("{address} is not ready: {said}"))),
        status => {
            Err(Failure::new(exit::REFUSED, format!("{address} answered status {status}: {said}")))
        }
    }
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
