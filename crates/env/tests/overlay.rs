//! The overlay over a real directory: it sees everything and changes nothing.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rekindle_env::{Disk, LockMode, OverlayDisk, ReadDisk, RealDisk, durable};

use super::programs::picture;

fn overlay() -> (tempfile::TempDir, OverlayDisk) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("a"), [1; 10_000]).unwrap();
    std::fs::write(dir.path().join("sub/b"), b"below").unwrap();
    (dir, OverlayDisk::new(Arc::new(RealDisk::new())))
}

#[test]
fn a_dry_run_sees_its_changes_and_the_disk_does_not() {
    let (dir, overlay) = overlay();
    let at = |name: &str| dir.path().join(name);
    let before = picture(&RealDisk, dir.path());
    assert_eq!(picture(&overlay, dir.path()), before);
    durable::overwrite(&overlay, &at("a"), &[2; 10]).unwrap();
    durable::replace_file(&overlay, &at("sub/b"), b"replaced").unwrap();
    durable::create_dir_all(&overlay, &at("x/y")).unwrap();
    overlay.rename(&at("sub"), &at("x/y/sub")).unwrap();
    durable::remove_file(&overlay, &at("a")).unwrap();
    assert!(overlay.stat(&at("a")).unwrap().is_none());
    assert!(overlay.list(&at("sub")).is_err());
    assert_eq!(durable::read_file(&overlay, &at("x/y/sub/b"), 100).unwrap(), b"replaced");
    assert_eq!(picture(&RealDisk, dir.path()), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_renamed_directory_takes_along_what_lies_underneath() {
    let (dir, overlay) = overlay();
    overlay.rename(&dir.path().join("sub"), &dir.path().join("moved")).unwrap();
    let read = durable::read_file(&overlay, &dir.path().join("moved/b"), 100).unwrap();
    assert_eq!(read, b"below");
    assert!(overlay.remove_dir(&dir.path().join("moved")).is_err(), "it is not empty");
}

#[test]
fn a_page_that_is_written_in_part_keeps_the_rest_from_underneath() {
    let (dir, overlay) = overlay();
    let file = overlay.open_write(&dir.path().join("a")).unwrap();
    file.write_at(&[2; 10], 4090).unwrap();
    let mut expected = vec![1; 10_000];
    expected[4090..4100].fill(2);
    let read = |len| durable::read_file(&overlay, &dir.path().join("a"), len);
    assert_eq!(read(10_000).unwrap(), expected);
    file.set_len(5000).unwrap();
    file.allocate(64 << 20).unwrap();
    expected.truncate(5000);
    expected.resize(64 << 20, 0);
    assert!(read(64 << 20).unwrap() == expected, "what was cut does not come back");
}

#[test]
fn links_in_the_way_are_followed_and_links_at_the_end_are_not() {
    let (dir, overlay) = overlay();
    symlink("sub", dir.path().join("link")).unwrap();
    symlink("a", dir.path().join("link-to-file")).unwrap();
    for disk in [&overlay as &dyn Disk, &RealDisk] {
        let read = |name: &str| durable::read_file(disk, &dir.path().join(name), 100);
        assert_eq!(read("link/b").unwrap(), b"below");
        assert!(read("link-to-file").is_err());
        assert_eq!(disk.list(&dir.path().join("link")).unwrap()[0].name, "b");
        assert!(disk.list(&dir.path().join("link-to-file")).is_err());
    }
}

#[test]
fn locks_of_an_overlay_are_its_own() {
    let (dir, overlay) = overlay();
    let owner = RealDisk.lock(dir.path(), LockMode::Exclusive).unwrap();
    let dry = overlay.lock(dir.path(), LockMode::Exclusive).unwrap();
    assert!(owner.is_some() && dry.is_some());
    assert!(overlay.clone().lock(dir.path(), LockMode::Shared).unwrap().is_none());
    drop(dry);
    assert!(overlay.lock(dir.path(), LockMode::Shared).unwrap().is_some());
    assert!(overlay.available_bytes(dir.path()).unwrap() > 1 << 40);
    assert!(overlay.available_bytes(Path::new("no/such")).is_err());
}
