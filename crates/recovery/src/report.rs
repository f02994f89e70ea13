//! The report: what was seen, decided and done, and how long it took.
//!
//! [`Report::to_json`] is the shape that scripts rely on, [`Report::text`] the one for people;
//! both are functions of the same values. Invariant: the code of a report is that of its worst
//! finding or refusal, whatever was added after it.

mod before;
mod json;
mod markdown;
mod stored;
mod text;
mod when;

pub use before::{Before, Ended};
pub use stored::{NotAReport, StoredAction, StoredFinding, StoredLayer, StoredReport, StoredStage};
pub use text::figures;
pub use when::{civil_from_days, utc};

use rekindle_env::Clock;
use serde::Serialize;

use crate::action::{Action, ActionKind};
use crate::driver::Failure;
use crate::exit;
use crate::finding::{Finding, Verdict};

/// The stages of recovery, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reads raw pieces; changes nothing.
    Scan,
    /// Makes trusted values or findings of them.
    Validate,
    /// Decides.
    Plan,
    /// Does it.
    Act,
    /// Says so.
    Report,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Scan => "scan",
            Self::Validate => "validate",
            Self::Plan => "plan",
            Self::Act => "act",
            Self::Report => "report",
        })
    }
}

/// One stage's time, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StageTime {
    /// Which stage.
    pub stage: Stage,
    /// How long.
    pub micros: u64,
}

/// A named number: records replayed, bytes cut, leases kept…
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// What was counted, unit last (`bytes_cut`).
    pub name: &'static str,
    /// How many.
    pub value: u64,
}

/// What one layer saw, decided and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The layer's name.
    pub layer: &'static str,
    /// What it found.
    pub findings: Vec<Finding>,
    /// What it decided.
    pub actions: Vec<Action>,
    /// What it counted.
    pub figures: Vec<Figure>,
    /// How long each stage took.
    pub stages: Vec<StageTime>,
}

impl LayerReport {
    /// An empty report of a layer.
    #[must_use]
    pub fn new(layer: &'static str) -> Self {
        Self { layer, findings: vec![], actions: vec![], figures: vec![], stages: vec![] }
    }

    /// How long a stage took, microseconds; 0 when it did not run.
    #[must_use]
    pub fn micros(&self, stage: Stage) -> u64 {
        self.stages.iter().filter(|time| time.stage == stage).map(|time| time.micros).sum()
    }

    /// Runs `work` and notes its time under `stage`.
    pub fn timed<T>(&mut self, stage: Stage, clock: &dyn Clock, work: impl FnOnce() -> T) -> T {
        let start = clock.boot_ns();
        let result = work();
        let micros = clock.boot_ns().saturating_sub(start) / 1_000;
        self.stages.push(StageTime { stage, micros });
        result
    }

    /// Why this layer refuses the start, if it does: corruption when a finding says so, otherwise
    /// the directory or what was asked of it is wrong.
    #[must_use]
    pub fn refusal(&self) -> Option<Failure> {
        let refuses = |action: &&Action| action.kind == ActionKind::Refuse;
        let action = self.actions.iter().find(refuses)?;
        let corrupt = |finding: &&Finding| finding.verdict == Some(Verdict::Corrupt);
        Some(match self.findings.iter().find(corrupt) {
            Some(finding) => Failure::Refused(format!("{} [{finding}]", action.detail)),
            None => Failure::Config(action.detail.clone()),
        })
    }

    /// The exit code that this layer means: of its worst finding, or of its refusal.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        self.refusal().map_or_else(|| exit_code(&self.findings), |failure| failure.exit_code())
    }

    /// Notes a count.
    pub fn figure(&mut self, name: &'static str, value: u64) {
        self.figures.push(Figure { name, value });
    }
}

/// One recovery, all layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// 0 clean, 3 torn, 4 healed, 65 corrupt, 78 not to be opened: the worst decides.
    pub code: i32,
    /// The run that this recovery began.
    pub incarnation: u64,
    /// When it began, milliseconds since the Unix epoch.
    pub started_wall_ms: u64,
    /// How long it took.
    pub micros: u64,
    /// Its number among the reports of the store; `None`: it is not written down.
    pub number: Option<u64>,
    /// The store, where its identity could be read.
    pub store_id: Option<[u8; 16]>,
    /// How the store stood before, where there was one to look into.
    pub before: Option<Before>,
    /// Layers in the order in which they recovered.
    pub layers: Vec<LayerReport>,
}

impl Report {
    /// Adds a layer and lets its worst finding count.
    pub fn add(&mut self, layer: LayerReport) {
        let worst = layer.exit_code();
        if severity(worst) > severity(self.code) {
            self.code = worst;
        }
        self.layers.push(layer);
    }

    /// Why the start is refused, if it is: what the first layer that refuses says.
    #[must_use]
    pub fn refusal(&self) -> Option<Failure> {
        self.layers.iter().find_map(LayerReport::refusal)
    }

    /// All findings, in order.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.layers.iter().flat_map(|layer| layer.findings.iter())
    }

    /// The sum of all figures of that name.
    #[must_use]
    pub fn figure(&self, name: &str) -> u64 {
        let figures = self.layers.iter().flat_map(|layer| layer.figures.iter());
        figures.filter(|figure| figure.name == name).map(|figure| figure.value).sum()
    }
}

/// The exit code that a set of findings means; the worst decides.
#[must_use]
pub fn exit_code(findings: &[Finding]) -> i32 {
    let codes =
        findings.iter().filter_map(|finding| finding.verdict).map(|verdict| match verdict {
            Verdict::Torn => exit::TORN,
            Verdict::Healed => exit::HEALED,
            Verdict::Corrupt => exit::CORRUPT,
        });
    codes.max_by_key(|&code| severity(code)).unwrap_or(exit::CLEAN)
}

/// Orders exit codes by how bad they are.
fn severity(code: i32) -> u8 {
    match code {
        exit::CLEAN => 0,
        exit::TORN => 1,
        exit::HEALED => 2,
        exit::CORRUPT => 3,
        _ => 4,
    }
}
