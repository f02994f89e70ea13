//! Tests of the outside world: the simulated disk and the overlay behave as the real one, and a
//! crash leaves what the models say.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests look at the real disk and fail by panicking"
)]

mod conformance;
mod crash_points;
mod durable_files;
mod faults;
mod images;
mod overlay;
mod programs;
mod real;
mod survival;
