//! All services of a store, from recovery to shutdown.

use rekindle_database::Database;
use rekindle_recovery::LayerReport;

use crate::error::Error;
use crate::kv::Kv;
use crate::queues::Queues;

/// How services are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether a thread expires leases and does what else is due. Without it the owner calls
    /// [`Services::tick`].
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { background: true }
    }
}

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Leases whose deadline had passed and whose messages are ready again.
    pub reclaimed: u64,
    /// Messages that went to a dead-letter queue instead.
    pub dead_lettered: u64,
    /// Delayed messages that became ready.
    pub due: u64,
    /// Leases given back because their receiver went away before it had its answer.
    pub released: u64,
    /// Milliseconds of log time until there may be something to do again.
    pub next_in_ms: u64,
}

/// All services of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Services {}

#[allow(unused_variables, reason = "the bodies land with the next commit")]
impl Services {
    /// Recovers the services of an open database: settles what was in flight, rebuilds the ready
    /// indexes, and takes the lead. Start and promotion call the same.
    pub fn lead(database: &Database, options: Options) -> Result<(Self, Vec<LayerReport>), Error> {
        unimplemented!("lands with the next commit")
    }

    /// What [`Services::lead`] would find and do; changes nothing.
    pub fn plan(database: &Database) -> Result<Vec<LayerReport>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Queues.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        unimplemented!("lands with the next commit")
    }

    /// Keys and values.
    #[must_use]
    pub fn kv(&self) -> &Kv {
        unimplemented!("lands with the next commit")
    }

    /// Does what is due at the log time of the database.
    pub fn tick(&self) -> Result<Ticked, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Stops granting, wakes every waiting receiver (it gets nothing), gives back what was granted
    /// and not handed out, flushes. Sends, acks and the rest go on until the database is closed.
    pub fn shutdown(&self) -> Result<(), Error> {
        unimplemented!("lands with the next commit")
    }
}
