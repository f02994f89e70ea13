//! One look at a store's headers, layer by layer, as far as each can be read.
//!
//! Invariant: a layer that refuses ends a start, not a look: what lies above it is told with what
//! can be guessed from it, and the report still says that it was refused.

use std::io;
use std::path::Path;

use rekindle_engine::files::Family;
use rekindle_engine::recovery::{EngineLayer, Piece, Pieces as EnginePieces};
use rekindle_env::{Env, ReadDisk, durable};
use rekindle_journal::codec::Bad;
use rekindle_journal::codec::meta::Meta;
use rekindle_journal::codec::tip::Tip;
use rekindle_journal::recovery::meta::CopyRead;
use rekindle_journal::{JournalLayer, Layout, MetaCopy, MetaLayer, TrustedJournal, WriterConfig};
use rekindle_recovery::identity::{Defect, Identity, IdentityCopy, Versions};
use rekindle_recovery::store::{COPIES, Pieces as StorePieces, RawCopy, StoreLayer};
use rekindle_recovery::{Examined, Layer, Report, examine, identity, quarantine};

use super::{CheckpointHolds, CheckpointInfo, CopyInfo, CopyState, Files, SegmentsInfo, StoreInfo};
use crate::engines::EngineKind;
use crate::error::Error;
use crate::options::Options;
use crate::recovery::{Depth, SHARD, engine_layer, journal_begin};

/// Where reports are kept inside a store.
const REPORTS: &str = "reports";

/// Longer files are no `tip`.
const TIP_BYTES_MAX: u64 = 4096;

