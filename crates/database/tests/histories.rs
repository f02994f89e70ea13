//! Random histories on the simulated disk, crashed at random operations under every survival model:
//! replay is deterministic, idempotent, prefix-consistent, invents nothing and drops nothing that
//! was acknowledged. (The exhaustive walk is the simulator's campaign.)

use std::collections::BTreeMap;

use proptest::prelude::*;
use rekindle_database::{Database, Error, KeyspaceId, Options};
use rekindle_env::{SimulatedDisk, Survival};

use crate::support::{ALL, around, quiet, rows, simulated};

type Model = BTreeMap<String, String>;

#[derive(Clone, Debug)]
enum Step {
    /// Transactions submitted together; each a list of changes.
    Commit(Vec<Vec<(u8, Option<u8>)>>),
    /// A transaction that clears a part.
    Clear(u8, u8),
    Checkpoint,
    Tick,
    /// Closes, or crashes the process, and opens again.
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0_u8..12, proptest::option::weighted(0.8, any::<u8>()));
    let transaction = proptest::collection::vec(change, 1..4);
    prop_oneof![
        12 => proptest::collection::vec(transaction, 1..5).prop_map(Step::Commit),
        1 => (0_u8..12, 0_u8..12).prop_map(|(a, b)| Step::Clear(a, b)),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Tick),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

fn key(n: u8) -> String {
    format!("key{n:02}")
}

fn value(n: u8) -> String {
    format!("{n}").repeat(40)
}

/// A run: the state after each version, and the acknowledged version as marks in the trace.
struct Run {
    disk: SimulatedDisk,
    states: Vec<Model>,
}

fn options() -> Options {
    Options { segment_bytes: 16 * 1024, ..quiet() }
}

fn open(disk: &SimulatedDisk, seed: u64) -> Database {
    let (env, _) = around(disk, seed);
    Database::open_with("/store", options(), env).unwrap()
}

fn run(steps: &[Step]) -> Run {
    let (disk, _, _) = simulated(3);
    let mut database = open(&disk, 3);
    let keyspace = database.keyspace("things").unwrap();
    let mut states = vec![Model::new(), Model::new()];
    disk.mark(1);
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Commit(transactions) => {
                let mut pending = Vec::new();
                for changes in transactions {
                    let mut transaction = database.begin();
                    let mut model = states.last().unwrap().clone();
                    for (n, put) in changes {
                        match put {
                            Some(v) => {
                                transaction.put(keyspace, key(*n).as_bytes(), value(*v).as_bytes());
                                model.insert(key(*n), value(*v));
                            }
                            None => {
                                transaction.delete(keyspace, key(*n).as_bytes());
                                model.remove(&key(*n));
                            }
                        }
                    }
                    pending.push(transaction.submit().unwrap());
                    states.push(model);
                }
                for pending in pending {
                    disk.mark(pending.wait().unwrap().version);
                }
            }
            Step::Clear(a, b) => {
                let (a, b) = (key(*a.min(b)), key(*a.max(b)));
                let mut transaction = database.begin();
                transaction.delete_range(keyspace, a.as_bytes(), b.as_bytes());
                transaction.put(keyspace, b"cleared", b"1");
                let mut model = states.last().unwrap().clone();
                model.retain(|key, _| *key < a || *key >= b);
                model.insert("cleared".to_owned(), "1".to_owned());
                states.push(model);
                disk.mark(transaction.commit().unwrap().version);
            }
            Step::Checkpoint => database.checkpoint().unwrap(),
            Step::Tick => database.tick().unwrap(),
            Step::Restart(clean) => {
                if *clean {
                    database.close().unwrap();
                }
                drop(database);
                database = open(&disk, 100 + index as u64);
            }
        }
    }
    drop(database);
    Run { disk, states }
}

fn state(database: &Database) -> Model {
    let found = database.snapshot().unwrap().scan(KeyspaceId(1), ALL, 99, false).unwrap();
    let pairs = rows(&found).into_iter();
    pairs.map(|row| row.split_once('=').map(|(k, v)| (k.into(), v.into())).unwrap()).collect()
}

