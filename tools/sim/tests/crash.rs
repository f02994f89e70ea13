//! Crash points: a mixed workload, crashed at every operation of its disk.

use std::sync::atomic::Ordering;

use rekindle_database::DurabilityMode;
use rekindle_env::SimulatedDisk;
use rekindle_sim::crash::crash_everywhere;
use rekindle_sim::seed::{point, scale, seed};
use rekindle_sim::workload::{Length, Run, run};

/// Threads of a campaign: the machines of the gate have two cores.
const THREADS: usize = 2;

fn workload(seed: u64, length: Length) -> Run {
    let disk = SimulatedDisk::new(seed);
    let run = run(&disk, seed, length).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    assert_eq!(run.ended, None, "seed {seed}: nothing fails on a disk without faults");
    run
}

fn campaign(seed: u64, length: Length) -> u64 {
    let run = workload(seed, length);
    let operations = run.disk.operations();
    println!("seed {seed}: {} requests, {operations} operations", run.oracle.asked.len());
    let tally = crash_everywhere(&run, seed, THREADS)
        .unwrap_or_else(|violations| panic!("seed {seed}:\n{violations}"));
    println!("seed {seed}: {tally:?}");
    if point().is_some() {
        return operations;
    }
    assert!(tally.points.load(Ordering::Relaxed) > operations);
    assert!(tally.torn.load(Ordering::Relaxed) > 0, "some tails are torn");
    assert!(tally.in_flight.load(Ordering::Relaxed) > 0, "some unknown requests are there");
    operations
}

/// Every operation of a mixed workload, every survival model, recovered again and again.
///
/// proves: D12, B7, D8, B3, B4, B5
/// fault: S1, S2, S3, S4, S5, S6, S20, T6
#[test]
fn every_operation_under_every_survival_model() {
    let operations = campaign(seed(20_261_136), Length::strict(820, 55, 87));
    assert!(operations >= 2_000, "{operations} operations");
}

/// The lazy modes lose their end, never more, and nothing of what was flushed; there is no hole.
///
/// proves: D12
/// fault: S2, S3
#[test]
fn lazy_modes_lose_only_their_end() {
    for durability in [DurabilityMode::Batched, DurabilityMode::Relaxed] {
        campaign(seed(11), Length { durability, ..Length::strict(110, 40, 55) });
    }
}

/// Ten times the operations, over several seeds.
#[test]
#[ignore = "a campaign: cargo xtask campaign crash"]
fn campaign_crash_points() {
    let first = seed(1);
    let wanted = 2_000 * scale();
    let (mut operations, mut number) = (0, 0);
    while operations < wanted {
        // Run `n` is run 0 of the campaign whose seed is higher by `n`, so that it can be replayed.
        let seed = first.wrapping_add(number);
        let length = match seed % 3 {
            0 => Length::strict(900, 55, 87),
            1 => Length::strict(900, 31, 41),
            _ => Length::strict(1_400, 180, 300),
        };
        operations += campaign(seed, length);
        number += 1;
    }
}
