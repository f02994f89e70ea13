//! The scrub on the lsm engine: its files are read too. A table that rots cannot be replaced from
//! memory, a manifest can.
#![allow(
    clippy::disallowed_methods,
    reason = "crashes and damage are made behind the store's back"
)]

use std::path::{Path, PathBuf};

use rekindle_database::{Database, EngineKind, Env, Scrub, scrub_advice, verify};
use rekindle_recovery::{Verdict, exit};

use crate::lsm::{copied, open};
use crate::support::put;

const ENGINE: &str = "shards/0/engine";

/// A store with tables and blob files.
fn made(dir: &Path) -> Database {
    let database = open(dir, Some(EngineKind::Lsm)).unwrap();
    let keyspace = database.keyspace("rows").unwrap();
    for n in 0..400_u64 {
        let long = "x".repeat(if n % 2 == 0 { 100 } else { 700 });
        put(&database, keyspace, &format!("k{n:04}"), &long);
        database.tick().unwrap();
    }
    database.checkpoint().unwrap();
    database
}

fn files(dir: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join(ENGINE).join(kind)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

fn found(scrub: &Scrub) -> Vec<(&'static str, Option<Verdict>, String)> {
    scrub.findings.iter().map(|it| (it.label.0, it.verdict, it.place.file.clone())).collect()
}

#[test]
fn every_file_of_the_engine_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let database = made(&dir.path().join("store"));
    let scrub = database.scrub().unwrap();
    assert_eq!(scrub.findings, vec![]);
    let store = dir.path().join("store");
    let (tables, blobs) = (files(&store, "tables"), files(&store, "blobs"));
    assert!(!tables.is_empty() && !blobs.is_empty());
    // Behind the checkpoints and the segments, and what names the manifest.
    assert!(scrub.files as usize > tables.len() + blobs.len() + 1, "{scrub:?}");
    let bytes: u64 = blobs.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes > 100_000 && scrub.bytes > bytes, "{scrub:?}");
}

/// Nothing else holds the rows of a table or the values of a blob file: the damage is told, with
/// what to do, and stays until the file is in use no longer.
///
/// produces: scrub-7
/// fault: S9
#[test]
fn a_damaged_table_is_told() {
    for kind in ["tables", "blobs"] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let database = made(&store);
        let path = files(&store, kind).remove(0);
        flip(&path);
        let file = format!("{ENGINE}/{kind}/{}", path.file_name().unwrap().to_str().unwrap());
        for _ in 0..2 {
            let scrub = database.scrub().unwrap();
            let expected = vec![("scrub-7", Some(Verdict::Corrupt), file.clone())];
            assert_eq!(found(&scrub), expected, "{scrub:?}");
            let finding = &scrub.findings[0];
            assert!(finding.expected.starts_with("checksum "), "{finding}");
            assert!(scrub_advice(finding).contains("rekindle salvage"), "{finding}");
        }
        std::fs::remove_file(&path).unwrap();
        let scrub = database.scrub().unwrap();
        assert_eq!(scrub.findings[0].found, "no file");
    }
}

/// A start would be refused, and the process knows what the manifest says: it writes another one.
///
/// produces: scrub-6
/// fault: S9
#[test]
fn a_damaged_manifest_is_written_anew() {
    for harm in ["flip the manifest", "flip current", "remove the manifest", "remove current"] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let database = made(&store);
        let manifests = files(&store, "");
        let named = |path: &&PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with('v')
        };
        let newest = manifests
            .iter()
            .filter(named)
            .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
        match harm {
            "flip the manifest" => flip(newest.unwrap()),
            "flip current" => flip(&store.join(ENGINE).join("current")),
            "remove current" => std::fs::remove_file(store.join(ENGINE).join("current")).unwrap(),
            _ => std::fs::remove_file(newest.unwrap()).unwrap(),
        }
        let harmed = dir.path().join("harmed");
        copied(&store, &harmed);
        assert_eq!(verify(&harmed, &Env::real()).unwrap().code, exit::CORRUPT, "{harm}");
        let scrub = database.scrub().unwrap();
        let file = format!("{ENGINE}/current");
        assert_eq!(found(&scrub), vec![("scrub-6", Some(Verdict::Healed), file)], "{harm}");
        assert_eq!(database.scrub().unwrap().findings, vec![], "{harm}: all is well again");
        let hash = database.state_hash();
        let killed = dir.path().join("killed");
        copied(&store, &killed);
        drop(database);
        assert_eq!(open(&killed, None).unwrap().state_hash(), hash, "{harm}");
    }
}
