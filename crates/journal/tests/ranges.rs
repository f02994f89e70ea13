//! The addresses of findings about whole segments, and a journal behind a repair.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle_env::{Disk, Image, ReadDisk, SimulatedDisk, Survival};
use rekindle_journal::codec::meta::Meta;
use rekindle_journal::codec::segment::{OpenReason, SegmentHeader, SegmentHeaderRead};
use rekindle_journal::{Depth, Journal};
use rekindle_recovery::{Finding, Verdict};

use crate::support::{DIR, Setup, append, dense};

/// Several segments, closed cleanly.
fn closed() -> Image {
    let disk = SimulatedDisk::new(3);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new(".")).unwrap();
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    for version in 1..=200 {
        opened.journal.wait(append(&opened.journal, version));
    }
    opened.journal.close().unwrap();
    disk.crash(Survival::All, 1).image()
}

fn segments(image: &Image) -> Vec<(PathBuf, SegmentHeader)> {
    let files = image.files().into_iter().map(|(path, _)| path);
    let segments = files.filter(|path| path.to_string_lossy().contains("/journal/"));
    let header = |path: &PathBuf| match SegmentHeader::decode(&image.read(path).unwrap()[..4096]) {
        SegmentHeaderRead::Valid(header) => header,
        other => panic!("{other:?}"),
    };
    segments.map(|path| (path.clone(), header(&path))).collect()
}

fn setup(image: &Image) -> Setup {
    Setup::new(Arc::new(SimulatedDisk::from_image(image.clone(), 1)))
}

/// The corrupt findings; a start and `verify` name the same.
fn corrupt(image: &Image) -> Vec<Finding> {
    let of = |depth| {
        let (findings, _, refuses) = setup(image).examine(depth).unwrap();
        let corrupt = findings.into_iter().filter(|it| it.verdict == Some(Verdict::Corrupt));
        let corrupt: Vec<_> = corrupt.collect();
        assert_eq!(refuses, !corrupt.is_empty());
        corrupt
    };
    assert_eq!(of(Depth::Start), of(Depth::Full));
    of(Depth::Full)
}

fn ranges(image: &Image) -> Vec<(&'static str, u64, u64)> {
    let findings = corrupt(image).into_iter();
    findings.map(|it| (it.label.0, it.place.from, it.place.to)).collect()
}