/// Recovers a crashed disk, twice, and a copy of it; checks R1 to R6.
fn check(disk: &SimulatedDisk, acked: u64, states: &[Model]) -> Result<(), TestCaseError> {
    let copy = SimulatedDisk::from_image(disk.image(), 9);
    let first = open(disk, 21);
    let (version, stats) = (first.current_version(), first.replay_stats());
    // R5: nothing acknowledged is dropped. R4, R3: it is one of the states that were, whole.
    prop_assert!(version >= acked, "version {} of {} acknowledged", version, acked);
    let expected = states.get(version as usize);
    prop_assert!(expected.is_some(), "version {} never was", version);
    prop_assert_eq!(&state(&first), expected.unwrap());
    let hash = first.state_hash();
    prop_assert!([0, 3, 4].contains(&first.report().code), "{:?}", first.report());
    drop(first);
    // R2: again gives the same.
    let second = open(disk, 22);
    prop_assert_eq!((second.state_hash(), second.current_version()), (hash, version));
    // R1: a copy of the same disk gives the same.
    let other = open(&copy, 21);
    prop_assert_eq!((other.state_hash(), other.replay_stats()), (hash, stats));
    // It goes on from there.
    let mut next = second.begin();
    next.put(second.keyspace("things").unwrap(), b"next", b"1");
    let taken = next.commit().unwrap().version;
    prop_assert!(taken > version);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// proves: D12, D8, D6
    /// fault: S1, S2, S3, S4, S20
    #[test]
    fn crashes_keep_what_was_acknowledged_and_invent_nothing(
        steps in proptest::collection::vec(step(), 1..40),
        at in any::<prop::sample::Index>(),
        spread in 1_usize..40,
        seed: u64,
    ) {
        let run = run(&steps);
        let trace = run.disk.trace();
        let operations = trace.operations().len();
        let mut points = trace.crash_points(rekindle_env::Image::new());
        let offset = at.index(spread);
        let mut acked = 0;
        let mut walked = 0;
        while let Some(operation) = points.advance() {
            acked = operation.mark().unwrap_or(acked);
            walked += 1;
            if walked % spread != offset && walked != operations {
                continue;
            }
            let survival = Survival::EVERY[(walked + offset) % Survival::EVERY.len()];
            let image = points.survivors(survival, seed ^ walked as u64);
            check(&SimulatedDisk::from_image(image, seed), acked, &run.states)?;
            if walked % 7 == 0 {
                check(&points.after_kill(seed), acked, &run.states)?;
            }
        }
    }
}

/// A second crash right behind the recovery of a torn tail loses nothing.
///
/// proves: D8
#[test]
fn a_second_crash_after_a_torn_tail_loses_nothing() {
    let (disk, _, _) = simulated(5);
    let database = open(&disk, 1);
    let keyspace = database.keyspace("things").unwrap();
    crate::support::put(&database, keyspace, "a", "1");
    let mut unacknowledged = database.begin();
    unacknowledged.put(keyspace, b"b", &[b'x'; 3_000]);
    let pending = unacknowledged.submit().unwrap();
    disk.inject(rekindle_env::Fault::short_write(rekindle_env::FaultError::EIO).on("journal/"));
    assert!(pending.wait().is_err(), "the write failed in its middle");
    assert!(database.poisoned().is_some());
    drop(database);
    disk.clear_faults();
    let mut hash = None;
    for seed in 0..4 {
        let disk = disk.crash(Survival::All, seed);
        let database = open(&disk, seed);
        assert_eq!(crate::support::get(&database, keyspace, "a").as_deref(), Some("1"));
        assert_eq!(database.current_version(), 2);
        assert_eq!(*hash.get_or_insert(database.state_hash()), database.state_hash());
        let mut next = database.begin();
        next.put(keyspace, b"c", b"1");
        next.commit().unwrap();
        let again = disk.crash(Survival::None, seed);
        let database = open(&again, seed);
        assert_eq!(database.current_version(), 3, "appended behind the cut, and synced");
    }
}

/// What fails at a tick is told by that tick, and by each one after it.
///
/// fault: S15
#[test]
fn a_tick_that_fails_says_so() {
    use rekindle_env::{Fault, FaultError, OperationKind};
    let (disk, _, _) = simulated(5);
    let database = open(&disk, 1);
    let keyspace = database.keyspace("things").unwrap();
    crate::support::put(&database, keyspace, "a", "1");
    database.tick().unwrap();
    disk.inject(Fault::error(OperationKind::Write, FaultError::EIO).on("tip"));
    for _ in 0..2 {
        let error = database.tick().unwrap_err();
        assert!(matches!(&error, Error::Poisoned(why) if why.contains("tip")), "{error}");
    }
    assert!(database.poisoned().is_some());
}

/// A failed sync is never believed later: what was not acknowledged may be gone, nothing else.
///
/// fault: S15
#[test]
fn a_failed_sync_poisons() {
    let (disk, _, _) = simulated(5);
    let database = open(&disk, 1);
    let keyspace = database.keyspace("things").unwrap();
    crate::support::put(&database, keyspace, "a", "1");
    disk.inject(rekindle_env::Fault::failed_sync().on("journal/"));
    let mut transaction = database.begin();
    transaction.put(keyspace, b"b", b"1");
    let error = transaction.commit().unwrap_err();
    assert_eq!(error.exit_code(), 75, "{error}");
    assert!(database.poisoned().is_some());
    let mut late = database.begin();
    late.put(keyspace, b"c", b"1");
    assert_eq!(late.commit().unwrap_err().exit_code(), 70);
    assert!(database.checkpoint().is_err());
    for survival in Survival::EVERY {
        let disk = disk.crash(survival, 1);
        let database = open(&disk, 1);
        assert_eq!(crate::support::get(&database, keyspace, "a").as_deref(), Some("1"));
        assert_eq!(crate::support::get(&database, keyspace, "c"), None);
    }
}
