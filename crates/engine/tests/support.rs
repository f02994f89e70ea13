//! What the scenarios share: a small store on the simulated disk.

use std::path::{Path, PathBuf};

use rekindle_engine::checkpoint::{self, Stamp, Written};
use rekindle_engine::recovery::{Depth, EngineLayer, Recovered};
use rekindle_engine::{Engine, KeyspaceId, Mark, MemoryEngine, Operation};
use rekindle_env::{Disk, ManualClock, SimulatedDisk, durable};
use rekindle_recovery::{Examined, Failure, LayerReport, examine, perform};

pub(crate) const STORE: [u8; 16] = *b"the store itself";
pub(crate) const SHARD: &str = "shards/0";

pub(crate) fn store_dir() -> PathBuf {
    PathBuf::from("/store")
}

pub(crate) fn folder() -> PathBuf {
    store_dir().join(SHARD).join(checkpoint::DIRECTORY)
}

pub(crate) fn path(id: u64) -> PathBuf {
    folder().join(checkpoint::file_name(id))
}

/// A disk with the directories of a store.
pub(crate) fn new_disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    durable::create_dir_all(&disk, &folder()).unwrap();
    disk
}

/// Applies one transaction of puts at the next version, a record of its own.
pub(crate) fn put(engine: &dyn Engine, keyspace: u16, rows: &[(&[u8], &[u8])]) -> u64 {
    let before = engine.mark();
    let mark = Mark {
        position: before.position + 1,
        version: before.version + 1,
        log_time_ms: before.log_time_ms + 10,
        ..before
    };
    let keyspace = KeyspaceId(keyspace);
    let operations = rows.iter().map(|&(key, value)| Operation::Put { keyspace, key, value });
    engine.apply(mark, &mut { operations });
    mark.version
}

pub(crate) fn delete(engine: &dyn Engine, keyspace: u16, key: &[u8]) -> u64 {
    let before = engine.mark();
    let mark = Mark { position: before.position + 1, version: before.version + 1, ..before };
    let operation = Operation::Delete { keyspace: KeyspaceId(keyspace), key };
    engine.apply(mark, &mut std::iter::once(operation));
    mark.version
}

pub(crate) fn value_of(engine: &dyn Engine, keyspace: u16, key: &[u8]) -> Option<Vec<u8>> {
    let found = engine.get(KeyspaceId(keyspace), key, u64::MAX).unwrap()?;
    found.value.map(|value| value.to_vec())
}

/// A few rows in three keyspaces, the registry among them.
pub(crate) fn small_engine() -> MemoryEngine {
    let engine = MemoryEngine::new();
    put(&engine, 0, &[(b"queues", &[1, 0])]);
    for number in 0..6_u8 {
        put(&engine, 1, &[(&[number], b"value"), (&[number, number], b"")]);
    }
    put(&engine, 900, &[(&[9; 40], &[7; 60])]);
    delete(&engine, 1, &[3]);
    engine
}

pub(crate) fn stamp(id: u64, replay_from: u64) -> Stamp {
    Stamp { id, store_id: STORE, replay_from, feature_level: 1, membership: vec![] }
}

pub(crate) fn write(disk: &dyn Disk, engine: &MemoryEngine, id: u64) -> Written {
    let frozen = engine.freeze();
    let position = frozen.mark().position;
    let stamp = stamp(id, position + 1);
    checkpoint::write(disk, &folder(), &frozen, &stamp, position, &mut |_| true).unwrap()
}

pub(crate) fn read_bytes(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    durable::read_file(disk, path, 1 << 30).unwrap()
}

/// Replaces the content of a file.
pub(crate) fn rewrite(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    durable::overwrite(disk, path, bytes).unwrap();
}

pub(crate) fn layer(named: [u64; 2], depth: Depth) -> EngineLayer {
    EngineLayer::new(store_dir(), SHARD, STORE, named, depth)
}

pub(crate) fn look(
    layer: &EngineLayer,
    disk: &SimulatedDisk,
) -> Result<Examined<EngineLayer>, Failure> {
    examine(layer, disk, &ManualClock::new(0))
}

/// All stages.
pub(crate) fn recover(
    layer: &EngineLayer,
    disk: &SimulatedDisk,
) -> Result<(Recovered, LayerReport), Failure> {
    let examined = look(layer, disk)?;
    perform(layer, examined, disk, &ManualClock::new(0))
}

/// The engine of a checkpoint without findings.
pub(crate) fn load(disk: &SimulatedDisk, id: u64) -> MemoryEngine {
    let examined = look(&layer([id, 0], Depth::Open), disk).unwrap();
    assert!(examined.report.findings.iter().all(|finding| finding.verdict.is_none()));
    examined.trusted.load(disk).unwrap()
}
