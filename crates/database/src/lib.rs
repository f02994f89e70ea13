//! Transactions and versions over one journal: the embeddable library.
//!
//! Invariants: versions are dense and in commit order; what is acknowledged is visible; reads see
//! one version; the state is what the journal says, and one function turns the journal into it.
//!
//! A [`Database`] is opened on a directory and recovers before it answers. [`Transaction`]s are
//! optimistic and serializable; [`Snapshot`]s read one version; [`verify`], [`dry_run`] and
//! [`dump`] look at a directory and change no byte of it.

mod apply;
mod backup;
mod before;
mod checkpoint;
mod classify;
mod codec;
mod commit;
mod conflicts;
mod core;
mod database;
mod derived;
mod dump;
mod encode;
mod engines;
mod error;
mod explain;
mod growth;
mod info;
mod keeper;
mod keyspaces;
mod latest;
mod layer;
mod logclock;
mod lookback;
mod losses;
mod memory;
mod migrate;
mod namespace;
mod options;
mod overlay;
mod own;
mod past;
mod places;
mod readers;
mod recovery;
mod refusals;
mod repair;
mod replay;
mod restore;
mod salvage;
mod scrub;
mod sequencer;
mod shown;
mod snapshot;
mod space;
mod stats;
mod transaction;
mod verify;
mod wakers;

pub use apply::Observer;
pub use backup::{
    BACKUPS_MAX, Backup, BackupFinding, BackupReport, CheckpointFile, Manifest, Pruned,
    SegmentFile, list_backups, plan_prune, prune_backups, verify_backup,
};
pub use classify::FEATURE_LEVEL;
pub use database::{Database, Parts};
pub use derived::{Changes, Earlier};
pub use dump::{DumpLine, DumpSink, dump};
pub use engines::EngineKind;
pub use error::{Error, Kind};
pub use info::{
    CheckpointHolds, CheckpointInfo, CopyInfo, CopyState, Files, RunningInfo, SegmentsInfo,
    StoreInfo, store_info, store_info_while_held,
};
pub use losses::{AUDIT_BYTES_MAX, AcceptedLoss, LOSSES_MAX};
pub use migrate::{Migrated, migrate};
pub use namespace::{Key, Namespace, RunId, TypeTag};
pub use options::{
    DurabilityMode, KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, Options, ROOM_WAIT_MAX,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, TRANSACTION_BYTES_MAX,
};
pub use past::{Past, PastOptions};
pub use refusals::refusals;
pub use rekindle_engine::checkpoint::Derived;
pub use rekindle_engine::{KeyspaceId, Operation, Row};
pub use rekindle_env::Env;
pub use rekindle_journal::Outcome;
pub use rekindle_recovery::Report;
pub use repair::{
    PlannedLoss, REASON_BYTES_MAX, Repair, RepairOptions, is_range, plan_repair, repair,
};
pub use replay::{NOTES_MAX, OPEN_BYTES_MAX};
pub use restore::{Moment, RestoreNote, Restored, RestoredBy, restore, restore_as, rfc3339};
pub use salvage::{Salvage, SalvagedFile, salvage};
pub use scrub::{Scrub, Scrubs, advice as scrub_advice};
pub use shown::Settled;
pub use snapshot::Snapshot;
pub use space::DiskSpace;
pub use stats::{ReplayStats, Stats};
pub use transaction::{Commit, Pending, Transaction, Value};
pub use verify::{dry_run, verify};
