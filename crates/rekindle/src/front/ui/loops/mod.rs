//! Loops on the page: plans and executions as a tree, one of either, the transcript of an
//! execution, and the evidence of one that waits for a person.
//!
//! Invariants: what is shown of an execution is bounded, however long it runs; what its programs
//! printed and people wrote is text, and does nothing.

pub(super) mod actions;
pub(super) mod budget;
pub(super) mod execution;
pub(super) mod iterations;
pub(super) mod plan;
pub(super) mod remembered;
pub(super) mod review;
pub(super) mod steps;
pub(super) mod strip;
pub(super) mod transcript;
pub(super) mod tree;
pub(super) mod words;
