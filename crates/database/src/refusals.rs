//! Every label under which a start is refused, read from the decision tables of all layers up to
//! this one.
//!
//! Invariant: a table that refuses is listed here, so that a new refusal without a frozen fixture
//! fails a test.

use rekindle_engine::recovery::table::SITUATIONS;
use rekindle_journal::recovery::meta::META_TABLE;
use rekindle_journal::recovery::tables::{OTHERS, RANGES, SEGMENTS};
use rekindle_recovery::store::table as store;
use rekindle_recovery::{ActionKind, Label};

use crate::classify::{self, Decision};

/// The labels, layer by layer.
#[must_use]
pub fn refusals() -> Vec<Label> {
    let store = store::SITUATIONS.rows.iter().map(|row| (row.label, row.then.refuses()));
    let refuse = |action: ActionKind| action == ActionKind::Refuse;
    let meta = META_TABLE.rows.iter().map(|row| (row.label, refuse(row.then.0)));
    let engine = SITUATIONS.rows.iter().map(|row| (row.label, row.then.refuses()));
    let ranges = RANGES.rows.iter().map(|row| (row.label, refuse(row.then.action)));
    let segments = SEGMENTS.rows.iter().map(|row| (row.label, refuse(row.then.action)));
    let others = OTHERS.rows.iter().map(|row| (row.label, refuse(row.then.action)));
    let refused = |then: &Decision| matches!(then, Decision::Refuse | Decision::Newer);
    let database = classify::TABLE.rows.iter().map(|row| (row.label, refused(&row.then)));
    let journal = ranges.chain(segments).chain(others);
    let all = store.chain(meta).chain(engine).chain(journal).chain(database);
    let labels: Vec<Label> = all.filter(|(_, refuses)| *refuses).map(|(label, _)| label).collect();
    assert!(!labels.is_empty(), "some situations refuse");
    labels
}
