//! One test for each planted bug: it passes, and fails when the program is built with the bug.
//!
//! `cargo xtask campaign planted` builds each of them with `--cfg planted="NAME"`.

use rekindle_env::{Effect, FaultError, OperationKind, SimulatedDisk, Times};
use rekindle_sim::crash::crash_everywhere;
use rekindle_sim::faults::{Order, Struck, occasions, strike};
use rekindle_sim::labels;
use rekindle_sim::workload::{Length, Run, run};

const SEED: u64 = 4;

/// So many workloads where a bug needs a meeting that not each of them has; which one has it
/// changes with every change to what they do.
const SEEDS: u64 = 8;

/// A short run with many checkpoints, stops and rotations; executors come only where a bug is about
/// them, so that each of the others is still met.
fn length() -> Length {
    Length::strict(240, 19, 33).without_executors()
}

fn workload() -> Run {
    workload_of(SEED)
}

fn workload_of(seed: u64) -> Run {
    run(&SimulatedDisk::new(seed), seed, length()).unwrap()
}

fn crash() {
    crash_everywhere(&workload(), SEED, 2).unwrap();
}

/// Fails syncs of files, each once.
fn failing_syncs(effect: Effect) {
    let reference = workload();
    let order = Order { kind: OperationKind::SyncData, effect, times: Times::Count(1) };
    let mut struck = Struck::default();
    for nth in (1..=occasions(&reference, order.kind)).step_by(3) {
        strike(&reference, (SEED, length()), order, nth, &mut struck).unwrap();
    }
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn ack_before_sync() {
    crash();
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn no_dir_sync() {
    crash();
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn append_behind_torn_tail() {
    crash();
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn checkpoint_renamed_before_sync() {
    crash();
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn cut_at_bad_checksum() {
    labels::check(&workload(), SEED, 3).unwrap();
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn retry_failed_sync() {
    failing_syncs(Effect::FailedSync);
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn overlay_kept_after_poison() {
    failing_syncs(Effect::Error(FaultError::EIO));
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn token_not_checked() {
    for seed in SEED..SEED + 20 * SEEDS {
        workload_of(seed);
    }
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn untraced_claim_goes_on() {
    let length = Length { executors: true, ..length() };
    let run = run(&SimulatedDisk::new(SEED), SEED, length).unwrap();
    crash_everywhere(&run, SEED, 2).unwrap();
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn refused_writes_kept() {
    crash();
}

#[test]
#[ignore = "a campaign: cargo xtask campaign planted"]
fn retried_keeps_its_grant() {
    for seed in SEED..SEED + SEEDS {
        crash_everywhere(&workload_of(seed), seed, 2).unwrap();
    }
}
