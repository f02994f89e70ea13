//! The durable file operations: what they leave when the power goes during and after them.

use std::io::{self, ErrorKind};
use std::path::Path;

use rekindle_env::{
    Disk, EntryKind, Fault, FaultError, Image, OperationKind, ReadDisk, SimulatedDisk, Survival,
    durable,
};

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// Runs `change` on a disk with these files; after it, everything survives every crash; at every
/// operation during it, `legal` holds for what survives.
fn lasts(
    files: &[(&str, &[u8])],
    change: impl Fn(&SimulatedDisk) -> io::Result<()>,
    legal: impl Fn(&Image) -> bool,
) -> Image {
    let mut start = Image::new();
    for (name, bytes) in files {
        start.write_file(name, bytes).unwrap();
    }
    let disk = SimulatedDisk::from_image(start.clone(), 0);
    change(&disk).unwrap();
    for survival in Survival::EVERY {
        assert_eq!(disk.crash(survival, 0).image(), disk.image(), "{survival:?}");
    }
    let mut points = disk.trace().crash_points(start);
    loop {
        for survival in Survival::EVERY {
            assert!((0..16).all(|seed| legal(&points.survivors(survival, seed))), "{survival:?}");
        }
        if points.advance().is_none() {
            break;
        }
    }
    disk.image()
}

