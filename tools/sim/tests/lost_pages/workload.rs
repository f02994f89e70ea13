//! What the recorded process does to its store, and what must come of it.
//!
//! Invariant: what a transaction changes is a function of the seed and its number, so another store
//! that is given the same transactions has the same versions and hashes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rekindle_database::{Database, EngineKind, Env, KeyspaceId, Options, migrate};
use rekindle_env::{ManualClock, SeededRandom, SimulatedDisk};
use rekindle_sim::recorded::replay::MARK;
use rekindle_sim::recorded::strace_arguments;
use rekindle_sim::seed::mix;

const STORE: &str = "REKINDLE_LOST_STORE";
const SEED: &str = "REKINDLE_LOST_SEED";
const LIFE: &str = "REKINDLE_LOST_LIFE";

/// The folder of the store below the recorded root.
pub(super) const FOLDER: &str = "store";

const KEYSPACES: [&str; 3] = ["left", "middle", "right"];

/// Keys in each of them.
const KEYS: u64 = 40;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Opens the store and commits so many transactions.
    Transactions(u64),
    /// Moves the state to this engine.
    Migrate(EngineKind),
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) deed: Deed,
    /// The engine of the store, where it is made.
    pub(super) engine: EngineKind,
    /// Whether the database has its threads.
    pub(super) threads: bool,
    /// Whether it ends as a killed process does.
    pub(super) killed: bool,
}

impl Life {
    /// So many transactions on the lsm engine, and a death.
    pub(super) fn of(transactions: u64) -> Self {
        let deed = Deed::Transactions(transactions);
        Self { deed, engine: EngineKind::Lsm, threads: false, killed: true }
    }

    /// The same with threads, and with a good end.
    fn with_threads(self) -> Self {
        Self { threads: true, killed: false, ..self }
    }

    fn write(self) -> String {
        let (deed, number) = match self.deed {
            Deed::Transactions(count) => ("transactions", count.to_string()),
            Deed::Migrate(to) => ("migrate", to.to_string()),
        };
        format!("{deed} {number} {} {} {}", self.engine, self.threads, self.killed)
    }

    fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let deed = match words[0] {
            "transactions" => Deed::Transactions(words[1].parse().unwrap()),
            _ => Deed::Migrate(words[1].parse().unwrap()),
        };
        let engine = words[2].parse().unwrap();
        Self { deed, engine, threads: words[3] == "true", killed: words[4] == "true" }
    }
}

/// The lives of one store that is killed, goes on, and is killed again.
pub(super) fn lives(transactions: u64) -> Vec<Life> {
    let part = |percent| Life::of(transactions * percent / 100);
    vec![part(30), part(30).with_threads(), part(30), part(10).with_threads()]
}

/// The lives of one that moves from engine to engine.
pub(super) fn moves(transactions: u64) -> Vec<Life> {
    let to = |engine| Life { deed: Deed::Migrate(engine), ..Life::of(0) };
    let part = Life::of(transactions / 3);
    vec![
        Life { engine: EngineKind::Memory, ..part },
        to(EngineKind::Lsm),
        part,
        to(EngineKind::Memory),
        to(EngineKind::Lsm),
        part.with_threads(),
    ]
}

/// Small parts, so that a short run flushes, merges and rotates.
pub(super) fn options(engine: Option<EngineKind>) -> Options {
    Options {
        engine,
        background: false,
        memtable_bytes: 6 << 10,
        cache_bytes: 256 << 10,
        large_value_bytes: Some(400),
        segment_bytes: 64 << 10,
        max_state_bytes: Some(1 << 30),
        scrub_every: None,
        ..Options::default()
    }
}

/// Performs so many transactions, from where the store stands; `acknowledged` hears of each with
/// the database.
pub(super) fn perform(
    database: &Database,
    seed: u64,
    count: u64,
    acknowledged: &mut dyn FnMut(&Database, u64),
) {
    let keyspaces = KEYSPACES.map(|name| {
        let keyspace = database.keyspace(name).unwrap();
        acknowledged(database, database.current_version());
        keyspace
    });
    let first = database.current_version();
    for number in first..first + count {
        let version = transact(database, &keyspaces, mix(seed, number));
        acknowledged(database, version);
    }
}

