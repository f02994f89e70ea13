//! Every label of the journal, produced by damaging a real directory of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle_env::{Disk, Image, ReadDisk, SimulatedDisk, Survival};
use rekindle_journal::{Depth, Journal};
use rekindle_recovery::{Acked, Finding, Verdict};

use crate::support::{DIR, Setup, append, dense};

const FIRST: &str = "store/shards/0/journal/0000000000000001";

fn store() -> SimulatedDisk {
    let disk = SimulatedDisk::new(3);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new(".")).unwrap();
    disk
}

/// One segment with `count` frames of one transaction, killed with the last frame unproven.
fn killed(count: u64) -> Image {
    let disk = store();
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    for version in 1..=count {
        let ticket = append(&opened.journal, version);
        opened.journal.wait(ticket);
    }
    disk.crash(Survival::All, 1).image()
}

/// Several segments, closed cleanly.
fn closed() -> Image {
    let disk = store();
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    for version in 1..=200 {
        let ticket = append(&opened.journal, version);
        opened.journal.wait(ticket);
    }
    opened.journal.close().unwrap();
    disk.crash(Survival::All, 1).image()
}

fn setup(image: &Image) -> Setup {
    Setup::new(Arc::new(SimulatedDisk::from_image(image.clone(), 1)))
}

fn verify(image: &Image) -> (Vec<Finding>, Vec<String>, bool) {
    setup(image).examine(Depth::Full).unwrap()
}

/// The labels and whether the start refuses; `serve` and `verify` agree.
fn labels(image: &Image) -> (Vec<String>, bool) {
    let (_, full, refuses) = verify(image);
    let (_, _, start_refuses) = setup(image).examine(Depth::Start).unwrap();
    assert_eq!(refuses, start_refuses, "serve refuses exactly what verify refuses");
    assert_eq!(setup(image).open().is_err(), refuses);
    (full, refuses)
}

fn has(image: &Image, label: &str, refuses: bool) -> Finding {
    let (found, refused) = labels(image);
    assert!(found.iter().any(|l| l == label), "{found:?} has no {label}");
    assert_eq!(refused, refuses, "{label}");
    let (findings, _, _) = verify(image);
    findings.into_iter().find(|finding| finding.label.0 == label).unwrap_or_else(|| {
        panic!("{label} has no finding");
    })
}

/// Frames of one transaction: 64 header, 32 record, 24 prefix, 100 bytes, padded to 224.
const FRAME: u64 = 224;

/// produces: journal-1
#[test]
fn a_damaged_last_frame_that_nothing_proves_is_torn() {
    let mut image = killed(5);
    let last = 4096 + 4 * FRAME;
    image.zero(FIRST, last + 100..last + 5000).unwrap();
    let finding = has(&image, "journal-1", false);
    assert_eq!((finding.verdict, finding.acked), (Some(Verdict::Torn), Acked::Unknown));
    assert_eq!((finding.place.offset, finding.place.from), (last, last));
    let opened = setup(&image).open().unwrap();
    assert_eq!(dense(&opened.replayed), 4);
}

/// produces: journal-2
#[test]
fn a_damaged_frame_with_a_later_one_is_corrupt() {
    for bit in [0, 40, 100 * 8, 200 * 8] {
        let mut image = killed(5);
        image.flip(FIRST, (4096 + 2 * FRAME) * 8 + bit).unwrap();
        let finding = has(&image, "journal-2", true);
        assert_eq!((finding.verdict, finding.acked), (Some(Verdict::Corrupt), Acked::Yes));
        assert_eq!(finding.place.from, 4096 + 2 * FRAME);
        assert_eq!(finding.place.to, 4096 + 3 * FRAME);
    }
}

/// produces: journal-3
#[test]
fn a_damaged_last_frame_that_tip_proves_is_corrupt() {
    let disk = store();
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    let ticket = append(&opened.journal, 1);
    opened.journal.wait(ticket);
    opened.journal.tick();
    opened.journal.tick();
    let mut image = disk.crash(Survival::None, 1).image();
    image.flip(FIRST, 4200 * 8).unwrap();
    has(&image, "journal-3", true);
    let mut gone = disk.crash(Survival::None, 1).image();
    gone.zero(FIRST, 4096..8192).unwrap();
    has(&gone, "journal-3", true);
}

