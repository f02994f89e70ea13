//! Recovery of a whole store, top-down: examine every layer, refuse or go on, then act.
//!
//! Order of examining: store, meta, engine, journal, database; nothing is written meanwhile, and a
//! refusal of any layer leaves every byte as it was. Then each layer acts in the same order.
//! `open`, the dry run and `verify` share this file: they differ in the disk and in how much is
//! read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle_engine::checkpoint::{Policy, Since};
use rekindle_engine::recovery::{self as engine_recovery, EngineLayer, Usable};
use rekindle_env::{DirectoryLock, Env, LockMode, NativeMode, ReadDisk, durable};
use rekindle_journal::codec::segment::{HEADER_LEN, SegmentHeader, SegmentHeaderRead};
use rekindle_journal::{self as journal, JournalLayer, Layout, MetaLayer, WriterConfig};
use rekindle_recovery::store::{self, StoreLayer};
use rekindle_recovery::{
    Examined, Failure, Identity, LayerReport, Meter, Report, Stage, examine_metered as examine,
    perform_metered as perform,
};

use crate::before::{before, bytes_ahead, engine_figures, journal_figures};
use crate::checkpoint::{Found, Named};
use crate::derived::{Earlier, Tracker};
use crate::engines::{self, EngineKind, Held};
use crate::error::Error;
use crate::layer::{Beneath, DatabaseLayer, Replayed};
use crate::options::Options;
use crate::replay::Until;
use crate::stats::ReplayStats;

/// The one shard of a store on one machine.
pub(crate) const SHARD: u32 = 0;

/// The same as a path inside the store.
pub(crate) const SHARD_DIR: &str = "shards/0";

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Headers and metadata: what a store is.
    Headers,
    /// What a start needs.
    Start,
    /// Every byte.
    Full,
}

impl Depth {
    /// The same for the journal.
    pub(crate) fn of_journal(self) -> journal::Depth {
        match self {
            Self::Headers => journal::Depth::Headers,
            Self::Start => journal::Depth::Start,
            Self::Full => journal::Depth::Full,
        }
    }

    /// The same for the engine.
    fn of_engine(self) -> engine_recovery::Depth {
        match self {
            Self::Headers => engine_recovery::Depth::Surface,
            Self::Start => engine_recovery::Depth::Open,
            Self::Full => engine_recovery::Depth::Everything,
        }
    }
}

/// A store that was looked at and may be acted on, and its locked directory.
pub(crate) struct Examination<'a> {
    dir: PathBuf,
    env: &'a Env,
    meter: Meter,
    layers: Option<Layers>,
    /// What was seen so far.
    pub(crate) report: Report,
}

/// All layers of an examination in which none refused.
struct Layers {
    below: Below,
    held: Held,
    /// It is a view: there was no store yet.
    fresh: bool,
    /// Time of loading it, without what the engine's scan had loaded on its way.
    load_nanos: u64,
    replayed: Replayed,
    earlier: Option<Earlier>,
    database: LayerReport,
}

/// The layers below the database.
pub(crate) struct Below {
    store: (StoreLayer, Examined<StoreLayer>),
    pub(crate) meta: (MetaLayer, Examined<MetaLayer>),
    pub(crate) engine: (EngineLayer, Examined<EngineLayer>),
    pub(crate) journal: (JournalLayer, Examined<JournalLayer>),
}

impl Below {
    fn refuses(&self) -> bool {
        let refusals = [self.meta.1.refusal(), self.engine.1.refusal(), self.journal.1.refusal()];
        self.store.1.refusal().is_some() || refusals.iter().any(Option::is_some)
    }

    /// Their reports, in order.
    pub(crate) fn reports(self) -> [LayerReport; 4] {
        [self.store.1.report, self.meta.1.report, self.engine.1.report, self.journal.1.report]
    }
}

/// A recovered store whose journal is ready to start.
pub(crate) struct Recovered {
    /// The state.
    pub(crate) engine: Held,
    /// What replay left.
    pub(crate) replayed: Replayed,
    /// The journal behind it.
    pub(crate) journal: journal::Recovered,
    /// What was derived from the rows before, and what changed since.
    pub(crate) earlier: Option<Earlier>,
    /// Checkpoints on disk.
    pub(crate) found: Found,
    /// What was seen, decided and done.
    pub(crate) report: Report,
}

