//! All services of a store, from recovery to shutdown.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rekindle_database::{Database, Error as DatabaseError};
use rekindle_recovery::{
    Ended, Examined, Failure, Finding, Layer, LayerReport, Meter, examine, examine_metered,
    perform_metered,
};

use crate::alarm::Alarm;
use crate::audit::{Audit, record_restore, tell_losses};
use crate::claims::index::Index;
use crate::claims::{Event, Run, Traces};
use crate::error::Error;
use crate::exec::Core;
use crate::figures::{job_figures, loop_figures, queue_figures};
use crate::jobs::Jobs;
use crate::jobs::look::Now;
use crate::jobs::recovery::JobLayer;
use crate::kept::{Kept, KeptObserver};
use crate::keys::Keyspaces;
use crate::kv::Kv;
use crate::limits;
use crate::loops::Loops;
use crate::loops::recovery::{LoopLayer, Strategies, restore};
use crate::numbers::Numbers;
use crate::producers::recovery::ProducerLayer;
#[cfg(debug_assertions)]
use crate::producers::recovery::sum;
use crate::producers::table::{ProducerFigures, ProducerTable};
use crate::queues::Queues;
use crate::queues::recovery::{QueueLayer, Recovered};
use crate::review::Reviews;
use crate::schedules::Schedules;
use crate::tick::{self, Ticked};
use crate::transact::Transactions;

/// Longest sleep of the timer thread: log time may be slewed against the clock it sleeps by.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long the timer thread waits after a tick that failed.
const RETRY: Duration = Duration::from_millis(100);

/// How services are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether a thread expires leases and does what else is due. Without it the owner calls
    /// [`Services::tick`].
    pub background: bool,
    /// How many jobs of one type a start makes deliverable at once; more follow as these are
    /// claimed.
    pub dispatch_capacity: u64,
    /// What executors of earlier runs left of their claims.
    pub traces: Traces,
    /// When interrupted executions of loops go on by themselves.
    pub strategies: Strategies,
}

impl Default for Options {
    fn default() -> Self {
        let traces = Traces::new();
        let (dispatch_capacity, strategies) = (limits::DISPATCH_CAPACITY, Strategies::default());
        Self { background: true, dispatch_capacity, traces, strategies }
    }
}

/// All services of a store. Clones share it; the last one to go stops the timer thread.
#[derive(Clone, Debug)]
pub struct Services {
    queues: Queues,
    jobs: Jobs,
    kv: Kv,
    transactions: Transactions,
    schedules: Schedules,
    reviews: Reviews,
    loops: Loops,
    audit: Audit,
    running: Arc<Running>,
}

/// What ends with the last handle.
#[derive(Debug)]
struct Running {
    core: Arc<Core>,
    timer: Mutex<Option<JoinHandle<()>>>,
}

impl Services {
    #[cfg(test)]
    pub(crate) fn core(&self) -> &Core {
        &self.running.core
    }

    /// Recovers the services of an open database: settles what was in flight, rebuilds the ready
    /// indexes, and takes the lead. Start and promotion call the same.
    pub fn lead(database: &Database, options: Options) -> Result<(Self, Vec<LayerReport>), Error> {
        Self::lead_metered(database, options, &Meter::default())
    }

