//! What a crash leaves: every model against what was synced.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use rekindle_env::{Disk, Image, SimulatedDisk, Survival, durable};

const SEEDS: u64 = 64;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with one durable file of eight sectors of ones.
fn with_old_file() -> SimulatedDisk {
    let mut image = Image::new();
    image.write_file("file", &[1; 4096]).unwrap();
    SimulatedDisk::from_image(image, 0)
}

fn crashes(disk: &SimulatedDisk, survival: Survival) -> impl Iterator<Item = Image> + '_ {
    (0..SEEDS).map(move |seed| disk.crash(survival, seed).image())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each slot is written once; whatever was synced is there after every crash, and after
    /// [`Survival::None`] nothing else is.
    #[test]
    fn synced_bytes_survive_every_model(
        steps in prop::collection::vec((0..3_usize, 0..40_usize, prop::bool::weighted(0.2)), 1..60),
        seed in any::<u64>(),
    ) {
        const SLOT: usize = 300;
        let disk = SimulatedDisk::new(0);
        let names = ["x", "y", "z"];
        for name in names {
            durable::create_file(&disk, path(name), b"").unwrap();
        }
        let files = names.map(|name| disk.open_write(path(name)).unwrap());
        let mut written = [const { BTreeSet::new() }; 3];
        let mut synced = [const { BTreeSet::new() }; 3];
        for (file, slot, sync) in steps {
            if written[file].insert(slot) {
                files[file].write_at(&[7; SLOT], (slot * SLOT) as u64).unwrap();
            }
            if sync {
                files[file].sync_data().unwrap();
                synced[file] = written[file].clone();
            }
            for survival in Survival::EVERY {
                let image = disk.crash(survival, seed).image();
                for (name, synced) in names.iter().zip(&synced) {
                    let bytes = image.read(name).unwrap();
                    let is_there = |slot: &usize| {
                        bytes.get(slot * SLOT..(slot + 1) * SLOT) == Some([7; SLOT].as_slice())
                    };
                    prop_assert!(synced.iter().all(is_there), "{survival:?}");
                    if survival == Survival::None {
                        let sevens = bytes.iter().filter(|byte| **byte == 7).count();
                        prop_assert_eq!(sevens, synced.len() * SLOT);
                    }
                }
            }
        }
    }
}

#[test]
fn everything_or_nothing_of_the_unsynced_is_there() {
    let disk = with_old_file();
    disk.open_write(path("file")).unwrap().write_at(&[2; 512], 0).unwrap();
    drop(disk.create(path("other")).unwrap());
    assert_eq!(disk.crash(Survival::All, 0).image(), disk.image());
    let none = disk.crash(Survival::None, 0).image();
    assert_eq!(none, with_old_file().image());
}

#[test]
fn a_prefix_is_one_of_the_states_that_were_passed() {
    let disk = with_old_file();
    let file = disk.open_write(path("file")).unwrap();
    let mut passed = vec![disk.image()];
    for byte in 2..10 {
        file.write_at(&[byte; 700], u64::from(byte) * 500).unwrap();
        drop(disk.create(path(&format!("entry-{byte}"))).unwrap());
    }
    // The states in between are those of the same run, stopped after each operation.
    for stop in 0..disk.operations() {
        let again = with_old_file();
        again.stop_after(stop);
        let file = again.open_write(path("file")).unwrap();
        for byte in 2..10 {
            let _ = file.write_at(&[byte; 700], u64::from(byte) * 500);
            let _ = again.create(path(&format!("entry-{byte}")));
        }
        passed.push(again.image());
    }
    passed.push(disk.image());
    let seen: BTreeSet<usize> = crashes(&disk, Survival::Prefix)
        .map(|image| passed.iter().position(|state| *state == image).expect("a state passed"))
        .collect();
    assert!(seen.len() > 10, "prefixes of many lengths: {seen:?}");
}

/// fault: S4
#[test]
fn torn_writes_leave_whole_sectors_of_512_bytes() {
    let disk = with_old_file();
    disk.open_write(path("file")).unwrap().write_at(&[2; 4096], 0).unwrap();
    let mut mixtures = BTreeSet::new();
    for image in crashes(&disk, Survival::Torn) {
        let bytes = image.read("file").unwrap();
        assert_eq!(bytes.len(), 4096);
        let sectors: Vec<u8> = bytes
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
                sector[0]
            })
            .collect();
        mixtures.insert(sectors);
    }
    assert!(mixtures.len() > 20, "many mixtures of old and new: {}", mixtures.len());
}

