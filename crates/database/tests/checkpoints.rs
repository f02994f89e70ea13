//! Checkpoints: two are kept, the journal is given back behind the older one, recovery uses them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Database, Error, Options};
use rekindle_env::{Change, Disk, ManualClock, ReadDisk, SimulatedDisk, Watch};

use crate::support::{around, get, open, put, quiet, simulated};

fn names(disk: &SimulatedDisk, dir: &str) -> Vec<String> {
    let entries = disk.list(Path::new(dir)).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn checkpoints(disk: &SimulatedDisk) -> Vec<String> {
    names(disk, "/store/shards/0/checkpoints")
}

fn segments(disk: &SimulatedDisk) -> usize {
    names(disk, "/store/shards/0/journal").len()
}

#[test]
fn a_checkpoint_shortens_the_next_replay() {
    let (disk, env, _) = simulated(1);
    let hash = {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..100 {
            put(&database, keyspace, &format!("k{n}"), "before");
        }
        database.checkpoint().unwrap();
        database.checkpoint().unwrap();
        assert_eq!(checkpoints(&disk).len(), 1, "nothing happened in between");
        put(&database, keyspace, "after", "1");
        database.state_hash()
    };
    let database = open(&env);
    let stats = database.replay_stats();
    assert_eq!((stats.txns_applied, stats.final_version), (1, 102));
    assert_eq!(database.state_hash(), hash);
    let keyspace = database.keyspace("things").unwrap();
    assert_eq!(get(&database, keyspace, "k99").as_deref(), Some("before"));
    assert_eq!(get(&database, keyspace, "after").as_deref(), Some("1"));
}

/// Two are kept, older ones and the segments below the older one's replay go.
#[test]
fn two_are_kept_and_the_journal_is_given_back() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let value = "x".repeat(20_000);
    let mut most = 0;
    for round in 0..6 {
        for n in 0..10 {
            put(&database, keyspace, &format!("k{n}"), &format!("{round}{value}"));
        }
        most = most.max(segments(&disk));
        database.checkpoint().unwrap();
    }
    assert_eq!(checkpoints(&disk).len(), 2);
    assert!(segments(&disk) < most + 5, "{} segments", segments(&disk));
    assert_eq!(database.stats().checkpoints, 6);
    drop(database);
    assert_eq!(open(&env).replay_stats().txns_applied, 0);
}

/// The newest one damaged: the older one and a longer replay give the same state.
///
/// fault: S9
#[test]
fn a_damaged_checkpoint_is_healed_by_the_older_one() {
    let (disk, env, _) = simulated(1);
    let hash = {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        put(&database, keyspace, "a", "1");
        database.checkpoint().unwrap();
        put(&database, keyspace, "b", "1");
        database.checkpoint().unwrap();
        put(&database, keyspace, "c", "1");
        database.close().unwrap();
        database.state_hash()
    };
    let newest = checkpoints(&disk).pop().unwrap();
    let path = format!("/store/shards/0/checkpoints/{newest}");
    disk.flip_bit(&path, 600, 3).unwrap();
    let database = open(&env);
    assert_eq!(database.state_hash(), hash);
    assert_eq!((database.report().code, database.replay_stats().txns_applied), (4, 2));
    drop(database);
    // The start repaired it: the bad file is set aside, and nothing names it any more.
    let names = names(&disk, "/store/quarantine");
    assert!(names.len() == 1 && names[0].ends_with(&newest), "{names:?}");
    assert_eq!(rekindle_database::verify("/store", &env).unwrap().code, 0);
    let database = open(&env);
    assert_eq!((database.report().code, database.state_hash()), (0, hash));
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "d", "1");
    database.checkpoint().unwrap();
    assert_eq!(checkpoints(&disk).len(), 2);
}

/// Both damaged, and the journal whole: everything is replayed, and nothing names them any more.
///
/// fault: S9
#[test]
fn two_damaged_checkpoints_are_set_aside_where_the_journal_has_everything() {
    let (disk, env, _) = simulated(1);
    let hash = {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        for key in ["a", "b"] {
            put(&database, keyspace, key, "1");
            database.checkpoint().unwrap();
        }
        database.close().unwrap();
        database.state_hash()
    };
    for name in checkpoints(&disk) {
        disk.flip_bit(format!("/store/shards/0/checkpoints/{name}"), 600, 3).unwrap();
    }
    assert_eq!(rekindle_database::verify("/store", &env).unwrap().code, 4);
    {
        let database = open(&env);
        assert_eq!((database.report().code, database.state_hash()), (4, hash));
    }
    assert_eq!(names(&disk, "/store/quarantine").len(), 2);
    assert!(checkpoints(&disk).is_empty());
    assert_eq!(rekindle_database::verify("/store", &env).unwrap().code, 0);
    let database = open(&env);
    assert_eq!((database.report().code, database.state_hash()), (0, hash));
}

