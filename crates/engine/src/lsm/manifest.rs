//! The crate's manifest as bytes: which tables there are.
//!
//! ```text
//! sections, one behind the other
//! contents  "TOC!" 4, count 4, each: position 8, length 8, name_len 2, name
//! end       "SFA!" 4, version 1, checksum_type 1, checksum 16, where the contents are 8, length 8
//!
//! the section "tables"
//!   levels 1, each: runs 1, each: tables 4, each:
//!     number 8, checksum_type 1 (0), checksum 16 (XXH3, 128 bits, of the whole file), seqno 8
//! ```
//!
//! Numbers are little-endian. Invariant: bytes become tables only after the checksum of the whole
//! manifest was right, and nothing is read beyond them.

use crate::row::field;

const CONTENTS_MAGIC: &[u8; 4] = b"TOC!";
const END_MAGIC: &[u8; 4] = b"SFA!";
const END_BYTES: usize = 38;

/// A table that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Its number, and its file's name.
    pub(super) number: u64,
    /// Of the whole file.
    pub(super) checksum: u128,
}

/// Reads from the front.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// The bytes of a section.
fn section<'a>(manifest: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let end = manifest.len().checked_sub(END_BYTES)?;
    if field::<4>(manifest, end)? != *END_MAGIC {
        return None;
    }
    let at = usize::try_from(u64::from_le_bytes(field(manifest, end + 22)?)).ok()?;
    let mut input = Input(manifest.get(at..end)?);
    if input.take::<4>()? != *CONTENTS_MAGIC {
        return None;
    }
    for _ in 0..input.u32()? {
        let (position, len) = (input.u64()?, input.u64()?);
        let name_len = usize::from(input.take().map(u16::from_le_bytes)?);
        let (found, rest) = input.0.split_at_checked(name_len)?;
        input.0 = rest;
        if found == name {
            let (position, len) = (usize::try_from(position).ok()?, usize::try_from(len).ok()?);
            return manifest.get(position..position.checked_add(len)?);
        }
    }
    None
}

/// The tables that a manifest names; `None` when it is of a form that is not known here.
pub(super) fn tables(manifest: &[u8]) -> Option<Vec<Named>> {
    let mut input = Input(section(manifest, b"tables")?);
    let mut tables = Vec::new();
    for _ in 0..input.u8()? {
        for _ in 0..input.u8()? {
            for _ in 0..input.u32()? {
                let number = input.u64()?;
                let kind = input.u8()?;
                let checksum = input.take().map(u128::from_le_bytes)?;
                let _seqno = input.u64()?;
                if kind != 0 {
                    return None;
                }
                tables.push(Named { number, checksum });
            }
        }
    }
    input.0.is_empty().then_some(tables)
}
