//! How a store stood before a recovery: what was found, before anything was decided.

use serde::{Deserialize, Serialize};

/// How the run before ended, as far as the store says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// There was none.
    New,
    /// It closed the journal: everything was synced and marked.
    Clean,
    /// It did not: a kill, a loss of power, a failure of the machine.
    Unclean,
    /// The store does not say.
    #[default]
    Unknown,
}

/// The state before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Before {
    /// The newest run that the store knows; 0: none.
    pub incarnation: u64,
    /// How it ended.
    pub ended: Ended,
    /// Version of the newest committed transaction; where the start is refused before replay, that
    /// of the checkpoint.
    pub newest_version: u64,
    /// Position of the journal's last record.
    pub newest_position: u64,
    /// Segments of the journal.
    pub journal_segments: u64,
    /// Bytes of frames in them.
    pub journal_bytes: u64,
    /// Checkpoints that can be used.
    pub checkpoints: u64,
    /// Size of the newest of them.
    pub checkpoint_bytes: u64,
    /// The version that it holds.
    pub checkpoint_version: u64,
}
