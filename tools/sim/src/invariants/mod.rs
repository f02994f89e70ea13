//! What must hold after every recovery, one invariant in each file.
//!
//! Invariant: a check looks at a recovered store and at what the oracle knows; its `Err` says what
//! was broken, in a sentence.

pub mod audit;
pub mod deterministic;
pub mod idempotent;
pub mod identities;
pub mod job_details;
pub mod job_order;
pub mod job_places;
pub mod job_tokens;
pub mod keys;
pub mod leases;
pub mod never_asks;
pub mod never_refuses;
pub mod nothing_invented;
pub mod nothing_lost;
pub mod poison;
pub mod prefix;
pub mod queue_order;
pub mod queue_places;
pub mod transaction_ids;
pub mod verdicts;
pub mod versions;
pub mod whole_transactions;

/// A broken promise, in a sentence.
pub type Check = Result<(), String>;
