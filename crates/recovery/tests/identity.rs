//! The codec of `store.a` and `store.b`: golden bytes, every flipped bit, every cut, versions.

use rekindle_env::SeededRandom;
use rekindle_recovery::identity::{Defect, ENGINE_MEMORY, FEATURE_LEVEL, IDENTITY_LEN};
use rekindle_recovery::{Identity, IdentityCopy};

fn copy() -> IdentityCopy {
    let identity = Identity {
        store_id: std::array::from_fn(|at| at as u8 + 1),
        lineage: [0xaa; 16],
        node: 0x0102_0304,
        feature_level: FEATURE_LEVEL,
        engine: ENGINE_MEMORY,
    };
    IdentityCopy { sequence: 7, identity }
}

/// Changes bytes and makes the checksum right again, as a newer program would have.
fn edited(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = copy().encode().to_vec();
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[..IDENTITY_LEN - 4]);
    bytes[IDENTITY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn newer(bytes: &[u8]) -> (String, String) {
    match IdentityCopy::decode(bytes) {
        Err(Defect::Newer { expected, found }) => (expected, found),
        other => panic!("not newer: {other:?}"),
    }
}

fn damaged_at(bytes: &[u8]) -> u64 {
    match IdentityCopy::decode(bytes) {
        Err(Defect::Damaged { offset, expected, found }) => {
            assert!(!expected.is_empty() && !found.is_empty());
            offset
        }
        other => panic!("not damaged: {other:?}"),
    }
}

#[test]
fn every_field_has_its_place() {
    let bytes = copy().encode();
    assert_eq!(&bytes[..8], b"RKSTORE1");
    assert_eq!(&bytes[8..16], &[1, 0, 1, 0, 0, 0, 0, 0], "format, min_reader, features");
    assert_eq!(&bytes[16..24], &[7, 0, 0, 0, 0, 0, 0, 0], "sequence");
    assert_eq!(&bytes[24..40], &copy().identity.store_id);
    assert_eq!(&bytes[40..56], &[0xaa; 16], "lineage");
    assert_eq!(&bytes[56..64], &[4, 3, 2, 1, 0, 0, 0, 0], "node");
    assert_eq!(&bytes[64..72], &[1, 0, 0, 0, 1, 0, 0, 0], "engine, zeros, feature level");
    assert!(bytes[72..4092].iter().all(|&byte| byte == 0));
    let crc = u32::from_le_bytes(bytes[4092..].try_into().unwrap());
    assert_eq!(crc, crc32c::crc32c(&bytes[..4092]));
    assert_eq!(crc, 0x7f50_132f, "the golden checksum: the format is frozen");
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(IdentityCopy::decode(&copy().encode()), Ok(copy()));
}

/// Every single bit is covered; none turns a copy into another identity or into a newer one.
#[test]
fn every_flipped_bit_is_damage() {
    let whole = copy().encode();
    for bit in 0..IDENTITY_LEN * 8 {
        let mut bytes = whole;
        bytes[bit / 8] ^= 1 << (bit % 8);
        damaged_at(&bytes);
    }
}

#[test]
fn every_other_length_is_damage() {
    let mut bytes = copy().encode().to_vec();
    bytes.push(0);
    assert_eq!(damaged_at(&bytes), 4096);
    for len in [0, 1, 8, 511, 512, 4092, 4095] {
        assert_eq!(damaged_at(&bytes[..len]), len as u64);
    }
}

#[test]
fn reserved_bytes_must_be_zero() {
    assert_eq!(damaged_at(&edited(|bytes| bytes[66] = 1)), 66);
    assert_eq!(damaged_at(&edited(|bytes| bytes[4091] = 1)), 4091);
    assert_eq!(damaged_at(&edited(|bytes| bytes[16] = 0)), 16, "sequence 0");
}

/// A newer program's file is named, not called damage.
#[test]
fn versions_are_named() {
    let (expected, found) = newer(&edited(|bytes| bytes[8] = 9));
    assert_eq!(expected, "format 1 or older");
    assert_eq!(found, "format 9, which needs a reader of format 1");
    let (_, found) = newer(&edited(|bytes| bytes[10] = 2));
    assert_eq!(found, "format 1, which needs a reader of format 2");
    let (_, found) = newer(&edited(|bytes| bytes[12] = 4));
    assert_eq!(found, "format 1, unknown required features 0x4");
    let (_, found) = newer(&edited(|bytes| bytes[68] = 3));
    assert_eq!(found, "feature level 3");
}

#[test]
fn identities_are_random_and_printable() {
    let random = SeededRandom::new(1);
    let (a, b) = (Identity::generate(&random, 1), Identity::generate(&random, 1));
    assert_ne!(a.store_id, b.store_id);
    assert_ne!(a.store_id, a.lineage);
    assert_eq!(a.node, 1);
    assert_eq!(copy().identity.store_id_hex(), "0102030405060708090a0b0c0d0e0f10");
}