/// A sector is what the page cache held at some moment: the second write never without the first.
#[test]
fn writes_to_one_sector_survive_in_their_order() {
    let disk = with_old_file();
    let file = disk.open_write(path("file")).unwrap();
    file.write_at(&[2; 100], 0).unwrap();
    file.write_at(&[3; 100], 50).unwrap();
    for survival in [Survival::Subset, Survival::Torn] {
        let states: BTreeSet<(u8, u8)> = crashes(&disk, survival)
            .map(|image| image.read("file").unwrap())
            .map(|bytes| (bytes[0], bytes[60]))
            .collect();
        assert_eq!(states, BTreeSet::from([(1, 1), (2, 2), (2, 3)]), "{survival:?}");
    }
}

/// A write onto a hole or a cut shows zeros beside it, never what was there before.
#[test]
fn a_write_after_a_cut_brings_the_cut_to_its_sector() {
    for cut in [true, false] {
        let disk = with_old_file();
        let file = disk.open_write(path("file")).unwrap();
        if cut {
            file.set_len(0).unwrap();
        } else {
            file.punch_hole(0, 4096).unwrap();
        }
        file.write_at(&[2; 100], 0).unwrap();
        for image in crashes(&disk, Survival::Torn) {
            let bytes = image.read("file").unwrap();
            if bytes.first() == Some(&2) {
                assert!(bytes.iter().skip(100).take(412).all(|byte| *byte == 0), "cut: {cut}");
            }
        }
    }
}

/// fault: S5
#[test]
fn size_and_bytes_survive_independently() {
    let disk = with_old_file();
    disk.open_write(path("file")).unwrap().write_at(&[2; 512], 4096).unwrap();
    let mut seen = BTreeSet::new();
    for image in crashes(&disk, Survival::Subset) {
        let bytes = image.read("file").unwrap();
        assert!(bytes.iter().take(4096).all(|byte| *byte == 1));
        seen.insert((bytes.len(), bytes.get(4096).copied()));
    }
    let grown_empty = (4608, Some(0));
    let grown = (4608, Some(2));
    assert_eq!(seen, BTreeSet::from([(4096, None), grown_empty, grown]));
}

/// Bytes whose size did not survive do not come back when the file grows again.
#[test]
fn bytes_without_their_size_are_gone() {
    let disk = with_old_file();
    disk.open_write(path("file")).unwrap().write_at(&[2; 512], 4096).unwrap();
    for seed in 0..SEEDS {
        let crashed = disk.crash(Survival::Subset, seed);
        let file = crashed.open_write(path("file")).unwrap();
        if file.len().unwrap() == 4096 {
            file.set_len(8192).unwrap();
            assert!(crashed.image().read("file").unwrap()[4096..].iter().all(|byte| *byte == 0));
        }
    }
}

/// fault: S6
#[test]
fn an_entry_lasts_only_with_its_directory_synced() {
    let disk = SimulatedDisk::new(0);
    let file = disk.create(path("file")).unwrap();
    file.write_at(b"content", 0).unwrap();
    file.sync_all().unwrap();
    assert!(disk.crash(Survival::None, 0).image().files().is_empty());
    let present = crashes(&disk, Survival::Subset).filter(|image| !image.files().is_empty());
    assert!((1..SEEDS as usize).contains(&present.count()));
    disk.sync_dir(path(".")).unwrap();
    for survival in Survival::EVERY {
        assert_eq!(disk.crash(survival, 5).image().read("file").unwrap(), b"content");
    }
}

#[test]
fn an_entry_may_survive_without_its_content() {
    let disk = SimulatedDisk::new(0);
    disk.create(path("file")).unwrap().write_at(b"content", 0).unwrap();
    let lens: BTreeSet<Option<u64>> = crashes(&disk, Survival::Subset)
        .map(|image| image.files().first().map(|(_, len)| *len))
        .collect();
    assert_eq!(lens, BTreeSet::from([None, Some(0), Some(7)]));
    disk.sync_dir(path(".")).unwrap();
    assert_eq!(disk.crash(Survival::None, 0).image().read("file").unwrap(), b"");
}

