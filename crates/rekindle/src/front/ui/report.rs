//! What a stored report means to a person: outcomes and verdicts, with a sign, a word, a colour.
//!
//! Invariant: a colour never stands alone; the word and the sign beside it say the same.

use rekindle_recovery::exit;
use rekindle_recovery::report::{StoredAction, StoredFinding, StoredReport};

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) sign: &'static str,
    pub(super) word: &'static str,
    /// What gives it its colour.
    pub(super) class: &'static str,
    pub(super) means: &'static str,
}

/// The outcome of this exit code.
pub(super) const fn outcome(code: i32) -> Outcome {
    match code {
        exit::CLEAN => Outcome {
            sign: "✓",
            word: "clean",
            class: "ok",
            means: "Nothing was wrong, and everything that was acknowledged is there.",
        },
        exit::TORN => Outcome {
            sign: "✂",
            word: "torn tail cut",
            class: "info",
            means: "Normal after a kill: the unfinished end of the journal was cut. It was never \
                    proved to be acknowledged, and everything that was is there.",
        },
        exit::HEALED => Outcome {
            sign: "✚",
            word: "healed",
            class: "warn",
            means: "Something was damaged and nothing is lost: a second copy had it, or it can be \
                    made again. Find out what damaged it.",
        },
        exit::CORRUPT => Outcome {
            sign: "✖",
            word: "corrupt, start refused",
            class: "bad",
            means: "Acknowledged bytes are lost or not proved whole. No byte was changed, and \
                    nothing starts on damaged data.",
        },
        _ => Outcome {
            sign: "✖",
            word: "start refused",
            class: "bad",
            means: "The directory could not be opened; nothing is known to be damaged.",
        },
    }
}

/// All actions with the layer that decided each.
pub(super) fn actions(report: &StoredReport) -> impl Iterator<Item = (&str, &StoredAction)> {
    let layers = report.layers.iter();
    layers.flat_map(|layer| layer.actions.iter().map(|action| (layer.layer.as_str(), action)))
}

/// A finding's verdict as a sign, a word and a class.
pub(super) fn verdict(finding: &StoredFinding) -> (&'static str, &str, &'static str) {
    match finding.verdict.as_deref() {
        Some("torn") => ("✂", "torn", "info"),
        Some("healed") => ("✚", "healed", "warn"),
        Some("corrupt") => ("✖", "corrupt", "bad"),
        Some(other) => ("?", other, "warn"),
        None => ("i", "note", "info"),
    }
}
