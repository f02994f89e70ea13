//! The report as an incident report that one can paste: Markdown, self-contained.
//!
//! Invariant: every text of a report stands in a cell or a line of its own and cannot begin another
//! one, whatever it holds.

use std::fmt::Write as _;

use super::stored::{StoredFinding, StoredReport, one_line};
use super::text::{duration, figures, thousands};
use super::{Before, Ended, utc};
use crate::exit;

/// Findings, notes and actions beyond so many are only counted.
const ROWS_MAX: usize = 200;

/// The stages, in the order of the columns.
const STAGES: [&str; 4] = ["scan", "validate", "plan", "act"];

impl StoredReport {
    /// The incident report.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        self.state_before(&mut out);
        self.in_flight(&mut out);
        self.timeline(&mut out);
        findings(&mut out, "Findings", &self.findings);
        findings(&mut out, "Notes", &self.notes);
        self.action_table(&mut out);
        self.figure_table(&mut out);
        self.left(&mut out);
        self.next_commands(&mut out);
        out
    }

    fn head(&self, out: &mut String) {
        let number = self.number.map_or_else(String::new, |number| format!(" {number}"));
        let _ = writeln!(out, "# Recovery report{number}: {}\n", self.title());
        let store = self.store_id.as_deref().unwrap_or("unknown");
        let program = if self.program.is_empty() { "unknown" } else { &self.program };
        let run = match self.incarnation {
            0 => "no run began".to_owned(),
            run => format!("run {run}"),
        };
        let when = utc(self.started_wall_ms);
        let line = format!(
            "Store {store}, {run}, rekindle {program}, {when}, took {}, exit code {}.",
            duration(self.micros),
            self.code
        );
        let _ = writeln!(out, "{}\n\n{}\n", cell(&line), self.paragraph());
    }

    /// What the code means, in a few words.
    fn title(&self) -> &'static str {
        match self.code {
            exit::CLEAN => "clean",
            exit::TORN => "a torn tail was cut",
            exit::HEALED => "damage was healed, nothing acknowledged is lost",
            exit::CORRUPT => "refused, acknowledged data is damaged",
            _ => "refused",
        }
    }

    /// The story, in plain words.
    fn paragraph(&self) -> String {
        let mut sentences = vec![match &self.before {
            None => "Nothing is known of the state before.".to_owned(),
            Some(before) => ending(before),
        }];
        if !self.summary.is_empty() {
            sentences.push(sentence(&self.summary));
        }
        sentences.push(self.meaning().to_owned());
        let asked = self.asked().count();
        sentences.push(match asked {
            0 => "Nothing is left to a person.".to_owned(),
            1 => "One item is left to a person.".to_owned(),
            asked => format!("{} items are left to a person.", thousands(asked as u64)),
        });
        sentences.join(" ")
    }

    fn meaning(&self) -> &'static str {
        let unproved = self.findings.iter().any(|finding| finding.acked == "unknown");
        match self.code {
            exit::CLEAN => "Everything that was acknowledged is there.",
            exit::TORN if unproved => {
                "The end of the journal was cut; nothing proves that any of it had been \
                 acknowledged, and everything proved is there."
            }
            exit::TORN => {
                "The end of the journal was cut; it had not been acknowledged. Everything that \
                 was is there."
            }
            exit::HEALED => {
                "What was damaged exists a second time or is no longer needed: everything that \
                 was acknowledged is there."
            }
            exit::CORRUPT => {
                "Acknowledged bytes are lost or not proved whole, so nothing was started and no \
                 byte of the data was changed."
            }
            _ => "Nothing was started and no byte of the data was changed.",
        }
    }

    fn state_before(&self, out: &mut String) {
        let Some(before) = &self.before else { return };
        let rows = [
            ("run", before.incarnation.to_string()),
            ("its end", format!("{:?}", before.ended).to_lowercase()),
            ("newest version", thousands(before.newest_version)),
            ("newest position", thousands(before.newest_position)),
            ("journal", sized(before.journal_bytes, before.journal_segments, "segments")),
            ("newest checkpoint", sized(before.checkpoint_bytes, before.checkpoints, "usable")),
            ("version of it", thousands(before.checkpoint_version)),
        ];
        heading(out, "State before", &["what", "value"]);
        for (what, value) in rows {
            row(out, &[what, &value]);
        }
        out.push('\n');
    }

    fn in_flight(&self, out: &mut String) {
        let counts = [
            ("unfinished transactions, discarded", figures::TRANSACTIONS_DISCARDED),
            ("leases with time left, kept", figures::LEASES_KEPT),
            ("leases that had run out, reclaimed", figures::LEASES_RECLAIMED),
            ("messages dead-lettered", "dead_lettered"),
            ("bytes behind the valid end of the journal, cut", figures::BYTES_CUT),
        ];
        heading(out, "What was in flight", &["what", "number"]);
        for (what, figure) in counts {
            row(out, &[what, &thousands(self.figure(figure))]);
        }
        out.push('\n');
    }

    fn timeline(&self, out: &mut String) {
        let columns = [&["layer"][..], &STAGES, &["total"]].concat();
        heading(out, "Timeline", &columns);
        for layer in &self.layers {
            let times = STAGES.map(|stage| layer.micros(stage));
            let total =
                times.iter().flatten().fold(0_u64, |sum, micros| sum.saturating_add(*micros));
            let mut cells = vec![layer.layer.clone()];
            cells.extend(times.map(|micros| micros.map_or_else(|| "-".to_owned(), duration)));
            cells.push(duration(total));
            row(out, &cells.iter().map(String::as_str).collect::<Vec<_>>());
        }
        row(out, &["all", "", "", "", "", &duration(self.micros)]);
        out.push('\n');
    }

    fn action_table(&self, out: &mut String) {
        heading(out, "Actions", &["action", "label", "target", "why"]);
        for action in self.actions().take(ROWS_MAX) {
            row(out, &[&action.kind, &action.label, &action.target, &action.detail]);
        }
        beyond(out, self.actions().count());
    }

    fn figure_table(&self, out: &mut String) {
        heading(out, "Figures", &["layer", "figure", "value"]);
        for layer in &self.layers {
            for (name, value) in &layer.figures {
                row(out, &[&layer.layer, name, &thousands(*value)]);
            }
        }
        out.push('\n');
    }

    /// What nobody but a person can decide.
    fn asked(&self) -> impl Iterator<Item = &super::StoredAction> {
        self.actions().filter(|action| matches!(action.kind.as_str(), "ask" | "refuse"))
    }

    fn left(&self, out: &mut String) {
        out.push_str("## Left to a person\n\n");
        for action in self.asked().take(ROWS_MAX) {
            let line = format!("- {} {}: {}", action.label, action.target, action.detail);
            let _ = writeln!(out, "{}", cell(&line));
        }
        let count = self.asked().count();
        if count == 0 {
            out.push_str("Nothing.\n");
        }
        beyond(out, count);
    }

    fn next_commands(&self, out: &mut String) {
        out.push_str("## Next commands\n\n```text\n");
        let commands: &[&str] = match self.code {
            exit::CORRUPT => &[
                "rekindle verify --data DIR            # every damaged place",
                "rekindle recovery plan --data DIR     # what a start would do",
                "rekindle serve --recovery-mode --data DIR   # look and decide, with the page",
                "rekindle repair --data DIR --accept-loss FROM..TO --reason TEXT   # go on without",
                "rekindle salvage --data DIR --export OUT   # what can be read, as JSON lines",
                "rekindle restore --from BACKUP --to NEW   # a backup, where there is one",
            ],
            exit::CLEAN | exit::TORN | exit::HEALED => &[
                "rekindle recovery list                # the starts before",
                "rekindle verify --data DIR            # every byte, with the server stopped",
            ],
            _ => &["rekindle verify --data DIR            # why it is refused"],
        };
        for command in commands {
            let _ = writeln!(out, "{command}");
        }
        out.push_str("```\n");
    }
}

