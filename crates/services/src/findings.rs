//! Findings about rows: told one by one up to a bound, in texts that have one too.
//!
//! Invariants: each finding is counted, and what is left out of a report is told as a number; a row
//! of any size is a line of bounded length.

use std::collections::HashMap;

use rekindle_recovery::{Acked, Finding, Label, Place, Verdict};

/// Findings of one label that are told one by one; the rest is told as a number.
pub const TOLD: u64 = 100;

/// Most bytes of each text of a finding: keys and names may be long.
pub const TEXT_BYTES_MAX: usize = 512;

/// The findings of one layer.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    counts: HashMap<&'static str, u64>,
}

impl Findings {
    /// Tells one, or counts it.
    pub(crate) fn tell(&mut self, label: Label, file: &str, expected: &str, found: &str) {
        self.count(label, None, file, expected, found);
    }

    /// The same, of something that is made again from what is whole.
    pub(crate) fn heal(&mut self, label: Label, file: &str, expected: &str, found: &str) {
        self.count(label, Some(Verdict::Healed), file, expected, found);
    }

    fn count(
        &mut self,
        label: Label,
        verdict: Option<Verdict>,
        file: &str,
        expected: &str,
        found: &str,
    ) {
        let count = self.counts.entry(label.0).or_default();
        *count += 1;
        if *count <= TOLD {
            self.push(label, file, expected, found);
            self.found.iter_mut().last().into_iter().for_each(|finding| finding.verdict = verdict);
        }
    }

    fn push(&mut self, label: Label, file: &str, expected: &str, found: &str) {
        self.found.push(Finding {
            label,
            place: Place { file: short(file), ..Place::default() },
            verdict: None,
            acked: Acked::Unknown,
            expected: short(expected),
            found: short(found),
        });
    }

    /// All of them, and how many were left out.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        let mut more: Vec<_> = self.counts.drain().filter(|(_, count)| *count > TOLD).collect();
        more.sort_unstable();
        for (label, count) in more {
            let found = format!("{} more like these", count - TOLD);
            self.push(Label(label), "…", "as above", &found);
        }
        self.found
    }
}

/// The beginning of a text that is too long, and its length.
fn short(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let shown = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
    format!("{shown}… ({} bytes)", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any number of rows of any size are so many lines of so many bytes, and a number.
    #[test]
    fn findings_have_a_number_and_a_length() {
        let mut findings = Findings::default();
        let long = "ä".repeat(10_000);
        for _ in 0..10 * TOLD {
            findings.tell(Label("queue-8"), &long, "a message", &long);
        }
        for _ in 0..TOLD {
            findings.tell(Label("queue-9"), "message 1", "a lease", "nothing");
        }
        let told = findings.finish();
        assert_eq!(told.len() as u64, TOLD + 1 + TOLD);
        let most = TEXT_BYTES_MAX + "… (20000 bytes)".len();
        assert!(told.iter().all(|it| it.found.len() <= most && it.place.file.len() <= most));
        assert!(told.iter().any(|it| it.found.ends_with("… (20000 bytes)")));
        let last = told.last().expect("what was left out is told");
        assert_eq!((last.label.0, last.found.as_str()), ("queue-8", "900 more like these"));
    }
}
