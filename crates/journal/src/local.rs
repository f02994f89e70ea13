//! The local journal: group commit over segments, with a thread for awaited tickets and the clock.
//!
//! Invariants: the thread never holds a lock while it waits; dropping the journal is not closing
//! it: what was acknowledged is safe, but the end is not marked clean.

mod sealing;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use rekindle_env::{Clock, Disk, WriteFile};
use rekindle_recovery::Failure;

use crate::api::{AppendError, Apply, Durability, Durable, Entry, Event, Journal, Outcome, Ticket};
use crate::codec::tip::Tip;
use crate::group::{Group, GroupConfig, GroupStats, Work};
use crate::layout::Layout;
use crate::meta_store::MetaStore;
use crate::recovery::Recovered;
use crate::writer::{SegmentWriter, WriterCounters};

pub use sealing::{SealError, SealedEnd, SegmentPin};

/// How often the thread looks at the clock, at least.
const TICK_MAX: Duration = Duration::from_millis(50);

/// How a local journal runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalOptions {
    /// The mode.
    pub durability: Durability,
    /// In `Batched` and `Relaxed`: how often is synced.
    pub sync_interval: Duration,
    /// A batch takes no further entry beyond this many bytes.
    pub batch_bytes: usize,
    /// Whether to run the thread; without it the caller calls [`LocalJournal::tick`] and nothing
    /// resolves an awaited ticket but a blocking call.
    pub background: bool,
}

impl LocalOptions {
    /// How often to tick, so that the interval's sync is never late: four times in an interval.
    #[must_use]
    pub fn tick_every(&self) -> Duration {
        (self.sync_interval / 4).clamp(Duration::from_millis(1), TICK_MAX)
    }
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Strict,
            sync_interval: Duration::from_millis(100),
            batch_bytes: 1 << 20,
            background: true,
        }
    }
}

/// `tip` on disk.
struct TipFile {
    file: Box<dyn WriteFile>,
    written: Tip,
    /// What the journal said at the last tick.
    seen: Tip,
}

struct Shared {
    group: Group<SegmentWriter>,
    options: LocalOptions,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    layout: Layout,
    store_id: [u8; 16],
    meta: Arc<Mutex<MetaStore>>,
    counters: Arc<WriterCounters>,
    durable_tip: Arc<Mutex<Tip>>,
    tip: Mutex<TipFile>,
    synced_ms: AtomicU64,
    stop: AtomicBool,
}

/// The journal of one node.
pub struct LocalJournal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A summary of the journal's state and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStats {
    /// How far it is synced.
    pub durable: Durable,
    /// Group commit.
    pub group: GroupStats,
    /// Segments on disk.
    pub segments: u64,
}

impl LocalJournal {
    /// Starts the recovered journal; `apply` gets every record from now on.
    pub fn start(
        recovered: Recovered,
        options: LocalOptions,
        apply: Arc<dyn Apply>,
    ) -> Result<Self, Failure> {
        let writer = recovered.writer;
        writer.count_room();
        let (clock, disk) = (writer.env.clock.clone(), writer.env.disk.clone());
        let opened = disk.open_write(&writer.layout.tip());
        let file = opened.map_err(|error| Failure::io("opening tip", error))?;
        let written = *writer.tip.lock().expect("no panic while tip is held");
        let (layout, store_id) = (writer.layout.clone(), writer.header.store_id);
        let (meta, counters) = (writer.meta.clone(), writer.counters.clone());
        let (durable_tip, durable) = (writer.tip.clone(), writer.durable);
        let nanos_clock = clock.clone();
        let config =
            GroupConfig { durability: options.durability, batch_bytes: options.batch_bytes };
        apply.event(Event::Leading { term: 0 });
        let nanos = Arc::new(move || nanos_clock.boot_ns());
        let shared = Arc::new(Shared {
            group: Group::new(config, nanos, writer, durable, apply),
            options,
            synced_ms: AtomicU64::new(clock.boot_ms()),
            clock,
            disk,
            layout,
            store_id,
            meta,
            counters,
            durable_tip,
            tip: Mutex::new(TipFile { file, written, seen: written }),
            stop: AtomicBool::new(false),
        });
        let thread = options.background.then(|| spawn(&shared)).transpose()?;
        Ok(Self { shared, thread: Mutex::new(thread) })
    }

    /// Does what is due by the clock: the interval's sync, `tip`. The thread calls it by itself.
    pub fn tick(&self) {
        self.shared.tick();
    }

    /// Counters that only grow.
    #[must_use]
    pub fn counters(&self) -> &WriterCounters {
        &self.shared.counters
    }

