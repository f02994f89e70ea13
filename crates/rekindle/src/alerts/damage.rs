//! Damage: what a start found, and what was met while serving.
//!
//! Invariants: what is remembered is bounded; the same damage counts once until somebody says that
//! it was taken note of, and again when it is met after that.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rekindle_database::Error as DatabaseError;
use rekindle_recovery::{Report, Verdict, exit};

/// Damages of a running server that are told apart.
pub const TOLD_APART_MAX: usize = 64;
/// What is kept of the words of one, bytes.
const WORDS_BYTES_MAX: usize = 1_024;

/// How much damage, and one of it in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many; torn ends are none.
    pub count: u64,
    /// The worst of it; empty where there is none.
    pub example: String,
}

impl Damage {
    /// What a start, or a look, found.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let with = |verdict| report.findings().filter(move |it| it.verdict == Some(verdict));
        let worst = || with(Verdict::Corrupt).chain(with(Verdict::Healed));
        let example = worst().next().map(ToString::to_string).unwrap_or_default();
        Self { count: worst().count() as u64, example }
    }

    /// What refused a start.
    #[must_use]
    pub fn of_refusal(error: &DatabaseError) -> Self {
        let found = match error {
            DatabaseError::Corrupt(report) | DatabaseError::Refused { report, .. } => {
                Self::of(report)
            }
            _ => Self::default(),
        };
        if found.count == 0 && error.exit_code() == exit::CORRUPT {
            return Self { count: 1, example: error.to_string() };
        }
        found
    }
}

/// What the mutex guards.
#[derive(Debug, Default)]
struct Seen {
    /// That of the start was taken note of.
    start_noted: bool,
    /// What was met since then, in words.
    met: BTreeSet<String>,
    last: String,
}

/// The damages of a running server.
#[derive(Debug, Default)]
pub struct Damages {
    seen: Mutex<Seen>,
}

impl Damages {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read or a backup met this.
    pub fn met(&self, what: &str) {
        let end = what.floor_char_boundary(WORDS_BYTES_MAX);
        let what = what.get(..end).unwrap_or_default().to_owned();
        tracing::error!(what, "damage was met while serving");
        let mut seen = self.lock();
        seen.last.clone_from(&what);
        if seen.met.len() < TOLD_APART_MAX {
            seen.met.insert(what);
        }
    }

    /// All that nobody took note of, where the start found `of_start`.
    #[must_use]
    pub fn open(&self, of_start: Damage) -> Damage {
        let seen = self.lock();
        let of_start = if seen.start_noted { Damage::default() } else { of_start };
        let count = of_start.count.saturating_add(seen.met.len() as u64);
        let example = if seen.met.is_empty() { of_start.example } else { seen.last.clone() };
        Damage { count, example }
    }

    /// What was met while serving and nobody took note of.
    #[must_use]
    pub fn met_by_now(&self) -> BTreeSet<String> {
        self.lock().met.clone()
    }

    /// Somebody took note of what the start found, and of this. What was met meanwhile stays.
    pub fn take_note(&self, of: &BTreeSet<String>) {
        let mut seen = self.lock();
        seen.start_noted = true;
        seen.met.retain(|what| !of.contains(what));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of_start() -> Damage {
        Damage { count: 2, example: "a checkpoint".to_owned() }
    }

    /// The same damage is one, what is taken note of is none, and what comes back counts again.
    #[test]
    fn damage_counts_until_somebody_took_note() {
        let damages = Damages::default();
        assert_eq!(damages.open(of_start()), of_start());
        (0..3).for_each(|_| damages.met("a segment"));
        let open = damages.open(of_start());
        assert_eq!((open.count, open.example.as_str()), (3, "a segment"));
        let met = damages.met_by_now();
        damages.met("another");
        damages.take_note(&met);
        assert_eq!(damages.open(of_start()), Damage { count: 1, example: "another".to_owned() });
        damages.take_note(&damages.met_by_now());
        assert_eq!(damages.open(of_start()), Damage::default());
        damages.met("a segment");
        assert_eq!(damages.open(of_start()).count, 1, "it is met again");
    }

    /// However much is met, little of it is kept.
    #[test]
    fn what_is_remembered_is_bounded() {
        let damages = Damages::default();
        (0..2 * TOLD_APART_MAX).for_each(|number| damages.met(&format!("{number}")));
        damages.met(&"ü".repeat(WORDS_BYTES_MAX));
        let open = damages.open(Damage::default());
        assert_eq!(open.count, TOLD_APART_MAX as u64);
        assert_eq!(open.example.len(), WORDS_BYTES_MAX);
    }

    /// What refuses a start as corrupt is damage, whether or not a layer named it.
    #[test]
    fn a_refusal_is_damage() {
        let corrupt = Damage::of_refusal(&DatabaseError::Damaged("segment 3".to_owned()));
        assert_eq!(corrupt.count, 1);
        assert!(corrupt.example.contains("segment 3"), "{corrupt:?}");
        let locked = Damage::of_refusal(&DatabaseError::Locked("x".to_owned()));
        assert_eq!(locked, Damage::default());
    }
}
