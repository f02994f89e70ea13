//! The store layer and a disk that crashes and fails: creation, beginning and healing, stopped at
//! each operation under each survival model, and stopped again while they are repeated.

use std::path::Path;

use rekindle_env::{
    Disk, Fault, FaultError, Image, OperationKind, ReadDisk, SimulatedDisk, Survival,
};
use rekindle_recovery::{Identity, Store, exit};

use crate::{DIR, at, layer, look, open, situation};

const DIRECTORY: &str = DIR;

/// Creates a store and lets its shard begin.
fn workload(disk: &SimulatedDisk) -> Store {
    let (store, _) = open(disk, &layer(1)).unwrap();
    disk.mark(1);
    let store = store.begin(disk, Path::new(DIRECTORY)).unwrap();
    disk.mark(2);
    store
}

/// What the workload had been told before a crash.
#[derive(Clone, Debug)]
struct Told {
    /// The identity that it would be told, or was.
    identity: Identity,
    /// The sequence that was told; 0 before the store was said to exist.
    sequence: u64,
}

/// Opens what a crash left, twice; gives the number of operations that the first opening took.
fn recovers(image: &Image, told: &Told, seed: u64) -> u64 {
    let disk = SimulatedDisk::from_image(image.clone(), seed);
    let (store, report) = open(&disk, &layer(seed)).unwrap();
    let code = report.exit_code();
    assert!(code == exit::CLEAN || code == exit::HEALED, "{report:?}");
    assert!(store.sequence >= told.sequence, "what was told stays: {report:?}");
    if told.sequence > 0 {
        assert_eq!(store.identity, told.identity, "a store that was told stays who it is");
    }
    let operations = disk.operations();
    let (again, second) = open(&disk, &layer(seed + 1)).unwrap();
    assert_eq!(again, store, "recovering twice gives the same");
    assert_eq!(situation(&second), "store-1");
    assert_eq!(disk.operations(), operations, "and changes nothing");
    operations
}

/// Crashes at each operation of a trace, and at each operation of the recovery from it.
fn crash_everywhere(disk: &SimulatedDisk, start: Image, mut told: Told) -> usize {
    let mut points = disk.trace().crash_points(start);
    let mut images = 0;
    loop {
        for (at, survival) in Survival::EVERY.into_iter().enumerate() {
            let seed = points.position() as u64 * 8 + at as u64;
            let image = points.survivors(survival, seed);
            let operations = recovers(&image, &told, seed);
            images += 1;
            for stop in 0..operations {
                let again = SimulatedDisk::from_image(image.clone(), seed);
                again.stop_after(stop);
                open(&again, &layer(seed)).unwrap_err();
                let second = again.crash(survival, seed + 1).image();
                recovers(&second, &told, seed);
                images += 1;
            }
        }
        match points.advance() {
            None => return images,
            Some(operation) => told.sequence = operation.mark().unwrap_or(told.sequence),
        }
    }
}

/// A store that is half created, whatever the crash left of it, is created by the next start; one
/// that was reported as created keeps its identity.
///
/// proves: D1. fault: S1, S2, S3, S6, S20
#[test]
fn creation_survives_a_crash_at_every_operation() {
    let disk = SimulatedDisk::new(1);
    let identity = workload(&disk).identity;
    let images = crash_everywhere(&disk, Image::new(), Told { identity, sequence: 0 });
    assert!(images > 500, "{images} images");
}

/// Healing is repeatable at each of its operations. fault: S8, S20
#[test]
fn healing_survives_a_crash_at_every_operation() {
    let disk = SimulatedDisk::new(1);
    let Store { identity, sequence } = workload(&disk);
    let told = Told { identity, sequence };
    for name in ["store.a", "store.b"] {
        let mut damaged = disk.image();
        damaged.zero(at(name), 0..512).unwrap();
        let healing = SimulatedDisk::from_image(damaged.clone(), 1);
        open(&healing, &layer(1)).unwrap();
        crash_everywhere(&healing, damaged, told.clone());
    }
}

