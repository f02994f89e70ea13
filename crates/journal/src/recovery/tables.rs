//! The decision tables of the journal: every situation on disk is exactly one row.

use rekindle_recovery::{Acked, ActionKind, Label, Row, Table, Verdict};

/// What a row decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub action: ActionKind,
    /// What it means for the data; `None` for a note.
    pub verdict: Option<Verdict>,
    /// Whether the bytes had been acknowledged.
    pub acked: Acked,
    /// Why, in the words of the report.
    pub why: &'static str,
}

/// What proves that a bad range had been synced, hence acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// A later valid frame carries a durable address behind it.
    LaterFrame,
    /// `tip` does.
    Tip,
    /// `meta` does: a clean end, or carried frames of a named segment.
    Meta,
}

impl Proof {
    /// All values.
    pub const ALL: [Self; 4] = [Self::None, Self::LaterFrame, Self::Tip, Self::Meta];
}

/// A range of a segment in which no frame is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeCondition {
    /// In the last segment; every other is declared by its successor.
    pub last: bool,
    /// What proves it.
    pub proof: Proof,
    /// All its positions lie below `replay_from`.
    pub below_replay: bool,
}

/// What is wrong with a segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Nothing.
    Whole,
    /// The file is not there.
    Missing,
    /// Its header is damaged.
    BadHeader,
    /// A newer version wrote it.
    Newer,
    /// The file is shorter or longer than its header says.
    WrongSize,
    /// It belongs to another store, node or shard, or does not join its neighbour.
    Foreign,
}

impl SegmentState {
    /// All values.
    pub const ALL: [Self; 6] =
        [Self::Whole, Self::Missing, Self::BadHeader, Self::Newer, Self::WrongSize, Self::Foreign];
}

/// How a segment stands to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the chain, above `replay_from`.
    Needed,
    /// In the chain, wholly below `replay_from`.
    BelowReplay,
    /// Not in the chain and not named by `meta`.
    Stray,
    /// Older than the oldest that `meta` names.
    Leftover,
    /// Written anew by a repair.
    Superseded,
}

impl Place {
    /// All values.
    pub const ALL: [Self; 5] =
        [Self::Needed, Self::BelowReplay, Self::Stray, Self::Leftover, Self::Superseded];
}

/// A segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCondition {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub state: SegmentState,
    /// Both meta copies are whole, so that what they do not name was never served.
    pub metas_intact: bool,
}

/// `tip` and files that are none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherCondition {
    /// `tip` is missing or damaged.
    BadTip,
    /// A file in `journal/` that is no segment.
    UnknownFile,
    /// Valid frames at the end that nothing proves: written again before serving.
    UnprovenTail,
    /// The shard is new, or its making was interrupted before it served.
    New,
}

impl OtherCondition {
    /// All values.
    pub const ALL: [Self; 4] = [Self::BadTip, Self::UnknownFile, Self::UnprovenTail, Self::New];
}

const fn decision(
    action: ActionKind,
    verdict: Option<Verdict>,
    acked: Acked,
    why: &'static str,
) -> Decision {
    Decision { action, verdict, acked, why }
}

const fn refuse(why: &'static str) -> Decision {
    decision(ActionKind::Refuse, Some(Verdict::Corrupt), Acked::Yes, why)
}

const HEALED: Decision = decision(
    ActionKind::Keep,
    Some(Verdict::Healed),
    Acked::Yes,
    "the checkpoint holds everything that stood here",
);

/// The planted bug of the campaign: a bad checksum in the middle ends the log.
const PLANTED_CUT: bool = cfg!(planted = "cut-at-bad-checksum");

/// Ranges.
pub static RANGES: Table<RangeCondition, Decision> = Table {
    rows: &[
        Row {
            label: Label("journal-1"),
            when: |c| c.last && !c.below_replay && (c.proof == Proof::None || PLANTED_CUT),
            then: decision(
                ActionKind::Cut,
                Some(Verdict::Torn),
                Acked::Unknown,
                "nothing proves that the end was ever synced",
            ),
        },
        Row {
            label: Label("journal-2"),
            when: |c| c.last && !c.below_replay && c.proof == Proof::LaterFrame && !PLANTED_CUT,
            then: refuse("a later frame proves that these bytes were synced"),
        },
        Row {
            label: Label("journal-3"),
            when: |c| c.last && !c.below_replay && c.proof == Proof::Tip && !PLANTED_CUT,
            then: refuse("tip proves that these bytes were synced"),
        },
        Row {
            label: Label("journal-4"),
            when: |c| c.last && !c.below_replay && c.proof == Proof::Meta && !PLANTED_CUT,
            then: refuse("meta proves that these bytes were synced"),
        },
        Row {
            label: Label("journal-5"),
            when: |c| !c.last && !c.below_replay,
            then: refuse("the next segment declares that frames stood here"),
        },
        Row { label: Label("journal-6"), when: |c| c.below_replay, then: HEALED },
    ],
};

fn chained(c: &SegmentCondition) -> bool {
    matches!(c.place, Place::Needed | Place::BelowReplay)
}

