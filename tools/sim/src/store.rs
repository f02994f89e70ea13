//! A whole store on a simulated machine: database and services, one thread, everything seeded.
//!
//! Invariant: nothing runs in the background, so what happens is a function of the calls, the
//! clock that the caller moves, and the seed.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Database, DurabilityMode, KeyspaceId, Options};
use rekindle_env::{Disk, Env, ManualClock, SeededRandom};
use rekindle_recovery::LayerReport;
use rekindle_services::claims::Traces;
use rekindle_services::{Options as ServiceOptions, Services};

use crate::history::{History, Rows};
use crate::jobs::Now;
use crate::jobs::evidence::Evidence;

/// Where the store lives on its disk.
pub const DIR: &str = "store";

/// Where its backups are, on the same disk.
pub const BACKUPS: &str = "/backups";

/// Small segments, so that a short run rotates often.
pub const SEGMENT_BYTES: u64 = 16 * 1024;

/// The keyspace of transactions that no service makes.
pub const RAW: &str = "sim";

/// The registry, those of the services, and [`RAW`].
pub const KEYSPACES: u16 = 19;

/// Jobs of a type that a start makes deliverable at once: fewer than wait, so that windows open.
const DISPATCH_CAPACITY: u64 = 3;

/// More rows than any run here has.
pub const ALL_ROWS: usize = 1 << 20;

/// A machine: a disk, clocks that the caller moves, seeded randomness.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clocks.
    pub clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    durability: DurabilityMode,
    evidence: Evidence,
}

impl Machine {
    /// A machine whose wall clock stands at `wall_ms`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, wall_ms: u64, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(wall_ms));
        let random = Arc::new(SeededRandom::new(seed));
        let (durability, evidence) = (DurabilityMode::Strict, Evidence::default());
        Self { disk, clock, random, durability, evidence }
    }

    /// The same machine; stores on it are opened in this mode.
    #[must_use]
    pub fn with_durability(mut self, durability: DurabilityMode) -> Self {
        self.durability = durability;
        self
    }

    /// The same machine, on which executors that died left this.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }

    /// As the store sees it.
    #[must_use]
    pub fn env(&self) -> Env {
        Env { disk: self.disk.clone(), clock: self.clock.clone(), random: self.random.clone() }
    }

    /// How stores on it are opened.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            durability: self.durability,
            segment_bytes: SEGMENT_BYTES,
            // A number of its own, so that the memory of the real machine plays no part.
            max_state_bytes: Some(1 << 30),
            background: false,
            ..Options::default()
        }
    }

    /// Opens the database: recovery up to and without the services.
    ///
    /// # Errors
    /// What opening answers.
    pub fn open(&self) -> Result<Database, rekindle_database::Error> {
        Database::open_with(DIR, self.options(), self.env())
    }

    /// Opens another store that is there.
    ///
    /// # Errors
    /// What opening answers.
    pub fn open_at(&self, dir: &str) -> Result<Database, rekindle_database::Error> {
        let options = Options { create: false, ..self.options() };
        Database::open_with(dir, options, self.env())
    }

    /// Opens all of it; the history follows what is committed from now on.
    ///
    /// # Errors
    /// What opening answers, as text, and whether a disk refused.
    pub fn start(&self, history: Option<&Arc<History>>) -> Result<Store, String> {
        let database = self.open().map_err(|error| format!("opening: {error}"))?;
        if let Some(history) = history {
            database.observe(history.clone());
        }
        self.lead(database).map_err(|error| format!("taking the lead: {error}"))
    }

    /// Settles what was in flight, by the evidence, on top of an open database.
    ///
    /// # Errors
    /// What the services answer.
    pub fn lead(&self, database: Database) -> Result<Store, rekindle_services::Error> {
        let traces = self.evidence.traces(&database)?;
        Store::lead(database, traces)
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// The database.
    pub database: Database,
    /// The services over it.
    pub services: Services,
    /// The keyspace of transactions that no service makes.
    pub raw: KeyspaceId,
    /// What the services found and did when they took the lead.
    pub led: Vec<LayerReport>,
}

impl Store {
    fn lead(database: Database, traces: Traces) -> Result<Self, rekindle_services::Error> {
        let (services, led) = Services::lead(
            &database,
            ServiceOptions {
                background: false,
                dispatch_capacity: DISPATCH_CAPACITY,
                traces,
                transcripts: Some(Path::new(DIR).join("loops")),
                ..ServiceOptions::default()
            },
        )?;
        let raw = database.keyspace(RAW)?;
        assert!(raw.0 <= KEYSPACES, "every keyspace is looked at: set KEYSPACES to {}", raw.0);
        Ok(Self { database, services, raw, led })
    }

    /// The moment, by both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall_ms = self.database.env().clock.wall_ms();
        Now { log_ms: self.database.log_time_ms(), wall_ms }
    }
}

/// Every row that is visible, keyspace by keyspace.
///
/// # Errors
/// When a row cannot be read.
pub fn rows(database: &Database) -> Result<Rows, String> {
    let snapshot = database.snapshot().map_err(|error| format!("a snapshot: {error}"))?;
    let mut rows = Rows::new();
    for keyspace in 0..=KEYSPACES {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let found = snapshot.scan(KeyspaceId(keyspace), all, ALL_ROWS, false);
        let found = found.map_err(|error| format!("scanning keyspace {keyspace}: {error}"))?;
        rows.extend(found.into_iter().map(|row| ((keyspace, row.key), (row.version, row.value))));
    }
    Ok(rows)
}
