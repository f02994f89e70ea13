//! A store that was rolled back to a copy gives its numbers a second time: its backups go to
//! another directory, and what was backed up before stays as it was.

use std::path::{Path, PathBuf};

use rekindle_database::{Database, Error, Kind, Manifest, Moment, verify_backup};
use rekindle_env::{Fault, FaultError, Image, OperationKind, SimulatedDisk};

use super::{BACKUPS, RESTORED, back_up, bring_back};
use crate::support::{around, open, put, simulated};

/// The files below a directory, and their bytes.
fn below(image: &Image, dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = dir.trim_start_matches('/');
    let files = image.files().into_iter().filter(|(path, _)| path.starts_with(dir));
    files.map(|(path, _)| (path.clone(), image.read(path).unwrap())).collect()
}

/// The store of one moment beside the backups of another.
fn mix(store: &Image, backups: &Image) -> SimulatedDisk {
    let mut image = Image::new();
    for dir in store.directories().iter().chain(&backups.directories()) {
        image.create_dir_all(dir).unwrap();
    }
    for (path, bytes) in below(store, "/store").into_iter().chain(below(backups, BACKUPS)) {
        image.write_file(path, &bytes).unwrap();
    }
    SimulatedDisk::from_image(image, 1)
}

fn write(database: &Database, name: &str, count: usize) {
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..count {
        put(database, keyspace, &format!("{name}{n:02}"), &name.repeat(20_000));
    }
}

/// Backups of a store that goes on behind the moment at which its directory was copied.
struct Scene {
    copy: Image,
    backups: Image,
    last: Manifest,
    hash: u128,
}

/// `behind`: what happens behind the copy. Files are copied, as to another disk.
fn scene(behind: impl Fn(&Database)) -> Scene {
    let (disk, env, _) = simulated(31);
    let error = FaultError::Kind(std::io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    let database = open(&env);
    write(&database, "a", 4);
    back_up(&database);
    let copy = disk.image();
    behind(&database);
    let last = back_up(&database).manifest;
    let hash = database.state_hash();
    Scene { copy, backups: disk.image(), last, hash }
}

/// A backup is refused, no byte of the directory is changed, and the last backup comes back.
fn is_refused(scene: &Scene, go_on: impl Fn(&Database), what: &str) -> String {
    let disk = mix(&scene.copy, &scene.backups);
    let (env, _) = around(&disk, 2);
    let database = open(&env);
    go_on(&database);
    let error = database.backup(Path::new(BACKUPS)).unwrap_err();
    assert!(matches!(error, Error::Diverged(_)), "{what}: {error}");
    assert_eq!((error.kind(), error.exit_code()), (Kind::Conflict, 1));
    let text = error.to_string();
    assert!(text.contains("name another directory"), "{what}: {text}");
    assert_eq!(below(&disk.image(), BACKUPS), below(&scene.backups, BACKUPS), "{what}");
    assert_eq!(verify_backup(Path::new(BACKUPS), &env).unwrap().findings, [], "{what}");
    let back = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!((back.version, back.state_hash), (scene.last.version, scene.hash), "{what}");
    // It goes on elsewhere, with everything that it needs.
    let other = database.backup(Path::new("/others")).unwrap();
    assert_eq!(other.manifest.version, database.current_version());
    text
}

#[test]
fn a_store_that_was_rolled_back_hurts_no_newer_backup() {
    let scene = scene(|database| {
        write(database, "b", 8);
        back_up(database);
        database.checkpoint().unwrap();
        write(database, "c", 4);
    });
    let behind = is_refused(&scene, |_| (), "at once");
    assert!(behind.contains("ahead of this store"), "{behind}");
    // Until it has passed everything that the backups know: then their files tell.
    let passed = |database: &Database| {
        let position = |database: &Database| database.stats().durable_position;
        while position(database) <= scene.last.position {
            write(database, "d", 2);
        }
        write(database, "e", 40);
    };
    let other = is_refused(&scene, passed, "passed");
    assert!(other.contains("names another journal/"), "{other}");
    let checkpoints = |database: &Database| {
        passed(database);
        database.checkpoint().unwrap();
    };
    is_refused(&scene, checkpoints, "passed, with a checkpoint of the same number");
}

/// The same checkpoint number, version, position and length, with other rows in it.
#[test]
fn a_checkpoint_of_another_history_is_told_by_its_rows() {
    let scene = scene(|database| {
        let keyspace = database.keyspace("things").unwrap();
        put(database, keyspace, "b", "1");
        database.checkpoint().unwrap();
    });
    // The segments of the backup that is left say nothing: the directory looks as if only the
    // checkpoint were there of the one in flight.
    let mut backups = scene.backups.clone();
    backups.remove(format!("{BACKUPS}/backups/2.json")).unwrap();
    let disk = mix(&scene.copy, &backups);
    let (env, _) = around(&disk, 2);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "b", "2");
    database.checkpoint().unwrap();
    let (hash, version) = (database.state_hash(), database.current_version());
    let backup = back_up(&database);
    assert_eq!(backup.manifest.version, version);
    assert_eq!(verify_backup(Path::new(BACKUPS), &env).unwrap().findings, []);
    let back = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!((back.version, back.state_hash), (version, hash), "a leftover is not its own");
}

