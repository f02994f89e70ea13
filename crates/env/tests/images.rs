//! Images: the ways in which a campaign damages them.

use std::io::ErrorKind;

use rekindle_env::{Image, RealDisk, SimulatedDisk};

fn image() -> Image {
    let mut image = Image::new();
    image.write_file("store/a", &[0; 10]).unwrap();
    image.write_file("store/deep/b", b"hello").unwrap();
    image
}

#[test]
fn an_image_lists_what_it_has() {
    assert_eq!(image().files(), [("store/a".into(), 10), ("store/deep/b".into(), 5)]);
    assert_eq!(image().directories().len(), 2);
    assert_eq!(image().read("store/deep/b").unwrap(), b"hello");
    assert_eq!(image().read("store/none").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(image().read("store/deep").unwrap_err().kind(), ErrorKind::IsADirectory);
}

#[test]
fn damage_stays_in_its_place_and_its_copy() {
    let whole = image();
    let mut damaged = whole.clone();
    damaged.flip("store/a", 8 * 3 + 1).unwrap();
    assert_eq!(damaged.read("store/a").unwrap(), [0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    assert!(damaged != whole);
    damaged.flip("store/a", 8 * 3 + 1).unwrap();
    assert!(damaged == whole);
    assert_eq!(damaged.flip("store/a", 80).unwrap_err().kind(), ErrorKind::InvalidInput);
    damaged.zero("store/deep/b", 1..3).unwrap();
    assert_eq!(damaged.read("store/deep/b").unwrap(), b"h\0\0lo");
    damaged.zero("store/deep/b", 4..100).unwrap();
    assert_eq!(damaged.read("store/deep/b").unwrap(), b"h\0\0l\0", "the length stays");
    damaged.truncate("store/deep/b", 1).unwrap();
    damaged.truncate("store/deep/b", 3).unwrap();
    assert_eq!(damaged.read("store/deep/b").unwrap(), b"h\0\0");
    damaged.swap("store/a", "store/deep/b").unwrap();
    assert_eq!(damaged.read("store/a").unwrap(), b"h\0\0");
    damaged.remove("store/deep").unwrap();
    assert_eq!(damaged.files(), [("store/a".into(), 3)]);
    assert_eq!(whole, image());
}

#[test]
fn images_are_equal_to_a_reader_whatever_made_them() {
    let mut other = Image::new();
    other.write_file("store/deep/b", b"some other").unwrap();
    other.write_file("store/deep/b", b"hello").unwrap();
    other.write_file("store/a", b"").unwrap();
    other.truncate("store/a", 10).unwrap();
    assert_eq!(other, image(), "zeros that were written and zeros that were not");
    let disk = SimulatedDisk::from_image(other, 0);
    assert_eq!(disk.image(), image());
}

#[test]
fn an_image_goes_to_a_real_directory_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut image = image();
    image.create_dir_all("store/empty").unwrap();
    image.save(&RealDisk, &dir.path().join("x")).unwrap();
    assert_eq!(Image::load(&RealDisk, &dir.path().join("x")).unwrap(), image);
    std::os::unix::fs::symlink("a", dir.path().join("x/link")).unwrap();
    let error = Image::load(&RealDisk, &dir.path().join("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
