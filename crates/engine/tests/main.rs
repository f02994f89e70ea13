//! The engine's scenarios, one module each.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs
)]

mod checkpoints;
mod conformance;
mod crash;
mod damage;
mod files;
mod files_apart;
mod files_damaged;
mod golden;
mod memory;
mod recovery;
mod support;
