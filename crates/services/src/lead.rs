//! Taking the lead: the services of an open database, layer by layer.
//!
//! ```text
//! producers ─▶ queues ─▶ loops are examined ─▶ jobs ─▶ loops are acted on
//! ```
//! Invariant: start and promotion run this, and a plan runs the same stages up to the act.

use std::cell::Cell;
use std::sync::Arc;

use rekindle_database::{Database, Error as DatabaseError};
use rekindle_env::ReadDisk;
use rekindle_recovery::{
    Ended, Examined, Failure, Finding, Layer, LayerReport, Meter, examine, examine_metered,
    perform_metered,
};

use crate::claims::{Run, Traces};
use crate::error::Error;
use crate::exec::Core;
use crate::figures::{job_figures, loop_figures, queue_figures};
use crate::jobs::look::Now;
use crate::jobs::recovery::JobLayer;
use crate::kept::{Kept, KeptObserver};
use crate::keys::Keyspaces;
use crate::loops::recovery::{LoopLayer, Strategies, restore};
use crate::loops::transcript::writer::TranscriptObserver;
use crate::producers::recovery::ProducerLayer;
#[cfg(debug_assertions)]
use crate::producers::recovery::sum;
use crate::queues::recovery::{QueueLayer, Recovered};
use crate::services::Options;

/// The disk, to be read.
fn read_disk(database: &Database) -> Arc<dyn ReadDisk> {
    Arc::clone(&database.env().disk) as Arc<dyn ReadDisk>
}

/// What a start would find and do; settles nothing.
pub(crate) fn plan(database: &Database, options: Options) -> Result<Vec<LayerReport>, Error> {
    let keyspaces = Keyspaces::open(database)?;
    let snapshot = database.snapshot()?;
    let clock = database.env().clock.as_ref();
    let meter = Meter::default();
    let kept = Cell::default();
    let producers = ProducerLayer { keyspaces, kept, meter: meter.clone() };
    let producers = examine(&producers, &snapshot, clock).map_err(refused)?;
    let run = run(database, options.traces);
    let log_time_ms = database.log_time_ms();
    // Everything is read: an index that an earlier run kept is the business of a start.
    let kept = Cell::default();
    let queues = QueueLayer { keyspaces, run: run.clone(), log_time_ms, kept, meter };
    let queues = examine(&queues, &snapshot, clock).map_err(refused)?;
    let meter = Meter::default();
    let loops = LoopLayer {
        keyspaces,
        run: run.clone(),
        now_ms: log_time_ms,
        strategies: options.strategies,
        transcripts: options.transcripts.map(|dir| (read_disk(database), dir)),
        meter,
    };
    let loops = examine(&loops, &snapshot, clock).map_err(refused)?;
    let now = Now::of(database);
    let meter = Meter::default();
    let (kept, dispatch_capacity) = (Cell::default(), u64::MAX);
    let jobs = JobLayer { keyspaces, now, run, dispatch_capacity, kept, meter };
    let jobs = examine(&jobs, &snapshot, clock).map_err(refused)?;
    Ok(vec![producers.report, queues.report, jobs.report, loops.report])
}

/// The run that this open is, as claims see it.
pub(crate) fn run(database: &Database, traces: Traces) -> Run {
    let ended = database.report().before.as_ref().map(|before| before.ended);
    Run::new(database.incarnation(), ended == Some(Ended::Clean), traces)
}

/// Recovers the layers in their order.
pub(crate) fn recover(
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
        transcripts: core.transcripts.as_ref().map(|it| (read_disk(&core.database), it.dir())),
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
    if let Some(transcripts) = &core.transcripts {
        core.database.observe(Arc::new(TranscriptObserver {
            transcripts: Arc::downgrade(transcripts),
            events: core.keyspaces.loop_events,
        }));
    }
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

pub(crate) fn refused(failure: Failure) -> Error {
    DatabaseError::from(failure).into()
}
