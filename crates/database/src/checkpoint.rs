//! Checkpoints: when one is due, and the order in which it becomes the truth.
//!
//! Writers go on meanwhile. Order: sync, so that everything acknowledged is in it; freeze between
//! two records; sync again, so that nothing above durable is written; write the file; name it in
//! the journal's meta, which gives back segments below the *older* checkpoint's `replay_from`; only
//! then remove older files and let the past go. Invariants: one at a time; two are kept; a failed
//! one leaves the ones before it as they were.

mod clock;
mod counts;
mod files;
mod rotten;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rekindle_engine::checkpoint::{self, Policy, RowStream, Since, Stamp, WriteError, Written};
use rekindle_engine::{FileEngine, MemoryEngine};
use rekindle_journal::{Journal, LocalJournal};
use rekindle_recovery::Identity;

use crate::apply::{State, lock};
use crate::classify::FEATURE_LEVEL;
use crate::core::Core;
use crate::engines::Held;
use crate::error::Error;
use counts::Counts;
pub(crate) use rotten::Rotten;

/// After a failure, how long until the next attempt, milliseconds.
const RETRY_MS: u64 = 5_000;
/// The same on a disk that is nearly full, or refused it for want of space.
const RETRY_LOW_MS: u64 = 500;

/// By so much an older checkpoint is smaller than the newest where the state grew between them.
const GREW_BYTES: u64 = 1 << 20;

/// A clean stop leaves no more replay than this; otherwise it writes a checkpoint first, where that
/// takes no longer than so: a large state would hold up the end for more than it saves.
const CLEAN_REPLAY: Duration = Duration::from_millis(150);
const CLEAN_WRITE: Duration = Duration::from_secs(2);

/// How fast checkpoints are written, bytes in a second, before one was.
const WRITE_RATE: u64 = 200_000_000;

/// A named checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its id; 0: none.
    pub(crate) id: u64,
    /// The version that it holds.
    pub(crate) version: u64,
    /// The position that it holds.
    pub(crate) position: u64,
    /// Where replay on top of it begins.
    pub(crate) replay_from: u64,
    /// Length of its file.
    pub(crate) bytes: u64,
}

/// What is known of the checkpoints on disk.
#[derive(Debug)]
struct Known {
    policy: Policy,
    /// Newest first.
    named: [Named; 2],
    next_id: u64,
    /// Bytes that the journal had written when the newest was frozen.
    journal_bytes: u64,
    /// Bytes of journal that recovery replayed on top of the newest.
    replayed_bytes: u64,
    retry_at_ms: u64,
    /// Ids of those that a backup reads: they are not removed.
    kept: Vec<u64>,
    /// What was found damaged, until it is in use no longer.
    rotten: Vec<Rotten>,
    /// When replacing that is tried again.
    replace_at_ms: u64,
}

/// Keeps a checkpoint from being removed; dropping it lets it go.
pub(crate) struct Kept<'a> {
    checkpoints: &'a Checkpoints,
    id: u64,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        lock(&self.checkpoints.known).kept.retain(|id| *id != self.id);
    }
}

/// What recovery hands over.
#[derive(Debug)]
pub(crate) struct Found {
    /// The store's directory.
    pub(crate) store: PathBuf,
    /// Where they are.
    pub(crate) folder: PathBuf,
    /// The store.
    pub(crate) identity: Identity,
    /// Newest first.
    pub(crate) named: [Named; 2],
    /// Above every id ever used.
    pub(crate) next_id: u64,
    /// What was learned from this start.
    pub(crate) policy: Policy,
    /// Bytes that were replayed.
    pub(crate) replayed_bytes: u64,
    /// How long checking and replaying the journal took.
    pub(crate) replay_ns: u64,
}

/// How long things took, or would take, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// The last checkpoint.
    pub(crate) checkpoint_micros: u64,
    /// A start now.
    pub(crate) predicted_recovery_micros: u64,
    /// Of it the replay.
    pub(crate) predicted_replay_micros: u64,
    /// The replay of this start.
    pub(crate) replay_micros: u64,
}

/// The checkpoints of a shard.
pub(crate) struct Checkpoints {
    /// The store's directory.
    pub(crate) store: PathBuf,
    pub(crate) folder: PathBuf,
    /// The store.
    pub(crate) identity: Identity,
    /// What is written out.
    pub(crate) engine: Held,
    /// The local journal behind the database's: its meta names the checkpoints.
    pub(crate) journal: Arc<LocalJournal>,
    known: Mutex<Known>,
    /// Held while one is written.
    writing: Mutex<()>,
    /// Held while a backup is taken.
    pub(crate) backing_up: Mutex<()>,
    /// Held while what is at rest is read.
    pub(crate) scrubbing: Mutex<()>,
    stop: AtomicBool,
    pub(crate) counts: Counts,
    /// Time of the last one.
    micros: AtomicU64,
    /// How fast it was written, bytes in a second.
    rate: AtomicU64,
    /// Time that the replay of this start took.
    replay_micros: u64,
}

