//! The report for people: one line for the boot page and the log, and the whole of it.
//!
//! Invariant: what a line says comes from findings, actions and figures alone, so that the text can
//! never claim what the JSON does not hold.

use std::fmt::Write as _;

use super::Report;
use crate::exit;
use crate::finding::{Finding, Verdict};

/// Names of the figures that the summary line speaks of. Layers count under these names.
pub mod figures {
    /// Committed transactions that replay applied.
    pub const TRANSACTIONS_REPLAYED: &str = "txns_applied";
    /// Incomplete and aborted transactions that replay discarded.
    pub const TRANSACTIONS_DISCARDED: &str = "discarded_txns";
    /// Leases that had time left.
    pub const LEASES_KEPT: &str = "leases_kept";
    /// Leases that had expired.
    pub const LEASES_RECLAIMED: &str = "leases_reclaimed";
    /// Bytes behind the valid end of a journal.
    pub const BYTES_CUT: &str = "bytes_cut";
    /// Messages in all queues.
    pub const MESSAGES: &str = "messages";
    /// Queues.
    pub const QUEUES: &str = "queues";
}

/// A figure as part of a sentence: the words before the number and behind it.
struct Phrase {
    figure: &'static str,
    verb: &'static str,
    one: &'static str,
    many: &'static str,
}

/// In the order in which the summary says them.
const PHRASES: [Phrase; 6] = [
    Phrase {
        figure: figures::TRANSACTIONS_REPLAYED,
        verb: "replayed",
        one: "transaction",
        many: "transactions",
    },
    Phrase {
        figure: figures::TRANSACTIONS_DISCARDED,
        verb: "discarded",
        one: "unfinished transaction",
        many: "unfinished transactions",
    },
    Phrase { figure: figures::LEASES_KEPT, verb: "kept", one: "lease", many: "leases" },
    Phrase { figure: figures::LEASES_RECLAIMED, verb: "reclaimed", one: "lease", many: "leases" },
    Phrase { figure: figures::MESSAGES, verb: "found", one: "message", many: "messages" },
    Phrase { figure: figures::QUEUES, verb: "found", one: "queue", many: "queues" },
];

impl Report {
    /// What recovery did, on one line: `recovered in 12 ms: replayed 1,203 transactions, kept 2
    /// leases, cut a torn tail of 312 bytes (journal-3)`.
    #[must_use]
    pub fn summary_line(&self) -> String {
        if let Some(failure) = self.refusal() {
            return format!("did not recover: {failure}");
        }
        let mut parts: Vec<String> = PHRASES
            .iter()
            .filter_map(|phrase| {
                let count = self.figure(phrase.figure);
                let noun = if count == 1 { phrase.one } else { phrase.many };
                (count > 0).then(|| format!("{} {} {noun}", phrase.verb, thousands(count)))
            })
            .collect();
        parts.extend(self.part(Verdict::Torn));
        parts.extend(self.part(Verdict::Healed));
        parts.extend(self.part(Verdict::Corrupt));
        if parts.is_empty() {
            parts.push("nothing to do".to_owned());
        }
        format!("recovered in {}: {}", duration(self.micros), parts.join(", "))
    }

    /// What the code means, on one line, for `verify` and the dry run.
    #[must_use]
    pub fn verdict_line(&self) -> String {
        let meaning = match self.code {
            exit::CLEAN => "clean: nothing is wrong".to_owned(),
            exit::TORN => "torn tail: normal after a kill; the next start cuts it".to_owned(),
            exit::HEALED => {
                "healed: something is damaged and nothing is lost; the next start repairs it, or \
                 lets it go with the next checkpoints"
                    .to_owned()
            }
            exit::CORRUPT => "corrupt: acknowledged bytes are lost or not proved whole; 'rekindle \
                              serve' refuses this store"
                .to_owned(),
            _ => self.refusal().map_or_else(|| "refused".to_owned(), |failure| failure.to_string()),
        };
        format!("{meaning} (exit code {})", self.code)
    }

    /// The whole report: findings, notes, what was decided, figures and times.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let (findings, notes): (Vec<_>, Vec<_>) =
            self.findings().partition(|finding| finding.verdict.is_some());
        section(&mut text, "findings", findings.iter().map(ToString::to_string));
        section(&mut text, "notes", notes.iter().map(ToString::to_string));
        let actions = self.layers.iter().flat_map(|layer| &layer.actions).map(|action| {
            let kind = serde_json::to_value(action.kind).unwrap_or_default();
            let kind = kind.as_str().unwrap_or_default().to_owned();
            format!("{kind} {}: {} ({})", action.target, action.detail, action.label)
        });
        section(&mut text, "actions", actions);
        let counted = self.layers.iter().filter(|layer| !layer.figures.is_empty()).map(|layer| {
            let figures = layer.figures.iter();
            let figures: Vec<_> =
                figures.map(|each| format!("{} {}", each.name, thousands(each.value))).collect();
            format!("{}: {}", layer.layer, figures.join(", "))
        });
        section(&mut text, "figures", counted);
        let timed = self.layers.iter().filter(|layer| !layer.stages.is_empty());
        let stages = timed.map(|layer| {
            let stages = layer.stages.iter();
            let stages: Vec<_> = stages
                .map(|time| {
                    let stage = format!("{:?}", time.stage).to_lowercase();
                    format!("{stage} {}", duration(time.micros))
                })
                .collect();
            format!("{}: {}", layer.layer, stages.join(", "))
        });
        section(&mut text, "stages", stages);
        text
    }

    /// What the findings of one verdict add to the summary.
    fn part(&self, verdict: Verdict) -> Option<String> {
        let with_verdict = |finding: &&Finding| finding.verdict == Some(verdict);
        let findings: Vec<&Finding> = self.findings().filter(with_verdict).collect();
        let mut labels: Vec<&str> = findings.iter().map(|finding| finding.label.0).collect();
        labels.sort_unstable();
        labels.dedup();
        let labels = labels.join(", ");
        let bytes = self.figure(figures::BYTES_CUT);
        let what = match (verdict, findings.len()) {
            (_, 0) => return None,
            (Verdict::Torn, _) if bytes > 0 => {
                format!("cut a torn tail of {} bytes", thousands(bytes))
            }
            (Verdict::Torn, _) => "cut a torn tail".to_owned(),
            (Verdict::Healed, 1) => "healed 1 damaged place".to_owned(),
            (Verdict::Healed, count) => format!("healed {count} damaged places"),
            (Verdict::Corrupt, 1) => "left 1 corrupt place to a person".to_owned(),
            (Verdict::Corrupt, count) => format!("left {count} corrupt places to a person"),
        };
        Some(format!("{what} ({labels})"))
    }
}

pub(super) fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

/// A number with its thousands apart: `1,203`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in the unit that a person would choose.
pub(super) fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000_000 => format!("{} ms", thousands(micros / 1_000)),
        _ => format!("{}.{} s", thousands(micros / 1_000_000), micros % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1_203, "1,203"), (1_000_000, "1,000,000")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn times_are_readable() {
        for (micros, text) in
            [(0, "0 µs"), (999, "999 µs"), (12_400, "12 ms"), (10_250_000, "10.2 s")]
        {
            assert_eq!(duration(micros), text);
        }
    }
}
