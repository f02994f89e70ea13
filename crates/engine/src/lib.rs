//! Sorted keyspaces at a position: the trait [`Engine`], the memory engine, its checkpoints.
//!
//! Invariants: an engine holds only what the journal resolved; it flushes nothing above durable;
//! applying a batch at or below the applied position changes nothing.

mod api;
pub mod checkpoint;
pub mod conformance;
mod memory;
pub mod recovery;
mod row;

pub use api::{Engine, EngineError, KeyspaceId, Mark, Operation, Row, Versioned};
pub use memory::{Frozen, MemoryEngine};
