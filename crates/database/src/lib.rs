//! Transactions and versions over one journal: the embeddable library.
//!
//! Invariants: versions are dense and in commit order; what is acknowledged is visible; reads see one
//! version; the state is what the journal says, and one function turns the journal into it.

mod database;
mod error;
mod namespace;
mod options;
mod snapshot;
mod stats;
mod transaction;

pub use database::{Database, Observer};
pub use error::{Error, Kind};
pub use namespace::{Key, Namespace, RunId, TypeTag};
pub use options::{
    DurabilityMode, KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, Options, ROOM_WAIT_MAX,
    TRANSACTION_BYTES_MAX,
};
pub use rekindle_engine::{KeyspaceId, Operation, Row};
pub use rekindle_env::Env;
pub use rekindle_journal::Outcome;
pub use rekindle_recovery::Report;
pub use snapshot::Snapshot;
pub use stats::{ReplayStats, Stats};
pub use transaction::{Commit, Pending, Transaction, Value};