/// Locks a store's directory, making it first where that is wanted.
pub(crate) fn lock_directory(
    dir: &Path,
    create: bool,
    mode: LockMode,
    env: &Env,
) -> Result<Box<dyn DirectoryLock>, Error> {
    let found = env.disk.stat(dir);
    let absent = match found {
        Ok(entry) => entry.is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if absent && create {
        store::make_directory(&*env.disk, dir)?;
    }
    Ok(store::lock(&*env.disk, dir, mode)?)
}

impl<'a> Examination<'a> {
    /// Looks at the layers below the database, every byte, whatever they say; `None` when the store
    /// itself refuses, with the report of why.
    pub(crate) fn below(
        dir: &Path,
        options: &Options,
        env: &'a Env,
        disk: &(dyn ReadDisk + 'static),
    ) -> Result<(Option<Below>, Report), Error> {
        let report = Report { started_wall_ms: env.clock.wall_ms(), ..Report::default() };
        let (dir, meter) = (dir.to_owned(), Meter::default());
        let mut examination = Self { dir, env, meter, layers: None, report };
        let below = examination.look_below(options, disk, Depth::Full)?;
        Ok((below, examination.report))
    }

    /// Looks at every layer up to the first that refuses; with [`Depth::Full`] at what lies beyond
    /// it too, as far as that can be told. Reads from `disk` only.
    pub(crate) fn new(
        dir: &Path,
        options: &Options,
        env: &'a Env,
        disk: &(dyn ReadDisk + 'static),
        depth: Depth,
    ) -> Result<Self, Error> {
        Self::metered(dir, options, env, disk, depth, Meter::default())
    }

    /// The same; `meter` is told where it is.
    pub(crate) fn metered(
        dir: &Path,
        options: &Options,
        env: &'a Env,
        disk: &(dyn ReadDisk + 'static),
        depth: Depth,
        meter: Meter,
    ) -> Result<Self, Error> {
        let mut examination = Self {
            dir: dir.to_owned(),
            env,
            meter,
            layers: None,
            report: Report { started_wall_ms: env.clock.wall_ms(), ..Report::default() },
        };
        let started = env.clock.boot_ns();
        examination.layers = examination.look(options, disk, depth)?;
        examination.report.micros = env.clock.boot_ns().saturating_sub(started) / 1_000;
        Ok(examination)
    }

    /// Examines; `None` when a layer refused. The report has everything that was seen.
    fn look(
        &mut self,
        options: &Options,
        disk: &(dyn ReadDisk + 'static),
        depth: Depth,
    ) -> Result<Option<Layers>, Error> {
        let Some(below) = self.look_below(options, disk, depth)? else { return Ok(None) };
        if below.refuses() {
            self.add_all(below.reports());
            return Ok(None);
        }
        let (clock, meter) = (&*self.env.clock, &self.meter.clone());
        let replay_from = below.engine.1.trusted.replay_from();
        let began_ns = clock.boot_ns();
        let fresh = below.store.1.trusted.identity().is_none();
        let in_place = depth == Depth::Start && !fresh;
        let mode = if in_place { NativeMode::InPlace } else { NativeMode::View };
        let (layer, trusted) = (&below.engine.0, &below.engine.1.trusted);
        let kind = layer.kind();
        let held = match Held::load(layer, trusted, disk, (self.env, options), mode) {
            Ok(held) => held,
            Err(Failure::Refused(found)) => {
                let mut reports = below.reports();
                reports.iter_mut().for_each(|it| engines::refuse_files(it, kind, &found));
                self.add_all(reports);
                return Ok(None);
            }
            Err(other) => return Err(other.into()),
        };
        let tracker = Tracker::of(trusted, disk)?;
        let beneath = Beneath::of(trusted, &held);
        let load_nanos = clock.boot_ns().saturating_sub(began_ns);
        let layer = DatabaseLayer {
            journal: &below.journal.1.trusted,
            engine: &*held.engine(),
            beneath,
            replay_from,
            clock,
            until: Until::End,
            only: None,
            tracker: tracker.as_ref(),
            meter,
        };
        meter.expect_bytes(below.journal.1.trusted.replay_bytes(replay_from));
        meter.expect_records(Some(below.journal.1.trusted.records));
        let seen = examine(&layer, disk, clock, meter)?;
        if seen.refusal().is_some() {
            let report = seen.report;
            self.add_all(below.reports());
            self.report.add(report);
            return Ok(None);
        }
        // Nothing refused. This layer's own act touches no disk: it says what replay did.
        let (replayed, mut database) = perform(&layer, seen, &(), clock, meter)?;
        add_figures(&mut database, &replayed.stats);
        meter.expect_bytes(0);
        if let Some(before) = &mut self.report.before {
            before.newest_version = replayed.stats.final_version;
        }
        let reached = held.engine().mark().version;
        assert_eq!(reached, replayed.stats.final_version, "replay reached its end");
        let earlier = tracker.and_then(|tracker| tracker.finish(reached));
        Ok(Some(Layers { below, held, fresh, load_nanos, replayed, earlier, database }))
    }

    /// Examines the layers below the database; `None` when there is no store to look into.
    fn look_below(
        &mut self,
        options: &Options,
        disk: &(dyn ReadDisk + 'static),
        depth: Depth,
    ) -> Result<Option<Below>, Error> {
        let (clock, meter) = (&*self.env.clock, &self.meter.clone());
        let engine = options.engine.unwrap_or(options.new_engine).number();
        let candidate = Identity::generate(&*self.env.random, engine);
        let engines = EngineKind::accepted(options.engine);
        let store =
            StoreLayer { dir: self.dir.clone(), create: options.create, candidate, engines };
        let store_seen = examine(&store, disk, clock, meter)?;
        if store_seen.refusal().is_some() {
            self.report.add(store_seen.report);
            return Ok(None);
        }
        let who = store_seen.trusted.identity().unwrap_or(&store.candidate).clone();
        self.report.store_id = Some(who.store_id);
        let layout = Layout::new(&self.dir, SHARD);
        let meta = MetaLayer { layout: layout.clone(), store_id: who.store_id };
        let meta_seen = examine(&meta, disk, clock, meter)?;
        let named = meta_seen.trusted.meta.map_or([0, 0], |meta| meta.checkpoints);
        let engine = engine_layer(&self.dir, &who, named, depth);
        let engine = match journal_begin(disk, &layout, &meta_seen)? {
            Some(position) => engine.with_journal_from(position),
            None => engine,
        };
        meter.expect_bytes(bytes_ahead(disk, &layout, &engine, &meta_seen.trusted));
        let mut engine_seen = examine(&engine, disk, clock, meter)?;
        let replay_from = engine_seen.trusted.replay_from();
        engine_figures(&mut engine_seen.report, &engine_seen.trusted);
        meter.advance(0, engine_seen.trusted.chosen().map_or(0, |chosen| chosen.rows));
        let mut named = meta_seen.trusted.clone();
        if let Some(meta) = &mut named.meta {
            // The next write of meta, which opens the new segment, names only what can be used.
            meta.checkpoints = engine_seen.trusted.names();
        }
        let journal = JournalLayer {
            layout,
            store_id: who.store_id,
            node: who.node,
            meta: named,
            replay_from,
            depth: depth.of_journal(),
            config: WriterConfig { segment_bytes: options.segment_bytes },
            env: self.env.clone(),
        };
        let mut journal_seen = examine(&journal, disk, clock, meter)?;
        journal_figures(&mut journal_seen.report, &journal_seen.trusted, replay_from);
        let (engine_trusted, journal_trusted) = (&engine_seen.trusted, &journal_seen.trusted);
        self.report.before = Some(before(&meta_seen.trusted, engine_trusted, journal_trusted));
        Ok(Some(Below {
            store: (store, store_seen),
            meta: (meta, meta_seen),
            engine: (engine, engine_seen),
            journal: (journal, journal_seen),
        }))
    }

    /// Whether a layer refused.
    pub(crate) fn refuses(&self) -> bool {
        self.layers.is_none()
    }

    fn add_all<const N: usize>(&mut self, layers: [LayerReport; N]) {
        layers.into_iter().for_each(|layer| self.report.add(layer));
    }

    /// The report of an examination that is not acted on.
    pub(crate) fn into_report(mut self) -> Report {
        if let Some(layers) = self.layers.take() {
            self.add_all(layers.below.reports());
            self.report.add(layers.database);
        }
        self.report
    }

    /// Acts on every layer; files change from here on. An examination that refuses answers why.
    pub(crate) fn act(mut self, options: &Options) -> Result<Recovered, Error> {
        let Some(layers) = self.layers.take() else { return Err(refused(self.report)) };
        let (clock, meter) = (&*self.env.clock, &self.meter.clone());
        let disk = &*self.env.disk;
        let started = clock.boot_ns();
        let (store, report) =
            perform(&layers.below.store.0, layers.below.store.1, disk, clock, meter)?;
        self.report.add(report);
        let (_, report) = perform(&layers.below.meta.0, layers.below.meta.1, disk, clock, meter)?;
        self.report.add(report);
        let (engine_layer, engine_seen) = layers.below.engine;
        let scan_micros = engine_seen.report.micros(Stage::Scan);
        // Checking the journal is part of what replaying it costs.
        let check_ns = layers.below.journal.1.report.micros(Stage::Scan).saturating_mul(1_000);
        let replay_ns = check_ns.saturating_add(layers.replayed.nanos);
        let load = Duration::from_nanos(layers.load_nanos) + Duration::from_micros(scan_micros);
        let (checkpoints, report) = perform(&engine_layer, engine_seen, disk, clock, meter)?;
        self.report.add(report);
        let (journal_layer, journal_seen) = layers.below.journal;
        let replayed_bytes = journal_seen.trusted.replay_bytes(checkpoints.replay_from);
        let known_runs = journal_seen.trusted.incarnation;
        let (journal, report) = perform(&journal_layer, journal_seen, &(), clock, meter)?;
        assert!(journal.incarnation > known_runs, "a run's number is above every one before it");
        self.report.add(report);
        self.report.add(layers.database);
        let store = store.begin(disk, &self.dir)?;
        self.report.incarnation = journal.incarnation;
        self.report.micros += clock.boot_ns().saturating_sub(started) / 1_000;
        let records = layers.replayed.stats.txns_applied;
        let since = Since { records, bytes: replayed_bytes };
        let found = Found {
            store: self.dir.clone(),
            folder: engine_layer.folder(),
            identity: store.identity,
            named: named(&checkpoints),
            next_id: checkpoints.next_id,
            policy: policy(options, &checkpoints, load, (since, replay_ns)),
            replayed_bytes,
            replay_ns,
        };
        let (held, replayed, earlier) = (layers.held, layers.replayed, layers.earlier);
        let engine = match layers.fresh {
            true => held.settle(&engine_layer, self.env, options)?,
            false => held,
        };
        Ok(Recovered { engine, replayed, journal, earlier, found, report: self.report })
    }
}

/// What replay counted, as the report has it.
fn add_figures(report: &mut LayerReport, stats: &ReplayStats) {
    report.figure("txns_applied", stats.txns_applied);
    report.figure("writes_applied", stats.writes_applied);
    report.figure("deletes_applied", stats.deletes_applied);
    report.figure("incomplete_txns", stats.incomplete_txns);
    report.figure("aborted_txns", stats.aborted_txns);
    report.figure("discarded_txns", stats.discarded_txns);
    report.figure("orphaned_entries", stats.orphaned_entries);
    report.figure("final_version", stats.final_version);
}

/// What a refused start answers.
pub(crate) fn refused(report: Report) -> Error {
    match report.refusal() {
        Some(Failure::Refused(_)) | None => Error::Corrupt(Box::new(report)),
        Some(other) => other.into(),
    }
}

/// The layer that finds the state.
pub(crate) fn engine_layer(
    dir: &Path,
    who: &Identity,
    named: [u64; 2],
    depth: Depth,
) -> EngineLayer {
    engine_layer_of(dir, who.store_id, named, depth).of_kind(EngineKind::rows(who.engine))
}

/// The same, for a store of which only the id is known.
pub(crate) fn engine_layer_of(
    dir: &Path,
    store_id: [u8; 16],
    named: [u64; 2],
    depth: Depth,
) -> EngineLayer {
    EngineLayer::new(dir, SHARD_DIR, store_id, named, depth.of_engine())
}

/// The first position that the journal still holds, as its oldest segment says; `None` when that
/// cannot be told here. The journal's own examination judges the segment.
pub(crate) fn journal_begin(
    disk: &(dyn ReadDisk + 'static),
    layout: &Layout,
    meta: &Examined<MetaLayer>,
) -> Result<Option<u64>, Error> {
    let Some(meta) = meta.trusted.meta else { return Ok(Some(1)) };
    let path = layout.segment(meta.oldest_segment);
    let taken = durable::list_folder(disk, &layout.journal_dir()).map(|listed| listed.is_none());
    if taken.map_err(|e| Error::io(format!("listing {}", layout.journal_dir().display()), e))? {
        return Ok(None);
    }
    let no_file = durable::is_no_file(disk, &path);
    if no_file.map_err(|e| Error::io(format!("looking at {}", path.display()), e))? {
        return Ok(None);
    }
    let file = match disk.open_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("opening {}", path.display()), error)),
    };
    let len = usize::try_from(HEADER_LEN).expect("a header fits in memory");
    let mut header = vec![0; len];
    let read = file.read_at(&mut header, 0);
    let read = read.map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    if read < len {
        return Ok(None);
    }
    Ok(match SegmentHeader::decode(&header) {
        SegmentHeaderRead::Valid(header) => Some(header.first_position),
        _ => None,
    })
}

/// The checkpoints that can be used, newest first.
fn named(recovered: &engine_recovery::Recovered) -> [Named; 2] {
    let mut named = recovered.checkpoints.iter().map(|usable: &Usable| Named {
        id: usable.id,
        version: usable.mark.version,
        position: usable.mark.position,
        replay_from: usable.replay_from,
        bytes: usable.bytes,
    });
    [named.next().unwrap_or_default(), named.next().unwrap_or_default()]
}

/// The checkpoint policy, taught by this start: what was loaded and replayed, and how long it took.
fn policy(
    options: &Options,
    checkpoints: &engine_recovery::Recovered,
    load: Duration,
    (since, replay_ns): (Since, u64),
) -> Policy {
    let mut policy = Policy::new(options.max_recovery, options.max_history_bytes);
    if let Some(chosen) = checkpoints.checkpoints.first() {
        policy.loaded(chosen.bytes, load);
    }
    policy.replayed(since, Duration::from_nanos(replay_ns));
    policy
}