/// Where a manifest cannot be read nobody knows whose a file is, and it stays.
#[test]
fn what_a_damaged_manifest_may_name_stays() {
    let mut scene = scene(|database| write(database, "b", 8));
    scene.backups.flip(format!("{BACKUPS}/backups/2.json"), 4_000).unwrap();
    let disk = mix(&scene.copy, &scene.backups);
    let (env, _) = around(&disk, 2);
    let database = open(&env);
    write(&database, "d", 8);
    let error = database.backup(Path::new(BACKUPS)).unwrap_err();
    assert!(matches!(error, Error::Diverged(_)), "{error}");
    assert!(error.to_string().contains("backups/2.json cannot be read"), "{error}");
    for (path, bytes) in below(&scene.backups, BACKUPS) {
        assert_eq!(disk.image().read(&path).unwrap(), bytes, "{}", path.display());
    }
}

/// Two histories that got into one directory before: verify says so, prune removes nothing.
#[test]
fn manifests_that_disagree_about_a_file_are_found() {
    let scene = scene(|database| write(database, "b", 8));
    let disk = mix(&scene.copy, &scene.backups);
    let (env, _) = around(&disk, 2);
    let database = open(&env);
    write(&database, "d", 8);
    // The other history's backups, beside the first one of both, laid over these.
    let mut second = disk.image();
    second.remove("/backups/backups/2.json").unwrap();
    for segment in &scene.last.segments {
        if below(&scene.copy, BACKUPS).iter().all(|(path, _)| !path.ends_with(&segment.file)) {
            second.remove(format!("{BACKUPS}/{}", segment.file)).unwrap();
        }
    }
    drop(database);
    let alone = SimulatedDisk::from_image(second, 1);
    let (env, _) = around(&alone, 2);
    let database = open(&env);
    let taken = back_up(&database);
    assert_eq!(taken.manifest.number, 2);
    let mut image = alone.image();
    let three = scene.backups.read(format!("{BACKUPS}/backups/2.json")).unwrap();
    let text = String::from_utf8(three).unwrap().replace("\"number\": 2", "\"number\": 3");
    image.write_file(format!("{BACKUPS}/backups/3.json"), &summed(&text)).unwrap();
    let disk = SimulatedDisk::from_image(image, 1);
    let (env, _) = around(&disk, 2);
    let report = verify_backup(Path::new(BACKUPS), &env).unwrap();
    let told = report.findings.iter().filter(|finding| finding.found.contains("two histories"));
    let told: Vec<_> = told.map(|finding| finding.file.as_str()).collect();
    assert!(!told.is_empty() && told.iter().all(|file| *file == "backups/3.json"), "{report:?}");
    let whole: Vec<bool> = report.backups.iter().map(|(_, whole)| *whole).collect();
    assert_eq!((whole, report.code()), (vec![true, true, false], 65));
    let error = rekindle_database::prune_backups(Path::new(BACKUPS), 2, &env).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
}

/// A manifest with the right checksum.
fn summed(text: &str) -> Vec<u8> {
    let at = text.find("\"crc32c\": \"").unwrap() + 11;
    let mut bytes = text.as_bytes().to_vec();
    bytes[at..at + 8].fill(b'0');
    let sum = format!("{:08x}", crc32c::crc32c(&bytes));
    bytes[at..at + 8].copy_from_slice(sum.as_bytes());
    bytes
}
