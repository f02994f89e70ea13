//! Reading the files of a backup, every byte of them: what they hold, or where they are damaged.
//!
//! Invariants: reads only, in pieces, and asks before each file whether to go on; what is handed
//! out was checked by its own structure (frames, records, blocks, state hash), and the same bytes
//! were summed up.

use std::path::Path;

use rekindle_engine::checkpoint::{self, ReadError};
use rekindle_env::{Disk, ReadFile};
use rekindle_journal::archive;
use rekindle_journal::codec::segment::SegmentHeader;
use rekindle_journal::recovery::judge::TrustedSegment;
use rekindle_journal::recovery::walk::Joint;
use rekindle_journal::{Record, TrustedJournal};

use super::manifest::{CheckpointFile, SegmentFile, checkpoint_file, segment_file};
use super::summed::Summed;
use super::verify::BackupFinding;
use crate::error::Error;
use crate::recovery::SHARD;

/// Whether to go on, asked with the bytes of the next piece.
pub(crate) type GoOn<'a> = dyn Fn(u64) -> Result<(), Error> + 'a;

/// A file that was looked at: what it is, or how it is damaged.
pub(crate) type Proof<T> = Result<Result<T, BackupFinding>, Error>;

/// Who looks.
pub(crate) struct Prover<'a> {
    pub(crate) disk: &'a dyn Disk,
    /// Where the files are.
    pub(crate) dir: &'a Path,
    pub(crate) store_id: [u8; 16],
    pub(crate) node: u64,
    pub(crate) go_on: &'a GoOn<'a>,
}

