//! The journal as people read it: segments, frames, records, and the transactions in them.
//!
//! Invariant: it tells what is whole, whether recovery would still need it or not, and changes
//! nothing.

use std::path::Path;

use rekindle_env::{Env, LockMode};
use rekindle_journal::{Record, RecordKind, Replayed};
use rekindle_recovery::{Failure, Place, Report};

use crate::codec::{self, CommitMark, Loss, Operations, Part, Txns};
use crate::error::Error;
use crate::recovery::{Examination, lock_directory};
use rekindle_engine::Operation;

/// A line of a dump.
#[derive(Debug)]
pub enum DumpLine<'a> {
    /// A segment begins.
    Segment {
        /// Its file, relative to the store.
        file: &'a str,
        /// Its number.
        seq: u64,
        /// The run that opened it.
        incarnation: u64,
        /// Position of its first record.
        first_position: u64,
        /// Its address.
        base_lsn: u64,
        /// Where its valid frames end.
        end_lsn: u64,
    },
    /// A frame: one sync group.
    Frame {
        /// Where it is.
        place: &'a Place,
        /// Its address.
        lsn: u64,
        /// What was durable when it was written.
        durable_lsn: u64,
        /// Records in it.
        records: u16,
        /// Bytes of its body.
        body_len: u32,
    },
    /// A record.
    Record {
        /// Its position.
        position: u64,
        /// Its term; 0 locally.
        term: u64,
        /// Its kind.
        kind: RecordKind,
        /// Bytes of its payload.
        payload_len: usize,
        /// Why the payload cannot be decoded, if so.
        undecodable: Option<String>,
    },
    /// A transaction, or a piece of one.
    Transaction {
        /// Its id.
        id: u64,
        /// Its version; `None` for a piece that does not say.
        version: Option<u64>,
        /// Its log time, milliseconds, where the record says it.
        log_time_ms: Option<u64>,
    },
    /// A change.
    Operation(Operation<'a>),
    /// An accepted loss.
    Loss {
        /// First lost position.
        from_position: u64,
        /// Last lost position.
        to_position: u64,
        /// Who accepted it, and why.
        audit: &'a [u8],
    },
}

/// Where the lines go; an error ends the dump.
pub type DumpSink<'a> = dyn FnMut(DumpLine<'_>) -> Result<(), Error> + 'a;

/// Tells every segment, frame, record and transaction of a store's journal that can be read,
/// oldest first, and answers what [`verify`](crate::verify) does: the damage, and its code.
///
/// # Errors
/// `Locked`, `NotAStore`, `Io`; `Corrupt` when it cannot be told where the journal is; what `sink`
/// answers.
pub fn dump(path: impl AsRef<Path>, env: &Env, sink: &mut DumpSink<'_>) -> Result<Report, Error> {
    let dir = path.as_ref();
    let _lock = lock_directory(dir, false, LockMode::Shared, env)?;
    let journal = Examination::journal_alone(dir, env)?;
    let mut refused_by_sink = None;
    let told = journal.replay(&*env.disk, 1, &mut |told, place| {
        tell(told, place, sink).map_err(|error| {
            refused_by_sink = Some(error);
            Failure::Config("the sink ended the dump".to_owned())
        })
    });
    if let Some(error) = refused_by_sink {
        return Err(error);
    }
    told?;
    // Last: it needs room for the whole state, and what can be read was told already.
    crate::verify::verify(dir, env)
}

fn tell(told: Replayed<'_>, place: &Place, sink: &mut DumpSink<'_>) -> Result<(), Error> {
    match told {
        Replayed::Segment(segment) => sink(DumpLine::Segment {
            file: &segment.file,
            seq: segment.header.seq,
            incarnation: segment.header.incarnation,
            first_position: segment.header.first_position,
            base_lsn: segment.header.base_lsn,
            end_lsn: segment.end_lsn,
        }),
        Replayed::Frame(frame) => sink(DumpLine::Frame {
            place,
            lsn: frame.lsn,
            durable_lsn: frame.durable_lsn,
            records: frame.records,
            body_len: frame.body_len,
        }),
        Replayed::Record(record) => tell_record(record, sink),
    }
}

fn tell_record(record: &Record<'_>, sink: &mut DumpSink<'_>) -> Result<(), Error> {
    let payload = record.payload;
    let line = |undecodable: Option<String>| DumpLine::Record {
        position: record.position,
        term: record.term,
        kind: record.kind,
        payload_len: payload.len(),
        undecodable,
    };
    let bad = |error: codec::DecodeError| Some(error.to_string());
    match record.kind {
        RecordKind::Txns => match Txns::decode(payload) {
            Ok(txns) => {
                sink(line(None))?;
                tell_transactions(&txns, sink)
            }
            Err(error) => sink(line(bad(error))),
        },
        RecordKind::Part => match Part::decode(payload) {
            Ok(part) => {
                sink(line(None))?;
                tell_piece(part.txn_id, None, None, sink)?;
                tell_operations(part.operations, sink)
            }
            Err(error) => sink(line(bad(error))),
        },
        RecordKind::Begin | RecordKind::Abort => match codec::decode_txn_id(payload) {
            Ok(id) => {
                sink(line(None))?;
                tell_piece(id, None, None, sink)
            }
            Err(error) => sink(line(bad(error))),
        },
        RecordKind::Commit => match CommitMark::decode(payload) {
            Ok(commit) => {
                sink(line(None))?;
                tell_piece(commit.txn_id, Some(commit.version), Some(commit.log_time_ms), sink)
            }
            Err(error) => sink(line(bad(error))),
        },
        RecordKind::Loss => match Loss::decode(payload) {
            Ok(loss) => {
                sink(line(None))?;
                let (from_position, to_position) = (loss.from_position, loss.to_position);
                sink(DumpLine::Loss { from_position, to_position, audit: loss.audit })
            }
            Err(error) => sink(line(bad(error))),
        },
        RecordKind::Feature => sink(line(codec::decode_feature(payload).err().and_then(bad))),
        RecordKind::Noop | RecordKind::Membership | RecordKind::Barrier => sink(line(None)),
    }
}

fn tell_transactions(txns: &Txns<'_>, sink: &mut DumpSink<'_>) -> Result<(), Error> {
    for (version, entry) in txns.entries() {
        tell_piece(entry.txn_id, Some(version), Some(txns.log_time_ms), sink)?;
        tell_operations(entry.operations, sink)?;
    }
    Ok(())
}

fn tell_piece(
    id: u64,
    version: Option<u64>,
    log_time_ms: Option<u64>,
    sink: &mut DumpSink<'_>,
) -> Result<(), Error> {
    sink(DumpLine::Transaction { id, version, log_time_ms })
}

fn tell_operations(operations: Operations<'_>, sink: &mut DumpSink<'_>) -> Result<(), Error> {
    for operation in operations {
        sink(DumpLine::Operation(operation))?;
    }
    Ok(())
}
