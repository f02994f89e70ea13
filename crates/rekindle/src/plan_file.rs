//! Files with plans of loops: TOML, YAML, JSON, or Markdown with front matter.
//!
//! Invariants: all of these are one shape; a word that the shape does not have is refused, so a
//! misspelt one is not left out silently; what is wrong is told with its place where the parser
//! knows it.

mod markdown;
mod shape;

use std::path::Path;

use rekindle_services::loops::Plan;
use rekindle_services::loops::plan::told;

/// How a plan is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Toml,
    Yaml,
    Json,
    Markdown,
}

impl Format {
    /// By the name of the file, and where that says nothing by how the text begins.
    fn of(path: &Path, text: &str) -> Self {
        let extension = path.extension().and_then(|it| it.to_str()).map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            Some("md" | "markdown") => Self::Markdown,
            _ if markdown::begins(text) => Self::Markdown,
            _ if text.trim_start().starts_with('{') => Self::Json,
            _ => Self::Toml,
        }
    }
}

/// So much is told of each thing that is wrong: parsers show the line, which may be all of the
/// file.
const WRONG_BYTES_MAX: usize = 2 << 10;

/// The plan in this text of a file with this name.
///
/// # Errors
/// What is wrong with it, a sentence each; never empty. Whether it can be done is for
/// [`Plan::check`] to say.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Plan, Vec<String>> {
    read(path, bytes).map_err(|mut wrong| {
        for why in &mut wrong {
            if why.len() > WRONG_BYTES_MAX {
                why.truncate(why.floor_char_boundary(WRONG_BYTES_MAX));
                why.push('…');
            }
            // What a file holds is not for a terminal to obey.
            let is_shown = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
            *why = why.chars().map(|c| if is_shown(c) { c } else { ' ' }).collect();
        }
        told(wrong)
    })
}

fn read(path: &Path, bytes: &[u8]) -> Result<Plan, Vec<String>> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|error| {
        vec![format!("a plan is text in UTF-8; the byte {} is none", error.valid_up_to())]
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match Format::of(path, text) {
        Format::Markdown => markdown::parse(text),
        Format::Toml => of_toml(text)?.plan(),
        Format::Yaml => of_yaml(text)?.plan(),
        Format::Json => {
            let file: Result<shape::File, _> = serde_json::from_str(text);
            file.map_err(|error| vec![error.to_string()])?.plan()
        }
    }
}

fn of_toml(text: &str) -> Result<shape::File, Vec<String>> {
    toml::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])
}

