//! What damage means that a scrub meets, after it did what it can: by whether the file is still in
//! use, and whether a start could do without it.

use rekindle_recovery::{Label, Row, Table, Verdict};

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A named checkpoint.
    Checkpoint,
    /// A segment.
    Segment,
    /// A file of an engine that has its own.
    EngineFile,
}

/// A damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// What it is.
    pub(crate) what: What,
    /// A start would have needed it when it was found.
    pub(crate) needed: bool,
    /// It is in use no longer: checkpoints that were written since stand in for it.
    pub(crate) replaced: bool,
    /// A start now does without it.
    pub(crate) passed: bool,
}

/// What follows: the verdict, and what is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Then {
    pub(crate) verdict: Verdict,
    pub(crate) advice: &'static str,
}

const fn healed(advice: &'static str) -> Then {
    Then { verdict: Verdict::Healed, advice }
}

pub(crate) const DAMAGES: Table<Condition, Then> = Table {
    rows: &[
        Row {
            label: Label("scrub-1"),
            when: |c| c.what == What::Checkpoint && c.replaced,
            then: healed("another checkpoint was written in its place"),
        },
        Row {
            label: Label("scrub-2"),
            when: |c| c.what == What::Segment && c.replaced && !c.needed,
            then: healed("checkpoints hold what stood there, and it was given up"),
        },
        Row {
            label: Label("scrub-3"),
            when: |c| c.what == What::Segment && c.replaced && c.needed,
            then: healed(
                "a start would have been refused; checkpoints of the state in memory were written \
                 at once, and it was given up",
            ),
        },
        Row {
            label: Label("scrub-4"),
            when: |c| c.what != What::EngineFile && !c.replaced && !c.passed,
            then: Then {
                verdict: Verdict::Corrupt,
                advice: "a start would be refused: only this process still holds what stood \
                         there. Do not kill it before a checkpoint or a backup was written; that \
                         is tried again each minute, and at a clean end",
            },
        },
        Row {
            label: Label("scrub-5"),
            when: |c| c.what != What::EngineFile && !c.replaced && c.passed,
            then: healed(
                "a start does without it, and nothing could be written in its place yet; that is \
                 tried again each minute, and at a clean end",
            ),
        },
        Row {
            label: Label("scrub-6"),
            when: |c| c.what == What::EngineFile && c.replaced,
            then: healed("it was written anew from memory, or nothing needs it any more"),
        },
        Row {
            label: Label("scrub-7"),
            when: |c| c.what == What::EngineFile && !c.replaced,
            then: Then {
                verdict: Verdict::Corrupt,
                advice: "rows in it cannot be read, and nothing else holds them: whoever asks for \
                         one gets an error, and a backup fails. Restore the newest backup, or stop \
                         the server and run 'rekindle salvage', which writes out what can be read",
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
        for what in [What::Checkpoint, What::Segment, What::EngineFile] {
            for bits in 0..8 {
                let [needed, replaced, passed] = [1, 2, 4].map(|bit| bits & bit != 0);
                all.push(Condition { what, needed, replaced, passed });
            }
        }
        assert_eq!(DAMAGES.check(all), Vec::<String>::new());
    }
}
