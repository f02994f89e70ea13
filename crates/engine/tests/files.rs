//! Engines with files of their own: the suite that every engine must pass, with flushes and merges
//! between any two steps, and what a start finds of them.
#![allow(clippy::disallowed_methods)]

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use rekindle_engine::conformance;
use rekindle_engine::{
    Engine, EngineError, FileEngine, FileOptions, FilesKind, KeyspaceId, Mark, MemoryEngine,
    Operation, Row, Versioned,
};
use rekindle_env::{NativeMode, ReadDisk, RealDisk};
use tempfile::TempDir;

use crate::conformance::step;

/// A kind, and from which size on its values lie apart, where it can do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form(pub(crate) FilesKind, pub(crate) Option<u32>);

impl std::ops::Deref for Form {
    type Target = FilesKind;

    fn deref(&self) -> &FilesKind {
        &self.0
    }
}

/// Those that this program has.
pub(crate) const KINDS: &[Form] = &[
    Form(FilesKind::Lsm, None),
    // The values of a history have up to 20 bytes, and 8 for the version.
    Form(FilesKind::Lsm, Some(16)),
    #[cfg(feature = "rocksdb")]
    Form(FilesKind::Rocksdb, None),
];

pub(crate) fn open(kind: Form, dir: &Path) -> Result<Arc<dyn FileEngine>, EngineError> {
    let disk = RealDisk::new();
    let folder = dir.join(kind.folder());
    std::fs::create_dir_all(&folder).unwrap();
    let folder = disk.native(&folder, NativeMode::InPlace).unwrap();
    let options =
        FileOptions { memtable_bytes: 4 << 10, cache_bytes: 64 << 10, large_value_bytes: kind.1 };
    kind.open(folder, options)
}

/// Seals, flushes or merges behind every so many changes, in a fixed order.
struct Restless {
    engine: Arc<dyn FileEngine>,
    turn: AtomicU64,
    every: u64,
    _dir: TempDir,
}

impl Restless {
    fn new(kind: Form, every: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(kind, dir.path()).unwrap();
        Self { engine, turn: AtomicU64::new(0), every, _dir: dir }
    }

    fn stir(&self) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if !turn.is_multiple_of(self.every) {
            return;
        }
        match turn / self.every % 4 {
            0 => drop(self.engine.seal(1)),
            3 => drop(self.engine.compact(false).unwrap()),
            _ => {
                self.engine.seal(1);
                self.engine.flush().unwrap();
            }
        }
    }
}

impl Engine for Restless {
    fn apply(&self, mark: Mark, operations: &mut dyn Iterator<Item = Operation<'_>>) {
        self.engine.apply(mark, operations);
        self.stir();
    }

    fn advance(&self, mark: Mark) {
        self.engine.advance(mark);
        self.stir();
    }

    fn mark(&self) -> Mark {
        self.engine.mark()
    }

    fn get(&self, id: KeyspaceId, key: &[u8], at: u64) -> Result<Option<Versioned>, EngineError> {
        self.engine.get(id, key, at)
    }