impl Checkpoints {
    /// The checkpoints that recovery found.
    pub(crate) fn new(found: Found, engine: Held, journal: Arc<LocalJournal>) -> Self {
        let journal_bytes = journal.counters().bytes.load(Ordering::Relaxed);
        Self {
            store: found.store,
            folder: found.folder,
            identity: found.identity,
            engine,
            journal,
            known: Mutex::new(Known {
                policy: found.policy,
                named: found.named,
                next_id: found.next_id,
                journal_bytes,
                replayed_bytes: found.replayed_bytes,
                retry_at_ms: 0,
                kept: Vec::new(),
                rotten: Vec::new(),
                replace_at_ms: 0,
            }),
            writing: Mutex::default(),
            backing_up: Mutex::default(),
            scrubbing: Mutex::default(),
            stop: AtomicBool::new(false),
            counts: Counts::default(),
            micros: AtomicU64::new(0),
            rate: AtomicU64::new(WRITE_RATE),
            replay_micros: found.replay_ns / 1_000,
        }
    }

    /// The newest one, and what keeps it from being removed; the next checkpoint after that is
    /// dropped removes it, if it is no longer one of the two.
    pub(crate) fn keep_newest(&self) -> (Named, Kept<'_>) {
        let mut known = lock(&self.known);
        let [newest, _] = known.named;
        known.kept.push(newest.id);
        (newest, Kept { checkpoints: self, id: newest.id })
    }

    /// Those that the journal names, newest first.
    pub(crate) fn named(&self) -> Vec<Named> {
        lock(&self.known).named.into_iter().filter(|named| named.id != 0).collect()
    }

    /// How long the last one took, this start's replay, and a start that would begin now.
    pub(crate) fn times(&self, state: &State) -> Times {
        let since = self.since(state);
        let known = lock(&self.known);
        let [newest, _] = known.named;
        let predicted = known.policy.predict(since, newest.bytes);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Times {
            checkpoint_micros: self.micros.load(Ordering::Relaxed),
            predicted_recovery_micros: micros(predicted.total()),
            predicted_replay_micros: micros(predicted.replay),
            replay_micros: self.replay_micros,
        }
    }

    /// Makes a running one give up.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Takes [`Checkpoints::stop`] back.
    pub(crate) fn go_on(&self) {
        self.stop.store(false, Ordering::Relaxed);
    }

    /// Bytes of those that are named, the newest first; 0 where there is none.
    pub(crate) fn named_bytes(&self) -> [u64; 2] {
        lock(&self.known).named.map(|named| if named.id == 0 { 0 } else { named.bytes })
    }

    /// What a start would have to replay now.
    fn since(&self, state: &State) -> Since {
        let known = lock(&self.known);
        let [newest, _] = known.named;
        let written = self.journal.counters().bytes.load(Ordering::Relaxed);
        debug_assert!(known.journal_bytes <= written, "a journal's bytes only grow");
        let records = state.visible().saturating_sub(newest.version);
        let bytes = written.saturating_sub(known.journal_bytes) + known.replayed_bytes;
        // A journal that only opened segments has nothing to replay.
        Since { records, bytes: if records == 0 { 0 } else { bytes } }
    }

    /// Whether one is due now.
    pub(crate) fn is_due(&self, state: &State, now_ms: u64) -> bool {
        let since = self.since(state);
        let known = lock(&self.known);
        let [newest, _] = known.named;
        let history = state.engine.state_bytes().1;
        let full = self.engine.files().is_some_and(FileEngine::is_flush_due);
        now_ms >= known.retry_at_ms && (full || known.policy.is_due(since, newest.bytes, history))
    }

    /// Whether the last one that failed is long enough ago.
    pub(crate) fn may_retry(&self, now_ms: u64) -> bool {
        now_ms >= lock(&self.known).retry_at_ms
    }

    /// Whether one would give segments back: of this much of the journal, or, where `any`, of
    /// whatever is more than the two that a checkpoint keeps.
    pub(crate) fn frees_space(&self, state: &State, much: u64, any: bool, now_ms: u64) -> bool {
        let since = self.since(state);
        let retry_at_ms = lock(&self.known).retry_at_ms;
        let frees = since.bytes >= much || (any && self.journal.stats().segments > 2);
        since.records > 0 && frees && now_ms >= retry_at_ms
    }

