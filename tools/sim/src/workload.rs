//! The mixed workload: what one client does to one store on one machine, by seed.
//!
//! It runs once; the campaigns then crash it at every operation of its disk. Invariants: it is a
//! function of its seed and of the answers; what a client can see to be wrong ends it.

use std::sync::Arc;

use rekindle_database::DurabilityMode;
use rekindle_env::{Disk, SimulatedDisk, Watch, WatchedDisk, durable};

use crate::effect::effects;
use crate::execute::execute;
use crate::history::History;
use crate::hook::Hook;
use crate::jobs::Now;
use crate::jobs::evidence::{Evidence, Lead};
use crate::model::Model;
use crate::oracle::{Known, Moment, Oracle};
use crate::plan::Planner;
use crate::request::{Answer, Refusal, Request};
use crate::store::{DIR, Machine, Store};

/// When every run begins.
pub const BEGIN_WALL_MS: u64 = 1_700_000_000_000;

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Requests.
    pub requests: usize,
    /// Requests between two checkpoints.
    pub checkpoint_every: usize,
    /// Requests between two stops of the store.
    pub stop_every: usize,
    /// Requests between two backups (0: none is taken).
    pub backup_every: usize,
    /// Whether jobs, schedules and transactions over everything are asked for.
    pub jobs: bool,
    /// Whether executors inside the server work on some of them.
    pub executors: bool,
    /// What an acknowledgement promises.
    pub durability: DurabilityMode,
}

impl Length {
    /// So many strict requests, with a checkpoint and a stop every so many.
    #[must_use]
    pub fn strict(requests: usize, checkpoint_every: usize, stop_every: usize) -> Self {
        let durability = DurabilityMode::Strict;
        let (backup_every, jobs, executors) = (0, true, true);
        Self { requests, checkpoint_every, stop_every, backup_every, jobs, executors, durability }
    }

    /// The same with backups.
    #[must_use]
    pub fn with_backups(self, backup_every: usize) -> Self {
        Self { backup_every, ..self }
    }

    /// The same without jobs: the histories of seeds that were found before there were any.
    #[must_use]
    pub fn without_jobs(self) -> Self {
        Self { jobs: false, ..self }
    }

    /// The same without executors: the histories of seeds that were found before there were any.
    #[must_use]
    pub fn without_executors(self) -> Self {
        Self { executors: false, ..self }
    }

    /// Whether jobs are asked for: they are handed out as they are written, which in lazy modes is
    /// less than was acknowledged.
    #[must_use]
    pub fn has_jobs(self) -> bool {
        self.jobs && self.durability == DurabilityMode::Strict
    }
}

/// A run and what is known of it.
#[derive(Debug)]
pub struct Run {
    /// The disk, with its trace.
    pub disk: SimulatedDisk,
    /// What was asked and answered.
    pub oracle: Oracle,
    /// What was committed.
    pub history: Arc<History>,
    /// The answer that ended it before its time.
    pub ended: Option<Refusal>,
    /// The store, where it is still open.
    pub store: Option<Store>,
    /// What its acknowledgements promised.
    pub durability: DurabilityMode,
    /// What its executors leave.
    pub evidence: Evidence,
    /// Of which seed it is.
    pub seed: u64,
    /// Whether it took backups.
    pub backups: bool,
    /// The clock, as it stands.
    pub wall_ms: u64,
    /// What a client believes at the end.
    pub model: Model,
}

impl Run {
    /// A machine with this disk, on which its executors left what they left.
    #[must_use]
    pub fn machine(&self, disk: &SimulatedDisk, wall_ms: u64, seed: u64) -> Machine {
        let machine = Machine::new(Arc::new(disk.clone()), wall_ms, seed);
        machine.with_evidence(self.evidence.clone())
    }
}

struct Client {
    machine: Machine,
    disk: SimulatedDisk,
    seed: u64,
    hook: Arc<Hook>,
    store: Option<Store>,
    oracle: Oracle,
    history: Arc<History>,
    model: Model,
    wall_ms: u64,
    closed: bool,
    strict: bool,
}

