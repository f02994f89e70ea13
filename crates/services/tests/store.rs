//! A store on a simulated disk with clocks that stand still: what the scenarios run on. An engine
//! with files of its own needs a real folder, and its crash is that of the process.
#![allow(clippy::disallowed_methods, reason = "a killed process leaves a real folder")]

use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Database, EngineKind, Env, KeyspaceId, Options as DatabaseOptions};
use rekindle_env::{Clock, ManualClock, RealDisk, SeededRandom, SimulatedDisk, Survival};
use rekindle_recovery::LayerReport;
use rekindle_services::claims::Traces;
use rekindle_services::queues::{Delivery, NewMessage, QueueSettings, ReceiveRequest, Token};
use rekindle_services::{Error, Options, Queues, Services};
use tempfile::TempDir;

/// Where the wall clock begins.
pub(crate) const START_MS: u64 = 1_000_000;

/// The engine that the scenarios run on: `REKINDLE_TEST_ENGINE`, or memory.
fn tested_engine() -> EngineKind {
    let asked = std::env::var("REKINDLE_TEST_ENGINE");
    asked.map_or(EngineKind::Memory, |name| name.parse().unwrap())
}

/// A new disk; the files of an engine that has its own are beside it.
pub(crate) fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    match tested_engine() {
        EngineKind::Memory => disk,
        _ => disk.with_native_folders().unwrap(),
    }
}

/// The engine of a new store on this disk; a store that was there keeps its own.
pub(crate) fn engine(disk: &SimulatedDisk) -> Option<EngineKind> {
    disk.has_native_folders().then(tested_engine)
}

/// An open store.
pub(crate) struct Store {
    pub(crate) disk: SimulatedDisk,
    /// Where it lies instead.
    folder: Option<TempDir>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) database: Database,
    pub(crate) services: Services,
    pub(crate) reports: Vec<LayerReport>,
}

