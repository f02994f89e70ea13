//! Restore: from the files of backups to a store that goes on, as of one moment.
//!
//! Order: choose checkpoint and segments, read and check every byte of them, replay up to the
//! moment in memory (the one replay), then write a new store. Invariants: nothing is written before
//! everything that is needed was found whole; the store exists from one durable rename on, and
//! before that the directory says that its restore is unfinished; the new store has a lineage of
//! its own and uses no position, version, run or number again that a backup knows.

pub(crate) mod moment;
mod note;
mod write;

use std::ops::{Bound, Range};
use std::path::Path;

use rekindle_engine::checkpoint::{self, ReadError};
use rekindle_engine::{Engine, KeyspaceId, Mark, MemoryEngine};
use rekindle_env::Env;
use rekindle_journal::{Record, RecordKind};
use rekindle_recovery::{Finding, Meter, examine, perform};

use crate::backup::{
    BackupFinding, Choice, Folder, Manifest, Prover, Timeline, decode_id, trusted,
};
use crate::codec::Loss;
use crate::engines::EngineKind;
use crate::error::Error;
use crate::keyspaces::{self, REGISTRY};
use crate::layer::{Beneath, DatabaseLayer};
use crate::past::Past;
use crate::places;
use crate::stats::ReplayStats;

pub use moment::{Moment, rfc3339};
pub use note::{RestoreNote, RestoredBy};

/// What a restored store holds.
#[derive(Debug)]
pub struct Restored {
    /// The backup that the moment lies in.
    pub backup: u64,
    /// The last position in it.
    pub position: u64,
    /// The last version in it.
    pub version: u64,
    /// Log time of that version's transaction.
    pub log_time_ms: u64,
    /// The engine of the new store: that of the one that was backed up.
    pub engine: EngineKind,
    /// The store, in hexadecimal: the one that was backed up.
    pub store_id: String,
    /// Its new lineage, in hexadecimal.
    pub lineage: String,
    /// The run that its first start will be.
    pub next_incarnation: u64,
    /// The position of its next record: behind everything that the backups know.
    pub next_position: u64,
    /// The version of its next transaction: behind everything that the backups know.
    pub next_version: u64,
    /// Transactions that were replayed on top of the checkpoint.
    pub replayed: u64,
    /// The keyspaces by name, and how many keys each has.
    pub keyspaces: Vec<(String, u64)>,
    /// The hash of the state, as [`Database::state_hash`](crate::Database::state_hash).
    pub state_hash: u128,
    /// The state, to be read.
    pub view: Past,
}

/// The state of a moment, in memory.
pub(crate) struct Rebuilt {
    pub(crate) engine: MemoryEngine,
    pub(crate) stats: ReplayStats,
    /// What the records that were read say is lost; none where all of it was checked before.
    lost: Vec<Lost>,
}

/// A range that a repair gave up.
struct Lost {
    positions: Range<u64>,
    /// Version of the first transaction behind it.
    next_version: u64,
}

impl Lost {
    fn of(record: &Record<'_>) -> Option<Self> {
        let is_loss = record.kind == RecordKind::Loss;
        let loss = is_loss.then(|| Loss::decode(record.payload).ok()).flatten()?;
        // What stands at its last position stands for all of it: that moment is there again.
        let positions = loss.from_position..loss.to_position;
        Some(Self { positions, next_version: loss.next_version })
    }
}

impl Rebuilt {
    fn mark(&self) -> Mark {
        self.engine.mark()
    }

    /// Whether the moment lies in a range that a repair gave up, and nothing has it.
    fn is_lost(&self, moment: Moment) -> bool {
        let mark = self.mark();
        self.lost.iter().any(|lost| match moment {
            // The record that stands for it takes all of its versions along.
            Moment::Version(it) => mark.version != it && it < lost.next_version,
            Moment::Position(it) => lost.positions.contains(&it),
            Moment::Newest | Moment::Time(_) => false,
        })
    }

    /// How it is not what the backup's manifest says.
    pub(crate) fn contradiction(&self, said: &Manifest) -> Option<BackupFinding> {
        let mark = self.mark();
        let same = mark.version == said.version
            && mark.log_time_ms == said.log_time_ms
            && mark.position <= said.position;
        let describe = |version: u64, log_time_ms: u64, position: u64| {
            format!("version {version} at log time {log_time_ms}, position {position}")
        };
        (!same).then(|| BackupFinding {
            file: format!("backups/{}.json", said.number),
            offset: 0,
            expected: describe(said.version, said.log_time_ms, said.position),
            found: describe(mark.version, mark.log_time_ms, mark.position),
        })
    }
}

