//! What the scenarios share: a journal in memory, raw records, children that die, a log collector.

pub mod disk;
pub mod journal;
pub mod logs;
pub mod raw;

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Database, KeyspaceId, Options, Row};
use rekindle_env::{Env, ManualClock, SeededRandom, SimulatedDisk};

/// The whole of a keyspace.
pub const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// Options without threads, with small segments.
pub fn quiet() -> Options {
    Options {
        background: false,
        segment_bytes: 64 * 1024,
        max_state_bytes: Some(1 << 30),
        ..Options::default()
    }
}

/// A machine that repeats itself.
pub fn simulated(seed: u64) -> (SimulatedDisk, Env, Arc<ManualClock>) {
    let disk = SimulatedDisk::new(seed);
    let (env, clock) = around(&disk, seed);
    (disk, env, clock)
}

/// The rest of a machine around a disk.
pub fn around(disk: &SimulatedDisk, seed: u64) -> (Env, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(seed)),
    };
    (env, clock)
}

/// Opens on a simulated machine.
pub fn open(env: &Env) -> Database {
    Database::open_with(Path::new("/store"), quiet(), env.clone()).unwrap()
}

/// Commits one put.
pub fn put(database: &Database, keyspace: KeyspaceId, key: &str, value: &str) -> u64 {
    let mut transaction = database.begin();
    transaction.put(keyspace, key.as_bytes(), value.as_bytes());
    transaction.commit().unwrap().version
}

/// What a key holds now.
pub fn get(database: &Database, keyspace: KeyspaceId, key: &str) -> Option<String> {
    let snapshot = database.snapshot().unwrap();
    let value = snapshot.get(keyspace, key.as_bytes()).unwrap();
    value.map(|value| text(&value.bytes))
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Rows as `key=value`.
pub fn rows(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| format!("{}={}", text(&row.key), text(&row.value))).collect()
}

/// Milliseconds that some work took, on the machine's clock.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let clock = Env::real().clock;
    let start = clock.boot_ms();
    let result = work();
    (result, clock.boot_ms() - start)
}
