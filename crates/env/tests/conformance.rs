//! The simulated disk and the overlay against the real disk: equal programs, equal outcomes.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rekindle_env::{Disk, OverlayDisk, ReadDisk, RealDisk, SimulatedDisk};

use super::programs::{Runner, Step, picture, program};

/// Whether the file system of the temporary folder makes holes; the trait allows that it does not.
fn makes_holes(dir: &Path) -> bool {
    let file = RealDisk.create(&dir.join("probe")).unwrap();
    file.write_at(&[1; 8192], 0).unwrap();
    file.punch_hole(0, 4096).unwrap();
    let mut byte = [9];
    file.read_at(&mut byte, 0).unwrap();
    RealDisk.remove_file(&dir.join("probe")).unwrap();
    byte == [0]
}

/// A file's name carries the probe's length in `stat`, so both roots are named alike.
fn simulated() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    disk.create_dir(Path::new("store")).unwrap();
    disk
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_simulated_disk_behaves_as_the_real_one(steps in program(60)) {
        let dir = tempfile::tempdir().unwrap();
        let holes = makes_holes(dir.path());
        let (real, simulated) = (RealDisk::new(), simulated());
        let mut on_real = Runner::new(&real, dir.path());
        let mut on_simulated = Runner::new(&simulated, "store");
        for step in steps.iter().filter(|step| holes || !matches!(step, Step::Punch(..))) {
            prop_assert_eq!(on_simulated.run(step), on_real.run(step), "{:?}", step);
        }
        prop_assert_eq!(picture(&simulated, Path::new("store")), picture(&real, dir.path()));
    }

    #[test]
    fn an_overlay_behaves_as_a_copy_and_leaves_its_base_alone(
        before in program(40),
        after in program(60),
    ) {
        let base = simulated();
        let mut runner = Runner::new(&base, "store");
        // Two names of one file underneath are two files to the overlay.
        let before = before.iter().filter(|step| !matches!(step, Step::HardLink(..)));
        before.for_each(|step| drop(runner.run(step)));
        drop(runner);
        let untouched = base.image();
        let operations = base.operations();
        let copy = SimulatedDisk::from_image(base.image(), 1);
        let overlay = OverlayDisk::new(Arc::new(base.clone()));
        let mut on_overlay = Runner::new(&overlay, "store");
        let mut on_copy = Runner::new(&copy, "store");
        for step in &after {
            prop_assert_eq!(on_overlay.run(step), on_copy.run(step), "{:?}", step);
        }
        prop_assert_eq!(picture(&overlay, Path::new("store")), picture(&copy, Path::new("store")));
        prop_assert_eq!(base.operations(), operations);
        prop_assert_eq!(base.image(), untouched);
    }
}

/// Paths of all spellings name the same entries on a simulated disk.
#[test]
fn spellings_of_a_path_do_not_matter() {
    let disk = simulated();
    drop(disk.create(Path::new("/store/x")).unwrap());
    for path in ["store/x", "./store/x", "store/../store/./x", "/store/x"] {
        assert_eq!(disk.stat(Path::new(path)).unwrap().unwrap().name, "x");
    }
    assert_eq!(disk.list(Path::new(".")).unwrap(), disk.list(Path::new("")).unwrap());
    disk.sync_dir(Path::new(".")).unwrap();
}
