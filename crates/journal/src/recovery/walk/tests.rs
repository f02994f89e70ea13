//! Frames that pass their own checksum and are wrong all the same, one by one.

use std::path::Path;

use rekindle_env::{Image, ReadDisk as _, SimulatedDisk};

use super::*;
use crate::api::RecordKind;
use crate::codec::record::{RECORD_HEADER_LEN, seal_record};
use crate::codec::segment::OpenReason;

const BASE: u64 = 1 << 20;
const SIZE: u64 = 64 << 10;
const NONCE: u64 = 7;
const CHAIN: u32 = 0xABCD;
/// Where the first frame stands.
const FIRST: u64 = BASE + 4096;

fn header() -> SegmentHeader {
    SegmentHeader {
        store_id: [1; 16],
        node: 1,
        shard: 0,
        seq: 2,
        base_lsn: BASE,
        file_size: SIZE,
        nonce: NONCE,
        first_position: 10,
        prev_seq: 1,
        prev_end_lsn: BASE,
        prev_chain: CHAIN,
        open_reason: OpenReason::Rotate,
        carried_len: 0,
        incarnation: 1,
        wall_ms: 0,
    }
}

/// A body of one record of 4 bytes per position.
fn body(positions: &[u64]) -> Vec<u8> {
    let mut all = vec![];
    for position in positions {
        let mut record = vec![0; RECORD_HEADER_LEN + 8];
        record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + 4].copy_from_slice(b"work");
        seal_record(&mut record, 4, *position, 1, RecordKind::Txns);
        all.extend(record);
    }
    all
}

/// The header of a frame at `lsn` that is right for `body`.
fn frame(lsn: u64, prev: u32, first_position: u64, records: u16, body: &[u8]) -> FrameHeader {
    FrameHeader {
        body_len: u32::try_from(body.len()).unwrap(),
        kind: FrameKind::Entries,
        flags: 1,
        records,
        lsn,
        first_position,
        durable_lsn: lsn,
        committed_position: 0,
        prev,
        body_crc: crc32c::crc32c(body),
    }
}

/// Puts a frame into the file; returns its checksum, to which the next is chained.
fn put(file: &mut [u8], frame: &FrameHeader, body: &[u8]) -> u32 {
    let at = usize::try_from(frame.lsn - BASE).unwrap();
    file[at + FRAME_HEADER_LEN..at + FRAME_HEADER_LEN + body.len()].copy_from_slice(body);
    frame.encode(NONCE, &mut file[at..at + FRAME_HEADER_LEN])
}

fn walk(file: &[u8], declared_end: Option<u64>) -> Walk {
    let (mut image, header) = (Image::new(), header());
    image.write_file("/segment", file).unwrap();
    let file = SimulatedDisk::from_image(image, 1).open_read(Path::new("/segment")).unwrap();
    let walker =
        Walker { file: &*file, header: &header, declared_end, proved_lsn: 0, records: true };
    walker.walk(&mut |_, _| Ok(())).unwrap()
}

/// What a walk says of a file whose only frame is this one.
fn only(frame: &FrameHeader, body: &[u8], declared_end: Option<u64>) -> String {
    let mut file = vec![0; usize::try_from(SIZE).unwrap()];
    put(&mut file, frame, body);
    let walk = walk(&file, declared_end);
    let [bad] = &walk.bad[..] else { panic!("one bad range: {walk:?}") };
    assert_eq!((bad.before.lsn, walk.frames), (FIRST, 0), "{walk:?}");
    format!("{}, found {}", bad.bad.expected, bad.bad.found)
}

