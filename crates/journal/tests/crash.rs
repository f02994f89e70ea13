//! Crash at every disk operation, under every survival model, and again inside recovery.

use std::path::Path;
use std::sync::Arc;

use rekindle_env::{Disk, Image, SimulatedDisk, Survival};
use rekindle_journal::{Durability, Journal, Outcome};
use rekindle_recovery::{Failure, Verdict};

use crate::support::{DIR, Setup, append, dense};

const BEGUN: u64 = 1 << 40;

fn store_disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new(".")).unwrap();
    disk
}

/// Several runs with restarts, rotations, clean and unclean ends; marks what was acknowledged.
fn workload(disk: &SimulatedDisk, mode: Durability) {
    let mut version = 0;
    for run in 0..5_u64 {
        let mut setup = Setup::new(Arc::new(disk.clone()));
        setup.options.durability = mode;
        let opened = setup.open().unwrap();
        let before = dense(&opened.replayed);
        assert_eq!(before, version, "nothing was lost without a crash");
        for group in 0..40_u64 {
            let size = 1 + (group * 7 + run) % 5;
            let mut last = None;
            for _ in 0..size {
                version += 1;
                disk.mark(BEGUN + version);
                last = Some(append(&opened.journal, version));
            }
            let outcome = opened.journal.wait(last.unwrap());
            assert_ne!(outcome, Outcome::Unknown);
            if mode == Durability::Strict {
                disk.mark(version);
            }
            setup.clock.advance_ms(13);
            opened.journal.tick();
        }
        if run % 2 == 0 {
            opened.journal.close().unwrap();
            disk.mark(version);
        }
    }
}

/// Recovers an image; returns how many transactions it holds.
fn recover(disk: &SimulatedDisk, from: (u64, u64), context: &str) -> Result<u64, Failure> {
    let opened = Setup::new(Arc::new(disk.clone())).open()?;
    let corrupt = opened.findings.iter().find(|f| f.verdict == Some(Verdict::Corrupt));
    assert!(corrupt.is_none(), "{context}: a crash is never corruption: {corrupt:?}");
    let found = dense(&opened.replayed);
    let (acked, begun) = from;
    assert!(found >= acked, "{context}: {acked} were acknowledged, {found} are there");
    assert!(found <= begun, "{context}: only {begun} were begun, {found} are there");
    // What was found must take new work and keep it.
    let ticket = append(&opened.journal, found + 1);
    assert_eq!(opened.journal.wait(ticket), Outcome::Durable);
    Ok(found)
}

fn crash_everywhere(mode: Durability, step: usize) -> usize {
    let disk = store_disk();
    workload(&disk, mode);
    let trace = disk.trace();
    let mut points = trace.crash_points(Image::new());
    let (mut acked, mut begun, mut images, mut at) = (0, 0, 0, 0);
    while let Some(operation) = points.advance() {
        match operation.mark() {
            Some(mark) if mark > BEGUN => begun = mark - BEGUN,
            Some(mark) => acked = mark,
            None => {}
        }
        at += 1;
        // The directory itself is made by the layer above, which has synced it.
        if at < 3 || at % step != 0 {
            continue;
        }
        for survival in Survival::EVERY {
            let seed = at as u64;
            let context = format!("{mode:?} operation {at} {survival:?}");
            let image = points.survivors(survival, seed);
            let crashed = SimulatedDisk::from_image(image.clone(), seed);
            let found = recover(&crashed, (acked, begun), &context).unwrap();
            // Again, over what the first recovery and its one transaction left.
            recover(&crashed, (found + 1, found + 1), &context).unwrap();
            // And with a crash inside recovery.
            let nested = SimulatedDisk::from_image(image, seed);
            nested.stop_after(seed % 24);
            if Setup::new(Arc::new(nested.clone())).open().is_err() {
                let again = nested.crash(survival, seed + 1);
                recover(&again, (found.min(acked), begun), &context).unwrap();
            }
            images += 1;
        }
        // Killed while the kernel goes on: what a recovery served from its cache outlives the power
        // loss that follows.
        let seed = at as u64;
        let context = format!("{mode:?} operation {at} killed");
        let killed = points.after_kill(seed);
        let found = recover(&killed, (acked, begun), &context).unwrap();
        recover(&killed.crash(Survival::None, seed), (found + 1, found + 1), &context).unwrap();
        let nested = points.after_kill(seed);
        nested.stop_after(nested.operations() + seed % 24);
        if Setup::new(Arc::new(nested.clone())).open().is_err() {
            let survival = Survival::EVERY[at % Survival::EVERY.len()];
            recover(&nested.crash(survival, seed), (acked, begun), &context).unwrap();
        }
    }
    images
}

/// The whole journal, strict: what was acknowledged is there, nothing is invented, order is kept.
///
/// proves: D8, D12
/// fault: S1, S2, S3, S4, S5, S6, S20
#[test]
fn every_operation_under_every_survival_model() {
    let images = crash_everywhere(Durability::Strict, 1);
    assert!(images > 2_000, "{images} images");
}

/// The lazy modes lose at most their window, and only from the end.
///
/// fault: S2, S3
#[test]
fn lazy_modes_lose_only_their_end() {
    crash_everywhere(Durability::Batched, 5);
    crash_everywhere(Durability::Relaxed, 5);
}

/// A segment that only the rotten meta copy named has served: the start that repairs the copy may
/// itself die anywhere, and nothing that was acknowledged from that segment is ever set aside.
///
/// fault: S8, S20
#[test]
fn a_rotten_meta_copy_and_a_crash_in_the_next_start_lose_nothing() {
    let disk = store_disk();
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    for version in 1..=150 {
        let ticket = append(&opened.journal, version);
        assert_eq!(opened.journal.wait(ticket), Outcome::Durable);
    }
    let whole = disk.crash(Survival::None, 1).image();
    for copy in ["store/shards/0/meta.a", "store/shards/0/meta.b"] {
        let mut rotten = whole.clone();
        rotten.flip(copy, 900).unwrap();
        for stop in 0..60 {
            for survival in Survival::EVERY {
                let machine = SimulatedDisk::from_image(rotten.clone(), stop);
                machine.stop_after(stop);
                drop(Setup::new(Arc::new(machine.clone())).open());
                let after = machine.crash(survival, stop);
                let again = Setup::new(Arc::new(after)).open().unwrap();
                let context = format!("{copy}, {stop} operations, {survival:?}");
                assert_eq!(dense(&again.replayed), 150, "{context}");
            }
        }
    }
}
