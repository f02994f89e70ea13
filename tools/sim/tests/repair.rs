//! Repair and salvage of a directory that holds every kind of record, with the services above it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle_database::{Repair, RepairOptions, repair, salvage, verify};
use rekindle_env::{Image, SimulatedDisk, Survival};
use rekindle_recovery::{Verdict, exit};
use rekindle_sim::corruption::Damage;
use rekindle_sim::history::difference;
use rekindle_sim::seed::{mix, seed};
use rekindle_sim::specimen::{Ending, Specimen};
use rekindle_sim::store::{DIR, Machine, rows};
use rekindle_sim::workload::BEGIN_WALL_MS;

fn machine(image: &Image) -> (Machine, SimulatedDisk) {
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    (Machine::new(Arc::new(disk.clone()), BEGIN_WALL_MS, 1), disk)
}

/// Damages of the journal, of every kind.
fn damages(image: &Image, seed: u64, count: u64) -> Vec<Damage> {
    let files = image.files().into_iter();
    let of: Vec<(PathBuf, u64)> =
        files.filter(|(path, _)| path.to_string_lossy().contains("/journal/")).collect();
    let damage = |number: u64| {
        let (path, len) = of[(mix(seed, number) % of.len() as u64) as usize].clone();
        let at = mix(seed, number + (1 << 32)) % len;
        match number % 8 {
            0 => Damage::Missing(path),
            1 => Damage::Truncate(path, at),
            2 | 3 => Damage::Zero(path, at / 512 * 512..(at / 512 * 512 + 512).min(len)),
            4 => Damage::Zero(path, at..len),
            _ => Damage::Flip(path, at * 8 + number % 8),
        }
    };
    (0..count).map(damage).collect()
}

/// The corrupt ranges, where the start is refused.
fn corrupt(machine: &Machine) -> Option<Vec<Range<u64>>> {
    let report = verify(DIR, &machine.env()).unwrap();
    let corrupt = report.findings().filter(|it| it.verdict == Some(Verdict::Corrupt));
    let ranges = corrupt.map(|it| it.place.from..it.place.to).collect();
    (report.code == exit::CORRUPT).then_some(ranges)
}

fn repaired(machine: &Machine, accept: &[Range<u64>]) -> Result<Repair, rekindle_database::Error> {
    let options = RepairOptions { accept: accept.to_vec(), ..RepairOptions::default() };
    repair(DIR, &options, &machine.env())
}

/// What is repaired is served: services cope with what is missing, a second start finds the same,
/// and where nothing was lost nothing is missing. Whatever is damaged, salvage writes something.
///
/// fault: S7, S12, S13
#[test]
fn what_is_repaired_is_served() {
    let seed = seed(9);
    let (mut served, mut impassable, mut lossless) = (0, 0, 0);
    for ending in [Ending::Closed, Ending::Idle, Ending::Killed] {
        let specimen = Specimen::new(3, ending).unwrap();
        for damage in damages(&specimen.image, seed, 160) {
            let mut image = specimen.image.clone();
            damage.apply(&mut image).unwrap();
            let what = format!("{ending:?}, {damage:?}");
            let (machine, _) = machine(&image);
            let Some(accept) = corrupt(&machine) else { continue };
            salvage(DIR, "out", &machine.env()).unwrap_or_else(|e| panic!("{what}: {e}"));
            let done = match repaired(&machine, &accept) {
                Ok(done) => done,
                Err(error) => {
                    assert_eq!(error.exit_code(), exit::CORRUPT, "{what}: {error}");
                    impassable += 1;
                    continue;
                }
            };
            assert_eq!(corrupt(&machine), None, "{what}");
            let database = machine.open().unwrap();
            let found = rows(&database).unwrap();
            let missing = difference(&specimen.rows, &found);
            assert!(!done.losses.is_empty() || missing.is_none(), "{what}: {missing:?}, {done:?}");
            let hash = database.state_hash();
            drop(database);
            assert_eq!(machine.open().unwrap().state_hash(), hash, "{what}");
            let store = machine.start(None).unwrap_or_else(|error| panic!("{what}: {error}"));
            store.database.close().unwrap();
            drop(store);
            assert_eq!(corrupt(&machine), None, "{what}");
            served += 1;
            lossless += u32::from(done.losses.is_empty());
        }
    }
    println!("{served} served, {lossless} of them without a loss, {impassable} impassable");
    assert!(served > 100 && served > 4 * impassable, "{served}, {impassable}");
}

/// The crash campaign in small: at every operation of a repair and of a salvage.
///
/// fault: S20
#[test]
fn a_crash_inside_a_repair_or_a_salvage() {
    let mut crashes = 0;
    let specimen = Specimen::new(3, Ending::Idle).unwrap();
    for damage in damages(&specimen.image, seed(10), 8) {
        let mut image = specimen.image.clone();
        damage.apply(&mut image).unwrap();
        let (machine_before, disk) = machine(&image);
        let Some(accept) = corrupt(&machine_before) else { continue };
        let Ok(done) = repaired(&machine_before, &accept) else { continue };
        salvage(DIR, "out", &machine_before.env()).unwrap();
        let mut points = disk.trace().crash_points(image.clone());
        let hash = machine_before.open().unwrap().state_hash();
        while points.advance().is_some() {
            let at = points.position();
            for survival in Survival::EVERY {
                let what = format!("{damage:?}: at {at}, {survival:?}");
                let (machine, disk) = machine(&points.survivors(survival, at as u64));
                if let Some(found) = corrupt(&machine) {
                    assert_eq!(found, accept, "{what}");
                    let again = repaired(&machine, &accept);
                    let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(again.losses, done.losses, "{what}");
                }
                let finished = disk.image().read(Path::new("out/salvage.json")).is_ok();
                assert_eq!(salvage(DIR, "out", &machine.env()).is_err(), finished, "{what}");
                assert_eq!(machine.open().unwrap().state_hash(), hash, "{what}");
                crashes += 1;
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 500, "{crashes}");
}