/// Runs the workload of this seed.
///
/// # Errors
/// A broken promise that the client could see.
pub fn run(disk: &SimulatedDisk, seed: u64, length: Length) -> Result<Run, String> {
    // The directory that holds the store is not the store's to make durable.
    durable::sync_parent(disk, DIR.as_ref()).map_err(|error| error.to_string())?;
    let hook = Arc::new(Hook::default());
    let watched = WatchedDisk::new(Arc::new(disk.clone()), Arc::clone(&hook) as Arc<dyn Watch>);
    let shared: Arc<dyn Disk> = Arc::new(watched);
    let mut client = Client {
        machine: Machine::new(shared, BEGIN_WALL_MS, seed).with_durability(length.durability),
        disk: disk.clone(),
        seed,
        hook,
        store: None,
        oracle: Oracle::default(),
        history: Arc::default(),
        model: Model::default(),
        wall_ms: BEGIN_WALL_MS,
        closed: true,
        strict: length.durability == DurabilityMode::Strict,
    };
    let mut planner = Planner::new(seed, length);
    let mut ended = None;
    while let Some((pause_ms, request)) = planner.next(&client.model, client.now_ms()) {
        client.machine.clock.advance_ms(pause_ms);
        client.wall_ms += pause_ms;
        let context = format!("request {} {request:?}", client.oracle.asked.len());
        let answer = client.ask(request).map_err(|broken| format!("{context}: {broken}"))?;
        if let Some(refusal) = answer.fatal() {
            ended = Some(refusal.clone());
            break;
        }
    }
    let Client { oracle, history, store, wall_ms, model, .. } = client;
    let (durability, backups) = (length.durability, length.backup_every > 0);
    let (disk, evidence) = (disk.clone(), Evidence::of(seed, &oracle));
    Ok(Run {
        disk,
        oracle,
        history,
        ended,
        store,
        durability,
        evidence,
        seed,
        backups,
        wall_ms,
        model,
    })
}

impl Client {
    /// Log time, or the wall clock while the store is closed.
    fn now_ms(&self) -> u64 {
        self.store.as_ref().map_or(self.wall_ms, |store| store.database.log_time_ms())
    }

    fn ask(&mut self, request: Request) -> Result<Answer, String> {
        let txn_id = self.store.as_ref().map_or(0, |store| store.database.begin().id());
        let txn_id = txn_id.max(self.oracle.asked.last().map_or(0, |asked| asked.begun.txn_id));
        let log_ms = self.now_ms();
        let moment = Moment { wall_ms: self.wall_ms, log_ms, txn_id };
        self.oracle.begin(&self.disk, request.clone(), moment);
        let answer = match &request {
            Request::Stop(clean) => self.stop(*clean),
            Request::Start => self.start()?,
            request => {
                let store = self.store.as_ref().ok_or("nothing is asked of a closed store")?;
                execute(store, request, Some(&self.hook))?
            }
        };
        if answer.fatal().is_some() {
            // Unknown: neither effects nor a version.
            return Ok(answer);
        }
        let effects = effects(&request, &answer, Now { log_ms, wall_ms: self.wall_ms });
        for (version, effect) in &effects {
            self.model.apply(*version, effect)?;
        }
        let before = self.oracle.asked.iter().rev().nth(1);
        let (mut version, durable) = before.map_or((0, 0), |asked| (asked.version, asked.durable));
        if let Some(store) = &self.store {
            version = store.database.stats().latest_version;
            let (visible, applied) = (store.database.current_version(), self.history.version());
            if self.strict && (visible, applied) != (version, version) {
                return Err(format!(
                    "version {version} was ordered last, {applied} applied, {visible} is visible"
                ));
            }
        }
        let synced = match request {
            Request::Flush | Request::Stop(true) => answer == Answer::Done(0),
            _ => self.strict,
        };
        let durable = match &answer {
            _ if synced => version,
            // What is in a backup never goes from the store: the next one builds on it.
            Answer::BackedUp(_, Ok(taken)) => durable.max(taken.version),
            _ => durable,
        };
        let position = self.store.as_ref().map(|store| store.database.stats().durable_position);
        self.oracle.end(&self.disk, answer.clone(), effects, (version, durable));
        if let (Some(asked), Some(position)) = (self.oracle.asked.last_mut(), position) {
            asked.position = position;
        }
        Ok(answer)
    }

    fn stop(&mut self, clean: bool) -> Answer {
        let Some(store) = self.store.take() else { return Answer::Done(0) };
        self.closed = clean;
        if !clean {
            // Dropped: as if the process had died.
            return Answer::Done(0);
        }
        let stopped = store.services.shutdown().map_err(Refusal::from);
        let stopped = stopped.and_then(|()| Ok(store.database.close()?));
        self.closed = stopped.is_ok();
        stopped.map_or_else(Answer::Refused, |()| Answer::Done(0))
    }

    fn start(&mut self) -> Result<Answer, String> {
        let evidence = Evidence::of(self.seed, &self.oracle);
        self.machine = self.machine.clone().with_evidence(evidence);
        let store = match self.machine.start(Some(&self.history)) {
            Ok(store) => store,
            Err(message) => return Ok(Answer::Refused(Refusal::stopped(message))),
        };
        let report = store.database.report();
        let expected: &[i32] = if self.closed { &[0] } else { &[0, 3] };
        if !expected.contains(&report.code) {
            let findings: Vec<String> = report.findings().map(ToString::to_string).collect();
            return Err(format!("a restart without a crash found {findings:?}"));
        }
        let (version, now) = (store.database.current_version(), store.now());
        let known = Known { begun: self.oracle.asked.len(), ..Known::default() };
        let stopped = self.oracle.stopped(known);
        let lead = Lead::of(&store.database, self.seed, stopped);
        self.store = Some(store);
        Ok(Answer::Led(version, now, lead))
    }
}
