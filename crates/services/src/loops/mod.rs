//! Loops: long executions of iterations that go on until their checks pass.
//!
//! A *plan* has *specs* with dependencies between them; what a spec asks for is done by iterations:
//! its run step, then its check steps. An *execution* is the fold of its events
//! (docs/decisions/0036). So far plans are read and checked, and what becomes of an execution is
//! decided by pure functions that nothing calls yet: no service executes plans.

pub mod event;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod lives_tests;
pub mod next;
mod order;
pub mod plan;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod plan_tests;
pub mod state;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod state_tests;

pub use plan::{Budget, Checked, Directory, Plan, Spec, Step};
