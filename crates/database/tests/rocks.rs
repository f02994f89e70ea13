//! A store on the engine rocksdb: the same state as on the memory engine before and after crashes,
//! moves between all engines, damage to its files, and what only looks at them.
#![allow(
    clippy::disallowed_methods,
    reason = "crashes and damage are made behind the store's back"
)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use rekindle_database::{
    Database, EngineKind, Env, Error, KeyspaceId, Moment, Past, PastOptions, dry_run, migrate,
    restore, salvage, store_info, store_info_while_held, verify, verify_backup,
};
use rekindle_env::{Random, SeededRandom};

use crate::lsm::{copied, open, options};
use crate::support::{get, put};

const ENGINE: &str = "shards/0/rocksdb";

/// Every file, with its bytes.
fn image(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(image(&path)),
            false => drop(files.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    files
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let is_table = |path: &PathBuf| path.extension().is_some_and(|end| end == "sst");
    image(&dir.join(ENGINE)).into_keys().filter(is_table).collect()
}

/// A store with rows in files, and some in the journal alone; it crashed.
fn made(dir: &Path) -> (u64, u128) {
    let database = open(dir, Some(EngineKind::Rocksdb)).unwrap();
    let keyspace = database.keyspace("rows").unwrap();
    for n in 0..600_u64 {
        put(&database, keyspace, &format!("k{:04}", n * 7 % 400), &"x".repeat(300));
        if n % 5 == 0 {
            let mut transaction = database.begin();
            transaction.delete(keyspace, format!("k{:04}", n * 3 % 400).as_bytes());
            transaction.commit().unwrap();
        }
        if n < 500 {
            database.tick().unwrap();
        }
    }
    assert!(database.stats().checkpoints > 2, "something was flushed");
    (database.current_version(), database.state_hash())
}

fn change(random: &SeededRandom, databases: &[(&Database, KeyspaceId)]) {
    let pick = |below: u64| random.next_u64() % below;
    let changes: Vec<(u64, [u8; 2], Vec<u8>)> = (0..=pick(4))
        .map(|_| {
            let key = u16::try_from(pick(300)).unwrap().to_be_bytes();
            (pick(10), key, vec![u8::try_from(pick(256)).unwrap(); pick(900) as usize])
        })
        .collect();
    for (database, keyspace) in databases {
        let mut transaction = database.begin();
        for (kind, key, value) in &changes {
            let [high, low] = *key;
            match kind {
                0 => transaction.delete_range(*keyspace, key, &[high, low.saturating_add(9)]),
                1..=3 => transaction.delete(*keyspace, key),
                _ => transaction.put(*keyspace, key, value),
            }
        }
        transaction.commit().unwrap();
    }
}

/// proves: D12
#[test]
fn memory_and_rocksdb_have_the_same_state_before_and_after_crashes() {
    let place = tempfile::tempdir().unwrap();
    let dirs = ["memory", "rocksdb"].map(|name| place.path().join(name));
    for life in 0_u64..12 {
        let kinds =
            [EngineKind::Memory, EngineKind::Rocksdb].map(|kind| (life == 0).then_some(kind));
        let memory = open(&dirs[0], kinds[0]).unwrap();
        let rocks = open(&dirs[1], kinds[1]).unwrap();
        let both = [&memory, &rocks].map(|it| (it, it.keyspace("rows").unwrap()));
        assert_eq!(memory.state_hash(), rocks.state_hash(), "life {life}: after the start");
        let random = SeededRandom::new(40 + life);
        for step in 0..150 {
            change(&random, &both);
            if step % 7 == 0 {
                rocks.tick().unwrap();
                memory.tick().unwrap();
            }
            if step % 50 == life % 50 {
                rocks.checkpoint().unwrap();
            }
        }
        assert_eq!(memory.state_hash(), rocks.state_hash(), "life {life}: before the end");
        assert!(life == 0 || rocks.stats().checkpoints > 0, "something was flushed");
        if life % 3 == 2 {
            memory.close().unwrap();
            rocks.close().unwrap();
        }
        // Otherwise both are dropped as they are.
    }
}

#[test]
fn a_store_says_that_it_needs_rocksdb() {
    let place = tempfile::tempdir().unwrap();
    open(place.path(), Some(EngineKind::Rocksdb)).unwrap().close().unwrap();
    for other in [EngineKind::Memory, EngineKind::Lsm] {
        let error = open(place.path(), Some(other)).unwrap_err().to_string();
        assert!(error.contains("rocksdb") && error.contains(other.name()), "{error}");
    }
    open(place.path(), None).unwrap().close().unwrap();
}

/// What is gone, or older than what a checkpoint stands for, refuses the start.
#[test]
fn files_that_are_gone_or_old_refuse_the_start() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let old = place.path().join("old");
    let database = open(&dir, Some(EngineKind::Rocksdb)).unwrap();
    let rows = database.keyspace("rows").unwrap();
    put(&database, rows, "a", "1");
    database.checkpoint().unwrap();
    drop(database);
    copied(&dir.join(ENGINE), &old);
    let database = open(&dir, None).unwrap();
    for round in 0_u32..3 {
        put(&database, rows, &format!("b{round}"), "2");
        database.checkpoint().unwrap();
    }
    database.close().unwrap();
    drop(database);
    let files = image(&dir.join(ENGINE)).into_keys();
    let names = files.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let needed =
        |name: &String| name == "CURRENT" || name.starts_with("MANIFEST") || name.ends_with(".sst");
    let needed: Vec<String> = names.filter(needed).collect();
    assert!(needed.len() > 3, "{needed:?}");
    for what in needed.iter().map(String::as_str).chain(["folder", "old copy"]) {
        let copy = place.path().join(what.replace(' ', "-"));
        copied(&dir, &copy);
        match what {
            "folder" => std::fs::remove_dir_all(copy.join(ENGINE)).unwrap(),
            "old copy" => {
                std::fs::remove_dir_all(copy.join(ENGINE)).unwrap();
                copied(&old, &copy.join(ENGINE));
            }
            file => std::fs::remove_file(copy.join(ENGINE).join(file)).unwrap(),
        }
        for start in ["first", "second"] {
            let error = open(&copy, None).err().unwrap_or_else(|| panic!("{what}: it started"));
            assert!(matches!(error, Error::Corrupt(_)), "{what}, {start} start: {error:?}");
            assert!(error.to_string().contains("rocksdb"), "{what}: {error}");
        }
        assert_eq!(verify(&copy, &Env::real()).unwrap().code, 65, "{what}");
    }
}

