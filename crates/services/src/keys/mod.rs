//! The registry of persisted keys: one file per kind. Persisted, so layouts and names are stable.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `queues` | namespace 4, name | the queue's definition |
//! | `messages` | namespace 4, queue 8, number 8 | a message |
//! | `leases` | as in `messages` | its lease, while it has one |
//! | `lease_expiry` | deadline 8, then as in `messages` | empty: the index of leases by time |
//! | `attempts` | as in `messages` | its settled attempts, once there are some |
//! | `producers` | namespace 4 [, producer 16 [, chunk 8]] | era, floor, or a chunk of results |
//! | `audit` | namespace 4, number 8 | what was done, by whom and why |
//! | `kv` | scope (tenant, app, agent, run, type), user's key | the user's bytes |
//!
//! Numbers inside keys are big-endian, so that the order of bytes is the order of numbers. The
//! namespace number is the unit of placement; there is one so far.

pub mod audit;
pub mod lease_expiry;
pub mod message;
pub mod producer;
pub mod queue;
pub mod user;

use rekindle_database::{Database, Error, KeyspaceId};

/// The number of the only namespace so far.
pub const NAMESPACE: u32 = 1;

/// The keyspaces of the services.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyspaces {
    /// Definitions of queues.
    pub(crate) queues: KeyspaceId,
    /// Messages.
    pub(crate) messages: KeyspaceId,
    /// Leases of messages.
    pub(crate) leases: KeyspaceId,
    /// Leases by their deadline.
    pub(crate) lease_expiry: KeyspaceId,
    /// Settled attempts of messages.
    pub(crate) attempts: KeyspaceId,
    /// Results of requests with an identity.
    pub(crate) producers: KeyspaceId,
    /// Users' keys.
    pub(crate) kv: KeyspaceId,
    /// What operators did.
    pub(crate) audit: KeyspaceId,
}

impl Keyspaces {
    /// Opens them, creating what is new.
    pub(crate) fn open(database: &Database) -> Result<Self, Error> {
        Ok(Self {
            queues: database.keyspace("queues")?,
            messages: database.keyspace("messages")?,
            leases: database.keyspace("leases")?,
            lease_expiry: database.keyspace("lease_expiry")?,
            attempts: database.keyspace("attempts")?,
            producers: database.keyspace("producers")?,
            kv: database.keyspace("kv")?,
            audit: database.keyspace("audit")?,
        })
    }
}