    /// Whether another one of the same state helps a disk that is nearly full: it takes the place
    /// of an older one that is so much smaller, and the next takes no more than it gives back.
    pub(crate) fn is_worth_again(&self, now_ms: u64) -> bool {
        let [newest, older] = self.named_bytes();
        older.saturating_add(GREW_BYTES) < newest && now_ms >= lock(&self.known).retry_at_ms
    }

    /// Whether a clean stop should write one, so that the next start is quick.
    pub(crate) fn is_worth_at_close(&self, state: &State) -> bool {
        let since = self.since(state);
        let rate = self.rate.load(Ordering::Relaxed).max(1);
        let bytes = match self.engine.files() {
            Some(engine) => engine.unflushed_bytes(),
            None => state.engine.state_bytes().0,
        };
        let write = bytes.saturating_mul(1_000) / rate;
        if Duration::from_millis(write) > CLEAN_WRITE {
            return false;
        }
        let known = lock(&self.known);
        let [newest, _] = known.named;
        known.policy.predict(since, newest.bytes).replay > CLEAN_REPLAY
    }

    /// Writes one, unless nothing happened since the last.
    pub(crate) fn write(&self, core: &Core) -> Result<(), Error> {
        let _one_at_a_time = lock(&self.writing);
        core.check_open()?;
        let again = core.is_disk_low() && self.is_worth_again(core.env.clock.boot_ms());
        self.write_timed(core, again)
    }

    /// Writes one, also of the same state as the last.
    pub(crate) fn write_again(&self, core: &Core) -> Result<(), Error> {
        let _one_at_a_time = lock(&self.writing);
        core.check_open()?;
        self.write_timed(core, true)
    }

    /// Writes the last one, while the database is being closed.
    pub(crate) fn write_last(&self, core: &Core) -> Result<(), Error> {
        let _one_at_a_time = lock(&self.writing);
        self.write_timed(core, true)
    }

