//! The frozen bytes: what this version writes is, byte for byte, what `fixtures/v1` holds.
//!
//! A difference is a change of the disk format: it needs a new format number, not a new fixture.

#![allow(clippy::disallowed_methods, reason = "fixtures are read from the repository")]

use std::path::PathBuf;

use rekindle_journal::batch::Batch;
use rekindle_journal::codec::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use rekindle_journal::codec::meta::{Meta, Vote};
use rekindle_journal::codec::segment::{OpenReason, SegmentHeader, SegmentHeaderRead};
use rekindle_journal::codec::tip::Tip;
use rekindle_journal::{Entry, RecordKind};

const STORE: [u8; 16] = *b"golden store id!";
const NONCE: u64 = 0x0123_4567_89AB_CDEF;

fn golden(name: &str, bytes: &[u8]) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v1/golden");
    let frozen = std::fs::read(dir.join(name)).unwrap_or_else(|_| panic!("{name} is missing"));
    let differs = frozen.iter().zip(bytes).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{name}: the first byte that differs");
    assert_eq!(frozen.len(), bytes.len(), "{name}");
}

fn segment() -> SegmentHeader {
    SegmentHeader {
        store_id: STORE,
        node: 1,
        shard: 0,
        seq: 2,
        base_lsn: 65_536,
        file_size: 65_536,
        nonce: NONCE,
        first_position: 7,
        prev_seq: 1,
        prev_end_lsn: 9_000,
        prev_chain: 0xAABB_CCDD,
        open_reason: OpenReason::Torn,
        carried_len: 192,
        incarnation: 3,
        wall_ms: 1_800_000_000_000,
    }
}

#[test]
fn segment_header() {
    golden("segment-header.bin", &segment().encode());
    assert!(matches!(SegmentHeader::decode(&segment().encode()), SegmentHeaderRead::Valid(_)));
}

#[test]
fn meta_copy() {
    let meta = Meta {
        sequence: 5,
        store_id: STORE,
        node: 1,
        shard: 0,
        incarnation: 3,
        oldest_segment: 1,
        newest_segment: 2,
        checkpoints: [4, 3],
        vote: Vote { term: 9, voted_for: 1, committed: true },
        voter_state: 1,
        unproven_end: 77,
        clean_end_lsn: 70_000,
    };
    golden("meta.bin", &meta.encode());
}

#[test]
fn tip() {
    let tip = Tip { seq: 2, durable_lsn: 70_000, chain: 0x1122_3344 };
    golden("tip.bin", &tip.encode(&STORE));
}

/// A frame that holds a record of every kind.
#[test]
fn frame_with_every_record_kind() {
    let mut batch = Batch::new(1, 7, Vec::new());
    for (version, bytes) in [(1, &b"first"[..]), (2, b"second")] {
        let log_time_ms = 1_000 + version;
        batch.push(Entry { kind: RecordKind::Txns, version, log_time_ms, bytes });
    }
    for number in (1..=10).filter(|number| *number != 2) {
        let kind = RecordKind::from_u8(number).unwrap();
        batch.push(Entry { kind, version: 0, log_time_ms: 0, bytes: &[number; 13] });
    }
    let (records, first_position) = (batch.records, batch.first_position);
    batch.seal();
    let (body_len, body_crc) = (batch.body().len() as u32, crc32c::crc32c(batch.body()));
    let header = FrameHeader {
        body_len,
        kind: FrameKind::Entries,
        flags: 0,
        records,
        lsn: 69_632,
        first_position,
        durable_lsn: 69_632,
        committed_position: 6,
        prev: 0xAABB_CCDD,
        body_crc,
    };
    let frame = batch.seal();
    header.encode(NONCE, frame);
    golden("frame-entries.bin", frame);
}

#[test]
fn control_frames() {
    for (kind, body, name) in [
        (FrameKind::Truncate, &[1; 16][..], "frame-truncate.bin"),
        (FrameKind::Purge, &[2; 16], "frame-purge.bin"),
        (FrameKind::Seal, &[], "frame-seal.bin"),
    ] {
        let mut frame = vec![0; FRAME_HEADER_LEN];
        frame.extend_from_slice(body);
        let header = FrameHeader {
            body_len: body.len() as u32,
            kind,
            flags: 0,
            records: 0,
            lsn: 69_632,
            first_position: 0,
            durable_lsn: 69_632,
            committed_position: 6,
            prev: 0xAABB_CCDD,
            body_crc: crc32c::crc32c(body),
        };
        header.encode(NONCE, &mut frame);
        golden(name, &frame);
    }
}
