//! The client against a server that loses connections, answers late, or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods
)]

mod calls;
mod fake;
mod sender;
mod worker;
