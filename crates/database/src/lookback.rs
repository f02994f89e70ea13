//! Examinations that end in a view instead of a start: the journal alone, and the past rebuilt.
//!
//! Invariant: nothing here writes; both read through the layers that a start uses.

use std::path::Path;
use std::sync::Arc;

use rekindle_engine::Engine;
use rekindle_engine::recovery::Kind;
use rekindle_env::{Env, NativeMode};
use rekindle_journal::{JournalLayer, Layout, MetaLayer, TrustedJournal, WriterConfig};
use rekindle_recovery::store::StoreLayer;
use rekindle_recovery::{Examined, Identity, Meter, Report, examine, identity, perform};

use crate::engines::{EngineKind, Held};
use crate::error::Error;
use crate::layer::{Beneath, DatabaseLayer, Only};
use crate::options::Options;
use crate::recovery::{Depth, Examination, SHARD, engine_layer, journal_begin, refused};
use crate::replay::Until;
use crate::stats::ReplayStats;

/// The layers below the engine.
struct Base {
    who: Identity,
    layout: Layout,
    meta: Examined<MetaLayer>,
}

impl Base {
    fn look(dir: &Path, env: &Env) -> Result<Self, Error> {
        let (clock, disk) = (&*env.clock, &*env.disk);
        let candidate = Identity::generate(&*env.random, identity::ENGINE_MEMORY);
        let engines = EngineKind::accepted(None);
        let store = StoreLayer { dir: dir.to_owned(), create: false, candidate, engines };
        let seen = examine(&store, disk, clock)?;
        let who = seen.trusted.identity().cloned();
        let Some(who) = who.filter(|_| seen.refusal().is_none()) else {
            let mut report = Report::default();
            report.add(seen.report);
            return Err(refused(report));
        };
        let layout = Layout::new(dir, SHARD);
        let layer = MetaLayer { layout: layout.clone(), store_id: who.store_id };
        let meta = examine(&layer, disk, clock)?;
        if meta.refusal().is_some() {
            let mut report = Report::default();
            report.add(meta.report);
            return Err(refused(report));
        }
        Ok(Self { who, layout, meta })
    }

    fn journal(&self, env: &Env, replay_from: u64) -> Result<Examined<JournalLayer>, Error> {
        let layer = JournalLayer {
            layout: self.layout.clone(),
            store_id: self.who.store_id,
            node: self.who.node,
            meta: self.meta.trusted.clone(),
            replay_from,
            depth: rekindle_journal::Depth::Full,
            config: WriterConfig { segment_bytes: Options::default().segment_bytes },
            env: env.clone(),
        };
        Ok(examine(&layer, &*env.disk, &*env.clock)?)
    }
}

impl Examination<'_> {
    /// The journal, every byte, as a start would judge it: damage below the checkpoint is healed,
    /// and what lies behind it can be read.
    pub(crate) fn journal_alone(dir: &Path, env: &Env) -> Result<TrustedJournal, Error> {
        let base = Base::look(dir, env)?;
        let named = base.meta.trusted.meta.map_or([0, 0], |meta| meta.checkpoints);
        let begin = journal_begin(&*env.disk, &base.layout, &base.meta)?.unwrap_or(1);
        let layer = engine_layer(dir, &base.who, named, Depth::Full).with_journal_from(begin);
        // Where no checkpoint can be read, all of the journal counts.
        let seen = examine(&layer, &*env.disk, &*env.clock).ok();
        let usable = seen.filter(|seen| seen.refusal().is_none());
        let replay_from = usable.map_or(1, |seen| seen.trusted.replay_from());
        Ok(base.journal(env, replay_from)?.trusted)
    }

    /// The state behind `until`, from the newest checkpoint that is not beyond it; where the state
    /// has files of its own, from these.
    pub(crate) fn rebuild(
        dir: &Path,
        env: &Env,
        until: Option<u64>,
        only: Option<Only<'_>>,
    ) -> Result<(Arc<dyn Engine>, ReplayStats), Error> {
        let base = Base::look(dir, env)?;
        let [newest, older] = base.meta.trusted.meta.map_or([0, 0], |meta| meta.checkpoints);
        let begin = journal_begin(&*env.disk, &base.layout, &base.meta)?.unwrap_or(1);
        let mut oldest = u64::MAX;
        for named in [[newest, older], [older, 0], [0, 0]] {
            let layer = engine_layer(dir, &base.who, named, Depth::Start);
            let layer = layer.with_journal_from(begin);
            let seen = examine(&layer, &*env.disk, &*env.clock)?;
            if seen.refusal().is_some() {
                continue;
            }
            let (mut mark, replay_from) = (seen.trusted.mark(), seen.trusted.replay_from());
            if begin > replay_from {
                continue;
            }
            let load = || {
                let (disk, options) = (&*env.disk, &Options::default());
                Held::load(&layer, &seen.trusted, disk, (env, options), NativeMode::View)
            };
            let mut held = None;
            if layer.kind() != Kind::Memory {
                // The files may stand behind what the checkpoint says.
                mark = held.insert(load()?).engine().mark();
            }
            oldest = oldest.min(mark.version);
            if until.is_some_and(|until| until < mark.version) {
                continue;
            }
            let held = held.map_or_else(load, Ok)?;
            let (engine, beneath) = (held.engine(), Beneath::of(&seen.trusted, &held));
            let stats = replay(&base, env, (&*engine, beneath), replay_from, until, only)?;
            return Ok((engine, stats));
        }
        Err(Error::Compacted { asked: until.unwrap_or(0), oldest })
    }
}

fn replay(
    base: &Base,
    env: &Env,
    (engine, beneath): (&dyn Engine, Beneath),
    replay_from: u64,
    until: Option<u64>,
    only: Option<Only<'_>>,
) -> Result<ReplayStats, Error> {
    let journal = base.journal(env, replay_from)?;
    let mut report = Report::default();
    if journal.refusal().is_some() {
        report.add(journal.report);
        return Err(refused(report));
    }
    let clock = &*env.clock;
    let journal = &journal.trusted;
    let until = until.map_or(Until::End, Until::Version);
    let meter = &Meter::default();
    let tracker = None;
    let layer =
        DatabaseLayer { journal, engine, beneath, replay_from, clock, until, only, tracker, meter };
    let seen = examine(&layer, &*env.disk, clock)?;
    if seen.refusal().is_some() {
        report.add(seen.report);
        return Err(refused(report));
    }
    let (replayed, _) = perform(&layer, seen, &(), clock)?;
    Ok(replayed.stats)
}
