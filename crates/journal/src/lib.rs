//! The ordered log of opaque records: segments, frames, group commit, recovery.
//!
//! Invariants: no ticket resolves before its batch is as durable as the mode promises; a failed
//! write or sync is final; no start appends to an old segment. The format is docs/format.md.

mod api;

pub use api::{
    AppendError, Apply, Durability, Durable, Entry, Event, Journal, Outcome, Record, RecordKind,
    Ticket,
};
