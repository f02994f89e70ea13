//! Damage in a backup is named, or it is harmless; it is never restored silently.

use std::path::Path;

use rekindle_database::{Error, Kind, Moment, verify_backup};
use rekindle_env::{Image, SimulatedDisk};

use super::{BACKUPS, RESTORED, back_up, bring_back};
use crate::support::{around, open, put, simulated};

/// Two backups, and the state of the second.
fn prepared() -> (Image, u128) {
    let (disk, env, _) = simulated(5);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..8 {
        put(&database, keyspace, &format!("a{n}"), &"x".repeat(300));
    }
    back_up(&database);
    for n in 0..8 {
        put(&database, keyspace, &format!("b{n}"), &"y".repeat(300));
    }
    back_up(&database);
    let hash = database.state_hash();
    let mut image = disk.image();
    image.remove("/store").unwrap();
    (image, hash)
}

/// What `backup verify` and a restore say of a damaged directory.
fn judge(image: Image, file: &str, hash: u128, what: &str) -> bool {
    let disk = SimulatedDisk::from_image(image, 1);
    let (env, _) = around(&disk, 1);
    let report = verify_backup(Path::new(BACKUPS), &env).unwrap_or_else(|e| panic!("{what}: {e}"));
    let named = report.findings.iter().any(|finding| file.ends_with(&finding.file));
    assert_eq!(named, !report.findings.is_empty(), "{what}: {:?}", report.findings);
    assert_eq!(report.code(), if named { 65 } else { 0 });
    match bring_back(&env, RESTORED, Moment::Newest) {
        Ok(restored) => assert_eq!(restored.state_hash, hash, "{what}"),
        Err(error) => {
            assert!(named, "{what}: {error}");
            assert_eq!((error.kind(), error.exit_code()), (Kind::Corrupt, 65), "{what}: {error}");
            assert!(matches!(&error, Error::Damaged(_)), "{what}: {error}");
        }
    }
    named
}

#[test]
fn every_bit_flip_is_named_or_harmless() {
    let (image, hash) = prepared();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut named, mut harmless) = (0, 0);
    for (path, len) in image.files() {
        let file = path.to_string_lossy().into_owned();
        let bits: Vec<u64> = if file.ends_with(".json") {
            (0..200).map(|_| random.u64(0..len * 8)).collect()
        } else {
            let used = len.min(4_096 + 9_000);
            (0..60).map(|_| random.u64(0..used * 8)).chain([len * 8 - 1]).collect()
        };
        for bit in bits {
            let mut damaged = image.clone();
            damaged.flip(&path, bit).unwrap();
            let found = judge(damaged, &file, hash, &format!("bit {bit} of {file}"));
            assert!(found || !file.ends_with(".json"), "bit {bit} of {file}");
            named += usize::from(found);
            harmless += usize::from(!found);
        }
    }
    assert!(named > 400 && harmless > 2, "{named} named, {harmless} harmless");
}

#[test]
fn missing_short_and_exchanged_files_are_named() {
    let (image, hash) = prepared();
    let files: Vec<(String, u64)> =
        image.files().into_iter().map(|(path, len)| (path.display().to_string(), len)).collect();
    for (file, len) in &files {
        let mut gone = image.clone();
        gone.remove(file).unwrap();
        // A manifest that is gone is no backup; the other one is restored.
        if !file.ends_with(".json") {
            assert!(judge(gone, file, hash, &format!("{file} gone")), "{file}");
        }
        for short in [0, len / 2, len - 1] {
            let mut cut = image.clone();
            cut.truncate(file, short).unwrap();
            assert!(judge(cut, file, hash, &format!("{file} cut to {short}")), "{file}");
        }
        for (other, _) in files.iter().filter(|(other, _)| other > file) {
            let mut swapped = image.clone();
            swapped.swap(file, other).unwrap();
            let disk = SimulatedDisk::from_image(swapped, 1);
            let (env, _) = around(&disk, 1);
            assert_eq!(verify_backup(Path::new(BACKUPS), &env).unwrap().code(), 65);
        }
    }
}

/// What is damaged in a backup's directory is brought again by the next backup that needs it.
#[test]
fn the_next_backup_makes_its_files_whole_again() {
    let (disk, env, _) = simulated(6);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    database.checkpoint().unwrap();
    put(&database, keyspace, "a", "2");
    let error = rekindle_env::FaultError::Kind(std::io::ErrorKind::CrossesDevices);
    let no_links = rekindle_env::Fault::error(rekindle_env::OperationKind::HardLink, error);
    disk.inject(no_links.forever());
    let first = back_up(&database);
    let segment = format!("/backups/{}", first.manifest.segments[0].file);
    let checkpoint = format!("/backups/{}", first.manifest.checkpoint.file);
    disk.flip_bit(&segment, 4_200, 3).unwrap();
    disk.flip_bit(&checkpoint, 600, 3).unwrap();
    assert_eq!(verify_backup(Path::new(BACKUPS), &env).unwrap().findings.len(), 2);
    put(&database, keyspace, "b", "1");
    let second = back_up(&database);
    assert!(second.copied >= 2, "{second:?}");
    assert_eq!(verify_backup(Path::new(BACKUPS), &env).unwrap().findings.len(), 0);
    let at = Moment::Position(first.manifest.position);
    assert_eq!(bring_back(&env, "/r1", at).unwrap().version, first.manifest.version);
}

/// A store whose own file is damaged gets no backup, and is told.
#[test]
fn damage_in_the_store_is_not_backed_up() {
    let (disk, env, _) = simulated(7);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    database.checkpoint().unwrap();
    put(&database, keyspace, "b", "1");
    disk.flip_bit("/store/shards/0/journal/0000000000000001", 4_300, 0).unwrap();
    let error = database.backup(Path::new(BACKUPS)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.to_string().contains("journal/0000000000000001"), "{error}");
    assert_eq!(verify_backup(Path::new(BACKUPS), &env).unwrap_err().exit_code(), 78);
    assert_eq!(database.poisoned(), None);
}