fn of_yaml(text: &str) -> Result<shape::File, Vec<String>> {
    serde_saphyr::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rekindle_services::loops::{Budget, Directory, Step};

    use super::*;

    const TOML: &str = r#"
name = "fix-tests"
description = "until they pass"
parallel = 2

[budget]
iterations = 50
wall_time = "6h"

[environment]
LANG = "C"

[[spec]]
name = "prepare"
run = ["git", "fetch"]

[[spec]]
name = "fix"
needs = ["prepare"]
instructions = "Make the tests pass.\n"
run = { argv = ["./agent.sh", "--once"], time_limit = "30m" }
check = [
  ["cargo", "build"],
  { argv = ["cargo", "test"], idempotent = false, time_limit = "10m" },
]
worktree = { repository = ".", branch = "rekindle/fix", from = "main" }
environment = { MODEL = "large", LANG = "en" }
budget = { iterations = 20, attempts = 3, cost = 12.5 }
stuck_after = 5
"#;

    const YAML: &str = r#"
name: fix-tests
description: until they pass
parallel: 2
budget: { iterations: 50, wall_time: 6h }
environment: { LANG: C }
spec:
  - name: prepare
    run: [git, fetch]
  - name: fix
    needs: [prepare]
    instructions: "Make the tests pass.\n"
    run: { argv: [./agent.sh, --once], time_limit: 30m }
    check:
      - [cargo, build]
      - { argv: [cargo, test], idempotent: false, time_limit: 10m }
    worktree: { repository: ., branch: rekindle/fix, from: main }
    environment: { MODEL: large, LANG: en }
    budget: { iterations: 20, attempts: 3, cost: 12.5 }
    stuck_after: 5
"#;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Every field arrives where it belongs, and defaults are what docs/loops.md says.
    ///
    /// proves: L1
    #[test]
    fn every_field_arrives() {
        let plan = parse(Path::new("plan.toml"), TOML.as_bytes()).unwrap();
        assert_eq!((plan.name.as_str(), plan.parallel), ("fix-tests", 2));
        assert_eq!(plan.description, "until they pass");
        let [prepare, fix] = plan.specs.as_slice() else { panic!("{plan:?}") };
        let hour = 60 * 60 * 1_000;
        let run = Step { argv: words(&["git", "fetch"]), idempotent: false, time_limit_ms: hour };
        assert_eq!((prepare.name.as_str(), &prepare.run), ("prepare", &run));
        assert_eq!((&prepare.directory, prepare.checks.len()), (&Directory::Temporary, 0));
        let budget = Budget { iterations: 50, wall_time_ms: 6 * hour, ..Budget::default() };
        assert_eq!((prepare.budget, prepare.stuck_after), (budget, None));
        assert_eq!(prepare.environment.get("LANG").map(String::as_str), Some("C"));
        assert_eq!(fix.needs, ["prepare"]);
        assert_eq!(fix.instructions, "Make the tests pass.\n");
        assert_eq!(fix.run.time_limit_ms, hour / 2);
        let check = |word, idempotent, time_limit_ms| Step {
            argv: words(&["cargo", word]),
            idempotent,
            time_limit_ms,
        };
        // A check looks: it may be done twice unless it says otherwise.
        assert_eq!(fix.checks, [check("build", true, hour), check("test", false, hour / 6)]);
        let (repository, branch) = (".".to_owned(), "rekindle/fix".to_owned());
        let from = Some("main".to_owned());
        assert_eq!(fix.directory, Directory::Worktree { repository, branch, from });
        assert_eq!(fix.environment.get("LANG").map(String::as_str), Some("en"), "the nearer wins");
        assert_eq!(fix.environment.len(), 2);
        assert_eq!(
            fix.budget,
            Budget {
                iterations: 20,
                wall_time_ms: 6 * hour,
                attempts: Some(3),
                cost_micros: Some(12_500_000),
            }
        );
        assert_eq!(fix.stuck_after, Some(5));
        assert_eq!(plan.check().unwrap().waves, [[0], [1]]);
    }

    /// The same plan in each form.
    #[test]
    fn all_forms_are_one() {
        let plan = parse(Path::new("plan.toml"), TOML.as_bytes()).unwrap();
        assert_eq!(parse(Path::new("plan.yml"), YAML.as_bytes()).unwrap(), plan);
        let value: serde_json::Value = toml::from_str(TOML).unwrap();
        assert_eq!(parse(Path::new("plan.json"), value.to_string().as_bytes()).unwrap(), plan);
        for (fence, matter) in [("+++", TOML), ("---", YAML)] {
            let body = "instructions = \"Make the tests pass.\\n\"\n";
            let matter = matter.replace(body, "");
            let matter = matter.replace("    instructions: \"Make the tests pass.\\n\"\n", "");
            let matter = matter.replace("description = \"until they pass\"\n", "");
            let matter = matter.replace("description: until they pass\n", "");
            let text = format!(
                "{fence}\n{matter}{fence}\n# Fix the tests\n\nuntil they pass\n\n## fix\n\nMake \
                 the tests pass.\n"
            );
            for text in [text.clone(), format!("\u{feff}{}", text.replace('\n', "\r\n"))] {
                assert_eq!(
                    parse(Path::new("plan.md"), text.as_bytes()),
                    Ok(plan.clone()),
                    "{text}"
                );
                assert_eq!(parse(Path::new("-"), text.as_bytes()), Ok(plan.clone()));
            }
        }
    }

    /// What is misspelt, or of another kind, is told with its name and its place.
    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let told = |text: &str| parse(Path::new("-"), text.as_bytes()).unwrap_err().join("\n");
        let spec = |line: &str| format!("name = \"p\"\n[[spec]]\nname = \"a\"\n{line}\n");
        let both = "run = [\"true\"]\ndirectory = \".\"\n\
                    worktree = { repository = \".\", branch = \"b\" }";
        for (text, expected) in [
            ("nam = 1".to_owned(), vec!["line 1", "nam"]),
            (spec("rum = [\"true\"]"), vec!["line 4", "rum"]),
            (spec("run = \"true\""), vec!["line 4", "a list of words"]),
            (spec("run = { argv = [\"true\"], time_limit = \"soon\" }"), vec!["line 4", "soon"]),
            (
                spec("run = [\"true\"]\ncheck = [\"cargo\", \"test\"]"),
                vec!["line 5", "a list of words"],
            ),
            (spec("run = [\"true\"]\nbudget = { cost = -1 }"), vec!["line 5", "-1"]),
            (spec(both), vec!["spec \"a\"", "directory", "worktree"]),
            (spec("needs = [\"b\"]"), vec!["run"]),
            ("{\"name\": \"p\", \"specs\": [{}]}".to_owned(), vec!["line 1", "name"]),
            ("---\nname: p\nspec:\n  - name: a\n    rum: [x]\n---\n".to_owned(), vec!["rum"]),
            ("+++\nname = \"p\"\n".to_owned(), vec!["+++"]),
        ] {
            let told = told(&text);
            assert!(expected.iter().all(|word| told.contains(word)), "{text}\n{told}");
        }
        let escape = told("name = \x1b[31m");
        assert!(escape.contains(" [31m") && !escape.contains('\x1b'), "{escape:?}");
        let bytes = parse(Path::new("-"), b"name = \"\xff\"").unwrap_err();
        assert_eq!(bytes, ["a plan is text in UTF-8; the byte 8 is none"]);
    }

    /// Nobody's file panics, or is blown up to many times its size.
    #[test]
    fn hostile_files_are_refused() {
        let deep = "[".repeat(100_000);
        let bomb = {
            let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
            for (name, before) in ('b'..='j').zip('a'..) {
                text.push_str(&format!("{name}: &{name} [{}]\n", format!("*{before},").repeat(9)));
            }
            text
        };
        for (path, text) in [
            ("a.toml", format!("name = {deep}")),
            ("a.json", format!("{{\"name\": {deep}")),
            ("a.yaml", format!("name: {deep}")),
            ("a.yaml", bomb),
            ("a.md", format!("---\nname: {deep}\n---\n")),
            ("a.md", String::new()),
            ("a.toml", "x".repeat(1 << 20)),
            ("a.md", format!("+++\nname = \"p\"\n+++\n{}", "## a\n".repeat(1_000))),
            ("a.json", {
                let spec = r#"{"name": "a", "run": ["x"]},"#.repeat(20_000);
                let environment = format!("{{\"A\": \"{}\"}}", "x".repeat(1 << 20));
                let specs = spec.trim_end_matches(',');
                format!("{{\"name\": \"p\", \"environment\": {environment}, \"specs\": [{specs}]}}")
            }),
        ] {
            let wrong = parse(Path::new(path), text.as_bytes()).unwrap_err();
            assert!(wrong.iter().all(|why| why.len() <= WRONG_BYTES_MAX + 3), "{path}");
            assert!((1..=101).contains(&wrong.len()), "{path}: {}", wrong.len());
        }
    }
}
