//! The database's decision table: what follows from each record that a journal can hold.
//!
//! Invariant: every combination of conditions matches exactly one row (tested). The journal has
//! verified the bytes below this, so what cannot be here is named and refused, never skipped.

use rekindle_recovery::{Label, Row, Table};

/// The highest feature level that this program understands.
pub const FEATURE_LEVEL: u32 = 1;

/// What a record is to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole transactions.
    Txns,
    /// A streamed transaction begins.
    Begin,
    /// A part of one.
    Part,
    /// It is committed.
    Commit,
    /// It is given up.
    Abort,
    /// An operator accepted a loss.
    Loss,
    /// The feature level.
    Feature,
    /// Nothing to the database.
    Other,
    /// The journal ends.
    End,
    /// The names of keyspaces, as all records left them.
    Registry,
}

/// How a version fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is the next one.
    Next,
    /// The checkpoint has it already.
    Applied,
    /// It cannot follow what was before.
    Gap,
}

/// Everything that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// What it is.
    pub(crate) piece: Piece,
    /// Whether its payload could be decoded.
    pub(crate) decoded: bool,
    /// Whether its transaction has begun and not ended; at the end: whether any has.
    pub(crate) open: bool,
    /// Whether all parts of that transaction are here.
    pub(crate) whole: bool,
    /// How its version fits.
    pub(crate) fit: Fit,
    /// Whether a loss was accepted before it.
    pub(crate) after_loss: bool,
    /// Whether its feature level is ours or lower.
    pub(crate) known: bool,
    /// Whether open transactions may still grow.
    pub(crate) room: bool,
    /// At the end: whether the journal reaches as far as its last accepted loss says.
    pub(crate) reached: bool,
    /// At the end: whether the journal reaches as far as the checkpoints do.
    pub(crate) held: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Applied, in commit order, with the version in the record.
    Apply,
    /// The checkpoint has it.
    Skip,
    /// Kept until its transaction ends.
    Keep,
    /// Its transaction is discarded whole.
    Discard,
    /// This record alone is discarded.
    Orphan,
    /// Ignored, and noted; the part count of the commit will prove what belongs to it.
    Ignore,
    /// Versions go on behind the accepted loss.
    Jump,
    /// Lost with the accepted range; its version stays taken.
    Lost,
    /// Nothing to do.
    Nothing,
    /// A newer program wrote it: the start is refused, nothing is damaged.
    Newer,
    /// The start is refused.
    Refuse,
}

fn commit_after_all(c: &Conditions) -> bool {
    c.decoded && c.piece == Piece::Commit && c.fit == Fit::Next
}

fn versioned(c: &Conditions) -> bool {
    c.decoded && matches!(c.piece, Piece::Txns | Piece::Commit)
}

/// The journal ends, and not too early.
fn ends_well(c: &Conditions) -> bool {
    c.piece == Piece::End && c.reached && c.held
}

/// Whether a payload is looked at for this piece.
fn has_payload(c: &Conditions) -> bool {
    !matches!(c.piece, Piece::Other | Piece::End | Piece::Registry)
}

macro_rules! row {
    ($label:literal, $then:ident, $when:expr) => {
        Row { label: Label($label), when: $when, then: Decision::$then }
    };
}

