//! The handle of an open database: opening, handing out transactions and snapshots, closing.
//!
//! Invariant: `open` answers only after recovery is complete; until then nothing can be read.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use rekindle_engine::{Engine, KeyspaceId, MemoryEngine};
use rekindle_env::{DirectoryLock, Env, LockMode, ReadDisk};
use rekindle_journal::{Apply, Journal, LocalJournal, LocalOptions};
use rekindle_recovery::{Meter, MeteredDisk, Report};

use crate::apply::{Observer, State, lock};
use crate::checkpoint::Checkpoints;
use crate::core::{Assembly, Core, Handle};
use crate::derived::Earlier;
use crate::error::Error;
use crate::logclock::LogClock;
use crate::losses::AcceptedLoss;
use crate::options::{DurabilityMode, Options};
use crate::recovery::{Depth, Examination, Recovered, lock_directory};
use crate::replay::Replay;
use crate::scrub::{Pace, Scrub, Scrubs};
use crate::sequencer::Sequencer;
use crate::shown::Settled;
use crate::snapshot::Snapshot;
use crate::space::Space;
use crate::stats::{ReplayStats, Stats};
use crate::transaction::Transaction;

/// Attempts of [`Database::transact`] before it gives the conflict back: somebody commits in each
/// round, so this many lost rounds mean that the transaction is too long for its keys.
const TRANSACT_ATTEMPTS_MAX: u32 = 1_000;

/// An open database. Clones share it.
///
/// Call [`Database::close`] at the end. Dropping the last handle without it is a crash: nothing
/// that was acknowledged in strict mode is lost, and the next open recovers.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store");
/// use rekindle_database::Database;
///
/// let database = Database::open(&path)?;
/// let accounts = database.keyspace("accounts")?;
/// database.transact(|transaction| {
///     transaction.put(accounts, b"ada", b"100");
///     transaction.put(accounts, b"bob", b"20");
///     Ok(())
/// })?;
/// let snapshot = database.snapshot()?;
/// let ada = snapshot.get(accounts, b"ada")?.expect("it was acknowledged, so it is visible");
/// assert_eq!(&*ada.bytes, b"100");
/// database.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Database {
    core: Arc<Handle>,
}

/// What a database is made of when its journal is not found in a directory: recovered state, and
/// how the journal behind it is started. For tests, and for journals by quorum.
#[derive(Debug)]
pub struct Parts {
    /// The state, at the position that the journal goes on from.
    pub engine: Arc<MemoryEngine>,
    /// The number of this run; above every one before it.
    pub incarnation: u64,
    /// The machine.
    pub env: Env,
    /// The choices; those about directories and checkpoints have no meaning here.
    pub options: Options,
}

