//! One run, crashed everywhere: the walk over a trace against runs that really stop there.

use std::path::Path;
use std::time::Instant;

use rekindle_env::{Disk, Image, LockMode, OperationKind, SimulatedDisk, Survival, durable};

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A run with everything in it; on a machine that is off it simply ends.
fn workload(disk: &SimulatedDisk, rounds: u64) -> std::io::Result<()> {
    durable::create_dir_all(disk, path("store/segments"))?;
    let log = disk.create(path("store/segments/1"))?;
    log.allocate(64 << 20)?;
    log.sync_all()?;
    durable::sync_parent(disk, path("store/segments/1"))?;
    let mut random = fastrand::Rng::with_seed(9);
    let mut end = 0;
    for round in 0..rounds {
        let frame = vec![random.u8(1..); random.usize(1..3000)];
        log.write_at(&frame, end)?;
        end += frame.len() as u64;
        if random.u8(..4) > 0 {
            log.sync_data()?;
            disk.mark(round);
        }
        match round % 16 {
            3 => durable::replace_file(disk, path("store/tip"), &round.to_le_bytes())?,
            7 => disk.create(path(&format!("store/{round}")))?.write_at(b"unsynced", 3)?,
            11 => disk.rename(path(&format!("store/{}", round - 4)), path("store/moved"))?,
            15 => log.punch_hole(0, end / 2)?,
            _ => {}
        }
    }
    disk.remove_file(path("store/moved"))
}

#[test]
fn walking_a_trace_equals_stopping_the_run() {
    let whole = SimulatedDisk::new(0);
    workload(&whole, 40).unwrap();
    let mut points = whole.trace().crash_points(Image::new());
    let mut performed = 0;
    loop {
        let stopped = SimulatedDisk::new(0);
        stopped.stop_after(performed);
        let finished = workload(&stopped, 40).is_ok();
        for survival in Survival::EVERY {
            let image = points.survivors(survival, performed);
            let crashed = stopped.crash(survival, performed).image();
            assert!(image == crashed, "{survival:?} after {performed} operations");
            assert!(image == points.survivors(survival, performed), "a function of the seed");
            let killed = points.after_kill(0);
            assert!(killed.image() == stopped.image());
            assert!(image == killed.crash(survival, performed).image(), "a kill syncs nothing");
        }
        if finished {
            break;
        }
        // Marks are no operations: the stopped run passes them.
        while points.advance().is_some_and(|operation| operation.mark().is_some()) {}
        let mut ahead = points.clone();
        while ahead.advance().is_some_and(|operation| operation.mark().is_some()) {
            points.advance();
        }
        performed += 1;
    }
    assert_eq!(performed, whole.operations());
}

/// A kill leaves the page cache: what was not synced is read by the next process, and may still be
/// lost when the power goes later.
#[test]
fn a_kill_keeps_what_waits_and_a_later_crash_may_lose_it() {
    let disk = SimulatedDisk::new(0);
    durable::create_file(&disk, path("file"), b"old").unwrap();
    let file = disk.open_write(path("file")).unwrap();
    let owner = disk.lock(path("."), LockMode::Exclusive).unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.create(path("other")).unwrap().sync_all().unwrap();
    let mut points = disk.trace().crash_points(Image::new());
    while points.advance().is_some() {}
    for killed in [disk.kill(1), points.after_kill(1)] {
        assert_eq!(killed.image(), disk.image());
        assert_eq!(killed.crash(Survival::None, 0).image().files().len(), 1);
        assert_eq!(killed.crash(Survival::None, 0).image().read("file").unwrap(), b"old");
        assert!(killed.lock(path("."), LockMode::Exclusive).unwrap().is_some());
        killed.open_write(path("file")).unwrap().sync_data().unwrap();
        killed.sync_dir(path(".")).unwrap();
        assert_eq!(killed.crash(Survival::None, 0).image(), disk.image());
    }
    drop((file, owner));
}

#[test]
fn a_trace_starts_at_the_image_of_its_disk() {
    let first = SimulatedDisk::new(0);
    workload(&first, 20).unwrap();
    let start = first.crash(Survival::Torn, 4).image();
    let second = SimulatedDisk::from_image(start.clone(), 0);
    durable::replace_file(&second, path("store/tip"), b"second run").unwrap();
    let mut points = second.trace().crash_points(start.clone());
    assert!(points.survivors(Survival::All, 0) == start);
    while points.advance().is_some() {}
    assert!(points.survivors(Survival::None, 0) == second.image());
    assert_eq!(points.position(), second.trace().operations().len());
}

#[test]
fn marks_are_in_the_trace_and_not_counted() {
    let disk = SimulatedDisk::new(0);
    disk.mark(17);
    assert_eq!(disk.operations(), 0);
    drop(disk.create(path("x")).unwrap());
    let trace = disk.trace();
    let seen: Vec<_> = trace.operations().iter().map(|op| (op.kind(), op.mark())).collect();
    assert_eq!(seen, [(OperationKind::Mark, Some(17)), (OperationKind::Create, None)]);
    assert_eq!(trace.operations()[1].to_string(), "Create x");
    disk.stop_recording();
    disk.sync_dir(path(".")).unwrap();
    assert!(disk.trace().operations().is_empty());
    assert_eq!(disk.operations(), 2);
}

/// A crash campaign spends its time in recoveries, not here.
#[test]
fn thousands_of_crash_points_are_cheap() {
    let disk = SimulatedDisk::new(0);
    workload(&disk, 1_000).unwrap();
    assert!(disk.operations() > 2_000, "{}", disk.operations());
    let started = Instant::now();
    let mut points = disk.trace().crash_points(Image::new());
    let mut images = 0_u64;
    while points.advance().is_some() {
        for survival in Survival::EVERY {
            std::hint::black_box(points.survivors(survival, images));
            images += 1;
        }
    }
    let spent = started.elapsed();
    println!("{images} images of {} operations in {spent:?}", disk.operations());
    assert!(spent.as_secs() < 20, "{images} images took {spent:?}");
}
