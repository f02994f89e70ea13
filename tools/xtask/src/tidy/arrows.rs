//! Arrows between crates: who may depend on whom, and how many features there are.
//!
//! Invariant: the table is the one of ARCHITECTURE.md; a crate that it does not name is a
//! violation. Dev-dependencies may reach everything below (what its dependencies may depend on in
//! turn), never sideways or up: a test that needs more lives higher.

use std::collections::BTreeSet;

use super::Violation;
use crate::workspace::{Crate, Workspace};

/// Every crate and what it may depend on. `*` stands for all the others.
const ARROWS: [(&str, &[&str]); 13] = [
    ("rekindle-env", &[]),
    ("rekindle-recovery", &["rekindle-env"]),
    ("rekindle-wire", &[]),
    ("rekindle-journal", &["rekindle-env", "rekindle-recovery"]),
    ("rekindle-engine", &["rekindle-env", "rekindle-recovery"]),
    ("rekindle-raft", &["rekindle-journal", "rekindle-recovery", "rekindle-env"]),
    (
        "rekindle-database",
        &["rekindle-journal", "rekindle-engine", "rekindle-recovery", "rekindle-env"],
    ),
    ("rekindle-services", &["rekindle-database", "rekindle-recovery", "rekindle-env"]),
    ("rekindle-client", &["rekindle-wire"]),
    (
        "rekindle",
        &[
            "rekindle-env",
            "rekindle-recovery",
            "rekindle-wire",
            "rekindle-journal",
            "rekindle-engine",
            "rekindle-raft",
            "rekindle-database",
            "rekindle-services",
            "rekindle-client",
        ],
    ),
    ("rekindle-sim", &["*"]),
    ("rekindle-bench", &["*"]),
    ("xtask", &["*"]),
];

/// The crates below `services`, where nothing is async (`raft` is, because its consensus is).
const BLOCKING: [&str; 5] = [
    "rekindle-env",
    "rekindle-recovery",
    "rekindle-journal",
    "rekindle-engine",
    "rekindle-database",
];

/// What would make them so.
const ASYNC: [&str; 6] = ["tokio", "tonic", "axum", "hyper", "async-std", "smol"];

/// Names that gather whatever has no home.
const GRAVITY_WELLS: [&str; 3] = ["common", "types", "utils"];

/// Cargo features in the whole workspace, `default` not counted.
const FEATURES_MAX: usize = 4;

/// Crates outside the workspace may use ours as anybody else does, or are there to be mended.
const OUTSIDE: [&str; 3] = ["tools/peers", "fuzz", "examples/loop-fix-tests/broken"];

pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = vec![];
    let mut features = vec![];
    for each in &workspace.crates {
        if OUTSIDE.contains(&each.dir.as_str()) {
            continue;
        }
        violations.extend(dependencies(each));
        features.extend(optional(each));
        let last = each.name.rsplit('-').next().unwrap_or_default();
        if GRAVITY_WELLS.contains(&last) {
            let message = "no crate of this name: a type lives where it has its meaning";
            violations.push(Violation::new(&manifest(each), 0, message));
        }
    }
    // One that goes through the layers under one name is one.
    let name = |feature: &String| feature.rsplit('/').next().map(str::to_owned);
    let names: BTreeSet<_> = features.iter().map(name).collect();
    if names.len() > FEATURES_MAX {
        let message = format!(
            "{} cargo features ({}), at most {FEATURES_MAX}",
            names.len(),
            features.join(", ")
        );
        violations.push(Violation::new("Cargo.toml", 0, message));
    }
    violations
}

fn manifest(each: &Crate) -> String {
    format!("{}/Cargo.toml", each.dir)
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, may)| *may)
}

/// Everything below a crate.
fn below(name: &str) -> BTreeSet<&'static str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![name];
    while let Some(next) = open.pop() {
        for lower in allowed(next).unwrap_or_default() {
            if reached.insert(*lower) {
                open.push(lower);
            }
        }
    }
    reached
}

