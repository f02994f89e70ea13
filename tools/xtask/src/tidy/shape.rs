//! The shape of files: headers, sizes, line lengths, names, re-exports.
//!
//! Invariant: the limits are those of CONTRIBUTING.md.

use super::Violation;
use crate::source::Source;
use crate::workspace::{Crate, Workspace};

const FILE_LINES_MAX: usize = 500;
const LIB_LINES_MAX: usize = 150;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// Module names that gather whatever has no home.
const GRAVITY_WELLS: [&str; 3] = ["common", "types", "utils"];

pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let files = workspace.sources.iter().flat_map(of_file);
    files.chain(workspace.crates.iter().filter_map(|each| test_binaries(workspace, each))).collect()
}

/// One test binary per crate: each further one is linked again, whole, for every build.
fn test_binaries(workspace: &Workspace, each: &Crate) -> Option<Violation> {
    let folder = format!("{}/tests/", each.dir);
    let scenarios = workspace
        .sources
        .iter()
        .filter(|source| source.path.strip_prefix(&folder).is_some_and(|name| !name.contains('/')));
    let discovered = each
        .manifest
        .get("package")
        .and_then(|package| package.get("autotests"))
        .and_then(toml::Value::as_bool)
        .unwrap_or(true);
    let count = scenarios.count();
    (count > 1 && discovered).then(|| {
        let message = format!(
            "{count} test binaries: say `autotests = false` and name tests/main.rs as [[test]]"
        );
        Violation::new(&format!("{}/Cargo.toml", each.dir), 0, message)
    })
}

fn of_file(source: &Source) -> Vec<Violation> {
    let mut violations = vec![];
    let mut broken = |line: usize, message: String| {
        violations.push(Violation::new(&source.path, line, message));
    };
    if !source.text.starts_with("//! ") {
        broken(1, "begin with `//!`: what this file is, and its invariants".to_owned());
    }
    let lines = source.text.lines().count();
    let max = if source.path.ends_with("src/lib.rs") { LIB_LINES_MAX } else { FILE_LINES_MAX };
    if lines > max {
        broken(0, format!("{lines} lines, at most {max}: split it by meaning"));
    }
    for function in source.functions.iter().filter(|each| each.lines > FUNCTION_LINES_MAX) {
        let (name, lines) = (&function.name, function.lines);
        broken(function.line, format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}"));
    }
    for (at, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX {
            broken(at + 1, format!("{columns} columns, at most {LINE_COLUMNS_MAX}"));
        }
        if line.trim_start().starts_with("pub use ") && line.contains("::*") {
            broken(at + 1, "no glob re-exports: name what is public".to_owned());
        }
    }
    let name = module_name(&source.path);
    if GRAVITY_WELLS.contains(&name) {
        broken(0, format!("no module `{name}`: a type lives where it has its meaning"));
    }
    violations
}

/// `b` for `a/b.rs` and `a/b/mod.rs`.
fn module_name(path: &str) -> &str {
    let path = path.strip_suffix("/mod.rs").or(path.strip_suffix(".rs")).unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let source = Source::parse(path, text).expect("it parses");
        of_file(&source)
            .into_iter()
            .map(|each| format!("{}: {}", each.line, each.message))
            .collect()
    }

    #[test]
    fn a_tidy_file_passes() {
        let found = messages("crates/a/src/lib.rs", "//! A.\n\npub use b::{C, D};\n");
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn headers_are_asked_for() {
        let found = messages("crates/a/src/b.rs", "// A.\n");
        assert_eq!(found, ["1: begin with `//!`: what this file is, and its invariants"]);
    }

    #[test]
    fn sizes_are_limited() {
        let long = format!("//! A.\n{}", "\n".repeat(499));
        assert!(messages("crates/a/src/b.rs", &long).is_empty());
        assert_eq!(messages("crates/a/src/lib.rs", &long).len(), 1);
        assert_eq!(messages("crates/a/src/b.rs", &format!("{long}\n")).len(), 1);
    }

    #[test]
    fn functions_and_lines_are_limited() {
        let body = "    let _ = 1;\n".repeat(68);
        let fits = format!("//! A.\nfn f() {{\n{body}}}\n");
        assert!(messages("crates/a/src/b.rs", &fits).is_empty());
        let long = format!("//! A.\nfn f() {{\n{body}    let _ = 2;\n}}\n");
        assert_eq!(messages("crates/a/src/b.rs", &long), ["2: `f` has 71 lines, at most 70"]);
        let wide = format!("//! {}\n", "ä".repeat(97));
        assert_eq!(messages("crates/a/src/b.rs", &wide), ["1: 101 columns, at most 100"]);
    }

    #[test]
    fn a_crate_has_one_test_binary() {
        let check = |package: &str| {
            let (_dir, workspace) = crate::workspace::fixture(&[
                ("crates/a/Cargo.toml", package),
                ("crates/a/tests/main.rs", "//! Tests.\nmod b;\n"),
                ("crates/a/tests/b.rs", "//! B.\n"),
            ]);
            check(&workspace).len()
        };
        assert_eq!(check("[package]\nname = \"a\"\n"), 1);
        assert_eq!(check("[package]\nname = \"a\"\nautotests = false\n"), 0);
    }

    #[test]
    fn globs_and_gravity_wells_are_refused() {
        assert_eq!(messages("crates/a/src/b.rs", "//! A.\npub use c::*;\n").len(), 1);
        assert_eq!(messages("crates/a/src/utils/mod.rs", "//! A.\n").len(), 1);
        assert_eq!(messages("crates/a/src/types.rs", "//! A.\n").len(), 1);
    }
}
