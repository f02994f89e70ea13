//! Looking at a store on the lsm engine: verify, the past, salvage and repair read its files and
//! change none of them.
#![allow(
    clippy::disallowed_methods,
    reason = "crashes and damage are made behind the store's back"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rekindle_database::{
    Database, EngineKind, Env, Error, KeyspaceId, Past, PastOptions, RepairOptions, dry_run,
    plan_repair, salvage, store_info, verify,
};

use crate::lsm::{copied, open, options};
use crate::lsm_backups::harm_block;
use crate::support::{ALL, get, put};

const ENGINE: &str = "shards/0/engine";

/// A store with rows in files, and some in the journal alone.
fn made(dir: &Path) -> (u64, BTreeMap<String, String>) {
    let database = open(dir, Some(EngineKind::Lsm)).unwrap();
    let keyspace = database.keyspace("rows").unwrap();
    let mut rows = BTreeMap::new();
    for n in 0..900_u64 {
        let long = "x".repeat(if n % 3 == 0 { 460 } else { 300 });
        let (key, value) = (format!("k{:04}", n * 7 % 600), format!("{n}-{long}"));
        put(&database, keyspace, &key, &value);
        rows.insert(key, value);
        if n % 5 == 0 {
            let key = format!("k{:04}", n * 3 % 600);
            let mut transaction = database.begin();
            transaction.delete(keyspace, key.as_bytes());
            transaction.commit().unwrap();
            rows.remove(&key);
        }
        if n < 830 {
            database.tick().unwrap();
        }
    }
    // A crash: what is behind the files is in the journal.
    let version = database.current_version();
    drop(database);
    (version, rows)
}

/// Every file, with its bytes.
fn image(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(image(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    image(&dir.join(ENGINE).join("tables")).into_keys().collect()
}

fn blobs(dir: &Path) -> Vec<PathBuf> {
    image(&dir.join(ENGINE).join("blobs")).into_keys().collect()
}

fn shown(past: &Past) -> BTreeMap<String, String> {
    let keyspace = past.keyspace("rows").unwrap().unwrap();
    let rows = past.scan(keyspace, ALL, usize::MAX).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    rows.iter().map(|row| (text(&row.key), text(&row.value))).collect()
}

fn exported(out: &Path) -> BTreeMap<String, String> {
    // Its name may be lost.
    let named = [out.join("rows.jsonl"), out.join("keyspace-1.jsonl")];
    let file = named.iter().find(|file| file.exists()).unwrap();
    let lines = std::fs::read_to_string(file).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines.map(|line| (text(&line["key"]), text(&line["value"]))).collect()
}

/// Nothing that looks changes a byte, and each sees the whole state.
#[test]
fn looking_at_files_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let (version, rows) = made(&dir);
    let before = image(&dir);
    let env = Env::real();
    let code = verify(&dir, &env).unwrap().code;
    assert!([0, 3].contains(&code), "{code}");
    assert_eq!(dry_run(&dir, &options(None), &env).unwrap().code, code);
    let info = store_info(&dir, &env).unwrap();
    assert!(info.checkpoints.iter().all(|one| one.wrong.is_none()), "{info:?}");
    let past = Past::open(&dir, PastOptions::default(), &env).unwrap();
    assert_eq!((past.version(), shown(&past)), (version, rows.clone()));
    drop(past);
    let out = place.path().join("out");
    let salvaged = salvage(&dir, &out, &env).unwrap();
    assert!(salvaged.whole, "{:?}", salvaged.unreadable);
    assert_eq!((salvaged.version, exported(&out)), (version, rows));
    let error = plan_repair(&dir, &RepairOptions::default(), &env).unwrap_err();
    assert!(matches!(&error, Error::Invalid(_)), "{error:?}");
    assert_eq!(image(&dir), before);
}

/// The past goes back to where the files stand, and no further.
#[test]
fn the_past_begins_where_the_files_stand() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let (version, _) = made(&dir);
    let at = |until| {
        let options = PastOptions { until_version: Some(until), run: None };
        Past::open(&dir, options, &Env::real()).map(|past| past.version())
    };
    assert_eq!(at(version - 50).unwrap(), version - 50);
    let Err(Error::Compacted { asked: 10, oldest }) = at(10) else { panic!("it is gone") };
    assert!(oldest > 10 && oldest < version);
    assert_eq!(at(oldest).unwrap(), oldest);
    assert!(matches!(at(oldest - 1), Err(Error::Compacted { .. })));
    assert!(matches!(at(version + 1), Err(Error::Invalid(_))));
}

