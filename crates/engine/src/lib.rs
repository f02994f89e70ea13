//! Sorted keyspaces at a position: the trait [`Engine`], the memory engine with its checkpoints,
//! and engines with files of their own, for state larger than memory.
//!
//! Invariants: an engine holds only what the journal resolved; it flushes nothing above durable;
//! applying a batch at or below the applied position changes nothing.

mod api;
pub mod checkpoint;
pub mod conformance;
pub mod files;
pub mod lsm;
mod memory;
pub mod recovery;
#[cfg(feature = "rocksdb")]
pub mod rocks;
mod row;

pub use api::{Engine, EngineError, KeyspaceId, Mark, Operation, Row, Versioned};
pub use files::{FileEngine, FileOptions, FilesKind};
pub use lsm::LsmEngine;
pub use memory::{Frozen, MemoryEngine};
