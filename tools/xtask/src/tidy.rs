//! `cargo xtask tidy`: the rules of the house, as a failing check.
//!
//! Invariant: a rule is a pure function from the loaded workspace to violations; nothing is fixed
//! or skipped here.

mod arrows;
mod labels;
mod shape;
mod sources;
mod words;

use std::collections::BTreeMap;

use crate::workspace::Workspace;

/// The crates whose assertions are counted: the path of a byte to the disk.
const ASSERTED: [&str; 5] =
    ["crates/env/", "crates/journal/", "crates/engine/", "crates/raft/", "crates/database/"];

/// Assertions per 1,000 lines that those crates aim for.
const ASSERTIONS_PER_1000: usize = 15;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Where, relative to the root.
    pub(crate) file: String,
    /// On which line; 0 for the whole file.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Violation {
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

/// Checks everything and prints what is wrong.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    let violations = check(workspace);
    for Violation { file, line, message } in &violations {
        say!("{file}:{line}: {message}");
    }
    say!("tidy: {} files, {} violations", workspace.files.len(), violations.len());
    for line in density(workspace) {
        say!("tidy: {line}");
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(format!("tidy: {} violations", violations.len()))
    }
}

/// All violations, sorted.
fn check(workspace: &Workspace) -> Vec<Violation> {
    let unreadable = workspace.unreadable.iter();
    let mut violations: Vec<Violation> = unreadable
        .map(|(path, reason)| Violation::new(path, 0, format!("cannot be read: {reason}")))
        .collect();
    violations.extend(arrows::check(workspace));
    violations.extend(shape::check(workspace));
    violations.extend(labels::check(workspace));
    violations.extend(sources::check(workspace));
    violations.extend(words::check(workspace));
    violations.sort();
    violations
}

/// How many assertions the storage crates hold: a report, not a rule.
fn density(workspace: &Workspace) -> Vec<String> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for source in &workspace.sources {
        let Some(name) = ASSERTED.iter().find(|dir| source.path.starts_with(**dir)) else {
            continue;
        };
        let (lines, assertions) = counts.entry(name).or_default();
        for (_, line) in source.product_lines() {
            *lines += 1;
            *assertions += line.matches("assert!(").count()
                + line.matches("assert_eq!(").count()
                + line.matches("assert_ne!(").count();
        }
    }
    let density = counts.into_iter().filter(|(_, (lines, _))| *lines > 0);
    density
        .map(|(name, (lines, assertions))| {
            let per_1000 = assertions * 1000 / lines;
            let verdict = if per_1000 < ASSERTIONS_PER_1000 { " (below the aim)" } else { "" };
            format!("{name} {assertions} assertions in {lines} lines, {per_1000} per 1000{verdict}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture;

    #[test]
    fn unreadable_files_are_violations() {
        let (_dir, workspace) = fixture(&[("crates/a/src/lib.rs", "fn {")]);
        let found = check(&workspace);
        assert!(found.iter().any(|each| each.message.starts_with("cannot be read: line 1")));
    }

    #[test]
    fn the_density_of_assertions_leaves_tests_out() {
        let text = "//! A.\nfn f() {\n    assert!(true);\n    debug_assert_eq!(1, 1);\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn g() {\n        assert!(true);\n    }\n}\n";
        let (_dir, workspace) = fixture(&[("crates/env/src/lib.rs", text)]);
        assert_eq!(density(&workspace), ["crates/env/ 2 assertions in 5 lines, 400 per 1000"]);
    }
}