impl Database {
    /// Opens, strict; creates the directory when it is missing. Recovery is complete when it
    /// answers.
    ///
    /// # Errors
    /// `Corrupt` when acknowledged data is damaged (nothing was changed), `Locked` when another
    /// process has the directory, `NotAStore` when it holds something else, `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Options::default(), Env::real())
    }

    /// Opens in this mode.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_with_mode(path: impl AsRef<Path>, mode: DurabilityMode) -> Result<Self, Error> {
        let options = Options { durability: mode, ..Options::default() };
        Self::open_with(path, options, Env::real())
    }

    /// Opens with everything chosen.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_with(path: impl AsRef<Path>, options: Options, env: Env) -> Result<Self, Error> {
        Self::open_metered(path, options, env, &Meter::default())
    }

    /// The same; `meter` says how far it is.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_metered(
        path: impl AsRef<Path>,
        options: Options,
        env: Env,
        meter: &Meter,
    ) -> Result<Self, Error> {
        let dir = path.as_ref();
        options.validate()?;
        let directory = lock_directory(dir, options.create, LockMode::Exclusive, &env)?;
        let (space, env) = Space::of(dir, &env);
        let base: Arc<dyn ReadDisk> = env.disk.clone();
        let disk = MeteredDisk::new(base, meter.clone());
        let examination =
            Examination::metered(dir, &options, &env, &disk, Depth::Start, meter.clone())?;
        let recovered = examination.act(&options)?;
        Self::start(recovered, options, env.clone(), (space, directory))
    }

    /// Starts what was recovered.
    fn start(
        recovered: Recovered,
        options: Options,
        env: Env,
        (space, directory): (Space, Box<dyn DirectoryLock>),
    ) -> Result<Self, Error> {
        let Recovered { engine, replayed, journal, earlier, found, report } = recovered;
        let incarnation = report.incarnation;
        let losses = replayed.replay.losses().to_vec();
        let state = new_state(engine.engine(), replayed.replay, &options, &env);
        let local = LocalOptions {
            durability: options.durability,
            sync_interval: options.sync_interval,
            background: options.background,
            ..LocalOptions::default()
        };
        let apply = Arc::clone(&state) as Arc<dyn Apply>;
        let journal = Arc::new(LocalJournal::start(journal, local, apply)?);
        let checkpoints = Checkpoints::new(found, engine, Arc::clone(&journal));
        Self::assemble(Assembly {
            state,
            journal,
            checkpoints: Some(checkpoints),
            space: Some(space),
            directory: Some(directory),
            report,
            replay_stats: replayed.stats,
            losses,
            earlier,
            incarnation,
            options,
            env,
        })
    }

    /// A database over any journal: `start` is handed what the journal must apply to.
    ///
    /// # Errors
    /// What `start` answers.
    pub fn over(
        parts: Parts,
        start: impl FnOnce(Arc<dyn Apply>) -> Result<Arc<dyn Journal>, Error>,
    ) -> Result<Self, Error> {
        let Parts { engine, incarnation, env, options } = parts;
        options.validate()?;
        let final_version = engine.mark().version;
        let replay = Replay::new(engine.mark());
        let state = new_state(engine, replay, &options, &env);
        let journal = start(Arc::clone(&state) as Arc<dyn Apply>)?;
        Self::assemble(Assembly {
            state,
            journal,
            checkpoints: None,
            space: None,
            directory: None,
            report: Report { incarnation, ..Report::default() },
            replay_stats: ReplayStats { final_version, ..ReplayStats::default() },
            losses: Vec::new(),
            earlier: None,
            incarnation,
            options,
            env,
        })
    }

    fn assemble(assembly: Assembly) -> Result<Self, Error> {
        Ok(Self { core: Handle::new(Core::new(assembly)?)? })
    }

    /// What all handles share.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// What recovery saw, decided and did.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.core.report
    }

    /// What replay did.
    #[must_use]
    pub fn replay_stats(&self) -> ReplayStats {
        self.core.replay_stats
    }

    /// The losses that operators accepted, as far as replay met their records: those behind the
    /// checkpoint that the start began with.
    #[must_use]
    pub fn accepted_losses(&self) -> &[AcceptedLoss] {
        &self.core.losses
    }

    /// Whether there are such losses that [`Database::losses_told`] was not called for.
    #[must_use]
    pub fn has_untold_losses(&self) -> bool {
        self.core.untold.is_some()
    }

    /// Says that [`Database::accepted_losses`] are written down durably elsewhere. Until then no
    /// checkpoint is written by itself, not at a clean stop either, for at most ten minutes: the
    /// next replay would begin behind them, and nobody would hear of them again.
    pub fn losses_told(&self) {
        self.core.untold.told();
    }

    /// What an observer of an earlier run derived, as the newest checkpoint keeps it, and what
    /// changed since. Handed out once, and only until something is committed: what came after it is
    /// not in it.
    #[must_use]
    pub fn take_earlier(&self) -> Option<Earlier> {
        self.core.earlier.take()
    }

    /// The number of this run; grows with every open.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.core.incarnation
    }

    /// The machine that it runs on.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.core.env
    }

    /// How it was opened.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.core.options
    }

    /// The keyspace with this name; created durably when it is new.
    ///
    /// # Errors
    /// As a commit; `Invalid` for a name that is empty or too long.
    pub fn keyspace(&self, name: &str) -> Result<KeyspaceId, Error> {
        self.core.keyspace(name)
    }

    /// A read-write transaction. It costs nothing before its first read or write.
    #[must_use]
    pub fn begin(&self) -> Transaction {
        Transaction::new(&self.core)
    }

    /// A read view of what is visible now: everything that was acknowledged, and nothing that could
    /// still be lost.
    ///
    /// # Errors
    /// In `relaxed` mode it writes what was acknowledged first, which may fail.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        self.core.show_acknowledged()?;
        Snapshot::new(&self.core, None)
    }

    /// A read view of an older version.
    ///
    /// # Errors
    /// `Compacted` when that past is gone, `Invalid` for a version that does not exist yet.
    pub fn snapshot_at(&self, version: u64) -> Result<Snapshot, Error> {
        self.core.show_acknowledged()?;
        Snapshot::new(&self.core, Some(version))
    }

    /// Runs `body` in a transaction and commits it; again while another one was first. `body` may
    /// run many times: it should change nothing but the transaction.
    ///
    /// # Errors
    /// What `body` answers (nothing is committed then), or as a commit.
    pub fn transact<T>(
        &self,
        mut body: impl FnMut(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut transaction = self.begin();
            let outcome = body(&mut transaction);
            let committed = match outcome {
                Ok(value) => transaction.commit().map(|_| value),
                // An error may tell of what it read, so that must be durable too.
                Err(error) => match transaction.settle() {
                    Ok(()) => Err(error),
                    Err(unknown) => Err(unknown),
                },
            };
            match committed {
                Err(Error::Conflict { .. }) if attempts < TRANSACT_ATTEMPTS_MAX => {
                    std::thread::yield_now();
                }
                other => return other,
            }
        }
    }

    /// The version that reads see: that of the last acknowledged transaction, or a later one.
    #[must_use]
    pub fn current_version(&self) -> u64 {
        self.core.acknowledged_version()
    }

    /// Log time now, milliseconds since the Unix epoch: never goes back, never jumps.
    #[must_use]
    pub fn log_time_ms(&self) -> u64 {
        self.core.state.sequencer().clock.now_ms()
    }

    /// Writes and syncs everything that was submitted, whatever the mode. On the engine `rocksdb`
    /// its memtables are written out too.
    ///
    /// # Errors
    /// `Poisoned` when the journal failed.
    pub fn flush(&self) -> Result<(), Error> {
        self.core.flush()
    }

    /// Makes everything that was acknowledged before visible to reads that are not transactions, as
    /// a snapshot does by itself. Blocks only in the mode that acknowledges from memory.
    ///
    /// # Errors
    /// `Poisoned` when the journal failed.
    pub fn settle(&self) -> Result<(), Error> {
        self.core.show_acknowledged()
    }

    /// Resolves when everything that was acknowledged before this call is visible to reads that are
    /// not transactions. At once, but in the mode that acknowledges from memory.
    pub fn settled(&self) -> Settled {
        Settled::new(Arc::clone(&self.core))
    }

    /// Writes a checkpoint now, unless nothing happened since the last. Writers go on meanwhile.
    ///
    /// # Errors
    /// `Io` when the disk refused; the checkpoints before it are untouched.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.core.checkpoint()
    }

    /// Reads every byte of what lies on disk and no start reads: both checkpoints, all sealed
    /// segments. What is damaged is replaced by a checkpoint of now, where that can stand in for
    /// it; the findings say what is so after that. Writers go on meanwhile. Threads do this slowly
    /// ([`Options::scrub_every`]); this call reads as fast as it goes.
    ///
    /// # Errors
    /// `Invalid` for a database without a directory, `Poisoned` when the journal failed. What is
    /// damaged, missing or cannot be read is a finding.
    pub fn scrub(&self) -> Result<Scrub, Error> {
        Ok(self.core.scrub(Pace::Full)?.expect("only a slow one is asked to stop"))
    }

    /// The scrubs since it was opened.
    #[must_use]
    pub fn scrubs(&self) -> Scrubs {
        lock(&self.core.scrubs).clone()
    }

    /// Does what is due by the clock: syncs of the lazy modes, old readers, checkpoints. Threads do
    /// it, unless the database was opened without ([`Options::background`]).
    ///
    /// # Errors
    /// What the work answers; the next call tries again.
    pub fn tick(&self) -> Result<(), Error> {
        self.core.tick()
    }

    /// Syncs everything, marks a clean end and stops; reads go on, commits answer `Poisoned`.
    /// Writes a checkpoint first where the next start would otherwise have much to replay.
    /// Repeatable.
    ///
    /// # Errors
    /// `Poisoned` when the journal failed: recovery will decide what is there.
    pub fn close(&self) -> Result<(), Error> {
        self.core.close()
    }

    /// A hash over the visible state: equal states have equal hashes, on any engine. Linear.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        self.core.state.engine.state_hash()
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Why it is poisoned, if it is.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.core.poisoned()
    }

    /// Adds derived state that follows the transactions from the next one on. Make it of a snapshot
    /// while nobody commits, or before the first commit.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let observers = self.core.state.observers.write();
        let goes_on = observer.is_kept();
        observers.unwrap_or_else(PoisonError::into_inner).push(observer);
        if goes_on {
            self.core.earlier.goes_on();
        }
    }
}

/// What is behind the journal, at the engine's mark.
fn new_state(engine: Arc<dyn Engine>, replay: Replay, options: &Options, env: &Env) -> Arc<State> {
    let mark = engine.mark();
    let clock = LogClock::new(Arc::clone(&env.clock), mark.log_time_ms);
    let sequencer = Sequencer::new(mark.version, env.random.next_u64(), clock);
    Arc::new(State::new(engine, sequencer, replay, options.max_history_bytes))
}
