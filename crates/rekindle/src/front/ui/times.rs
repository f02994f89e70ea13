//! Moments as elements of a page: how far away, and when exactly.
//!
//! Invariants: a moment is told against the clock that it was taken by; the exact one is never far
//! from the rounded one (beside it, or as its title).

use maud::{Markup, html};

use super::text;

/// Now, by the two clocks that jobs are timed by, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Now {
    /// The log's.
    pub(super) log_ms: u64,
    /// The wall's.
    pub(super) wall_ms: u64,
}

/// A moment, exactly.
pub(super) fn at(ms: u64) -> Markup {
    html! { time datetime=(text::machine_moment(ms)) { (text::moment(ms)) } }
}

/// A moment that has passed: `3 m ago`.
pub(super) fn ago(now_ms: u64, ms: u64) -> Markup {
    html! {
        time datetime=(text::machine_moment(ms)) title=(text::moment(ms)) {
            (text::age(now_ms.saturating_sub(ms))) " ago"
        }
    }
}

/// A moment to come: `in 3 m`; one that should have come: `now`.
pub(super) fn ahead(now_ms: u64, ms: u64) -> Markup {
    html! {
        time datetime=(text::machine_moment(ms)) title=(text::moment(ms)) {
            @match ms.checked_sub(now_ms) {
                None | Some(0..1_000) => "now",
                Some(left_ms) => { "in " (text::age(left_ms)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_near_or_far() {
        let text = ago(65_000, 5_000).into_string();
        assert!(text.contains("1 m ago") && text.contains("datetime=\"1970-01-01T00:00:05Z\""));
        assert!(ago(0, 5_000).into_string().contains("0 s ago"), "clocks may go back");
        assert!(ahead(5_000, 65_000).into_string().contains("in 1 m"));
        assert!(ahead(65_000, 5_000).into_string().contains(">now<"));
    }
}
