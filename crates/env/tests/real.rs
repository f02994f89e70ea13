//! The real disk: modes, links, locks, space; and the clock and the slow disk beside it.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_env::{
    Clock, Disk, EntryKind, Env, LockMode, ManualClock, OverlayDisk, ReadDisk, RealDisk,
    SimulatedDisk, SlowSyncs, SystemClock, WatchedDisk, durable,
};

#[test]
fn files_and_directories_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let (sub, file) = (dir.path().join("d/e"), dir.path().join("d/e/x"));
    durable::create_dir_all(&RealDisk, &sub).unwrap();
    durable::create_file(&RealDisk, &file, b"secret").unwrap();
    durable::replace_file(&RealDisk, &file, b"secret").unwrap();
    durable::copy_file(&RealDisk, &file, &sub.join("copy")).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(sub.clone()), mode(file)), (0o700, 0o600));
    assert_eq!((mode(dir.path().join("d")), mode(sub.join("copy"))), (0o700, 0o600));
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("target"), b"untouched").unwrap();
    symlink(at("target"), at("link")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for name in ["link", "socket", "pipe"] {
        assert!(RealDisk.open_read(&at(name)).is_err(), "{name}");
        assert!(RealDisk.open_write(&at(name)).is_err(), "{name}");
        assert_eq!(RealDisk.stat(&at(name)).unwrap().unwrap().kind, EntryKind::Other);
        assert_eq!(RealDisk.create(&at(name)).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    let opened = RealDisk.open_read(dir.path());
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::IsADirectory);
    assert_eq!(std::fs::read(at("target")).unwrap(), b"untouched");
    drop(socket);
}

/// A directory that is renamed is the same, and so it is through a dry run; a copy is another.
#[test]
fn a_directory_is_told_from_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let inode = |name: &str| RealDisk.inode(&at(name)).unwrap();
    std::fs::create_dir(at("first")).unwrap();
    let first = inode("first").unwrap();
    std::fs::rename(at("first"), at("renamed")).unwrap();
    std::fs::create_dir(at("first")).unwrap();
    assert_eq!(inode("renamed"), Some(first));
    assert_ne!(inode("first"), Some(first));
    assert_eq!(inode("missing"), None);
    let overlay = OverlayDisk::new(Arc::new(RealDisk));
    assert_eq!(overlay.inode(&at("renamed")).unwrap(), Some(first));
    overlay.rename(&at("renamed"), &at("elsewhere")).unwrap();
    assert_eq!(overlay.inode(&at("elsewhere")).unwrap(), Some(first));
    overlay.create_dir(&at("new")).unwrap();
    assert_eq!(overlay.inode(&at("new")).unwrap(), None, "it is nowhere else");
    assert_eq!(overlay.inode(&at("missing")).unwrap(), None);
}

#[test]
fn a_lock_excludes_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let picture = || {
        let metadata = std::fs::metadata(dir.path()).unwrap();
        (metadata.mtime_nsec(), metadata.ctime_nsec(), RealDisk.list(dir.path()).unwrap())
    };
    let before = picture();
    let lock = |mode| RealDisk.lock(dir.path(), mode).unwrap();
    let owner = lock(LockMode::Exclusive).unwrap();
    assert!(lock(LockMode::Exclusive).is_none() && lock(LockMode::Shared).is_none());
    drop(owner);
    let readers = [lock(LockMode::Shared), lock(LockMode::Shared)];
    assert!(readers.iter().all(Option::is_some) && lock(LockMode::Exclusive).is_none());
    drop(readers);
    assert!(lock(LockMode::Exclusive).is_some());
    assert_eq!(picture(), before);
    let missing = RealDisk.lock(&dir.path().join("missing"), LockMode::Shared);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn allocated_space_is_taken_and_reads_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.create(&dir.path().join("x")).unwrap();
    file.allocate(1 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    file.allocate(10).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20, "it never cuts");
    let mut buf = [1; 64];
    assert_eq!(file.read_at(&mut buf, (1 << 20) - 32).unwrap(), 32);
    assert_eq!(buf[..32], [0; 32]);
    file.allocate(0).unwrap();
    file.punch_hole(0, 0).unwrap();
    assert!(RealDisk.available_bytes(dir.path()).unwrap() > 0);
}

#[test]
fn what_was_never_written_is_skipped_and_what_was_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    let file = disk.create(&dir.path().join("a")).unwrap();
    file.allocate(8 << 20).unwrap();
    file.write_at(b"first", 100).unwrap();
    file.write_at(b"second", 5 << 20).unwrap();
    let synced = file.sync_data();
    synced.unwrap();
    for (from, at_most) in [(0, 100), (100, 100), (4_096, 5 << 20), (5 << 20, 5 << 20)] {
        let found = file.next_data(from).unwrap();
        assert!(found >= from && found <= at_most, "from {from}: {found}");
        let mut between = vec![1; usize::try_from(found - from).unwrap()];
        file.read_at(&mut between, from).unwrap();
        assert!(between.iter().all(|byte| *byte == 0), "only zeros are skipped");
    }
    assert!(file.next_data(6 << 20).unwrap() >= 6 << 20);
    assert!(file.next_data(9 << 20).unwrap() >= 9 << 20, "behind the end there is nothing");
}

#[test]
fn the_working_directory_has_an_empty_and_a_short_name() {
    let names = |dir: &str| RealDisk.list(dir.as_ref()).unwrap();
    assert_eq!(names(""), names("."));
    RealDisk.sync_dir("".as_ref()).unwrap();
    assert!(RealDisk.available_bytes("".as_ref()).unwrap() > 0);
}

#[test]
fn clocks_go_forward() {
    let clock = SystemClock;
    let (wall, boot) = (clock.wall_ms(), clock.boot_ns());
    assert!(wall > 1_700_000_000_000 && boot > 0);
    assert!(clock.boot_ns() >= boot);
    let manual = ManualClock::new(5);
    manual.advance_ms(3);
    assert_eq!((manual.wall_ms(), manual.boot_ms(), manual.boot_ns()), (8, 3, 3_000_000));
    manual.set_wall_ms(1);
    assert_eq!((manual.wall_ms(), manual.boot_ms()), (1, 3));
    assert!(format!("{:?}", Env::real()).contains("RealDisk"));
}

#[test]
fn a_delaying_disk_is_slow_at_syncs_and_otherwise_its_inner_disk() {
    let inner = SimulatedDisk::new(0);
    let watch = Arc::new(SlowSyncs::new(Duration::from_millis(5)));
    let slow = WatchedDisk::new(Arc::new(inner.clone()), watch.clone());
    durable::create_file(&slow, "x".as_ref(), b"content").unwrap();
    assert_eq!(inner.image().read("x").unwrap(), b"content");
    let file = slow.open_write("x".as_ref()).unwrap();
    let started = Instant::now();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(10));
    let (count, nanos) = watch.syncs();
    assert_eq!(count, 3, "one to create it, and two");
    assert!(nanos >= 15_000_000);
}