/// Every byte of every file counts; what is whole is salvaged, with the values of then or now, and
/// of a value that is lost in a blob file nothing older is passed off as it.
#[test]
fn damage_is_told_and_the_rest_is_salvaged() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let (version, rows) = made(&dir);
    let env = Env::real();
    let (tables, blobs) = (tables(&dir), blobs(&dir));
    assert!(!tables.is_empty() && !blobs.is_empty());
    for (number, path) in tables.iter().chain(&blobs).enumerate() {
        let len = std::fs::metadata(path).unwrap().len() as usize;
        let name = path.strip_prefix(dir.join(ENGINE)).unwrap().to_str().unwrap();
        let file = format!("{ENGINE}/{name}");
        for (way, at) in [0, 40, len / 3, len / 2, len - 200, len - 1].into_iter().enumerate() {
            let what = format!("{name} of {len} bytes at {at}");
            let copy = place.path().join(format!("copy-{number}-{way}"));
            copied(&dir, &copy);
            let harmed = copy.join(&file);
            let mut bytes = std::fs::read(&harmed).unwrap();
            bytes[at] ^= 0x10;
            std::fs::write(&harmed, bytes).unwrap();
            let before = image(&copy);
            let report = verify(&copy, &env).unwrap();
            let found = report.findings().find(|it| it.label.0 == "engine-6");
            assert_eq!(report.code, 65, "{what}");
            assert_eq!(found.map(|it| &it.place.file), Some(&file), "{what}");
            let out = place.path().join(format!("out-{number}-{way}"));
            let salvaged = salvage(&copy, &out, &env).unwrap();
            assert!(!salvaged.whole, "{what}");
            assert!(salvaged.unreadable.iter().any(|it| it.contains(&file)), "{what}");
            assert_eq!(salvaged.version, version, "{what}");
            let read = exported(&out);
            let kept = rows.iter().filter(|(key, value)| read.get(*key) == Some(value)).count();
            assert!(kept * 2 >= rows.len(), "{what}: {kept} of {}", rows.len());
            if number >= tables.len() {
                let same = read.iter().all(|(key, value)| rows.get(key) == Some(value));
                assert!(same && kept + 2 >= rows.len(), "{what}: {kept} of {}", rows.len());
                let lost = salvaged.unreadable.iter().any(|it| it.contains("rows are left out"));
                assert!(lost || kept == rows.len(), "{what}: {:?}", salvaged.unreadable);
            }
            assert_eq!(image(&copy), before, "{what}");
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
}

/// Without a manifest, or without a table, the rest is still there.
#[test]
fn lost_files_leave_the_others() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let (version, rows) = made(&dir);
    let lost = [tables(&dir), blobs(&dir)].map(|mut files| files.pop().unwrap());
    let [table, blob] =
        lost.map(|it| it.strip_prefix(dir.join(ENGINE)).unwrap().display().to_string());
    let lost = ["current".to_owned(), table, blob];
    for (number, file) in lost.iter().enumerate() {
        let copy = place.path().join(format!("copy-{number}"));
        copied(&dir, &copy);
        std::fs::remove_file(copy.join(ENGINE).join(file)).unwrap();
        assert_eq!(verify(&copy, &Env::real()).unwrap().code, 65, "{file}");
        let out = place.path().join(format!("out-{number}"));
        let salvaged = salvage(&copy, &out, &Env::real()).unwrap();
        assert!(!salvaged.whole && salvaged.version == version, "{file}: {salvaged:?}");
        let read = exported(&out);
        // All that was written behind the files is in the journal.
        assert!(!read.is_empty(), "{file}");
        if number == 0 {
            assert!(rows.iter().all(|(key, value)| read.get(key) == Some(value)), "{file}");
        }
    }
}

/// A range of the journal that is given up leaves the rows in the files.
#[test]
fn a_repair_keeps_what_is_in_files() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let (version, _) = made(&dir);
    let journal = dir.join("shards/0/journal");
    let segments: Vec<PathBuf> = image(&journal).into_keys().collect();
    let mut accept = Vec::new();
    for segment in segments.iter().rev() {
        let whole = std::fs::read(segment).unwrap();
        let mut bytes = whole.clone();
        bytes[20_000] ^= 1;
        std::fs::write(segment, bytes).unwrap();
        let report = verify(&dir, &Env::real()).unwrap();
        let corrupt = report.findings().filter(|it| it.label.0.starts_with("journal-"));
        accept =
            corrupt.filter(|it| it.place.to > 0).map(|it| it.place.from..it.place.to).collect();
        if report.code == 65 {
            break;
        }
        std::fs::write(segment, whole).unwrap();
    }
    assert!(!accept.is_empty(), "a range behind the files is damaged");
    let options =
        RepairOptions { accept, who: "w".into(), reason: "r".into(), program: "p".into() };
    let planned = plan_repair(&dir, &options, &Env::real()).unwrap();
    let repaired = rekindle_database::repair(&dir, &options, &Env::real()).unwrap();
    assert_eq!(planned.losses, repaired.losses);
    assert!(!repaired.losses.is_empty() && repaired.version >= version);
    let database: Database = open(&dir, None).unwrap();
    assert_eq!(database.current_version(), repaired.version);
    assert!(get(&database, KeyspaceId(1), "k0007").is_some());
    put(&database, KeyspaceId(1), "more", "1");
    database.checkpoint().unwrap();
    database.close().unwrap();
    assert_eq!(verify(&dir, &Env::real()).unwrap().code, 0);
}

/// Helpers of this file find what they harm.
#[test]
fn blocks_are_found() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    made(&dir);
    assert!(tables(&dir).iter().any(|table| harm_block(table, 1)));
    assert_eq!(verify(&dir, &Env::real()).unwrap().code, 65);
}