    /// The same; `meter` says how far it is.
    ///
    /// # Errors
    /// As [`Services::lead`].
    pub fn lead_metered(
        database: &Database,
        options: Options,
        meter: &Meter,
    ) -> Result<(Self, Vec<LayerReport>), Error> {
        let keyspaces = Keyspaces::open(database)?;
        let alarm = Arc::new(Alarm::default());
        let bytes_max = limits::producer_bytes_max(database.stats().max_memory_bytes);
        let core = Arc::new(Core {
            database: database.clone(),
            keyspaces,
            numbers: Numbers::new(database.incarnation())?,
            index: Arc::new(Index::new(Arc::clone(&alarm))),
            calendar: Arc::default(),
            loops: Arc::default(),
            producers: Arc::new(ProducerTable::new(bytes_max)),
            alarm,
            run: run(database, options.traces),
            closing: AtomicBool::new(false),
            abandoned: Mutex::default(),
            deciding: Mutex::new(()),
            ticking: Mutex::new(()),
            ticked: Mutex::default(),
            tell_at_ms: AtomicU64::new(0),
        });
        let (capacity, strategies) = (options.dispatch_capacity, options.strategies);
        let reports = recover(&core, capacity, strategies, meter).map_err(refused)?;
        tell_losses(&core);
        let timer = options.background.then(|| start_timer(&core)).transpose()?;
        let running = Running { core: Arc::clone(&core), timer: Mutex::new(timer) };
        let services = Self {
            queues: Queues::new(Arc::clone(&core)),
            jobs: Jobs::new(Arc::clone(&core)),
            kv: Kv::new(Arc::clone(&core)),
            transactions: Transactions::new(Arc::clone(&core)),
            schedules: Schedules::new(Arc::clone(&core)),
            reviews: Reviews::new(Arc::clone(&core)),
            loops: Loops::new(Arc::clone(&core)),
            audit: Audit::new(core),
            running: Arc::new(running),
        };
        services.tell_restore();
        Ok((services, reports))
    }

    /// The restore that made this store is in its audit log, once.
    fn tell_restore(&self) {
        match record_restore(&self.audit, &self.running.core.database) {
            Ok(false) => {}
            Ok(true) => tracing::info!("the restore of this store is in the audit log"),
            Err(error) => tracing::warn!(%error, "the restore of this store is not told yet"),
        }
    }

    /// What [`Services::lead`] would find and do with these traces; settles nothing.
    pub fn plan(database: &Database, traces: Traces) -> Result<Vec<LayerReport>, Error> {
        let keyspaces = Keyspaces::open(database)?;
        let snapshot = database.snapshot()?;
        let clock = database.env().clock.as_ref();
        let meter = Meter::default();
        let kept = Cell::default();
        let producers = ProducerLayer { keyspaces, kept, meter: meter.clone() };
        let producers = examine(&producers, &snapshot, clock).map_err(refused)?;
        let run = run(database, traces);
        let log_time_ms = database.log_time_ms();
        // Everything is read: an index that an earlier run kept is the business of a start.
        let kept = Cell::default();
        let queues = QueueLayer { keyspaces, run: run.clone(), log_time_ms, kept, meter };
        let queues = examine(&queues, &snapshot, clock).map_err(refused)?;
        let meter = Meter::default();
        let (strategies, now_ms) = (Strategies::default(), log_time_ms);
        let loops = LoopLayer { keyspaces, run: run.clone(), now_ms, strategies, meter };
        let loops = examine(&loops, &snapshot, clock).map_err(refused)?;
        let now = Now::of(database);
        let meter = Meter::default();
        let (kept, dispatch_capacity) = (Cell::default(), u64::MAX);
        let jobs = JobLayer { keyspaces, now, run, dispatch_capacity, kept, meter };
        let jobs = examine(&jobs, &snapshot, clock).map_err(refused)?;
        Ok(vec![producers.report, queues.report, jobs.report, loops.report])
    }

    /// Queues.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Jobs.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Keys and values.
    #[must_use]
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    /// Schedules.
    #[must_use]
    pub fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    /// Transactions over everything.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Loops.
    #[must_use]
    pub fn loops(&self) -> &Loops {
        &self.loops
    }

    /// What waits for a person.
    #[must_use]
    pub fn reviews(&self) -> &Reviews {
        &self.reviews
    }

    /// What operators did.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Does what is due at the log time of the database.
    pub fn tick(&self) -> Result<Ticked, Error> {
        tick::tick(&self.running.core)
    }

