//! Claims: time-bounded ownership of units of work, the one mechanism behind leases of messages and
//! jobs in processing.
//!
//! A unit of work ([`Subject`]) belongs to a [`Line`]: a queue or a type of jobs. Whoever may work
//! on it holds a lease; the tables here say when that ends, with which cause, and what becomes of
//! the work. Invariants: `attempt` grows by one at a grant and only there; a settlement adds one
//! cause; a token is good from its grant until the work is granted again or is finished.

pub(crate) mod attempts;
mod backoff;
pub(crate) mod expire;
pub(crate) mod grant;
pub(crate) mod index;
pub(crate) mod kept;
pub(crate) mod lease;
mod line;
#[cfg(test)]
mod model;
pub(crate) mod recovery;
mod run;
pub(crate) mod settle;
pub(crate) mod state;
mod subject;
mod table;
pub(crate) mod unclaimed;
pub(crate) mod word;

pub use backoff::Backoff;
pub(crate) use line::Line;
pub(crate) use run::Run;
pub use subject::{Subject, Token};
pub(crate) use subject::{is_of_jobs, line_of_jobs};
pub(crate) use table::REVIEW;
pub use table::{
    CRASHES_MAX, Cause, Decision, Event, Executor, Fate, Holder, Owner, Settled, Situation, Trace,
    Traces, after, crashes_in_a_row, decide,
};
