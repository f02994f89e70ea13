//! What a salvage reads from: whatever says which store this is, the newest checkpoint that can be
//! read, and the journal as far as its segments speak for themselves.
//!
//! Invariants: reads only; a copy that is lost is replaced by what other files say, and that is
//! noted; an error of the disk ends it.

use std::path::Path;
use std::sync::Arc;

use rekindle_engine::MemoryEngine;
use rekindle_engine::checkpoint::{DIRECTORY, FileName, parse_name};
use rekindle_env::{Env, NativeFolder, ReadDisk, durable};
use rekindle_journal::codec::meta::Meta;
use rekindle_journal::codec::segment::{HEADER_LEN, SegmentHeader, SegmentHeaderRead};
use rekindle_journal::{Depth, JournalLayer, Layout, MetaLayer, TrustedJournal, WriterConfig};
use rekindle_recovery::identity::{IDENTITY_LEN, IdentityCopy};
use rekindle_recovery::{Finding, Verdict, examine};

use super::files;
use crate::engines::Held;
use crate::error::Error;
use crate::options::Options;
use crate::recovery::{Depth as ReadDepth, SHARD, SHARD_DIR, engine_layer_of};

/// Who a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) store_id: [u8; 16],
    pub(super) node: u64,
    /// The engine's number, where an identity says it.
    pub(super) engine: Option<u8>,
}

/// What there is to read.
pub(super) struct Sources {
    pub(super) who: Who,
    pub(super) state: Found,
    /// Where replay on top of that begins.
    pub(super) replay_from: u64,
    pub(super) journal: TrustedJournal,
    /// What could not be read so far.
    pub(super) unreadable: Vec<String>,
}

/// The state before replay.
pub(super) struct Found {
    /// That of the checkpoint, or of the engine's files, or nothing.
    pub(super) engine: Held,
    /// The checkpoint.
    pub(super) checkpoint: Option<u64>,
    /// Where replay on top of it begins.
    pub(super) replay_from: u64,
    /// What the engine's files are in, where these are not the store's.
    pub(super) aside: Option<NativeFolder>,
}

