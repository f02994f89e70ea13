//! Campaigns against a whole store on a simulated machine; one binary, one module per campaign.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout
)]

mod backups;
mod corruption;
mod crash;
mod faults;
mod jobs;
mod loops;
mod lost_pages;
mod planted;
mod recorded;
mod repair;
