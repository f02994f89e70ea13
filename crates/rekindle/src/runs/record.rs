//! What is written down about one run of the server.

use std::collections::BTreeMap;

use rekindle_recovery::Report;
use serde::{Deserialize, Serialize};

/// Longest reason of an end in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Most labels of findings that a record holds.
const LABELS_MAX: usize = 32;

/// How a run ended, as far as anybody knows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It did not end yet, or nobody noticed.
    #[default]
    Running,
    /// Everything was synced and closed.
    Clean,
    /// It was asked to end before it served.
    Stopped,
    /// The start was refused.
    Refused,
    /// The process died and could not say why: SIGKILL, no memory, no power.
    Killed,
    /// A write or sync of the journal failed.
    Poisoned,
    /// A thread panicked.
    Panicked,
    /// It was asked to end twice.
    SecondSignal,
    /// It ended otherwise than in order.
    Failed,
    /// A later version wrote something else here.
    #[serde(other)]
    Unknown,
}

impl End {
    /// The word used in files and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Clean => "clean",
            Self::Stopped => "stopped",
            Self::Refused => "refused",
            Self::Killed => "killed",
            Self::Poisoned => "poisoned",
            Self::Panicked => "panicked",
            Self::SecondSignal => "second_signal",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether somebody should ask why.
    #[must_use]
    pub fn is_unclean(self) -> bool {
        !matches!(self, Self::Running | Self::Clean | Self::Stopped)
    }
}

/// What the recovery of a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryOf {
    /// The exit code that it means.
    pub code: i32,
    /// How long it took, microseconds.
    pub micros: u64,
    /// The number of its report (`rekindle recovery show N`), where it was written down.
    #[serde(default)]
    pub report: Option<u64>,
    /// How often each label was found; notes are left out.
    pub labels: BTreeMap<String, u64>,
}

impl RecoveryOf {
    /// Of a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let mut labels = BTreeMap::new();
        for finding in report.findings().filter(|finding| finding.verdict.is_some()) {
            let label = finding.label.to_string();
            if labels.len() < LABELS_MAX || labels.contains_key(&label) {
                *labels.entry(label).or_default() += 1;
            }
        }
        Self { code: report.code, micros: report.micros, report: report.number, labels }
    }
}

/// One run of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its number: of starts of a server on this store, refused ones included.
    pub number: u64,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it began, milliseconds since 1970.
    pub started_wall_ms: u64,
    /// The run of the store that it was, once it was opened.
    pub incarnation: Option<u64>,
    /// What its recovery found, once that is known.
    pub recovery: Option<RecoveryOf>,
    /// When it began to serve.
    pub ready_wall_ms: Option<u64>,
    /// When it was asked to end.
    pub asked_wall_ms: Option<u64>,
    /// When it ended, where it could say so.
    pub ended_wall_ms: Option<u64>,
    /// How it ended.
    pub end: End,
    /// Its exit code, where it could say so.
    pub code: Option<i32>,
    /// Why it ended so; empty where nothing is to be said.
    pub reason: String,
    /// When a later run noticed that it had ended.
    pub noticed_wall_ms: Option<u64>,
}

impl RunRecord {
    /// Notes an end. Payloads are in no reason: it is what the server said of itself.
    pub(super) fn ended(&mut self, end: End, code: i32, reason: &str, wall_ms: u64) {
        self.end = end;
        self.code = Some(code);
        self.reason = first_line(reason);
        self.ended_wall_ms = Some(wall_ms);
    }

    /// When it ended, or when somebody noticed: what a window of time is asked about.
    #[must_use]
    pub fn over_wall_ms(&self) -> Option<u64> {
        self.ended_wall_ms.or(self.noticed_wall_ms)
    }
}

/// The first line of a text, within the bound.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.get(..line.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A later version's record is read as far as this one knows it.
    #[test]
    fn records_round_trip_and_later_ones_are_read() {
        let mut record = RunRecord { number: 7, ..RunRecord::default() };
        record.ended(End::Poisoned, 70, "the store failed: EIO\nsecond line", 9);
        assert_eq!(record.reason, "the store failed: EIO");
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""end":"poisoned""#), "{text}");
        assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record);
        let later =
            text.replace("poisoned", "evaporated").replace("{\"number\"", "{\"x\":1,\"number\"");
        assert_eq!(serde_json::from_str::<RunRecord>(&later).unwrap().end, End::Unknown);
    }

    #[test]
    fn reasons_are_bounded() {
        assert_eq!(first_line(&"ü".repeat(2_000)).len(), REASON_BYTES_MAX);
        assert_eq!(first_line(""), "");
    }
}
