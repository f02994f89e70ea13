//! The database's tests: one scenario per module.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![allow(missing_docs, unreachable_pub)]

mod support;

mod backups;
mod checkpoints;
mod contradictions;
mod crash_child;
mod fixtures;
mod floors;
mod half_repair;
mod healing;
mod histories;
mod hostile;
mod info;
mod latest;
mod limits;
mod log_phrases;
mod looking;
mod lost;
mod lsm;
mod lsm_backups;
mod lsm_looking;
mod lsm_scrub;
mod not_files;
mod not_folders;
mod only_segment;
mod repair;
mod replay;
mod restart;
#[cfg(feature = "rocksdb")]
mod rocks;
mod salvage;
mod scrub;
mod serializable;
mod snapshots;
mod threads;
