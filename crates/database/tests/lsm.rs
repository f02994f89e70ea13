//! A store on the lsm engine: the same state as on the memory engine, before and after a crash.
//!
//! A crash here is a copy of the directory as it lies between two operations: what a killed process
//! leaves. Lost pages are another matter (docs/testing.md).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "crashes and damage are made behind the store's back"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use rekindle_database::{Database, EngineKind, Env, Error, KeyspaceId, Options, migrate, verify};
use rekindle_env::{Random, SeededRandom};

/// Options without threads, with small parts.
pub fn options(engine: Option<EngineKind>) -> Options {
    Options {
        engine,
        background: false,
        memtable_bytes: 16 << 10,
        cache_bytes: 256 << 10,
        large_value_bytes: Some(450),
        segment_bytes: 64 << 10,
        scrub_every: None,
        ..Options::default()
    }
}

/// Opens on this machine.
pub fn open(dir: &Path, engine: Option<EngineKind>) -> Result<Database, Error> {
    Database::open_with(dir, options(engine), Env::real())
}

/// What a killed process leaves.
pub fn copied(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Something that is done to the files of an engine.
type Harm = Box<dyn Fn(&Path)>;

struct Pair {
    random: SeededRandom,
    databases: [Database; 2],
    keyspaces: [KeyspaceId; 2],
}

impl Pair {
    fn change(&self) {
        let pick = |below: u64| self.random.next_u64() % below;
        let changes: Vec<(u64, [u8; 2], Vec<u8>)> = (0..=pick(4))
            .map(|_| {
                let key = u16::try_from(pick(300)).unwrap().to_be_bytes();
                (pick(10), key, vec![u8::try_from(pick(256)).unwrap(); pick(900) as usize])
            })
            .collect();
        for (database, keyspace) in self.databases.iter().zip(self.keyspaces) {
            let mut transaction = database.begin();
            for (kind, key, value) in &changes {
                match kind {
                    0 => {
                        let [high, low] = *key;
                        let end = [high, low.saturating_add(9)];
                        transaction.delete_range(keyspace, key, &end);
                    }
                    1..=3 => transaction.delete(keyspace, key),
                    _ => transaction.put(keyspace, key, value),
                }
            }
            transaction.commit().unwrap();
        }
    }
}

/// proves: D12
#[test]
fn both_engines_have_the_same_state_before_and_after_crashes() {
    let place = tempfile::tempdir().unwrap();
    let mut dirs = ["memory", "lsm"].map(|name| place.path().join(name));
    for life in 0_u64..12 {
        let kinds = if life == 0 {
            [Some(EngineKind::Memory), Some(EngineKind::Lsm)]
        } else {
            [None, None]
        };
        let databases = [open(&dirs[0], kinds[0]).unwrap(), open(&dirs[1], kinds[1]).unwrap()];
        let keyspaces = databases.each_ref().map(|database| database.keyspace("rows").unwrap());
        let pair = Pair { random: SeededRandom::new(40 + life), databases, keyspaces };
        let [memory, lsm] = &pair.databases;
        assert_eq!(memory.current_version(), lsm.current_version(), "life {life}");
        assert_eq!(memory.state_hash(), lsm.state_hash(), "life {life}: after the start");
        for step in 0..150 {
            pair.change();
            if step % 7 == 0 {
                lsm.tick().unwrap();
                memory.tick().unwrap();
            }
            if step % 50 == life % 50 {
                lsm.checkpoint().unwrap();
            }
        }
        assert_eq!(memory.state_hash(), lsm.state_hash(), "life {life}: before the end");
        assert!(life == 0 || lsm.stats().checkpoints > 0, "something was flushed");
        if life % 3 == 2 {
            memory.close().unwrap();
            lsm.close().unwrap();
        }
        let next = ["memory", "lsm"].map(|name| place.path().join(format!("{name}-{life}")));
        for (from, to) in dirs.iter().zip(&next) {
            copied(from, to);
        }
        dirs = next;
    }
}

#[test]
fn a_store_says_which_engine_it_needs() {
    let place = tempfile::tempdir().unwrap();
    open(place.path(), Some(EngineKind::Lsm)).unwrap().close().unwrap();
    let error = open(place.path(), Some(EngineKind::Memory)).unwrap_err().to_string();
    assert!(error.contains("lsm") && error.contains("memory"), "{error}");
    open(place.path(), None).unwrap().close().unwrap();
    open(place.path(), Some(EngineKind::Lsm)).unwrap().close().unwrap();
}

/// What is read of a flushed state is what was written, or an error.
#[test]
fn files_of_the_engine_that_are_gone_refuse_the_start() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let database = open(&dir, Some(EngineKind::Lsm)).unwrap();
    let rows = database.keyspace("rows").unwrap();
    for round in 0_u32..3 {
        database
            .transact(|transaction| {
                transaction.put(rows, &round.to_be_bytes(), &[1; 100]);
                Ok(())
            })
            .unwrap();
        database.checkpoint().unwrap();
    }
    database.close().unwrap();
    let engine = dir.join("shards/0/engine");
    let tables: Vec<_> = std::fs::read_dir(engine.join("tables"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!tables.is_empty());
    let mut harmed: Vec<(String, Harm)> = vec![
        ("no folder".to_owned(), Box::new(|dir: &Path| std::fs::remove_dir_all(dir).unwrap())),
        (
            "no current".to_owned(),
            Box::new(|dir: &Path| std::fs::remove_file(dir.join("current")).unwrap()),
        ),
    ];
    for table in tables {
        let name = table.file_name().unwrap().to_owned();
        for len in [0, 1, 30, 100] {
            let cut = name.clone();
            let cut = move |dir: &Path| {
                let file = std::fs::File::options().write(true).open(dir.join("tables").join(&cut));
                file.unwrap().set_len(len).unwrap();
            };
            harmed.push((format!("table {} of {len} bytes", name.display()), Box::new(cut)));
        }
        harmed.push((
            format!("no table {}", name.display()),
            Box::new(move |dir: &Path| {
                std::fs::remove_file(dir.join("tables").join(&name)).unwrap()
            }),
        ));
    }
    for (what, harm) in harmed {
        let copy = place.path().join(what.replace(' ', "-"));
        copied(&dir, &copy);
        harm(&copy.join("shards/0/engine"));
        let report = verify(&copy, &Env::real()).unwrap();
        assert_eq!(report.code, 65, "{what}");
        for finding in report.findings() {
            assert!(!finding.found.contains("rekindle-view"), "{what}: {finding}");
        }
        let error = open(&copy, None).err().unwrap_or_else(|| panic!("{what}: it started"));
        assert!(matches!(error, Error::Corrupt(_)), "{what}: {error:?}");
        assert!(error.to_string().contains("engine"), "{what}: {error}");
        // Nothing was made anew: it is refused again.
        assert!(matches!(open(&copy, None), Err(Error::Corrupt(_))), "{what}: the second start");
    }
}

/// The state is the same on each engine, and a migration that was cut off is repeated.
#[test]
fn a_store_moves_from_engine_to_engine() {
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
        let hash = database.state_hash();
        // A crash, so that there is something to replay.
        drop(database);
        hash
    };
    let mut hash = fill(0, 500);
    let mut number = 500;
    for (round, to) in [EngineKind::Lsm, EngineKind::Lsm, EngineKind::Memory, EngineKind::Lsm]
        .into_iter()
        .enumerate()
    {
        let before = place.path().join(format!("before-{round}"));
        copied(&dir, &before);
        let migrated = migrate(&dir, to, options(None), &Env::real()).unwrap();
        assert_eq!(migrated.state_hash, hash, "round {round}");
        let database = open(&dir, Some(to)).unwrap();
        assert_eq!(database.state_hash(), hash, "round {round}");
        drop(database);
        let files = dir.join("shards/0/engine");
        assert_eq!(files.exists(), to == EngineKind::Lsm, "round {round}: no leftovers");
        // Cut off in front of the step that counts: the files are there and the identity is old.
        if to == EngineKind::Lsm && !before.join("shards/0/engine").exists() {
            copied(&files, &before.join("shards/0/engine"));
            assert_eq!(open(&before, None).unwrap().state_hash(), hash, "cut off");
            let again = migrate(&before, to, options(None), &Env::real()).unwrap();
            assert_eq!(again.state_hash, hash, "repeated");
        }
        hash = fill(number, number + 200);
        number += 200;
    }
}

