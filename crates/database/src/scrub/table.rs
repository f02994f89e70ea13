//! What damage means that a scrub meets: by what can still stand in for the file.

use rekindle_recovery::{Label, Row, Table, Verdict};

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A named checkpoint.
    Checkpoint,
    /// A sealed segment.
    Segment,
}

/// A damaged file, after the scrub did what it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// What it is.
    pub(crate) what: What,
    /// A start would have read it before a checkpoint was written for it.
    pub(crate) needed: bool,
    /// A start would pass it by now.
    pub(crate) passed: bool,
}

/// What follows: the verdict, and what is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Then {
    pub(crate) verdict: Verdict,
    pub(crate) advice: &'static str,
}

pub(crate) const DAMAGES: Table<Condition, Then> = Table {
    rows: &[
        Row {
            label: Label("scrub-1"),
            when: |c| c.what == What::Checkpoint && c.passed,
            then: Then {
                verdict: Verdict::Healed,
                advice: "another one stands in for it; it is set aside once one was written in \
                         its place",
            },
        },
        Row {
            label: Label("scrub-2"),
            when: |c| c.what == What::Segment && c.passed && !c.needed,
            then: Then {
                verdict: Verdict::Healed,
                advice: "the newest checkpoint holds what stood there; it goes with the next ones",
            },
        },
        Row {
            label: Label("scrub-3"),
            when: |c| c.what == What::Segment && c.passed && c.needed,
            then: Then {
                verdict: Verdict::Healed,
                advice: "a checkpoint was written from memory at once, and holds what stood there",
            },
        },
        Row {
            label: Label("scrub-4"),
            when: |c| !c.passed,
            then: Then {
                verdict: Verdict::Corrupt,
                advice: "a start would be refused: only this process still holds what stood \
                         there. Do not end it before a checkpoint or a backup was written; it is \
                         tried again every minute",
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_matches_exactly_one_row() {
        let mut all = vec![];
        for what in [What::Checkpoint, What::Segment] {
            for (needed, passed) in [(false, false), (false, true), (true, false), (true, true)] {
                all.push(Condition { what, needed, passed });
            }
        }
        assert_eq!(DAMAGES.check(all), Vec::<String>::new());
    }
}
