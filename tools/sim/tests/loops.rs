//! Loops, crashed at every operation of the disk.

use rekindle_sim::loops::crash::{Tally, crash_everywhere};
use rekindle_sim::loops::run;
use rekindle_sim::seed::{scale, seed};

fn campaign(seed: u64, requests: usize) -> Tally {
    let run = run(seed, requests).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    let tally = crash_everywhere(&run, seed)
        .unwrap_or_else(|broken| panic!("REKINDLE_SEED={seed} {requests} requests: {broken}"));
    println!("seed {seed}: {tally:?}");
    tally
}

/// Whenever the machine goes down, transcripts and recovery included: nothing that was answered is
/// lost, budgets do not grow, what must not be done twice is not, what is paused stays so,
/// transcripts agree, and everything goes on to its end.
///
/// proves: D12, L2, L3, L4, L5, L7, L12
#[test]
fn loops_survive_a_crash_at_every_operation() {
    let mut all = Tally::default();
    for number in 0..3 {
        let tally = campaign(seed(1) + number, 60);
        all.points += tally.points;
        all.nested += tally.nested;
        all.mended += tally.mended;
    }
    assert!(all.points > 300 && all.nested > 300 && all.mended > 300, "{all:?}");
}

/// The same, over many seeds and longer lives.
#[test]
#[ignore = "a campaign: cargo xtask campaign crash"]
fn campaign_crash_loops() {
    let first = seed(100);
    for number in 0..4 * scale() {
        campaign(first.wrapping_add(number), if number % 4 == 0 { 200 } else { 80 });
    }
}
