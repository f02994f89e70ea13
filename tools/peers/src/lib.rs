//! Other stores and servers behind small traits, to be measured beside ours.
//!
//! Invariants: every peer does the same work as ours; each is set up as its own documentation says
//! for what is promised, and nothing is tuned for or against anybody.

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "servers")]
pub mod servers;

/// An error as text: nobody looks at it but the person who runs the benchmark.
#[cfg(any(feature = "embedded", feature = "servers"))]
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
