//! What all handles of one open database share, from its assembly to its end.
//!
//! Invariants: the directory stays locked until the journal behind it has stopped; when the last
//! handle is gone no thread is left.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use rekindle_engine::KeyspaceId;
use rekindle_env::{DirectoryLock, Env};
use rekindle_journal::{Journal, Outcome};
use rekindle_recovery::Report;
use rekindle_recovery::numbers::RUN_MAX;

use crate::apply::{State, lock};
use crate::checkpoint::Checkpoints;
use crate::derived::{self, Earlier};
use crate::error::Error;
use crate::growth;
use crate::keeper::Keeper;
use crate::keyspaces::{self, REGISTRY};
use crate::losses::{AcceptedLoss, Untold};
use crate::options::{DurabilityMode, Options};
use crate::scrub::Scrubs;
use crate::sequencer::{Halt, ReadView};
use crate::space::Space;
use crate::stats::{ReplayStats, Stats};
use crate::wakers::Wakers;

/// Bits of a transaction id that count; those above are the incarnation.
const COUNTER_BITS: u32 = 40;
const _: () = assert!(RUN_MAX + 1 < 1 << (64 - COUNTER_BITS), "the run behind the last has ids");

/// What all handles of one open database share.
pub(crate) struct Core {
    /// Behind the journal.
    pub(crate) state: Arc<State>,
    /// The log.
    pub(crate) journal: Arc<dyn Journal>,
    /// The machine.
    pub(crate) env: Env,
    /// How it was opened.
    pub(crate) options: Options,
    /// The most that the state may become, bytes.
    pub(crate) max_state_bytes: u64,
    /// The most that what is kept in memory may become, bytes.
    pub(crate) max_memory_bytes: u64,
    /// The number of this run.
    pub(crate) incarnation: u64,
    /// What recovery saw and did.
    pub(crate) report: Report,
    /// What replay did.
    pub(crate) replay_stats: ReplayStats,
    /// The accepted losses that replay met.
    pub(crate) losses: Vec<AcceptedLoss>,
    /// Whether they still have to be told.
    pub(crate) untold: Untold,
    /// What was derived from the rows before, until it is taken.
    pub(crate) earlier: derived::Found,
    /// Checkpoints, where there is something to checkpoint to.
    pub(crate) checkpoints: Option<Checkpoints>,
    /// The space on disk, where there is one.
    pub(crate) space: Option<Space>,
    /// What was read at rest.
    pub(crate) scrubs: Mutex<Scrubs>,
    /// Commits that await room in the journal, by the boot time at which they give up.
    pub(crate) room: Arc<Wakers>,
    /// The background threads.
    pub(crate) keeper: Mutex<Option<Keeper>>,
    /// Names of keyspaces that this handle has met.
    pub(crate) keyspaces: RwLock<HashMap<String, KeyspaceId>>,
    /// The highest keyspace in use.
    pub(crate) highest_keyspace: AtomicU16,
    /// The directory, until `close`.
    pub(crate) directory: Mutex<Option<Box<dyn DirectoryLock>>>,
    /// The last transaction id.
    pub(crate) transactions: AtomicU64,
}

