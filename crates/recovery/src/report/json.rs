//! The report as JSON: the shape of `verify --json`, `recover --plan --json` and
//! `/v1/recoveries/latest`.
//!
//! ```json
//! {"code":3,"findings":[{"label":"journal-3","file":"…","offset":0,"from":0,"to":0,
//!   "verdict":"torn","acked":"no","expected":"…","found":"…"}],
//!  "notes":[…],"incarnation":7,"started_wall_ms":0,"micros":12000,
//!  "number":7,"program":"0.1.0","store_id":"0190…","summary":"recovered in …",
//!  "before":{"incarnation":6,"ended":"unclean",…},
//!  "layers":[{"layer":"journal","actions":[…],"figures":{"bytes_cut":312},
//!    "stages":[{"stage":"scan","micros":100}]}]}
//! ```
//!
//! Invariants: `findings` holds exactly the findings with a verdict, so it is empty when the code
//! is 0; `notes` holds the others, with the same keys and `"verdict":null`. Scripts rely on both.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{Before, LayerReport, Report, StageTime};
use crate::action::Action;
use crate::finding::Finding;

#[derive(Serialize)]
struct ReportView<'a> {
    code: i32,
    findings: Vec<&'a Finding>,
    notes: Vec<&'a Finding>,
    incarnation: u64,
    started_wall_ms: u64,
    micros: u64,
    number: Option<u64>,
    program: &'static str,
    store_id: Option<String>,
    summary: String,
    before: &'a Option<Before>,
    layers: Vec<LayerView<'a>>,
}

/// The version of this program: all crates have one.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct LayerView<'a> {
    layer: &'a str,
    actions: &'a [Action],
    figures: BTreeMap<&'a str, u64>,
    stages: &'a [StageTime],
}

impl<'a> From<&'a LayerReport> for LayerView<'a> {
    fn from(layer: &'a LayerReport) -> Self {
        let mut figures = BTreeMap::new();
        for figure in &layer.figures {
            *figures.entry(figure.name).or_default() += figure.value;
        }
        Self { layer: layer.layer, actions: &layer.actions, figures, stages: &layer.stages }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (findings, notes) = self.findings().partition(|finding| finding.verdict.is_some());
        ReportView {
            code: self.code,
            findings,
            notes,
            incarnation: self.incarnation,
            started_wall_ms: self.started_wall_ms,
            micros: self.micros,
            number: self.number,
            program: PROGRAM,
            store_id: self.store_id.map(hex),
            summary: self.summary_line(),
            before: &self.before,
            layers: self.layers.iter().map(LayerView::from).collect(),
        }
        .serialize(serializer)
    }
}

/// An id as people copy it.
fn hex(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Report {
    /// The report on one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and string keys always serialize")
    }
}
