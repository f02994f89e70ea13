//! The binary's parts as a library, so that integration tests can reach them.
//!
//! Invariant: only `front` knows a wire format; only `boot` decides the order of a start.

pub mod serve;
