//! Corruption: one thing in a small directory is damaged; it is noticed and named, or harmless.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rekindle_env::SimulatedDisk;
use rekindle_sim::corruption::{
    Damage, Fate, bits, flip, judge, of_files, of_names, pair, truncations, zeroed,
};
use rekindle_sim::labels;
use rekindle_sim::seed::{mix, seed};
use rekindle_sim::specimen::{Ending, Specimen};
use rekindle_sim::store::{Machine, RAW};
use rekindle_sim::workload::{BEGIN_WALL_MS, Length, run};

const THREADS: u64 = 2;

fn specimen(ending: Ending) -> Specimen {
    let specimen = Specimen::new(3, ending).unwrap();
    let bytes: u64 = specimen.image.files().iter().map(|(_, len)| len).sum();
    println!("{ending:?}: {} files, {bytes} bytes", specimen.image.files().len());
    specimen
}

/// Judges damages on all threads; panics with the first few that went unnoticed.
fn judge_all(specimen: &Specimen, damage: &(dyn Fn(u64) -> Option<Damage> + Sync), count: u64) {
    let next = AtomicU64::new(0);
    let fates: Mutex<BTreeMap<Fate, u64>> = Mutex::default();
    let broken: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || broken.lock().unwrap().len() > 9 {
                        return;
                    }
                    let Some(damage) = damage(number) else { continue };
                    match judge(specimen, &damage) {
                        Ok(fate) => *fates.lock().unwrap().entry(fate).or_default() += 1,
                        Err(what) => broken.lock().unwrap().push(what),
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{:?}:\n{}", specimen.ending, broken.join("\n"));
    println!("{:?}: {:?}", specimen.ending, fates.into_inner().unwrap());
}

fn judge_list(specimen: &Specimen, damages: &[Damage]) {
    let at = |number: u64| damages.get(number as usize).cloned();
    judge_all(specimen, &at, damages.len() as u64);
}

/// What is turned, cut and emptied below are rows of everything that the services keep.
#[test]
fn the_specimen_has_rows_of_every_keyspace() {
    for ending in [Ending::Closed, Ending::Idle, Ending::Killed] {
        let specimen = specimen(ending);
        let disk = Arc::new(SimulatedDisk::from_image(specimen.image.clone(), 1));
        let database = Machine::new(disk, BEGIN_WALL_MS, 1).open().unwrap();
        let mut names = vec![
            "queues",
            "messages",
            "attempts",
            "producers",
            "kv",
            "audit",
            "job_types",
            "jobs",
            "job_outcomes",
            "job_progress",
            "job_unique",
            "schedules",
            RAW,
        ];
        if ending == Ending::Closed {
            // The entries that were appended by hand are of another year: whoever starts on them
            // takes all claims back.
            names.extend(["leases", "lease_expiry"]);
        }
        for name in names {
            let keyspace = database.keyspace(name).unwrap().0;
            let count = specimen.rows.keys().filter(|(of, _)| *of == keyspace).count();
            assert!(count > 0, "{ending:?}: no row of {name}");
        }
    }
}

/// A seeded sample of all flips, cuts and holes, on directories that ended in three ways.
///
/// fault: S7, S8, S9, S12, R4
#[test]
fn a_damage_is_named_or_harmless() {
    let seed = seed(5);
    for ending in [Ending::Closed, Ending::Idle, Ending::Killed] {
        let specimen = specimen(ending);
        let all = bits(&specimen.image);
        let sample = |number: u64| flip(&specimen.image, mix(seed, number) % all);
        judge_all(&specimen, &sample, 1_500);
        judge_list(&specimen, &truncations(&specimen.image, 601));
        judge_list(&specimen, &zeroed(&specimen.image, 512));
    }
}

/// Two bits at once, near each other or anywhere: the second must not hide what the first did.
///
/// fault: S7, S8, R4
#[test]
fn two_damages_are_named_or_harmless() {
    let seed = seed(6);
    for ending in [Ending::Closed, Ending::Idle, Ending::Killed] {
        judge_pairs(&specimen(ending), seed, 1_500);
    }
}

fn judge_pairs(specimen: &Specimen, seed: u64, count: u64) {
    let two = |number: u64| {
        let (first, second) = (mix(seed, 2 * number), mix(seed, 2 * number + 1));
        pair(&specimen.image, first, second)
    };
    judge_all(specimen, &two, count);
}

/// Every file and directory missing, every file empty, any two files swapped, and files under names
/// that no program of ours gave.
///
/// fault: S13, S14
#[test]
fn a_missing_or_foreign_file_is_named() {
    for ending in [Ending::Closed, Ending::Idle, Ending::Killed] {
        let specimen = specimen(ending);
        judge_list(&specimen, &of_files(&specimen.image));
        judge_list(&specimen, &of_names());
    }
}

/// Images of a run whose truth is known: proved bytes are never cut, unsynced ones never lost; and
/// on an idle server no acknowledged message is in an unproven frame.
///
/// fault: R4, S7
#[test]
fn torn_and_corrupt_are_told_apart() {
    let seed = seed(8);
    let length = Length::strict(500, 110, 77);
    let run = run(&SimulatedDisk::new(seed), seed, length).unwrap();
    let labelled = labels::check(&run, seed, 2).unwrap();
    println!("{labelled:?}");
    assert!(labelled.refused > 200 && labelled.idle > 5 && labelled.unsynced > 300);
    assert!(labelled.images() > 1_000 && labelled.given_up > labelled.refused / 2);
}

/// Every single bit, every length, every 512 bytes, and 100,000 pairs of bits.
fn every_bit(ending: Ending) {
    let specimen = specimen(ending);
    let every = |number: u64| flip(&specimen.image, number);
    judge_all(&specimen, &every, bits(&specimen.image));
    judge_list(&specimen, &truncations(&specimen.image, 1));
    judge_list(&specimen, &zeroed(&specimen.image, 8));
    judge_pairs(&specimen, seed(7), 100_000);
}

#[test]
#[ignore = "a campaign: cargo xtask campaign corruption"]
fn campaign_corruption_every_bit_closed() {
    every_bit(Ending::Closed);
}

#[test]
#[ignore = "a campaign: cargo xtask campaign corruption"]
fn campaign_corruption_every_bit_idle() {
    every_bit(Ending::Idle);
}

#[test]
#[ignore = "a campaign: cargo xtask campaign corruption"]
fn campaign_corruption_every_bit_killed() {
    every_bit(Ending::Killed);
}

/// The end of a journal that was killed at work, erased back to zeros: what a proof covers is
/// refused, and behind it a segment looks like one that ends there.
///
/// fault: S4
#[test]
fn an_erased_end_takes_no_more_than_what_nothing_proves() {
    let specimen = specimen(Ending::Killed);
    let last = |path: &Path| path.ends_with("journal/0000000000000004");
    let of_segments = |damage: &Damage| matches!(damage, Damage::Zero(path, _) if last(path));
    let end: Vec<Damage> = zeroed(&specimen.image, 8).into_iter().filter(of_segments).collect();
    assert!(end.len() > 500, "{}", end.len());
    judge_list(&specimen, &end);
}

/// Twenty thousand labelled images.
#[test]
#[ignore = "a campaign: cargo xtask campaign corruption"]
fn campaign_corruption_labels() {
    let first = seed(1);
    for number in 0..10 {
        let seed = mix(first, number);
        let length = Length::strict(900, 150, 90);
        let run = run(&SimulatedDisk::new(seed), seed, length).unwrap();
        println!("{:?}", labels::check(&run, seed, 1).unwrap());
    }
}
