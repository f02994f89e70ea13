//! Files and links where the store's directories should be, on a real disk.
#![allow(clippy::disallowed_methods, reason = "the damage is done behind the store's back")]

use std::path::Path;

use rekindle_database::{Database, Error, Report, dry_run, salvage, verify};
use rekindle_env::Env;

use crate::support::{get, put, quiet};

fn code(seen: &Result<Report, Error>) -> i32 {
    seen.as_ref().map_or_else(Error::exit_code, |report| report.code)
}

/// What stands in the place of the directory; a link leads to a file, or nowhere.
const SORTS: [&str; 3] = ["file", "link", "dead link"];

/// A store in `dir` with four rows and this many checkpoints, and `part` of it moved away.
fn without(dir: &Path, checkpoints: u32, part: &str, sort: &str) {
    let store = dir.join("store");
    let database = Database::open_with(&store, quiet(), Env::real()).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    let long = "x".repeat(30_000);
    for n in 0..12 {
        put(&database, keyspace, &format!("k{n}"), &long);
        if n % 4 == 3 && n / 4 < checkpoints {
            database.checkpoint().unwrap();
        }
    }
    database.close().unwrap();
    drop(database);
    let place = store.join("shards/0").join(part);
    if place.exists() {
        std::fs::rename(&place, dir.join("aside")).unwrap();
    }
    std::fs::write(dir.join("other"), b"mine").unwrap();
    match sort {
        "file" => std::fs::write(&place, b"mine").unwrap(),
        "link" => std::os::unix::fs::symlink(dir.join("other"), &place).unwrap(),
        _ => std::os::unix::fs::symlink(dir.join("nowhere"), &place).unwrap(),
    }
}

/// Where the journal has everything it is set aside and the directory is made anew; where it has
/// not, the start is refused and what stands there stays. `verify` and the plan say the same.
///
/// produces: engine-13
/// fault: S13
#[test]
fn something_else_in_the_place_of_the_checkpoints() {
    for (checkpoints, healed) in [(0, true), (1, true), (3, false)] {
        for sort in SORTS {
            let dir = tempfile::tempdir().unwrap();
            without(dir.path(), checkpoints, "checkpoints", sort);
            let (store, env) = (dir.path().join("store"), Env::real());
            let place = store.join("shards/0/checkpoints");
            let what = format!("{checkpoints} checkpoints, {sort}");
            let said = [verify(&store, &env), dry_run(&store, &quiet(), &env)];
            let opened = Database::open_with(&store, quiet(), env.clone());
            if !healed {
                let error = opened.unwrap_err();
                assert_eq!([code(&said[0]), code(&said[1]), error.exit_code()], [65; 3], "{what}");
                assert!(std::fs::symlink_metadata(&place).is_ok(), "{what}: it stays");
                continue;
            }
            for seen in &said {
                let seen = seen.as_ref().unwrap();
                assert_eq!(seen.code, 4, "{what}");
                let finding = seen.findings().find(|it| it.label.0 == "engine-13").unwrap();
                assert_eq!(finding.place.file, "shards/0/checkpoints");
            }
            let database = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            let keyspace = database.keyspace("things").unwrap();
            assert!(get(&database, keyspace, "k11").is_some(), "{what}");
            put(&database, keyspace, "after", "1");
            database.checkpoint().unwrap();
            database.close().unwrap();
            drop(database);
            assert!(std::fs::symlink_metadata(&place).unwrap().is_dir(), "{what}");
            assert_eq!(std::fs::read_dir(store.join("quarantine")).unwrap().count(), 1, "{what}");
            assert_eq!(code(&verify(&store, &env)), 0, "{what}");
            assert_eq!(std::fs::read(dir.path().join("other")).unwrap(), b"mine");
        }
    }
}

/// Without its journal a store is refused as corrupt, and what its checkpoint holds is salvaged.
///
/// produces: store-13
/// fault: S13
#[test]
fn something_else_in_the_place_of_the_journal() {
    for sort in SORTS {
        let dir = tempfile::tempdir().unwrap();
        without(dir.path(), 2, "journal", sort);
        let (store, env) = (dir.path().join("store"), Env::real());
        let said = [verify(&store, &env), dry_run(&store, &quiet(), &env)];
        let error = Database::open_with(&store, quiet(), env.clone()).unwrap_err();
        assert_eq!([code(&said[0]), code(&said[1]), error.exit_code()], [65; 3], "{sort}");
        let Error::Corrupt(report) = &error else { panic!("{sort}: {error}") };
        assert!(report.findings().any(|it| it.label.0 == "store-13"), "{sort}: {error}");
        let out = dir.path().join("out");
        let salvaged = salvage(&store, &out, &env).unwrap();
        let rows: u64 = salvaged.files.iter().map(|file| file.rows).sum();
        assert!(rows >= 8, "{sort}: {salvaged:?}");
        assert!(salvaged.unreadable.iter().any(|it| it.contains("shards/0/journal: no directory")));
    }
}

/// A link that leads to the directory is as good as the directory.
#[test]
fn a_link_to_the_directory_is_followed() {
    for part in ["journal", "checkpoints"] {
        let dir = tempfile::tempdir().unwrap();
        without(dir.path(), 2, part, "file");
        let (store, env) = (dir.path().join("store"), Env::real());
        let place = store.join("shards/0").join(part);
        std::fs::remove_file(&place).unwrap();
        std::os::unix::fs::symlink(dir.path().join("aside"), &place).unwrap();
        assert_eq!(code(&verify(&store, &env)), 0, "{part}");
        let database = Database::open_with(&store, quiet(), env).unwrap();
        put(&database, database.keyspace("things").unwrap(), "after", "1");
        database.close().unwrap();
    }
}