    /// Waits for the one that is being written; while the guard lives there is no other one.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.writing)
    }

    /// Writes one; `again`: also of the same state as the last.
    fn write_timed(&self, core: &Core, again: bool) -> Result<(), Error> {
        let (before, began_ns) = (self.counts.now().written, core.env.clock.boot_ns());
        core.space.iter().for_each(|space| space.lend(true));
        let outcome = self.write_one(core, again);
        core.space.iter().for_each(|space| space.lend(false));
        let took_ns = core.env.clock.boot_ns().saturating_sub(began_ns);
        if self.counts.now().written > before {
            self.micros.store(took_ns / 1_000, Ordering::Relaxed);
            let [bytes, _] = self.named_bytes();
            if took_ns >= 1_000_000 && bytes > 0 {
                let rate = u128::from(bytes) * 1_000_000_000 / u128::from(took_ns);
                self.rate.store(u64::try_from(rate).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        }
        if let Err(error) = &outcome {
            self.counts.note_failed();
            // What a full disk refused it may take as soon as somebody makes room.
            let is_full = error.is_disk_full() || core.is_disk_low();
            let wait_ms = if is_full { RETRY_LOW_MS } else { RETRY_MS };
            lock(&self.known).retry_at_ms = core.env.clock.boot_ms() + wait_ms;
            tracing::warn!("the checkpoint failed, the ones before it stay: {error}");
        }
        outcome
    }

    fn write_one(&self, core: &Core, again: bool) -> Result<(), Error> {
        match &self.engine {
            Held::Memory(engine) => self.write_rows(core, engine, again),
            Held::Files(_, engine) => self.write_files(core, &**engine, again),
        }
    }

    /// Writes one with the rows of an engine that has files of its own, and names it; answers the
    /// hash of what it holds.
    pub(crate) fn write_stream(
        &self,
        core: &Core,
        rows: &mut dyn RowStream,
        replay_from: u64,
    ) -> Result<u128, Error> {
        let _one_at_a_time = lock(&self.writing);
        let journal_bytes = self.journal.counters().bytes.load(Ordering::Relaxed);
        let durable = self.journal.sync()?;
        let stamp = self.stamp(replay_from);
        let written = self.write_file(core, rows, &stamp, durable.position)?;
        self.publish(core, &written, journal_bytes)?;
        Ok(written.footer.state_hash)
    }

    /// Writes a file with these rows; [`Checkpoints::stop`] ends it early.
    fn write_file(
        &self,
        core: &Core,
        rows: &mut dyn RowStream,
        stamp: &Stamp,
        durable_position: u64,
    ) -> Result<Written, Error> {
        let (disk, folder) = (&*core.env.disk, &self.folder);
        let mut go_on = |_| !self.stop.load(Ordering::Relaxed);
        checkpoint::write_rows(disk, folder, rows, stamp, durable_position, &mut go_on)
            .map_err(failed)
    }

    /// What the next one says, with an id that was never used.
    pub(crate) fn stamp(&self, replay_from: u64) -> Stamp {
        Stamp {
            id: self.take_id(),
            store_id: self.identity.store_id,
            replay_from,
            feature_level: FEATURE_LEVEL,
            membership: Vec::new(),
        }
    }

    fn write_rows(&self, core: &Core, engine: &MemoryEngine, again: bool) -> Result<(), Error> {
        let (frozen, replay_from) =
            core.state.between_records(|replay| (engine.freeze(), replay.replay_from()));
        let mark = frozen.mark();
        let journal_bytes = self.journal.counters().bytes.load(Ordering::Relaxed);
        let [newest, _] = lock(&self.known).named;
        if mark.position == 0 || (mark.position == newest.position && !again) {
            return Ok(());
        }
        // What is applied may be only written in the lazy modes.
        let durable = self.journal.sync()?;
        assert!(mark.position <= durable.position, "a sync covers everything applied before it");
        let stamp = self.stamp(replay_from);
        core.make_room_for_checkpoint(self);
        let written = self.write_file(core, &mut frozen.rows(), &stamp, durable.position)?;
        drop(frozen);
        self.publish(core, &written, journal_bytes)
    }

    /// Names what was written, and lets go of what nothing needs any more.
    fn publish(&self, core: &Core, written: &Written, journal_bytes: u64) -> Result<(), Error> {
        self.name(written, journal_bytes)?;
        let disk = &*core.env.disk;
        let [newest, older] = lock(&self.known).named;
        let (id, version) = (written.header.id, written.header.mark.version);
        assert_eq!(newest.id, id, "what was written is named before anything is removed");
        let aside = self.unnamed_rotten(&[newest.id, older.id]);
        let kept = lock(&self.known).kept.clone();
        // On a disk that is nearly full they give their space back like any other.
        let evidence = aside.iter().copied().filter(|_| !core.is_disk_low());
        let keep: Vec<u64> =
            kept.into_iter().chain([newest.id, older.id]).chain(evidence).collect();
        checkpoint::retire(disk, &self.folder, &keep)
            .map_err(|source| Error::io("removing older checkpoints", source))?;
        self.set_aside(core, &aside);
        if older.id != 0 {
            core.state.history_floor.fetch_max(older.version, Ordering::Relaxed);
        }
        core.state.keep_past();
        self.counts.note_written(written.footer.file_len);
        let rows = written.footer.rows;
        tracing::info!(id, version, rows, bytes = written.footer.file_len, "checkpoint written");
        Ok(())
    }

    /// An id that was never used, even by an attempt that failed.
    fn take_id(&self) -> u64 {
        let mut known = lock(&self.known);
        let [newest, older] = known.named;
        assert!(known.next_id > newest.id.max(older.id), "an id is above every one before it");
        known.next_id += 1;
        known.next_id - 1
    }

    /// Makes a written one the newest.
    fn name(&self, written: &Written, journal_bytes: u64) -> Result<(), Error> {
        let header = &written.header;
        let newest = Named {
            id: header.id,
            version: header.mark.version,
            position: header.mark.position,
            replay_from: header.replay_from,
            bytes: written.footer.file_len,
        };
        let older = self.whole().first().copied().unwrap_or_default();
        assert!(newest.version >= older.version, "checkpoints go forward");
        assert!(newest.position >= older.position, "so does what they hold");
        assert!(newest.replay_from >= older.replay_from, "replay never begins earlier again");
        // With a single checkpoint the whole journal stays: it is the second copy.
        let keep_from = if older.id == 0 { 1 } else { older.replay_from };
        self.journal.checkpointed([newest.id, older.id], keep_from)?;
        let mut known = lock(&self.known);
        let [before, second] = known.named;
        assert!([before.id, second.id, 0].contains(&older.id), "one is written at a time");
        known.named = [newest, older];
        known.journal_bytes = journal_bytes;
        known.replayed_bytes = 0;
        Ok(())
    }
}

/// Why there is no checkpoint.
pub(crate) fn failed(error: WriteError) -> Error {
    match error {
        WriteError::Io { context, source } => Error::Io { context, source },
        WriteError::Rows(error) => error.into(),
        WriteError::Stopped => Error::Invalid(error.to_string()),
    }
}
