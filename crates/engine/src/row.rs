//! The one encoding of a live row, shared by the state hash and by the blocks of a checkpoint.
//!
//! ```text
//!  0          2           6             10          18
//!  | keyspace | key_len 4 | value_len 4 | version 8 | key … | value … |
//! ```
//!
//! Invariant: the state hash is the 128-bit XXH3 over the encodings of all live rows, ascending by
//! keyspace and key, with nothing between them. Any engine that holds the same rows has the same
//! hash, and a checkpoint is hashed block by block without looking at its rows.

use xxhash_rust::xxh3::Xxh3;

/// Bytes before the key.
pub(crate) const ROW_HEADER: usize = 18;

/// Key and value of one row together; the journal takes no transaction that large.
pub(crate) const ROW_BYTES_MAX: usize = 16 << 20;

/// A row inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodedRow<'a> {
    pub(crate) keyspace: u16,
    pub(crate) version: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Appends the encoding of a row.
pub(crate) fn encode(out: &mut Vec<u8>, row: &EncodedRow<'_>) {
    assert!(
        row.key.len() + row.value.len() <= ROW_BYTES_MAX,
        "a row is larger than any transaction that the journal takes"
    );
    assert!(row.version > 0, "versions begin at 1");
    let key_len = u32::try_from(row.key.len()).expect("below ROW_BYTES_MAX");
    let value_len = u32::try_from(row.value.len()).expect("below ROW_BYTES_MAX");
    let mut header = [0_u8; ROW_HEADER];
    put(&mut header, 0, &row.keyspace.to_le_bytes());
    put(&mut header, 2, &key_len.to_le_bytes());
    put(&mut header, 6, &value_len.to_le_bytes());
    put(&mut header, 10, &row.version.to_le_bytes());
    out.reserve(ROW_HEADER + row.key.len() + row.value.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(row.key);
    out.extend_from_slice(row.value);
}

/// Splits the first row off; `None` when the bytes do not hold a whole one.
pub(crate) fn decode(bytes: &[u8]) -> Option<(EncodedRow<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<ROW_HEADER>()?;
    let keyspace = u16::from_le_bytes(field(header, 0)?);
    let key_len = usize::try_from(u32::from_le_bytes(field(header, 2)?)).ok()?;
    let value_len = usize::try_from(u32::from_le_bytes(field(header, 6)?)).ok()?;
    let version = u64::from_le_bytes(field(header, 10)?);
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((EncodedRow { keyspace, version, key, value }, rest))
}

/// Copies `bytes` to `offset`, which must have room.
pub(crate) fn put(target: &mut [u8], offset: usize, bytes: &[u8]) {
    let room = target.get_mut(offset..offset + bytes.len());
    room.expect("the layout has room for each of its fields").copy_from_slice(bytes);
}

/// The `N` bytes at `offset`, where they are there.
pub(crate) fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

/// The running hash over rows.
#[derive(Clone, Default)]
pub(crate) struct StateHash(Xxh3);

impl StateHash {
    /// Takes whole encoded rows.
    pub(crate) fn update(&mut self, rows: &[u8]) {
        self.0.update(rows);
    }

    /// The hash of what was taken so far.
    pub(crate) fn digest(&self) -> u128 {
        self.0.digest128()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_row_round_trips_and_every_cut_is_refused() {
        let row = EncodedRow { keyspace: 513, version: u64::MAX - 1, key: b"key", value: b"value" };
        let mut bytes = Vec::new();
        encode(&mut bytes, &row);
        assert_eq!(bytes.len(), ROW_HEADER + 8);
        for cut in 0..bytes.len() {
            assert_eq!(decode(bytes.get(..cut).unwrap()), None, "cut at {cut}");
        }
        bytes.push(7);
        assert_eq!(decode(&bytes), Some((row, [7].as_slice())));
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        let row = EncodedRow { keyspace: 1, version: 1, key: b"k", value: b"" };
        let mut bytes = Vec::new();
        encode(&mut bytes, &row);
        put(&mut bytes, 6, &u32::MAX.to_le_bytes());
        assert_eq!(decode(&bytes), None);
    }
}