/// Looks.
pub(super) fn look(dir: &Path, env: &Env) -> Result<StoreInfo, Error> {
    let (disk, clock) = (&*env.disk as &(dyn ReadDisk + 'static), &*env.clock);
    let mut report = Report { started_wall_ms: clock.wall_ms(), ..Report::default() };
    let began_ns = clock.boot_ns();
    let candidate = Identity::generate(&*env.random, identity::ENGINE_MEMORY);
    let engines = EngineKind::accepted(None);
    let store = StoreLayer { dir: dir.to_owned(), create: false, candidate, engines };
    let pieces = store.scan(disk)?;
    let seen = examine(&store, disk, clock)?;
    let identity = seen.trusted.identity().cloned();
    report.add(seen.report);
    let mut copies = identity_copies(&pieces);
    let layout = Layout::new(dir, SHARD);
    let shard = Shard::look(dir, env, &layout, identity.as_ref(), &mut copies, &mut report)?;
    let (quarantine, reports) =
        (files(disk, &dir.join(quarantine::DIRECTORY))?, files(disk, &dir.join(REPORTS))?);
    report.micros = clock.boot_ns().saturating_sub(began_ns) / 1_000;
    let meta = shard.meta;
    let first = shard.journal.segments.first().map(|segment| &segment.header);
    Ok(StoreInfo {
        store_id: identity.as_ref().map(|who| who.store_id).or(shard.store_id),
        identity,
        versions: versions(&pieces),
        copies,
        created_wall_ms: first.filter(|header| header.seq == 1).map(|header| header.wall_ms),
        incarnation: shard.journal.incarnation.max(meta.map_or(0, |meta| meta.incarnation)),
        clean_end: meta.map(|meta| meta.clean_end_lsn > 0),
        segments: shard.segments(),
        checkpoints: shard.checkpoints,
        families: Vec::new(),
        quarantine,
        reports,
        report,
        running: None,
    })
}

/// The families of a store that nobody has open; none where they cannot be read, which a start and
/// `verify` say.
pub(super) fn families(dir: &Path, env: &Env, info: &StoreInfo) -> Vec<Family> {
    let kind = info.identity.as_ref().and_then(|who| EngineKind::of_number(who.engine));
    let Some(kind) = kind.and_then(EngineKind::files) else { return Vec::new() };
    let files = Layout::new(dir, SHARD).shard_dir().join(kind.folder());
    kind.families(&*env.disk, &files).unwrap_or_default()
}

/// Takes out what an open store leaves on its way: a segment that is made and not named yet.
pub(super) fn forget_what_is_being_made(report: &mut Report) {
    let being_made = |label: &str| matches!(label, "journal-13" | "journal-14");
    report.code = 0;
    for mut layer in std::mem::take(&mut report.layers) {
        layer.findings.retain(|finding| !being_made(finding.label.0));
        layer.actions.retain(|action| !being_made(action.label.0));
        report.add(layer);
    }
}

/// What the shard's files say.
struct Shard {
    meta: Option<Meta>,
    store_id: Option<[u8; 16]>,
    journal: TrustedJournal,
    listed: SegmentsInfo,
    checkpoints: Vec<CheckpointInfo>,
}

impl Shard {
    fn look(
        dir: &Path,
        env: &Env,
        layout: &Layout,
        identity: Option<&Identity>,
        copies: &mut Vec<CopyInfo>,
        report: &mut Report,
    ) -> Result<Self, Error> {
        let (disk, clock) = (&*env.disk as &(dyn ReadDisk + 'static), &*env.clock);
        let listed = listed(disk, layout)?;
        let unbound = MetaLayer { layout: layout.clone(), store_id: [0; 16] };
        let pieces = unbound.scan(disk)?;
        let whole = pieces.copies().iter().filter_map(|copy| match copy {
            CopyRead::Valid(meta) => Some(*meta),
            _ => None,
        });
        let newest = whole.max_by_key(|meta| meta.sequence);
        copies.extend(meta_copies(layout, pieces.copies(), newest));
        let store_id = identity.map(|who| who.store_id).or(newest.map(|meta| meta.store_id));
        let (tip, durable_lsn) = tip(disk, layout, store_id)?;
        copies.push(tip);
        let mut shard = Self {
            meta: newest,
            store_id,
            journal: TrustedJournal::default(),
            listed: SegmentsInfo { durable_lsn, ..listed },
            checkpoints: Vec::new(),
        };
        let Some(store_id) = store_id else { return Ok(shard) };
        let who = Identity {
            store_id,
            lineage: identity.map_or([0; 16], |who| who.lineage),
            node: identity.map(|who| who.node).or(newest.map(|meta| meta.node)).unwrap_or(1),
            feature_level: identity::FEATURE_LEVEL,
            engine: identity.map_or(identity::ENGINE_MEMORY, |who| who.engine),
        };
        let layer = MetaLayer { layout: layout.clone(), store_id };
        let meta = examine(&layer, disk, clock)?;
        let refused = meta.refusal().is_some();
        if !refused {
            shard.look_behind(dir, env, &who, layout, &meta, report)?;
        }
        report.add(meta.report);
        Ok(shard)
    }

    /// Checkpoints and segments, which the metadata names.
    fn look_behind(
        &mut self,
        dir: &Path,
        env: &Env,
        who: &Identity,
        layout: &Layout,
        meta: &Examined<MetaLayer>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let (disk, clock) = (&*env.disk as &(dyn ReadDisk + 'static), &*env.clock);
        let named = meta.trusted.meta.map_or([0, 0], |meta| meta.checkpoints);
        let engine = engine_layer(dir, who, named, Depth::Headers);
        let engine = match journal_begin(disk, layout, meta)? {
            Some(position) => engine.with_journal_from(position),
            None => engine,
        };
        self.checkpoints = checkpoints(&engine.scan(disk)?, named);
        let engine: Examined<EngineLayer> = examine(&engine, disk, clock)?;
        let layer = JournalLayer {
            layout: layout.clone(),
            store_id: who.store_id,
            node: who.node,
            meta: meta.trusted.clone(),
            replay_from: engine.trusted.replay_from(),
            depth: Depth::Headers.of_journal(),
            config: WriterConfig { segment_bytes: Options::default().segment_bytes },
            env: env.clone(),
        };
        let journal = examine(&layer, disk, clock)?;
        self.journal = journal.trusted;
        report.add(engine.report);
        report.add(journal.report);
        Ok(())
    }

    /// The segments, with what their headers and the checkpoints say of positions.
    fn segments(&self) -> SegmentsInfo {
        let headers = || self.journal.segments.iter().map(|segment| &segment.header);
        let before = |header: &rekindle_journal::codec::segment::SegmentHeader| {
            header.first_position.saturating_sub(1)
        };
        let held = self.checkpoints.iter().filter_map(|one| one.holds).map(|it| it.position);
        SegmentsInfo {
            from_position: headers().next().map(|header| header.first_position),
            known_position: headers().map(before).chain(held).max().unwrap_or(0),
            ..self.listed
        }
    }
}

fn identity_copies(pieces: &StorePieces) -> Vec<CopyInfo> {
    let raws = [&pieces.a, &pieces.b];
    let decoded = raws.map(|raw| match raw {
        RawCopy::Bytes(bytes) => Some(IdentityCopy::decode(bytes)),
        RawCopy::Absent | RawCopy::Other => None,
    });
    let whole = decoded.iter().flatten().filter_map(|copy| copy.as_ref().ok());
    let newest = whole.map(|copy| copy.sequence).max();
    let copies = COPIES.into_iter().zip(raws).zip(decoded);
    copies
        .map(|((name, raw), decoded)| {
            let (state, sequence, wrong) = match (raw, decoded) {
                (RawCopy::Absent, _) => (CopyState::Missing, None, None),
                (_, Some(Ok(copy))) => (age(copy.sequence, newest), Some(copy.sequence), None),
                (_, Some(Err(Defect::Newer { expected, found }))) => {
                    (CopyState::Newer, None, Some((8, expected, found)))
                }
                (_, Some(Err(Defect::Damaged { offset, expected, found }))) => {
                    (CopyState::Damaged, None, Some((offset, expected, found)))
                }
                (_, None) => {
                    let found = "a directory, link or device".to_owned();
                    (CopyState::Damaged, None, Some((0, "a regular file".to_owned(), found)))
                }
            };
            CopyInfo { file: name.to_owned(), state, sequence, wrong }
        })
        .collect()
}

fn age(sequence: u64, newest: Option<u64>) -> CopyState {
    if newest == Some(sequence) { CopyState::Whole } else { CopyState::Older }
}

/// The versions of the newest copy of the identity, of whatever format.
fn versions(pieces: &StorePieces) -> Option<Versions> {
    let of = |raw: &RawCopy| match raw {
        RawCopy::Bytes(bytes) => Versions::of(bytes),
        RawCopy::Absent | RawCopy::Other => None,
    };
    let both = [of(&pieces.a), of(&pieces.b)];
    both.into_iter().flatten().max_by_key(|versions| (versions.format, versions.min_reader))
}

fn meta_copies(layout: &Layout, read: &[CopyRead; 2], newest: Option<Meta>) -> Vec<CopyInfo> {
    let newest = newest.map(|meta| meta.sequence);
    let copies = MetaCopy::BOTH.into_iter().zip(read);
    copies
        .map(|(copy, read)| {
            let (state, sequence, wrong) = match read {
                CopyRead::Missing => (CopyState::Missing, None, None),
                // Copies take turns, so the older one is as good as it ever is.
                CopyRead::Valid(meta) => (age(meta.sequence, newest), Some(meta.sequence), None),
                CopyRead::Bad(Bad { expected, found }) => {
                    (CopyState::Damaged, None, Some((0, expected.clone(), found.clone())))
                }
                CopyRead::Newer(Bad { expected, found }) => {
                    (CopyState::Newer, None, Some((8, expected.clone(), found.clone())))
                }
            };
            CopyInfo { file: layout.relative(&layout.meta(copy)), state, sequence, wrong }
        })
        .collect()
}

/// `tip`, and up to where it proves that the journal is synced.
fn tip(
    disk: &(dyn ReadDisk + 'static),
    layout: &Layout,
    store_id: Option<[u8; 16]>,
) -> Result<(CopyInfo, u64), Error> {
    let path = layout.tip();
    let file = layout.relative(&path);
    let bad = |found: &str| {
        let wrong = Some((0, "a tip of 512 bytes".to_owned(), found.to_owned()));
        CopyInfo { file: file.clone(), state: CopyState::Damaged, sequence: None, wrong }
    };
    let context = |source| Error::io(format!("reading {}", path.display()), source);
    if durable::is_no_file(disk, &path).map_err(context)? {
        return Ok((bad("a directory, link or device"), 0));
    }
    let bytes = match durable::read_file(disk, &path, TIP_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let state = CopyState::Missing;
            return Ok((CopyInfo { file, state, sequence: None, wrong: None }, 0));
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Ok((bad("a larger file"), 0));
        }
        Err(error) => return Err(context(error)),
    };
    Ok(match Tip::decode(&bytes, &store_id.unwrap_or_default()) {
        Ok(tip) => {
            let state = CopyState::Whole;
            (CopyInfo { file, state, sequence: None, wrong: None }, tip.durable_lsn)
        }
        Err(Bad { expected, found }) => {
            let wrong = Some((0, expected, found));
            (CopyInfo { file, state: CopyState::Damaged, sequence: None, wrong }, 0)
        }
    })
}

fn checkpoints(pieces: &EnginePieces, named: [u64; 2]) -> Vec<CheckpointInfo> {
    let pieces = named.into_iter().zip([&pieces.newest, &pieces.older]);
    let named = pieces.filter(|(id, piece)| *id != 0 && **piece != Piece::NotNamed);
    named
        .map(|(id, piece)| {
            let (holds, wrong) = match piece {
                Piece::Whole(usable) => {
                    let (version, position) = (usable.mark.version, usable.mark.position);
                    let (replay_from, rows, bytes) =
                        (usable.replay_from, usable.rows, usable.bytes);
                    let holds = CheckpointHolds { version, position, replay_from, rows, bytes };
                    (Some(holds), None)
                }
                Piece::Damaged(damage) | Piece::TooNew(damage) => {
                    let (expected, found) = (damage.expected.clone(), damage.found.clone());
                    (None, Some((damage.offset, expected, found)))
                }
                Piece::Missing | Piece::NotNamed => {
                    (None, Some((0, "a checkpoint".to_owned(), "no file".to_owned())))
                }
                Piece::NotAFile => {
                    let found = "a directory, link or device".to_owned();
                    (None, Some((0, "a regular file".to_owned(), found)))
                }
            };
            CheckpointInfo { id, holds, wrong, newer: matches!(piece, Piece::TooNew(_)) }
        })
        .collect()
}

/// The segments, by their names.
fn listed(disk: &(dyn ReadDisk + 'static), layout: &Layout) -> Result<SegmentsInfo, Error> {
    let segments = layout.segments(disk);
    let segments = segments.map_err(|source| Error::io("listing the segments", source))?;
    Ok(SegmentsInfo {
        count: count(segments.len()),
        bytes: segments.iter().map(|(_, entry)| entry.len).fold(0, u64::saturating_add),
        oldest: segments.first().map_or(0, |(seq, _)| *seq),
        newest: segments.last().map_or(0, |(seq, _)| *seq),
        ..SegmentsInfo::default()
    })
}

/// The files of a folder; one that is not there has none.
fn files(disk: &(dyn ReadDisk + 'static), dir: &Path) -> Result<Files, Error> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Vec::new(),
        Err(error) => return Err(Error::io(format!("listing {}", dir.display()), error)),
    };
    let bytes = entries.iter().map(|entry| entry.len).fold(0, u64::saturating_add);
    Ok(Files { count: count(entries.len()), bytes })
}

fn count(len: usize) -> u64 {
    u64::try_from(len).expect("a usize fits a u64")
}