    fn scan(
        &self,
        id: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, EngineError> {
        self.engine.scan(id, range, at, limit, reverse)
    }

    fn pin(&self, at: u64) -> Result<(), EngineError> {
        self.engine.pin(at)
    }

    fn unpin(&self, at: u64) {
        self.engine.unpin(at);
        self.stir();
    }

    fn set_floor(&self, floor: u64) {
        self.engine.set_floor(floor);
        self.stir();
    }

    fn floor(&self) -> u64 {
        self.engine.floor()
    }

    fn state_bytes(&self) -> (u64, u64) {
        self.engine.state_bytes()
    }

    fn len(&self, id: KeyspaceId) -> u64 {
        self.engine.len(id)
    }

    fn state_hash(&self) -> u128 {
        self.engine.state_hash()
    }

    fn failed(&self) -> Option<String> {
        self.engine.failed()
    }
}

/// proves: D12
#[test]
fn every_engine_with_files_conforms() {
    for kind in KINDS {
        conformance::run(|| Box::new(Restless::new(*kind, u64::MAX)));
        conformance::run(|| Box::new(Restless::new(*kind, 7)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// proves: D12
    #[test]
    fn any_history_matches_the_model(
        steps in proptest::collection::vec(step(), 0..60),
        every in 1_u64..6,
    ) {
        for kind in KINDS {
            let engine = Restless::new(*kind, every);
            let checked = conformance::check(&engine, &steps);
            prop_assert!(checked.is_ok(), "{kind:?}: {}", checked.unwrap_err());
            prop_assert_eq!(engine.failed(), None);
        }
    }
}

pub(crate) fn mark(version: u64) -> Mark {
    Mark { position: version, term: 0, version, log_time_ms: 10 * version }
}

pub(crate) fn put(engine: &dyn FileEngine, version: u64, key: &[u8], value: &[u8]) {
    let put = Operation::Put { keyspace: KeyspaceId(3), key, value };
    engine.apply(mark(version), &mut std::iter::once(put));
}

pub(crate) fn delete(engine: &dyn FileEngine, version: u64, key: &[u8]) {
    let delete = Operation::Delete { keyspace: KeyspaceId(3), key };
    engine.apply(mark(version), &mut std::iter::once(delete));
}

#[test]
fn a_start_finds_what_was_flushed_and_nothing_else() {
    for kind in KINDS {
        finds_what_was_flushed(*kind);
    }
}

fn finds_what_was_flushed(kind: Form) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(kind, dir.path()).unwrap();
    assert_eq!(engine.flushed(), (Mark::default(), 0));
    put(&*engine, 1, b"a", b"1");
    put(&*engine, 2, b"b", b"2");
    assert_eq!(engine.seal(2), Some(mark(2)));
    assert_eq!(engine.seal(2), None, "nothing was applied since");
    put(&*engine, 3, b"c", b"3");
    let flush = engine.flush().unwrap().unwrap();
    assert_eq!((flush.mark, flush.replay_from), (mark(2), 2));
    engine.flush().unwrap();
    drop(engine);
    let again = open(kind, dir.path()).unwrap();
    assert_eq!(again.mark(), mark(2), "what was only in the memtable is the journal's to bring");
    assert_eq!(again.flushed(), (mark(2), 2));
    assert_eq!(again.floor(), 2, "the past begins where the state was found");
    assert!(again.get(KeyspaceId(3), b"c", u64::MAX).unwrap().is_none());
    let found = again.get(KeyspaceId(3), b"a", u64::MAX).unwrap().unwrap();
    assert_eq!((found.version, found.value.as_deref()), (1, Some(&b"1"[..])));
    // The replay repeats what is there, and goes on.
    put(&*again, 1, b"a", b"wrong");
    put(&*again, 3, b"c", b"3");
    let expected = MemoryEngine::new();
    for (version, key, value) in [(1, b"a", b"1"), (2, b"b", b"2"), (3, b"c", b"3")] {
        let put = Operation::Put { keyspace: KeyspaceId(3), key, value };
        expected.apply(mark(version), &mut std::iter::once(put));
    }
    assert_eq!(again.state_hash(), expected.state_hash());
}

/// What is not flushed is not in the files, whatever the engine does by itself and however it ends:
/// in the lazy modes of the journal it may be above what is durable.
#[test]
fn nothing_that_is_not_sealed_and_flushed_reaches_the_files() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(*kind, dir.path()).unwrap();
        put(&*engine, 1, b"first", b"1");
        engine.seal(1);
        engine.flush().unwrap();
        // Far more than a memtable, and a sealed part that nobody flushed.
        for version in 2..=400 {
            put(&*engine, version, &version.to_be_bytes(), &[7; 1024]);
            if version == 300 {
                engine.seal(1);
            }
        }
        engine.compact(false).unwrap();
        drop(engine);
        let again = open(*kind, dir.path()).unwrap();
        assert_eq!((again.mark(), again.len(KeyspaceId(3))), (mark(1), 1), "{kind:?}");
    }
}

/// A reader of an old version reads on over any number of flushes.
#[test]
fn a_pinned_version_outlives_flushes() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(*kind, dir.path()).unwrap();
        for version in 1..=60_u64 {
            put(&*engine, version, b"key", &version.to_be_bytes());
            put_other(&*engine, version);
            if version % 7 == 0 {
                engine.pin(version).unwrap();
            }
            if version % 5 == 0 {
                engine.seal(1);
                engine.flush().unwrap();
                engine.set_floor(version);
            }
        }
        for version in (7..60_u64).step_by(7) {
            let found = engine.get(KeyspaceId(3), b"key", version).unwrap().unwrap();
            assert_eq!(found.value.as_deref(), Some(&version.to_be_bytes()[..]), "{kind:?}");
            engine.unpin(version);
        }
        assert!(engine.get(KeyspaceId(3), b"key", 7).is_err(), "{kind:?}: it was let go");
    }
}

