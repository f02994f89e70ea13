//! Tests of the journal: one binary, one module per scenario.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod conformance;
mod crash;
mod damage;
mod golden;
mod model;
mod modes;
mod poison;
mod ranges;
mod support;

// What `src/group.rs` asks of its crate: the same types, but the model's locks and threads.
mod api {
    pub(crate) use rekindle_journal::{
        AppendError, Apply, Durability, Durable, Entry, Event, Outcome, Record, Ticket,
    };
}
mod batch {
    pub(crate) use rekindle_journal::batch::Batch;
}
mod codec {
    pub(crate) mod record {
        pub(crate) use rekindle_journal::codec::record::decode_record;
    }
}
mod sync {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::yield_now;
}
#[path = "../src/group.rs"]
#[allow(dead_code, unreachable_pub)]
mod group;