/// produces: journal-4
#[test]
fn a_damaged_frame_that_a_clean_end_proves_is_corrupt() {
    let mut image = closed();
    let newest = segments(&image).pop().unwrap();
    let bytes = image.read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    image.remove("store/shards/0/tip").unwrap();
    image.zero(&newest, end / 8 * 8..end + 8).unwrap();
    has(&image, "journal-4", true);
}

/// produces: journal-5
#[test]
fn damage_in_an_earlier_segment_is_corrupt() {
    let mut image = closed();
    assert!(segments(&image).len() > 2);
    image.flip(FIRST, 5000 * 8).unwrap();
    has(&image, "journal-5", true);
    let mut end = closed();
    let bytes = end.read(FIRST).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 / FRAME * FRAME;
    end.zero(FIRST, last - FRAME..bytes.len() as u64).unwrap();
    has(&end, "journal-5", true);
}

/// produces: journal-6, journal-12
#[test]
fn damage_below_the_checkpoint_is_healed() {
    let mut image = closed();
    image.flip(FIRST, 5000 * 8).unwrap();
    let healed = |image: &Image, label: &str| {
        let mut setup = setup(image);
        setup.replay_from = 150;
        let (findings, _, refuses) = setup.examine(Depth::Full).unwrap();
        assert!(!refuses, "{findings:?}");
        let finding = findings.iter().find(|finding| finding.label.0 == label).unwrap();
        assert_eq!((finding.verdict, finding.acked), (Some(Verdict::Healed), Acked::Yes));
        let opened = setup.open().unwrap();
        assert_eq!(opened.replayed.last().unwrap().0, 200);
    };
    healed(&image, "journal-6");
    let mut headless = closed();
    headless.flip(FIRST, 100).unwrap();
    healed(&headless, "journal-12");
    let mut missing = closed();
    missing.remove(FIRST).unwrap();
    healed(&missing, "journal-12");
}

fn segments(image: &Image) -> Vec<PathBuf> {
    let files = image.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.to_string_lossy().contains("/journal/")).collect()
}

/// produces: journal-7, journal-8
#[test]
fn a_missing_segment_is_named() {
    let whole = closed();
    assert_eq!(labels(&whole), (vec![], false), "a closed journal has nothing to say");
    for path in segments(&whole) {
        let mut image = whole.clone();
        image.remove(&path).unwrap();
        let finding = has(&image, "journal-8", true);
        assert_eq!(Path::new(DIR).join(&finding.place.file), path);
    }
}

/// produces: journal-9, journal-10
#[test]
fn a_damaged_header_or_length_is_named() {
    for path in segments(&closed()) {
        let mut image = closed();
        image.flip(&path, 17 * 8).unwrap();
        has(&image, "journal-9", true);
        let mut short = closed();
        let len = short.read(&path).unwrap().len() as u64;
        short.truncate(&path, len - 1).unwrap();
        has(&short, "journal-10", true);
        let mut empty = closed();
        empty.truncate(&path, 0).unwrap();
        has(&empty, "journal-9", true);
    }
}

/// produces: journal-11
#[test]
fn a_segment_in_anothers_place_is_named() {
    let mut image = closed();
    let all = segments(&image);
    image.swap(&all[0], &all[1]).unwrap();
    has(&image, "journal-11", true);
}

/// produces: journal-13, journal-14
#[test]
fn a_segment_that_never_served_is_set_aside() {
    let mut image = closed();
    image.write_file("store/shards/0/journal/00000000000000ff", &[1; 500]).unwrap();
    let finding = has(&image, "journal-13", false);
    assert_eq!((finding.verdict, finding.acked), (Some(Verdict::Torn), Acked::No));
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    drop(Setup::new(Arc::new(disk.clone())).open().unwrap());
    assert_eq!(disk.list(Path::new("store/quarantine")).unwrap().len(), 1);
    image.flip("store/shards/0/meta.a", 300).unwrap();
    has(&image, "journal-14", true);
}