/// The table. docs/recovery.md has a paragraph for each label.
pub(crate) static TABLE: Table<Conditions, Decision> = Table {
    rows: &[
        // Committed.
        row!("database-1", Apply, |c| {
            let whole = c.piece == Piece::Txns || (c.open && c.whole);
            versioned(c) && c.fit == Fit::Next && whole
        }),
        // Already in the checkpoint.
        row!("database-2", Skip, |c| versioned(c) && c.fit == Fit::Applied),
        // Incomplete: the journal ends before it does.
        row!("database-3", Discard, |c| ends_well(c) && c.open),
        // Aborted by its writer.
        row!("database-4", Discard, |c| c.decoded && c.piece == Piece::Abort && c.open),
        // Orphaned: it never began.
        row!("database-5", Orphan, |c| {
            c.decoded && matches!(c.piece, Piece::Part | Piece::Abort) && !c.open
        }),
        // It began twice.
        row!("database-6", Ignore, |c| c.decoded && c.piece == Piece::Begin && c.open),
        // A commit of what never began.
        row!("database-7", Refuse, |c| commit_after_all(c) && !c.open && !c.after_loss),
        // A commit that counts other parts.
        row!("database-8", Refuse, |c| {
            commit_after_all(c) && c.open && !c.whole && !c.after_loss
        }),
        // A payload that cannot be decoded.
        row!("database-9", Refuse, |c| has_payload(c) && !c.decoded),
        // A version that does not follow.
        row!("database-10", Refuse, |c| {
            (versioned(c) || (c.decoded && c.piece == Piece::Loss)) && c.fit == Fit::Gap
        }),
        // A loss that an operator accepted.
        row!("database-11", Jump, |c| { c.decoded && c.piece == Piece::Loss && c.fit != Fit::Gap }),
        // A feature level above ours.
        row!("database-12", Newer, |c| c.decoded && c.piece == Piece::Feature && !c.known),
        // Open transactions above their bound.
        row!("database-13", Refuse, |c| {
            let grows = matches!((c.piece, c.open), (Piece::Part, true) | (Piece::Begin, false));
            c.decoded && grows && !c.room
        }),
        // A streamed transaction begins.
        row!("database-14", Keep, |c| {
            c.decoded && c.piece == Piece::Begin && !c.open && c.room
        }),
        // A part of an open one.
        row!("database-15", Keep, |c| c.decoded && c.piece == Piece::Part && c.open && c.room),
        // Nothing to the database.
        row!("database-16", Nothing, |c| match c.piece {
            Piece::Other => true,
            Piece::End => ends_well(c) && !c.open,
            Piece::Feature => c.decoded && c.known,
            Piece::Registry => c.decoded,
            _ => false,
        }),
        // A commit whose transaction lies in the accepted loss.
        row!("database-17", Lost, |c| {
            commit_after_all(c) && !(c.open && c.whole) && c.after_loss
        }),
        // A loss that stands for more positions than the journal has.
        row!("database-19", Refuse, |c| c.piece == Piece::End && !c.reached),
        // A row of the registry that is no name and number of its own.
        row!("database-20", Refuse, |c| c.piece == Piece::Registry && !c.decoded),
        // A checkpoint beyond the journal's end.
        row!("database-21", Refuse, |c| c.piece == Piece::End && c.reached && !c.held),
    ],
};

/// The wall clock at start is behind the last log time: log time goes on from there.
pub(crate) const WALL_BEHIND: Label = Label("database-18");

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of conditions is exactly one situation, and each situation is possible.
    ///
    /// proves: D3, D5
    #[test]
    fn every_combination_matches_exactly_one_row() {
        let pieces = [
            Piece::Txns,
            Piece::Begin,
            Piece::Part,
            Piece::Commit,
            Piece::Abort,
            Piece::Loss,
            Piece::Feature,
            Piece::Other,
            Piece::End,
            Piece::Registry,
        ];
        let mut all = Vec::new();
        for piece in pieces {
            for fit in [Fit::Next, Fit::Applied, Fit::Gap] {
                for bits in 0..=u8::MAX {
                    let bit = |n: u8| bits & (1 << n) != 0;
                    all.push(Conditions {
                        piece,
                        fit,
                        decoded: bit(0),
                        open: bit(1),
                        whole: bit(2),
                        after_loss: bit(3),
                        known: bit(4),
                        room: bit(5),
                        reached: bit(6),
                        held: bit(7),
                    });
                }
            }
        }
        assert_eq!(TABLE.check(all), Vec::<String>::new());
    }
}
