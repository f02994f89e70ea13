//! Plans in Markdown: the plan in front, what is to be done behind it in people's words.
//!
//! ```text
//! +++                      TOML between two lines of +++, or YAML between two of ---
//! name = "…"
//! [[spec]]
//! name = "fix"
//! +++
//! What the plan is for.    its description
//! ## fix                   the instructions of the spec with this name, up to the next of these
//! ```
//! A plan with one spec needs no heading: then all of the text is its instructions. Headings of
//! other levels, and what stands between fences of code, are text.

use rekindle_services::loops::Plan;

use super::shape::File;
use super::{of_toml, of_yaml};

/// Lines that begin and end a front matter: TOML, YAML.
const FENCES: [&str; 2] = ["+++", "---"];

/// Whether the text has a front matter.
pub(super) fn begins(text: &str) -> bool {
    text.lines().next().is_some_and(|line| FENCES.contains(&line.trim_end()))
}

/// The plan in such a text.
pub(super) fn parse(text: &str) -> Result<Plan, Vec<String>> {
    let (fence, matter, body) = split(text).map_err(|why| vec![why])?;
    let mut file = match fence {
        "+++" => of_toml(&matter)?,
        _ => of_yaml(&matter)?,
    };
    fill(&mut file, &body)?;
    file.plan()
}

/// The fence, what stands between the two, and what stands behind them. Lines before the matter
/// are kept empty, so that places in it are those of the file.
fn split(text: &str) -> Result<(&str, String, String), String> {
    let mut lines = text.lines();
    let fence = lines.next().unwrap_or_default().trim_end();
    if !FENCES.contains(&fence) {
        let text = "a plan in Markdown begins with a line +++ and TOML, or --- and YAML";
        return Err(text.to_owned());
    }
    let mut matter = "\n".to_owned();
    for line in lines.by_ref() {
        if line.trim_end() == fence {
            let body = lines.fold(String::new(), |body, line| body + line + "\n");
            return Ok((fence, matter, body));
        }
        matter.push_str(line);
        matter.push('\n');
    }
    Err(format!("the front matter does not end: there is no second line {fence}"))
}

/// Adds what the text says to the plan.
fn fill(file: &mut File, body: &str) -> Result<(), Vec<String>> {
    let Sections { before, named } = Sections::of(body);
    let mut wrong = Vec::new();
    let mut give = |file: &mut File, name: &str, text: String| {
        let mut parts = file.specs.iter_mut().filter(|part| part.name == name);
        match parts.next() {
            None => wrong.push(format!(
                "the heading \"## {name}\" names no spec; headings of other levels are text"
            )),
            Some(part) if part.instructions.is_some() => {
                wrong.push(format!("spec {name:?}: it has instructions twice"));
            }
            Some(part) => part.instructions = Some(text),
        }
    };
    match file.specs.as_slice() {
        [only] if named.is_empty() && only.instructions.is_none() => {
            let name = only.name.clone();
            give(file, &name, before);
        }
        _ => {
            for (name, text) in named {
                give(file, &name, text);
            }
            if file.description.is_empty() {
                file.description = before.trim_end().to_owned();
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// A text by its headings of the second level.
#[derive(Debug, PartialEq, Eq)]
struct Sections {
    /// What stands before the first, without a title.
    before: String,
    /// Each heading with what stands below it.
    named: Vec<(String, String)>,
}

impl Sections {
    fn of(body: &str) -> Self {
        let mut sections = Self { before: String::new(), named: Vec::new() };
        let mut fence: Option<&str> = None;
        for line in body.lines() {
            let bare = line.trim_start();
            let marks = ["```", "~~~"].into_iter().find(|marks| bare.starts_with(marks));
            fence = match (fence, marks) {
                (None, marks) => marks,
                (Some(open), Some(marks)) if open == marks => None,
                (open, _) => open,
            };
            if let Some(name) = line.strip_prefix("## ").filter(|_| fence.is_none()) {
                let name = name.trim().trim_end_matches('#').trim_end();
                sections.named.push((name.to_owned(), String::new()));
                continue;
            }
            let is_title = line.starts_with("# ") && fence.is_none() && sections.named.is_empty();
            if is_title && sections.before.trim().is_empty() {
                continue;
            }
            let text = match sections.named.last_mut() {
                Some((_, text)) => text,
                None => &mut sections.before,
            };
            text.push_str(line);
            text.push('\n');
        }
        let trim = |text: &str| match text.trim_matches('\n') {
            "" => String::new(),
            text => format!("{text}\n"),
        };
        sections.before = trim(&sections.before);
        for (_, text) in &mut sections.named {
            *text = trim(text);
        }
        sections
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plan(specs: &[&str], body: &str) -> Result<Plan, Vec<String>> {
        let specs = specs.iter().fold(String::new(), |text, name| {
            text + &format!("[[spec]]\nname = \"{name}\"\nrun = [\"true\"]\n")
        });
        parse(&format!("+++\nname = \"p\"\n{specs}+++\n{body}"))
    }

    /// Each spec gets what stands below its heading; code is no heading.
    #[test]
    fn headings_name_specs() {
        let body = "# A title\n\nWhat it is for,\nin words.\n\n## b\n\nDo b.\n\n### Not a spec\n\n\
                    ```sh\n## c\n```\n\n## a ##\nDo a.\n";
        let plan = plan(&["a", "b"], body).unwrap();
        assert_eq!(plan.description, "What it is for,\nin words.");
        assert_eq!(plan.specs[0].instructions, "Do a.\n");
        let expected = "Do b.\n\n### Not a spec\n\n```sh\n## c\n```\n";
        assert_eq!(plan.specs[1].instructions, expected);
    }

    #[test]
    fn one_spec_needs_no_heading() {
        let only = plan(&["a"], "# T\n\nAll of it.\n\nTo the end.\n").unwrap();
        assert_eq!(only.specs[0].instructions, "All of it.\n\nTo the end.\n");
        assert_eq!(only.description, "");
        let named = plan(&["a"], "Why.\n## a\nWhat.\n").unwrap();
        assert_eq!(
            (named.description.as_str(), &*named.specs[0].instructions),
            ("Why.", "What.\n")
        );
        let two = plan(&["a", "b"], "Why.\n").unwrap();
        assert_eq!((two.description.as_str(), &*two.specs[0].instructions), ("Why.", ""));
    }

    #[test]
    fn headings_that_are_lost_are_told() {
        let wrong = plan(&["a", "b"], "## c\nx\n## a\ny\n## a\nz\n").unwrap_err();
        assert_eq!(
            wrong,
            [
                "the heading \"## c\" names no spec; headings of other levels are text",
                "spec \"a\": it has instructions twice"
            ]
        );
    }

    /// Places are those of the file.
    #[test]
    fn lines_are_those_of_the_file() {
        let wrong = parse("+++\nname = \"p\"\nnam = 1\n+++\n").unwrap_err();
        assert!(wrong[0].contains("line 3"), "{wrong:?}");
        let wrong = parse("---\nname: p\nnam: 1\n---\n").unwrap_err();
        assert!(wrong[0].contains("line 3"), "{wrong:?}");
    }
}
