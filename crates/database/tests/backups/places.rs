//! Where backups and restores may go, who may take one, and what happens when there is no room.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rekindle_database::{
    BACKUPS_MAX, Database, Error, Kind, Moment, list_backups, restore, verify_backup,
};
use rekindle_env::{
    Change, Disk, Fault, FaultError, Image, OperationKind, ReadDisk, SimulatedDisk, Watch, durable,
};

use super::{BACKUPS, RESTORED, back_up, bring_back, open_at};
use crate::support::{around, open, put, quiet, simulated};

#[test]
fn places_that_cannot_hold_a_backup_are_refused() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let refused = |to: &str| {
        let error = database.backup(Path::new(to)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{to}: {error}");
        error.to_string()
    };
    assert!(refused("/b").contains("empty"), "nothing was ever written");
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    assert!(refused("backups").contains("absolute"));
    assert!(refused("/x/../store").contains("absolute"));
    for inside in ["/store", "/store/backups", "/"] {
        assert!(refused(inside).contains("own directory"), "{inside}");
    }
    disk.create_dir(Path::new("/other")).unwrap();
    durable::create_file(&disk, Path::new("/other/notes"), b"mine").unwrap();
    assert!(refused("/other").contains("notes"));
    assert!(refused("/other/notes").contains("is a file"));
    assert_eq!(disk.list(Path::new("/other")).unwrap().len(), 1, "nothing was made there");
    // Another store's backups.
    back_up(&database);
    let other = Database::open_with(Path::new("/second"), quiet(), env.clone()).unwrap();
    let keyspace = other.keyspace("things").unwrap();
    put(&other, keyspace, "a", "1");
    let error = other.backup(Path::new(BACKUPS)).unwrap_err();
    assert!(error.to_string().contains("holds backups of store"), "{error}");
}

#[test]
fn places_that_cannot_hold_a_restore_are_refused() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let none = list_backups(Path::new("/none"), &env).unwrap_err();
    assert_eq!((none.exit_code(), none.kind()), (78, Kind::Configuration));
    assert_eq!(verify_backup(Path::new("/store"), &env).unwrap_err().exit_code(), 78);
    back_up(&database);
    durable::create_dir_all(&disk, Path::new("/full")).unwrap();
    durable::create_file(&disk, Path::new("/full/notes"), b"mine").unwrap();
    for to in ["/full", "/store", "/backups", "/backups/x", "/", "/full/notes"] {
        let before = disk.image();
        let error = bring_back(&env, to, Moment::Newest).unwrap_err();
        assert_eq!(error.exit_code(), 78, "{to}: {error}");
        assert_eq!(disk.image(), before, "{to}");
    }
    durable::create_dir_all(&disk, Path::new("/empty/lost+found")).unwrap();
    bring_back(&env, "/empty", Moment::Newest).unwrap();
    drop(open_at(&env, "/empty"));
    // It is full now.
    assert_eq!(bring_back(&env, "/empty", Moment::Newest).unwrap_err().exit_code(), 78);
}

/// Also by a way that leads through a link, and into a store that has nothing to do with it.
#[test]
fn nothing_is_written_inside_of_a_store_or_of_backups() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    back_up(&database);
    drop(Database::open_with(Path::new("/second"), quiet(), env.clone()).unwrap());
    for to in ["/second/x", "/second/x/y", "/second/shards/x", "/second/../backups/x"] {
        let before = disk.image();
        let error = bring_back(&env, to, Moment::Newest).unwrap_err();
        assert_eq!(error.exit_code(), 78, "{to}: {error}");
        assert!(error.to_string().contains("lies inside of the"), "{to}: {error}");
        if !to.contains("..") {
            let error = database.backup(Path::new(to)).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{to}: {error}");
        }
        assert_eq!(disk.image(), before, "{to}");
    }
    let error = database.backup(Path::new("/backups/inside")).unwrap_err();
    assert!(error.to_string().contains("the directory of backups"), "{error}");
}

