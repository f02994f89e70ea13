//! Actions: what a plan decides, as plain values.

use crate::finding::Label;
use serde::Serialize;

/// The verbs of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Leave as it is.
    Keep,
    /// Declare the end of a log dead.
    Cut,
    /// Apply records.
    Replay,
    /// Make derived state again.
    Rebuild,
    /// Take a claim back.
    Reclaim,
    /// Go on with it.
    Resume,
    /// Mark it failed.
    Fail,
    /// Get it from a peer.
    Fetch,
    /// Set files aside.
    Quarantine,
    /// Leave it to a person.
    Ask,
    /// Do not start.
    Refuse,
}

/// One decided action, as it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What is done.
    pub kind: ActionKind,
    /// The row of the decision table that says so.
    pub label: Label,
    /// To what: a file, a range, an item, or a count of them.
    pub target: String,
    /// Why, in a few words.
    pub detail: String,
}
