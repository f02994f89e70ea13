//! How transcripts stand after a start, by a table, and what is done about them.
//!
//! Invariant: a transcript is derived, so nothing here stops a start, and nothing of what an
//! execution is rests on it; the writer does what was decided, behind the start.

use rekindle_recovery::{ActionKind, Label, Row, Table};

use crate::exec::Core;
use crate::findings::Findings;
use crate::loops::id::LoopId;
use crate::loops::recovery::validator::{self, Trusted};
use crate::loops::row::Stored;
use crate::loops::transcript::read::{Found, Standing};

/// What a transcript says, beside what the journal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Says {
    /// The same.
    Same,
    /// Less.
    Less,
    /// Something else, or more.
    Other,
}

/// All that is known of a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    /// Each of its lines can be trusted, and stands behind the one before.
    pub(crate) sound: bool,
    /// Its last line has no end.
    pub(crate) torn: bool,
    pub(crate) says: Says,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// Nothing.
    Keep,
    /// What is missing is written.
    GoOn,
    /// The last line goes, and what is missing is written.
    Cut,
    /// It is set aside, and written anew.
    SetAside,
}

impl Verdict {
    /// As it is reported; `None`: there is nothing to tell.
    pub(super) fn action(self) -> Option<(ActionKind, &'static str)> {
        match self {
            Self::Keep => None,
            Self::GoOn => Some((ActionKind::Rebuild, "what is missing of them is written")),
            Self::Cut => Some((ActionKind::Cut, "their last lines have no end, and go")),
            Self::SetAside => {
                let detail = "they are damaged: set aside, and written anew from the journal";
                Some((ActionKind::Quarantine, detail))
            }
        }
    }
}

/// What a transcript means.
pub(crate) static TRANSCRIPTS: Table<Situation, Verdict> = Table {
    rows: &[
        Row {
            label: Label("loop-14"),
            when: |s| s.sound && !s.torn && s.says == Says::Same,
            then: Verdict::Keep,
        },
        Row {
            label: Label("loop-15"),
            when: |s| s.sound && !s.torn && s.says == Says::Less,
            then: Verdict::GoOn,
        },
        Row {
            label: Label("loop-16"),
            when: |s| s.sound && s.torn && s.says != Says::Other,
            then: Verdict::Cut,
        },
        Row {
            label: Label("loop-17"),
            when: |s| !s.sound || s.says == Says::Other,
            then: Verdict::SetAside,
        },
    ],
};

/// A transcript that was judged.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(super) id: LoopId,
    pub(super) label: Label,
    pub(super) verdict: Verdict,
    pub(super) standing: Option<Standing>,
}

/// Judges the transcript of an execution.
pub(super) fn judge(
    id: LoopId,
    stored: &Stored,
    found: Found,
    trusted: &mut validator::Trusted,
    findings: &mut Findings,
) {
    let (situation, standing) = match &found {
        Found::Sound(standing) => {
            let says = match standing.sequence.cmp(&stored.events) {
                std::cmp::Ordering::Less => Says::Less,
                std::cmp::Ordering::Equal if standing.chain == stored.chain => Says::Same,
                _ => Says::Other,
            };
            (Situation { sound: true, torn: standing.is_torn, says }, Some(*standing))
        }
        Found::Damaged(_) => (Situation { sound: false, torn: false, says: Says::Other }, None),
    };
    let row = TRANSCRIPTS.decide(&situation);
    let file = format!("transcript of execution {id}");
    match &found {
        Found::Damaged(records) => {
            for record in records {
                let expected = "a line of a transcript, behind the one before";
                findings.heal(row.label, &file, expected, &record.to_string());
                trusted.corrupted_records += 1;
            }
        }
        Found::Sound(standing) if row.then == Verdict::SetAside => {
            let expected = format!("events up to number {}, as they happened", stored.events);
            let found = format!("others, up to number {}", standing.sequence);
            findings.heal(row.label, &file, &expected, &found);
            trusted.corrupted_records += 1;
        }
        Found::Sound(_) => {}
    }
    trusted.transcripts.push(Transcript { id, label: row.label, verdict: row.then, standing });
}

/// Tells the writer what was decided.
pub(super) fn act(trusted: &Trusted, core: &Core) {
    let Some(transcripts) = &core.transcripts else { return };
    for Transcript { id, verdict, standing, .. } in &trusted.transcripts {
        match (verdict, standing) {
            // It looks again, and sets it aside.
            (Verdict::SetAside, _) | (_, None) => transcripts.tell(*id),
            (Verdict::Keep, Some(standing)) => transcripts.adopt(*id, *standing),
            (Verdict::GoOn | Verdict::Cut, Some(standing)) => {
                transcripts.adopt(*id, *standing);
                transcripts.tell(*id);
            }
        }
    }
    let over = |it: &&validator::Judged| it.verdict == validator::Verdict::Over;
    transcripts.check(trusted.executions.iter().filter(over).map(|it| it.id).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of conditions matches exactly one row.
    ///
    /// proves: L4
    /// produces: loop-14, loop-15, loop-16, loop-17
    #[test]
    fn each_situation_has_one_row() {
        let mut all = Vec::new();
        for (sound, torn) in [(true, true), (true, false), (false, true), (false, false)] {
            for says in [Says::Same, Says::Less, Says::Other] {
                all.push(Situation { sound, torn, says });
            }
        }
        assert_eq!(TRANSCRIPTS.check(all), Vec::<String>::new());
    }
}