/// Whoever reads at the version that the mark names gets that version, and not the one before; and
/// whoever reads the newest is never told that it is gone.
#[test]
fn the_version_of_the_mark_can_be_read() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(*kind, dir.path()).unwrap();
        let last = 60_000_u64;
        std::thread::scope(|scope| {
            let readers = (0..2).map(|_| {
                scope.spawn(|| {
                    loop {
                        let at = engine.mark().version;
                        let newest = engine.get(KeyspaceId(3), b"key", u64::MAX).unwrap();
                        assert!(newest.map_or(0, |found| found.version) >= at, "{kind:?} at {at}");
                        if at == last {
                            break;
                        }
                        // Perhaps the floor has passed it.
                        if let Ok(found) = engine.get(KeyspaceId(3), b"key", at) {
                            assert_eq!(found.map_or(0, |found| found.version), at, "{kind:?}");
                        }
                    }
                })
            });
            let readers: Vec<_> = readers.collect();
            for version in 1..=last {
                put(&*engine, version, b"key", b"");
                engine.set_floor(version);
            }
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
    }
}

/// A row in another keyspace, at the same version: nothing is applied by it.
fn put_other(engine: &dyn FileEngine, version: u64) {
    let put = Operation::Put { keyspace: KeyspaceId(4), key: b"ignored", value: b"" };
    engine.apply(mark(version), &mut std::iter::once(put));
}

#[test]
fn the_longest_and_the_shortest_key_are_keys() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(*kind, dir.path()).unwrap();
        let long = vec![0xff; 65_533];
        put(&*engine, 1, b"", b"nothing");
        put(&*engine, 2, &long, b"long");
        for _ in 0..2 {
            let all = (Bound::Unbounded, Bound::Unbounded);
            let rows = engine.scan(KeyspaceId(3), all, u64::MAX, 9, false).unwrap();
            let keys: Vec<&[u8]> = rows.iter().map(|row| &*row.key).collect();
            assert_eq!(keys, [b"".as_slice(), &long], "{kind:?}");
            let last = (Bound::Unbounded, Bound::Included(long.as_slice()));
            let rows = engine.scan(KeyspaceId(3), last, u64::MAX, 1, true).unwrap();
            assert_eq!(&*rows[0].value, b"long");
            let behind = (Bound::Excluded([].as_slice()), Bound::Excluded(long.as_slice()));
            assert!(engine.scan(KeyspaceId(3), behind, u64::MAX, 9, false).unwrap().is_empty());
            engine.seal(1);
            engine.flush().unwrap();
        }
    }
}

#[test]
fn what_came_and_went_is_never_written() {
    for kind in KINDS {
        came_and_went(*kind);
    }
}

