//! The state of a store on an engine with files of its own, as far as these can be read.
//!
//! Whole files are opened through a view. Damaged ones are read block by block, and what is whole
//! of them becomes the files of another engine, in the folder of the view: the state may be larger
//! than memory. Invariant: the store's files are only read.

use std::path::Path;
use std::sync::Arc;

use rekindle_engine::checkpoint::{self, RowStream, file_name};
use rekindle_engine::lsm::{self, Readable};
use rekindle_engine::{Engine, EngineError, Mark};
use rekindle_env::{Env, NativeMode, ReadDisk, durable};
use rekindle_recovery::identity::ENGINE_LSM;

use super::sources::{Found, Who, checkpoints};
use crate::engines::{Held, open_files};
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
    let (disk, files) = (&*env.disk, dir.join(SHARD_DIR).join(lsm::FOLDER));
    let in_files = match who.engine {
        Some(number) => number == ENGINE_LSM,
        None => is_folder(disk, &files)?,
    };
    if !in_files {
        return Ok(None);
    }
    let anchor = anchor(dir, env, who)?;
    let checkpoint = anchor.map(|(id, ..)| id);
    let whole = match lsm::check(disk, &files) {
        Ok((lsm::Files::There, wrong)) => wrong.is_empty(),
        Ok((lsm::Files::None, _)) if anchor.is_none() && !is_folder(disk, &files)? => {
            return Ok(None);
        }
        Ok((lsm::Files::None, _)) | Err(EngineError::Corrupt { .. }) => false,
        Err(other) => return Err(other.into()),
    };
    let options = Options::default();
    if whole {
        match open_files(&files, env, &options, NativeMode::View) {
            Ok(engine) => {
                let (_, replay_from) = engine.flushed();
                let (engine, replay_from) = (Held::Lsm(Arc::new(engine)), replay_from.max(1));
                return Ok(Some(Found { engine, checkpoint, replay_from, aside: None }));
            }
            Err(rekindle_recovery::Failure::Refused(why)) => unreadable.push(why),
            Err(other) => return Err(other.into()),
        }
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
            lsm::FOLDER,
            mark.version
        ));
        rows.assume(mark);
        replay_from = from;
    }
    let engine = open_files(&aside.path.join(SALVAGED), env, &options, NativeMode::InPlace)?;
    engine.fill(&mut rows, replay_from)?;
    debug_assert_eq!(engine.mark(), rows.mark(), "it stands where its rows do");
    unreadable
        .extend(rows.unreadable().iter().map(|line| format!("{SHARD_DIR}/{}/{line}", lsm::FOLDER)));
    let engine = Held::Lsm(Arc::new(engine));
    Ok(Some(Found { engine, checkpoint, replay_from, aside: Some(aside) }))
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
