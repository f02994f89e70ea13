//! Damaged and hostile checkpoints: each is noticed and named, none panics.

use std::io;

use rekindle_engine::MemoryEngine;
use rekindle_engine::checkpoint::{self, ReadError};
use rekindle_env::ReadFile;

use crate::support::{STORE, new_disk, path, put, read_bytes, small_engine, write};

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl ReadFile for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

fn checked(bytes: Vec<u8>, id: u64) -> Result<checkpoint::Summary, ReadError> {
    checkpoint::check(&Bytes(bytes), &STORE, id)
}

fn damage(bytes: Vec<u8>, what: &str) -> String {
    match checked(bytes, 1) {
        Err(ReadError::Damaged(damage)) => {
            assert!(!damage.expected.is_empty() && !damage.found.is_empty(), "{what}");
            format!("{}: {} / {}", damage.offset, damage.expected, damage.found)
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn small_file() -> Vec<u8> {
    let disk = new_disk();
    write(&disk, &small_engine(), 1);
    read_bytes(&disk, &path(1))
}

/// fault: S9
#[test]
fn every_flipped_bit_is_noticed() {
    let file = small_file();
    assert!(checked(file.clone(), 1).is_ok());
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        damage(flipped, &format!("bit {bit}"));
    }
}

/// fault: S12
#[test]
fn every_truncation_and_every_extension_is_noticed() {
    let file = small_file();
    for len in 0..file.len() {
        damage(file[..len].to_vec(), &format!("cut at {len}"));
    }
    for extra in [vec![0], vec![0; 512], file.clone(), b"RKBL".to_vec()] {
        damage([file.clone(), extra].concat(), "something behind the footer");
    }
}

/// fault: S4
#[test]
fn any_512_zeroed_bytes_are_noticed() {
    let file = small_file();
    for start in 0..file.len() {
        let mut zeroed = file.clone();
        let end = (start + 512).min(file.len());
        if zeroed[start..end].iter().all(|byte| *byte == 0) {
            continue;
        }
        zeroed[start..end].fill(0);
        damage(zeroed, &format!("zeros from {start}"));
    }
}

/// The blocks of a file with several: start and end of each.
fn blocks(file: &[u8]) -> Vec<(usize, usize)> {
    let mut at = 512;
    let mut blocks = vec![];
    while file[at..at + 4] == *b"RKBL" {
        let len = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        blocks.push((at, at + 16 + len));
        at += 16 + len;
    }
    blocks
}

fn file_of(id: u64, fill: u8) -> Vec<u8> {
    let disk = new_disk();
    let engine = MemoryEngine::new();
    for number in 0..40_u8 {
        put(&engine, 1, &[(&[number], &[fill; 9_000])]);
    }
    write(&disk, &engine, id);
    read_bytes(&disk, &path(id))
}

/// Whole blocks with right checksums in a wrong place: swapped, repeated, dropped, or of the
/// checkpoint before, at the same offset.
///
/// fault: S14
#[test]
fn misplaced_blocks_never_verify() {
    let file = file_of(1, 1);
    let blocks = blocks(&file);
    assert!(blocks.len() >= 4);
    let part = |index: usize| file[blocks[index].0..blocks[index].1].to_vec();
    let (head, tail) = (file[..512].to_vec(), file[blocks[blocks.len() - 1].1..].to_vec());
    let assemble = |order: &[usize]| {
        let body: Vec<u8> = order.iter().flat_map(|&index| part(index)).collect();
        [head.clone(), body, tail.clone()].concat()
    };
    let all: Vec<usize> = (0..blocks.len()).collect();
    assert_eq!(assemble(&all), file);
    for (a, b) in [(0, 1), (1, 2)] {
        let mut swapped = all.clone();
        swapped.swap(a, b);
        assert!(damage(assemble(&swapped), "swapped").contains("crc"));
        let mut repeated = all.clone();
        repeated[b] = a;
        assert!(damage(assemble(&repeated), "repeated").contains("crc"));
        let mut dropped = all.clone();
        dropped.remove(a);
        damage(assemble(&dropped), "dropped");
    }
    let stale = file_of(2, 1);
    assert_eq!(stale.len(), file.len());
    for &(start, end) in &blocks {
        let mut mixed = file.clone();
        mixed[start..end].copy_from_slice(&stale[start..end]);
        assert!(damage(mixed, "of another checkpoint").contains("crc"));
    }
    damage([&file[..file.len() - 80], &stale[stale.len() - 80..]].concat(), "another footer");
}

const HEADER: usize = 512;

fn seed() -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&STORE), &1_u64.to_le_bytes())
}

fn row(keyspace: u16, key: &[u8], value: &[u8], version: u64) -> Vec<u8> {
    let mut row = keyspace.to_le_bytes().to_vec();
    row.extend((key.len() as u32).to_le_bytes());
    row.extend((value.len() as u32).to_le_bytes());
    row.extend(version.to_le_bytes());
    row.extend(key);
    row.extend(value);
    row
}

fn block(number: u64, rows: u32, content: &[u8]) -> Vec<u8> {
    let mut covered = (content.len() as u32).to_le_bytes().to_vec();
    covered.extend(rows.to_le_bytes());
    covered.extend(content);
    let crc = crc32c::crc32c_append(seed(), &number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &covered);
    [b"RKBL".to_vec(), crc.to_le_bytes().to_vec(), covered].concat()
}

