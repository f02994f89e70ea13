//! Recovery of jobs: types, jobs, outcomes, claims; read top-down.
//!
//! A claim whose deadline lies ahead is kept as it is, one whose deadline passed (downtime counts)
//! is taken back in a transaction of its own, and so is one of an executor that died with the
//! server, unless what it started goes on: then an executor of this run takes it over. Finished
//! jobs are left alone, and everything that waits becomes deliverable again through the window of
//! its type. Rows that cannot be read stay,
//! are told, and are not served; they stop nothing else. Recovering twice finds nothing to do.

mod table;
mod validate;

use std::cell::Cell;

use rekindle_database::Snapshot;
use rekindle_recovery::{Failure, Finding, Layer, Meter, Plan};

use crate::claims::kept::Kept;
use crate::claims::recovery::{Pieces, Step, perform, planned};
use crate::claims::{Run, Subject};
use crate::exec::Core;
use crate::jobs::look::Now;
use crate::keys::Keyspaces;
use crate::queues::Settled;
pub(crate) use validate::Trusted;

/// Events that are told one by one; further ones only to those who trace.
const TOLD: u64 = 100;

/// The layer of jobs.
pub(crate) struct JobLayer {
    pub(crate) keyspaces: Keyspaces,
    /// Now: what lies behind is due.
    pub(crate) now: Now,
    /// The run that recovers.
    pub(crate) run: Run,
    /// Jobs of one type that are deliverable at once after a start.
    pub(crate) dispatch_capacity: u64,
    /// What an earlier run knew of units that no claim touches; the scan takes it.
    pub(crate) kept: Cell<Option<Kept>>,
    /// Told of each page of rows.
    pub(crate) meter: Meter,
}

/// What recovery gives to the layer above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) types: u64,
    pub(crate) jobs: u64,
    pub(crate) finished: u64,
    pub(crate) schedules: u64,
    pub(crate) claims_kept: u64,
    pub(crate) claims_resumed: u64,
    pub(crate) processing_recovered: u64,
    pub(crate) failed: u64,
    pub(crate) pending_re_enqueued: u64,
    pub(crate) set_aside: u64,
    pub(crate) read: u64,
}

impl Layer for JobLayer {
    const NAME: &'static str = "job";
    type Source = Snapshot;
    type Sink = Core;
    type Pieces = Pieces;
    type Trusted = Trusted;
    type Step = Step;
    type Recovered = Recovered;

    fn scan(&self, source: &Snapshot) -> Result<Pieces, Failure> {
        Pieces::of_jobs(source, &self.keyspaces, self.kept.take(), &self.meter)
    }

    fn validate(&self, pieces: Pieces) -> (Trusted, Vec<Finding>) {
        validate::validate(pieces, &self.run, self.now)
    }

    fn plan(&self, trusted: &Trusted, findings: &[Finding]) -> Plan<Step> {
        planned(&trusted.steps, "jobs", trusted.tally(), findings)
    }

    fn act(
        &self,
        mut trusted: Trusted,
        steps: Vec<Step>,
        sink: &Core,
    ) -> Result<Recovered, Failure> {
        tracing::info!(jobs = trusted.jobs, "recovery_started");
        let mut recovered = Recovered {
            types: trusted.types.len() as u64,
            jobs: trusted.jobs,
            finished: trusted.finished,
            schedules: trusted.schedules.len() as u64,
            claims_kept: trusted.claims_kept,
            set_aside: trusted.set_aside,
            read: trusted.read,
            ..Recovered::default()
        };
        std::mem::take(&mut trusted.waiting).note(&mut sink.index.unowned(), self.now.log_ms);
        for (name, stored, pattern) in std::mem::take(&mut trusted.schedules) {
            sink.calendar.put(&name, stored, &pattern);
        }
        for mut kind in trusted.into_indexes() {
            kind.finished.sort();
            sink.index.restore(kind);
        }
        let mut told = 0;
        let tally = perform(sink, &steps, self.now.log_ms, |job, settled| {
            told += 1;
            tell(job, settled, told);
        })?;
        recovered.processing_recovered = tally.reclaimed + tally.given_up;
        recovered.failed = tally.given_up;
        recovered.claims_resumed = tally.resumed;
        recovered.set_aside += tally.set_aside;
        let capacity = self.dispatch_capacity;
        recovered.pending_re_enqueued = sink.index.open_windows(self.now.log_ms, capacity);
        tracing::info!(
            processing_recovered = recovered.processing_recovered,
            pending_re_enqueued = recovered.pending_re_enqueued,
            "recovery_completed"
        );
        Ok(recovered)
    }
}

/// A job whose claim ended with the start.
fn tell(job: Subject, settled: Settled, told: u64) {
    let status = match settled {
        Settled::DeadLettered => "failed",
        Settled::UnderReview => "needs_review",
        Settled::Extended { .. } => "processing",
        _ => "pending",
    };
    if told <= TOLD {
        tracing::info!(%job, status, "job_recovered");
    } else {
        tracing::debug!(%job, status, "job_recovered");
    }
}
