//! Writing a restored store.
//!
//! Invariants: the directory is empty, or says that a restore of it is unfinished, and then only
//! what a restore makes is removed; identity, checkpoint and journal are durable before the rename
//! that makes it a store.

use std::path::Path;

use rekindle_engine::checkpoint::{self, Stamp};
use rekindle_engine::{Engine, FilesKind, Mark, MemoryEngine};
use rekindle_env::{Env, LockMode, NativeMode, durable};
use rekindle_journal::{Founding, Layout};
use rekindle_recovery::identity::FEATURE_LEVEL as STORE_FEATURE_LEVEL;
use rekindle_recovery::store::{DIRECTORIES, restoring};
use rekindle_recovery::{Identity, IdentityCopy};

use crate::backup::{Manifest, decode_id, encode_id};
use crate::classify::FEATURE_LEVEL;
use crate::engines::open_files;
use crate::error::Error;
use crate::migrate::clear;
use crate::options::{Options, SEGMENT_BYTES_MIN};
use crate::recovery::{SHARD, lock_directory};
use crate::restore::RestoreNote;

/// The sequence of the identity of a store that has begun.
const BEGUN: u64 = 2;

/// Behind which numbers the restored store goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoesOn {
    pub(super) position: u64,
    pub(super) version: u64,
    pub(super) incarnation: u64,
    seq: u64,
    base_lsn: u64,
    checkpoint: u64,
}

impl GoesOn {
    /// Behind everything that these backups know: a token or a version that somebody still holds
    /// from what was not restored must never mean something else.
    pub(super) fn behind(manifests: &[Manifest], mark: Mark) -> Self {
        let highest =
            |number: fn(&Manifest) -> u64| manifests.iter().map(number).max().unwrap_or(0);
        let last = |number: fn(&crate::backup::SegmentFile) -> u64| {
            manifests.iter().flat_map(|it| it.segments.iter().map(number)).max().unwrap_or(0)
        };
        let (position, version) = (highest(|it| it.position), highest(|it| it.version));
        assert!(position >= mark.position && version >= mark.version, "it is of these backups");
        // The state can take a higher version only together with a higher position.
        let skips = u64::from(position == mark.position && version > mark.version);
        Self {
            position: position + skips,
            version,
            incarnation: highest(|it| it.incarnation),
            seq: last(|it| it.seq) + 1,
            base_lsn: last(|it| it.base_lsn + it.bytes),
            checkpoint: highest(|it| it.checkpoint.id) + 1,
        }
    }
}

/// Refuses a directory that holds anything but an unfinished restore.
pub(super) fn check_empty(to: &Path, env: &Env) -> Result<(), Error> {
    match restoring::look(&*env.disk, to)? {
        restoring::Found::Nothing | restoring::Found::Unfinished => Ok(()),
        restoring::Found::Something => Err(Error::NotAStore(format!(
            "{} is not empty; restore into an absent or empty directory",
            to.display()
        ))),
    }
}

/// Writes the store; answers its lineage.
pub(super) fn write(
    to: &Path,
    env: &Env,
    (of, note): (&Manifest, RestoreNote),
    engine: &MemoryEngine,
    goes_on: &GoesOn,
) -> Result<String, Error> {
    let _lock = lock_directory(to, true, LockMode::Exclusive, env)?;
    check_empty(to, env)?;
    let kind = of.engine_kind().expect("checked when it was read");
    let mut lineage = [0; 16];
    env.random.fill(&mut lineage);
    let identity = Identity {
        store_id: decode_id(&of.store_id).expect("checked when it was read"),
        lineage,
        node: of.node,
        feature_level: STORE_FEATURE_LEVEL,
        engine: kind.number(),
    };
    let copy = IdentityCopy { sequence: BEGUN, identity };
    let disk = &*env.disk;
    restoring::begin(disk, to, &copy)?;
    let making = |error| Error::io(format!("making {}", to.display()), error);
    for name in DIRECTORIES {
        durable::create_dir_all(disk, &to.join(name)).map_err(making)?;
    }
    let layout = Layout::new(to, SHARD);
    for folder in FilesKind::FOLDERS {
        // What an interrupted restore left there.
        clear(disk, &layout.shard_dir().join(folder))?;
    }
    write_checkpoint(&layout, env, &copy.identity, engine, goes_on)?;
    if let Some(kind) = kind.files() {
        write_files(kind, &layout, env, engine, goes_on)?;
    }
    let founding = Founding {
        store_id: copy.identity.store_id,
        node: copy.identity.node,
        incarnation: goes_on.incarnation,
        seq: goes_on.seq,
        base_lsn: goes_on.base_lsn,
        first_position: goes_on.position + 1,
        // The first start opens its own behind it.
        segment_bytes: SEGMENT_BYTES_MIN,
        checkpoint: goes_on.checkpoint,
    };
    founding.make(env, &layout).map_err(making)?;
    let note = RestoreNote { lineage: encode_id(lineage), ..note };
    note.write(disk, to).map_err(making)?;
    restoring::commit(disk, to, &copy)?;
    Ok(note.lineage)
}

fn write_checkpoint(
    layout: &Layout,
    env: &Env,
    identity: &Identity,
    engine: &MemoryEngine,
    goes_on: &GoesOn,
) -> Result<(), Error> {
    let GoesOn { position, version, .. } = *goes_on;
    engine.advance(Mark { position, version, ..engine.mark() });
    let frozen = engine.freeze();
    let mark = frozen.mark();
    assert_eq!((mark.position, mark.version), (position, version), "it goes on behind these");
    let stamp = Stamp {
        id: goes_on.checkpoint,
        store_id: identity.store_id,
        replay_from: position + 1,
        feature_level: FEATURE_LEVEL,
        membership: Vec::new(),
    };
    let folder = layout.shard_dir().join(checkpoint::DIRECTORY);
    let written = checkpoint::write(&*env.disk, &folder, &frozen, &stamp, position, &mut |_| true)
        .map_err(crate::checkpoint::failed)?;
    assert_eq!(written.footer.state_hash, engine.state_hash(), "it holds what was restored");
    Ok(())
}

/// The files of an engine that has its own; the checkpoint is what they begin with.
fn write_files(
    kind: FilesKind,
    layout: &Layout,
    env: &Env,
    engine: &MemoryEngine,
    goes_on: &GoesOn,
) -> Result<(), Error> {
    let files = layout.shard_dir().join(kind.folder());
    let written = open_files(kind, &files, env, &Options::default(), NativeMode::InPlace)?;
    let frozen = engine.freeze();
    written.fill(&mut frozen.rows(), goes_on.position + 1)?;
    assert_eq!(written.mark(), frozen.mark(), "they stand where the checkpoint does");
    assert_eq!(written.state_hash(), engine.state_hash(), "they hold what was restored");
    Ok(())
}
