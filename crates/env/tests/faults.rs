//! Faults: the calls that they hit, and what they leave behind.

use std::io::ErrorKind;
use std::path::Path;

use rekindle_env::{
    Disk, Effect, Fault, FaultError, LockMode, OperationKind, ReadDisk, SimulatedDisk, Survival,
    Times, WriteFile, durable,
};

const EIO: Option<i32> = Some(5);
const ENOSPC: Option<i32> = Some(28);

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn with_file(bytes: &[u8]) -> (SimulatedDisk, Box<dyn WriteFile>) {
    let disk = SimulatedDisk::new(3);
    durable::create_file(&disk, path("file"), bytes).unwrap();
    let file = disk.open_write(path("file")).unwrap();
    (disk, file)
}

#[test]
fn a_fault_hits_the_call_that_it_names_and_changes_nothing() {
    let (disk, file) = with_file(b"old");
    let fault = Fault::error(OperationKind::Write, FaultError::ENOSPC).on("file").nth(2);
    disk.inject(fault);
    file.write_at(b"1", 0).unwrap();
    let before = disk.operations();
    assert_eq!(file.write_at(b"2", 0).unwrap_err().raw_os_error(), ENOSPC);
    assert_eq!(disk.operations(), before);
    file.write_at(b"3", 1).unwrap();
    assert_eq!(disk.image().read("file").unwrap(), b"13d");
}

#[test]
fn faults_have_kinds_paths_and_durations() {
    let (disk, file) = with_file(b"old");
    disk.inject(Fault::error(OperationKind::SyncDir, FaultError::EIO).forever());
    disk.inject(Fault {
        operation: None,
        path_contains: Some("other".into()),
        nth: 1,
        times: Times::Count(2),
        effect: Effect::Error(FaultError::Kind(ErrorKind::PermissionDenied)),
    });
    file.sync_data().unwrap();
    for _ in 0..3 {
        assert_eq!(disk.sync_dir(path(".")).unwrap_err().raw_os_error(), EIO);
    }
    assert_eq!(disk.create(path("other")).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let renamed = disk.rename(path("file"), path("another"));
    assert_eq!(renamed.unwrap_err().kind(), ErrorKind::PermissionDenied, "either name counts");
    disk.create(path("other")).unwrap();
    disk.clear_faults();
    disk.sync_dir(path(".")).unwrap();
}

#[test]
fn every_kind_of_call_can_fail() {
    let (disk, file) = with_file(b"old");
    type Call<'a> = (OperationKind, &'a dyn Fn() -> std::io::Result<()>);
    let calls: [Call<'_>; 16] = [
        (OperationKind::Open, &|| disk.open_read(path("file")).map(drop)),
        (OperationKind::Read, &|| file.read_at(&mut [0], 0).map(drop)),
        (OperationKind::List, &|| disk.list(path(".")).map(drop)),
        (OperationKind::Lock, &|| disk.lock(path("."), LockMode::Shared).map(drop)),
        (OperationKind::Write, &|| file.write_at(b"x", 0)),
        (OperationKind::SetLen, &|| file.set_len(1)),
        (OperationKind::Allocate, &|| file.allocate(100)),
        (OperationKind::PunchHole, &|| file.punch_hole(0, 1)),
        (OperationKind::SyncData, &|| file.sync_all()),
        (OperationKind::SyncDir, &|| disk.sync_dir(path("."))),
        (OperationKind::CreateDir, &|| disk.create_dir(path("d"))),
        (OperationKind::Rename, &|| disk.rename(path("d"), path("e"))),
        (OperationKind::RemoveDir, &|| disk.remove_dir(path("e"))),
        (OperationKind::Create, &|| disk.create(path("new")).map(drop)),
        (OperationKind::HardLink, &|| disk.hard_link(path("new"), path("second"))),
        (OperationKind::RemoveFile, &|| disk.remove_file(path("new"))),
    ];
    for (kind, call) in calls {
        disk.inject(Fault::error(kind, FaultError::EIO));
        assert_eq!(call().unwrap_err().raw_os_error(), EIO, "{kind:?}");
        call().unwrap();
    }
}