/// Every bit of both copies: one damaged copy never costs the store, and is always named.
///
/// fault: S7, S8
#[test]
fn every_flipped_bit_of_either_copy_is_healed() {
    let disk = SimulatedDisk::new(1);
    workload(&disk);
    let whole = disk.image();
    for name in ["store.a", "store.b"] {
        for bit in (0..4096 * 8).step_by(7) {
            let mut image = whole.clone();
            image.flip(at(name), bit).unwrap();
            let report = look(&SimulatedDisk::from_image(image, 1), &layer(1)).unwrap();
            assert_eq!(report.exit_code(), exit::HEALED, "bit {bit} of {name}");
            assert_eq!(report.findings[0].place.file, name);
        }
    }
}

/// Every call can fail; the failure names what was being done, and the next start succeeds.
///
/// fault: S15, S16, S17
#[test]
fn every_failing_call_is_an_io_failure() {
    const CALLS: [OperationKind; 8] = [
        OperationKind::Open,
        OperationKind::Read,
        OperationKind::List,
        OperationKind::Write,
        OperationKind::Create,
        OperationKind::CreateDir,
        OperationKind::SyncData,
        OperationKind::SyncDir,
    ];
    for call in CALLS {
        for nth in 1..20 {
            let disk = SimulatedDisk::new(1);
            let (store, _) = open(&disk, &layer(1)).unwrap();
            if nth % 2 == 0 {
                disk.open_write(&at("store.b")).unwrap().set_len(0).unwrap();
            }
            let fresh = SimulatedDisk::new(2);
            for disk in [&disk, &fresh] {
                let eio = FaultError::Kind(std::io::ErrorKind::Other);
                disk.inject(Fault::error(call, eio).nth(nth));
                let failed = open(disk, &layer(1)).map(|_| ());
                if let Err(failure) = failed {
                    assert_eq!(failure.exit_code(), exit::IO, "{failure}");
                    assert!(failure.to_string().contains(DIRECTORY), "{failure}");
                }
                disk.clear_faults();
                open(disk, &layer(1)).unwrap();
            }
            let (reopened, _) = open(&disk, &layer(3)).unwrap();
            assert_eq!(reopened, store);
        }
    }
}

/// A look uses the reading half of a disk only, so it can be handed to anybody.
#[test]
fn a_look_changes_nothing() {
    let disk = SimulatedDisk::new(1);
    let before = disk.operations();
    look(&disk as &dyn ReadDisk, &layer(1)).unwrap();
    assert_eq!(disk.operations(), before);
}

/// The process is killed at each operation and the next start finds what it wrote in the kernel's
/// cache; then that start is stopped at each of its operations by a power failure, which takes what
/// neither of them synced.
///
/// fault: S1, S2, S20
#[test]
fn a_start_after_a_kill_builds_on_nothing_that_a_power_failure_takes() {
    let whole = SimulatedDisk::new(3);
    let told = Told { identity: workload(&whole).identity, sequence: 0 };
    let mut images = 0;
    for killed_at in 0..whole.operations() {
        let killed = |seed: u64| {
            let disk = SimulatedDisk::new(3);
            disk.stop_after(killed_at);
            let opened = open(&disk, &layer(1));
            if let Ok((store, _)) = opened {
                store.begin(&disk, Path::new(DIRECTORY)).unwrap_err();
            }
            disk.kill(seed)
        };
        let after = killed(0);
        let before = after.operations();
        open(&after, &layer(1)).unwrap();
        let operations = after.operations() - before;
        for stop in 0..operations {
            for (nth, survival) in Survival::EVERY.into_iter().enumerate() {
                let seed = killed_at * 1_000 + stop * 10 + nth as u64;
                let start = killed(seed);
                start.stop_after(start.operations() + stop);
                open(&start, &layer(1)).unwrap_err();
                recovers(&start.crash(survival, seed).image(), &told, seed);
                images += 1;
            }
        }
    }
    assert!(images > 500, "{images}");
}
