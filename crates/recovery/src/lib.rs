//! The recovery pipeline: stages, labels, findings, plans, decision tables, report, driver.
//!
//! Invariants: scan is handed something that can only be read; validate and plan are handed no disk
//! at all; nothing is acted on while any layer's plan refuses.

pub mod action;
pub mod driver;
pub mod finding;
pub mod identity;
pub mod meter;
pub mod numbers;
pub mod quarantine;
pub mod report;
pub mod store;
pub mod table;

pub use action::{Action, ActionKind};
pub use driver::{
    Examined, Failure, Layer, Plan, examine, examine_metered, perform, perform_metered,
};
pub use finding::{Acked, Finding, Label, Place, Verdict};
pub use identity::{Identity, IdentityCopy};
pub use meter::{Meter, MeteredDisk, Reading};
pub use report::{Before, Ended, LayerReport, Report, Stage};
pub use store::{Store, StoreLayer, lock};
pub use table::{Row, Table};

/// Exit codes of the binary, one meaning each (docs/reference.md).
pub mod exit {
    /// Clean.
    pub const CLEAN: i32 = 0;
    /// Refused or partly done.
    pub const REFUSED: i32 = 1;
    /// Usage.
    pub const USAGE: i32 = 2;
    /// A torn tail, normal after a kill.
    pub const TORN: i32 = 3;
    /// Damaged but healed, nothing lost.
    pub const HEALED: i32 = 4;
    /// Corrupt: refused.
    pub const CORRUPT: i32 = 65;
    /// The server cannot be reached.
    pub const UNREACHABLE: i32 = 69;
    /// An I/O error.
    pub const IO: i32 = 70;
    /// Locked by another process.
    pub const LOCKED: i32 = 73;
    /// The outcome is unknown.
    pub const UNKNOWN: i32 = 75;
    /// Denied.
    pub const DENIED: i32 = 77;
    /// Configuration, or the directory is not empty and no store.
    pub const CONFIG: i32 = 78;
}
