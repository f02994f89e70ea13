//! The journal's recovery, top-down: scan, validate, plan, act.
//!
//! One rule for every mode: a bad frame is proved to have been acknowledged when a valid later
//! frame, `tip` or `meta` carries a durable address behind it. Proved: corrupt, never cut. Not
//! proved, in the last segment: torn, cut with all after it. Invariant: no start appends to an old
//! segment; act opens a new one whose header declares where the old one ends.

pub(crate) mod act;
pub mod judge;
pub mod meta;
mod place;
pub mod scan;
pub mod tables;
pub mod walk;

use std::fmt::Write as _;

use rekindle_env::{Env, ReadDisk};
use rekindle_recovery::{Action, ActionKind, Failure, Finding, Layer, Plan};

pub use self::act::Recovered;
pub use self::judge::TrustedJournal;
pub use self::meta::{MetaLayer, TrustedMeta};
pub use self::scan::Depth;
use self::scan::JournalPieces;
use crate::codec::meta::Meta;
use crate::codec::segment::OpenReason;
use crate::layout::Layout;
use crate::writer::WriterConfig;

/// The journal's layer.
#[derive(Clone, Debug)]
pub struct JournalLayer {
    /// Where the shard is.
    pub layout: Layout,
    /// The store that the journal must belong to.
    pub store_id: [u8; 16],
    /// The node.
    pub node: u64,
    /// The validated metadata.
    pub meta: TrustedMeta,
    /// The first position that replay needs: what lies below is in the checkpoint.
    pub replay_from: u64,
    /// How much is read.
    pub depth: Depth,
    /// How the new segment is written.
    pub config: WriterConfig,
    /// The machine; only act uses it.
    pub env: Env,
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove a segment that `meta` gave up.
    Remove {
        /// Its number.
        seq: u64,
    },
    /// Set a segment aside that never served.
    Quarantine {
        /// Its number.
        seq: u64,
    },
    /// Keep a segment that a repair replaced.
    Supersede {
        /// Its number.
        seq: u64,
        /// The first segment of the repair.
        by: u64,
    },
    /// Copy the bytes of a torn tail to the quarantine.
    QuarantineTail {
        /// The segment.
        seq: u64,
        /// First byte in the file.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Open a new segment.
    Open {
        /// Why.
        reason: OpenReason,
    },
}

impl Layer for JournalLayer {
    const NAME: &'static str = "journal";
    type Source = dyn ReadDisk;
    type Sink = ();
    type Pieces = JournalPieces;
    type Trusted = TrustedJournal;
    type Step = Step;
    type Recovered = Recovered;

    fn scan(&self, disk: &dyn ReadDisk) -> Result<JournalPieces, Failure> {
        self.scan_journal(disk)
    }

    fn validate(&self, pieces: JournalPieces) -> (TrustedJournal, Vec<Finding>) {
        self.judge(&pieces)
    }

    fn plan(&self, trusted: &TrustedJournal, findings: &[Finding]) -> Plan<Step> {
        let mut actions: Vec<Action> = Vec::new();
        for (label, target) in &trusted.decided {
            let Some(decision) = judge::decision_of(*label) else { continue };
            let (kind, mut detail) = (decision.action, decision.why.to_owned());
            let newer = kind == ActionKind::Refuse && decision.verdict.is_none();
            if let Some(finding) = findings.iter().find(|it| newer && it.label == *label) {
                // Both versions: what this program reads, and what the segment asks for.
                let _ = write!(detail, ": {}: ", finding.place.file);
                let _ = write!(detail, "expected {}, found {}", finding.expected, finding.found);
            }
            actions.push(Action { kind, label: *label, target: target.clone(), detail });
        }
        debug_assert!(findings.len() <= trusted.decided.len(), "each finding was decided");
        let mut steps = trusted.steps.clone();
        let reason = if trusted.torn { OpenReason::Torn } else { OpenReason::Start };
        steps.push(Step::Open { reason });
        Plan { steps, actions }
    }

    /// The sink is the `env` of the layer: act needs clock and randomness beside the disk.
    fn act(&self, trusted: TrustedJournal, steps: Vec<Step>, _: &()) -> Result<Recovered, Failure> {
        self.act_on(&trusted, &steps)
    }
}

impl JournalLayer {
    pub(crate) fn known(&self) -> Option<&Meta> {
        self.meta.meta.as_ref()
    }

    pub(crate) fn newest_named(&self) -> Option<u64> {
        self.known().map(|meta| meta.newest_segment)
    }

    pub(crate) fn oldest_named(&self) -> Option<u64> {
        self.known().map(|meta| meta.oldest_segment)
    }

    pub(crate) fn clean_end_lsn(&self) -> u64 {
        self.known().map_or(0, |meta| meta.clean_end_lsn)
    }
}
