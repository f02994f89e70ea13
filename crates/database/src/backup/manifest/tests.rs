//! What a manifest is, and what it is not.

use proptest::prelude::*;

use super::*;

fn example() -> Manifest {
    let segment = |seq: u64, base_lsn, first_position, next_position| SegmentFile {
        file: segment_file(seq),
        seq,
        prev_seq: seq - 1,
        bytes: 8_192,
        used: 5_000,
        crc32c: 7,
        base_lsn,
        first_position,
        next_position,
        chain: 9,
    };
    Manifest {
        format: FORMAT_MEMORY,
        number: 2,
        earlier: Some(1),
        store_id: encode_id([0xAB; 16]),
        lineage: encode_id([0; 16]),
        node: 1,
        engine: None,
        program: "0.1.0".to_owned(),
        incarnation: 3,
        taken_ms: 1_700_000_000_000,
        position: 9,
        version: 12,
        log_time_ms: 1_700_000_000_000,
        until_ms: 1_700_000_000_001,
        checkpoint: CheckpointFile {
            file: checkpoint_file(4),
            id: 4,
            bytes: 1_000,
            crc32c: 5,
            position: 5,
            version: 6,
            log_time_ms: 1_600_000_000_000,
            replay_from: 6,
        },
        segments: vec![segment(3, 0, 1, 7), segment(4, 8_192, 7, 10)],
    }
}

#[test]
fn round_trips_and_detects_every_bit_flip() {
    let bytes = example().encode();
    assert_eq!(Manifest::decode(&bytes, 2), Ok(example()));
    assert_eq!(decode_id(&encode_id([0xAB; 16])), Some([0xAB; 16]));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        *damaged.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        assert!(Manifest::decode(&damaged, 2).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Manifest::decode(bytes.get(..len).unwrap(), 2).is_err(), "{len} bytes");
    }
    assert!(Manifest::decode(&bytes, 3).is_err(), "under another number");
}

/// The bytes of a manifest whose text was changed, with the right checksum.
fn forged(change: impl Fn(&str) -> String) -> Vec<u8> {
    let text = String::from_utf8(example().encode()).unwrap();
    let mut text = change(&text);
    text.replace_range(HEAD.len()..HEAD.len() + DIGITS, "00000000");
    let crc = format!("{:08x}", crc32c::crc32c(text.as_bytes()));
    text.replace_range(HEAD.len()..HEAD.len() + DIGITS, &crc);
    text.into_bytes()
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let newer = forged(|text| text.replace("\"format\": 1", "\"format\": 3, \"more\": {}"));
    let defect = Manifest::decode(&newer, 2).unwrap_err();
    assert!(defect.newer && defect.found.contains("format 3"), "{defect:?}");
    let odd = forged(|text| text.replace("\"format\": 1", "\"format\": 1, \"more\": {}"));
    assert!(!Manifest::decode(&odd, 2).unwrap_err().newer);
    let elsewhere = forged(|text| text.replace("journal/", "../../etc/"));
    assert!(Manifest::decode(&elsewhere, 2).is_err(), "files have their own names only");
}

