//! The binary's parts as a library, so that integration tests can reach them.
//!
//! Invariant: only `front` knows a wire format; only `boot` decides the order of a start.

pub mod alerts;
pub mod backups;
mod bar;
pub mod boot;
pub mod config;
pub mod executors;
pub mod front;
pub mod health;
pub mod listen;
mod log;
pub mod metrics;
mod numbered;
pub mod overlay;
pub mod owner;
pub mod plan_file;
mod posting;
pub mod progress;
pub mod recovery_mode;
pub mod repaired;
pub mod reports;
pub mod runs;
pub mod serve;
pub mod shim;
pub mod shown;
mod shutdown;
pub mod state;