fn came_and_went(kind: Form) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(kind, dir.path()).unwrap();
    let body = [7; 1024];
    let mut version = 0;
    for number in 0_u64..1_000 {
        put(&*engine, version + 1, &number.to_be_bytes(), &body);
        delete(&*engine, version + 2, &number.to_be_bytes());
        version += 2;
    }
    engine.seal(1).unwrap();
    let flush = engine.flush().unwrap().unwrap();
    assert!(flush.bytes < 100, "{kind:?}: {} bytes were written for nothing", flush.bytes);
    // A key that a file has is another matter.
    put(&*engine, version + 1, b"stays", &body);
    engine.seal(1).unwrap();
    engine.flush().unwrap();
    delete(&*engine, version + 2, b"stays");
    engine.seal(1).unwrap();
    engine.flush().unwrap();
    drop(engine);
    let again = open(kind, dir.path()).unwrap();
    assert!(again.get(KeyspaceId(3), b"stays", u64::MAX).unwrap().is_none());
    assert_eq!(again.len(KeyspaceId(3)), 0);
}

/// Families have the names that the registry gives, and a start finds them again.
#[cfg(feature = "rocksdb")]
#[test]
fn each_keyspace_is_in_a_family_of_its_name() {
    let kind = Form(FilesKind::Rocksdb, None);
    let dir = tempfile::tempdir().unwrap();
    let engine = open(kind, dir.path()).unwrap();
    let registered = [("queues", 1_u16), ("default", 2), ("lease_expiry", 3), ("größe", 4)];
    for (version, (name, number)) in (1..).zip(registered) {
        let number = number.to_le_bytes();
        let name = Operation::Put { keyspace: KeyspaceId(0), key: name.as_bytes(), value: &number };
        let row = Operation::Put {
            keyspace: KeyspaceId(u16::from_le_bytes(number)),
            key: b"key",
            value: b"value",
        };
        engine.apply(mark(version), &mut [name, row].into_iter());
        engine.seal(1);
        engine.flush().unwrap();
    }
    let names = |families: Vec<rekindle_engine::files::Family>| -> Vec<String> {
        families.into_iter().map(|family| family.name).collect()
    };
    let expected = ["#registry", "queues", "#2", "lease_expiry", "#4", "default"];
    assert_eq!(names(engine.families().unwrap()), expected);
    let families = engine.families().unwrap();
    assert!(families.iter().all(|family| family.keys > 0 && family.bytes > 0), "{families:?}");
    let hash = engine.state_hash();
    drop(engine);
    let folder = dir.path().join(kind.folder());
    assert_eq!(names(kind.families(&RealDisk::new(), &folder).unwrap()), expected);
    let again = open(kind, dir.path()).unwrap();
    assert_eq!(again.state_hash(), hash);
    assert_eq!(again.keyspaces().unwrap().len(), 5);
}

/// An engine filled with the rows of another one has the same state, also after a start.
#[test]
fn rows_go_from_any_engine_to_any_other() {
    for from in KINDS {
        for to in KINDS {
            let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let source = open(*from, dirs[0].path()).unwrap();
            for version in 1..=700 {
                put(&*source, version, &version.to_be_bytes(), &[5; 300]);
                if version % 100 == 0 {
                    source.seal(1);
                    source.flush().unwrap();
                }
            }
            let target = open(*to, dirs[1].path()).unwrap();
            let rows = target.fill(&mut *source.rows().unwrap(), 42).unwrap();
            assert_eq!(rows, 700, "{from:?} to {to:?}");
            assert_eq!(target.state_hash(), source.state_hash());
            assert_eq!((target.mark(), target.flushed()), (mark(700), (mark(700), 42)));
            drop(target);
            let again = open(*to, dirs[1].path()).unwrap();
            assert_eq!(again.state_hash(), source.state_hash());
            put(&*again, 701, b"goes on", b"");
            assert_eq!(again.len(KeyspaceId(3)), 701);
        }
    }
}