    /// What all ticks did since recovery; `next_in_ms` is that of the last.
    #[must_use]
    pub fn ticked(&self) -> Ticked {
        *self.running.core.ticked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much is remembered of requests with an identity.
    #[must_use]
    pub fn producers(&self) -> ProducerFigures {
        self.running.core.producers.figures()
    }

    /// Stops granting, wakes every waiting receiver (it gets nothing), gives back what was granted
    /// and not handed out (cause `shutdown`, not charged), stops the timer thread, flushes. Sends,
    /// acks and the rest go on until the database is closed. Repeatable.
    pub fn shutdown(&self) -> Result<(), Error> {
        let core = &self.running.core;
        core.closing.store(true, Ordering::Release);
        core.index.wake_all();
        self.running.stop_timer();
        // A full disk may refuse it; the leases run out all the same, and the end goes on.
        if let Err(error) = tick::release_abandoned(core, Event::Withdrawn) {
            tracing::warn!(%error, "what was granted and not handed out is kept until it expires");
        }
        core.database.flush()?;
        Ok(())
    }
}

impl Running {
    fn stop_timer(&self) {
        self.core.alarm.stop();
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(timer) = timer
            && timer.join().is_err()
        {
            tracing::error!("the timer thread had panicked; restart the server to expire leases");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_timer();
    }
}

/// The run that this open is, as claims see it.
fn run(database: &Database, traces: Traces) -> Run {
    let ended = database.report().before.as_ref().map(|before| before.ended);
    Run::new(database.incarnation(), ended == Some(Ended::Clean), traces)
}

/// Recovers the layers in their order.
fn recover(
    core: &Arc<Core>,
    dispatch_capacity: u64,
    strategies: Strategies,
    meter: &Meter,
) -> Result<Vec<LayerReport>, Failure> {
    meter.expect_records(None);
    let keyspaces = core.keyspaces;
    let log_time_ms = core.database.log_time_ms();
    let kept = Kept::of(core.database.take_earlier(), &keyspaces);
    let layer = |kept| {
        let (kept, meter) = (Cell::new(kept), meter.clone());
        ProducerLayer { keyspaces, kept, meter }
    };
    #[cfg(debug_assertions)]
    check_kept(core, kept.producers.as_ref(), layer, |known| sum(known));
    let layer = layer(kept.producers);
    let (results, mut producers) = recover_layer(&layer, core, meter)?;
    producers.figure("results_kept", results);
    let run = core.run.clone();
    let layer = |kept| {
        let (run, kept, meter) = (run.clone(), Cell::new(kept), meter.clone());
        QueueLayer { keyspaces, run, log_time_ms, kept, meter }
    };
    #[cfg(debug_assertions)]
    check_kept(core, kept.queues.as_ref(), layer, |trusted| trusted.sum());
    let layer = layer(kept.queues);
    let (recovered, queues) = recover_layer(&layer, core, meter)?;
    let of_loops = LoopLayer {
        keyspaces,
        run: run.clone(),
        now_ms: log_time_ms,
        strategies,
        meter: meter.clone(),
    };
    let examined = examine_loops(&of_loops, core, meter)?;
    let now = Now::of(&core.database);
    let layer = |kept| {
        let (run, kept, meter) = (run.clone(), Cell::new(kept), meter.clone());
        JobLayer { keyspaces, now, run, dispatch_capacity, kept, meter }
    };
    #[cfg(debug_assertions)]
    check_kept(core, kept.jobs.as_ref(), layer, |trusted| trusted.sum());
    let layer = layer(kept.jobs);
    let (jobs, report) = recover_layer(&layer, core, meter)?;
    let report = job_figures(report, &jobs);
    let loops = act_on_loops(&of_loops, examined, core, meter)?;
    // Only now, that the index has all lines.
    core.database.observe(Arc::new(KeptObserver {
        index: Arc::downgrade(&core.index),
        producers: Arc::downgrade(&core.producers),
        keyspaces,
    }));
    meter.expect_records(Some(0));
    let queues = queue_figures(queues, &recovered);
    tell_findings(&[&producers, &queues, &loops], &report);
    let Recovered { leases_kept, leases_reclaimed, dead_lettered, set_aside, .. } = recovered;
    tracing::info!(
        queues = recovered.queues,
        messages = recovered.messages,
        messages_read = recovered.read,
        leases_kept,
        leases_reclaimed,
        dead_lettered,
        set_aside,
        "Queues recovered"
    );
    Ok(vec![producers, queues, report, loops])
}

/// Decides about loops, and has their index there again.
fn examine_loops(
    layer: &LoopLayer,
    core: &Core,
    meter: &Meter,
) -> Result<Examined<LoopLayer>, Failure> {
    let snapshot = core.database.snapshot().map_err(unreadable)?;
    let clock = core.database.env().clock.as_ref();
    let examined = examine_metered(layer, &snapshot, clock, meter)?;
    restore(&examined.trusted, core);
    Ok(examined)
}

/// Does what was decided about them.
fn act_on_loops(
    layer: &LoopLayer,
    examined: Examined<LoopLayer>,
    core: &Core,
    meter: &Meter,
) -> Result<LayerReport, Failure> {
    let clock = core.database.env().clock.as_ref();
    let (recovered, report) = perform_metered(layer, examined, core, clock, meter)?;
    Ok(loop_figures(report, &recovered))
}

/// Says what was found, as the log of recovery does.
fn tell_findings(layers: &[&LayerReport], jobs: &LayerReport) {
    for finding in layers.iter().flat_map(|layer| &layer.findings) {
        let Finding { label, place, expected, found, .. } = finding;
        let place = &place.file;
        tracing::warn!(label = label.0, place, expected, found, "left as it is, not served");
    }
    for finding in &jobs.findings {
        let Finding { label, place, expected, found, .. } = finding;
        tracing::warn!(label = label.0, place = place.file, expected, found, "recovery_error");
    }
}

/// Whether an index that an earlier run kept says what all the rows say.
#[cfg(debug_assertions)]
fn check_kept<L, K, S>(
    core: &Arc<Core>,
    kept: Option<&K>,
    layer: impl Fn(Option<K>) -> L,
    sum: impl Fn(&L::Trusted) -> S,
) where
    L: Layer<Source = rekindle_database::Snapshot, Sink = Core>,
    K: Clone,
    S: PartialEq + std::fmt::Debug,
{
    let Some(kept) = kept else { return };
    let Ok(snapshot) = core.database.snapshot() else { return };
    let look = |kept| {
        let layer = layer(kept);
        let (trusted, findings) = layer.validate(layer.scan(&snapshot).ok()?);
        Some((sum(&trusted), findings))
    };
    let (quick, full) = (look(Some(kept.clone())), look(None));
    assert!(quick == full, "the kept index says {quick:#?}, the rows say {full:#?}");
}

fn recover_layer<L>(
    layer: &L,
    core: &Arc<Core>,
    meter: &Meter,
) -> Result<(L::Recovered, LayerReport), Failure>
where
    L: Layer<Source = rekindle_database::Snapshot, Sink = Core>,
{
    let clock = core.database.env().clock.as_ref();
    let examined = {
        // Given back before the act: a snapshot holds old versions in memory.
        let snapshot = core.database.snapshot().map_err(unreadable)?;
        examine_metered(layer, &snapshot, clock, meter)?
    };
    perform_metered(layer, examined, core, clock, meter)
}

fn unreadable(error: DatabaseError) -> Failure {
    Failure::io("read the recovered state", std::io::Error::other(error))
}

fn refused(failure: Failure) -> Error {
    DatabaseError::from(failure).into()
}

/// Starts the thread that does what is due.
fn start_timer(core: &Arc<Core>) -> Result<JoinHandle<()>, Error> {
    let core = Arc::clone(core);
    let timer = move || {
        loop {
            let duration = match tick::tick(&core) {
                Ok(ticked) => Duration::from_millis(ticked.next_in_ms).min(SLEEP_MAX),
                Err(error) => {
                    if core.index.is_lost() {
                        return;
                    }
                    tracing::warn!(%error, "what was due could not be done; it is tried again");
                    RETRY
                }
            };
            let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let until_ms = core.database.log_time_ms().saturating_add(ms);
            if !core.alarm.sleep(duration, until_ms) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("rekindle-timer".to_owned());
    thread.spawn(timer).map_err(|source| {
        DatabaseError::Io { context: "start the timer thread".to_owned(), source }.into()
    })
}
