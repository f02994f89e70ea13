//! What the engine layer's findings say.
//!
//! Invariant: a finding about a named checkpoint carries the label of the situation and a verdict;
//! a finding about a leftover is a note and changes no exit code, because nothing was ever lost by
//! it.

use rekindle_recovery::{Acked, Finding, Label, Place, Row, Verdict};

use super::EngineLayer;
use super::scan::{Piece, Pieces};
use super::table::{Leftover, LeftoverThen, Situation, Then};
use crate::checkpoint::{Damage, file_name};

/// One finding per named checkpoint that cannot be used, and one where the journal lacks its
/// beginning without any.
pub(super) fn of_named(
    layer: &EngineLayer,
    decision: &Row<Situation, Then>,
    pieces: &Pieces,
) -> Vec<Finding> {
    let verdict = match decision.then {
        Then::Empty | Then::Newest => return vec![],
        Then::NewestAlone | Then::Older | Then::ReplayAll => Some(Verdict::Healed),
        Then::Corrupt => Some(Verdict::Corrupt),
        // Whole, and of a newer program: nothing is damaged.
        Then::Newer => None,
    };
    if !pieces.files.is_empty() && verdict == Some(Verdict::Corrupt) {
        let of_file = |(file, damage): &(String, Damage)| of_file(decision.label, file, damage);
        return pieces.files.iter().map(of_file).collect();
    }
    let named = layer.named.into_iter().zip([&pieces.newest, &pieces.older]);
    let mut findings: Vec<Finding> = named
        .filter_map(|(id, piece)| {
            let Damage { offset, expected, found } = describe(layer, piece)?;
            let file = layer.relative(&file_name(id));
            Some(Finding {
                label: decision.label,
                place: Place { file, offset, from: 0, to: 0 },
                verdict,
                acked: Acked::Yes,
                expected,
                found,
            })
        })
        .collect();
    if findings.is_empty() {
        debug_assert!(matches!(pieces.newest, Piece::NotNamed), "what is named is described");
        findings.push(without_beginning(layer, decision.label));
    }
    findings
}

/// A file of the engine without which no checkpoint can be used.
fn of_file(label: Label, file: &str, damage: &Damage) -> Finding {
    let Damage { offset, expected, found } = damage.clone();
    Finding {
        label,
        place: Place { file: file.to_owned(), offset, from: 0, to: 0 },
        verdict: Some(Verdict::Corrupt),
        acked: Acked::Yes,
        expected,
        found,
    }
}

/// No checkpoint is named, and the journal does not begin at its first record.
fn without_beginning(layer: &EngineLayer, label: Label) -> Finding {
    let from = layer.journal_from.unwrap_or(0);
    Finding {
        label,
        place: Place { file: layer.relative(""), offset: 0, from: 0, to: 0 },
        verdict: Some(Verdict::Corrupt),
        acked: Acked::Yes,
        expected: "a checkpoint, or a journal from position 1".to_owned(),
        found: format!("no checkpoint, and a journal from position {from}"),
    }
}

/// What is wrong with a named checkpoint, if anything is.
fn describe(layer: &EngineLayer, piece: &Piece) -> Option<Damage> {
    let at = |offset, expected: &str, found: String| {
        Some(Damage { offset, expected: expected.to_owned(), found })
    };
    match piece {
        Piece::NotNamed => None,
        Piece::Whole(usable) if layer.reaches(usable) => None,
        Piece::Whole(usable) => {
            let from = layer.journal_from.unwrap_or(0);
            let expected = format!("a journal from position {} or before", usable.replay_from);
            at(0, &expected, format!("a journal from position {from}"))
        }
        Piece::Damaged(damage) | Piece::TooNew(damage) => Some(damage.clone()),
        Piece::Missing => at(0, "the checkpoint that meta names", "no file".to_owned()),
        Piece::NotAFile => at(0, "a regular file", "a directory, link or device".to_owned()),
    }
}

/// A file that meta does not name.
pub(super) fn of_leftover(file: String, row: &Row<Leftover, LeftoverThen>) -> Finding {
    if row.then == LeftoverThen::SetAside {
        return Finding {
            label: row.label,
            place: Place { file, offset: 0, from: 0, to: 0 },
            verdict: Some(Verdict::Healed),
            acked: Acked::No,
            expected: "the directory of the checkpoints".to_owned(),
            found: "something else in its place".to_owned(),
        };
    }
    let found = match row.label.0 {
        "engine-8" => "a checkpoint that was never named: a crash before meta was written",
        "engine-9" => "a checkpoint that is no longer named: a crash before it was removed",
        "engine-10" => "a checkpoint that was not finished",
        "engine-11" => "a name that no program of this store gave",
        _ => "a checkpoint that is not named",
    };
    Finding {
        label: row.label,
        place: Place { file, offset: 0, from: 0, to: 0 },
        verdict: None,
        acked: Acked::No,
        expected: "only checkpoints that meta names".to_owned(),
        found: found.to_owned(),
    }
}