impl Store {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self::on(disk(1), Arc::new(ManualClock::new(START_MS)))
    }

    /// The one on this disk.
    pub(crate) fn on(disk: SimulatedDisk, clock: Arc<ManualClock>) -> Self {
        Self::try_on(disk, clock).unwrap()
    }

    /// The same on a disk that may fail.
    pub(crate) fn try_on(disk: SimulatedDisk, clock: Arc<ManualClock>) -> Result<Self, Error> {
        Self::limited(disk, clock, 256 * 1024 * 1024)
    }

    /// The same; its state may have so many bytes.
    pub(crate) fn limited(
        disk: SimulatedDisk,
        clock: Arc<ManualClock>,
        max_state_bytes: u64,
    ) -> Result<Self, Error> {
        let database = try_open(&disk, &clock, max_state_bytes)?;
        let (services, reports) = Services::lead(&database, quiet())?;
        Ok(Self { disk, folder: None, clock, database, services, reports })
    }

    /// A new one on the lsm engine.
    pub(crate) fn in_files() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(START_MS)))
    }

    fn in_folder(folder: TempDir, clock: Arc<ManualClock>) -> Self {
        let env = Env {
            disk: Arc::new(RealDisk::new()),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Arc::new(SeededRandom::new(3)),
        };
        let options = DatabaseOptions {
            background: false,
            engine: Some(EngineKind::Lsm),
            segment_bytes: 1024 * 1024,
            ..DatabaseOptions::default()
        };
        let database = Database::open_with(folder.path().join("store"), options, env).unwrap();
        let (services, reports) = Services::lead(&database, quiet()).unwrap();
        let disk = SimulatedDisk::new(1);
        Self { disk, folder: Some(folder), clock, database, services, reports }
    }

    /// What the disk holds of it now.
    pub(crate) fn image(&self) -> TempDir {
        let folder = self.folder.as_ref().expect("it lies in a folder");
        let image = tempfile::tempdir().unwrap();
        copy(folder.path(), image.path());
        image
    }

    /// Power loss; in a folder the end of the process, sometimes in the middle of a checkpoint.
    pub(crate) fn crash_somewhere(self, down_ms: u64) -> Self {
        if self.folder.is_some() && down_ms % 2 == 1 {
            return self.killed_before_the_anchor(down_ms);
        }
        self.crash(down_ms)
    }

    /// The process is killed; `down_ms` later it is started on this image of its folder.
    pub(crate) fn killed(self, image: TempDir, down_ms: u64) -> Self {
        self.clock.advance_ms(down_ms);
        let clock = Arc::new(ManualClock::new(Clock::wall_ms(&*self.clock)));
        drop(self);
        Self::in_folder(image, clock)
    }

    /// The process is killed while a checkpoint is made: the engine's files are written, and
    /// nothing says so yet.
    pub(crate) fn killed_before_the_anchor(self, down_ms: u64) -> Self {
        let before = self.image();
        self.database.checkpoint().unwrap();
        let image = self.image();
        let shard = |image: &TempDir| image.path().join("store/shards/0");
        for name in ["meta.a", "meta.b"] {
            let from = shard(&before).join(name);
            match from.exists() {
                true => _ = std::fs::copy(from, shard(&image).join(name)).unwrap(),
                false => _ = std::fs::remove_file(shard(&image).join(name)),
            }
        }
        std::fs::remove_dir_all(shard(&image).join("checkpoints")).unwrap();
        let checkpoints = shard(&before).join("checkpoints");
        if checkpoints.exists() {
            std::fs::create_dir(shard(&image).join("checkpoints")).unwrap();
            copy(&checkpoints, &shard(&image).join("checkpoints"));
        }
        self.killed(image, down_ms)
    }

    /// A clean end and the next start.
    pub(crate) fn restart(self) -> Self {
        self.services.shutdown().unwrap();
        self.database.close().unwrap();
        self.again(0)
    }

    /// Power loss now, nothing kept that was not synced; `down_ms` later the machine is back.
    pub(crate) fn crash(self, down_ms: u64) -> Self {
        self.flush_sometimes();
        self.again(down_ms)
    }

    fn again(self, down_ms: u64) -> Self {
        if self.folder.is_some() {
            let image = self.image();
            return self.killed(image, down_ms);
        }
        let disk = self.disk.crash(Survival::None, 7);
        self.clock.advance_ms(down_ms);
        Self::on(disk, Arc::new(ManualClock::new(rekindle_env::Clock::wall_ms(&*self.clock))))
    }

    /// The same, through a window of so many jobs.
    pub(crate) fn crash_with_window(self, dispatch_capacity: u64) -> Self {
        self.crash_with(Options { dispatch_capacity, ..quiet() })
    }

    /// The same, with this evidence of what executors left.
    pub(crate) fn crash_with_traces(self, traces: Traces) -> Self {
        self.crash_with(Options { traces, ..quiet() })
    }

    /// On an engine with files some crashes find the state in these, the others in the journal. As
    /// always, nothing is flushed before a loss was told.
    fn flush_sometimes(&self) {
        let database = &self.database;
        let may = database.poisoned().is_none() && !database.has_untold_losses();
        let due = may && database.current_version().is_multiple_of(2);
        if due && self.disk.has_native_folders() && !self.disk.is_off() {
            database.checkpoint().unwrap();
        }
    }

    fn crash_with(self, options: Options) -> Self {
        self.flush_sometimes();
        let disk = self.disk.crash(Survival::None, 7);
        let clock = Arc::new(ManualClock::new(rekindle_env::Clock::wall_ms(&*self.clock)));
        let database = open(&disk, &clock);
        let (services, reports) = Services::lead(&database, options).unwrap();
        Self { disk, folder: None, clock, database, services, reports }
    }

    pub(crate) fn queues(&self) -> &Queues {
        self.services.queues()
    }

    /// A queue with the defaults.
    pub(crate) fn create(&self, name: &str) {
        self.queues().create(name, &QueueSettings::default(), None).unwrap();
    }

    pub(crate) fn send(&self, queue: &str, body: &str) {
        self.send_with(queue, body, &NewMessage::default());
    }

    pub(crate) fn send_with(&self, queue: &str, body: &str, message: &NewMessage<'_>) {
        let message = NewMessage { body: body.as_bytes(), ..*message };
        self.queues().send(queue, &message, None).unwrap();
    }

    pub(crate) fn receive(&self, queue: &str, max: usize) -> Vec<Delivery> {
        self.try_receive(queue, max).unwrap()
    }

    pub(crate) fn try_receive(&self, queue: &str, max: usize) -> Result<Vec<Delivery>, Error> {
        let request = ReceiveRequest { queue, max, visibility_ms: None, owner: "test" };
        Ok(self.queues().receive(&request)?.value)
    }

    /// The bodies of what is ready, all of it, without leases being kept on it.
    pub(crate) fn ready(&self, queue: &str) -> Vec<String> {
        let deliveries = self.receive(queue, 1_000);
        let tokens: Vec<Token> = deliveries.iter().map(|delivery| delivery.token).collect();
        let release = rekindle_services::queues::Nack { release: true, ..Default::default() };
        self.queues().nack(Some(queue), &tokens, &release, None).unwrap();
        bodies(&deliveries)
    }

    pub(crate) fn ack(&self, token: Token) -> Result<(), Error> {
        let mut done = self.queues().ack(None, &[token], None)?.value;
        done.remove(0).map(drop)
    }

    /// Time passes, and what became due is done.
    pub(crate) fn pass(&self, ms: u64) -> rekindle_services::Ticked {
        self.clock.advance_ms(ms);
        self.services.tick().unwrap()
    }

    /// A figure of the queue layer's report.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let figures = self.reports.iter().flat_map(|report| &report.figures);
        figures.filter(|figure| figure.name == name).map(|figure| figure.value).sum()
    }

    /// The labels of what recovery found.
    pub(crate) fn findings(&self) -> Vec<&'static str> {
        let findings = self.reports.iter().flat_map(|report| &report.findings);
        findings.map(|finding| finding.label.0).collect()
    }

    /// The labels of what recovery did.
    pub(crate) fn actions(&self) -> Vec<&'static str> {
        let actions = self.reports.iter().flat_map(|report| &report.actions);
        actions.map(|action| action.label.0).collect()
    }

    /// Writes a row behind the services' back.
    pub(crate) fn put(&self, keyspace: &str, key: &[u8], value: &[u8]) {
        let keyspace = self.keyspace(keyspace);
        let mut txn = self.database.begin();
        txn.put(keyspace, key, value);
        txn.commit().unwrap();
    }

    /// Removes a row behind the services' back.
    pub(crate) fn remove(&self, keyspace: &str, key: &[u8]) {
        let keyspace = self.keyspace(keyspace);
        let mut txn = self.database.begin();
        txn.delete(keyspace, key);
        txn.commit().unwrap();
    }

    pub(crate) fn keyspace(&self, name: &str) -> KeyspaceId {
        self.database.keyspace(name).unwrap()
    }

    /// All rows of a keyspace.
    pub(crate) fn rows(&self, keyspace: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        use std::ops::Bound::Unbounded;
        let keyspace = self.keyspace(keyspace);
        let snapshot = self.database.snapshot().unwrap();
        let rows = snapshot.scan(keyspace, (Unbounded, Unbounded), 10_000, false).unwrap();
        rows.into_iter().map(|row| (row.key.to_vec(), row.value.to_vec())).collect()
    }
}

/// Copies what is in a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Where transcripts of loops lie.
pub(crate) const TRANSCRIPTS: &str = "store/loops";

/// Services without threads.
fn quiet() -> Options {
    Options { background: false, transcripts: Some(TRANSCRIPTS.into()), ..Options::default() }
}

/// Opens a database without threads.
pub(crate) fn open(disk: &SimulatedDisk, clock: &Arc<ManualClock>) -> Database {
    try_open(disk, clock, 256 * 1024 * 1024).unwrap()
}

fn try_open(
    disk: &SimulatedDisk,
    clock: &Arc<ManualClock>,
    max_state_bytes: u64,
) -> Result<Database, Error> {
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::clone(clock) as Arc<dyn rekindle_env::Clock>,
        random: Arc::new(SeededRandom::new(3)),
    };
    let options = DatabaseOptions {
        engine: engine(disk),
        background: false,
        segment_bytes: 1024 * 1024,
        max_state_bytes: Some(max_state_bytes),
        ..DatabaseOptions::default()
    };
    Ok(Database::open_with("store", options, env)?)
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    let text = |delivery: &Delivery| String::from_utf8(delivery.body().to_vec()).unwrap();
    deliveries.iter().map(text).collect()
}