/// Restores the state of a moment from the backups in `from` into a new store in `to`, which must
/// be absent or empty, or hold a restore that was interrupted.
///
/// # Errors
/// `Invalid` for a moment that no backup has, `Damaged` when a file that is needed is not whole
/// (nothing was written), `NotAStore` when there is no backup or `to` is not empty, `Locked`,
/// `Busy`, `Full`, `Io`.
pub fn restore(from: &Path, to: &Path, moment: Moment, env: &Env) -> Result<Restored, Error> {
    restore_as(from, to, moment, &RestoredBy::default(), env)
}

/// The same; the store remembers who restored it and why, until that is told in its audit log.
///
/// # Errors
/// As [`restore`].
pub fn restore_as(
    from: &Path,
    to: &Path,
    moment: Moment,
    by: &RestoredBy,
    env: &Env,
) -> Result<Restored, Error> {
    check_place(from, to, env)?;
    let folder = Folder::open(from, env)?;
    let manifests = folder.whole_manifests()?;
    check_lineage(&manifests)?;
    let timeline = Timeline::new(&manifests);
    let choice = timeline.choose(moment)?;
    write::check_empty(to, env)?;
    let end = manifests.iter().find(|manifest| manifest.number == choice.backup);
    let end = end.expect("a choice is made among these");
    let rebuilt = rebuild(&folder, end, &choice, false)?;
    if rebuilt.is_lost(moment) {
        return Err(timeline.refusal(moment, "lies in what a repair gave up"));
    }
    if let Some(finding) = missed(&rebuilt, end, moment) {
        return Err(Error::Damaged(format!("{finding}; nothing was restored")));
    }
    let (mark, replayed) = (rebuilt.mark(), rebuilt.stats.txns_applied);
    let (keyspaces, state_hash) = (census(&rebuilt.engine)?, rebuilt.engine.state_hash());
    let goes_on = write::GoesOn::behind(&manifests, mark);
    let note = RestoreNote {
        who: by.who.clone(),
        reason: by.reason.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        wall_ms: env.clock.wall_ms(),
        from: from.display().to_string(),
        moment: moment.to_string(),
        backup: choice.backup,
        position: mark.position,
        version: mark.version,
        of_lineage: end.lineage.clone(),
        lineage: String::new(),
    };
    let lineage = write::write(to, env, (end, note), &rebuilt.engine, &goes_on)?;
    tracing::info!(
        version = mark.version,
        "restored {moment} of backup {} to {}",
        choice.backup,
        to.display()
    );
    Ok(Restored {
        backup: choice.backup,
        position: mark.position,
        version: mark.version,
        log_time_ms: mark.log_time_ms,
        engine: end.engine_kind().expect("checked when it was read"),
        store_id: end.store_id.clone(),
        lineage,
        next_incarnation: goes_on.incarnation + 1,
        next_position: goes_on.position + 1,
        next_version: goes_on.version + 1,
        replayed,
        keyspaces,
        state_hash,
        view: Past::of(std::sync::Arc::new(rebuilt.engine), rebuilt.stats),
    })
}

/// Refuses a place in, or around, the backups, and one inside of a store or of other backups.
fn check_place(from: &Path, to: &Path, env: &Env) -> Result<(), Error> {
    if from.starts_with(to) || to.starts_with(from) {
        let (from, to) = (from.display(), to.display());
        return Err(Error::NotAStore(format!(
            "{to} and {from} lie inside each other; restore into a directory of its own"
        )));
    }
    let above = places::inside(&*env.disk, to)
        .map_err(|error| Error::io(format!("looking above {}", to.display()), error))?;
    if let Some(inside) = above {
        return Err(Error::NotAStore(format!(
            "{} lies inside of {inside}; restore into a directory of its own",
            to.display()
        )));
    }
    Ok(())
}

