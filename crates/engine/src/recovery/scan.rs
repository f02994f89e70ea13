//! Reading the checkpoints that meta names, and listing what else lies there.
//!
//! Invariant: changes nothing; a missing folder is an empty one; a refused read is a [`Failure`],
//! everything else is a piece.

use rekindle_env::{Entry, EntryKind, ReadDisk, ReadFile, durable};
use rekindle_recovery::Failure;

use super::Kind;
use super::{Depth, EngineLayer, Trusted, Usable};
use crate::api::EngineError;
use crate::checkpoint::{Damage, FileName, ReadError, Summary, check, file_name, load, surface};
use crate::files::{Files, Wrong};
use crate::memory::MemoryEngine;

/// One named checkpoint as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Meta names none here.
    NotNamed,
    /// Verified.
    Whole(Usable),
    /// Not what was written.
    Damaged(Damage),
    /// Of a format that this program does not know.
    TooNew(Damage),
    /// No such file.
    Missing,
    /// Something else under that name; it was not opened.
    NotAFile,
}

/// What the folder holds.
#[derive(Debug)]
pub struct Pieces {
    /// Everything in it.
    pub entries: Vec<Entry>,
    /// Something that is no folder has its place.
    pub place_taken: bool,
    /// The newest named checkpoint.
    pub newest: Piece,
    /// The older one.
    pub older: Piece,
    /// Files of an engine that has its own and that are not what was written: without them no
    /// checkpoint can be used. Relative to the store.
    pub(super) files: Vec<(String, Damage)>,
    /// Of the whole ones that are newer than all that meta names, the one that stands furthest.
    pub(super) unnamed: Option<Usable>,
    /// The id of the checkpoint that was loaded on the way, with its engine.
    pub(super) loaded: Option<(u64, Box<MemoryEngine>)>,
}

/// How one file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Load,
    Check,
    Surface,
}

pub(super) fn scan(layer: &EngineLayer, source: &dyn ReadDisk) -> Result<Pieces, Failure> {
    let folder = layer.folder();
    let listed = durable::list_folder(source, &folder);
    let listed = listed.map_err(|e| Failure::io(format!("list {}", folder.display()), e))?;
    let place_taken = listed.is_none();
    let entries = listed.unwrap_or_default();
    let mut loaded = None;
    let [newest_id, older_id] = layer.named;
    let thorough = match layer.depth {
        Depth::Open if layer.kind == Kind::Memory => How::Load,
        // What is kept beside the mark is read later; damage must be known before.
        Depth::Open => How::Check,
        Depth::Surface => How::Surface,
        Depth::Everything => How::Check,
    };
    let mut examine = |id, how| examine(layer, source, &entries, id, how, &mut loaded);
    let mut newest = examine(newest_id, thorough)?;
    let is_used = matches!(&newest, Piece::Whole(usable) if layer.reaches(usable));
    let how = if is_used && layer.depth == Depth::Open { How::Surface } else { thorough };
    let mut older = examine(older_id, how)?;
    let files = files(layer, source, &newest)?;
    if let Some((_, damage)) = files.first() {
        for piece in [&mut newest, &mut older] {
            if matches!(piece, Piece::Whole(_)) {
                *piece = Piece::Damaged(damage.clone());
            }
        }
    }
    let unnamed = unnamed(layer, source, &entries)?;
    Ok(Pieces { entries, place_taken, newest, older, files, unnamed, loaded })
}

/// What is wrong with the files of an engine that has its own, if a checkpoint says that there are
/// some; with [`Depth::Everything`] every byte of them is read.
fn files(
    layer: &EngineLayer,
    source: &dyn ReadDisk,
    newest: &Piece,
) -> Result<Vec<(String, Damage)>, Failure> {
    let (Kind::Files(kind), Some(dir)) = (layer.kind, layer.files()) else { return Ok(Vec::new()) };
    if *newest == Piece::NotNamed {
        return Ok(Vec::new());
    }
    let folder = format!("{}/{}", layer.shard, kind.folder());
    let looked = match layer.depth {
        Depth::Everything => kind.check(source, &dir),
        Depth::Open | Depth::Surface => kind.look(source, &dir).map(|files| (files, Vec::new())),
    };
    let damage = |expected, found| Damage { offset: 0, expected, found };
    match looked {
        Ok((Files::There, wrong)) => {
            let wrong = wrong.into_iter().map(|Wrong { file, expected, found }| {
                (format!("{folder}/{file}"), damage(expected, found))
            });
            Ok(wrong.collect())
        }
        Ok((Files::None, _)) => {
            let found = "no manifest in its folder".to_owned();
            Ok(vec![(folder, damage("the files of the engine".to_owned(), found))])
        }
        Err(EngineError::Corrupt { place, found }) => {
            Ok(vec![(folder, damage(format!("{place} as it was written"), found))])
        }
        Err(other) => {
            let context = format!("look at {}", dir.display());
            Err(Failure::io(context, std::io::Error::other(other)))
        }
    }
}