/// The classic mistake: renamed before its content was synced.
#[test]
fn a_rename_is_atomic_but_does_not_wait_for_content() {
    let disk = with_old_file();
    let next = disk.create(path("next")).unwrap();
    next.write_at(&[2; 4096], 0).unwrap();
    disk.rename(path("next"), path("file")).unwrap();
    let mut seen = BTreeSet::new();
    for image in crashes(&disk, Survival::Subset) {
        let bytes = image.read("file").expect("a rename never leaves the name empty");
        let renamed = bytes != [1; 4096];
        assert!(!renamed || image.read("next").is_err(), "renamed, so the old name is gone");
        seen.insert(bytes.first().copied());
    }
    assert_eq!(seen, BTreeSet::from([None, Some(0), Some(1), Some(2)]));
}

/// Either directory's sync makes a rename between two directories durable, as a whole.
#[test]
fn a_rename_between_directories_is_never_half_done() {
    for synced in ["from", "to"] {
        let disk = SimulatedDisk::new(0);
        durable::create_dir_all(&disk, path("from")).unwrap();
        durable::create_dir_all(&disk, path("to")).unwrap();
        disk.create(path("from/x")).unwrap().sync_all().unwrap();
        disk.rename(path("from/x"), path("to/y")).unwrap();
        for survival in [Survival::Subset, Survival::Torn, Survival::Prefix] {
            for image in crashes(&disk, survival) {
                assert!(image.files().len() <= 1, "one file has one name");
            }
        }
        disk.sync_dir(path(synced)).unwrap();
        let left = disk.crash(Survival::None, 0).image().files();
        assert_eq!(left, [("to/y".into(), 0)], "{synced} synced");
    }
}

/// A file is never lost because a later one took a name that it had left.
#[test]
fn a_name_taken_again_does_not_lose_its_first_file() {
    let disk = with_old_file();
    disk.rename(path("file"), path("old")).unwrap();
    disk.create(path("file")).unwrap().write_at(&[2; 10], 0).unwrap();
    for survival in Survival::EVERY {
        for image in crashes(&disk, survival) {
            let kept = |name| image.read(name).is_ok_and(|bytes| bytes == [1; 4096]);
            assert!(kept("file") || kept("old"), "{survival:?}");
        }
    }
}

#[test]
fn what_is_in_a_directory_goes_and_comes_with_it() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir(path("d")).unwrap();
    durable::create_file(&disk, path("d/file"), b"content").unwrap();
    assert!(disk.crash(Survival::None, 0).image().files().is_empty(), "d itself was not synced");
    disk.sync_dir(path(".")).unwrap();
    let image = disk.crash(Survival::None, 0).image();
    assert_eq!(image.read("d/file").unwrap(), b"content");
    disk.remove_file(path("d/file")).unwrap();
    disk.remove_dir(path("d")).unwrap();
    for image in crashes(&disk, Survival::Subset) {
        let whole = image.directories().len() == 1;
        assert!(whole || image.files().is_empty(), "a directory was empty when it went");
    }
}

/// A sync that began earlier covers what was done before that, of bytes and of entries.
///
/// fault: S3
#[test]
fn a_sync_reaches_as_far_as_its_beginning() {
    let disk = with_old_file();
    let file = disk.open_write(path("file")).unwrap();
    disk.create(path("before")).unwrap();
    file.write_at(&[2; 512], 0).unwrap();
    let began = disk.moment();
    file.write_at(&[3; 512], 512).unwrap();
    disk.create(path("behind")).unwrap();
    disk.sync_since(began);
    file.sync_data().unwrap();
    disk.sync_since(began);
    disk.sync_dir(path("")).unwrap();
    let left = disk.crash(Survival::None, 1).image();
    let bytes = left.read("file").unwrap();
    assert_eq!((bytes[0], bytes[512]), (2, 1));
    let names: Vec<_> = left.files().into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, [path("before"), path("file")]);
    // The next ones begin when they are called.
    file.sync_data().unwrap();
    disk.sync_dir(path("")).unwrap();
    let left = disk.crash(Survival::None, 1).image();
    assert_eq!((left.read("file").unwrap()[512], left.files().len()), (3, 3));
}
