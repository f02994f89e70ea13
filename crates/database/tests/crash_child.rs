//! Real processes that die at named points. The parent runs this test binary again as a child with
//! a scenario in its environment; the child aborts itself there, or is killed by the parent.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rekindle_database::{Database, DurabilityMode, Error, KeyspaceId, Options};
use rekindle_env::Env;
use rekindle_journal::RecordKind;

use crate::support::disk::{At, Death, When, die};
use crate::support::raw::{self, Op, RawJournal};
use crate::support::{get, put};

const SCENARIO: &str = "REKINDLE_CRASH_SCENARIO";
const DIRECTORY: &str = "REKINDLE_CRASH_DIRECTORY";

/// The child's life; does nothing when it is run as an ordinary test.
#[test]
fn child() {
    let (Ok(scenario), Ok(dir)) = (std::env::var(SCENARIO), std::env::var(DIRECTORY)) else {
        return;
    };
    live_and_die(&scenario, Path::new(&dir));
    panic!("the child outlived its scenario {scenario}");
}

fn live_and_die(scenario: &str, dir: &Path) {
    let death = |at, when, path, nth| {
        let env = Env::real().watched(Death::new(at, when, path, nth));
        Database::open_with(dir, options(), env).unwrap()
    };
    match scenario {
        "after_begin" => {
            let journal = RawJournal::open(dir, &Env::real());
            journal.append(RecordKind::Begin, &raw::id(9));
            journal.sync();
            die();
        }
        "after_write" | "before_commit" => {
            let journal = RawJournal::open(dir, &Env::real());
            journal.append(RecordKind::Begin, &raw::id(9));
            journal.append(RecordKind::Part, &raw::part(9, &[Op::Put("partial", "1")]));
            if scenario == "before_commit" {
                journal.append(RecordKind::Part, &raw::part(9, &[Op::Put("partial2", "1")]));
            }
            journal.sync();
            die();
        }
        "begin_in_memory" => {
            let database = Database::open_with(dir, options(), Env::real()).unwrap();
            let mut transaction = database.begin();
            transaction.put(things(&database), b"partial", b"1");
            die();
        }
        "after_commit" => {
            let database = Database::open_with(dir, options(), Env::real()).unwrap();
            acknowledge(put(&database, things(&database), "last", "1"));
            die();
        }
        "in_a_record" => write_until_dead(&death(At::Write, When::Half, "journal/", 40)),
        "before_a_sync" => write_until_dead(&death(At::Sync, When::Before, "journal/", 40)),
        "rotating_before" => write_until_dead(&death(At::Create, When::Before, "journal/", 3)),
        "rotating_after" => write_until_dead(&death(At::Create, When::After, "journal/", 3)),
        "rotating_meta" => write_until_dead(&death(At::Write, When::Half, "meta.", 4)),
        "checkpoint_half" => checkpoint(&death(At::Write, When::Half, "checkpoints/", 1)),
        "checkpoint_before_rename" => checkpoint(&death(At::Rename, When::Before, ".ckpt", 1)),
        "checkpoint_after_rename" => checkpoint(&death(At::Rename, When::After, ".ckpt", 1)),
        "checkpoint_second" => checkpoint(&death(At::Rename, When::After, ".ckpt", 3)),
        "checkpoint_retire" => checkpoint(&death(At::Remove, When::Before, ".ckpt", 1)),
        "recovering_segment" => drop(death(At::Create, When::After, "journal/", 1)),
        "recovering_write" => drop(death(At::Write, When::Half, "journal/", 1)),
        "recovering_meta" => drop(death(At::Write, When::Half, "meta.", 1)),
        "recovering_sync" => drop(death(At::Sync, When::Before, "meta.", 1)),
        "batched" => {
            let lazy = Options { durability: DurabilityMode::Batched, ..options() };
            write_until_dead(&Database::open_with(dir, lazy, Env::real()).unwrap());
        }
        "strict" => write_until_dead(&Database::open_with(dir, options(), Env::real()).unwrap()),
        other => panic!("no scenario {other}"),
    }
}

fn options() -> Options {
    Options { segment_bytes: 32 * 1024, max_state_bytes: Some(1 << 30), ..Options::default() }
}

fn things(database: &Database) -> KeyspaceId {
    database.keyspace("things").unwrap()
}

/// Tells the parent that a version was acknowledged.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn acknowledge(version: u64) {
    println!("\nacknowledged {version}");
}

/// Transactions of two keys that must stay equal, for ever.
fn write_until_dead(database: &Database) {
    let keyspace = things(database);
    for n in 0..u32::MAX {
        let value = format!("{n}-{}", "x".repeat(200));
        let mut transaction = database.begin();
        transaction.put(keyspace, b"left", value.as_bytes());
        transaction.put(keyspace, format!("n{}", n % 50).as_bytes(), value.as_bytes());
        transaction.put(keyspace, b"right", value.as_bytes());
        acknowledge(transaction.commit().unwrap().version);
    }
}

fn checkpoint(database: &Database) {
    let keyspace = things(database);
    for n in 0..10 {
        acknowledge(put(database, keyspace, "left", &n.to_string()));
        acknowledge(put(database, keyspace, "right", &n.to_string()));
        database.checkpoint().unwrap();
    }
}

fn spawn(scenario: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash_child::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

/// Runs a child to its death; the last version that it acknowledged.
fn run_child(scenario: &str, dir: &Path) -> u64 {
    let mut child = spawn(scenario, dir);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let last = lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)).last();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "{scenario}: it should have died by a signal: {status}");
    last.unwrap_or(0)
}

