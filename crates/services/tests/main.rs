//! The services over a real database on a simulated disk that crashes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation
)]

mod audit;
mod broker;
mod crashes;
mod crowd;
mod dead_letter;
mod full;
mod full_disk;
mod golden;
mod golden_executors;
mod golden_jobs;
mod identity;
mod job_clock;
mod job_damage;
mod job_inside;
mod job_model;
mod job_workers;
mod jobs;
mod kept;
mod kv;
mod leases;
mod limits;
mod loop_forks;
mod loop_recovery;
mod loops;
mod losses;
mod model;
mod once;
mod queues;
mod recovery;
mod restored;
mod reviews;
mod schedules;
mod scripts;
mod small_disk;
mod store;
mod transactions;
mod transcripts;
mod waiting;
