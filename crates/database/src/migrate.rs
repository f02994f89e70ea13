//! Moving a store's state to another engine.
//!
//! The identity says which engine a store is on, and changing it is the one step that counts. What
//! it is changed to is whole on disk before, and what it is changed from stays until after: two
//! checkpoints with rows serve all engines (for one with files of its own they say where replay
//! begins), and each engine has a folder of its own. So an interrupted migration leaves a store on
//! the old engine or on the new one, and can be repeated. Invariant: nobody else has the directory
//! meanwhile, and nothing is committed.

use std::io;
use std::path::Path;

use rekindle_engine::FilesKind;
use rekindle_env::{Disk, EntryKind, Env, NativeMode, durable};
use rekindle_journal::Layout;
use rekindle_recovery::store::StoreLayer;
use rekindle_recovery::{Identity, examine, perform};

use crate::core::Core;
use crate::database::Database;
use crate::engines::{EngineKind, Held, open_files};
use crate::error::Error;
use crate::options::Options;
use crate::recovery::SHARD;

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The engine before.
    pub from: EngineKind,
    /// The engine now.
    pub to: EngineKind,
    /// The version that the state stands at.
    pub version: u64,
    /// The hash of the state, the same before and after.
    pub state_hash: u128,
}

/// Moves the state of the store in `dir`, which nobody serves, to another engine. To the one that
/// it is on: nothing but leftovers of an interrupted migration go.
///
/// # Errors
/// As [`Database::open_with`], and `Io`. The store is on one of the two engines then, whole; the
/// migration can be repeated.
pub fn migrate(dir: &Path, to: EngineKind, options: Options, env: &Env) -> Result<Migrated, Error> {
    let options = Options { engine: None, create: false, background: false, ..options };
    let database = Database::open_with(dir, options.clone(), env.clone())?;
    let core = database.core();
    let checkpoints = core.checkpoints.as_ref().expect("a database with a directory has them");
    let (identity, version) = (checkpoints.identity.clone(), database.current_version());
    let from = EngineKind::of_number(identity.engine).expect("it was opened");
    let state_hash = database.state_hash();
    let migrated = Migrated { from, to, version, state_hash };
    let shard = Layout::new(dir, SHARD).shard_dir();
    if from != to {
        let written = match to.files() {
            Some(kind) => to_files(core, &options, kind, &shard)?,
            None => to_rows(core)?,
        };
        if written != state_hash {
            return Err(Error::Invalid(format!(
                "the state that was written for the engine {to} is not the one on {from}; the \
                 store stays as it is"
            )));
        }
        name(dir, &identity, to, env)?;
    }
    database.close()?;
    drop(database);
    let used = to.files().map(FilesKind::folder);
    for folder in FilesKind::FOLDERS.into_iter().filter(|folder| used != Some(*folder)) {
        clear(&*env.disk, &shard.join(folder))?;
    }
    Ok(migrated)
}

/// Fills the files of an engine with the state; answers its hash. The checkpoints that are named
/// say where replay on top of it begins, whether they have rows or not.
fn to_files(core: &Core, options: &Options, kind: FilesKind, shard: &Path) -> Result<u128, Error> {
    core.checkpoint()?;
    let checkpoints = core.checkpoints.as_ref().expect("asked before");
    let folder = shard.join(kind.folder());
    clear(&*core.env.disk, &folder)?;
    let files = open_files(kind, &folder, &core.env, options, NativeMode::InPlace)?;
    match &checkpoints.engine {
        Held::Memory(engine) => {
            let (frozen, replay_from) =
                core.state.between_records(|replay| (engine.freeze(), replay.replay_from()));
            files.fill(&mut frozen.rows(), replay_from)?;
        }
        Held::Files(_, engine) => {
            let (rows, replay_from) =
                core.state.between_records(|replay| (engine.rows(), replay.replay_from()));
            files.fill(&mut *rows?, replay_from)?;
        }
    }
    drop(files);
    // As a start will see it.
    let files = open_files(kind, &folder, &core.env, options, NativeMode::InPlace)?;
    Ok(files.state_hash())
}

/// Writes two checkpoints with the rows of an engine that has files; answers the hash of the last.
fn to_rows(core: &Core) -> Result<u128, Error> {
    core.checkpoint()?;
    let checkpoints = core.checkpoints.as_ref().expect("asked before");
    let engine = checkpoints.engine.files().expect("what is in memory has its rows there");
    let mut hash = 0;
    for _ in 0..2 {
        let replay_from = core.state.between_records(|replay| replay.replay_from());
        let mut rows = engine.rows()?;
        assert_eq!(rows.mark(), core.state.engine.mark(), "nothing is committed meanwhile");
        hash = checkpoints.write_stream(core, &mut *rows, replay_from)?;
    }
    Ok(hash)
}

/// Says which engine the store is on from here on.
fn name(dir: &Path, who: &Identity, to: EngineKind, env: &Env) -> Result<(), Error> {
    let (clock, disk) = (&*env.clock, &*env.disk);
    let layer = StoreLayer {
        dir: dir.to_owned(),
        create: false,
        candidate: who.clone(),
        engines: EngineKind::accepted(None),
    };
    let seen = examine(&layer, disk, clock)?;
    let (store, _) = perform(&layer, seen, disk, clock)?;
    let identity = Identity { engine: to.number(), ..store.identity.clone() };
    store.change(disk, dir, identity)?;
    Ok(())
}

/// Removes the files of an engine that nothing names.
pub(crate) fn clear(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    let cleared = clear_below(disk, folder, 2);
    cleared.map_err(|error| Error::io(format!("removing {}", folder.display()), error))
}

fn clear_below(disk: &dyn Disk, folder: &Path, depth: u32) -> io::Result<()> {
    let entries = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for entry in entries {
        let path = folder.join(&entry.name);
        match entry.kind {
            EntryKind::Directory if depth > 0 => clear_below(disk, &path, depth - 1)?,
            EntryKind::Directory => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            EntryKind::File | EntryKind::Other => disk.remove_file(&path)?,
        }
    }
    disk.remove_dir(folder)?;
    durable::sync_parent(disk, folder)
}