/// Looks at what was finished and never named: it says how far the journal had come.
fn unnamed(
    layer: &EngineLayer,
    source: &dyn ReadDisk,
    entries: &[Entry],
) -> Result<Option<Usable>, Failure> {
    let mut furthest: Option<Usable> = None;
    for entry in entries {
        let Some(FileName::Finished(id)) = layer.own_name(&entry.name) else { continue };
        if id <= layer.newest_named() {
            continue;
        }
        let piece = examine(layer, source, entries, id, How::Surface, &mut None)?;
        let Piece::Whole(usable) = piece else { continue };
        if furthest.is_none_or(|furthest| furthest.mark.position < usable.mark.position) {
            furthest = Some(usable);
        }
    }
    Ok(furthest)
}

impl Trusted {
    /// A whole checkpoint that meta does not name yet, the one that stands furthest. None is loaded
    /// from it; but it was made of what the journal held for good.
    #[must_use]
    pub fn unnamed(&self) -> Option<&Usable> {
        self.unnamed.as_ref()
    }
}

fn examine(
    layer: &EngineLayer,
    source: &dyn ReadDisk,
    entries: &[Entry],
    id: u64,
    how: How,
    loaded: &mut Option<(u64, Box<MemoryEngine>)>,
) -> Result<Piece, Failure> {
    if id == 0 {
        return Ok(Piece::NotNamed);
    }
    let name = file_name(id);
    match entries.iter().find(|entry| entry.name == name) {
        None => return Ok(Piece::Missing),
        Some(entry) if entry.kind != EntryKind::File => return Ok(Piece::NotAFile),
        Some(_) => {}
    }
    let path = layer.folder().join(&name);
    let context = || format!("read {}", path.display());
    let file = source.open_read(&path).map_err(|error| Failure::io(context(), error))?;
    match read(&*file, layer, id, how, loaded) {
        // The other way round is well: rows that are also in the files of the engine.
        Ok(summary) if summary.header.elsewhere && layer.kind == Kind::Memory => {
            let found = "that they are in the files of an engine".to_owned();
            Ok(Piece::Damaged(Damage { offset: 12, expected: "rows".to_owned(), found }))
        }
        Ok(summary) => Ok(Piece::Whole(usable(id, &summary))),
        Err(ReadError::Io { source, .. }) => Err(Failure::io(context(), source)),
        Err(ReadError::Damaged(damage)) => Ok(Piece::Damaged(damage)),
        Err(ReadError::TooNew(damage)) => Ok(Piece::TooNew(damage)),
    }
}

fn read(
    file: &dyn ReadFile,
    layer: &EngineLayer,
    id: u64,
    how: How,
    loaded: &mut Option<(u64, Box<MemoryEngine>)>,
) -> Result<Summary, ReadError> {
    match how {
        How::Check => check(file, &layer.store_id, id),
        How::Surface => surface(file, &layer.store_id, id),
        How::Load => {
            let (summary, engine) = load(file, &layer.store_id, id)?;
            *loaded = Some((id, Box::new(engine)));
            Ok(summary)
        }
    }
}

fn usable(id: u64, summary: &Summary) -> Usable {
    Usable {
        id,
        mark: summary.header.mark,
        replay_from: summary.header.replay_from,
        bytes: summary.footer.file_len,
        rows: if summary.header.elsewhere { 0 } else { summary.footer.rows },
        state_hash: summary.footer.state_hash,
    }
}
