//! `cargo xtask requirements`: which test proves which point.
//!
//! docs/requirements.toml lists the points with their titles, the fault rows, and the groups that
//! are finished. Tests say `proves: B4, D12` or `fault: S15` in their doc comments. Invariant: a
//! point of a finished group without a test, and a claim on a point that does not exist, fail.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::workspace::Workspace;

/// Where the points are listed.
pub(crate) const FILE: &str = "docs/requirements.toml";

/// All points.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    /// The groups (`B`, `D`) whose points must all be proved.
    finished: Vec<String>,
    /// What the product must do.
    #[serde(default)]
    point: Vec<Point>,
    /// What it must withstand.
    #[serde(default)]
    fault: Vec<Point>,
}

/// One point.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    id: String,
    title: String,
    /// Public names that docs/sources.md must have a row for.
    #[serde(default)]
    names: Vec<String>,
}

impl Catalogue {
    /// Reads the list.
    pub(crate) fn load(workspace: &Workspace) -> Result<Self, String> {
        let text = workspace.text(FILE).ok_or_else(|| format!("{FILE} is missing"))?;
        toml::from_str(text).map_err(|error| format!("{FILE}: {error}"))
    }

    /// Every promised name with its point.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.point
            .iter()
            .flat_map(|point| point.names.iter().map(|name| (point.id.as_str(), name.as_str())))
    }
}

/// Prints the table and fails on gaps.
pub(crate) fn run(workspace: &Workspace, group: Option<&str>) -> Result<(), String> {
    let catalogue = Catalogue::load(workspace)?;
    let table = Table::build(workspace);
    let (lines, gaps) = table.report(&catalogue, group)?;
    for line in lines {
        say!("{line}");
    }
    if gaps.is_empty() { Ok(()) } else { Err(gaps.join("\n")) }
}

/// The tests behind each point.
struct Table {
    points: BTreeMap<String, Vec<String>>,
    faults: BTreeMap<String, Vec<String>>,
}

impl Table {
    fn build(workspace: &Workspace) -> Self {
        let claims = |key: &str| {
            let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for source in &workspace.sources {
                for (id, test) in source.claims(key) {
                    let test = format!("{}:{} {}", source.path, test.line, test.name);
                    claims.entry(id).or_default().push(test);
                }
            }
            claims
        };
        Self { points: claims("proves"), faults: claims("fault") }
    }

    /// What is printed, and what is wrong.
    fn report(
        &self,
        catalogue: &Catalogue,
        group: Option<&str>,
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let mut lines = vec![];
        let mut gaps = vec![];
        let mut shown = 0;
        for point in &catalogue.point {
            let of_group = letters(&point.id);
            if group.is_some_and(|group| group != of_group) {
                continue;
            }
            shown += 1;
            let tests = self.points.get(&point.id).map(Vec::as_slice).unwrap_or_default();
            lines.push(format!("{} {} ({} tests)", point.id, point.title, tests.len()));
            lines.extend(tests.iter().map(|test| format!("    {test}")));
            let required =
                group.is_some() || catalogue.finished.iter().any(|each| each == of_group);
            if tests.is_empty() && required {
                gaps.push(format!("{} has no test that says `proves: {0}`", point.id));
            }
        }
        if shown == 0 {
            let groups = catalogue.point.iter().map(|point| letters(&point.id));
            let mut groups: Vec<&str> = groups.collect();
            groups.dedup();
            return Err(format!("no such group; there are {}", groups.join(", ")));
        }
        if group.is_none() {
            for fault in &catalogue.fault {
                let tests = self.faults.get(&fault.id).map(Vec::as_slice).unwrap_or_default();
                lines.push(format!("fault {} {} ({} tests)", fault.id, fault.title, tests.len()));
                lines.extend(tests.iter().map(|test| format!("    {test}")));
            }
        }
        gaps.extend(unknown(&self.points, &catalogue.point, "proves"));
        gaps.extend(unknown(&self.faults, &catalogue.fault, "fault"));
        Ok((lines, gaps))
    }
}

/// Claims on what does not exist.
fn unknown(claims: &BTreeMap<String, Vec<String>>, points: &[Point], key: &str) -> Vec<String> {
    let missing = claims.iter().filter(|(id, _)| points.iter().all(|point| point.id != **id));
    missing
        .map(|(id, tests)| format!("`{key}: {id}` does not exist: {}", tests.join(", ")))
        .collect()
}

/// `B` of `B4`.
fn letters(id: &str) -> &str {
    id.trim_end_matches(|letter: char| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture;

    const CATALOGUE: &str = "finished = [\"B\"]\n\
        [[point]]\nid = \"B1\"\ntitle = \"Kept\"\n[[point]]\nid = \"D1\"\ntitle = \"Opened\"\n\
        [[fault]]\nid = \"S1\"\ntitle = \"Kill\"\n";

    fn report(test: &str, group: Option<&str>) -> (Vec<String>, Vec<String>) {
        let (_dir, workspace) = fixture(&[(FILE, CATALOGUE), ("crates/a/tests/main.rs", test)]);
        let catalogue = Catalogue::load(&workspace).expect("it parses");
        let table = Table::build(&workspace);
        table.report(&catalogue, group).expect("the group exists")
    }

    #[test]
    fn proofs_are_listed() {
        let (lines, gaps) =
            report("//! T.\n/// proves: B1. fault: S1\n#[test]\nfn kept() {}\n", None);
        assert!(gaps.is_empty(), "{gaps:?}");
        assert_eq!(
            lines,
            [
                "B1 Kept (1 tests)",
                "    crates/a/tests/main.rs:4 kept",
                "D1 Opened (0 tests)",
                "fault S1 Kill (1 tests)",
                "    crates/a/tests/main.rs:4 kept",
            ]
        );
    }

    #[test]
    fn only_finished_groups_and_the_asked_one_must_be_complete() {
        let (_, gaps) = report("//! T.\n", None);
        assert_eq!(gaps, ["B1 has no test that says `proves: B1`"]);
        let (_, gaps) = report("//! T.\n", Some("D"));
        assert_eq!(gaps, ["D1 has no test that says `proves: D1`"]);
    }

    #[test]
    fn claims_on_nothing_fail() {
        let (_, gaps) = report("//! T.\n/// proves: B1, B77\n#[test]\nfn kept() {}\n", None);
        assert_eq!(gaps, ["`proves: B77` does not exist: crates/a/tests/main.rs:4 kept"]);
    }

    #[test]
    fn an_unknown_group_is_an_error() {
        let (_dir, workspace) = fixture(&[(FILE, CATALOGUE)]);
        assert_eq!(run(&workspace, Some("Z")), Err("no such group; there are B, D".to_owned()));
    }
}
