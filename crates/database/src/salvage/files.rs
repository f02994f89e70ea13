//! The state of a store on an engine with files of its own, as far as these can be read.
//!
//! Whole files are opened through a view. Damaged ones of the lsm engine are read block by block,
//! and what is whole of them becomes the files of another engine, in the folder of the view: the
//! state may be larger than memory. Damaged ones of the engine rocksdb are not read in part, and
//! that is said. Invariant: the store's files are only read.

use std::path::Path;

use rekindle_engine::checkpoint::{self, RowStream, file_name};
use rekindle_engine::files::Files;
use rekindle_engine::lsm::Readable;
use rekindle_engine::{EngineError, FilesKind, Mark};
use rekindle_env::{Env, NativeMode, ReadDisk, durable};
use rekindle_recovery::identity::{ENGINE_MEMORY, engine_name};

use super::sources::{Found, Who, checkpoints};
use crate::engines::{EngineKind, Held, open_files};
use crate::error::Error;
use crate::options::Options;
use crate::recovery::SHARD_DIR;

/// Where rows that could be read are put together, inside of the view.
const SALVAGED: &str = "salvaged";

/// Reads them; `None` where the state is not in files.
pub(super) fn read(
    dir: &Path,
    env: &Env,
    who: Who,
    unreadable: &mut Vec<String>,
) -> Result<Option<Found>, Error> {
    let disk = &*env.disk;
    let Some(kind) = kind_of(dir, disk, who)? else { return Ok(None) };
    let files = dir.join(SHARD_DIR).join(kind.folder());
    let anchor = anchor(dir, env, who)?;
    let checkpoint = anchor.map(|(id, ..)| id);
    let whole = match kind.check(disk, &files) {
        Ok((Files::There, wrong)) => wrong.is_empty(),
        Ok((Files::None, _)) if anchor.is_none() && !is_folder(disk, &files)? => {
            return Ok(None);
        }
        Ok((Files::None, _)) | Err(EngineError::Corrupt { .. }) => false,
        Err(other) => return Err(other.into()),
    };
    let options = Options::default();
    if whole {
        match open_files(kind, &files, env, &options, NativeMode::View) {
            Ok(engine) => {
                let (_, replay_from) = engine.flushed();
                let (engine, replay_from) = (Held::Files(kind, engine), replay_from.max(1));
                return Ok(Some(Found { engine, checkpoint, replay_from, aside: None }));
            }
            Err(rekindle_recovery::Failure::Refused(why)) => unreadable.push(why),
            Err(other) => return Err(other.into()),
        }
    }
    if kind != FilesKind::Lsm {
        unreadable.push(format!(
            "{SHARD_DIR}/{}: the files of the engine are damaged, and no row of them is read: what \
             follows is of a checkpoint with rows, if there is one, and of the journal",
            kind.folder()
        ));
        return Ok(None);
    }
    let context = |error| Error::io(format!("viewing {}", files.display()), error);
    // Of nothing: an empty folder that goes with the salvage.
    let aside = disk.native(&files.join(SALVAGED), NativeMode::View).map_err(context)?;
    let mut rows = Readable::open(disk, &files, &aside.path)?;
    let (mark, from) = anchor.map_or((Mark::default(), 1), |(_, mark, from)| (mark, from));
    let mut replay_from = rows.replay_from().unwrap_or(from);
    if rows.replay_from().is_none() || rows.mark().version < mark.version {
        unreadable.push(format!(
            "{SHARD_DIR}/{}: where its rows stand cannot be read; version {} is assumed, as the \
             newest checkpoint says",
            kind.folder(),
            mark.version
        ));
        rows.assume(mark);
        replay_from = from;
    }
    let engine = open_files(kind, &aside.path.join(SALVAGED), env, &options, NativeMode::InPlace)?;
    engine.fill(&mut rows, replay_from)?;
    debug_assert_eq!(engine.mark(), rows.mark(), "it stands where its rows do");
    let folder = kind.folder();
    unreadable.extend(rows.unreadable().iter().map(|line| format!("{SHARD_DIR}/{folder}/{line}")));
    let engine = Held::Files(kind, engine);
    Ok(Some(Found { engine, checkpoint, replay_from, aside: Some(aside) }))
}

/// Which files hold the state, as the identity says, or else the folders that are there.
fn kind_of(dir: &Path, disk: &dyn ReadDisk, who: Who) -> Result<Option<FilesKind>, Error> {
    if let Some(number) = who.engine {
        return match EngineKind::of_number(number) {
            Some(kind) => Ok(kind.files()),
            None => Err(not_built(&engine_name(number))),
        };
    }
    for folder in FilesKind::FOLDERS {
        if is_folder(disk, &dir.join(SHARD_DIR).join(folder))? {
            let kinds = EngineKind::ALL.iter().filter(|kind| kind.number() != ENGINE_MEMORY);
            let kind = kinds.filter_map(|kind| kind.files()).find(|kind| kind.folder() == folder);
            return kind.map(Some).ok_or_else(|| not_built(folder));
        }
    }
    Ok(None)
}

fn not_built(engine: &str) -> Error {
    Error::Invalid(format!(
        "the store is on the engine {engine}, which this program was built without: salvage it \
         with one that has it (--features rocksdb)"
    ))
}

fn is_folder(disk: &dyn ReadDisk, files: &Path) -> Result<bool, Error> {
    let entries = durable::list_folder(disk, files);
    let entries = entries.map_err(|e| Error::io(format!("listing {}", files.display()), e))?;
    Ok(entries.is_some_and(|entries| !entries.is_empty()))
}

/// The newest checkpoint that is whole: where it stands, and where replay on top of it begins.
fn anchor(dir: &Path, env: &Env, who: Who) -> Result<Option<(u64, Mark, u64)>, Error> {
    let disk = &*env.disk;
    for id in checkpoints(disk, dir)? {
        let path = dir.join(SHARD_DIR).join(checkpoint::DIRECTORY).join(file_name(id));
        if durable::is_no_file(disk, &path).unwrap_or(true) {
            continue;
        }
        let context = |error| Error::io(format!("reading {}", path.display()), error);
        let file = disk.open_read(&path).map_err(context)?;
        match checkpoint::check(&*file, &who.store_id, id) {
            Ok(summary) => {
                return Ok(Some((id, summary.header.mark, summary.header.replay_from)));
            }
            Err(checkpoint::ReadError::Io { source, .. }) => return Err(context(source)),
            Err(_) => {}
        }
    }
    Ok(None)
}
