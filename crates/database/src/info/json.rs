//! The store's description as JSON: the shape of `store info --json` and `/v1/store`.
//!
//! Invariants: every key is always there, `null` where it cannot be told; `findings` and `notes`
//! are those of the recovery report.

use rekindle_engine::files::Family;
use rekindle_recovery::identity::{
    FEATURE_LEVEL, KNOWN_FEATURES, STORE_FORMAT, STORE_MIN_READER, Versions, engine_name,
};
use serde::{Serialize, Serializer};

use super::text::hex;
use super::{CheckpointInfo, CopyInfo, CopyState, Files, RunningInfo, SegmentsInfo, StoreInfo};

#[derive(Serialize)]
struct InfoView<'a> {
    code: i32,
    program: ProgramView,
    store_id: Option<String>,
    lineage: Option<String>,
    node: Option<u64>,
    engine: Option<String>,
    families: Vec<FamilyView<'a>>,
    format: Option<u16>,
    min_reader: Option<u16>,
    features: Option<u32>,
    feature_level: Option<u32>,
    created_wall_ms: Option<u64>,
    incarnation: u64,
    clean_end: Option<bool>,
    versions: RangeView<u64>,
    positions: RangeView<Option<u64>>,
    segments: SegmentsView,
    checkpoints: Vec<CheckpointView<'a>>,
    copies: Vec<CopyView<'a>>,
    quarantine: FilesView,
    reports: FilesView,
    running: Option<RunningView>,
    findings: Vec<&'a rekindle_recovery::Finding>,
    notes: Vec<&'a rekindle_recovery::Finding>,
}

#[derive(Serialize)]
struct FamilyView<'a> {
    name: &'a str,
    keys: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct ProgramView {
    version: &'static str,
    format: u16,
    min_reader: u16,
    features: u32,
    feature_level: u32,
}

#[derive(Serialize)]
struct RangeView<T> {
    from: T,
    to: u64,
}

#[derive(Serialize)]
struct SegmentsView {
    count: u64,
    bytes: u64,
    oldest: u64,
    newest: u64,
    durable_lsn: u64,
}

#[derive(Serialize)]
struct CheckpointView<'a> {
    id: u64,
    state: &'static str,
    version: Option<u64>,
    position: Option<u64>,
    replay_from: Option<u64>,
    rows: Option<u64>,
    bytes: Option<u64>,
    #[serde(flatten)]
    wrong: WrongView<'a>,
}

#[derive(Serialize)]
struct CopyView<'a> {
    file: &'a str,
    state: &'static str,
    sequence: Option<u64>,
    #[serde(flatten)]
    wrong: WrongView<'a>,
}

#[derive(Serialize)]
struct WrongView<'a> {
    offset: Option<u64>,
    expected: Option<&'a str>,
    found: Option<&'a str>,
}

#[derive(Serialize)]
struct FilesView {
    count: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct RunningView {
    incarnation: u64,
    visible_version: u64,
    oldest_version: u64,
    durable_position: u64,
}

impl<'a> From<&'a Family> for FamilyView<'a> {
    fn from(family: &'a Family) -> Self {
        let Family { name, keys, bytes } = family;
        Self { name, keys: *keys, bytes: *bytes }
    }
}

impl CopyState {
    /// Its name in JSON and text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Older => "older",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Newer => "newer",
        }
    }
}

impl CheckpointInfo {
    /// What its header and footer are worth, in JSON and text.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (&self.holds, self.newer) {
            (Some(_), _) => "whole",
            (None, true) => "newer",
            (None, false) => "damaged",
        }
    }
}

impl<'a> From<&'a Option<(u64, String, String)>> for WrongView<'a> {
    fn from(wrong: &'a Option<(u64, String, String)>) -> Self {
        let Some((offset, expected, found)) = wrong else {
            return Self { offset: None, expected: None, found: None };
        };
        Self { offset: Some(*offset), expected: Some(expected), found: Some(found) }
    }
}

impl<'a> From<&'a CopyInfo> for CopyView<'a> {
    fn from(copy: &'a CopyInfo) -> Self {
        let (file, state) = (copy.file.as_str(), copy.state.name());
        Self { file, state, sequence: copy.sequence, wrong: WrongView::from(&copy.wrong) }
    }
}

impl<'a> From<&'a CheckpointInfo> for CheckpointView<'a> {
    fn from(checkpoint: &'a CheckpointInfo) -> Self {
        let holds = checkpoint.holds;
        Self {
            id: checkpoint.id,
            state: checkpoint.state(),
            version: holds.map(|it| it.version),
            position: holds.map(|it| it.position),
            replay_from: holds.map(|it| it.replay_from),
            rows: holds.map(|it| it.rows),
            bytes: holds.map(|it| it.bytes),
            wrong: WrongView::from(&checkpoint.wrong),
        }
    }
}

impl From<SegmentsInfo> for SegmentsView {
    fn from(segments: SegmentsInfo) -> Self {
        let SegmentsInfo { count, bytes, oldest, newest, durable_lsn, .. } = segments;
        Self { count, bytes, oldest, newest, durable_lsn }
    }
}

impl From<Files> for FilesView {
    fn from(files: Files) -> Self {
        Self { count: files.count, bytes: files.bytes }
    }
}

impl From<RunningInfo> for RunningView {
    fn from(running: RunningInfo) -> Self {
        Self {
            incarnation: running.incarnation,
            visible_version: running.visible_version,
            oldest_version: running.oldest_version,
            durable_position: running.durable_position,
        }
    }
}

impl Serialize for StoreInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let identity = self.identity.as_ref();
        let versions: Option<Versions> = self.versions;
        let (from, to) = self.known_versions();
        let (findings, notes) =
            self.report.findings().partition(|finding| finding.verdict.is_some());
        InfoView {
            code: self.code(),
            program: ProgramView {
                version: env!("CARGO_PKG_VERSION"),
                format: STORE_FORMAT,
                min_reader: STORE_MIN_READER,
                features: KNOWN_FEATURES,
                feature_level: FEATURE_LEVEL,
            },
            store_id: self.store_id.map(|id| hex(&id)),
            lineage: identity.map(|who| hex(&who.lineage)),
            node: identity.map(|who| who.node),
            engine: identity.map(|who| engine_name(who.engine)),
            families: self.families.iter().map(FamilyView::from).collect(),
            format: versions.map(|it| it.format),
            min_reader: versions.map(|it| it.min_reader),
            features: versions.map(|it| it.features),
            feature_level: identity.map(|who| who.feature_level),
            created_wall_ms: self.created_wall_ms,
            incarnation: self.incarnation,
            clean_end: self.clean_end,
            versions: RangeView { from, to },
            positions: RangeView { from: self.segments.from_position, to: self.known_position() },
            segments: self.segments.into(),
            checkpoints: self.checkpoints.iter().map(CheckpointView::from).collect(),
            copies: self.copies.iter().map(CopyView::from).collect(),
            quarantine: self.quarantine.into(),
            reports: self.reports.into(),
            running: self.running.map(RunningView::from),
            findings,
            notes,
        }
        .serialize(serializer)
    }
}