fn transact(database: &Database, keyspaces: &[KeyspaceId; 3], seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut transaction = database.begin();
    for _ in 0..random.u64(1..5) {
        let keyspace = keyspaces[random.usize(..keyspaces.len())];
        let number = random.u64(..KEYS);
        let key = format!("key-{number:03}");
        match random.u32(..12) {
            0 => {
                let end = format!("key-{:03}", number + random.u64(1..6));
                transaction.delete_range(keyspace, key.as_bytes(), end.as_bytes());
            }
            1..=3 => transaction.delete(keyspace, key.as_bytes()),
            _ => {
                let longest = [500, 1_000, 4_096][random.usize(..3)];
                let len = random.usize(100..=longest);
                let value: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                transaction.put(keyspace, key.as_bytes(), &value);
            }
        }
    }
    // Nothing at all would be no version.
    transaction.put(keyspaces[0], b"last", &seed.to_le_bytes());
    transaction.commit().unwrap().version
}

/// The hash of each version, from a store on the other engine.
pub(super) fn hashes(seed: u64, transactions: u64) -> BTreeMap<u64, u128> {
    let env = Env {
        disk: std::sync::Arc::new(SimulatedDisk::new(seed)),
        clock: std::sync::Arc::new(ManualClock::new(1_000_000)),
        random: std::sync::Arc::new(SeededRandom::new(seed)),
    };
    let database = Database::open_with("/store", options(Some(EngineKind::Memory)), env).unwrap();
    let mut hashes = BTreeMap::from([(database.current_version(), database.state_hash())]);
    perform(&database, seed, transactions, &mut |database, version| {
        assert_eq!(database.current_version(), version);
        hashes.insert(version, database.state_hash());
    });
    assert!(hashes.keys().zip(hashes.keys().skip(1)).all(|(a, b)| a + 1 == *b), "dense");
    hashes
}

/// The recorded process; does nothing when it is run as an ordinary test.
#[test]
fn child() {
    let (Ok(dir), Ok(seed), Ok(life)) =
        (std::env::var(STORE), std::env::var(SEED), std::env::var(LIFE))
    else {
        return;
    };
    live(Path::new(&dir), seed.parse().unwrap(), Life::read(&life));
}

fn live(dir: &Path, seed: u64, life: Life) {
    let options = Options { background: life.threads, ..options(Some(life.engine)) };
    let transactions = match life.deed {
        Deed::Transactions(count) => count,
        Deed::Migrate(to) => {
            migrate(dir, to, Options { engine: None, ..options }, &Env::real()).unwrap();
            return;
        }
    };
    let database = Database::open_with(dir, options, Env::real()).unwrap();
    acknowledge(database.current_version());
    if !life.threads {
        database.tick().unwrap();
    }
    let mut count = 0;
    perform(&database, seed, transactions, &mut |database, version| {
        acknowledge(version);
        count += 1;
        if !life.threads {
            database.tick().unwrap();
        }
        if count % 37 == 0 {
            database.checkpoint().unwrap();
        }
    });
    if life.killed {
        end();
    }
    database.close().unwrap();
}

/// Ends the process at once, with nothing closed.
#[allow(clippy::disallowed_methods, reason = "this child is meant to die")]
fn end() -> ! {
    std::process::exit(0)
}

/// Tells the record that a version was acknowledged.
fn acknowledge(version: u64) {
    let mut out = std::io::stdout();
    out.write_all(format!("\n{MARK}{version}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Runs one life on the store below this root, and answers the record of it.
#[allow(clippy::disallowed_methods, reason = "the record is no file of the store")]
pub(super) fn record(root: &Path, seed: u64, life: Life) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let record = scratch.path().join("record");
    let mut command = Command::new("strace");
    command.args(strace_arguments()).arg("-o").arg(&record);
    command.arg(std::env::current_exe().unwrap());
    command.args(["lost_pages::workload::child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(STORE, root.join(FOLDER)).env(SEED, seed.to_string()).env(LIFE, life.write());
    let output = command.current_dir(scratch.path()).output();
    let output = output.unwrap_or_else(|error| panic!("strace is needed ({error}); install it"));
    assert!(output.status.success(), "{life:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(&record).unwrap()
}
