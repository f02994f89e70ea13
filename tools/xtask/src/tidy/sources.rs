//! docs/sources.md: each public name that the requirements promise, and where it lives (D15).
//!
//! The document is a table `| point | name | status | where |`. A status is `here` (the column
//! names a file or folder in which the name occurs; for a test, in which that test exists),
//! `differs` or `later` (the column says why, or which work brings it). The names that must have a
//! row are listed in docs/requirements.toml. Invariant: every listed name has exactly one row per
//! point.

use std::collections::BTreeSet;

use super::Violation;
use crate::requirements::Catalogue;
use crate::workspace::Workspace;

const DOCUMENT: &str = "docs/sources.md";

/// One row.
#[derive(Debug)]
struct Row<'a> {
    line: usize,
    point: &'a str,
    name: &'a str,
    status: &'a str,
    place: &'a str,
}

pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let catalogue = match Catalogue::load(workspace) {
        Ok(catalogue) => catalogue,
        Err(message) => return vec![Violation::new(crate::requirements::FILE, 0, message)],
    };
    let Some(text) = workspace.text(DOCUMENT) else {
        return vec![Violation::new(DOCUMENT, 0, "is missing (D15)")];
    };
    let rows: Vec<Row<'_>> = rows(text);
    let mut violations: Vec<Violation> =
        rows.iter().filter_map(|row| of_row(workspace, row)).collect();
    let listed: BTreeSet<(&str, &str)> = catalogue.names().collect();
    for (point, name) in &listed {
        let count = rows.iter().filter(|row| row.point == *point && row.name == *name).count();
        if count != 1 {
            let message = format!("{point}: `{name}` has {count} rows, must have one");
            violations.push(Violation::new(DOCUMENT, 0, message));
        }
    }
    for row in rows.iter().filter(|row| !listed.contains(&(row.point, row.name))) {
        let message =
            format!("{}: `{}` is not listed in {}", row.point, row.name, crate::requirements::FILE);
        violations.push(Violation::new(DOCUMENT, row.line, message));
    }
    violations
}

/// The rows of the tables; a row names its subject in backticks.
fn rows(text: &str) -> Vec<Row<'_>> {
    let lines = text.lines().enumerate();
    let cells = lines.map(|(at, line)| (at, line.split('|').map(str::trim).collect::<Vec<_>>()));
    cells
        .filter_map(|(at, cells)| match cells.as_slice() {
            ["", point, name, status, place, ""] => {
                let name = name.strip_prefix('`')?.strip_suffix('`')?;
                Some(Row { line: at + 1, point, name, status, place })
            }
            _ => None,
        })
        .collect()
}

fn of_row(workspace: &Workspace, row: &Row<'_>) -> Option<Violation> {
    let broken = |message: String| Some(Violation::new(DOCUMENT, row.line, message));
    match row.status {
        "here" => {
            let place = row.place.split('`').nth(1).unwrap_or_default();
            if place.is_empty() {
                return broken(format!("`{}`: name a file or folder in backticks", row.name));
            }
            (!occurs(workspace, place, row.name))
                .then(|| broken(format!("`{}` does not occur in {place}", row.name)))
                .flatten()
        }
        "differs" | "later" if row.place.len() > 10 => None,
        "differs" | "later" => broken(format!("`{}`: say why", row.name)),
        other => {
            broken(format!("`{}`: status `{other}` is none of here, differs, later", row.name))
        }
    }
}

/// Whether a test of this name, or this text, lies in a file or below a folder.
fn occurs(workspace: &Workspace, place: &str, name: &str) -> bool {
    let folder = format!("{}/", place.trim_end_matches('/'));
    let inside = |path: &str| path == place || path.starts_with(&folder);
    if is_test_name(name) {
        let mut sources = workspace.sources.iter().filter(|source| inside(&source.path));
        return sources.any(|source| source.tests.iter().any(|test| test.name == name));
    }
    let parts = parts(name);
    let mut files = workspace.files.iter().filter(|file| inside(&file.path));
    files.any(|file| parts.iter().all(|part| file.text.contains(part)))
}

/// What must occur in one file: both halves of `ReplayStats::final_version`, the words around the
/// `{…}` of a log line.
fn parts(name: &str) -> Vec<&str> {
    let mut parts = vec![];
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('{') {
        parts.push(before);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    parts.push(rest);
    let words = parts.into_iter().flat_map(|part| part.split("::"));
    let words = words.map(|word| word.trim_end_matches("()").trim());
    words.filter(|word| !word.is_empty()).collect()
}

/// Tests that the requirements name begin with what they test.
fn is_test_name(name: &str) -> bool {
    let word =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    word && ["test_", "recovery_", "shutdown_"].iter().any(|start| name.starts_with(start))
        && name.matches('_').count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture;

    const CATALOGUE: &str = "finished = []\n[[point]]\nid = \"D4\"\ntitle = \"Stats\"\n\
        names = [\"ReplayStats\", \"test_replay_single_transaction\", \
        \"Recovery complete: {stats}\"]\n";

    fn messages(document: &str) -> Vec<String> {
        let code = "//! D.\nstruct ReplayStats;\nfn f() { info!(\"Recovery complete: {}\", 1) }\n\
                    #[test]\nfn test_replay_single_transaction() {}\n";
        let (_dir, workspace) = fixture(&[
            ("docs/requirements.toml", CATALOGUE),
            ("crates/database/src/replay.rs", code),
            (DOCUMENT, document),
        ]);
        check(&workspace).into_iter().map(|each| each.message).collect()
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(parts("ReplayStats::final_version"), ["ReplayStats", "final_version"]);
        assert_eq!(parts("Discarded {n} incomplete"), ["Discarded", "incomplete"]);
        assert_eq!(parts("Replaying WAL from {…}"), ["Replaying WAL from"]);
        assert_eq!(parts("flush()"), ["flush"]);
        assert!(is_test_name("shutdown_flushes_wal") && !is_test_name("recovery_started"));
    }

    #[test]
    fn a_complete_table_passes() {
        let found = messages(
            "| point | name | status | where |\n|---|---|---|---|\n\
             | D4 | `ReplayStats` | here | `crates/database` |\n\
             | D4 | `Recovery complete: {stats}` | here | `crates/database/src/replay.rs` |\n\
             | D4 | `test_replay_single_transaction` | here | `crates/database` |\n",
        );
        assert!(found.is_empty(), "{found:?}");
    }

    /// proves: D15
    #[test]
    fn gaps_and_untrue_rows_are_named() {
        let found = messages(
            "| D4 | `ReplayStats` | here | `crates/engine` |\n\
             | D4 | `Recovery complete: {stats}` | later | soon |\n\
             | D4 | `Nobody` | differs | nobody asked for it |\n\
             | D4 | `test_replay_single_transaction` | elsewhere | x |\n",
        );
        assert_eq!(
            found,
            [
                "`ReplayStats` does not occur in crates/engine",
                "`Recovery complete: {stats}`: say why",
                "`test_replay_single_transaction`: status `elsewhere` is none of here, differs, \
                 later",
                "D4: `Nobody` is not listed in docs/requirements.toml",
            ]
        );
    }

    #[test]
    fn a_listed_name_without_a_row_is_named() {
        let found = messages("| D4 | `ReplayStats` | here | `crates/database` |\n");
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