impl Prover<'_> {
    /// A segment whose valid part must end at `end`; its records are handed out.
    pub(crate) fn segment(
        &self,
        seq: u64,
        end: &Joint,
        visit: &mut dyn FnMut(&Record<'_>),
    ) -> Proof<SegmentFile> {
        let name = segment_file(seq);
        let file = match self.open(&name)? {
            Ok(file) => file,
            Err(finding) => return Ok(Err(finding)),
        };
        let context =
            |error| Error::io(format!("reading {}", self.dir.join(&name).display()), error);
        let header = match archive::read_header(&*file).map_err(context)? {
            Ok(header) => header,
            Err(damage) => return Ok(Err(of_journal(&name, damage))),
        };
        let len = file.len().map_err(context)?;
        if let Some((expected, found)) = self.foreign(&header, seq, len) {
            return Ok(Err(BackupFinding { file: name, offset: 0, expected, found }));
        }
        (self.go_on)(len)?;
        // An end outside of the segment is what the check refuses.
        let used = end.lsn.saturating_sub(header.base_lsn).min(len);
        let summed = Summed::new(&*file, used);
        if let Some(damage) = archive::check(&summed, &header, end, visit).map_err(context)? {
            return Ok(Err(of_journal(&name, damage)));
        }
        assert!(header.base_lsn + used == end.lsn, "a segment that is whole ends inside");
        let crc32c = summed.finish().map_err(context)?;
        Ok(Ok(SegmentFile {
            file: name,
            seq,
            prev_seq: header.prev_seq,
            bytes: header.file_size,
            used,
            crc32c,
            base_lsn: header.base_lsn,
            first_position: header.first_position,
            next_position: end.position.unwrap_or(header.first_position),
            chain: end.chain.unwrap_or(0),
        }))
    }

    /// A checkpoint.
    pub(crate) fn checkpoint(&self, id: u64) -> Proof<CheckpointFile> {
        let name = checkpoint_file(id);
        let file = match self.open(&name)? {
            Ok(file) => file,
            Err(finding) => return Ok(Err(finding)),
        };
        let context =
            |error| Error::io(format!("reading {}", self.dir.join(&name).display()), error);
        let bytes = file.len().map_err(context)?;
        (self.go_on)(bytes)?;
        let summed = Summed::new(&*file, bytes);
        let header = match checkpoint::check(&summed, &self.store_id, id) {
            Ok(summary) => summary.header,
            Err(ReadError::Io { source, .. }) => return Err(context(source)),
            Err(ReadError::Damaged(damage) | ReadError::TooNew(damage)) => {
                let checkpoint::Damage { offset, expected, found } = damage;
                return Ok(Err(BackupFinding { file: name, offset, expected, found }));
            }
        };
        let crc32c = summed.finish().map_err(context)?;
        Ok(Ok(CheckpointFile {
            file: name,
            id,
            bytes,
            crc32c,
            position: header.mark.position,
            version: header.mark.version,
            log_time_ms: header.mark.log_time_ms,
            replay_from: header.replay_from,
        }))
    }

    /// Whether a segment is still what a manifest says of it.
    pub(crate) fn same_segment(
        &self,
        said: &SegmentFile,
        visit: &mut dyn FnMut(&Record<'_>),
    ) -> Result<Option<BackupFinding>, Error> {
        let position = Some(said.next_position);
        let end = Joint { lsn: said.end_lsn(), chain: Some(said.chain), position };
        Ok(match self.segment(said.seq, &end, visit)? {
            Err(finding) => Some(finding),
            Ok(found) => {
                let sums = (said.crc32c, found.crc32c);
                (found != *said).then(|| other_than_said(&said.file, sums, said, &found))
            }
        })
    }

    /// Whether a checkpoint is still what a manifest says of it.
    pub(crate) fn same_checkpoint(
        &self,
        said: &CheckpointFile,
    ) -> Result<Option<BackupFinding>, Error> {
        Ok(match self.checkpoint(said.id)? {
            Err(finding) => Some(finding),
            Ok(found) => {
                let sums = (said.crc32c, found.crc32c);
                (found != *said).then(|| other_than_said(&said.file, sums, said, &found))
            }
        })
    }

    fn open(&self, name: &str) -> Proof<Box<dyn ReadFile>> {
        let path = self.dir.join(name);
        let missing = |found: &str| {
            let (file, expected) = (name.to_owned(), "a file".to_owned());
            Ok(Err(BackupFinding { file, offset: 0, expected, found: found.to_owned() }))
        };
        let context = |error| Error::io(format!("opening {}", path.display()), error);
        match self.disk.stat(&path).map_err(context)? {
            None => missing("none"),
            Some(entry) if entry.kind != rekindle_env::EntryKind::File => missing("no file"),
            Some(_) => Ok(Ok(self.disk.open_read(&path).map_err(context)?)),
        }
    }

    /// How a segment is another one than it must be.
    fn foreign(&self, header: &SegmentHeader, seq: u64, len: u64) -> Option<(String, String)> {
        let own = header.store_id == self.store_id
            && header.node == self.node
            && header.shard == SHARD
            && header.seq == seq;
        if !own {
            let found = format!("segment {} of node {} or another store", header.seq, header.node);
            return Some((format!("segment {seq} of this store"), found));
        }
        let expected = format!("{} bytes", header.file_size);
        (len != header.file_size).then(|| (expected, format!("{len} bytes")))
    }
}

/// The journal of these segments, each of which is read and must be what is said of it, unless all
/// of them were just checked; the records of those that are read are handed out.
pub(crate) fn trusted(
    prover: &Prover<'_>,
    segments: &[SegmentFile],
    checked: bool,
    visit: &mut dyn FnMut(&Record<'_>),
) -> Proof<TrustedJournal> {
    let mut journal = Vec::with_capacity(segments.len());
    let mut end = Joint { lsn: 0, chain: Some(0), position: Some(1) };
    for said in segments {
        let damaged = if checked { None } else { prover.same_segment(said, visit)? };
        if let Some(finding) = damaged {
            return Ok(Err(finding));
        }
        let path = prover.dir.join(&said.file);
        let context = |error| Error::io(format!("reading {}", path.display()), error);
        let file = prover.disk.open_read(&path).map_err(context)?;
        let header = match archive::read_header(&*file).map_err(context)? {
            Ok(header) => header,
            Err(damage) => return Ok(Err(of_journal(&said.file, damage))),
        };
        end = Joint {
            lsn: said.end_lsn(),
            chain: Some(said.chain),
            position: Some(said.next_position),
        };
        let (file, end_lsn) = (said.file.clone(), said.end_lsn());
        let end_chain = end.chain;
        journal.push(TrustedSegment { header, path, file, end_lsn, end_chain, walked: true });
    }
    if let Some((seq, bad)) = archive::find_gap(&journal) {
        let (file, expected, found) = (segment_file(seq), bad.expected, bad.found);
        return Ok(Err(BackupFinding { file, offset: 0, expected, found }));
    }
    Ok(Ok(TrustedJournal::of_sealed(journal, end)))
}

fn of_journal(name: &str, damage: archive::Damage) -> BackupFinding {
    let archive::Damage { offset, bad } = damage;
    BackupFinding { file: name.to_owned(), offset, expected: bad.expected, found: bad.found }
}

/// A file that is whole, and another one than the manifest says.
fn other_than_said(
    file: &str,
    (said_sum, found_sum): (u32, u32),
    said: &dyn std::fmt::Debug,
    found: &dyn std::fmt::Debug,
) -> BackupFinding {
    let (expected, found) = if said_sum == found_sum {
        (format!("{said:?}"), format!("{found:?}"))
    } else {
        (format!("checksum {said_sum:08x}"), format!("{found_sum:08x}"))
    };
    BackupFinding { file: file.to_owned(), offset: 0, expected, found }
}