/// Checksums say that bytes are what was written, not that what was written belongs here.
///
/// proves: D12
#[test]
fn a_frame_with_a_right_checksum_in_the_wrong_place_is_bad() {
    let two = body(&[10, 11]);
    let right = frame(FIRST, CHAIN, 10, 2, &two);
    let end = right.end_lsn();
    let cases = [
        (FrameHeader { prev: 5, ..right }, "a frame chained to 0000abcd, found 00000005"),
        (FrameHeader { first_position: 11, ..right }, "position 10, found 11"),
        (FrameHeader { records: 3, ..right }, "3 records, found 2"),
        (FrameHeader { records: 1, ..right }, "1 records, found 2"),
    ];
    for (frame, says) in cases {
        assert_eq!(only(&frame, &two, None), says);
    }
    let short = only(&right, &two, Some(end - 8));
    assert_eq!(short, format!("a frame that ends by {}, found a frame of 144 bytes", end - 8));
    let gap = body(&[10, 12]);
    assert_eq!(only(&frame(FIRST, CHAIN, 10, 2, &gap), &gap, None), "record position 11, found 12");
    let mut tail = two.clone();
    *tail.last_mut().unwrap() = 1;
    let unpadded = FrameHeader { body_len: 76, body_crc: crc32c::crc32c(&tail[..76]), ..right };
    assert_eq!(only(&unpadded, &tail, None), "zeros behind the frame's body, found other bytes");
    let mut rotten = two.clone();
    rotten[40] ^= 1;
    assert!(only(&right, &rotten, None).starts_with("frame body checksum"), "a flip in the body");
}

/// Headers that are right over bodies that are not: all of it is one range, what they prove
/// counts, and the walk goes on at the next frame that is whole.
///
/// proves: D12
#[test]
fn damaged_bodies_in_a_row_are_one_range_up_to_the_next_whole_frame() {
    let mut file = vec![0; usize::try_from(SIZE).unwrap()];
    let (mut lsn, mut prev, mut places) = (FIRST, CHAIN, vec![]);
    for position in 10..15 {
        let bytes = body(&[position]);
        let frame = frame(lsn, prev, position, 1, &bytes);
        prev = put(&mut file, &frame, &bytes);
        places.push(lsn);
        lsn = frame.end_lsn();
    }
    let rot = |file: &mut [u8], index: usize| {
        file[usize::try_from(places[index] - BASE).unwrap() + FRAME_HEADER_LEN + 33] ^= 1;
    };
    (1..4).for_each(|index| rot(&mut file, index));
    let damaged = walk(&file, None);
    let [bad] = &damaged.bad[..] else { panic!("one bad range: {damaged:?}") };
    assert_eq!((bad.before.lsn, bad.to, bad.later_position), (places[1], places[4], Some(14)));
    assert_eq!((bad.later_durable, damaged.frames), (places[4], 2));
    assert_eq!(damaged.end.map(|joint| joint.lsn), Some(lsn));
    // Without a whole frame behind them, their headers still prove.
    rot(&mut file, 4);
    let damaged = walk(&file, None);
    let [bad] = &damaged.bad[..] else { panic!("one bad range: {damaged:?}") };
    assert_eq!((bad.before.lsn, bad.later_durable, damaged.frames), (places[1], places[4], 1));
}

/// A clean end has no records: damage in front of it is told to end at the position that it
/// carries, whether one frame is damaged or several, and at none where it does not know.
///
/// proves: D12
#[test]
fn a_clean_end_says_which_position_comes_next() {
    for (damaged, durable) in [(1, true), (2, true), (3, true), (1, false), (2, false)] {
        let mut file = vec![0; usize::try_from(SIZE).unwrap()];
        let (mut lsn, mut prev, mut places) = (FIRST, CHAIN, vec![]);
        for position in 10..13 {
            let bytes = body(&[position]);
            let frame = frame(lsn, prev, position, 1, &bytes);
            prev = put(&mut file, &frame, &bytes);
            places.push(lsn);
            lsn = frame.end_lsn();
        }
        let durable_lsn = if durable { lsn } else { lsn - 8 };
        let seal = FrameHeader {
            kind: FrameKind::Seal,
            flags: 0,
            committed_position: 12,
            durable_lsn,
            ..frame(lsn, prev, 0, 0, &[])
        };
        put(&mut file, &seal, &[]);
        for place in places.iter().rev().take(damaged) {
            file[usize::try_from(place - BASE).unwrap() + FRAME_HEADER_LEN + 33] ^= 1;
        }
        let walk = walk(&file, None);
        let [bad] = &walk.bad[..] else { panic!("one bad range: {walk:?}") };
        let next = durable.then_some(13);
        assert_eq!((bad.to, bad.later_position), (lsn, next), "{damaged} damaged");
        assert_eq!(walk.end.and_then(|end| end.position), next, "{damaged} damaged");
    }
}
