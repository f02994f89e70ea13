//! A crash at every disk operation of checkpointing and of recovery: always one named checkpoint
//! loads, and it is the one that meta names as the newest.

use std::collections::BTreeMap;

use rekindle_engine::recovery::Depth;
use rekindle_engine::{Engine, MemoryEngine, checkpoint};
use rekindle_env::{Image, ReadDisk, SimulatedDisk, Survival};

use crate::support::{folder, layer, look, new_disk, path, put, recover, write};

/// Writes checkpoints 1 to 4, naming each (a mark stands for the journal's meta) and retiring what
/// is no longer named; answers the disk and the hash of each checkpoint.
fn workload() -> (SimulatedDisk, BTreeMap<u64, u128>) {
    let disk = new_disk();
    let engine = MemoryEngine::new();
    let mut hashes = BTreeMap::new();
    for id in 1..=4_u64 {
        // The third has several writes of a MiB, so that a crash can tear it in the middle.
        let rows = if id == 3 { 40 } else { 5 };
        for number in 0..rows {
            put(&engine, 1, &[(&[id as u8, number], &vec![id as u8; 60_000])]);
        }
        hashes.insert(id, write(&disk, &engine, id).footer.state_hash);
        assert_eq!(hashes[&id], engine.state_hash());
        disk.mark(id);
        checkpoint::retire(&disk, &folder(), &[id, id - 1]).unwrap();
    }
    (disk, hashes)
}

fn image_after(points: &mut rekindle_env::CrashPoints) -> Option<Option<u64>> {
    points.advance().map(rekindle_env::Operation::mark)
}

/// Recovers, and once more: the same state, and nothing left to do.
fn recovers(disk: &SimulatedDisk, named: u64, hash: u128, what: &str) {
    let layer = layer([named, named.saturating_sub(1)], Depth::Open);
    for round in 0..2 {
        let (recovered, report) = recover(&layer, disk).unwrap_or_else(|e| panic!("{what}: {e}"));
        let engine = recovered.engine.expect("nobody took it");
        assert_eq!(engine.state_hash(), hash, "{what}");
        assert!(report.findings.iter().all(|f| f.verdict.is_none()), "{what}: {report:?}");
        assert!(round == 0 || report.findings.is_empty(), "{what}: left {report:?}");
        assert!(recovered.next_id > named);
    }
    let names = disk.list(&folder()).unwrap_or_default();
    assert!(names.len() <= 2, "{what}: {names:?}");
}

/// fault: S6, S20
#[test]
fn a_crash_at_every_operation_leaves_a_loadable_checkpoint() {
    let (disk, hashes) = workload();
    let mut points = disk.trace().crash_points(Image::new());
    let mut named = 0;
    let mut crashes = 0;
    while let Some(mark) = image_after(&mut points) {
        named = mark.unwrap_or(named);
        for survival in Survival::EVERY {
            for seed in 0..2 {
                let at = points.position();
                let what = format!("operation {at}, {survival:?}, seed {seed}, named {named}");
                let crashed = SimulatedDisk::from_image(points.survivors(survival, seed), seed);
                let hash = hashes.get(&named).copied();
                let hash = hash.unwrap_or_else(|| MemoryEngine::new().state_hash());
                recovers(&crashed, named, hash, &what);
                crashes += 1;
            }
        }
    }
    assert_eq!(named, 4);
    assert!(crashes >= 400, "{crashes} crashes");
}

/// The same inside recovery: whatever act had removed when the power went, the next one finishes.
///
/// fault: S20
#[test]
fn a_crash_inside_recovery_changes_nothing() {
    let (disk, hashes) = workload();
    let mut points = disk.trace().crash_points(Image::new());
    let mut named = 0;
    let mut nested = 0;
    while let Some(mark) = image_after(&mut points) {
        named = mark.unwrap_or(named);
        if named == 0 {
            continue;
        }
        let image = points.survivors(Survival::All, 0);
        let first = SimulatedDisk::from_image(image.clone(), 0);
        recover(&layer([named, named - 1], Depth::Open), &first).unwrap();
        let mut inner = first.trace().crash_points(image);
        while inner.advance().is_some() {
            for survival in Survival::EVERY {
                let what = format!("operation {}, then {}", points.position(), inner.position());
                let crashed = SimulatedDisk::from_image(inner.survivors(survival, 1), 1);
                recovers(&crashed, named, hashes[&named], &what);
                nested += 1;
            }
        }
    }
    assert!(nested >= 30, "{nested} nested crashes");
}

/// Scan, validate and plan, of either depth, and loading change no byte.
#[test]
fn looking_changes_nothing() {
    let (disk, hashes) = workload();
    write(&disk, &MemoryEngine::new(), 9);
    for depth in [Depth::Open, Depth::Everything] {
        let before = disk.operations();
        let examined = look(&layer([4, 3], depth), &disk).unwrap();
        assert_eq!(examined.trusted.load(&disk).unwrap().state_hash(), hashes[&4]);
        assert_eq!(disk.operations(), before);
    }
    assert!(disk.stat(&path(9)).unwrap().is_some());
}