/// The files in a folder and their lengths.
fn lengths(dir: &Path) -> BTreeMap<OsString, u64> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect()
}

/// Of tables and blob files.
fn engine_lengths(store: &Path) -> BTreeMap<(&'static str, OsString), u64> {
    let kinds = ["tables", "blobs"].into_iter();
    let all = kinds.flat_map(|kind| {
        let lengths = lengths(&store.join("shards/0/engine").join(kind));
        lengths.into_iter().map(move |(name, bytes)| ((kind, name), bytes))
    });
    all.collect()
}

/// What the crate says of a table is without its description of itself.
fn is_counted(counted: u64, on_disk: u64) -> bool {
    (on_disk.saturating_sub(2_048)..=on_disk).contains(&counted) && on_disk > 36_000
}

/// Tables are counted when a flush or a merge wrote them, checkpoints with them, and nothing of
/// work that was over before it had to be written.
#[test]
fn what_the_state_takes_in_files_is_counted() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let database = open(&dir, Some(EngineKind::Lsm)).unwrap();
    let rows = database.keyspace("rows").unwrap();
    let written = || database.stats().state_written_bytes;
    let change = |delete: bool| {
        for number in 0_u32..40 {
            let mut transaction = database.begin();
            match delete {
                true => transaction.delete(rows, &number.to_be_bytes()),
                false => transaction.put(rows, &number.to_be_bytes(), &[7; 900]),
            }
            transaction.commit().unwrap();
        }
    };
    change(false);
    assert!(database.stats().engine_memory_bytes > 36_000);
    change(true);
    database.checkpoint().unwrap();
    assert!(database.stats().engine_memory_bytes < 36_000);
    assert!((1..8_000).contains(&written()), "{} bytes of rows that are gone", written());
    let checkpoints = dir.join("shards/0/checkpoints");
    // So many small tables are merged at a time.
    for _ in 0..24 {
        let (before, known) = (written(), engine_lengths(&dir));
        change(false);
        database.checkpoint().unwrap();
        let mut added = 0;
        for (name, bytes) in engine_lengths(&dir) {
            added += if known.contains_key(&name) { 0 } else { bytes };
        }
        added += lengths(&checkpoints).into_values().next_back().unwrap();
        let counted = written() - before;
        assert!(is_counted(counted, added), "{counted} of {added}");
    }
    let (flushed, known) = (written(), engine_lengths(&dir));
    database.tick().unwrap();
    let merged: u64 = engine_lengths(&dir)
        .into_iter()
        .map(|(name, bytes)| if known.contains_key(&name) { 0 } else { bytes })
        .sum();
    let counted = written() - flushed;
    // The values lie apart, and nothing needs those that were written over.
    assert!(
        merged > 0 && counted <= merged && counted + 2_048 > merged,
        "one merge: {counted} of {merged}"
    );
    database.close().unwrap();
    // Tables that were there before are not this run's.
    assert_eq!(open(&dir, None).unwrap().stats().state_written_bytes, 0);

    let dir = place.path().join("memory");
    let database = open(&dir, Some(EngineKind::Memory)).unwrap();
    let rows = database.keyspace("rows").unwrap();
    let mut transaction = database.begin();
    transaction.put(rows, b"a", &[7; 900]);
    transaction.commit().unwrap();
    assert_eq!(database.stats().state_written_bytes, 0);
    assert!(database.stats().engine_memory_bytes > 900);
    database.checkpoint().unwrap();
    let checkpoints: u64 = lengths(&dir.join("shards/0/checkpoints")).into_values().sum();
    assert_eq!((database.stats().state_written_bytes, checkpoints > 900), (checkpoints, true));
}
