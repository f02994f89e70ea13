//! The lsm engine: the suite that every engine must pass, with flushes and merges between any two
//! steps, and what a start finds of it.
#![allow(clippy::disallowed_methods)]

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use rekindle_engine::conformance;
use rekindle_engine::{
    Engine, EngineError, KeyspaceId, LsmEngine, LsmOptions, Mark, Operation, Row, Versioned,
};
use rekindle_env::{NativeMode, ReadDisk, RealDisk};
use tempfile::TempDir;

use crate::conformance::step;

const SMALL: LsmOptions = LsmOptions { memtable_bytes: 4 << 10, cache_bytes: 64 << 10 };

fn open(dir: &Path) -> Result<LsmEngine, EngineError> {
    let disk = RealDisk::new();
    let folder = disk.native(&dir.join("engine"), NativeMode::InPlace).unwrap();
    LsmEngine::open(folder, Arc::new(disk), SMALL)
}

/// Seals, flushes or merges behind every so many changes, in a fixed order.
struct Restless {
    engine: LsmEngine,
    turn: AtomicU64,
    every: u64,
    _dir: TempDir,
}

impl Restless {
    fn new(every: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path()).unwrap();
        Self { engine, turn: AtomicU64::new(0), every, _dir: dir }
    }

    fn stir(&self) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if !turn.is_multiple_of(self.every) {
            return;
        }
        match turn / self.every % 4 {
            0 => drop(self.engine.seal(1)),
            3 => drop(self.engine.compact().unwrap()),
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
fn the_lsm_engine_conforms() {
    conformance::run(|| Box::new(Restless::new(u64::MAX)));
    conformance::run(|| Box::new(Restless::new(7)));
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
        let engine = Restless::new(every);
        let checked = conformance::check(&engine, &steps);
        prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
        prop_assert_eq!(engine.failed(), None);
    }
}

fn mark(version: u64) -> Mark {
    Mark { position: version, term: 0, version, log_time_ms: 10 * version }
}

fn put(engine: &LsmEngine, version: u64, key: &[u8], value: &[u8]) {
    let put = Operation::Put { keyspace: KeyspaceId(3), key, value };
    engine.apply(mark(version), &mut std::iter::once(put));
}

fn delete(engine: &LsmEngine, version: u64, key: &[u8]) {
    let delete = Operation::Delete { keyspace: KeyspaceId(3), key };
    engine.apply(mark(version), &mut std::iter::once(delete));
}

#[test]
fn a_start_finds_what_was_flushed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    assert_eq!(engine.flushed(), (Mark::default(), 0));
    put(&engine, 1, b"a", b"1");
    put(&engine, 2, b"b", b"2");
    assert_eq!(engine.seal(2), Some(mark(2)));
    assert_eq!(engine.seal(2), None, "nothing was applied since");
    put(&engine, 3, b"c", b"3");
    let hash = {
        let flush = engine.flush().unwrap().unwrap();
        assert_eq!((flush.mark, flush.replay_from), (mark(2), 2));
        engine.flush().unwrap();
        drop(engine);
        let again = open(dir.path()).unwrap();
        assert_eq!(
            again.mark(),
            mark(2),
            "what was only in the memtable is the journal's to bring"
        );
        assert_eq!(again.flushed(), (mark(2), 2));
        assert_eq!(again.floor(), 2, "the past begins where the state was found");
        assert!(again.get(KeyspaceId(3), b"c", u64::MAX).unwrap().is_none());
        let found = again.get(KeyspaceId(3), b"a", u64::MAX).unwrap().unwrap();
        assert_eq!((found.version, found.value.as_deref()), (1, Some(&b"1"[..])));
        // The replay repeats what is there, and goes on.
        put(&again, 1, b"a", b"wrong");
        put(&again, 3, b"c", b"3");
        again.state_hash()
    };
    let expected = Restless::new(u64::MAX).engine;
    put(&expected, 1, b"a", b"1");
    put(&expected, 2, b"b", b"2");
    put(&expected, 3, b"c", b"3");
    assert_eq!(hash, expected.state_hash());
}

#[test]
fn what_came_and_went_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let body = [7; 1024];
    let mut version = 0;
    for number in 0_u64..1_000 {
        put(&engine, version + 1, &number.to_be_bytes(), &body);
        delete(&engine, version + 2, &number.to_be_bytes());
        version += 2;
    }
    engine.seal(1).unwrap();
    let flush = engine.flush().unwrap().unwrap();
    assert!(flush.bytes < 100, "{} bytes were written for nothing", flush.bytes);
    // A key that a file has is another matter.
    put(&engine, version + 1, b"stays", &body);
    engine.seal(1).unwrap();
    engine.flush().unwrap();
    delete(&engine, version + 2, b"stays");
    engine.seal(1).unwrap();
    engine.flush().unwrap();
    drop(engine);
    let again = open(dir.path()).unwrap();
    assert!(again.get(KeyspaceId(3), b"stays", u64::MAX).unwrap().is_none());
    assert_eq!(again.len(KeyspaceId(3)), 0);
}

#[test]
fn damage_is_told_and_never_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    for version in 1..=500 {
        put(&engine, version, &version.to_be_bytes(), &[1; 200]);
    }
    engine.seal(1).unwrap();
    engine.flush().unwrap();
    drop(engine);
    let folder = dir.path().join("engine");
    let names = |folder: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
        files.sort();
        files
    };
    let mut files = names(&folder);
    files.extend(names(&folder.join("tables")));
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by((whole.len() / 40).max(1)) {
            let mut bent = whole.clone();
            bent[at] ^= 0x10;
            std::fs::write(&path, &bent).unwrap();
            judge(dir.path(), &format!("{} bent at {at}", path.display()));
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        judge(dir.path(), &format!("{} cut", path.display()));
        std::fs::write(&path, &whole).unwrap();
    }
    judge(dir.path(), "mended");
    assert_eq!(open(dir.path()).unwrap().len(KeyspaceId(3)), 500);
}

/// Either it is refused, or every row is there.
fn judge(dir: &Path, what: &str) {
    let engine = match open(dir) {
        Err(EngineError::Corrupt { .. }) => return,
        Err(other) => panic!("{what}: {other}"),
        Ok(engine) => engine,
    };
    let everything = (Bound::Unbounded, Bound::Unbounded);
    match engine.scan(KeyspaceId(3), everything, u64::MAX, usize::MAX, false) {
        Err(EngineError::Corrupt { .. }) => {}
        Err(other) => panic!("{what}: {other}"),
        Ok(rows) => {
            assert_eq!(rows.len(), 500, "{what}: rows are missing and nothing was told");
            assert!(rows.iter().all(|row| *row.value == [1; 200]), "{what}: another value");
        }
    }
}