/// The state hash is the same on each engine; a migration that was cut off is repeated.
#[test]
fn a_store_moves_round_all_engines() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let fill = |from: u32, to: u32| {
        let database = open(&dir, None).unwrap();
        let rows = database.keyspace("rows").unwrap();
        for number in from..to {
            let mut transaction = database.begin();
            transaction.put(rows, &number.to_be_bytes(), &[7; 300]);
            transaction.delete(rows, &(number / 2).to_be_bytes());
            transaction.commit().unwrap();
            database.tick().unwrap();
        }
        database.state_hash()
    };
    let mut hash = fill(0, 300);
    let mut number = 300;
    let (memory, lsm, rocksdb) = (EngineKind::Memory, EngineKind::Lsm, EngineKind::Rocksdb);
    for (round, to) in [lsm, rocksdb, memory, rocksdb, rocksdb, lsm].into_iter().enumerate() {
        let before = place.path().join(format!("before-{round}"));
        copied(&dir, &before);
        let migrated = migrate(&dir, to, options(None), &Env::real()).unwrap();
        assert_eq!(migrated.state_hash, hash, "round {round}");
        assert_eq!(open(&dir, Some(to)).unwrap().state_hash(), hash, "round {round}");
        for (kind, folder) in [(lsm, "engine"), (rocksdb, "rocksdb")] {
            let there = dir.join("shards/0").join(folder);
            assert_eq!(there.exists(), to == kind, "round {round}: no leftovers");
            // Cut off in front of the step that counts: the files are there, the identity is old.
            let cut_off = before.join("shards/0").join(folder);
            if there.exists() && !cut_off.exists() {
                copied(&there, &cut_off);
                assert_eq!(open(&before, None).unwrap().state_hash(), hash, "cut off");
                let again = migrate(&before, to, options(None), &Env::real()).unwrap();
                assert_eq!(again.state_hash, hash, "repeated");
                assert_eq!(open(&before, Some(to)).unwrap().state_hash(), hash, "repeated");
            }
        }
        hash = fill(number, number + 100);
        number += 100;
    }
}

/// Nothing that looks changes a byte, and each sees the whole state.
#[test]
fn looking_at_families_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let (version, _) = made(&dir);
    let before = image(&dir);
    let env = Env::real();
    let code = verify(&dir, &env).unwrap().code;
    assert!([0, 3].contains(&code), "{code}");
    assert_eq!(dry_run(&dir, &options(None), &env).unwrap().code, code);
    let info = store_info(&dir, &env).unwrap();
    let names: Vec<&str> = info.families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names, ["#registry", "rows", "default"]);
    assert!(info.families[1].keys > 100 && info.families[1].bytes > 10_000, "{info:?}");
    assert!(info.text().contains("family      rows: about "), "{}", info.text());
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["families"][1]["name"], "rows");
    let past = Past::open(&dir, PastOptions::default(), &env).unwrap();
    assert_eq!(past.version(), version);
    drop(past);
    let out = place.path().join("out");
    let salvaged = salvage(&dir, &out, &env).unwrap();
    assert!(salvaged.whole, "{:?}", salvaged.unreadable);
    assert_eq!(salvaged.version, version);
    assert_eq!(image(&dir), before);
    let database = open(&dir, None).unwrap();
    let info = store_info_while_held(&dir, &env, Some(&database)).unwrap();
    assert_eq!(info.families.len(), 3, "a running store tells them too");
}