fn dependencies(each: &Crate) -> Vec<Violation> {
    let file = manifest(each);
    let Some(may) = allowed(&each.name) else {
        let message = format!("{} is not in the table of crates (ARCHITECTURE.md)", each.name);
        return vec![Violation::new(&file, 0, message)];
    };
    let below = below(&each.name);
    let mut violations = vec![];
    for (section, dependency) in listed(each) {
        let ours = dependency.starts_with("rekindle") || dependency == "xtask";
        let permitted = if section == "dev-dependencies" {
            may.contains(&"*") || below.contains(dependency.as_str())
        } else {
            may.contains(&"*") || may.contains(&dependency.as_str())
        };
        if ours && !permitted {
            let message = format!("{section}: {} may not depend on {dependency}", each.name);
            violations.push(Violation::new(&file, 0, message));
        }
        let blocking = BLOCKING.contains(&each.name.as_str()) && section != "dev-dependencies";
        if blocking && ASYNC.contains(&dependency.as_str()) {
            let message = format!("{section}: {dependency} makes {} async", each.name);
            violations.push(Violation::new(&file, 0, message));
        }
    }
    violations
}

/// Every dependency with its section, those of single targets included.
fn listed(each: &Crate) -> Vec<(&'static str, String)> {
    const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = each.manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flatten().filter_map(|(_, value)| value.as_table());
    let tables = std::iter::once(&each.manifest).chain(targets);
    tables
        .flat_map(|table| {
            SECTIONS.into_iter().filter_map(|section| Some((section, table.get(section)?)))
        })
        .flat_map(|(section, table)| {
            let names = table.as_table().into_iter().flat_map(toml::Table::keys);
            names.map(move |name| (section, name.clone()))
        })
        .collect()
}

/// The features of a crate, those that an optional dependency brings by itself included.
fn optional(each: &Crate) -> Vec<String> {
    let features = each.manifest.get("features").and_then(toml::Value::as_table);
    let declared: Vec<&String> = features.into_iter().flat_map(toml::Table::keys).collect();
    let values = features.into_iter().flat_map(toml::Table::values);
    let explicit: Vec<&str> = values
        .filter_map(toml::Value::as_array)
        .flatten()
        .filter_map(toml::Value::as_str)
        .filter_map(|value| value.strip_prefix("dep:"))
        .collect();
    let dependencies = each.manifest.get("dependencies").and_then(toml::Value::as_table);
    let implicit = dependencies.into_iter().flatten().filter(|(name, value)| {
        value.get("optional").and_then(toml::Value::as_bool) == Some(true)
            && !explicit.contains(&name.as_str())
    });
    let names = declared.into_iter().chain(implicit.map(|(name, _)| name));
    let names = names.filter(|name| *name != "default");
    names.map(|name| format!("{}/{name}", each.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture;

    fn messages(manifest: &str) -> Vec<String> {
        let (_dir, workspace) = fixture(&[("crates/x/Cargo.toml", manifest)]);
        check(&workspace).into_iter().map(|each| each.message).collect()
    }

    #[test]
    fn an_arrow_up_is_a_violation() {
        let found = messages(
            "[package]\nname = \"rekindle-journal\"\n[dependencies]\nrekindle-env = \"1\"\n\
             rekindle-database.workspace = true\n",
        );
        assert_eq!(found, ["dependencies: rekindle-journal may not depend on rekindle-database"]);
    }

    #[test]
    fn tests_may_reach_further_down_and_never_up() {
        let allowed = messages(
            "[package]\nname = \"rekindle-services\"\n\
             [dev-dependencies]\nrekindle-journal = \"1\"\n",
        );
        assert!(allowed.is_empty(), "{allowed:?}");
        let refused = messages(
            "[package]\nname = \"rekindle-env\"\n[dev-dependencies]\nrekindle-sim = \"1\"\n",
        );
        assert_eq!(refused, ["dev-dependencies: rekindle-env may not depend on rekindle-sim"]);
    }

    #[test]
    fn storage_is_not_async_and_targets_count_too() {
        let found = messages(
            "[package]\nname = \"rekindle-engine\"\n\
             [target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n[dev-dependencies]\ntokio = \"1\"\n",
        );
        assert_eq!(found, ["dependencies: tokio makes rekindle-engine async"]);
    }

    #[test]
    fn unknown_crates_and_gravity_wells_are_refused() {
        let found = messages("[package]\nname = \"rekindle-common\"\n");
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn features_are_counted_over_the_workspace() {
        let found = messages(
            "[package]\nname = \"rekindle-bench\"\n\
             [features]\ndefault = []\na = [\"dep:p\"]\nb = []\nc = []\n\
             [dependencies]\np = { version = \"1\", optional = true }\n\
             q = { version = \"1\", optional = true }\nr = { version = \"1\", optional = true }\n",
        );
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|message| message.starts_with("5 cargo features")), "{found:?}");
    }
}
