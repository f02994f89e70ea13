//! The crate's manifest as bytes: which files there are.
//!
//! ```text
//! sections, one behind the other
//! contents  "TOC!" 4, count 4, each: position 8, length 8, name_len 2, name
//! end       "SFA!" 4, version 1, checksum_type 1, checksum 16, where the contents are 8, length 8
//!
//! the section "tables"
//!   levels 1, each: runs 1, each: tables 4, each:
//!     number 8, checksum_type 1 (0), checksum 16 (XXH3, 128 bits, of the whole file), seqno 8
//! the section "blob_files"
//!   count 4, each: number 8, checksum_type 1 (0), checksum 16 (as above)
//! the section "blob_gc_stats"
//!   count 4, each: number of a blob file 8, values of it that nothing needs 4, their bytes 8 and 8
//! the section "tree_type"
//!   1: 0 values lie with their keys, 1 large ones in blob files
//! ```
//!
//! Numbers are little-endian. Invariant: bytes become files only after the checksum of the whole
//! manifest was right, and nothing is read beyond them.

use crate::row::field;

/// The folder of the tables.
pub(crate) const TABLES: &str = "tables";

/// The folder of the blob files.
pub(crate) const BLOBS: &str = "blobs";

const CONTENTS_MAGIC: &[u8; 4] = b"TOC!";
const END_MAGIC: &[u8; 4] = b"SFA!";
const END_BYTES: usize = 38;

/// What a file holds, which says where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Sorted rows.
    Table,
    /// Values apart from their keys.
    Blob,
}

impl Kind {
    /// The folder of such files.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Table => TABLES,
            Self::Blob => BLOBS,
        }
    }
}

/// A file that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// What it is.
    pub(super) kind: Kind,
    /// Its number, and its name.
    pub(super) number: u64,
    /// Of the whole file.
    pub(super) checksum: u128,
}

impl Named {
    /// Relative to the folder of the engine.
    pub(super) fn path(self) -> String {
        format!("{}/{}", self.kind.folder(), self.number)
    }
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Whether large values lie apart from their keys.
    pub(super) is_apart: bool,
    /// The files.
    pub(super) files: Vec<Named>,
    /// Blob files of which some values are needed no longer, with the bytes of these.
    pub(super) stale: Vec<(u64, u64)>,
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

/// What a manifest says; `None` when it is of a form that is not known here.
pub(super) fn decode(manifest: &[u8]) -> Option<Manifest> {
    let is_apart = match section(manifest, b"tree_type")? {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    let mut files = tables(manifest)?;
    files.extend(blobs(manifest)?);
    Some(Manifest { is_apart, files, stale: stale(manifest)? })
}

fn named(kind: Kind, input: &mut Input<'_>) -> Option<Named> {
    let number = input.u64()?;
    let checksum_type = input.u8()?;
    let checksum = input.take().map(u128::from_le_bytes)?;
    (checksum_type == 0).then_some(Named { kind, number, checksum })
}

fn tables(manifest: &[u8]) -> Option<Vec<Named>> {
    let mut input = Input(section(manifest, b"tables")?);
    let mut tables = Vec::new();
    for _ in 0..input.u8()? {
        for _ in 0..input.u8()? {
            for _ in 0..input.u32()? {
                tables.push(named(Kind::Table, &mut input)?);
                let _seqno = input.u64()?;
            }
        }
    }
    input.0.is_empty().then_some(tables)
}

fn blobs(manifest: &[u8]) -> Option<Vec<Named>> {
    let mut input = Input(section(manifest, b"blob_files")?);
    let mut blobs = Vec::new();
    for _ in 0..input.u32()? {
        blobs.push(named(Kind::Blob, &mut input)?);
    }
    input.0.is_empty().then_some(blobs)
}

fn stale(manifest: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut input = Input(section(manifest, b"blob_gc_stats")?);
    let mut stale = Vec::new();
    for _ in 0..input.u32()? {
        let (number, _values, bytes, _) = (input.u64()?, input.u32()?, input.u64()?, input.u64()?);
        stale.push((number, bytes));
    }
    input.0.is_empty().then_some(stale)
}