/// Damage to a table is found by verify, refuses a start or an answer, and is said by a salvage.
#[test]
fn damaged_tables_are_told() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    made(&dir);
    let env = Env::real();
    let table = tables(&dir).into_iter().max_by_key(|path| std::fs::metadata(path).unwrap().len());
    let table = table.unwrap();
    let name = table.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = std::fs::read(&table).unwrap();
    for (round, at) in [10, whole.len() / 3, whole.len() - 20].into_iter().enumerate() {
        let mut bent = whole.clone();
        bent[at] ^= 0x10;
        std::fs::write(&table, bent).unwrap();
        let before = image(&dir);
        let report = verify(&dir, &env).unwrap();
        assert_eq!(report.code, 65, "{name} at {at}");
        let found = report.findings().find(|it| it.label.0 == "engine-6").unwrap();
        let text = format!("{} {}", found.place.file, found.found);
        assert!(text.contains("rocksdb"), "{text}");
        let out = place.path().join(format!("out-{round}"));
        let salvaged = salvage(&dir, &out, &env).unwrap();
        assert!(!salvaged.whole);
        assert!(salvaged.unreadable.iter().any(|line| line.contains("rocksdb")), "{salvaged:?}");
        assert_eq!(image(&dir), before, "{name} at {at}: nothing that looks changes a byte");
        std::fs::write(&table, &whole).unwrap();
    }
    assert!([0, 3].contains(&verify(&dir, &env).unwrap().code));
}

/// A flush of the database is one of the engine too, and so is a clean end.
///
/// proves: B8
#[test]
fn a_flush_writes_the_memtables_out() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let database = open(&dir, Some(EngineKind::Rocksdb)).unwrap();
    let keyspace = database.keyspace("rows").unwrap();
    put(&database, keyspace, "a", "1");
    assert!(tables(&dir).is_empty(), "nothing was due");
    database.flush().unwrap();
    let flushed = tables(&dir).len();
    assert!(flushed >= 3, "the registry, the rows, the stand");
    database.flush().unwrap();
    assert_eq!(tables(&dir).len(), flushed, "nothing happened since");
    drop(database);
    let (replayed, hash) = {
        let again = open(&dir, None).unwrap();
        (again.replay_stats().txns_applied, again.state_hash())
    };
    assert_eq!(replayed, 0, "the files have everything");
    assert_eq!(open(&dir, None).unwrap().state_hash(), hash);
}

/// A store is backed up with its rows, and restored on its engine.
#[test]
fn a_backup_is_restored_on_the_same_engine() {
    let place = tempfile::tempdir().unwrap();
    let (dir, backups) = (place.path().join("store"), place.path().join("backups"));
    let (_, hash) = made(&dir);
    let database = open(&dir, None).unwrap();
    let backup = database.backup(&backups).unwrap();
    assert_eq!(backup.manifest.engine.as_deref(), Some("rocksdb"));
    let keyspace = database.keyspace("rows").unwrap();
    put(&database, keyspace, "later", "1");
    let second = database.backup(&backups).unwrap();
    drop(database);
    assert!(verify_backup(&backups, &Env::real()).unwrap().findings.is_empty());
    let to = place.path().join("restored");
    let moment = Moment::Version(backup.manifest.version);
    let restored = restore(&backups, &to, moment, &Env::real()).unwrap();
    assert_eq!((restored.engine, restored.state_hash), (EngineKind::Rocksdb, hash));
    let again = open(&to, Some(EngineKind::Rocksdb)).unwrap();
    assert_eq!(again.state_hash(), hash);
    assert!(get(&again, keyspace, "later").is_none());
    let all = (Bound::Unbounded, Bound::Unbounded);
    assert!(!again.snapshot().unwrap().scan(keyspace, all, 10, true).unwrap().is_empty());
    drop(again);
    assert_eq!(verify(&to, &Env::real()).unwrap().code, 0);
    let newest = place.path().join("newest");
    let restored =
        restore(&backups, &newest, Moment::Version(second.manifest.version), &Env::real());
    assert!(get(&open(&newest, None).unwrap(), keyspace, "later").is_some());
    drop(restored);
}
