//! Looking without touching: verify, dry run, dump, and views of the past.

use std::path::Path;

use rekindle_database::{
    Database, DumpLine, Error, Key, Namespace, Operation, Past, PastOptions, RunId, TypeTag,
    dry_run, dump, verify,
};
use rekindle_env::{Env, ReadDisk, SimulatedDisk};
use rekindle_journal::RecordKind;

use crate::support::raw::{self, Op};
use crate::support::{ALL, around, get, open, put, quiet, rows, simulated};

fn files(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    let image = disk.image();
    let files = image.files();
    let read = |path: &Path| image.read(path).unwrap();
    files.into_iter().map(|(path, _)| (path.display().to_string(), read(&path))).collect()
}

/// fault: R10
#[test]
fn looking_changes_no_byte() {
    let (disk, env, _) = simulated(1);
    {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        put(&database, keyspace, "a", "1");
        database.checkpoint().unwrap();
        put(&database, keyspace, "b", "1");
        // A crash: the next start has something to do.
    }
    let before = files(&disk);
    let verified = verify("/store", &env).unwrap();
    let planned = dry_run("/store", &quiet(), &env).unwrap();
    let mut lines = 0;
    dump("/store", &env, &mut |_| {
        lines += 1;
        Ok(())
    })
    .unwrap();
    Past::open("/store", PastOptions::default(), &env).unwrap();
    assert!(files(&disk) == before, "a byte was changed");
    assert_eq!((verified.code, planned.code), (0, 0), "{verified:?}");
    assert!(lines > 3);
    assert_eq!(planned.figure("txns_applied"), 1);
    let database = open(&env);
    assert_eq!(database.report().code, planned.code);
    let acted: Vec<_> = database.report().layers.iter().map(|layer| &layer.actions).collect();
    let planned: Vec<_> = planned.layers.iter().map(|layer| &layer.actions).collect();
    assert_eq!(acted, planned, "the dry run decides what the start does");
}

/// A store that another process has open cannot be looked at; one that is not there neither.
#[test]
fn looking_needs_a_store_that_nobody_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let env = Env::real();
    for error in [
        verify(&path, &env).unwrap_err(),
        dry_run(&path, &quiet(), &env).unwrap_err(),
        dump(&path, &env, &mut |_| Ok(())).unwrap_err(),
        Past::open(&path, PastOptions::default(), &env).unwrap_err(),
    ] {
        assert_eq!(error.exit_code(), 78, "{error}");
    }
    assert!(env.disk.stat(&path).unwrap().is_none());
    let database = Database::open(&path).unwrap();
    assert_eq!(verify(&path, &env).unwrap_err().exit_code(), 73);
    database.close().unwrap();
    assert_eq!(verify(&path, &env).unwrap().code, 0);
}

/// A start and a dry run refuse what `verify` calls 65, and what is whole can still be dumped.
///
/// fault: S7
#[test]
fn damage_is_named_by_all_of_them() {
    let (disk, env, _) = simulated(1);
    {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..5 {
            put(&database, keyspace, "a", &n.to_string());
        }
    }
    let journal = "/store/shards/0/journal";
    let segment = disk.list(Path::new(journal)).unwrap().pop().unwrap().name;
    // In the body of an early frame: later ones prove that it was acknowledged.
    disk.flip_bit(format!("{journal}/{segment}"), 4096 + 64 + 40, 1).unwrap();
    let before = files(&disk);
    let report = verify("/store", &env).unwrap();
    assert_eq!(report.code, 65);
    assert_eq!(dry_run("/store", &quiet(), &env).unwrap().code, 65);
    let error = Database::open_with("/store", quiet(), env.clone()).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    let text = error.to_string();
    assert!(
        text.contains(&segment) && text.contains("expected") && text.contains("verify"),
        "{text}"
    );
    let dumped = dump("/store", &env, &mut |_| Ok(())).unwrap();
    assert_eq!((dumped.code, dumped.refusal().is_some()), (65, true));
    let past = Past::open("/store", PastOptions::default(), &env);
    assert_eq!(past.unwrap_err().exit_code(), 65);
    assert!(files(&disk) == before, "a refusal changes nothing");
}

