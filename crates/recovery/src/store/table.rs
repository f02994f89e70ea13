//! The decision tables of the store layer. docs/recovery.md has a paragraph per label.
//!
//! Invariant: every combination of [`Conditions`] matches exactly one row (tested over all).

use crate::finding::Label;
use crate::table::{Row, Table};

/// What one copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// No file.
    Absent,
    /// Not what any program wrote.
    Damaged,
    /// Whole, of a newer program.
    Newer,
    /// Whole.
    Whole,
}

/// What two whole copies say together; without meaning where one is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// The same.
    Equal,
    /// The same store, one change apart.
    OneOlder,
    /// Neither.
    Contradict,
}

/// What lies beside the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing, or only empty directories of a store.
    Nothing,
    /// Something inside a store's directories.
    Data,
    /// Only things that no store has.
    Foreign,
}

/// Everything that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// `store.a`.
    pub a: CopyState,
    /// `store.b`.
    pub b: CopyState,
    /// Both together.
    pub pair: Pair,
    /// What lies beside them.
    pub rest: Rest,
    /// Whether the newest whole copy says that the shard has begun.
    pub begun: bool,
    /// Whether the journal's directory is there.
    pub journal: bool,
    /// Whether its engine is the one asked for.
    pub engine: bool,
    /// Whether a new store may be created.
    pub create: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Open it.
    Use,
    /// Create a store.
    Create,
    /// Create it again: the first attempt got no further than a torn `store.a`.
    Again,
    /// Complete a creation that was interrupted between the copies.
    Finish,
    /// Rewrite the damaged copy from the whole one.
    Heal,
    /// Complete a change that was interrupted between the copies.
    Update,
    /// Refuse: no copy is whole.
    Lost,
    /// Refuse: something else lives here.
    Foreign,
    /// Refuse: the copies contradict each other.
    Contradict,
    /// Refuse: a newer program wrote this.
    Newer,
    /// Refuse: another engine was asked for.
    OtherEngine,
    /// Refuse: there is no store, and none is to be created.
    Absent,
    /// Refuse: a store that has begun has no journal directory.
    NoJournal,
}

impl Then {
    /// Whether the start is refused.
    #[must_use]
    pub fn refuses(self) -> bool {
        !self.opens() && !matches!(self, Self::Create | Self::Again)
    }

    /// Whether an existing store is opened.
    #[must_use]
    pub fn opens(self) -> bool {
        matches!(self, Self::Use | Self::Finish | Self::Heal | Self::Update)
    }
}

impl Conditions {
    fn newer(&self) -> bool {
        self.a == CopyState::Newer || self.b == CopyState::Newer
    }

    fn whole(&self) -> bool {
        self.a == CopyState::Whole || self.b == CopyState::Whole
    }

    fn both_whole(&self) -> bool {
        self.a == CopyState::Whole && self.b == CopyState::Whole
    }

    fn contradict(&self) -> bool {
        self.both_whole() && self.pair == Pair::Contradict
    }

    /// There is an identity to trust.
    fn known(&self) -> bool {
        self.whole() && !self.newer() && !self.contradict()
    }

    /// It may be opened.
    fn usable(&self) -> bool {
        self.known() && self.engine && (self.journal || !self.begun)
    }

    /// Neither copy exists.
    fn bare(&self) -> bool {
        self.a == CopyState::Absent && self.b == CopyState::Absent
    }

    /// Creation stopped inside its first write. A damaged `store.a` alone proves that only while
    /// nothing else exists: `store.b` is made after it, and the shard after both.
    fn stillborn(&self) -> bool {
        self.a == CopyState::Damaged && self.b == CopyState::Absent && self.rest == Rest::Nothing
    }

    /// Creation stopped between the copies. The shard begins only after both, so where it holds
    /// anything the second copy has been damaged since.
    fn half_created(&self) -> bool {
        self.a == CopyState::Whole
            && matches!(self.b, CopyState::Absent | CopyState::Damaged)
            && !self.begun
            && self.rest != Rest::Data
    }
}

/// All situations of the identity.
pub static SITUATIONS: Table<Conditions, Then> = Table {
    rows: &[
        Row {
            label: Label("store-1"),
            when: |c| c.usable() && c.both_whole() && c.pair == Pair::Equal,
            then: Then::Use,
        },
        Row {
            label: Label("store-2"),
            when: |c| c.bare() && c.rest == Rest::Nothing && c.create,
            then: Then::Create,
        },
        Row { label: Label("store-3"), when: |c| c.stillborn() && c.create, then: Then::Again },
        Row {
            label: Label("store-4"),
            when: |c| c.usable() && c.half_created(),
            then: Then::Finish,
        },
        Row {
            label: Label("store-5"),
            when: |c| c.usable() && !c.both_whole() && !c.half_created(),
            then: Then::Heal,
        },
        Row {
            label: Label("store-6"),
            when: |c| c.usable() && c.both_whole() && c.pair == Pair::OneOlder,
            then: Then::Update,
        },
        Row {
            label: Label("store-7"),
            when: |c| {
                !(c.whole() || c.newer() || c.stillborn() || c.bare() && c.rest != Rest::Data)
            },
            then: Then::Lost,
        },
        Row {
            label: Label("store-8"),
            when: |c| c.bare() && c.rest == Rest::Foreign,
            then: Then::Foreign,
        },
        Row { label: Label("store-9"), when: Conditions::contradict, then: Then::Contradict },
        Row { label: Label("store-10"), when: Conditions::newer, then: Then::Newer },
        Row { label: Label("store-11"), when: |c| c.known() && !c.engine, then: Then::OtherEngine },
        Row {
            label: Label("store-12"),
            when: |c| (c.bare() && c.rest == Rest::Nothing || c.stillborn()) && !c.create,
            then: Then::Absent,
        },
        Row {
            label: Label("store-13"),
            when: |c| c.known() && c.engine && c.begun && !c.journal,
            then: Then::NoJournal,
        },
    ],
};

/// What a single entry of an opened store's directory can be, besides right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A name that no store has.
    Unknown,
    /// A directory of a store that is gone.
    Missing,
}

/// The label of a directory that is made again.
pub const MISSING: Label = Label("store-15");

const UNKNOWN: Label = Label("store-14");

/// The situations of single entries; neither changes the exit code.
pub static ENTRIES: Table<Entry, ()> = Table {
    rows: &[
        Row { label: UNKNOWN, when: |entry| *entry == Entry::Unknown, then: () },
        Row { label: MISSING, when: |entry| *entry == Entry::Missing, then: () },
    ],
};

/// Whether a label is one of [`ENTRIES`].
#[must_use]
pub fn is_entry(label: Label) -> bool {
    ENTRIES.rows.iter().any(|row| row.label == label)
}