/// A file with these blocks and a footer that fits them, as an attacker would make it.
fn forged(blocks: &[(u32, Vec<u8>)], change: impl Fn(&mut [u64; 8])) -> Vec<u8> {
    let original = small_file();
    let mut file = original[..HEADER].to_vec();
    let mut all = vec![];
    for (number, (rows, content)) in blocks.iter().enumerate() {
        file.extend(block(number as u64, *rows, content));
        all.extend(content);
    }
    let hash = xxhash_rust::xxh3::xxh3_128(&all);
    let number_at = |at: usize| u64::from_le_bytes(original[at..at + 8].try_into().unwrap());
    let mut fields = [
        blocks.len() as u64,
        blocks.iter().map(|(rows, _)| u64::from(*rows)).sum(),
        all.len() as u64,
        hash as u64,
        (hash >> 64) as u64,
        number_at(72),
        number_at(48),
        file.len() as u64 + 80,
    ];
    change(&mut fields);
    let mut covered: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    covered.extend([0; 8]);
    let crc = crc32c::crc32c_append(seed(), &fields[0].to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &covered);
    file.extend(b"RKFT");
    file.extend(crc.to_le_bytes());
    file.extend(covered);
    file
}

/// Right checksums around wrong content: an attacker's backup is refused, not believed.
#[test]
fn hostile_content_with_right_checksums_is_refused() {
    let a = row(1, b"a", b"1", 3);
    let b = row(1, b"b", b"2", 4);
    let good = || vec![(1, a.clone()), (1, b.clone())];
    assert_eq!(checked(forged(&good(), |_| {}), 1).unwrap().footer.rows, 2, "the forge is right");

    let cut = row(1, b"abc", b"12345", 3);
    let mut huge = row(1, b"a", b"", 3);
    huge[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
    let wrong = [
        ("descending", vec![(2, [b.clone(), a.clone()].concat())]),
        ("descending over blocks", vec![(1, b.clone()), (1, a.clone())]),
        ("twice", vec![(2, [a.clone(), a.clone()].concat())]),
        ("keyspaces descend", vec![(2, [row(2, b"", b"", 1), a.clone()].concat())]),
        ("fewer rows than said", vec![(3, [a.clone(), b.clone()].concat())]),
        ("more rows than said", vec![(1, [a.clone(), b.clone()].concat())]),
        ("a cut row", vec![(1, cut[..cut.len() - 1].to_vec())]),
        ("a huge value", vec![(1, huge)]),
        ("version 0", vec![(1, row(1, b"a", b"", 0))]),
        ("a version of the future", vec![(1, row(1, b"a", b"", 10_000))]),
        ("no rows", vec![(0, a.clone())]),
        ("an empty block", vec![(0, vec![])]),
    ];
    for (what, blocks) in wrong {
        damage(forged(&blocks, |_| {}), what);
    }
    for index in 0..8 {
        damage(forged(&good(), |fields| fields[index] ^= 1), &format!("footer field {index}"));
    }
    let mut long = forged(&good(), |_| {});
    for len in [0_u32, 17 << 20, (17 << 20) + 1, u32::MAX] {
        long[HEADER + 8..HEADER + 12].copy_from_slice(&len.to_le_bytes());
        damage(long.clone(), "a block longer than the file");
    }
}

/// A file that ends while it is read is damage, not a panic.
#[test]
fn a_file_that_shrinks_under_the_reader_is_noticed() {
    #[derive(Debug)]
    struct Shrinking(Bytes);
    impl ReadFile for Shrinking {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let len = buf.len().min(700);
            if offset > 0 { Ok(0) } else { self.0.read_at(&mut buf[..len], offset) }
        }
    }
    let found = checkpoint::check(&Shrinking(Bytes(small_file())), &STORE, 1);
    assert!(matches!(found, Err(ReadError::Damaged(_))), "{found:?}");
}

/// The same checks where reading runs on a thread of its own: damage in any part, and content that
/// only the builder refuses.
#[test]
fn large_checkpoints_are_checked_as_well() {
    use crate::support::{layer, look, rewrite};
    use rekindle_engine::recovery::Depth;
    use rekindle_env::durable;

    let disk = new_disk();
    let labels = |bytes: &[u8]| {
        if rekindle_env::ReadDisk::stat(&disk, &path(1)).unwrap().is_none() {
            durable::create_file(&disk, &path(1), bytes).unwrap();
        }
        rewrite(&disk, &path(1), bytes);
        let report = look(&layer([1, 0], Depth::Open), &disk).unwrap().report;
        report.actions[0].label.0
    };
    let rows = |first: u32, last: u32, version: u64| {
        let rows = (first..last).map(|key| row(1, &key.to_be_bytes(), &[7; 1_000], version));
        (last - first, rows.flatten().collect::<Vec<u8>>())
    };
    let mut blocks: Vec<_> = (0..100).map(|n| rows(n * 60, n * 60 + 60, 3)).collect();
    let file = forged(&blocks, |_| {});
    assert!(file.len() > 5 << 20);
    assert_eq!(labels(&file), "engine-2");
    for offset in [0, 600, file.len() / 2, file.len() - 100, file.len() - 3] {
        let mut damaged = file.clone();
        damaged[offset] ^= 1;
        assert_eq!(labels(&damaged), "engine-6", "byte {offset}");
    }
    assert_eq!(labels(&file[..file.len() - 70_000]), "engine-6");
    blocks.swap(3, 4);
    assert_eq!(labels(&forged(&blocks, |_| {})), "engine-6", "descending early");
    blocks.swap(3, 4);
    blocks[99] = rows(99 * 60, 99 * 60 + 60, 1_000_000);
    assert_eq!(labels(&forged(&blocks, |_| {})), "engine-6", "a version of the future");
}