/// Segments.
pub static SEGMENTS: Table<SegmentCondition, Decision> = Table {
    rows: &[
        Row {
            label: Label("journal-7"),
            when: |c| chained(c) && c.state == SegmentState::Whole,
            then: decision(ActionKind::Keep, None, Acked::Yes, "whole"),
        },
        Row {
            label: Label("journal-8"),
            when: |c| c.place == Place::Needed && c.state == SegmentState::Missing,
            then: refuse("a segment that was in use is gone"),
        },
        Row {
            label: Label("journal-9"),
            when: |c| c.place == Place::Needed && c.state == SegmentState::BadHeader,
            then: refuse("the header of a segment in use is damaged"),
        },
        Row {
            label: Label("journal-10"),
            when: |c| c.place == Place::Needed && c.state == SegmentState::WrongSize,
            then: refuse("a segment is given its size before its first frame"),
        },
        Row {
            label: Label("journal-11"),
            when: |c| c.place == Place::Needed && c.state == SegmentState::Foreign,
            then: refuse("the segment does not belong to this journal"),
        },
        Row {
            label: Label("journal-12"),
            when: |c| {
                c.place == Place::BelowReplay
                    && !matches!(c.state, SegmentState::Whole | SegmentState::Newer)
            },
            then: HEALED,
        },
        Row {
            label: Label("journal-13"),
            when: |c| c.place == Place::Stray && c.metas_intact && c.state != SegmentState::Newer,
            then: decision(
                ActionKind::Quarantine,
                Some(Verdict::Torn),
                Acked::No,
                "its making was interrupted before it served",
            ),
        },
        Row {
            label: Label("journal-14"),
            when: |c| c.place == Place::Stray && !c.metas_intact && c.state != SegmentState::Newer,
            then: decision(
                ActionKind::Refuse,
                Some(Verdict::Corrupt),
                Acked::Unknown,
                "a meta copy is bad too, so nothing says that it never served",
            ),
        },
        Row {
            label: Label("journal-15"),
            when: |c| c.place == Place::Leftover,
            then: decision(
                ActionKind::Cut,
                None,
                Acked::Yes,
                "meta gave it up; its removal was interrupted",
            ),
        },
        Row {
            label: Label("journal-16"),
            when: |c| {
                !matches!(c.place, Place::Leftover | Place::Superseded)
                    && c.state == SegmentState::Newer
            },
            then: decision(
                ActionKind::Refuse,
                None,
                Acked::Yes,
                "a newer version of Rekindle wrote it: start that version",
            ),
        },
        Row {
            label: Label("journal-21"),
            when: |c| c.place == Place::Superseded,
            then: decision(
                ActionKind::Quarantine,
                None,
                Acked::Yes,
                "a repair wrote it anew; the original is kept",
            ),
        },
    ],
};

/// Everything else.
pub static OTHERS: Table<OtherCondition, Decision> = Table {
    rows: &[
        Row {
            label: Label("journal-17"),
            when: |c| *c == OtherCondition::BadTip,
            then: decision(
                ActionKind::Rebuild,
                Some(Verdict::Healed),
                Acked::No,
                "it only proves; it is written again",
            ),
        },
        Row {
            label: Label("journal-18"),
            when: |c| *c == OtherCondition::UnknownFile,
            then: decision(ActionKind::Keep, None, Acked::No, "not ours: left alone"),
        },
        Row {
            label: Label("journal-19"),
            when: |c| *c == OtherCondition::UnprovenTail,
            then: decision(
                ActionKind::Keep,
                None,
                Acked::Unknown,
                "valid, and nothing proves that it was synced: written again before serving",
            ),
        },
        Row {
            label: Label("journal-20"),
            when: |c| *c == OtherCondition::New,
            then: decision(ActionKind::Rebuild, None, Acked::No, "a new shard"),
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    /// No row refuses bytes that were acknowledged and calls them anything but corrupt.
    #[test]
    fn a_refusal_of_acknowledged_bytes_is_corrupt_and_healing_keeps() {
        let expected = Decision { action: ActionKind::Refuse, ..HEALED };
        let expected = Decision { verdict: Some(Verdict::Corrupt), why: "x", ..expected };
        assert_eq!(refuse("x"), expected);
        for row in RANGES.rows.iter().filter(|row| row.then.action == ActionKind::Refuse) {
            assert_eq!(row.then, refuse(row.then.why), "{}", row.label);
        }
    }

    #[test]
    fn each_combination_of_a_range_matches_exactly_one_row() {
        let flags = [false, true];
        let all = flags.into_iter().flat_map(|last| {
            flags.into_iter().flat_map(move |below_replay| {
                Proof::ALL.map(|proof| RangeCondition { last, proof, below_replay })
            })
        });
        assert_eq!(RANGES.check(all), Vec::<String>::new());
    }

    #[test]
    fn each_combination_of_a_segment_matches_exactly_one_row() {
        let all = Place::ALL.into_iter().flat_map(|place| {
            SegmentState::ALL.into_iter().flat_map(move |state| {
                [false, true].map(|metas_intact| SegmentCondition { place, state, metas_intact })
            })
        });
        assert_eq!(SEGMENTS.check(all), Vec::<String>::new());
    }

    #[test]
    fn everything_else_matches_exactly_one_row() {
        assert_eq!(OTHERS.check(OtherCondition::ALL), Vec::<String>::new());
    }
}