/// The store's own copies gone, or its metadata.
///
/// fault: S13
#[test]
fn missing_identity_or_metadata_is_refused_everywhere() {
    for lost in [["store.a", "store.b"], ["shards/0/meta.a", "shards/0/meta.b"]] {
        let (disk, env, _) = simulated(1);
        {
            let database = open(&env);
            let keyspace = database.keyspace("things").unwrap();
            put(&database, keyspace, "a", "1");
        }
        let mut image = disk.image();
        lost.iter().for_each(|name| image.remove(format!("/store/{name}")).unwrap());
        let (env, _) = around(&SimulatedDisk::from_image(image, 1), 1);
        assert_ne!(verify("/store", &env).unwrap().code, 0);
        let opened = Database::open_with("/store", quiet(), env.clone()).unwrap_err();
        let dumped = dump("/store", &env, &mut |_| Ok(())).unwrap_err();
        let past = Past::open("/store", PastOptions::default(), &env).unwrap_err();
        assert_eq!(opened.exit_code(), dumped.exit_code(), "{opened} {dumped}");
        assert_eq!(opened.exit_code(), past.exit_code());
    }
}

/// A dump as short lines.
fn tell(env: &Env) -> Vec<String> {
    let mut told = Vec::new();
    dump("/store", env, &mut |line| {
        told.push(match line {
            DumpLine::Segment { seq, incarnation, .. } => format!("segment {seq} {incarnation}"),
            DumpLine::Frame { records, .. } => format!("frame {records}"),
            DumpLine::Record { position, kind, undecodable, .. } => {
                format!("{position} {kind:?}{}", if undecodable.is_some() { " ?" } else { "" })
            }
            DumpLine::Transaction { id, version, .. } => format!("txn {id} {version:?}"),
            DumpLine::Operation(Operation::Put { .. }) => "put".to_owned(),
            DumpLine::Operation(_) => "delete".to_owned(),
            DumpLine::Loss { from_position, to_position, audit } => {
                format!("loss {from_position}..={to_position} {}", audit.escape_ascii())
            }
        });
        Ok(())
    })
    .unwrap();
    told
}

#[test]
fn a_dump_tells_every_kind() {
    let (_, env, _) = simulated(1);
    raw::store(Path::new("/store"), &env, |journal| {
        journal.commit(1, &[Op::Put("a", "1"), Op::Delete("b")]);
        journal.append(RecordKind::Begin, &raw::id(7));
        journal.append(RecordKind::Part, &raw::part(7, &[Op::Put("c", "1")]));
        journal.append(RecordKind::Commit, &raw::commit(7, 2, 1));
        journal.append(RecordKind::Abort, &raw::id(9));
        journal.append(RecordKind::Noop, b"");
        journal.append(RecordKind::Feature, &raw::feature(1));
        journal.append(RecordKind::Loss, &raw::loss(8, 8, 3));
        for kind in [
            RecordKind::Txns,
            RecordKind::Begin,
            RecordKind::Part,
            RecordKind::Commit,
            RecordKind::Loss,
            RecordKind::Feature,
        ] {
            if kind != RecordKind::Txns {
                journal.append(kind, b"?");
            }
        }
    });
    let told = tell(&env);
    let expected = [
        "segment 1 1",
        "frame 13",
        "1 Txns",
        "txn 257 Some(1)",
        "put",
        "delete",
        "2 Begin",
        "txn 7 None",
        "3 Part",
        "txn 7 None",
        "put",
        "4 Commit",
        "txn 7 Some(2)",
        "5 Abort",
        "txn 9 None",
        "6 Noop",
        "7 Feature",
        "8 Loss",
        "loss 8..=8 audit",
        "9 Begin ?",
        "10 Part ?",
        "11 Commit ?",
        "12 Loss ?",
        "13 Feature ?",
    ];
    let told: Vec<&str> =
        told.iter().map(String::as_str).filter(|line| *line != "frame 0").collect();
    assert_eq!(told, expected);
    let stopped = dump("/store", &env, &mut |_| Err(Error::Invalid("enough".to_owned())));
    assert!(matches!(stopped, Err(Error::Invalid(why)) if why == "enough"));
}