/// What a missing, headless or foreign segment held lies between its neighbours.
#[test]
fn a_segment_that_cannot_say_it_is_placed_by_its_neighbours() {
    let whole = closed();
    let all = segments(&whole);
    assert!(all.len() > 3);
    let clean_end = 4096 + all.last().unwrap().1.base_lsn;
    for (at, (path, header)) in all.iter().enumerate() {
        let (from, to) = (header.base_lsn, header.end_lsn());
        let last = at + 1 == all.len();
        let mut missing = whole.clone();
        missing.remove(path).unwrap();
        let [(label, missing_from, missing_to)] = ranges(&missing)[..] else { panic!("{at}") };
        assert_eq!((label, missing_from), ("journal-8", from));
        assert!(if last { missing_to >= clean_end } else { missing_to == to }, "{missing_to}");
        let mut headless = whole.clone();
        headless.flip(path, 17 * 8).unwrap();
        assert_eq!(ranges(&headless), [("journal-9", from, to)]);
        let mut foreign = whole.clone();
        let mut bytes = foreign.read(path).unwrap();
        bytes[16] ^= 1;
        let crc = crc32c::crc32c(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
        foreign.write_file(path, &bytes).unwrap();
        assert_eq!(ranges(&foreign), [("journal-11", from, to)]);
    }
}

/// Neighbours that are gone together are one range; two that changed places are named, no other.
#[test]
fn several_segments_are_one_range() {
    let whole = closed();
    let all = segments(&whole);
    let (first, second) = (&all[1], &all[2]);
    let range = (first.1.base_lsn, second.1.end_lsn());
    let mut gone = whole.clone();
    gone.remove(&first.0).unwrap();
    gone.remove(&second.0).unwrap();
    assert_eq!(ranges(&gone), [("journal-8", range.0, range.1)]);
    let mut headless = whole.clone();
    headless.flip(&first.0, 17 * 8).unwrap();
    headless.flip(&second.0, 17 * 8).unwrap();
    let both = ("journal-9", range.0, range.1);
    assert_eq!(ranges(&headless), [both, both]);
    let mut swapped = whole;
    swapped.swap(&first.0, &second.0).unwrap();
    let both = ("journal-11", range.0, range.1);
    assert_eq!(ranges(&swapped), [both, both]);
}

/// Of a shortened segment only what is behind its last whole frame is lost; the rest can be read.
#[test]
fn a_shortened_segment_loses_its_end() {
    let whole = closed();
    let all = segments(&whole);
    let (path, header) = &all[1];
    let end = all[2].1.prev_end_lsn;
    for cut in [4096 + 100, 4096 + 224 * 3, 4096 + 224 * 3 + 50, header.file_size - 1] {
        let mut short = whole.clone();
        short.truncate(path, cut).unwrap();
        let frames = (cut - 4096) / 224;
        let from = (header.base_lsn + 4096 + frames * 224).min(end);
        let to = if from == end { header.end_lsn() } else { end };
        assert_eq!(ranges(&short), [("journal-10", from, to)], "cut to {cut}");
    }
}

/// A damaged end of an earlier segment is named once.
#[test]
fn a_damaged_end_is_one_finding() {
    let whole = closed();
    let all = segments(&whole);
    let (path, header) = &all[0];
    let end = all[1].1.prev_end_lsn;
    let mut image = whole;
    image.zero(path, end - header.base_lsn - 100..end - header.base_lsn).unwrap();
    assert_eq!(ranges(&image), [("journal-5", end - 224, end)]);
}

/// A journal whose end was written anew by a repair, killed before the originals were kept: the
/// repair's segment joins behind a gap of addresses and positions, and the start keeps the rest.
///
/// produces: journal-21
#[test]
fn what_a_repair_replaced_is_kept() {
    let mut image = closed();
    let all = segments(&image);
    let replaced = &all[1].1;
    let last = &all.last().unwrap().1;
    let header = SegmentHeader {
        seq: last.seq + 1,
        base_lsn: last.end_lsn() + (1 << 20),
        nonce: 99,
        first_position: 1_000,
        open_reason: OpenReason::Repair,
        carried_len: 0,
        ..replaced.clone()
    };
    let path = Path::new(DIR).join(format!("shards/0/journal/{:016x}", header.seq));
    let mut bytes = header.encode();
    bytes.resize(header.file_size as usize, 0);
    image.write_file(&path, &bytes).unwrap();
    for copy in ["meta.a", "meta.b"] {
        let path = Path::new(DIR).join("shards/0").join(copy);
        let meta = Meta::decode(&image.read(&path).unwrap()).unwrap();
        let meta = Meta { newest_segment: header.seq, clean_end_lsn: 0, ..meta };
        image.write_file(&path, &meta.encode()).unwrap();
    }
    let (findings, labels, refuses) = setup(&image).examine(Depth::Full).unwrap();
    assert!(!refuses && findings.is_empty(), "{findings:?}");
    assert_eq!(labels, vec!["journal-21"; all.len() - 1]);
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    assert_eq!(dense(&opened.replayed), replaced.first_position - 1);
    opened.journal.wait(append(&opened.journal, 1_000));
    assert_eq!(opened.journal.durable().position, 1_000);
    let kept = format!("store/quarantine/{:016x}-repair", header.seq);
    let kept = disk.list(Path::new(&kept)).unwrap();
    assert_eq!(kept.len(), all.len() - 1);
    let image = disk.crash(Survival::All, 1).image();
    let (findings, labels, _) = setup(&image).examine(Depth::Full).unwrap();
    assert_eq!((findings.len(), labels), (0, vec!["journal-19".to_owned()]));
}
