//! All services of a store, from recovery to shutdown.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rekindle_database::{Database, Error as DatabaseError};
use rekindle_recovery::{LayerReport, Meter};

use crate::alarm::Alarm;
use crate::audit::{Audit, record_restore, tell_losses};
use crate::claims::index::Index;
use crate::claims::{Event, Traces};
use crate::error::Error;
use crate::exec::Core;
use crate::jobs::Jobs;
use crate::keys::Keyspaces;
use crate::kv::Kv;
use crate::lead::{plan, recover, refused, run};
use crate::limits;
use crate::loops::Loops;
use crate::loops::recovery::Strategies;
use crate::loops::transcript::writer::Transcripts;
use crate::numbers::Numbers;
use crate::producers::table::{ProducerFigures, ProducerTable};
use crate::queues::Queues;
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
    /// The folder of the transcripts of loops; `None`: none are written.
    pub transcripts: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let traces = Traces::new();
        let (dispatch_capacity, strategies) = (limits::DISPATCH_CAPACITY, Strategies::default());
        Self { background: true, dispatch_capacity, traces, strategies, transcripts: None }
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
    transcripts: Mutex<Option<JoinHandle<()>>>,
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
            transcripts: options
                .transcripts
                .map(|dir| Arc::new(Transcripts::new(dir, Arc::clone(&database.env().disk)))),
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
        let transcripts = options.background.then(|| start_transcripts(&core)).transpose()?;
        let (timer, transcripts) = (Mutex::new(timer), Mutex::new(transcripts.flatten()));
        let running = Running { core: Arc::clone(&core), timer, transcripts };
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

    /// What [`Services::lead`] would find and do with these options; settles nothing.
    pub fn plan(database: &Database, options: Options) -> Result<Vec<LayerReport>, Error> {
        plan(database, options)
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
        let core = &self.running.core;
        let ticked = tick::tick(core);
        if let Some(transcripts) = core.transcripts.as_ref().filter(|_| !self.running.writes()) {
            transcripts.write(core);
            transcripts.sync(usize::MAX);
        }
        ticked
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
        // What it says lies on disk by now.
        match self.running.writes() {
            true => self.running.stop_transcripts(),
            false => core.transcripts.iter().for_each(|transcripts| {
                transcripts.write(core);
                transcripts.sync(usize::MAX);
            }),
        }
        Ok(())
    }
}

impl Running {
    /// Whether a thread writes transcripts.
    fn writes(&self) -> bool {
        self.transcripts.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn stop_transcripts(&self) {
        self.core.transcripts.iter().for_each(|transcripts| transcripts.close());
        let writer = self.transcripts.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer of transcripts had panicked; a start makes them again");
        }
    }

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
        self.stop_transcripts();
    }
}

/// Starts the thread that writes transcripts, if any are written.
fn start_transcripts(core: &Arc<Core>) -> Result<Option<JoinHandle<()>>, Error> {
    let Some(transcripts) = core.transcripts.clone() else { return Ok(None) };
    let core = Arc::clone(core);
    let thread = std::thread::Builder::new().name("rekindle-transcripts".to_owned());
    let started = thread.spawn(move || transcripts.run(&core)).map_err(|source| {
        let context = "start the writer of transcripts".to_owned();
        DatabaseError::Io { context, source }
    });
    Ok(Some(started?))
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