/// On the machine's disk, with links that lead into both.
#[test]
#[allow(clippy::disallowed_methods, reason = "the links are made behind the store's back")]
fn links_into_a_store_or_backups_are_seen_through() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let env = rekindle_env::Env::real();
    let database = Database::open_with(at("store"), quiet(), env.clone()).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    database.backup(&at("backups")).unwrap();
    for (dir, link) in [("backups/sub", "to-backups"), ("store/sub", "to-store")] {
        std::fs::create_dir(at(dir)).unwrap();
        std::os::unix::fs::symlink(at(dir), at(link)).unwrap();
        for to in [at(link), at(link).join("x")] {
            let error = restore(&at("backups"), &to, Moment::Newest, &env).unwrap_err();
            assert_eq!(error.exit_code(), 78, "{}: {error}", to.display());
            assert_eq!(database.backup(&to).unwrap_err().kind(), Kind::Invalid);
        }
        assert_eq!(std::fs::read_dir(at(dir)).unwrap().count(), 0);
        std::fs::remove_dir(at(dir)).unwrap();
    }
}

/// Where no second name can be had the files are copied, only what counts of them.
#[test]
fn without_links_files_are_copied() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let error = FaultError::Kind(io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    let backup = back_up(&database);
    assert_eq!((backup.linked, backup.copied), (0, 2));
    assert!(backup.copied_bytes < 20_000, "{} bytes", backup.copied_bytes);
    put(&database, keyspace, "b", "1");
    assert_eq!(back_up(&database).copied, 1, "what is there is not copied again");
    let restored = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!(restored.state_hash, database.state_hash());
}

/// A full disk, of the store or of the backups: a clear refusal, and everything goes on.
#[test]
fn a_full_disk_refuses_the_backup_and_nothing_else() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let first = back_up(&database);
    for (nth, kind, place) in [
        (1, OperationKind::Create, "/store/shards/0/journal"),
        (1, OperationKind::Allocate, "/store/shards/0/journal"),
        (1, OperationKind::Write, "/backups/backups"),
        (1, OperationKind::HardLink, "/backups/journal"),
    ] {
        put(&database, keyspace, "b", &format!("{kind:?}"));
        disk.inject(Fault::error(kind, FaultError::ENOSPC).on(place).nth(nth));
        let error = database.backup(Path::new(BACKUPS)).unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{kind:?}: {error}");
        disk.clear_faults();
        assert_eq!(database.poisoned(), None);
        let listed = list_backups(Path::new(BACKUPS), &env).unwrap();
        assert_eq!(listed, std::slice::from_ref(&first.manifest));
        put(&database, keyspace, "c", &format!("{kind:?}"));
    }
    // No room for what must be copied, seen before anything is written.
    let error = FaultError::Kind(io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    disk.set_available_bytes(1_000);
    let error = database.backup(Path::new(BACKUPS)).unwrap_err();
    assert!(matches!(&error, Error::Full(text) if text.contains("bytes left")), "{error}");
    disk.set_available_bytes(1 << 40);
    assert_eq!(back_up(&database).manifest.number, 2);
    let restored = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!(restored.state_hash, database.state_hash());
    drop(database);
    assert_eq!(open(&env).report().code, 0);
}

/// What goes on while a backup makes its first file.
#[derive(Debug, Default)]
struct Meanwhile {
    work: Mutex<Option<Database>>,
    answers: Mutex<Vec<String>>,
    /// Whose disk gets full then.
    full: Mutex<Option<SimulatedDisk>>,
}

impl Watch for Meanwhile {
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        if let Change::Create { path } = change
            && path.starts_with("/backups")
            && let Some(database) = self.work.lock().unwrap().take()
        {
            let second = database.backup(Path::new("/elsewhere")).unwrap_err();
            assert_eq!(second.kind(), Kind::Conflict);
            let reading = verify_backup(Path::new(BACKUPS), database.env()).unwrap_err();
            assert_eq!(reading.kind(), Kind::Conflict);
            // Writers and checkpoints go on, and take nothing away that is still to be read.
            let keyspace = database.keyspace("things").unwrap();
            for round in 0..4 {
                for n in 0..8 {
                    put(&database, keyspace, &format!("m{round}{n}"), &"y".repeat(20_000));
                }
                database.checkpoint().unwrap();
            }
            self.answers.lock().unwrap().push(second.to_string());
            if let Some(disk) = &*self.full.lock().unwrap() {
                disk.set_available_bytes(200_000);
                database.tick().unwrap();
            }
        }
        perform()
    }
}

