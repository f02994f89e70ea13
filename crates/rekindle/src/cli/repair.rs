//! `repair`: goes on without ranges of the journal whose loss an operator accepts.
//!
//! Invariant: what is given up is exactly what was named; without that the command changes no byte.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use rekindle_database::{PlannedLoss, Repair, RepairOptions};
use rekindle_env::Env;
use serde::Serialize;

use super::Outcome;
use super::output::{Out, say};

#[derive(Args, Debug)]
pub(super) struct RepairArgs {
    /// The store's directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Log addresses whose loss is accepted, TO not included, as `verify --json` prints `from` and
    /// `to` of a corrupt finding; once for each
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    accept_loss: Vec<Range<u64>>,
    /// Why; kept in the journal and beside the originals
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Say what would be done and what would be lost; change nothing
    #[arg(long)]
    plan: bool,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// FROM..TO.
fn range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| {
        let range: Range<u64> = from.parse().ok()?..to.parse().ok()?;
        (range.start < range.end).then_some(range)
    });
    parsed.ok_or_else(|| "expected FROM..TO, such as 4096..8192".to_owned())
}

#[derive(Serialize)]
struct Done<'a> {
    planned: bool,
    version: u64,
    accepted: Vec<Accepted<'a>>,
    losses: Vec<Loss>,
    discarded: &'a [String],
    replaced: &'a [u64],
    segments: &'a [u64],
    records: u64,
    kept: &'a str,
}

#[derive(Serialize)]
struct Accepted<'a> {
    label: &'a str,
    file: &'a str,
    from: u64,
    to: u64,
}

#[derive(Serialize)]
struct Loss {
    from: u64,
    to: u64,
    from_position: u64,
    to_position: u64,
    from_version: u64,
    next_version: u64,
    exact: bool,
}

impl From<&PlannedLoss> for Loss {
    fn from(loss: &PlannedLoss) -> Self {
        Self {
            from: loss.from_lsn,
            to: loss.end_lsn,
            from_position: loss.from_position,
            to_position: loss.to_position,
            from_version: loss.from_version,
            next_version: loss.next_version,
            exact: loss.exact,
        }
    }
}

pub(super) fn run(args: &RepairArgs) -> Outcome {
    let options = RepairOptions {
        accept: args.accept_loss.clone(),
        who: who(),
        reason: args.reason.clone(),
        program: format!("rekindle {}", env!("CARGO_PKG_VERSION")),
    };
    let env = Env::real();
    let done = if args.plan {
        rekindle_database::plan_repair(&args.data, &options, &env)?
    } else {
        rekindle_database::repair(&args.data, &options, &env)?
    };
    let mut out = Out::new();
    if args.json {
        out.json(&shown(&done, args.plan))?;
    } else {
        text(&done, args.plan).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    if !args.plan {
        say("repaired; 'rekindle verify' checks it, 'rekindle serve' goes on with it");
    }
    Ok(0)
}

/// Who runs this, as far as the environment says.
fn who() -> String {
    let names =
        ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|it| std::env::var(it).ok());
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

fn shown(done: &Repair, planned: bool) -> Done<'_> {
    let accepted = done.findings.iter().map(|finding| Accepted {
        label: finding.label.0,
        file: &finding.place.file,
        from: finding.place.from,
        to: finding.place.to,
    });
    Done {
        planned,
        version: done.version,
        accepted: accepted.collect(),
        losses: done.losses.iter().map(Loss::from).collect(),
        discarded: &done.discarded,
        replaced: &done.replaced,
        segments: &done.segments,
        records: done.records,
        kept: &done.kept,
    }
}

fn text(done: &Repair, planned: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &done.findings {
        lines.push(format!("accepted: {finding}"));
    }
    let would = if planned { "would be lost" } else { "lost" };
    for loss in &done.losses {
        let (from, to) = (loss.from_position, loss.to_position);
        let bound = if loss.exact { "" } else { " at most (the end is gone)" };
        let versions = match loss.next_version.checked_sub(1) {
            Some(last) if last >= loss.from_version => {
                format!("versions {}..={last}", loss.from_version)
            }
            _ => "no version".to_owned(),
        };
        lines.push(format!("{would}: positions {from}..={to}, {versions}{bound}"));
    }
    if done.losses.is_empty() {
        lines.push("the damaged ranges held no record that is not elsewhere".to_owned());
    }
    lines.extend(done.discarded.iter().map(|line| format!("discarded: {line}")));
    if planned {
        let count = done.replaced.len();
        lines.push(format!("{count} segments would be written anew; nothing was changed"));
    } else {
        lines.push(format!("{} records kept; the originals are in {}", done.records, done.kept));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_addresses() {
        assert_eq!(range("4096..8192"), Ok(4096..8192));
        for wrong in ["", "..", "1..", "..2", "2..1", "2..2", "1-2", "1..=2", "-1..2", "a..b"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
