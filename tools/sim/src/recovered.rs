//! A store that came back: recovered step by step, with what can be seen at each step.
//!
//! Invariant: looking changes nothing but the counter of transaction ids.

use rekindle_database::{Error, ReplayStats, Report};
use rekindle_env::SimulatedDisk;
use rekindle_recovery::LayerReport;
use rekindle_services::claims::Cause;
use rekindle_services::jobs::Status;

use crate::history::Rows;
use crate::invariants::job_details::last_cause;
use crate::jobs::evidence::Lead;
use crate::model::Model;
use crate::oracle::Known;
use crate::store::{Machine, Store, rows};
use crate::workload::Run;

/// What recovery made of a disk.
#[derive(Debug)]
pub struct Recovered {
    /// What it reported.
    pub report: Report,
    /// What it replayed.
    pub stats: ReplayStats,
    /// The version before anything was settled.
    pub version: u64,
    /// All rows at that version.
    pub rows: Rows,
    /// Their hash, as the store sees it.
    pub hash: u128,
    /// The first transaction id of this run.
    pub txn_id: u64,
    /// The number of this run.
    pub incarnation: u64,
    /// Log time.
    pub log_ms: u64,
    /// The hash once everything in flight was settled.
    pub settled_hash: u128,
    /// The version then.
    pub settled_version: u64,
    /// Operations of the disk that the recovery took.
    pub operations: u64,
    /// The open store.
    pub store: Store,
    /// Its machine.
    pub machine: Machine,
    /// Its disk.
    pub disk: SimulatedDisk,
}

/// Why it did not come back.
#[derive(Debug)]
pub enum Failed {
    /// Opening was refused or stopped.
    Open(Error),
    /// The services could not take the lead, or a row could not be read.
    Lead(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(error) => write!(f, "opening: {error}"),
            Self::Lead(message) => write!(f, "taking the lead: {message}"),
        }
    }
}

impl Recovered {
    /// Recovers the store on this disk, on a machine with this clock.
    ///
    /// # Errors
    /// Where it stopped.
    pub fn of(disk: SimulatedDisk, wall_ms: u64, seed: u64) -> Result<Self, Failed> {
        Self::on(Machine::new(std::sync::Arc::new(disk.clone()), wall_ms, seed), disk)
    }

    /// The same on a machine that was made before.
    ///
    /// # Errors
    /// Where it stopped.
    pub fn on(machine: Machine, disk: SimulatedDisk) -> Result<Self, Failed> {
        let before = disk.operations();
        let database = machine.open().map_err(Failed::Open)?;
        let rows = rows(&database).map_err(Failed::Lead)?;
        let (report, stats) = (database.report().clone(), database.replay_stats());
        let (version, hash) = (database.current_version(), database.state_hash());
        let (txn_id, incarnation) = (database.begin().id(), database.incarnation());
        let log_ms = database.log_time_ms();
        let store = machine.lead(database).map_err(|error| Failed::Lead(error.to_string()))?;
        Ok(Self {
            report,
            stats,
            version,
            rows,
            hash,
            txn_id,
            incarnation,
            log_ms,
            settled_hash: store.database.state_hash(),
            settled_version: store.database.current_version(),
            operations: disk.operations() - before,
            store,
            machine,
            disk,
        })
    }

    /// What it means for the claims of executors. `known`: what was known when the run went down;
    /// `None`: another recovery came before.
    #[must_use]
    pub fn lead(&self, run: &Run, known: Option<Known>) -> Lead {
        let stopped = known.is_some_and(|known| run.oracle.stopped(known));
        let in_flight = known.and_then(|known| run.oracle.in_flight(known));
        Lead::of(&self.store.database, run.seed, stopped).behind(in_flight)
    }

    /// Tells a client what became of the claims of executors.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn tell(&self, model: &mut Model, lead: &Lead) -> Result<(), String> {
        model.jobs.lead(lead, |id| {
            let job = self.store.services.jobs().show(id).ok()?;
            let over = job.info.status != Status::Processing;
            let word = last_cause(&job.events);
            Cause::ALL.into_iter().find(|cause| over && cause.as_str() == word)
        })
    }

    /// What the services reported.
    #[must_use]
    pub fn led(&self) -> &[LayerReport] {
        &self.store.led
    }
}

/// Opens and takes the lead without looking; for a machine that is switched off in the middle.
pub fn attempt(machine: &Machine) {
    // Wherever it stops: what counts is what the disk holds then.
    drop(machine.start(None));
}