    /// The state.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let group = self.shared.group.stats();
        let segments = self.meta(|meta| meta.segments().len() as u64);
        JournalStats { durable: self.durable(), group, segments }
    }

    fn meta<T>(&self, body: impl FnOnce(&mut MetaStore) -> T) -> T {
        body(&mut self.shared.meta.lock().expect("no panic while meta is held"))
    }

    /// Turns an error of the disk into poison.
    fn poison_on<T>(&self, what: &str, result: std::io::Result<T>) -> Result<T, AppendError> {
        result.map_err(|error| {
            let reason = format!("{what}: {error}");
            self.shared.group.poison(reason.clone());
            AppendError::Poisoned(reason)
        })
    }

    fn stop_thread(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.group.wake_thread();
        let thread = self.thread.lock().expect("no panic while the handle is held").take();
        let own = std::thread::current().id();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != own) {
            // A panic of the thread has poisoned the locks; there is nothing to add here.
            drop(thread.join());
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn spawn(shared: &Arc<Shared>) -> Result<JoinHandle<()>, Failure> {
    let shared = shared.clone();
    let builder = std::thread::Builder::new().name("journal".to_owned());
    let spawned = builder.spawn(move || shared.run());
    spawned.map_err(|error| Failure::io("starting the journal's thread", error))
}

impl Shared {
    fn run(&self) {
        let mut due = self.clock.boot_ms();
        let tick = self.options.tick_every();
        loop {
            match self.group.wait_work(tick) {
                Work::Stop => return,
                Work::Lead => self.group.lead_once(false),
                Work::Idle => {}
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let now = self.clock.boot_ms();
            if now >= due {
                self.tick();
                due = now + millis(tick);
            }
        }
    }

    fn tick(&self) {
        let now = self.clock.boot_ms();
        // Two ticks early: what is appended right behind a sync, while a leader is on its way, is
        // still synced within the interval.
        let early = millis(self.options.tick_every()).saturating_mul(2);
        let interval = millis(self.options.sync_interval).saturating_sub(early);
        let lazy = self.options.durability != Durability::Strict;
        let due = now.saturating_sub(self.synced_ms.load(Ordering::Relaxed)) >= interval;
        if lazy && due && self.group.sync_soon() {
            self.synced_ms.store(now, Ordering::Relaxed);
        }
        if let Err(error) = self.tick_tip() {
            self.group.poison(format!("writing tip: {error}"));
        }
    }

    /// While the journal moves, `tip` says what was synced at the tick before, so that it never
    /// speaks of a frame that was just written; when it stands still, `tip` says everything and is
    /// synced.
    fn tick_tip(&self) -> std::io::Result<()> {
        let now = *self.durable_tip.lock().expect("no panic while tip is held");
        let mut tip = self.tip.lock().expect("no panic while tip is held");
        debug_assert!(tip.written.durable_lsn <= tip.seen.durable_lsn, "tip only grows");
        debug_assert!(tip.seen.durable_lsn <= now.durable_lsn, "so does the journal");
        let (moved, before) = (tip.seen != now, tip.seen);
        tip.seen = now;
        if tip.written == now {
            return Ok(());
        }
        let said = if moved { before } else { now };
        if tip.written != said {
            tip.file.write_at(&said.encode(&self.store_id), 0)?;
            tip.written = said;
        }
        if moved { Ok(()) } else { tip.file.sync_data() }
    }
}

impl Journal for LocalJournal {
    fn append(&self, entry: Entry<'_>) -> Result<Ticket, AppendError> {
        self.shared.group.append(entry)
    }

    fn wait(&self, ticket: Ticket) -> Outcome {
        self.shared.group.wait(ticket)
    }

    fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Outcome> {
        self.shared.group.poll(ticket, waker)
    }

    fn wait_room(&self, len: usize, timeout: Duration) -> bool {
        self.shared.group.wait_room(len, timeout)
    }

    fn poll_room(&self, len: usize, waker: &Waker) -> Poll<()> {
        self.shared.group.poll_room(len, waker)
    }

    fn sync(&self) -> Result<Durable, AppendError> {
        self.shared.group.sync()
    }

    fn nudge(&self) {
        if self.shared.options.background {
            self.shared.group.nudge();
        } else {
            self.shared.group.lead_once(false);
        }
    }

    fn durable(&self) -> Durable {
        self.shared.group.durable()
    }

    fn poisoned(&self) -> Option<String> {
        self.shared.group.failed()
    }

    fn checkpointed(&self, ids: [u64; 2], keep_from: u64) -> Result<(), AppendError> {
        if let Some(reason) = self.poisoned() {
            return Err(AppendError::Poisoned(reason));
        }
        let named = self.meta(|meta| meta.checkpointed(ids, keep_from));
        let given_up = self.poison_on("writing meta", named)?;
        let removed = MetaStore::remove(&*self.shared.disk, &self.shared.layout, &given_up);
        self.poison_on("removing segments", removed)
    }

    fn close(&self) -> Result<(), AppendError> {
        self.shared.group.close();
        self.shared.group.sync()?;
        self.stop_thread();
        let sealed = self.shared.group.with_writer(SegmentWriter::seal);
        let end = self.poison_on("sealing the journal", sealed)?;
        let closed = self.meta(|meta| meta.closed(end));
        self.poison_on("writing meta", closed)?;
        // Twice: the second one sees that the journal stands still.
        let tip = self.shared.tick_tip().and_then(|()| self.shared.tick_tip());
        self.poison_on("writing tip", tip)
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        self.stop_thread();
    }
}
