//! What a repair did, or would do: one object for the command line and the HTTP side.

use std::ops::Range;

use rekindle_database::{PlannedLoss, Repair, is_range};
use rekindle_recovery::{Report, Verdict};
use serde::{Deserialize, Serialize};

/// What a repair says of the program that did it.
pub const PROGRAM: &str = concat!("rekindle ", env!("CARGO_PKG_VERSION"));

/// `FROM..TO` as log addresses, TO not included; none where it is no range.
#[must_use]
pub fn parse_range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    let range = from.parse().ok()?..to.parse().ok()?;
    (range.start < range.end).then_some(range)
}

/// The same the other way.
#[must_use]
pub fn range_text(range: &Range<u64>) -> String {
    format!("{}..{}", range.start, range.end)
}

/// The options of a command that accepts the loss of these ranges.
#[must_use]
pub fn accept_flags(ranges: &[Range<u64>]) -> String {
    let flags = ranges.iter().map(|range| format!("--accept-loss {}", range_text(range)));
    flags.collect::<Vec<_>>().join(" ")
}

/// The ranges whose loss a repair of this store must accept, in order. None where something is
/// damaged that is no range of the journal: a repair cannot pass that.
#[must_use]
pub fn ranges(report: &Report) -> Vec<Range<u64>> {
    let corrupt = report.findings().filter(|it| it.verdict == Some(Verdict::Corrupt));
    let mut places = Vec::new();
    for finding in corrupt {
        if !is_range(finding) {
            return vec![];
        }
        places.push((finding.place.from, finding.place.to));
    }
    places.sort_unstable();
    places.dedup();
    places.into_iter().map(|(from, to)| from..to).collect()
}

/// A repair, as scripts read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Nothing was changed: it would be so.
    pub planned: bool,
    /// The version that the store has after it.
    pub version: u64,
    /// The corrupt findings that were accepted.
    pub accepted: Vec<Accepted>,
    /// What is lost.
    pub losses: Vec<Loss>,
    /// Transactions that cannot be kept because of it: a line each.
    pub discarded: Vec<String>,
    /// Segments that are written anew.
    pub replaced: Vec<u64>,
    /// Those that stand for them; none for a plan.
    pub segments: Vec<u64>,
    /// Records in them; 0 for a plan.
    pub records: u64,
    /// Where the originals are, relative to the store; empty for a plan.
    pub kept: String,
    /// What did not go well after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// An accepted finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The row of the decision table.
    pub label: String,
    /// The file, relative to the store.
    pub file: String,
    /// First log address.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
}

/// What an accepted range held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// First log address.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
    /// First position.
    pub from_position: u64,
    /// Last position.
    pub to_position: u64,
    /// First version.
    pub from_version: u64,
    /// The version that follows.
    pub next_version: u64,
    /// Whether that is known exactly; otherwise it is the most that can be.
    pub exact: bool,
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

impl Repaired {
    /// What a repair did, or, `planned`, would do.
    #[must_use]
    pub fn new(done: Repair, planned: bool) -> Self {
        let accepted = done.findings.iter().map(|finding| Accepted {
            label: finding.label.0.to_owned(),
            file: finding.place.file.clone(),
            from: finding.place.from,
            to: finding.place.to,
        });
        Self {
            planned,
            version: done.version,
            accepted: accepted.collect(),
            losses: done.losses.iter().map(Loss::from).collect(),
            discarded: done.discarded,
            replaced: done.replaced,
            segments: done.segments,
            records: done.records,
            kept: done.kept,
            warning: None,
        }
    }

    /// The same for people.
    #[must_use]
    pub fn text(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Accepted { label, file, from, to } in &self.accepted {
            lines.push(format!("accepted: {label} {file} lsn {from}..{to}"));
        }
        let would = if self.planned { "would be lost" } else { "lost" };
        for loss in &self.losses {
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
        if self.losses.is_empty() {
            lines.push("the damaged ranges held no record that is not elsewhere".to_owned());
        }
        lines.extend(self.discarded.iter().map(|line| format!("discarded: {line}")));
        if self.planned {
            let count = self.replaced.len();
            lines.push(format!("{count} segments would be written anew; nothing was changed"));
        } else {
            lines
                .push(format!("{} records kept; the originals are in {}", self.records, self.kept));
        }
        lines.extend(self.warning.iter().map(|warning| format!("warning: {warning}")));
        lines
    }
}