/// A text of the report as a sentence.
fn sentence(text: &str) -> String {
    let text = cell(text.trim_end_matches('.'));
    let mut characters = text.chars();
    let first = characters.next().map(|it| it.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

/// How the run before ended, as a sentence.
fn ending(before: &Before) -> String {
    let run = before.incarnation;
    match before.ended {
        Ended::New => "The store is new.".to_owned(),
        Ended::Clean => format!("Run {run} before had ended cleanly."),
        Ended::Unclean => format!(
            "Run {run} before had not ended cleanly: it was killed, or the machine went down."
        ),
        Ended::Unknown => format!("How run {run} before ended is not known."),
    }
}

fn findings(out: &mut String, title: &str, findings: &[StoredFinding]) {
    if findings.is_empty() {
        let _ = writeln!(out, "## {title}\n\nNone.\n");
        return;
    }
    heading(out, title, &["label", "place", "verdict", "acked", "expected", "found"]);
    for finding in findings.iter().take(ROWS_MAX) {
        let StoredFinding { label, file, offset, from, to, acked, expected, found, .. } = finding;
        let range = if to > from { format!(", lsn {from}..{to}") } else { String::new() };
        let place = format!("{file} at {offset}{range}");
        let verdict = finding.verdict.as_deref().unwrap_or("-");
        row(out, &[label, &place, verdict, acked, expected, found]);
    }
    beyond(out, findings.len());
}

/// Says how many rows are not shown, and ends the section.
fn beyond(out: &mut String, count: usize) {
    if count > ROWS_MAX {
        let _ = writeln!(out, "\nAnd {} more.", thousands((count - ROWS_MAX) as u64));
    }
    out.push('\n');
}

fn heading(out: &mut String, title: &str, columns: &[&str]) {
    let _ = writeln!(out, "## {title}\n");
    row(out, columns);
    let _ = writeln!(out, "|{}", "---|".repeat(columns.len()));
}

fn row(out: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// A text inside a cell: one line, nothing that ends the cell or begins markup.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in one_line(text).chars() {
        if matches!(character, '|' | '`' | '<' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

fn sized(bytes: u64, count: u64, what: &str) -> String {
    format!("{} bytes, {} {what}", thousands(bytes), thousands(count))
}