/// Finds them.
pub(super) fn read(dir: &Path, env: &Env) -> Result<Sources, Error> {
    let disk: &(dyn ReadDisk + 'static) = &*env.disk;
    let layout = Layout::new(dir, SHARD);
    let headers = headers(disk, &layout)?;
    let mut unreadable = Vec::new();
    for folder in [layout.journal_dir(), layout.shard_dir().join(DIRECTORY)] {
        let entries = durable::list_folder(disk, &folder);
        if entries.map_err(|e| Error::io(format!("listing {}", folder.display()), e))?.is_none() {
            unreadable.push(format!("{}: no directory", layout.relative(&folder)));
        }
    }
    let who = match identity(disk, dir)? {
        Some(who) => who,
        None => {
            unreadable.push("store.a and store.b: who the store is, is told by its files".into());
            let by_header =
                headers.last().map(|it| Who { store_id: it.store_id, node: it.node, engine: None });
            by_header.map_or_else(|| by_checkpoint(disk, dir), Ok)?
        }
    };
    let own: Vec<&SegmentHeader> =
        headers.iter().filter(|header| header.store_id == who.store_id).collect();
    let meta = MetaLayer { layout: layout.clone(), store_id: who.store_id };
    let seen = examine(&meta, disk, &*env.clock)?;
    let known = seen.trusted.meta.filter(|meta| meta.store_id == who.store_id);
    let meta = match known {
        Some(_) if seen.refusal().is_none() => seen.trusted,
        None if own.is_empty() && seen.refusal().is_none() => seen.trusted,
        _ => {
            let text = "meta.a and meta.b: whether the newest segments are there cannot be told";
            unreadable.push(text.to_owned());
            seen.trusted.assuming(known.unwrap_or_else(|| assumed(who, &own)))
        }
    };
    let state = match files::read(dir, env, who, &mut unreadable)? {
        Some(state) => state,
        None => newest_checkpoint(dir, env, who, &mut unreadable)?,
    };
    let replay_from = state.replay_from;
    let layer = JournalLayer {
        layout,
        store_id: who.store_id,
        node: who.node,
        meta,
        replay_from,
        depth: Depth::Full,
        config: WriterConfig { segment_bytes: Options::default().segment_bytes },
        env: env.clone(),
    };
    let seen = examine(&layer, disk, &*env.clock)?;
    let lost = |finding: &&Finding| {
        finding.verdict == Some(Verdict::Corrupt) || finding.label.0 == "journal-16"
    };
    let findings = seen.report.findings.iter().filter(lost).map(ToString::to_string);
    unreadable.extend(findings);
    let journal = seen.trusted;
    Ok(Sources { who, state, replay_from, journal, unreadable })
}

/// What a directory holds; nothing where it is missing, or something else has its place.
fn listed(disk: &dyn ReadDisk, dir: &Path) -> Result<Vec<rekindle_env::Entry>, Error> {
    let entries = durable::list_folder(disk, dir);
    let entries = entries.map_err(|e| Error::io(format!("listing {}", dir.display()), e))?;
    Ok(entries.unwrap_or_default())
}

/// The headers of segments that are valid, in the order of their numbers.
fn headers(disk: &dyn ReadDisk, layout: &Layout) -> Result<Vec<SegmentHeader>, Error> {
    let dir = layout.journal_dir();
    let entries = listed(disk, &dir)?;
    let mut headers = Vec::new();
    for entry in entries {
        let path = dir.join(&entry.name);
        if entry.kind != rekindle_env::EntryKind::File {
            continue;
        }
        let context = |error| Error::io(format!("reading {}", path.display()), error);
        let file = disk.open_read(&path).map_err(context)?;
        let mut bytes = vec![0; usize::try_from(HEADER_LEN).unwrap_or(4096)];
        let read = file.read_at(&mut bytes, 0).map_err(context)?;
        let header = SegmentHeader::decode(bytes.get(..read).unwrap_or_default());
        if let SegmentHeaderRead::Valid(header) = header {
            let named = format!("{:016x}", header.seq) == entry.name;
            headers.extend(Some(header).filter(|_| named));
        }
    }
    Ok(headers)
}

/// What the identity's newer whole copy says.
fn identity(disk: &(dyn ReadDisk + 'static), dir: &Path) -> Result<Option<Who>, Error> {
    let mut newest: Option<IdentityCopy> = None;
    for name in ["store.a", "store.b"] {
        let path = dir.join(name);
        let no_file = durable::is_no_file(disk, &path);
        let bytes = match no_file.and_then(|no_file| match no_file {
            true => Ok(Vec::new()),
            false => durable::read_file(disk, &path, 1 << 20),
        }) {
            Ok(bytes) => bytes,
            Err(error) => match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::FileTooLarge => continue,
                _ => return Err(Error::io(format!("reading {}", path.display()), error)),
            },
        };
        let whole = bytes.len() == IDENTITY_LEN;
        let copy = Some(&bytes).filter(|_| whole).and_then(|it| IdentityCopy::decode(it).ok());
        let higher = |copy: &IdentityCopy| {
            newest.as_ref().is_none_or(|newest| copy.sequence > newest.sequence)
        };
        if let Some(copy) = copy.filter(higher) {
            newest = Some(copy);
        }
    }
    Ok(newest.map(|IdentityCopy { identity, .. }| Who {
        store_id: identity.store_id,
        node: identity.node,
        engine: Some(identity.engine),
    }))
}

/// The ids of the checkpoints that are there, newest first.
pub(super) fn checkpoints(disk: &dyn ReadDisk, dir: &Path) -> Result<Vec<u64>, Error> {
    let folder = dir.join(SHARD_DIR).join(DIRECTORY);
    let entries = listed(disk, &folder)?;
    let id = |name: &str| match parse_name(name) {
        Some(FileName::Finished(id)) => Some(id),
        _ => None,
    };
    let mut ids: Vec<u64> = entries.iter().filter_map(|entry| id(&entry.name)).collect();
    ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    Ok(ids)
}

/// Where not even a segment says who the store is, a checkpoint's header does.
fn by_checkpoint(disk: &dyn ReadDisk, dir: &Path) -> Result<Who, Error> {
    for id in checkpoints(disk, dir)? {
        let path = dir.join(SHARD_DIR).join(DIRECTORY).join(format!("{id:016x}.ckpt"));
        let context = |error| Error::io(format!("reading {}", path.display()), error);
        let Ok(file) = disk.open_read(&path) else { continue };
        let mut head = [0; 40];
        let read = file.read_at(&mut head, 0).map_err(context)?;
        if read == head.len() && head.starts_with(b"RKDLCKPT") {
            let store_id = head.last_chunk::<16>().copied().unwrap_or_default();
            return Ok(Who { store_id, node: 1, engine: None });
        }
    }
    Err(Error::NotAStore(format!(
        "{}: no identity, no segment and no checkpoint can be read: there is nothing to salvage",
        dir.display()
    )))
}

/// What the metadata would say: the segments that are there.
fn assumed(who: Who, own: &[&SegmentHeader]) -> Meta {
    let seqs = own.iter().map(|header| header.seq);
    Meta {
        store_id: who.store_id,
        node: who.node,
        shard: SHARD,
        sequence: 1,
        oldest_segment: seqs.clone().min().unwrap_or(0),
        newest_segment: seqs.max().unwrap_or(0),
        ..Meta::default()
    }
}

/// The newest checkpoint that can be read, loaded; nothing where there is none.
fn newest_checkpoint(
    dir: &Path,
    env: &Env,
    who: Who,
    unreadable: &mut Vec<String>,
) -> Result<Found, Error> {
    let disk: &(dyn ReadDisk + 'static) = &*env.disk;
    for id in checkpoints(disk, dir)? {
        let layer = engine_layer_of(dir, who.store_id, [id, 0], ReadDepth::Start);
        let seen = examine(&layer, disk, &*env.clock)?;
        if let Some(usable) = seen.trusted.usable().first() {
            let replay_from = usable.replay_from;
            let engine = Held::Memory(Arc::new(seen.trusted.load(disk)?));
            return Ok(Found { engine, checkpoint: Some(id), replay_from, aside: None });
        }
        let findings = seen.report.findings.iter().filter(|it| it.verdict.is_some());
        let named = findings.filter(|it| it.place.file.contains(&format!("{id:016x}")));
        unreadable.extend(named.map(|it| format!("checkpoint {id}: found {}", it.found)));
    }
    let engine = Held::Memory(Arc::new(MemoryEngine::new()));
    Ok(Found { engine, checkpoint: None, replay_from: 1, aside: None })
}