/// Stopped at any version, the past is exactly the state that reads saw then.
///
/// proves: D11
#[test]
fn the_past_can_be_stopped_at_a_version() {
    let (_, env, _) = simulated(1);
    let mut hashes = Vec::new();
    {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..8 {
            let mut transaction = database.begin();
            transaction.put(keyspace, format!("k{}", n % 3).as_bytes(), n.to_string().as_bytes());
            drop(transaction.submit().unwrap());
            if n == 4 {
                database.flush().unwrap();
                database.checkpoint().unwrap();
            }
        }
        database.flush().unwrap();
        for version in 1..=9 {
            let snapshot = database.snapshot_at(version).unwrap();
            hashes.push(rows(&snapshot.scan(keyspace, ALL, 99, false).unwrap()));
        }
        database.close().unwrap();
    }
    for (index, expected) in hashes.iter().enumerate() {
        let version = index as u64 + 1;
        let options = PastOptions { until_version: Some(version), run: None };
        let past = Past::open("/store", options, &env).unwrap();
        assert_eq!(past.version(), version);
        let keyspace = past.keyspace("things").unwrap().unwrap();
        assert_eq!(&rows(&past.scan(keyspace, ALL, 99).unwrap()), expected);
    }
    let whole = Past::open("/store", PastOptions::default(), &env).unwrap();
    assert_eq!((whole.version(), whole.replay_stats().txns_applied), (9, 3));
    assert_eq!(whole.keyspace("nothing").unwrap(), None);
    let options = PastOptions { until_version: Some(99), run: None };
    assert!(matches!(Past::open("/store", options, &env), Err(Error::Invalid(_))));
}

/// Narrowed to a run, other runs do not show, whether they come from the journal or a checkpoint.
///
/// proves: D11
#[test]
fn the_past_can_be_narrowed_to_a_run() {
    let (_, env, _) = simulated(1);
    let key = |run: &str, user: &str| {
        Key::new(Namespace::new("t", "app", "agent", run), TypeTag::Kv, user).encode()
    };
    let database = open(&env);
    let keyspace = database.keyspace("kv").unwrap();
    for (run, user) in [("one", "a"), ("two", "a"), ("one", "b"), ("two", "b")] {
        let mut transaction = database.begin();
        transaction.put(keyspace, &key(run, user), run.as_bytes());
        transaction.commit().unwrap();
        if user == "a" {
            database.checkpoint().unwrap();
        }
    }
    database.close().unwrap();
    let options = PastOptions { until_version: None, run: Some(RunId("two".to_owned())) };
    let past = Past::open("/store", options, &env).unwrap();
    let found = past.scan(keyspace, ALL, 99).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|row| &*row.value == b"two"));
    assert_eq!(past.scan(keyspace, ALL, 1).unwrap().len(), 1);
    assert!(past.get(keyspace, &key("two", "b")).unwrap().is_some());
    assert!(past.get(keyspace, &key("one", "b")).unwrap().is_none());
}

/// What the journal no longer reaches is compacted.
#[test]
fn the_past_ends_where_journal_and_checkpoints_end() {
    let (_, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let value = "x".repeat(30_000);
    for n in 0..12 {
        put(&database, keyspace, "a", &format!("{n}{value}"));
        if n % 3 == 0 {
            database.checkpoint().unwrap();
        }
    }
    assert!(get(&database, keyspace, "a").unwrap().starts_with("11"));
    database.close().unwrap();
    let at = |version| {
        let options = PastOptions { until_version: Some(version), run: None };
        Past::open("/store", options, &env).map(|past| past.version())
    };
    assert!(matches!(at(2), Err(Error::Compacted { asked: 2, .. })), "{:?}", at(2));
    assert_eq!(at(12).unwrap(), 12);
}

/// Damage below the checkpoint is healed: the dump shows what lies before it and behind it, and
/// ends as `verify` does.
#[test]
fn a_dump_of_a_healed_store_shows_what_can_be_read() {
    let (disk, env, _) = simulated(1);
    for round in 0..3 {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..5 {
            put(&database, keyspace, "a", &format!("{round} {n}"));
        }
        if round == 1 {
            database.checkpoint().unwrap();
        }
        database.close().unwrap();
    }
    let whole = tell(&env);
    let journal = "/store/shards/0/journal";
    let first = disk.list(Path::new(journal)).unwrap().remove(0).name;
    let path = format!("{journal}/{first}");
    let bytes = disk.image().read(Path::new(&path)).unwrap();
    let at = bytes.windows(3).position(|window| window == b"0 3").unwrap();
    disk.flip_bit(&path, at as u64, 1).unwrap();
    assert_eq!(verify("/store", &env).unwrap().code, 4);
    let report = dump("/store", &env, &mut |_| Ok(())).unwrap();
    assert_eq!(
        (report.code, report.findings().any(|found| found.place.file.ends_with(&first))),
        (4, true)
    );
    let told = tell(&env);
    let puts = |told: &[String]| told.iter().filter(|line| *line == "put").count();
    // All but the damaged frame; the keyspace's name is a change, too.
    assert_eq!((puts(&whole), puts(&told)), (16, 16 - 1));
    assert_eq!(told.last(), whole.last());
}
