//! Rows of the tree as bytes.
//!
//! ```text
//! key    keyspace 2 (big-endian), key
//! value  version 8 (little-endian), bytes
//!
//! the key 00 (no other row has a key of one byte): where the flushed state stands (files/stand.rs)
//! ```
//!
//! Invariant: the rows of a keyspace are together,
//! in the order of their keys.

use std::ops::Bound;

use crate::api::KeyspaceId;

/// The key of the stand. It sorts before all rows.
pub(super) const STAND_KEY: [u8; 1] = [0];

/// Sequence numbers for one version. The crate tags each of its manifests with the next number, and
/// a reader takes the newest manifest below its own: with room between two versions, those who read
/// the newest version always have the newest manifest, and with it the memtable that is written to.
const NUMBERS: u64 = 1 << 16;

/// Manifests that may belong to one version before another one has to be applied.
pub(super) const MANIFESTS_MAX: u64 = NUMBERS - 2;

/// The sequence number of what a version writes; the first tag of the manifests made behind it.
pub(super) fn number(version: u64) -> u64 {
    version.checked_mul(NUMBERS).expect("versions stay below 2^47")
}

/// The version that wrote what has this sequence number.
pub(super) fn version(number: u64) -> u64 {
    number / NUMBERS
}

/// What a reader of a version is below of.
pub(super) fn below(version: u64) -> u64 {
    number(version) + NUMBERS - 1
}

/// A range of keys of the tree.
pub(super) type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The key of a row.
pub(super) fn key(keyspace: KeyspaceId, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + key.len());
    out.extend_from_slice(&keyspace.0.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// The keyspace and the key of a row; `None` for a row that is not of a keyspace.
pub(super) fn split(key: &[u8]) -> Option<(KeyspaceId, &[u8])> {
    let (keyspace, key) = key.split_first_chunk::<2>()?;
    Some((KeyspaceId(u16::from_be_bytes(*keyspace)), key))
}

/// All keys behind those of a keyspace.
fn behind(keyspace: KeyspaceId) -> Bound<Vec<u8>> {
    match keyspace.0.checked_add(1) {
        Some(next) => Bound::Excluded(next.to_be_bytes().to_vec()),
        None => Bound::Unbounded,
    }
}

/// A range of a keyspace; `None` where it is empty.
pub(super) fn range(
    keyspace: KeyspaceId,
    (start, end): (Bound<&[u8]>, Bound<&[u8]>),
) -> Option<Range> {
    let first = match start {
        Bound::Included(start) => Bound::Included(key(keyspace, start)),
        Bound::Excluded(start) => Bound::Excluded(key(keyspace, start)),
        Bound::Unbounded => Bound::Included(key(keyspace, &[])),
    };
    let last = match end {
        Bound::Included(end) => Bound::Included(key(keyspace, end)),
        Bound::Excluded(end) => Bound::Excluded(key(keyspace, end)),
        Bound::Unbounded => behind(keyspace),
    };
    let is_empty = match (&first, &last) {
        (Bound::Included(first), Bound::Included(last)) => first > last,
        (Bound::Included(first) | Bound::Excluded(first), Bound::Excluded(last))
        | (Bound::Excluded(first), Bound::Included(last)) => first >= last,
        _ => false,
    };
    (!is_empty).then_some((first, last))
}

/// The range of [`crate::Operation::DeleteRange`]; an empty end has no bound.
pub(super) fn removed(keyspace: KeyspaceId, (start, end): (&[u8], &[u8])) -> Range {
    let first = key(keyspace, start);
    let last = if end.is_empty() { behind(keyspace) } else { Bound::Excluded(key(keyspace, end)) };
    let is_empty = matches!(&last, Bound::Excluded(last) if *last <= first);
    let last = if is_empty { Bound::Excluded(first.clone()) } else { last };
    (Bound::Included(first), last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyspaces_do_not_overlap() {
        let last = range(KeyspaceId(1), (Bound::Unbounded, Bound::Unbounded));
        assert_eq!(last, Some((Bound::Included(vec![0, 1]), Bound::Excluded(vec![0, 2]))));
        let all = range(KeyspaceId(u16::MAX), (Bound::Unbounded, Bound::Unbounded));
        assert_eq!(all, Some((Bound::Included(vec![255, 255]), Bound::Unbounded)));
        assert!(STAND_KEY.as_slice() < key(KeyspaceId(0), &[]).as_slice());
        let none = range(KeyspaceId(1), (Bound::Excluded(&[5]), Bound::Excluded(&[5])));
        assert_eq!(none, None);
    }
}
