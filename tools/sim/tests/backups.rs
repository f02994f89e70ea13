//! Backups under load and restores, crashed at every operation.

use std::sync::atomic::Ordering;

use rekindle_database::DurabilityMode;
use rekindle_env::{Fault, FaultError, OperationKind, SimulatedDisk};
use rekindle_sim::backup_damage::{Damaged, turn_bytes};
use rekindle_sim::backups::crash_restores;
use rekindle_sim::crash::crash_everywhere;
use rekindle_sim::seed::{point, scale, seed};
use rekindle_sim::workload::{Length, Run, run};

const THREADS: usize = 2;

/// A run on a disk where files can have a second name, or have to be copied.
fn workload(seed: u64, length: Length, linking: bool) -> Run {
    let disk = SimulatedDisk::new(seed);
    if !linking {
        let error = FaultError::Kind(std::io::ErrorKind::CrossesDevices);
        disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    }
    let run = run(&disk, seed, length).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    assert_eq!(run.ended, None, "seed {seed}: nothing fails on a disk without faults");
    run
}

fn campaign(seed: u64, length: Length, linking: bool) {
    let run = workload(seed, length, linking);
    let operations = run.disk.operations();
    println!("seed {seed}: {} requests, {operations} operations", run.oracle.asked.len());
    let tally = crash_everywhere(&run, seed, THREADS)
        .unwrap_or_else(|violations| panic!("seed {seed}, links {linking}:\n{violations}"));
    println!("seed {seed}: {tally:?}");
    if point().is_some() {
        return;
    }
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert!(count(&tally.interrupted) > 100 && count(&tally.unanswered) > 2, "{tally:?}");
    assert!(count(&tally.restored) > 100 && count(&tally.refused) > 10, "{tally:?}");
}

fn restores(seed: u64, length: Length, moments: u64) -> u64 {
    let run = workload(seed, length, true);
    let crashes = crash_restores(&run, seed, moments);
    let crashes = crashes.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    println!("seed {seed}: {crashes} crashes inside restores");
    crashes
}

/// Backups go on beside the work; what was answered is whole and comes back as of its version,
/// whatever is interrupted costs nothing.
///
/// fault: S20
#[test]
fn a_crash_at_every_operation_under_backups() {
    campaign(seed(31), Length::strict(80, 37, 53).with_backups(19), true);
    campaign(seed(32), Length::strict(50, 23, 41).with_backups(16), false);
}

/// What a lazy mode has given to a backup it never loses.
#[test]
fn lazy_modes_lose_nothing_that_is_in_a_backup() {
    for durability in [DurabilityMode::Batched, DurabilityMode::Relaxed] {
        let length = Length { durability, ..Length::strict(36, 40, 55).with_backups(11) };
        campaign(seed(33), length, true);
    }
}

/// fault: S20
#[test]
fn a_crash_at_every_operation_of_restores() {
    let crashes = restores(seed(34), Length::strict(300, 60, 87).with_backups(41), 6);
    assert!(crashes > 500, "{crashes}");
}

fn damages(seed: u64, length: Length, count: u64) -> Damaged {
    let run = workload(seed, length, seed.is_multiple_of(2));
    let damaged = turn_bytes(&run, seed, count);
    let damaged = damaged.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    println!("seed {seed}: {damaged:?}");
    damaged
}

/// A turned byte of a backup is named where it counts, and what needs it is not restored.
///
/// fault: S7, S12
#[test]
fn a_turned_byte_of_a_backup_is_found() {
    let damaged = damages(seed(35), Length::strict(160, 45, 70).with_backups(31), 500);
    assert!(damaged.named > 400 && damaged.harmless > 2, "{damaged:?}");
    assert!(damaged.refused > 200 && damaged.passed > 50, "{damaged:?}");
}

/// The same on larger backups, other seeds, and more bytes.
#[test]
#[ignore = "a campaign: cargo xtask campaign corruption"]
fn campaign_corruption_backups() {
    let first = seed(1);
    for number in 0..4 {
        let length = Length::strict(400, 70, 110).with_backups(37);
        damages(first.wrapping_add(number), length, 5_000);
    }
}

/// Ten times the operations, over several seeds.
#[test]
#[ignore = "a campaign: cargo xtask campaign crash"]
fn campaign_crash_backups() {
    let first = seed(1);
    for number in 0..scale().div_ceil(2) {
        let seed = first.wrapping_add(number);
        let length = match seed % 3 {
            0 => Length::strict(400, 55, 87).with_backups(29),
            1 => Length::strict(400, 31, 41).with_backups(17),
            _ => Length::strict(600, 180, 300).with_backups(70),
        };
        campaign(seed, length, seed.is_multiple_of(2));
        restores(seed, length, 12);
    }
}
