//! The registry of persisted keys: one file per kind. Persisted, so layouts and names are stable.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `queues` | namespace 4, name | the queue's definition |
//! | `messages` | namespace 4, queue 8, number 8 | a message |
//! | `leases` | as in `messages` or `jobs` | its lease, while it has one |
//! | `lease_expiry` | deadline 8, then as in `leases` | empty: the index of leases by time |
//! | `attempts` | as in `leases` | its settled attempts, once there are some |
//! | `job_types` | namespace 4, name | the settings of a type of jobs |
//! | `jobs` | namespace 4, type 8, number 8 | a job |
//! | `job_outcomes` | as in `jobs` | how it ended, once it did |
//! | `job_progress` | as in `jobs` | how far it is, once somebody said so |
//! | `schedules` | namespace 4, name | a schedule and up to when it was handled |
//! | `loop_plans` | namespace 4, plan 16 | a plan of loops, without what its specs say |
//! | `loop_progress` | as in `loop_plans` | how far its specs are |
//! | | namespace 4 | when executions were last seen alive, log time 8 |
//! | `loop_executions` | namespace 4, execution 16 | an execution: the fold of its events |
//! | `loop_events` | namespace 4, execution 16, number 8 | what happened to it |
//! | `job_unique` | namespace 4, type 8, unique key | the job that has the key |
//! | `producers` | namespace 4 [, producer 16 [, chunk 8]] | era, floor, or a chunk of results |
//! | `audit` | namespace 4, number 8 | what was done, by whom and why |
//! | `kv` | scope (tenant, app, agent, run, type), user's key | the user's bytes |
//!
//! Numbers inside keys are big-endian, so that the order of bytes is the order of numbers. The
//! namespace number is the unit of placement; there is one so far.

pub mod audit;
pub mod job_unique;
pub mod lease_expiry;
pub mod loops;
pub mod producer;
pub mod queue;
pub mod subject;
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
    /// Settings of types of jobs.
    pub(crate) job_types: KeyspaceId,
    /// Jobs.
    pub(crate) jobs: KeyspaceId,
    /// How jobs ended.
    pub(crate) job_outcomes: KeyspaceId,
    /// How far jobs are.
    pub(crate) job_progress: KeyspaceId,
    /// Jobs by their unique keys.
    pub(crate) job_unique: KeyspaceId,
    /// Schedules.
    pub(crate) schedules: KeyspaceId,
    /// Plans of loops.
    pub(crate) loop_plans: KeyspaceId,
    /// How far the specs of plans are.
    pub(crate) loop_progress: KeyspaceId,
    /// Executions of loops.
    pub(crate) loop_executions: KeyspaceId,
    /// What happened to executions.
    pub(crate) loop_events: KeyspaceId,
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
            job_types: database.keyspace("job_types")?,
            jobs: database.keyspace("jobs")?,
            job_outcomes: database.keyspace("job_outcomes")?,
            job_progress: database.keyspace("job_progress")?,
            job_unique: database.keyspace("job_unique")?,
            schedules: database.keyspace("schedules")?,
            loop_plans: database.keyspace("loop_plans")?,
            loop_progress: database.keyspace("loop_progress")?,
            loop_executions: database.keyspace("loop_executions")?,
            loop_events: database.keyspace("loop_events")?,
        })
    }

    /// Whether its rows say where units of work stand.
    pub(crate) fn is_of_work(&self, keyspace: KeyspaceId) -> bool {
        self.of_work().contains(&keyspace)
    }

    /// Those keyspaces.
    pub(crate) fn of_work(&self) -> [KeyspaceId; 5] {
        [self.messages, self.leases, self.attempts, self.jobs, self.job_outcomes]
    }
}