/// Manifests of two stores, or of two lineages, say nothing together.
pub(crate) fn check_lineage(manifests: &[Manifest]) -> Result<(), Error> {
    let who =
        |manifest: &Manifest| (manifest.store_id.clone(), manifest.lineage.clone(), manifest.node);
    let first = manifests.first().map(who);
    match manifests.iter().find(|manifest| Some(who(manifest)) != first) {
        None => Ok(()),
        Some(other) => Err(Error::Damaged(format!(
            "backups/{}.json is of another store or lineage than the first backup; move the files \
             of each into a directory of its own",
            other.number
        ))),
    }
}

/// The state behind a choice; every byte is checked on the way, unless that was just done.
pub(crate) fn rebuild(
    folder: &Folder,
    manifest: &Manifest,
    choice: &Choice,
    checked: bool,
) -> Result<Rebuilt, Error> {
    let (disk, clock) = (&*folder.env.disk, &*folder.env.clock);
    let store_id = decode_id(&manifest.store_id).expect("checked when it was read");
    let go_on = |_| Ok(());
    let prover = Prover { disk, dir: &folder.dir, store_id, node: manifest.node, go_on: &go_on };
    let damaged =
        |finding: BackupFinding| Error::Damaged(format!("{finding}; see 'rekindle backup verify'"));
    let said = &choice.checkpoint;
    if !checked && let Some(finding) = prover.same_checkpoint(said)? {
        return Err(damaged(finding));
    }
    let mut lost = Vec::new();
    let mut visit = |record: &Record<'_>| lost.extend(Lost::of(record));
    let journal = trusted(&prover, &choice.segments, checked, &mut visit)?.map_err(damaged)?;
    let path = folder.dir.join(&said.file);
    let context = |error| Error::io(format!("reading {}", path.display()), error);
    let file = disk.open_read(&path).map_err(context)?;
    let engine = match checkpoint::load(&*file, &store_id, said.id) {
        Ok((_, engine)) => engine,
        Err(ReadError::Io { source, .. }) => return Err(context(source)),
        Err(error) => return Err(Error::Damaged(format!("{}: {error}", said.file))),
    };
    let layer = DatabaseLayer {
        journal: &journal,
        engine: &engine as &dyn Engine,
        beneath: Beneath { loaded: said.file.clone(), furthest: None },
        replay_from: said.replay_from,
        clock,
        until: choice.until,
        only: None,
        tracker: None,
        meter: &Meter::default(),
    };
    let seen = examine(&layer, disk, clock)?;
    if seen.refusal().is_some() {
        let finding = seen.report.findings.iter().find(|finding| finding.verdict.is_some());
        return Err(finding.map_or_else(|| Error::Damaged("replay refuses".to_owned()), refused));
    }
    let (replayed, _) = perform(&layer, seen, &(), clock)?;
    Ok(Rebuilt { engine, stats: replayed.stats, lost })
}

/// What replay refused, by place.
fn refused(finding: &Finding) -> Error {
    let Finding { place, expected, found, .. } = finding;
    let (file, offset) = (&place.file, place.offset);
    Error::Damaged(format!(
        "{file} offset {offset}: expected {expected}, found {found}; see 'rekindle backup verify'"
    ))
}

/// Whether replay did not end where it must.
fn missed(rebuilt: &Rebuilt, end: &Manifest, moment: Moment) -> Option<BackupFinding> {
    let mark = rebuilt.mark();
    let missed = |expected: String| {
        let (file, found) = (format!("backups/{}.json", end.number), mark.version.to_string());
        Some(BackupFinding { file, offset: 0, expected, found: format!("version {found}") })
    };
    match moment {
        Moment::Newest => rebuilt.contradiction(end),
        Moment::Version(version) if version != mark.version => missed(moment.to_string()),
        Moment::Position(position) if position < mark.position => missed(moment.to_string()),
        Moment::Time(ms) if ms < mark.log_time_ms => missed(moment.to_string()),
        _ => None,
    }
}

/// The keyspaces and their keys.
fn census(engine: &MemoryEngine) -> Result<Vec<(String, u64)>, Error> {
    let names = (Bound::Unbounded, Bound::Unbounded);
    let rows = engine.scan(REGISTRY, names, u64::MAX, usize::MAX, false)?;
    let named = rows.iter().filter_map(|row| {
        let keys = engine.len(KeyspaceId(keyspaces::number(&row.value)?));
        Some((String::from_utf8_lossy(&row.key).into_owned(), keys))
    });
    Ok(named.collect())
}
