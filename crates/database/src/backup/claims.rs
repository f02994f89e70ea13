//! What the manifests of a directory say of its files, and whether that is this store's own past.
//!
//! A store that was rolled back to a copy, or that is the copy, has the identity of the one that
//! took the backups and gives its numbers a second time. Pure. Invariant: what was said of a file
//! is the same for all manifests of one history, but for the position behind a segment, which a
//! repair moves on.

use std::collections::BTreeMap;

use rekindle_journal::codec::segment::SegmentHeader;

use super::folder::manifest_file;
use super::manifest::{CheckpointFile, Manifest, SegmentFile};
use crate::checkpoint::Named;

/// What a manifest says of a file.
pub(super) trait Claim: PartialEq + Clone {
    /// Relative to the directory.
    fn file(&self) -> &str;

    /// The checksum of what counts of it.
    fn crc32c(&self) -> u32;

    /// Whether both are said of one file.
    fn same_file(&self, other: &Self) -> bool;
}

impl Claim for SegmentFile {
    fn file(&self) -> &str {
        &self.file
    }

    fn crc32c(&self) -> u32 {
        self.crc32c
    }

    fn same_file(&self, other: &Self) -> bool {
        // Positions behind it may be given up by a repair, and the file stays.
        let next_position = other.next_position;
        Self { next_position, ..self.clone() } == *other
    }
}

impl Claim for CheckpointFile {
    fn file(&self) -> &str {
        &self.file
    }

    fn crc32c(&self) -> u32 {
        self.crc32c
    }

    fn same_file(&self, other: &Self) -> bool {
        self == other
    }
}

/// Something that is said of a file, and the first backup that says it.
pub(super) type Said<'a, T> = (u64, &'a T);

/// All that is said of the files, each thing once.
#[derive(Default)]
pub(super) struct Claims<'a> {
    pub(super) checkpoints: BTreeMap<u64, Vec<Said<'a, CheckpointFile>>>,
    pub(super) segments: BTreeMap<u64, Vec<Said<'a, SegmentFile>>>,
}

impl<'a> Claims<'a> {
    /// What these manifests say.
    pub(super) fn of(manifests: impl Iterator<Item = &'a Manifest>) -> Self {
        let mut claims = Self::default();
        for manifest in manifests {
            let checkpoint = &manifest.checkpoint;
            let said = claims.checkpoints.entry(checkpoint.id).or_default();
            add(said, (manifest.number, checkpoint));
            for segment in &manifest.segments {
                add(claims.segments.entry(segment.seq).or_default(), (manifest.number, segment));
            }
        }
        claims
    }

    pub(super) fn checkpoint(&self, id: u64) -> &[Said<'a, CheckpointFile>] {
        self.checkpoints.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn segment(&self, seq: u64) -> &[Said<'a, SegmentFile>] {
        self.segments.get(&seq).map_or(&[], Vec::as_slice)
    }
}

fn add<'a, T: Claim>(said: &mut Vec<Said<'a, T>>, claim: Said<'a, T>) {
    if !said.iter().any(|(_, earlier)| earlier.same_file(claim.1)) {
        said.push(claim);
    }
}

/// Where a store stands, and what it has to compare backups with.
pub(super) struct Standing {
    pub(super) incarnation: u64,
    pub(super) position: u64,
    /// The active segment: no backup has it.
    pub(super) active: u64,
    /// The headers of its segments that can be read, the active one's too.
    pub(super) headers: Vec<SegmentHeader>,
    pub(super) checkpoints: Vec<Named>,
}

impl Standing {
    /// What tells that one of these backups is not of this store's past.
    pub(super) fn stranger(&self, manifests: &[&Manifest], claims: &Claims<'_>) -> Option<String> {
        let ahead = self.ahead(manifests);
        ahead.or_else(|| self.other_segment(claims)).or_else(|| self.other_checkpoint(claims))
    }

    fn ahead(&self, manifests: &[&Manifest]) -> Option<String> {
        let last = |manifest: &Manifest| manifest.segments.last().map_or(0, |last| last.seq);
        let ahead = manifests.iter().find(|manifest| {
            manifest.incarnation > self.incarnation
                || manifest.position > self.position
                || last(manifest) >= self.active
        })?;
        Some(format!(
            "{} (run {}, position {}, segment {}) lies ahead of this store (run {}, position {}, \
             segment {})",
            manifest_file(ahead.number),
            ahead.incarnation,
            ahead.position,
            last(ahead),
            self.incarnation,
            self.position,
            self.active
        ))
    }

    fn other_checkpoint(&self, claims: &Claims<'_>) -> Option<String> {
        self.checkpoints.iter().find_map(|own| {
            let own_marks = (own.version, own.position, own.replay_from, own.bytes);
            let other = claims.checkpoint(own.id).iter().find(|(_, said)| {
                (said.version, said.position, said.replay_from, said.bytes) != own_marks
            });
            other.map(|said| another(*said))
        })
    }

    fn other_segment(&self, claims: &Claims<'_>) -> Option<String> {
        for header in &self.headers {
            let begins_otherwise = claims.segment(header.seq).iter().find(|(_, said)| {
                (said.prev_seq, said.bytes, said.base_lsn, said.first_position)
                    != (header.prev_seq, header.file_size, header.base_lsn, header.first_position)
            });
            // Also of the last one that was given back its successor knows the end.
            let ends_otherwise = claims.segment(header.prev_seq).iter().find(|(_, said)| {
                (said.end_lsn(), said.chain) != (header.prev_end_lsn, header.prev_chain)
            });
            if let Some(said) = begins_otherwise.or(ends_otherwise) {
                return Some(another(*said));
            }
        }
        None
    }
}

/// What is said of a file is not what this store has under its name.
pub(super) fn another<T: Claim>((number, said): Said<'_, T>) -> String {
    format!("{} names another {} than this store has", manifest_file(number), said.file())
}