/// One backup at a time; commits and checkpoints during it neither wait nor take its files away.
#[test]
fn a_backup_is_taken_alone_and_what_it_reads_stays() {
    let (disk, env, _) = simulated(1);
    let meanwhile = Arc::new(Meanwhile::default());
    let env = env.watched(Arc::clone(&meanwhile) as Arc<dyn Watch>);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "first", "1");
    database.checkpoint().unwrap();
    for n in 0..20 {
        put(&database, keyspace, &format!("k{n}"), &"x".repeat(10_000));
    }
    let (hash, version) = (database.state_hash(), database.current_version());
    let error = FaultError::Kind(io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    *meanwhile.work.lock().unwrap() = Some(database.clone());
    let backup = back_up(&database);
    assert_eq!(meanwhile.answers.lock().unwrap().len(), 1);
    assert_eq!((backup.manifest.version, backup.manifest.checkpoint.version), (version, 2));
    let restored = restore(Path::new(BACKUPS), Path::new(RESTORED), Moment::Newest, &env).unwrap();
    assert_eq!(restored.state_hash, hash);
    // Now they go.
    put(&database, keyspace, "last", "1");
    database.checkpoint().unwrap();
    let files = |dir: &str| disk.list(Path::new(dir)).unwrap().len();
    assert_eq!(files("/store/shards/0/checkpoints"), 2);
    assert!(files("/store/shards/0/journal") < 15, "{}", files("/store/shards/0/journal"));
}

/// A backup holds back what checkpoints would give back: when the disk gets full meanwhile it is
/// given up, and then that goes.
#[test]
fn a_backup_that_fills_the_disk_gives_up() {
    let (disk, env, _) = simulated(1);
    let meanwhile = Arc::new(Meanwhile::default());
    let env = env.watched(Arc::clone(&meanwhile) as Arc<dyn Watch>);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "first", "1");
    database.checkpoint().unwrap();
    put(&database, keyspace, "second", "1");
    let error = FaultError::Kind(io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    *meanwhile.full.lock().unwrap() = Some(disk.clone());
    *meanwhile.work.lock().unwrap() = Some(database.clone());
    let error = database.backup(Path::new(BACKUPS)).unwrap_err();
    assert!(matches!(&error, Error::Full(text) if text.contains("nearly full")), "{error}");
    assert!(list_backups(Path::new(BACKUPS), &env).is_err(), "nothing half done counts");
    disk.set_available_bytes(1 << 40);
    database.tick().unwrap();
    put(&database, keyspace, "third", "1");
    assert_eq!(back_up(&database).manifest.number, 1);
}

#[test]
fn a_directory_holds_so_many_backups() {
    let mut image = Image::new();
    for number in 1..=BACKUPS_MAX {
        image.write_file(format!("/backups/backups/{number}.json"), b"").unwrap();
    }
    let disk = SimulatedDisk::from_image(image, 1);
    let (env, _) = around(&disk, 1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let error = database.backup(Path::new(BACKUPS)).unwrap_err();
    assert_eq!(error.kind(), Kind::Full, "{error}");
    durable::remove_file(&disk, Path::new("/backups/backups/7.json")).unwrap();
    assert_eq!(back_up(&database).manifest.number, BACKUPS_MAX + 1);
}

#[test]
fn a_manifest_has_a_size() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    back_up(&database);
    let file = disk.create(Path::new("/backups/backups/2.json")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let report = verify_backup(Path::new(BACKUPS), &env).unwrap();
    assert_eq!((report.code(), report.findings.len(), report.backups.len()), (65, 1, 1));
    assert_eq!(list_backups(Path::new(BACKUPS), &env).unwrap_err().exit_code(), 65);
    // The next one has a number that was never used, and goes on without it.
    assert_eq!(back_up(&database).manifest.number, 3);
}
