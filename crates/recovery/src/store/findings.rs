//! Findings of the store layer: what each situation says about the copies and the directory.
//!
//! Invariant: pure; everything here is a function of the pieces that scan read.

use super::scan::{Pieces, RawCopy};
use super::table::{self, CopyState, Entry, Then};
use super::{COPIES, JOURNAL_DIR};
use crate::finding::{Acked, Finding, Label, Place, Verdict};
use crate::identity::{Defect, IdentityCopy, engine_name};

/// Why a copy gives no identity.
pub(super) enum Fault {
    Absent,
    Defect(Defect),
}

/// Validates one copy.
pub(super) fn decode(raw: &RawCopy) -> Result<IdentityCopy, Fault> {
    match raw {
        RawCopy::Absent => Err(Fault::Absent),
        RawCopy::Other => Err(Fault::Defect(Defect::Damaged {
            offset: 0,
            expected: "a regular file".to_owned(),
            found: "something else".to_owned(),
        })),
        RawCopy::Bytes(bytes) => IdentityCopy::decode(bytes).map_err(Fault::Defect),
    }
}

/// The same as a condition of the table.
pub(super) fn state(copy: &Result<IdentityCopy, Fault>) -> CopyState {
    match copy {
        Ok(_) => CopyState::Whole,
        Err(Fault::Absent) => CopyState::Absent,
        Err(Fault::Defect(Defect::Damaged { .. })) => CopyState::Damaged,
        Err(Fault::Defect(Defect::Newer { .. })) => CopyState::Newer,
    }
}

fn note(label: Label, file: &str, offset: u64, expected: String, found: String) -> Finding {
    let place = Place { file: file.to_owned(), offset, from: 0, to: 0 };
    Finding { label, place, verdict: None, acked: Acked::No, expected, found }
}

/// One finding per copy that is not current.
pub(super) fn of_copies(
    label: Label,
    then: Then,
    newest: Option<&IdentityCopy>,
    copies: [&Result<IdentityCopy, Fault>; 2],
) -> Vec<Finding> {
    let (verdict, acked) = match then {
        Then::Heal => (Some(Verdict::Healed), Acked::Yes),
        Then::Lost => (Some(Verdict::Corrupt), Acked::Yes),
        _ => (None, Acked::No),
    };
    let describe = |copy: &Result<IdentityCopy, Fault>| match copy {
        Err(Fault::Absent) => Some((0, "a copy of the identity".to_owned(), "no file".to_owned())),
        Err(Fault::Defect(Defect::Damaged { offset, expected, found })) => {
            Some((*offset, expected.clone(), found.clone()))
        }
        Err(Fault::Defect(Defect::Newer { expected, found })) => {
            Some((8, expected.clone(), found.clone()))
        }
        Ok(copy) if newest != Some(copy) => {
            let newest = newest.map_or(0, |newest| newest.sequence);
            Some((16, format!("sequence {newest}"), format!("sequence {}", copy.sequence)))
        }
        Ok(_) => None,
    };
    let newer_only = |copy: &&Result<IdentityCopy, Fault>| {
        then != Then::Newer || state(copy) == CopyState::Newer
    };
    let named = COPIES.into_iter().zip(copies).filter(|(_, copy)| newer_only(copy));
    named
        .filter_map(|(name, copy)| describe(copy).map(|what| (name, what)))
        .map(|(name, (offset, expected, found))| Finding {
            verdict,
            acked,
            ..note(label, name, offset, expected, found)
        })
        .collect()
}

/// Both copies are whole and cannot both be right.
pub(super) fn contradiction(
    label: Label,
    a: &Result<IdentityCopy, Fault>,
    b: &Result<IdentityCopy, Fault>,
) -> Finding {
    let [a, b] = [a, b].map(|copy| {
        let copy = copy.as_ref().ok();
        copy.map_or_else(String::new, |copy| {
            format!("store {}, sequence {}", copy.identity.store_id_hex(), copy.sequence)
        })
    });
    let finding = note(label, "store.b", 16, a, b);
    Finding { verdict: Some(Verdict::Corrupt), acked: Acked::Yes, ..finding }
}

/// A store that has begun lost the directory of its segments.
pub(super) fn no_journal(label: Label) -> Finding {
    let expected = "the directory of the segments".to_owned();
    let finding = note(label, JOURNAL_DIR, 0, expected, "no directory".to_owned());
    Finding { verdict: Some(Verdict::Corrupt), acked: Acked::Yes, ..finding }
}

/// Something else lives here.
pub(super) fn foreign(label: Label, pieces: &Pieces) -> Finding {
    let name = pieces.unknown.first().map_or("", String::as_str);
    note(label, name, 0, "an empty directory, or a store".to_owned(), "other files".to_owned())
}

/// The store was created with another engine.
pub(super) fn other_engine(label: Label, asked: &[u8], found: u8) -> Finding {
    let names: Vec<String> = asked.iter().map(|engine| engine_name(*engine)).collect();
    let asked = format!("engine {}", names.join(" or "));
    let found = format!("engine {}", engine_name(found));
    note(label, "store.a", 64, asked, found)
}

/// Notes on entries that nobody knows and on directories that are gone.
pub(super) fn entries(pieces: &Pieces) -> Vec<Finding> {
    let label = |entry: Entry| table::ENTRIES.decide(&entry).label;
    let unknown = pieces.unknown.iter().map(|name| {
        let (expected, found) = ("nothing of this name", "an unknown entry, left alone");
        note(label(Entry::Unknown), name, 0, expected.to_owned(), found.to_owned())
    });
    let missing = pieces.missing.iter().map(|name| {
        let (expected, found) = ("a directory", "nothing; made again");
        note(label(Entry::Missing), name, 0, expected.to_owned(), found.to_owned())
    });
    unknown.chain(missing).collect()
}