/// A checkpoint that cannot be written leaves everything as it was; the next one succeeds.
#[test]
fn a_failed_checkpoint_is_tried_again() {
    use rekindle_env::{Fault, FaultError, OperationKind};
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    disk.inject(Fault::error(OperationKind::Write, FaultError::ENOSPC).on(".tmp").forever());
    let error = database.checkpoint().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    disk.clear_faults();
    put(&database, keyspace, "b", "1");
    database.checkpoint().unwrap();
    let stats = database.stats();
    assert_eq!((stats.checkpoints, stats.checkpoints_failed), (1, 1));
    assert_eq!(database.poisoned(), None);
    assert_eq!(checkpoints(&disk).len(), 1, "the attempt left nothing");
}

/// By policy: when a start would take too long, `tick` writes one; a clean stop too.
#[test]
fn the_policy_keeps_recovery_short() {
    let (disk, env, _) = simulated(1);
    let options = Options { max_recovery: std::time::Duration::from_millis(2), ..quiet() };
    let database = Database::open_with("/store", options, env.clone()).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    database.tick().unwrap();
    assert_eq!(database.stats().checkpoints, 0);
    for n in 0..2_000 {
        let mut transaction = database.begin();
        transaction.put(keyspace, format!("k{n}").as_bytes(), b"1");
        drop(transaction.submit().unwrap());
    }
    database.flush().unwrap();
    database.tick().unwrap();
    assert_eq!(database.stats().checkpoints, 1);
    database.tick().unwrap();
    assert_eq!(database.stats().checkpoints, 1, "once is enough");
    database.close().unwrap();
    drop(database);
    let (env, _) = around(&disk, 2);
    assert_eq!(open(&env).replay_stats().txns_applied, 0);
}

/// A clean stop with much to replay writes a checkpoint, so that the next start is quick.
#[test]
fn a_clean_stop_leaves_little_to_replay() {
    let (_, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..60_000_u32 {
        let mut transaction = database.begin();
        transaction.put(keyspace, &n.to_be_bytes(), b"1");
        drop(transaction.submit().unwrap());
    }
    database.close().unwrap();
    assert_eq!(database.stats().checkpoints, 1);
    drop(database);
    let database = open(&env);
    assert_eq!((database.replay_stats().txns_applied, database.current_version()), (0, 60_001));
}

/// A disk on which a checkpoint takes three seconds more.
#[derive(Debug)]
struct SlowCheckpoints(Arc<ManualClock>);

impl Watch for SlowCheckpoints {
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        if let Change::Rename { .. } = change {
            self.0.advance_ms(3_000);
        }
        perform()
    }
}

/// A checkpoint that would hold up a clean stop for longer than it saves is not written then: what
/// it would hold is replayed.
#[test]
fn a_clean_stop_does_not_wait_for_a_large_checkpoint() {
    let (_, env, clock) = simulated(1);
    let env = env.watched(Arc::new(SlowCheckpoints(clock)));
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "k", "1");
    database.checkpoint().unwrap();
    for n in 0..60_000_u32 {
        let mut transaction = database.begin();
        transaction.put(keyspace, &n.to_be_bytes(), b"1");
        drop(transaction.submit().unwrap());
    }
    database.close().unwrap();
    assert_eq!(database.stats().checkpoints, 1, "the one before");
    let hash = database.state_hash();
    drop(database);
    let database = open(&env);
    assert_eq!((database.replay_stats().txns_applied, database.state_hash()), (60_000, hash));
}

/// Readers and writers go on while one is written.
#[test]
fn checkpoints_do_not_stop_writers() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path().join("store")).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    let writer = {
        let database = database.clone();
        std::thread::spawn(move || {
            for n in 0..2_000_u32 {
                let mut transaction = database.begin();
                transaction.put(keyspace, &(n % 50).to_be_bytes(), &n.to_be_bytes());
                transaction.commit().unwrap();
            }
        })
    };
    let mut written = 0;
    while !writer.is_finished() {
        database.checkpoint().unwrap();
        written += 1;
    }
    writer.join().unwrap();
    assert!(written > 0);
    let hash = database.state_hash();
    drop(database);
    let again = Database::open(dir.path().join("store")).unwrap();
    assert_eq!((again.state_hash(), again.current_version()), (hash, 2_001));
}

