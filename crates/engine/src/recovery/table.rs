//! The decision tables of the engine layer. docs/recovery.md has a paragraph per label.
//!
//! Invariant: every combination of conditions matches exactly one row (tested over all).

use rekindle_recovery::{Label, Row, Table};

/// What a checkpoint that meta names is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// None is named.
    None,
    /// Verified, and the journal reaches it.
    Whole,
    /// Damaged, missing, not a file, of another store, or the journal begins behind its replay.
    Unusable,
    /// Of a format that this program does not know.
    TooNew,
}

/// How far back the journal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From the first record on.
    Whole,
    /// Older records were given back.
    Cut,
    /// Nobody said.
    Unknown,
}

/// Everything that decides where the state comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The newest named checkpoint.
    pub newest: Named,
    /// The older one. Without a newest there is none.
    pub older: Named,
    /// The journal behind them.
    pub reach: Reach,
}

impl Situation {
    fn is_too_new(&self) -> bool {
        self.newest == Named::TooNew || self.older == Named::TooNew
    }

    /// Checkpoints are named, and none of them can be used.
    fn is_without_state(&self) -> bool {
        self.newest == Named::Unusable && matches!(self.older, Named::None | Named::Unusable)
    }
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Begin empty and replay everything: no checkpoint was made yet.
    Empty,
    /// Load the newest.
    Newest,
    /// Load the newest; the older one cannot stand in for it any more.
    NewestAlone,
    /// Load the older one and replay more.
    Older,
    /// Begin empty and replay everything, because the journal still has everything.
    ReplayAll,
    /// State is lost: refuse.
    Corrupt,
    /// A newer program is needed: refuse.
    Newer,
}

impl Then {
    /// Whether the start is refused.
    #[must_use]
    pub fn refuses(self) -> bool {
        matches!(self, Self::Corrupt | Self::Newer)
    }
}

/// Where the state comes from.
pub const SITUATIONS: Table<Situation, Then> = Table {
    rows: &[
        Row {
            label: Label("engine-1"),
            when: |s| s.newest == Named::None && !s.is_too_new() && s.reach != Reach::Cut,
            then: Then::Empty,
        },
        Row {
            label: Label("engine-2"),
            when: |s| s.newest == Named::Whole && matches!(s.older, Named::None | Named::Whole),
            then: Then::Newest,
        },
        Row {
            label: Label("engine-3"),
            when: |s| s.newest == Named::Whole && s.older == Named::Unusable,
            then: Then::NewestAlone,
        },
        Row {
            label: Label("engine-4"),
            when: |s| s.newest == Named::Unusable && s.older == Named::Whole,
            then: Then::Older,
        },
        Row {
            label: Label("engine-5"),
            when: |s| s.is_without_state() && s.reach == Reach::Whole,
            then: Then::ReplayAll,
        },
        Row {
            label: Label("engine-6"),
            when: |s| {
                let nothing_ever = s.newest == Named::None && !s.is_too_new();
                (nothing_ever && s.reach == Reach::Cut)
                    || (s.is_without_state() && s.reach != Reach::Whole)
            },
            then: Then::Corrupt,
        },
        Row { label: Label("engine-7"), when: Situation::is_too_new, then: Then::Newer },
    ],
};

/// Whose a file is that meta does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A finished checkpoint.
    Finished,
    /// One that was being written.
    Temporary,
    /// Not ours.
    Other,
    /// Something that is no folder, in the place of the folder.
    Place,
}

/// A file that meta does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Whose it is.
    pub owner: Owner,
    /// Whether its id lies above all named ones.
    pub newer: bool,
    /// Whether the start is refused.
    pub refused: bool,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftoverThen {
    /// It goes.
    Remove,
    /// It stays; it is not ours.
    Leave,
    /// It is moved away, so that the folder can be made.
    SetAside,
    /// It stays, because it may be all there is.
    Evidence,
}

/// What happens to files that meta does not name.
pub const LEFTOVERS: Table<Leftover, LeftoverThen> = Table {
    rows: &[
        Row {
            label: Label("engine-8"),
            when: |l| l.owner == Owner::Finished && l.newer && !l.refused,
            then: LeftoverThen::Remove,
        },
        Row {
            label: Label("engine-9"),
            when: |l| l.owner == Owner::Finished && !l.newer && !l.refused,
            then: LeftoverThen::Remove,
        },
        Row {
            label: Label("engine-10"),
            when: |l| l.owner == Owner::Temporary && !l.refused,
            then: LeftoverThen::Remove,
        },
        Row {
            label: Label("engine-11"),
            when: |l| l.owner == Owner::Other,
            then: LeftoverThen::Leave,
        },
        Row {
            label: Label("engine-13"),
            when: |l| l.owner == Owner::Place && !l.refused,
            then: LeftoverThen::SetAside,
        },
        Row {
            label: Label("engine-12"),
            when: |l| l.owner != Owner::Other && l.refused,
            then: LeftoverThen::Evidence,
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_matches_exactly_one_row() {
        let named = [Named::None, Named::Whole, Named::Unusable, Named::TooNew];
        let mut all = vec![];
        for newest in named {
            for older in named {
                for reach in [Reach::Whole, Reach::Cut, Reach::Unknown] {
                    all.push(Situation { newest, older, reach });
                }
            }
        }
        assert_eq!(SITUATIONS.check(all), Vec::<String>::new());

        let mut all = vec![];
        for owner in [Owner::Finished, Owner::Temporary, Owner::Other, Owner::Place] {
            for (newer, refused) in [(false, false), (false, true), (true, false), (true, true)] {
                all.push(Leftover { owner, newer, refused });
            }
        }
        assert_eq!(LEFTOVERS.check(all), Vec::<String>::new());
    }

    /// Nothing that holds the only state is ever removed, and nothing lost is ever called clean.
    #[test]
    fn a_refused_start_removes_nothing() {
        for row in LEFTOVERS.rows {
            let leftover = Leftover { owner: Owner::Finished, newer: true, refused: true };
            assert!(!(row.when)(&leftover) || row.then != LeftoverThen::Remove, "{}", row.label);
        }
        for reach in [Reach::Cut, Reach::Unknown] {
            let lost = Situation { newest: Named::Unusable, older: Named::Unusable, reach };
            assert!(SITUATIONS.decide(&lost).then.refuses());
        }
    }
}