/// A name from which no next segment can be counted on is not one of ours, whatever it holds: no
/// start goes on from it, and it stays.
///
/// fault: S13
#[test]
fn a_name_at_the_end_of_its_range_is_left_alone() {
    let newest = segments(&closed()).pop().unwrap();
    for number in [u64::MAX, u64::MAX - 1, (1 << 62) + 1, 1 << 62, 1 << 40] {
        for content in [vec![], vec![1; 500], closed().read(&newest).unwrap()] {
            let mut image = closed();
            let path = format!("store/shards/0/journal/{number:016x}");
            image.write_file(&path, &content).unwrap();
            assert_eq!(labels(&image), (vec!["journal-18".to_owned()], false), "{path}");
            let disk = SimulatedDisk::from_image(image, 1);
            for _ in 0..2 {
                let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
                let next = opened.replayed.len() as u64 + 1;
                for version in next..next + 200 {
                    opened.journal.wait(append(&opened.journal, version));
                }
                opened.journal.close().unwrap();
            }
            assert_eq!(disk.image().read(&path).unwrap(), content);
        }
    }
}

/// produces: journal-15
#[test]
fn a_segment_that_was_given_up_is_removed() {
    let disk = store();
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    for version in 1..=200 {
        let ticket = append(&opened.journal, version);
        opened.journal.wait(ticket);
    }
    let before = disk.crash(Survival::All, 1).image();
    opened.journal.checkpointed([2, 1], 150).unwrap();
    let mut image = disk.crash(Survival::All, 1).image();
    assert!(segments(&image).len() < segments(&before).len());
    image.write_file(FIRST, &before.read(FIRST).unwrap()).unwrap();
    let (_, found, refuses) = verify(&image);
    assert!(found.contains(&"journal-15".to_owned()) && !refuses, "{found:?}");
    let disk = SimulatedDisk::from_image(image, 1);
    let mut setup = Setup::new(Arc::new(disk.clone()));
    setup.replay_from = 150;
    drop(setup.open().unwrap());
    assert!(disk.image().read(FIRST).is_err());
}

/// produces: journal-16
#[test]
fn a_newer_format_is_refused_by_name() {
    let mut image = closed();
    let mut bytes = image.read(FIRST).unwrap();
    bytes[10] = 9;
    let crc = crc32c::crc32c(&bytes[..4092]).to_le_bytes();
    bytes[4092..4096].copy_from_slice(&crc);
    image.write_file(FIRST, &bytes).unwrap();
    let finding = has(&image, "journal-16", true);
    assert!(finding.found.contains("readers from 9"), "{finding:?}");
}

/// produces: journal-17, journal-18
#[test]
fn a_bad_tip_is_healed_and_foreign_files_are_left_alone() {
    let mut image = closed();
    image.flip("store/shards/0/tip", 77).unwrap();
    let finding = has(&image, "journal-17", false);
    assert_eq!(finding.verdict, Some(Verdict::Healed));
    let mut large = closed();
    large.write_file("store/shards/0/tip", &vec![7; 2 << 20]).unwrap();
    has(&large, "journal-17", false);
    let mut image = closed();
    image.write_file("store/shards/0/journal/notes.txt", b"mine").unwrap();
    assert_eq!(labels(&image), (vec!["journal-18".to_owned()], false));
    let disk = SimulatedDisk::from_image(image, 1);
    drop(Setup::new(Arc::new(disk.clone())).open().unwrap());
    assert_eq!(disk.image().read("store/shards/0/journal/notes.txt").unwrap(), b"mine");
}

/// produces: journal-19, journal-20
#[test]
fn an_unproven_end_is_written_again_and_a_new_shard_is_made() {
    let (found, refuses) = labels(&killed(5));
    assert_eq!((found, refuses), (vec!["journal-19".to_owned()], false));
    let (_, found, _) = setup(&store().image()).examine(Depth::Full).unwrap();
    assert!(found.contains(&"journal-20".to_owned()), "{found:?}");
}