/// A store in memory has no place for them, and says so.
#[test]
fn over_a_foreign_journal_there_are_none() {
    let (database, _, _) = crate::support::journal::database(quiet());
    assert!(matches!(database.checkpoint(), Err(Error::Invalid(_))));
    database.tick().unwrap();
    database.close().unwrap();
}

/// The past reaches back to the older checkpoint, then it is compacted.
#[test]
fn the_past_reaches_back_to_the_older_checkpoint() {
    let (_, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let mut at = Vec::new();
    for n in 0..6 {
        put(&database, keyspace, "a", &n.to_string());
        at.push(put(&database, keyspace, "b", &n.to_string()));
        if n == 1 || n == 3 {
            database.checkpoint().unwrap();
        }
    }
    assert!(matches!(database.snapshot_at(at[0]), Err(Error::Compacted { .. })));
    for (n, version) in at.iter().enumerate().skip(1) {
        let snapshot = database.snapshot_at(*version).unwrap();
        let value = snapshot.get(keyspace, b"a").unwrap().unwrap();
        assert_eq!(&*value.bytes, n.to_string().as_bytes());
    }
    assert_eq!(database.stats().oldest_version, at[1]);
    let _: &dyn Disk = &*env.disk;
}

/// A clock that goes on by 10 ms whenever it is asked.
#[derive(Debug)]
struct SlowMachine(std::sync::atomic::AtomicU64);

impl rekindle_env::Clock for SlowMachine {
    fn wall_ms(&self) -> u64 {
        1_000_000 + self.boot_ms()
    }

    fn boot_ns(&self) -> u64 {
        self.0.fetch_add(10_000_000, std::sync::atomic::Ordering::SeqCst)
    }
}

/// The estimate of the next start follows what this start measured, of loading as of replay.
#[test]
fn the_estimate_learns_from_the_load_of_this_start() {
    let (disk, env, _) = simulated(1);
    {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        put(&database, keyspace, "a", &"x".repeat(50_000));
        database.checkpoint().unwrap();
        database.close().unwrap();
    }
    let (env, _) = around(&disk, 2);
    let estimate = |env: &rekindle_env::Env| open(env).stats().predicted_recovery_micros;
    // Nothing to replay; 50 KB at the default of 100 MB per second.
    assert!((500..600).contains(&estimate(&env)), "{}", estimate(&env));
    let clock = std::sync::Arc::new(SlowMachine(0.into()));
    let slow = rekindle_env::Env { clock, ..env };
    assert!(estimate(&slow) > 20_000, "{}", estimate(&slow));
}

/// A failed sync of a checkpoint is final for its file: the file goes and is never named, and the
/// next attempt writes all of it again, into another file.
///
/// fault: S15
#[test]
fn a_checkpoint_whose_sync_failed_is_written_anew() {
    use rekindle_env::{Fault, Survival};
    for of_folder in [false, true] {
        let (disk, env, _) = simulated(1);
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        put(&database, keyspace, "a", "1");
        database.checkpoint().unwrap();
        let first = checkpoints(&disk);
        put(&database, keyspace, "b", "1");
        let fault = if of_folder {
            use rekindle_env::{FaultError, OperationKind};
            Fault::error(OperationKind::SyncDir, FaultError::EIO).on("checkpoints")
        } else {
            Fault::failed_sync().on(".tmp")
        };
        disk.inject(fault);
        let error = database.checkpoint().unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let failed: Vec<_> =
            checkpoints(&disk).into_iter().filter(|name| !first.contains(name)).collect();
        assert!(of_folder || failed.is_empty(), "{failed:?}");
        let stats = database.stats();
        assert_eq!((stats.checkpoints, stats.checkpoints_failed), (1, 1));
        assert_eq!(database.poisoned(), None, "the journal holds everything");
        put(&database, keyspace, "c", "1");
        let crashed = disk.crash(Survival::None, 3);
        let reopened = open(&around(&crashed, 3).0);
        assert_eq!(get(&reopened, keyspace, "c").as_deref(), Some("1"), "and is the truth");
        database.checkpoint().unwrap();
        let both = checkpoints(&disk);
        assert_eq!((both.len(), &both[0]), (2, &first[0]));
        assert_eq!(both[1], "0000000000000003.ckpt", "the number of the failed one is not used");
        let crashed = disk.crash(Survival::None, 4);
        let reopened = open(&around(&crashed, 4).0);
        assert_eq!(reopened.replay_stats().txns_applied, 0, "from the new one alone");
        assert_eq!(get(&reopened, keyspace, "c").as_deref(), Some("1"));
    }
}