/// Runs a child and kills it (SIGKILL) once it acknowledged `after` versions; everything that it
/// acknowledged before it died counts.
fn kill_child(scenario: &str, dir: &Path, after: usize) -> u64 {
    let mut child = spawn(scenario, dir);
    let mut last = 0;
    let mut count = 0;
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let Some(version) = acknowledged(&line) else { continue };
        last = version;
        count += 1;
        if count == after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(count >= after, "{scenario}: it died too early");
    last
}

struct Store {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    Store { _dir: dir, path }
}

/// Opens a store that this process may have had open a moment ago: the child that another test
/// starts right then has a copy of the lock until it runs its own program.
fn open_when_free(path: &Path) -> Database {
    let env = Env::real();
    let until_ns = env.clock.boot_ns() + 20_000_000_000;
    loop {
        match Database::open_with(path, options(), env.clone()) {
            Err(Error::Locked(_)) if env.clock.boot_ns() < until_ns => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// Opens what a child left: everything acknowledged is there, no transaction is there in part, and
/// opening again gives the same.
fn survives(path: &Path, acked: u64) -> Database {
    let first = open_when_free(path);
    assert!(first.current_version() >= acked, "{} of {acked}", first.current_version());
    let (hash, version) = (first.state_hash(), first.current_version());
    drop(first);
    let second = open_when_free(path);
    assert_eq!((second.state_hash(), second.current_version()), (hash, version));
    second
}

fn whole(database: &Database) {
    let keyspace = things(database);
    assert_eq!(get(database, keyspace, "left"), get(database, keyspace, "right"));
    assert_eq!(get(database, keyspace, "partial"), None);
}

/// proves: D7, D13
#[test]
fn test_crash_after_begin_txn() {
    for scenario in ["after_begin", "after_write", "before_commit", "begin_in_memory"] {
        let store = store();
        run_child(scenario, &store.path);
        let database = survives(&store.path, 0);
        whole(&database);
        let streamed = scenario != "begin_in_memory";
        assert_eq!(database.replay_stats().incomplete_txns, u64::from(streamed), "{scenario}");
    }
}

/// proves: D7, D13
/// fault: S1
#[test]
fn test_crash_after_commit_strict_mode() {
    let one = store();
    let acked = run_child("after_commit", &one.path);
    let database = survives(&one.path, acked);
    assert_eq!(get(&database, things(&database), "last").as_deref(), Some("1"));
    for after in [1, 7, 60] {
        let store = store();
        let acked = kill_child("strict", &store.path, after);
        whole(&survives(&store.path, acked));
    }
}

/// Batched mode acknowledges what is written: the death of the process alone loses none of it, and
/// a power loss at most the interval. In no case is a transaction there in part.
///
/// proves: D7, D13
#[test]
fn test_crash_batched_mode_may_lose_recent_writes() {
    let store = store();
    let acked = kill_child("batched", &store.path, 300);
    whole(&survives(&store.path, acked));

    let (disk, env, clock) = crate::support::simulated(1);
    let lazy = Options { durability: DurabilityMode::Batched, ..crate::support::quiet() };
    let database = Database::open_with("/store", lazy, env).unwrap();
    let keyspace = things(&database);
    let mut safe = 0;
    for n in 0..10 {
        clock.advance_ms(30);
        let version = put(&database, keyspace, "n", &n.to_string());
        clock.advance_ms(0);
        database.tick().unwrap();
        // What is older than the window was synced by a tick.
        if n < 6 {
            safe = version;
        }
    }
    for survival in rekindle_env::Survival::EVERY {
        let crashed = disk.crash(survival, 3);
        let (env, _) = crate::support::around(&crashed, 2);
        let after = Database::open_with("/store", crate::support::quiet(), env).unwrap();
        let version = after.current_version();
        assert!((safe..=11).contains(&version), "{survival:?}: {version} of {safe}");
        let found = get(&after, keyspace, "n").unwrap();
        assert_eq!(found, (version - 2).to_string(), "a prefix");
    }
}

/// In the middle of a record, before a sync, while a segment rotates.
///
/// proves: D7
/// fault: S1, S6, S18
#[test]
fn crashes_while_writing_lose_nothing_acknowledged() {
    let scenarios =
        ["in_a_record", "before_a_sync", "rotating_before", "rotating_after", "rotating_meta"];
    for scenario in scenarios {
        let store = store();
        let acked = run_child(scenario, &store.path);
        assert!(acked > 10, "{scenario}: {acked}");
        whole(&survives(&store.path, acked));
    }
}

/// proves: D7
/// fault: S20
#[test]
fn crashes_while_checkpointing_lose_nothing_acknowledged() {
    let scenarios = [
        "checkpoint_half",
        "checkpoint_before_rename",
        "checkpoint_after_rename",
        "checkpoint_second",
        "checkpoint_retire",
    ];
    for scenario in scenarios {
        let store = store();
        let acked = run_child(scenario, &store.path);
        assert!(acked >= 3, "{scenario}: {acked}");
        whole(&survives(&store.path, acked));
    }
}

/// proves: D7
/// fault: S20
#[test]
fn crashes_while_recovering_lose_nothing_acknowledged() {
    let store = store();
    let acked = kill_child("strict", &store.path, 20);
    let scenarios =
        ["recovering_segment", "recovering_write", "recovering_meta", "recovering_sync"];
    for scenario in scenarios {
        run_child(scenario, &store.path);
    }
    whole(&survives(&store.path, acked));
}
