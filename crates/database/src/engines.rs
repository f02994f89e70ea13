//! Which engine holds the state of a store, and how it is opened.
//!
//! Invariant: an engine with files of its own is opened in its place only by a start that goes on
//! to use it; everything else is given a view of the files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rekindle_engine::recovery::{EngineLayer, Kind, Trusted};
use rekindle_engine::{
    Engine, EngineError, FileEngine, FileOptions, FilesKind, KeyspaceId, Mark, MemoryEngine,
};
use rekindle_env::{Env, NativeMode, ReadDisk, durable};
use rekindle_recovery::{
    Acked, Action, ActionKind, Failure, Finding, Label, Layer, LayerReport, Place, Verdict,
    identity,
};

use crate::options::Options;
use crate::recovery::SHARD_DIR;

/// An engine that a store can be created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// All state in memory; checkpoints on disk.
    Memory,
    /// State larger than memory, in sorted files (the crate `lsm-tree`).
    Lsm,
    /// The same in column families of RocksDB, in a program that was built with it.
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

/// The name of the engine that not every program is built with.
const ROCKSDB: &str = "rocksdb";

impl EngineKind {
    /// All that this program was built with.
    pub const ALL: &'static [Self] = &[
        Self::Memory,
        Self::Lsm,
        #[cfg(feature = "rocksdb")]
        Self::Rocksdb,
    ];

    /// Its number in the identity of a store.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Memory => identity::ENGINE_MEMORY,
            Self::Lsm => identity::ENGINE_LSM,
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => identity::ENGINE_ROCKSDB,
        }
    }

    /// The one with this number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.number() == number)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Lsm => "lsm",
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => ROCKSDB,
        }
    }

    /// Which files hold its state; `None` for the one in memory.
    pub(crate) fn files(self) -> Option<FilesKind> {
        match self {
            Self::Memory => None,
            Self::Lsm => Some(FilesKind::Lsm),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => Some(FilesKind::Rocksdb),
        }
    }

    /// The numbers of the engines that will do: the one asked for, or any that this program has.
    pub(crate) fn accepted(asked: Option<Self>) -> Vec<u8> {
        match asked {
            Some(kind) => vec![kind.number()],
            None => Self::ALL.iter().map(|kind| kind.number()).collect(),
        }
    }

    /// Where the rows of a store with this engine are.
    pub(crate) fn rows(number: u8) -> Kind {
        match Self::of_number(number).map(Self::files) {
            Some(None) => Kind::Memory,
            Some(Some(files)) => Kind::Files(files),
            None => Kind::Elsewhere,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().copied().find(|kind| kind.name() == text);
        known.ok_or_else(|| match text {
            ROCKSDB => {
                "this program was built without the engine rocksdb; build it with --features \
                        rocksdb, or choose memory or lsm"
                    .to_owned()
            }
            _ => format!("no engine {text:?}; there are {}", names()),
        })
    }
}

/// The names of all, as a sentence has them.
fn names() -> String {
    let names: Vec<&str> = EngineKind::ALL.iter().map(|kind| kind.name()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}

/// An open engine, as those need it who write it out.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// In memory.
    Memory(Arc<MemoryEngine>),
    /// In files of its own.
    Files(FilesKind, Arc<dyn FileEngine>),
}

impl Held {
    /// The engine of a start, before replay.
    pub(crate) fn load(
        layer: &EngineLayer,
        trusted: &Trusted,
        disk: &dyn ReadDisk,
        (env, options): (&Env, &Options),
        mode: NativeMode,
    ) -> Result<Self, Failure> {
        match layer.kind() {
            Kind::Memory => Ok(Self::Memory(Arc::new(trusted.load(disk)?))),
            Kind::Files(kind) => {
                let files = layer.files().expect("an engine of this kind has some");
                let engine = open_files(kind, &files, env, options, mode)?;
                let (stands, needed) = (engine.flushed().0, trusted.mark());
                if stands.position < needed.position {
                    return Err(Failure::Refused(format!(
                        "the files of the engine stand at version {}, and version {} was there: \
                         they are an older copy",
                        stands.version, needed.version
                    )));
                }
                Ok(Self::Files(kind, engine))
            }
            Kind::Elsewhere => Err(Failure::Config(
                "the store is on an engine that this program does not have".to_owned(),
            )),
        }
    }

    /// The same engine in its place, where it was opened as a view because there was no store yet.
    pub(crate) fn settle(
        self,
        layer: &EngineLayer,
        env: &Env,
        options: &Options,
    ) -> Result<Self, Failure> {
        match self {
            Self::Memory(engine) => Ok(Self::Memory(engine)),
            Self::Files(kind, view) => {
                assert_eq!(view.mark(), Mark::default(), "a new store has no state");
                drop(view);
                let files = layer.files().expect("an engine of this kind has some");
                let opened = open_files(kind, &files, env, options, NativeMode::InPlace)?;
                Ok(Self::Files(kind, opened))
            }
        }
    }

