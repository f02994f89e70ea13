//! Fronts: the only code that knows a wire format.
//!
//! Invariant: whatever can be called from outside stands in a table with the permission that it
//! needs ([`http::table`], [`grpc::table`]); what stands in no table is denied.

pub mod access;
pub mod budget;
pub mod connections;
pub mod grpc;
pub mod http;
pub mod limits;
mod long_poll;
mod loop_commands;
pub mod origin;
pub mod ui;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
