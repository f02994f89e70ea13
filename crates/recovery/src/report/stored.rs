//! A report that was written down and is read back, perhaps of another version of this program.
//!
//! Invariants: what lacks a code, findings or layers is no report; everything else that is missing
//! is empty, so that reports of older programs are read; no text in it is believed to be harmless.

use serde::Deserialize;

use super::text::{duration, section, thousands};
use super::{Before, utc};

/// Why bytes are no report.
#[derive(Debug, thiserror::Error)]
#[error("no report: {0}")]
pub struct NotAReport(#[from] serde_json::Error);

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct StoredReport {
    /// The exit code that it means.
    pub code: i32,
    /// Findings with a verdict.
    pub findings: Vec<StoredFinding>,
    /// What every layer decided and did.
    pub layers: Vec<StoredLayer>,
    /// The other findings.
    #[serde(default)]
    pub notes: Vec<StoredFinding>,
    /// The run that began; 0: the start was refused.
    #[serde(default)]
    pub incarnation: u64,
    /// When it began.
    #[serde(default)]
    pub started_wall_ms: u64,
    /// How long it took.
    #[serde(default)]
    pub micros: u64,
    /// Its number.
    #[serde(default)]
    pub number: Option<u64>,
    /// The version of the program that wrote it.
    #[serde(default)]
    pub program: String,
    /// The store.
    #[serde(default)]
    pub store_id: Option<String>,
    /// What was done, on one line.
    #[serde(default)]
    pub summary: String,
    /// The state before.
    #[serde(default)]
    pub before: Option<Before>,
}

/// A finding or a note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StoredFinding {
    /// The row of the decision table.
    pub label: String,
    /// Where.
    pub file: String,
    /// Byte in that file.
    pub offset: u64,
    /// First log address.
    pub from: u64,
    /// Behind the last one.
    pub to: u64,
    /// What it means for the data.
    pub verdict: Option<String>,
    /// Whether those bytes had been acknowledged.
    pub acked: String,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// A layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StoredLayer {
    /// Its name.
    pub layer: String,
    /// What it decided.
    pub actions: Vec<StoredAction>,
    /// What it counted.
    pub figures: std::collections::BTreeMap<String, u64>,
    /// How long its stages took.
    pub stages: Vec<StoredStage>,
}

/// An action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StoredAction {
    /// What is done.
    pub kind: String,
    /// By which row.
    pub label: String,
    /// To what.
    pub target: String,
    /// Why.
    pub detail: String,
}

/// A stage's time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StoredStage {
    /// Which.
    pub stage: String,
    /// How long.
    pub micros: u64,
}

impl StoredLayer {
    /// How long a stage took, microseconds; `None` when it did not run.
    #[must_use]
    pub fn micros(&self, stage: &str) -> Option<u64> {
        let times = self.stages.iter().filter(|time| time.stage == stage);
        times.map(|time| time.micros).reduce(u64::saturating_add)
    }
}

impl StoredReport {
    /// Reads a report.
    pub fn parse(json: &[u8]) -> Result<Self, NotAReport> {
        Ok(serde_json::from_slice(json)?)
    }

    /// All actions, in order.
    pub fn actions(&self) -> impl Iterator<Item = &StoredAction> {
        self.layers.iter().flat_map(|layer| &layer.actions)
    }

    /// The sum of all figures of that name.
    #[must_use]
    pub fn figure(&self, name: &str) -> u64 {
        let figures = self.layers.iter().filter_map(|layer| layer.figures.get(name));
        figures.fold(0, |sum, value| sum.saturating_add(*value))
    }

    /// Whether the start was refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.actions().any(|action| action.kind == "refuse")
    }

    /// How long all layers behind `layer` took, microseconds.
    #[must_use]
    pub fn micros_behind(&self, layer: &str) -> u64 {
        let behind = self.layers.iter().skip_while(|it| it.layer != layer).skip(1);
        let times = behind.flat_map(|it| &it.stages).map(|time| time.micros);
        times.fold(0, u64::saturating_add)
    }

    /// The report for people, at a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        let lines = |findings: &[StoredFinding]| {
            findings.iter().map(StoredFinding::line).collect::<Vec<_>>().into_iter()
        };
        section(&mut text, "findings", lines(&self.findings));
        section(&mut text, "notes", lines(&self.notes));
        let actions = self.actions().map(|it| {
            one_line(&format!("{} {}: {} ({})", it.kind, it.target, it.detail, it.label))
        });
        section(&mut text, "actions", actions);
        let counted = self.layers.iter().filter(|layer| !layer.figures.is_empty()).map(|layer| {
            let figures = layer.figures.iter();
            let figures = figures.map(|(name, value)| format!("{name} {}", thousands(*value)));
            one_line(&format!("{}: {}", layer.layer, figures.collect::<Vec<_>>().join(", ")))
        });
        section(&mut text, "figures", counted);
        let timed = self.layers.iter().filter(|layer| !layer.stages.is_empty()).map(|layer| {
            let stages = layer.stages.iter();
            let stages = stages.map(|time| format!("{} {}", time.stage, duration(time.micros)));
            one_line(&format!("{}: {}", layer.layer, stages.collect::<Vec<_>>().join(", ")))
        });
        section(&mut text, "stages", timed);
        text
    }

    /// `report 7 of run 8, 2026-11-25 22:18:37 UTC: recovered in …`
    fn headline(&self) -> String {
        let number = self.number.map_or_else(|| "report".to_owned(), |it| format!("report {it}"));
        let run = match self.incarnation {
            0 => "a refused start".to_owned(),
            run => format!("run {run}"),
        };
        let when = utc(self.started_wall_ms);
        one_line(&format!("{number} of {run}, {when}, code {}: {}", self.code, self.summary))
    }
}

impl StoredFinding {
    /// As [`crate::Finding`] is shown.
    #[must_use]
    pub fn line(&self) -> String {
        let verdict = self.verdict.as_deref().unwrap_or("note");
        let range = if self.to > self.from {
            format!(" ({}..{})", self.from, self.to)
        } else {
            String::new()
        };
        let acked = match self.verdict {
            Some(_) => format!(", acked {}", self.acked),
            None => String::new(),
        };
        let Self { label, file, offset, expected, found, .. } = self;
        one_line(&format!(
            "{label} {verdict}: {file} at {offset}{range}{acked}: expected {expected}, found \
             {found}"
        ))
    }
}

/// Without the characters that move a terminal's cursor or begin another line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}