    /// As everybody else sees it.
    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Self::Memory(engine) => Arc::clone(engine) as Arc<dyn Engine>,
            Self::Files(_, engine) => Arc::clone(engine) as Arc<dyn Engine>,
        }
    }

    /// Which it is.
    pub(crate) fn kind(&self) -> EngineKind {
        match self {
            Self::Memory(_) => EngineKind::Memory,
            Self::Files(FilesKind::Lsm, _) => EngineKind::Lsm,
            #[cfg(feature = "rocksdb")]
            Self::Files(FilesKind::Rocksdb, _) => EngineKind::Rocksdb,
        }
    }

    /// The keyspaces that have rows, ascending.
    pub(crate) fn keyspaces(&self) -> Result<Vec<KeyspaceId>, EngineError> {
        match self {
            Self::Memory(engine) => {
                let all = (0..=u16::MAX).map(KeyspaceId);
                Ok(all.filter(|keyspace| engine.len(*keyspace) > 0).collect())
            }
            Self::Files(_, engine) => engine.keyspaces(),
        }
    }

    /// The engine, where it has files of its own.
    pub(crate) fn files(&self) -> Option<&dyn FileEngine> {
        match self {
            Self::Memory(_) => None,
            Self::Files(_, engine) => Some(&**engine),
        }
    }
}

/// Opens the files of an engine; in their place the folder is made where it is missing.
pub(crate) fn open_files(
    kind: FilesKind,
    files: &Path,
    env: &Env,
    options: &Options,
    mode: NativeMode,
) -> Result<Arc<dyn FileEngine>, Failure> {
    let context = || format!("opening {}", files.display());
    if mode == NativeMode::InPlace {
        // The crate syncs what is inside the folder, and not that there is a folder; and it would
        // make folders that everybody can read.
        for inner in std::iter::once("").chain(kind.inner_folders().iter().copied()) {
            durable::create_dir_all(&*env.disk, &files.join(inner))
                .map_err(|e| Failure::io(context(), e))?;
        }
    }
    let folder = env.disk.native(files, mode).map_err(|e| Failure::io(context(), e))?;
    let sizes = FileOptions {
        memtable_bytes: options.memtable_bytes,
        cache_bytes: options.cache_bytes,
        large_value_bytes: options.large_value_bytes,
    };
    let opened = folder.path.clone();
    kind.open(folder, sizes).map_err(|error| match error {
        EngineError::Corrupt { place, found } => {
            // A view is gone when somebody reads this.
            let inside = Path::new(&place).strip_prefix(&opened);
            let place = match inside {
                Ok(inside) if inside == Path::new("") => files.to_owned(),
                Ok(inside) => files.join(inside),
                Err(_) => PathBuf::from(&place),
            };
            Failure::Refused(format!("{} is damaged: {found}", place.display()))
        }
        other => Failure::io(context(), std::io::Error::other(other)),
    })
}

/// Refuses a start because of the engine's files, although their manifest is whole: as without a
/// checkpoint (`engine-6`). Changes the report of that layer only.
pub(crate) fn refuse_files(report: &mut LayerReport, kind: Kind, found: &str) {
    let Kind::Files(kind) = kind else { return };
    if report.layer != EngineLayer::NAME {
        return;
    }
    let label = Label("engine-6");
    let file = format!("{SHARD_DIR}/{}", kind.folder());
    report.findings.push(Finding {
        label,
        place: Place { file: file.clone(), ..Place::default() },
        verdict: Some(Verdict::Corrupt),
        acked: Acked::Yes,
        expected: "the state that the newest checkpoint stands for".to_owned(),
        found: found.to_owned(),
    });
    report.actions.push(Action {
        kind: ActionKind::Refuse,
        label,
        target: file,
        detail: format!("{found}; see 'rekindle verify', or restore a copy of the store"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_come_back() {
        for kind in EngineKind::ALL.iter().copied() {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(EngineKind::of_number(kind.number()), Some(kind));
        }
        let error = "btree".parse::<EngineKind>().unwrap_err();
        let all =
            if cfg!(feature = "rocksdb") { "memory, lsm and rocksdb" } else { "memory and lsm" };
        assert_eq!(error, format!("no engine \"btree\"; there are {all}"));
    }

    #[test]
    #[cfg(not(feature = "rocksdb"))]
    fn an_engine_that_was_not_built_in_is_known_by_name() {
        let error = ROCKSDB.parse::<EngineKind>().unwrap_err();
        assert!(error.contains("built without") && error.contains("--features rocksdb"), "{error}");
    }
}