/// What a right checksum does not make right: names that lead elsewhere, files that stand
/// twice, lists that do not join, what is left out or cut off, depths that no manifest has.
#[test]
fn hostile_manifests_are_refused() {
    let files = ["journal/0000000000000003", "checkpoints/0000000000000004.ckpt"];
    let elsewhere = [
        "/etc/passwd",
        "../journal/0000000000000003",
        "journal/../journal/0000000000000003",
        "./journal/0000000000000003",
        "journal//0000000000000003",
        "journal/3",
        "journal/0000000000000004",
        "JOURNAL/0000000000000003",
        "journal/0000000000000003\\u0000",
        "",
    ];
    for (file, other) in files.iter().flat_map(|file| elsewhere.map(|other| (file, other))) {
        let bytes = forged(|text| text.replace(file, other));
        let defect = Manifest::decode(&bytes, 2).unwrap_err();
        assert!(!defect.newer, "{file} as {other:?}: {defect:?}");
    }
    let whole = String::from_utf8(example().encode()).unwrap();
    let (start, end) = (whole.find("\"segments\": [").unwrap(), whole.rfind(']').unwrap());
    let list = whole.get(start + 13..end).unwrap();
    for other in [
        format!("{list},{list}"),
        String::new(),
        list.replace("\"seq\": 4", "\"seq\": 3"),
        list.replace("\"bytes\": 8192", "\"bytes\": 18446744073709551616"),
        list.replace("\"used\": 5000", "\"used\": -1"),
        list.replace("\"used\": 5000", "\"used\": 5e3"),
        list.replace("\"used\": 5000", "\"used\": 8193"),
        list.replace("\"crc32c\": \"00000007\"", "\"crc32c\": \"7\""),
        list.replacen("\"seq\": 3", "\"seq\": 3, \"seq\": 3", 1),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
    ] {
        assert_ne!(other, list);
        let bytes = forged(|text| text.replace(list, &other));
        let shown: String = other.chars().take(60).collect();
        let defect = Manifest::decode(&bytes, 2).unwrap_err();
        assert!(!defect.newer, "{shown}: {defect:?}");
    }
    for cut in (0..whole.len()).step_by(7) {
        let kept = cut.max(HEAD.len() + DIGITS + BEHIND.len());
        let bytes = forged(|text| text.get(..kept).unwrap().to_owned());
        assert!(Manifest::decode(&bytes, 2).is_err(), "cut to {kept}");
    }
    let newer = forged(|text| text.replace("\"format\": 1", "\"format\": 18446744073709551615"));
    assert!(Manifest::decode(&newer, 2).unwrap_err().newer);
    for odd in ["0", "-1", "1.5", "\"1\"", "null", "[]"] {
        let bytes = forged(|text| text.replace("\"format\": 1", &format!("\"format\": {odd}")));
        assert!(Manifest::decode(&bytes, 2).is_err(), "format {odd}");
    }
}

proptest! {
    /// Whoever writes a manifest with a right checksum brings no reader down.
    #[test]
    fn hostile_numbers_are_refused_or_can_be_counted_on_from(
        field in 0..24_usize,
        number in prop_oneof![
            Just(0), Just(1), Just(u64::MAX), Just(u64::MAX - 1), Just(1 << 61), Just(1 << 62),
            any::<u64>(), 0..20_u64
        ],
    ) {
        let changed = forged(|text| {
            let mut seen = 0;
            let lines = text.lines().map(|line| {
                let Some((name, rest)) = line.split_once(": ") else { return line.to_owned() };
                let digits = rest.trim_end_matches(',');
                if digits.parse::<u64>().is_err() {
                    return line.to_owned();
                }
                seen += 1;
                let behind = if rest.ends_with(',') { "," } else { "" };
                match seen == field {
                    true => format!("{name}: {number}{behind}"),
                    false => line.to_owned(),
                }
            });
            lines.collect::<Vec<_>>().join("\n") + "\n"
        });
        if let Ok(manifest) = Manifest::decode(&changed, 2) {
            prop_assert!(manifest.file_bytes() > 0);
            prop_assert!(manifest.segments.iter().all(|it| it.end_lsn() <= STORED_MAX));
        }
    }
}

/// A store on another engine than memory says so, in a format that older programs refuse as newer.
#[test]
fn the_engine_is_named() {
    let (format, engine) = Manifest::of_engine(EngineKind::Lsm);
    let manifest = Manifest { format, engine, ..example() };
    let bytes = manifest.encode();
    let read = Manifest::decode(&bytes, 2).unwrap();
    assert_eq!((read.engine_kind(), &read), (Some(EngineKind::Lsm), &manifest));
    let text = String::from_utf8(example().encode()).unwrap();
    assert!(!text.contains("engine"), "{text}");
    let odd = Manifest { engine: None, ..manifest.clone() };
    assert!(odd.inconsistency().is_some(), "a format without what it adds");
    let unknown = Manifest { engine: Some("rocksdb".to_owned()), ..manifest };
    assert!(unknown.inconsistency().is_some());
}
