//! Directories and links where files should be, on a real disk.
#![allow(clippy::disallowed_methods, reason = "the damage is done behind the store's back")]

use std::path::Path;

use rekindle_database::{Database, Error, dry_run, verify};
use rekindle_env::Env;

use crate::support::{put, quiet};

/// A directory or a link in the place of a file is judged, never followed and never an I/O error;
/// `verify`, the dry run and a start agree, and after a start the store is whole again.
///
/// fault: S13
#[test]
fn what_is_no_file_is_judged_alike_by_all() {
    let whole = tempfile::tempdir().unwrap();
    let env = Env::real();
    let path = whole.path().join("store");
    for round in 0..3 {
        let database = Database::open_with(&path, quiet(), env.clone()).unwrap();
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..4 {
            put(&database, keyspace, &format!("{round} {n}"), "1");
        }
        if round > 0 {
            database.checkpoint().unwrap();
        }
        database.close().unwrap();
    }
    let mut files = Vec::new();
    collect(&path, Path::new(""), &mut files);
    assert_eq!(files.len(), 8, "{files:?}");
    let (mut healed, mut refused) = (0, 0);
    for file in &files {
        for link in [false, true] {
            let copy = tempfile::tempdir().unwrap();
            let store = copy.path().join("store");
            copy_tree(&path, &store);
            let place = store.join(file);
            let aside = copy.path().join("aside");
            std::fs::rename(&place, &aside).unwrap();
            if link {
                std::os::unix::fs::symlink(&aside, &place).unwrap();
            } else {
                std::fs::create_dir(&place).unwrap();
            }
            let code = |seen: Result<rekindle_database::Report, Error>| {
                seen.map_or_else(|error| error.exit_code(), |report| report.code)
            };
            let verified = code(verify(&store, &env));
            let planned = code(dry_run(&store, &quiet(), &env));
            let opened = Database::open_with(&store, quiet(), env.clone());
            let at = format!("{} (link: {link})", file.display());
            match opened {
                Ok(database) => {
                    assert!([0, 4].contains(&verified), "{at}: verify says {verified}");
                    assert!([0, 4].contains(&planned), "{at}: the plan says {planned}");
                    let keyspace = database.keyspace("things").unwrap();
                    put(&database, keyspace, "after", "1");
                    database.checkpoint().unwrap();
                    put(&database, keyspace, "after", "2");
                    database.checkpoint().unwrap();
                    database.close().unwrap();
                    drop(database);
                    assert_eq!(code(verify(&store, &env)), 0, "{at}: repaired");
                    healed += 1;
                }
                Err(error) => {
                    assert_eq!(
                        (verified, planned),
                        (error.exit_code(), error.exit_code()),
                        "{at}: {error}"
                    );
                    assert_eq!(verified, 65, "{at}: {error}");
                    assert!(error.to_string().contains(file.to_str().unwrap()), "{at}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(healed >= 8 && refused >= 1, "{healed} healed, {refused} refused");
}

/// A file or a link where things are set aside is moved away: nothing goes through it; `verify`,
/// the dry run and a start agree, and the store serves on.
///
/// fault: S13
#[test]
fn the_quarantine_may_be_no_folder() {
    let env = Env::real();
    for link in [None, Some("elsewhere"), Some("nowhere")] {
        for taken in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let store = dir.path().join("store");
            let database = Database::open_with(&store, quiet(), env.clone()).unwrap();
            let keyspace = database.keyspace("things").unwrap();
            put(&database, keyspace, "a", "1");
            database.close().unwrap();
            drop(database);
            let place = store.join("quarantine");
            std::fs::remove_dir(&place).unwrap();
            let elsewhere = dir.path().join("elsewhere");
            std::fs::create_dir(&elsewhere).unwrap();
            match link {
                None => std::fs::write(&place, b"mine").unwrap(),
                Some(to) => std::os::unix::fs::symlink(dir.path().join(to), &place).unwrap(),
            }
            if taken {
                std::fs::write(store.join("quarantine.1"), b"taken").unwrap();
            }
            // A segment that never served, and a directory in the place of a file.
            std::fs::write(store.join("shards/0/journal/00000000000000ff"), b"stray").unwrap();
            std::fs::remove_file(store.join("shards/0/tip")).unwrap();
            std::fs::create_dir(store.join("shards/0/tip")).unwrap();
            let verified = verify(&store, &env).unwrap().code;
            let planned = dry_run(&store, &quiet(), &env).unwrap().code;
            let database = Database::open_with(&store, quiet(), env.clone()).unwrap();
            assert_eq!([verified, planned, database.report().code], [4, 4, 4]);
            put(&database, database.keyspace("things").unwrap(), "b", "1");
            database.close().unwrap();
            drop(database);
            assert_eq!(std::fs::read_dir(&place).unwrap().count(), 2, "both are here");
            assert!(std::fs::symlink_metadata(&place).unwrap().is_dir());
            assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "no link is followed");
            let aside = store.join(if taken { "quarantine.2" } else { "quarantine.1" });
            let found = std::fs::symlink_metadata(aside).unwrap();
            assert_eq!(found.is_symlink(), link.is_some());
            assert_eq!(verify(&store, &env).unwrap().code, 0);
        }
    }
}

/// All files below a directory, relative to it.
fn collect(root: &Path, below: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path);
        }
    }
    files.sort();
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