/// What a core is made of.
pub(crate) struct Assembly {
    /// Behind the journal.
    pub(crate) state: Arc<State>,
    /// The log.
    pub(crate) journal: Arc<dyn Journal>,
    /// Checkpoints, where there is something to checkpoint to.
    pub(crate) checkpoints: Option<Checkpoints>,
    /// The space on disk, where there is one.
    pub(crate) space: Option<Space>,
    /// The locked directory.
    pub(crate) directory: Option<Box<dyn DirectoryLock>>,
    /// What recovery saw and did.
    pub(crate) report: Report,
    /// What replay did.
    pub(crate) replay_stats: ReplayStats,
    /// The accepted losses that replay met.
    pub(crate) losses: Vec<AcceptedLoss>,
    /// What was derived from the rows before.
    pub(crate) earlier: Option<Earlier>,
    /// The number of this run.
    pub(crate) incarnation: u64,
    /// How it was opened.
    pub(crate) options: Options,
    /// The machine.
    pub(crate) env: Env,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Core {
    /// Puts it together.
    pub(crate) fn new(assembly: Assembly) -> Result<Self, Error> {
        let incarnation = assembly.incarnation;
        if incarnation >= 1 << (64 - COUNTER_BITS) {
            return Err(Error::Invalid(format!(
                "run {incarnation} has no transaction ids left; export the data into a new store"
            )));
        }
        let highest_keyspace = keyspaces::highest(&*assembly.state.engine)?;
        let files = assembly.checkpoints.as_ref().and_then(|it| it.engine.files());
        let in_files = files.is_some();
        let max_state_bytes =
            growth::max_state_bytes(assembly.options.max_state_bytes, in_files, &assembly.env);
        let max_memory_bytes = match in_files {
            true => growth::max_memory_bytes(&assembly.env),
            false => max_state_bytes,
        };
        let now_ms = assembly.env.clock.boot_ms();
        let untold = Untold::new(!assembly.losses.is_empty(), now_ms);
        Ok(Self {
            state: assembly.state,
            journal: assembly.journal,
            env: assembly.env,
            options: assembly.options,
            max_state_bytes,
            max_memory_bytes,
            incarnation,
            report: assembly.report,
            replay_stats: assembly.replay_stats,
            losses: assembly.losses,
            untold,
            earlier: derived::Found::new(assembly.earlier, now_ms),
            checkpoints: assembly.checkpoints,
            space: assembly.space,
            scrubs: Mutex::default(),
            room: Arc::default(),
            keeper: Mutex::default(),
            keyspaces: RwLock::default(),
            highest_keyspace: AtomicU16::new(highest_keyspace),
            directory: Mutex::new(assembly.directory),
            transactions: AtomicU64::new(incarnation << COUNTER_BITS),
        })
    }

    /// A new transaction id: never reused, over any number of restarts.
    pub(crate) fn next_transaction_id(&self) -> u64 {
        let id = self.transactions.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(id >> COUNTER_BITS == self.incarnation, "a run has 2^40 transactions");
        id
    }

    /// What an acknowledgement of something already applied promises.
    pub(crate) fn promise(&self) -> Outcome {
        match self.options.durability {
            DurabilityMode::Strict => Outcome::Durable,
            DurabilityMode::Batched => Outcome::Written,
            DurabilityMode::Relaxed => Outcome::Memory,
        }
    }

    /// Refuses keyspaces that were never created.
    pub(crate) fn check_keyspace(&self, id: KeyspaceId, privileged: bool) -> Result<(), String> {
        if id == REGISTRY && !privileged {
            return Err("keyspace 0 holds the names of the keyspaces; it is read-only".to_owned());
        }
        if id.0 > self.highest_keyspace.load(Ordering::Acquire) {
            let id = id.0;
            return Err(format!("keyspace {id} does not exist; create it with its name"));
        }
        Ok(())
    }

    /// A transaction reads for the first time.
    pub(crate) fn begin_reading(&self) -> ReadView {
        let now_ms = self.env.clock.boot_ms();
        self.state.sequencer().begin_reading(now_ms)
    }

    /// A reading transaction ended.
    pub(crate) fn end_reading(&self, view: ReadView) {
        self.state.sequencer().end_reading(view, self.state.visible());
    }

    /// The version up to which everything acknowledged is.
    pub(crate) fn acknowledged_version(&self) -> u64 {
        match self.options.durability {
            // Acknowledged from memory, applied when written.
            DurabilityMode::Relaxed => self.state.sequencer().overlay.latest(),
            DurabilityMode::Strict | DurabilityMode::Batched => self.state.visible(),
        }
    }

    /// Makes visible what was acknowledged. Only in `relaxed` mode is that not so by itself.
    pub(crate) fn show_acknowledged(&self) -> Result<(), Error> {
        let acknowledged = self.acknowledged_version();
        if self.options.durability == DurabilityMode::Relaxed && acknowledged > self.state.visible()
        {
            self.journal.sync()?;
            assert!(acknowledged <= self.state.visible(), "a sync applies what it covers");
        }
        Ok(())
    }

    /// Syncs, marks a clean end, stops.
    pub(crate) fn close(&self) -> Result<(), Error> {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.stop();
        }
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.stop();
        }
        let closed_before = {
            let mut sequencer = self.state.sequencer();
            let closed = sequencer.halted == Some(Halt::Closed);
            sequencer.halted.get_or_insert(Halt::Closed);
            closed
        };
        if closed_before {
            return Ok(());
        }
        let synced = self.journal.sync();
        if synced.is_ok() {
            self.last_checkpoint();
        }
        // Whoever still writes a checkpoint ends before the directory is anybody else's.
        let _no_other = self.checkpoints.as_ref().map(Checkpoints::hold);
        let closed = self.journal.close();
        *lock(&self.directory) = None;
        synced?;
        Ok(closed?)
    }

    /// Writes a checkpoint where the next start would otherwise have much to replay. A failure only
    /// means that it has.
    fn last_checkpoint(&self) {
        let Some(checkpoints) = &self.checkpoints else { return };
        let held = self.untold.holds(self.env.clock.boot_ms());
        // Damage that is in use would be all there is once the state is no longer in memory.
        let owed = !checkpoints.rotten().is_empty();
        if owed || (!held && checkpoints.is_worth_at_close(&self.state)) {
            checkpoints.go_on();
            let written = match owed {
                true => self.replace_rotten_last(checkpoints),
                false => checkpoints.write_last(self),
            };
            if let Err(error) = written {
                tracing::warn!("no checkpoint at the end: {error}");
            }
        }
    }

    /// Refuses work on the store of a database that was closed: the directory may be another's.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &self.state.sequencer().halted {
            Some(halt @ Halt::Closed) => Err(halt.error()),
            _ => Ok(()),
        }
    }

    /// Why it does not work any more.
    pub(crate) fn poisoned(&self) -> Option<String> {
        self.journal.poisoned().or_else(|| self.state.engine.failed())
    }

    /// How it stands.
    pub(crate) fn stats(&self) -> Stats {
        let (state_bytes, history_bytes) = self.state.engine.state_bytes();
        let (snapshots, snapshots_expired) = {
            let snapshots = lock(&self.state.snapshots);
            (snapshots.len(), snapshots.expired())
        };
        let checkpoints = self.checkpoints.as_ref();
        let counted = checkpoints.map(|it| it.counts.now()).unwrap_or_default();
        let times = checkpoints.map(|it| it.times(&self.state)).unwrap_or_default();
        let mut sequencer = self.state.sequencer();
        Stats {
            visible_version: self.state.visible(),
            latest_version: sequencer.overlay.latest(),
            commits: sequencer.commits,
            conflicts: sequencer.conflicts,
            refused_full: sequencer.refused_full,
            state_bytes,
            max_state_bytes: self.max_state_bytes,
            max_memory_bytes: self.max_memory_bytes,
            engine_memory_bytes: self.state.engine.memory_bytes(),
            state_written_bytes: counted.bytes + self.state.engine.written_bytes(),
            history_bytes,
            window_bytes: sequencer.overlay.bytes(),
            oldest_version: self.state.engine.floor(),
            readers: sequencer.readers.len() + snapshots,
            readers_expired: sequencer.readers.expired() + snapshots_expired,
            checkpoints: counted.written,
            checkpoints_failed: counted.failed,
            checkpoint_micros: times.checkpoint_micros,
            predicted_recovery_micros: times.predicted_recovery_micros,
            predicted_replay_micros: times.predicted_replay_micros,
            replay_micros: times.replay_micros,
            wall_jumps: sequencer.clock.jumps(),
            log_time_ms: sequencer.clock.now_ms(),
            durable_position: self.journal.durable().position,
            disk: self.space.as_ref().map(Space::figures).unwrap_or_default(),
        }
    }
}

/// What users hold: while there is one, the keeper works.
#[derive(Debug)]
pub(crate) struct Handle {
    core: Arc<Core>,
}

impl Handle {
    /// Starts the keeper where there is to be one.
    pub(crate) fn new(core: Core) -> Result<Arc<Self>, Error> {
        let core = Arc::new(core);
        if core.options.background {
            *lock(&core.keeper) = Some(Keeper::start(&core)?);
        }
        Ok(Arc::new(Self { core }))
    }
}

impl Deref for Handle {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Writes nothing: dropping without `close` is a crash, which recovery answers. When the
        // last user is gone the directory is free.
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.stop();
        }
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.stop();
        }
    }
}