#[test]
fn a_created_file_lasts() {
    let short_or_whole = |image: &Image| image.read("d/x").is_ok_and(|bytes| bytes.len() <= 5000);
    let image = lasts(
        &[("d/other", b"")],
        |disk| durable::create_file(disk, path("d/x"), &[7; 5000]),
        |image| image.read("d/x").is_err() || short_or_whole(image),
    );
    assert_eq!(image.read("d/x").unwrap(), [7; 5000]);
    let disk = SimulatedDisk::from_image(image, 0);
    let again = durable::create_file(&disk, path("d/x"), b"");
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one() {
    let (old, new) = ([1; 5000], [2; 3000]);
    let image = lasts(
        &[("x", &old), ("x.tmp", b"left by an earlier crash")],
        |disk| durable::replace_file(disk, path("x"), &new),
        |image| image.read("x").is_ok_and(|bytes| bytes == old || bytes == new),
    );
    assert_eq!(image.files(), [("x".into(), 3000)]);
    lasts(&[], |disk| durable::replace_file(disk, path("x"), b"first"), |_| true);
}

#[test]
fn an_overwritten_file_lasts_and_costs_one_sync() {
    let change = |disk: &SimulatedDisk| durable::overwrite(disk, path("x"), &[2; 600]);
    for old in [vec![1; 600], vec![1; 100], vec![1; 2000]] {
        let image = lasts(&[("x", &old)], change, |image| image.read("x").is_ok());
        assert_eq!(image.read("x").unwrap(), [2; 600]);
    }
    let mut start = Image::new();
    start.write_file("x", &[1; 600]).unwrap();
    let disk = SimulatedDisk::from_image(start, 0);
    change(&disk).unwrap();
    let kinds: Vec<_> = disk.trace().operations().iter().map(|op| op.kind()).collect();
    assert_eq!(kinds, [OperationKind::Write, OperationKind::SyncData]);
}

#[test]
fn directories_last_level_by_level() {
    let image = lasts(
        &[],
        |disk| durable::create_dir_all(disk, path("a/b/c")),
        |image| image.directories().len() <= 3,
    );
    assert_eq!(image.directories(), [path("a"), path("a/b"), path("a/b/c")]);
    lasts(&[("a/x", b"")], |disk| durable::create_dir_all(disk, path("./a/b")), |_| true);
    let on_file = SimulatedDisk::from_image(image, 0);
    drop(on_file.create(path("a/file")).unwrap());
    for below in ["a/file", "a/file/x"] {
        let error = durable::create_dir_all(&on_file, path(below)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }
}

/// A directory whose creator died before the sync is made durable by the next start.
#[test]
fn a_directory_that_exists_is_made_to_last() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir(path("store")).unwrap();
    durable::create_dir_all(&disk, path("store")).unwrap();
    assert_eq!(disk.crash(Survival::None, 0).image().directories(), [path("store")]);
}

#[test]
fn renames_removals_and_copies_last() {
    let files: [(&str, &[u8]); 3] = [("a/x", &[1; 3000]), ("b/y", b"y"), ("a/z", b"z")];
    let exactly_one = |image: &Image| image.read("a/x").is_ok() != image.read("b/x").is_ok();
    lasts(&files, |disk| durable::rename(disk, path("a/x"), path("b/x")), exactly_one);
    lasts(
        &files,
        |disk| durable::rename(disk, path("a/x"), path("a/z")),
        |image| image.read("a/z").is_ok(),
    );
    lasts(&files, |disk| durable::remove_file(disk, path("b/y")), |_| true);
    let source_stays = |image: &Image| image.read("a/x").is_ok_and(|bytes| bytes == [1; 3000]);
    let image =
        lasts(&files, |disk| durable::copy_file(disk, path("a/x"), path("b/copy")), source_stays);
    assert_eq!(image.read("b/copy").unwrap(), [1; 3000]);
}

/// A second name lasts, and neither name takes the file away from the other.
#[test]
fn a_second_name_lasts() {
    let files: [(&str, &[u8]); 2] = [("a/x", &[1; 3000]), ("b/y", b"y")];
    let whole = |image: &Image| {
        image.read("a/x").is_ok_and(|bytes| bytes == [1; 3000])
            && image.read("b/x").map_or(true, |bytes| bytes == [1; 3000])
    };
    let image = lasts(&files, |disk| durable::hard_link(disk, path("a/x"), path("b/x")), whole);
    assert_eq!(image.read("b/x").unwrap(), [1; 3000]);
    let disk = SimulatedDisk::from_image(image, 0);
    let again = durable::hard_link(&disk, path("a/x"), path("b/y"));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    durable::remove_file(&disk, path("a/x")).unwrap();
    for survival in Survival::EVERY {
        let crashed = disk.crash(survival, 0).image();
        assert!(crashed.read("a/x").is_err());
        assert_eq!(crashed.read("b/x").unwrap(), [1; 3000]);
    }
}

#[test]
fn a_failed_sync_is_reported_by_every_operation() {
    type Change = fn(&SimulatedDisk) -> io::Result<()>;
    let changes: [Change; 4] = [
        |disk| durable::create_file(disk, path("new"), b"new"),
        |disk| durable::replace_file(disk, path("x"), b"new"),
        |disk| durable::overwrite(disk, path("x"), b"new"),
        |disk| durable::copy_file(disk, path("x"), path("y")),
    ];
    for change in changes {
        let disk = SimulatedDisk::new(0);
        durable::create_file(&disk, path("x"), b"old").unwrap();
        disk.inject(Fault::failed_sync());
        assert_eq!(change(&disk).unwrap_err().raw_os_error(), Some(5));
    }
    let disk = SimulatedDisk::new(0);
    disk.inject(Fault::error(OperationKind::SyncDir, FaultError::EIO));
    durable::create_file(&disk, path("x"), b"old").unwrap_err();
}

#[test]
fn reading_is_bounded_and_says_why() {
    let disk = SimulatedDisk::new(0);
    durable::create_file(&disk, path("x"), &[5; 100]).unwrap();
    assert_eq!(durable::read_file(&disk, path("x"), 100).unwrap(), [5; 100]);
    let error = durable::read_file(&disk, path("x"), 99).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(error.to_string(), "x has 100 bytes, at most 99 are expected");
    let file = disk.open_read(path("x")).unwrap();
    let mut buf = [0; 60];
    durable::read_exact_at(file.as_ref(), &mut buf, 40).unwrap();
    let error = durable::read_exact_at(file.as_ref(), &mut buf, 41).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn the_parent_of_a_bare_name_is_here() {
    assert_eq!(durable::parent(path("x")), path("."));
    assert_eq!(durable::parent(path("d/x")), path("d"));
    assert_eq!(durable::parent(path("/x")), path("/"));
    let disk = SimulatedDisk::new(0);
    assert_eq!(disk.stat(path(".")).unwrap().unwrap().kind, EntryKind::Directory);
}
