//! Recovery of loops; read top-down.
//!
//! ```text
//! scanner:   rows of executions, plans, first events; the job of each step that was begun; the
//!            transcripts of those that are not over
//! validator: each execution is one row of a table, with how long nothing was alive; each
//!            transcript is one of another (transcripts)
//! plan:      what is done about each, before anything is done
//! actions:   the index is there again; what cannot go on by itself is told so, in its events
//! ```
//! It is decided before the claims of jobs are settled, and acted on behind that: what becomes of a
//! step whose end is not known is told by the transaction that settles its claim, and only then
//! does the index of jobs follow what is begun here. Invariants: an execution that a person paused,
//! or has to decide about, stays as it is; a row that cannot be read stays, is told, and stops
//! nothing else; recovering twice finds nothing to do.

mod actions;
mod plan;
mod scanner;
mod transcripts;
mod validator;

use std::path::PathBuf;
use std::sync::Arc;

use rekindle_database::Snapshot;
use rekindle_env::ReadDisk;
use rekindle_recovery::{Failure, Finding, Layer, Meter, Plan};

use crate::claims::Run;
use crate::exec::Core;
use crate::keys::Keyspaces;
use scanner::Pieces;
pub(crate) use validator::Trusted;

/// How long after the last sign of life executions go on by themselves, and until when a person
/// decides; beyond that they have failed. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strategies {
    /// Up to this long they go on.
    pub resume_within_ms: u64,
    /// Up to this long a person decides.
    pub recovery_timeout_ms: u64,
}

impl Default for Strategies {
    fn default() -> Self {
        const HOUR_MS: u64 = 60 * 60 * 1_000;
        Self { resume_within_ms: HOUR_MS, recovery_timeout_ms: 24 * HOUR_MS }
    }
}

/// The layer of loops.
pub(crate) struct LoopLayer {
    pub(crate) keyspaces: Keyspaces,
    /// The run that recovers.
    pub(crate) run: Run,
    /// Now, log time.
    pub(crate) now_ms: u64,
    pub(crate) strategies: Strategies,
    /// Where transcripts lie, if any are written.
    pub(crate) transcripts: Option<(Arc<dyn ReadDisk>, PathBuf)>,
    /// Told of each page of rows.
    pub(crate) meter: Meter,
}

/// The index of executions is there again.
pub(crate) fn restore(trusted: &Trusted, core: &Core) {
    actions::restore(trusted, core);
}

/// What recovery gives to the layer above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) executions: u64,
    pub(crate) incomplete: u64,
    pub(crate) going_on: u64,
    pub(crate) waiting: u64,
    pub(crate) set_aside: u64,
    pub(crate) failed: u64,
    pub(crate) repaired: u64,
    pub(crate) unread: u64,
    /// Transcripts that were looked at.
    pub(crate) transcripts: u64,
    /// Places in them that are damaged.
    pub(crate) corrupted_records: u64,
}

impl Layer for LoopLayer {
    const NAME: &'static str = "loop";
    type Source = Snapshot;
    type Sink = Core;
    type Pieces = Pieces;
    type Trusted = Trusted;
    type Step = plan::Step;
    type Recovered = Recovered;

    fn scan(&self, source: &Snapshot) -> Result<Pieces, Failure> {
        let transcripts = self.transcripts.as_ref();
        let transcripts = transcripts.map(|(disk, dir)| (&**disk, dir.as_path()));
        scanner::scan(source, &self.keyspaces, transcripts, &self.meter)
    }

    fn validate(&self, pieces: Pieces) -> (Trusted, Vec<Finding>) {
        validator::validate(pieces, &self.run, self.now_ms, self.strategies)
    }

    fn plan(&self, trusted: &Trusted, _: &[Finding]) -> Plan<plan::Step> {
        plan::plan(trusted)
    }

    fn act(
        &self,
        trusted: Trusted,
        steps: Vec<plan::Step>,
        sink: &Core,
    ) -> Result<Recovered, Failure> {
        actions::act(trusted, &steps, sink, self.now_ms)
    }
}
