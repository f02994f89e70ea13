//! Loops: long executions of iterations that go on until their checks pass.
//!
//! A *plan* has *specs* with dependencies between them; what a spec asks for is done by iterations:
//! its run step, then its check steps. So far plans are read and checked; nothing executes them
//! yet (docs/decisions/0035).

mod order;
pub mod plan;

pub use plan::{Budget, Checked, Directory, Plan, Spec, Step};
