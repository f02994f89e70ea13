//! Labels of recovery: every situation is explained to people and produced by a test.
//!
//! Invariants: a label exists when product code names it; docs/recovery.md has exactly one heading
//! per label (`### journal-3: a torn last frame`); a test says `produces: journal-3`; and neither
//! document nor tests speak of a label that does not exist.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::workspace::Workspace;

/// Where labels are explained.
const DOCUMENT: &str = "docs/recovery.md";

/// The layers that have decision tables; the first word of a label.
const LAYERS: [&str; 17] = [
    "store", "meta", "engine", "journal", "raft", "database", "scrub", "kv", "queue", "claim",
    "producer", "job", "loop", "topic", "services", "boot", "command",
];

pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let declared = declared(workspace);
    let explained = explained(workspace);
    let produced: BTreeMap<String, (&str, usize)> = workspace
        .sources
        .iter()
        .flat_map(|source| {
            let claims = source.claims("produces");
            claims.map(|(label, test)| (label, (source.path.as_str(), test.line)))
        })
        .collect();
    let mut violations = vec![];
    for (label, (file, line)) in &declared {
        if !explained.contains_key(label) {
            let message = format!("{label} has no heading `### {label}: …` in {DOCUMENT}");
            violations.push(Violation::new(file, *line, message));
        }
        if !produced.contains_key(label) {
            let message = format!("no test says `produces: {label}`");
            violations.push(Violation::new(file, *line, message));
        }
    }
    for (label, lines) in &explained {
        let first = lines.first().copied().unwrap_or_default();
        if !declared.contains_key(label) {
            let message = format!("{label} is explained and does not exist");
            violations.push(Violation::new(DOCUMENT, first, message));
        }
        if lines.len() > 1 {
            let message = format!("{label} is explained {} times", lines.len());
            violations.push(Violation::new(DOCUMENT, first, message));
        }
    }
    for (label, (file, line)) in produced.iter().filter(|(label, _)| !declared.contains_key(*label))
    {
        let message = format!("`produces: {label}`, which does not exist");
        violations.push(Violation::new(file, *line, message));
    }
    violations
}

/// Labels that product code names as a whole string, with the first place of each.
fn declared(workspace: &Workspace) -> BTreeMap<String, (&str, usize)> {
    let mut labels = BTreeMap::new();
    let crates = workspace.sources.iter().filter(|source| source.path.starts_with("crates/"));
    for source in crates {
        for (number, line) in source.product_lines() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for label in line.split('"').filter(|part| is_label(part)) {
                labels.entry(label.to_owned()).or_insert((source.path.as_str(), number));
            }
        }
    }
    labels
}

/// The headings of the document that name a label, with their lines.
fn explained(workspace: &Workspace) -> BTreeMap<String, Vec<usize>> {
    let mut labels: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let text = workspace.text(DOCUMENT).unwrap_or_default();
    for (at, line) in text.lines().enumerate() {
        let Some(heading) = line.strip_prefix("### ") else { continue };
        let label = heading.split(':').next().unwrap_or_default().trim_matches('`');
        if is_label(label) {
            labels.entry(label.to_owned()).or_default().push(at + 1);
        }
    }
    labels
}

fn is_label(text: &str) -> bool {
    let layers: BTreeSet<&str> = LAYERS.into();
    text.rsplit_once('-').is_some_and(|(layer, number)| {
        layers.contains(layer)
            && !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture;

    const CODE: &str = "//! A.\nstatic A: Label = Label(\"journal-1\");\n// \"journal-8\"\n\
                        #[cfg(test)]\nmod tests {\n    const B: &str = \"journal-9\";\n}\n";

    fn messages(document: &str, test: &str) -> Vec<String> {
        let (_dir, workspace) = fixture(&[
            ("crates/journal/src/recovery.rs", CODE),
            ("crates/journal/tests/main.rs", test),
            (DOCUMENT, document),
        ]);
        check(&workspace).into_iter().map(|each| each.message).collect()
    }

    #[test]
    fn an_explained_and_produced_label_passes() {
        let found = messages(
            "# Recovery\n### journal-1: torn\n### How to read this\n",
            "//! T.\n/// produces: journal-1\n#[test]\nfn torn() {}\n",
        );
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn gaps_on_either_side_are_named() {
        let found = messages(
            "### `journal-2`: nothing\n### journal-2: again\n",
            "//! T.\n/// produces: journal-3\n#[test]\nfn torn() {}\n",
        );
        assert_eq!(
            found,
            [
                "journal-1 has no heading `### journal-1: …` in docs/recovery.md",
                "no test says `produces: journal-1`",
                "journal-2 is explained and does not exist",
                "journal-2 is explained 2 times",
                "`produces: journal-3`, which does not exist",
            ]
        );
    }
}
