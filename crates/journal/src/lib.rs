//! The ordered log of opaque records: segments, frames, group commit, recovery.
//!
//! Invariants: no ticket resolves before its batch is as durable as the mode promises; a failed
//! write or sync is final; no start appends to an old segment. The format is docs/format.md.

mod api;
pub mod archive;
pub mod batch;
pub mod codec;
pub mod conformance;
mod founding;
pub mod group;
mod layout;
mod local;
mod meta_store;
pub mod recovery;
pub mod repair;
mod replay;
mod sync;
mod writer;

pub use api::{
    AppendError, Apply, Durability, Durable, Entry, Event, Journal, Outcome, Record, RecordKind,
    Ticket,
};
pub use founding::Founding;
pub use layout::{Layout, MetaCopy};
pub use local::{JournalStats, LocalJournal, LocalOptions, SealError, SealedEnd, SegmentPin};
pub use recovery::{Depth, JournalLayer, MetaLayer, Recovered, TrustedJournal, TrustedMeta};
pub use replay::{Listener, Records, Replayed};
pub use writer::{SYNC_BUCKETS, WriterConfig, WriterCounters};