/// produces: meta-1, meta-2, meta-3, meta-4, meta-5, meta-6
/// fault: R8, S8
#[test]
fn metadata() {
    let whole = closed();
    let check = |image: &Image, label: &str, code: i32| {
        let result = setup(image).open();
        let findings = match &result {
            Ok(opened) => opened.findings.clone(),
            Err(_) => vec![],
        };
        assert_eq!(result.is_err(), code == 65, "{label}");
        assert_eq!(findings.iter().any(|f| f.label.0 == label), code == 4, "{label}: {findings:?}");
    };
    check(&whole, "meta-1", 0);
    for copy in ["store/shards/0/meta.a", "store/shards/0/meta.b"] {
        let mut missing = whole.clone();
        missing.remove(copy).unwrap();
        check(&missing, "meta-2", 4);
        let mut bad = whole.clone();
        bad.flip(copy, 900).unwrap();
        check(&bad, "meta-2", 4);
        let mut foreign = whole.clone();
        let mut bytes = foreign.read(copy).unwrap();
        bytes[24] ^= 1;
        let crc = crc32c::crc32c(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
        foreign.write_file(copy, &bytes).unwrap();
        check(&foreign, "meta-5", 65);
        // A newer copy is not healed from the older one: the newer program went on from it.
        let mut newer = whole.clone();
        let mut bytes = newer.read(copy).unwrap();
        bytes[10] = 2;
        let crc = crc32c::crc32c(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
        newer.write_file(copy, &bytes).unwrap();
        let error = setup(&newer).open().err().unwrap();
        assert_eq!(error.exit_code(), 78, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("format 1 or older") && text.contains("reader of format 2"),
            "{text}"
        );
        assert!(text.contains(&copy["store/".len()..]), "{text}");
    }
    let mut large = whole.clone();
    large.write_file("store/shards/0/meta.b", &vec![7; 2 << 20]).unwrap();
    check(&large, "meta-2", 4);
    check(&store().image(), "meta-3", 0);
    let mut gone = whole.clone();
    gone.remove("store/shards/0/meta.a").unwrap();
    gone.remove("store/shards/0/meta.b").unwrap();
    check(&gone, "meta-4", 65);
}

/// Every bit of a small directory: named, or proved harmless; never a panic, a silent loss or an
/// empty start.
///
/// fault: R4, S7, S12, S13
#[test]
fn every_byte_damaged_is_detected_or_harmless() {
    let mut small = Setup::new(Arc::new(store()));
    small.segment_bytes = 6 << 10;
    let opened = small.open().unwrap();
    for version in 1..=12 {
        let ticket = append(&opened.journal, version);
        opened.journal.wait(ticket);
    }
    opened.journal.close().unwrap();
    drop(opened);
    let env = small.env.clone();
    let image = image_of(&*env.disk);
    for (path, len) in image.files() {
        for offset in 0..len {
            let mut damaged = image.clone();
            damaged.flip(&path, offset * 8 + offset % 8).unwrap();
            harmless_or_named(&damaged, &format!("{} offset {offset}", path.display()));
        }
        for len in (0..len).step_by(97) {
            let mut cut = image.clone();
            cut.truncate(&path, len).unwrap();
            harmless_or_named(&cut, &format!("{} cut to {len}", path.display()));
        }
        for start in (0..len).step_by(512) {
            let mut zeroed = image.clone();
            zeroed.zero(&path, start..(start + 512).min(len)).unwrap();
            harmless_or_named(&zeroed, &format!("{} zeroed from {start}", path.display()));
        }
        let mut missing = image.clone();
        missing.remove(&path).unwrap();
        harmless_or_named(&missing, &format!("{} missing", path.display()));
    }
}

fn image_of(disk: &dyn Disk) -> Image {
    let mut image = Image::new();
    copy(disk, Path::new(DIR), &mut image);
    image
}

fn copy(disk: &dyn Disk, dir: &Path, image: &mut Image) {
    for entry in disk.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.kind == rekindle_env::EntryKind::Directory {
            copy(disk, &path, image);
        } else {
            let bytes = rekindle_env::durable::read_file(disk, &path, 1 << 30).unwrap();
            image.write_file(&path, &bytes).unwrap();
        }
    }
}

/// All twelve transactions are there, or the start is refused with a finding that names the place.
fn harmless_or_named(image: &Image, what: &str) {
    let mut setup = setup(image);
    setup.segment_bytes = 6 << 10;
    match setup.open() {
        Ok(opened) => assert_eq!(dense(&opened.replayed), 12, "{what}: {:?}", opened.findings),
        Err(rekindle_recovery::Failure::Refused(_)) => {}
        Err(other) => panic!("{what}: {other}"),
    }
}
