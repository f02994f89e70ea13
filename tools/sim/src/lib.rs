//! The simulator: a store on a machine that crashes, lies and forgets, held against an oracle.
//!
//! A workload runs once on a simulated disk while an [`oracle`] in the client's place notes what
//! was asked and answered. [`crash`] then crashes the disk at each of its operations, recovers what
//! is left, and checks the [`invariants`]. Invariant: every run is a function of its seed.

pub mod backup_damage;
pub mod backups;
pub mod corruption;
pub mod crash;
pub mod effect;
pub mod execute;
pub mod faults;
pub mod history;
pub mod hook;
pub mod invariants;
pub mod jobs;
pub mod labels;
pub mod loops;
pub mod mended;
pub mod model;
pub mod oracle;
pub mod plan;
pub mod recorded;
pub mod recovered;
pub mod request;
pub mod seed;
pub mod specimen;
pub mod store;
pub mod workload;
