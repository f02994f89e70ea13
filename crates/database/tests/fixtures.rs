//! Frozen stores in every state of interest, in `fixtures/v1/states`: torn, healed, and one for
//! each label under which a start is refused. Every later version gives them the verdict that is
//! written beside them, opens those that open, and changes no byte of the others.
//!
//! A fixture is never edited: `fixtures/v1/CRC32C` has the length and checksum of each file. `make`
//! wrote them once and writes over none.

#![allow(clippy::disallowed_methods, reason = "fixtures are files of the repository")]

mod make;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rekindle_database::{Database, Error, Options, refusals, verify};
use rekindle_env::{Image, RealDisk, SimulatedDisk};
use rekindle_recovery::exit;
use serde_json::{Value, json};

use crate::support::{ALL, around, quiet, rows};

const STORE: &str = "/store";

/// Refusals that no small directory has, and why.
const WITHOUT: [(&str, &str); 1] =
    [("database-13", "it takes 256 MiB of open transactions; tested on a bench of replay")];

fn v1() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v1")
}

fn states() -> PathBuf {
    v1().join("states")
}

/// The names of all fixtures.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(states()).unwrap();
    let mut names: Vec<String> =
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn expected(name: &str) -> Value {
    let text = std::fs::read(states().join(name).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A copy of a fixture on a disk of its own.
fn copy(name: &str) -> SimulatedDisk {
    SimulatedDisk::from_image(
        under_store(&Image::load(&RealDisk, &states().join(name).join("store")).unwrap()),
        1,
    )
}

/// The same files below [`STORE`]; a directory without a file is none: git keeps no such thing.
fn under_store(image: &Image) -> Image {
    let mut store = Image::new();
    for (path, _) in image.files() {
        let to = Path::new(STORE).join(path.strip_prefix("/").unwrap_or(&path));
        store.create_dir_all(to.parent().unwrap()).unwrap();
        store.write_file(&to, &image.read(&path).unwrap()).unwrap();
    }
    store
}

fn bytes(disk: &SimulatedDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let image = disk.image();
    let files = image.files().into_iter();
    files.map(|(path, _)| (path.clone(), image.read(&path).unwrap())).collect()
}

/// Everything that a store holds: keyspace 1, in which the fixtures have their rows.
fn content(database: &Database) -> Value {
    let snapshot = database.snapshot().unwrap();
    json!(rows(&snapshot.scan(rekindle_database::KeyspaceId(1), ALL, 1_000, false).unwrap()))
}

fn options() -> Options {
    Options { create: false, ..quiet() }
}

/// The verdict of each fixture is the one that is written beside it; what opens has its rows, and
/// goes on clean; what is refused stays as it is, byte for byte, and says which versions it needs.
///
/// proves: B1, D2
#[test]
fn every_state_has_its_verdict() {
    for name in names() {
        let (expected, disk) = (expected(&name), copy(&name));
        let (env, _) = around(&disk, 3);
        let before = bytes(&disk);
        let code = i32::try_from(expected["code"].as_i64().unwrap()).unwrap();
        let report = verify(STORE, &env).unwrap();
        assert_eq!(report.code, code, "{name}: {report:?}");
        let finding = report.findings().find(|it| expected["label"] == it.label.0);
        if let Some(finding) = finding {
            assert_eq!(expected["acked"], json!(finding.acked), "{name}: {finding}");
            assert_eq!(expected["verdict"], json!(finding.verdict), "{name}: {finding}");
        } else {
            let actions = report.layers.iter().flat_map(|layer| &layer.actions);
            let refusing = actions.into_iter().find(|it| expected["label"] == it.label.0);
            assert!(refusing.is_some() && code == exit::CONFIG, "{name}: {report:?}");
        }
        assert_eq!(bytes(&disk), before, "{name}: verify changes nothing");
        if [exit::TORN, exit::HEALED].contains(&code) {
            let database = Database::open_with(STORE, options(), env.clone()).unwrap();
            // What lies below the checkpoint is not looked at by a start, and stays until the next
            // ones pass it.
            let below = ["journal-6", "journal-12"].iter().any(|it| expected["label"] == *it);
            let opened = database.report().code;
            assert!(opened == code || below && opened == 0, "{name}: {opened}");
            assert!(content(&database) == expected["rows"], "{name}: {}", content(&database));
            database.close().unwrap();
            drop(database);
            let database = Database::open_with(STORE, options(), env).unwrap();
            let opened = database.report().code;
            assert!(opened == 0 || below && opened == code, "{name}: {opened}");
            assert!(content(&database) == expected["rows"], "{name}");
            continue;
        }
        let error = Database::open_with(STORE, options(), env).unwrap_err();
        assert_eq!(error.exit_code(), code, "{name}: {error}");
        assert!(code != exit::CORRUPT || matches!(error, Error::Corrupt(_)), "{name}: {error}");
        for word in expected["says"].as_array().unwrap() {
            let word = word.as_str().unwrap();
            assert!(error.to_string().contains(word), "{name}: {word:?} is missing in {error}");
        }
        assert_eq!(bytes(&disk), before, "{name}: a refused start changes nothing");
    }
}

/// A new refusal needs a fixture; so do the states that heal.
#[test]
fn every_refusal_has_a_fixture() {
    let labels: BTreeSet<String> =
        names().iter().map(|name| expected(name)["label"].as_str().unwrap().to_owned()).collect();
    let without: BTreeSet<&str> = WITHOUT.iter().map(|(label, _)| *label).collect();
    for label in refusals() {
        let (has, none) = (labels.contains(label.0), without.contains(label.0));
        assert!(has != none, "{label}: a fixture {has}, a reason to have none {none}");
    }
    for label in ["journal-1", "store-5", "meta-2", "engine-3", "engine-4", "journal-17"] {
        assert!(labels.contains(label), "{label}");
    }
}

/// Nobody edits a fixture, adds a file to one or takes one away.
#[test]
fn no_fixture_was_edited() {
    let listed = std::fs::read_to_string(v1().join("CRC32C")).unwrap();
    assert_eq!(listed, make::checksums(), "fixtures are frozen");
}

/// Writes the fixtures where there are none, and the list of checksums anew for what is new.
#[test]
#[ignore = "writes into the repository"]
fn make_the_fixtures() {
    make::all();
}
