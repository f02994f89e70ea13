//! The bytes of the journal, one file per structure; docs/format.md is the same in prose.
//!
//! Invariants: everything is little-endian; decoding looks at lengths before it uses them, never
//! allocates from them, and never panics whatever the bytes are.

pub mod bytes;
pub mod frame;
pub mod meta;
pub mod record;
pub mod segment;
pub mod tip;

use rekindle_recovery::numbers::RUN_MAX;

/// The format that this version writes.
pub const FORMAT: u16 = 1;
/// The oldest reader that understands what this version writes.
pub const MIN_READER: u16 = 1;
/// Required features that this version understands.
pub const KNOWN_FEATURES: u32 = 0;

/// Frames and records start on this boundary.
pub const ALIGN: u64 = 8;

/// `len` rounded up to the alignment.
#[must_use]
pub const fn padded(len: u64) -> u64 {
    len.next_multiple_of(ALIGN)
}

/// Refuses a run behind which there is no other.
fn check_run(incarnation: u64) -> Result<(), Bad> {
    if incarnation <= RUN_MAX {
        return Ok(());
    }
    let expected = format!("a run up to {RUN_MAX} (a store has no more: export its data)");
    Err(Bad::new(expected, format!("run {incarnation}")))
}

/// What is wrong with a structure, in the words of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl Bad {
    /// Expectation and observation.
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }
}