/// fault: S15
#[test]
fn a_failed_sync_drops_the_pages_and_then_reports_success() {
    let (disk, file) = with_file(&[1; 1024]);
    file.write_at(&[2; 512], 0).unwrap();
    disk.inject(Fault::failed_sync());
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), EIO);
    file.sync_data().expect("the kernel has forgotten the error");
    let mut seen = [0; 512];
    file.read_at(&mut seen, 0).unwrap();
    assert_eq!(seen, [2; 512], "the page cache still shows what was lost");
    for survival in Survival::EVERY {
        assert_eq!(disk.crash(survival, 1).image().read("file").unwrap(), [1; 1024]);
    }
    file.write_at(&[3; 512], 512).unwrap();
    file.sync_data().unwrap();
    let bytes = disk.crash(Survival::None, 1).image().read("file").unwrap();
    assert_eq!((bytes[0], bytes[512]), (1, 3), "later writes last, the lost ones stay lost");
}

#[test]
fn the_size_outlives_a_failed_sync() {
    let (disk, file) = with_file(b"");
    file.write_at(&[2; 512], 0).unwrap();
    disk.inject(Fault::failed_sync());
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    let bytes = disk.crash(Survival::None, 1).image().read("file").unwrap();
    assert_eq!(bytes, [0; 512], "a hole of zeros where the bytes should be");
}

/// fault: S17
#[test]
fn a_short_write_lands_in_part_and_fails() {
    let (disk, file) = with_file(&[1; 1000]);
    disk.inject(Fault::short_write(FaultError::ENOSPC));
    assert_eq!(file.write_at(&[2; 1000], 0).unwrap_err().raw_os_error(), ENOSPC);
    let bytes = disk.image().read("file").unwrap();
    let landed = bytes.iter().take_while(|byte| **byte == 2).count();
    assert!(landed < 1000);
    assert!(bytes[landed..].iter().all(|byte| *byte == 1));
}

#[test]
fn a_flipped_bit_stays() {
    let (disk, file) = with_file(&[0; 16]);
    disk.flip_bit("file", 3, 7).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, 3).unwrap();
    assert_eq!(byte, [0x80]);
    for survival in Survival::EVERY {
        assert_eq!(disk.crash(survival, 1).image().read("file").unwrap()[3], 0x80);
    }
    assert_eq!(disk.flip_bit("file", 16, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// fault: S16
#[test]
fn a_bad_sector_stays_bad_through_a_crash() {
    let (disk, file) = with_file(&[1; 2048]);
    disk.read_error("file", 512..1024).unwrap();
    let crashed = disk.crash(Survival::None, 0);
    for file in [file, crashed.open_write(path("file")).unwrap()] {
        let mut buf = [0; 512];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 512);
        assert_eq!(file.read_at(&mut buf, 400).unwrap_err().raw_os_error(), EIO);
        assert_eq!(file.read_at(&mut buf, 1024).unwrap(), 512);
    }
}

#[test]
fn a_machine_that_is_off_answers_nothing_and_can_be_crashed() {
    let (disk, file) = with_file(b"");
    let start = disk.operations();
    // A write that grows its file is two operations: the size goes first.
    disk.stop_after(start + 1);
    assert!(file.write_at(b"lost", 0).is_err());
    assert!(disk.is_off());
    assert!(file.len().is_err() && disk.stat(path("file")).is_err() && file.sync_data().is_err());
    assert_eq!(disk.operations(), start + 1);
    let crashed = disk.crash(Survival::All, 0);
    assert_eq!(crashed.image().read("file").unwrap(), b"\0\0\0\0");
    crashed.open_write(path("file")).unwrap().write_at(b"next", 0).unwrap();
}

#[test]
fn locks_exclude_and_a_crash_releases_them() {
    let disk = SimulatedDisk::new(0);
    durable::create_dir_all(&disk, path("store")).unwrap();
    let lock = |disk: &SimulatedDisk, mode| disk.lock(path("store"), mode).unwrap();
    let owner = lock(&disk, LockMode::Exclusive).unwrap();
    assert!(lock(&disk, LockMode::Exclusive).is_none());
    assert!(lock(&disk, LockMode::Shared).is_none());
    assert!(lock(&disk.crash(Survival::None, 0), LockMode::Exclusive).is_some());
    drop(owner);
    let readers = [lock(&disk, LockMode::Shared), lock(&disk, LockMode::Shared)];
    assert!(readers.iter().all(Option::is_some));
    assert!(lock(&disk, LockMode::Exclusive).is_none());
    drop(readers);
    assert!(lock(&disk, LockMode::Exclusive).is_some());
}

#[test]
fn free_space_is_what_a_test_says() {
    let (disk, _) = with_file(b"");
    disk.set_available_bytes(12);
    assert_eq!(disk.available_bytes(path("file")).unwrap(), 12);
    assert_eq!(disk.crash(Survival::None, 0).available_bytes(path(".")).unwrap(), 12);
}
