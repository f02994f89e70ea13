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

use std::collections::BTreeMap;

use rekindle_services::loops::Plan;

use super::shape::{File, Part};
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
    let Sections { title, before, named } = Sections::of(body).map_err(|why| vec![why])?;
    if let ([only], []) = (file.specs.as_mut_slice(), named.as_slice())
        && only.instructions.is_none()
    {
        only.instructions = Some(text_of(&(title + &before)));
        return Ok(());
    }
    let mut wrong = Vec::new();
    let parts = file.specs.iter_mut().map(|part| (part.name.clone(), part));
    let mut parts: BTreeMap<String, &mut Part> = parts.collect();
    for (name, text) in named {
        match parts.get_mut(&name) {
            None => wrong.push(format!(
                "the heading \"## {name}\" names no spec; headings of other levels are text"
            )),
            Some(part) if part.instructions.is_some() => {
                wrong.push(format!("spec {name:?}: it has instructions twice"));
            }
            Some(part) => part.instructions = Some(text_of(&text)),
        }
    }
    let before = text_of(&before);
    if file.description.is_empty() {
        file.description = before.trim_end().to_owned();
    } else if !before.is_empty() {
        let text = "the text in front of the first heading \"## NAME\" is the description, and \
                    there is one in the front matter, too";
        wrong.push(text.to_owned());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// A text without empty lines around it.
fn text_of(text: &str) -> String {
    match text.trim_matches('\n') {
        "" => String::new(),
        text => format!("{text}\n"),
    }
}

/// A text by its headings of the second level.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sections {
    /// The heading of the first level that it begins with.
    title: String,
    /// What stands before the first of the second, without that title.
    before: String,
    /// Each heading with what stands below it.
    named: Vec<(String, String)>,
}

impl Sections {
    fn of(body: &str) -> Result<Self, String> {
        let mut sections = Self::default();
        let mut open: Option<Fence<'_>> = None;
        for line in body.lines() {
            match (&open, Fence::of(line)) {
                (None, opened) => open = opened.filter(Fence::opens),
                (Some(fence), Some(closed)) if closed.closes(fence) => open = None,
                (Some(_), _) => {}
            }
            let is_text = open.is_some();
            if let Some(name) = line.strip_prefix("## ").filter(|_| !is_text) {
                let name = name.trim().trim_end_matches('#').trim_end();
                sections.named.push((name.to_owned(), String::new()));
                continue;
            }
            let begins = sections.named.is_empty() && sections.before.trim().is_empty();
            let untitled = begins && sections.title.is_empty();
            if untitled && line.trim().is_empty() {
                continue;
            }
            let is_title = untitled && line.starts_with("# ");
            let text = match sections.named.last_mut() {
                Some((_, text)) => text,
                None if is_title && !is_text => &mut sections.title,
                None => &mut sections.before,
            };
            text.push_str(line);
            text.push('\n');
        }
        match open {
            None => Ok(sections),
            Some(Fence { mark, .. }) => {
                let fence = String::from(mark).repeat(3);
                Err(format!("a block of code that begins with {fence} does not end"))
            }
        }
    }
}

/// A line that begins or ends a block of code (CommonMark 0.31, 4.5).
#[derive(Debug)]
struct Fence<'a> {
    mark: char,
    length: usize,
    /// What stands behind the marks.
    info: &'a str,
}

impl<'a> Fence<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let bare = line.trim_start_matches(' ');
        let mark = bare.chars().next().filter(|mark| ['`', '~'].contains(mark))?;
        let info = bare.trim_start_matches(mark);
        let length = bare.len() - info.len();
        (line.len() - bare.len() <= 3 && length >= 3).then_some(Self { mark, length, info })
    }

    fn opens(&self) -> bool {
        // Otherwise it is code within a line.
        self.mark == '~' || !self.info.contains('`')
    }

    fn closes(&self, open: &Fence<'_>) -> bool {
        self.mark == open.mark && self.length >= open.length && self.info.trim().is_empty()
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
        let only = plan(&["a"], "\n# T\n\nAll of it.\n\nTo the end.\n").unwrap();
        assert_eq!(only.specs[0].instructions, "# T\n\nAll of it.\n\nTo the end.\n");
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

    /// Code ends where CommonMark says, and text that would be lost is told.
    #[test]
    fn code_is_no_heading_and_no_text_is_lost() {
        let ab = |body: &str| plan(&["a", "b"], body);
        let nested = ab("## a\n````\n```sh\n## b\n```\n````\n## b\nB.\n").unwrap();
        assert_eq!(nested.specs[0].instructions, "````\n```sh\n## b\n```\n````\n");
        for text in ["```cargo test``` passes", "    ```", "``", "```\nx\n   ````  "] {
            let told = ab(&format!("## a\n{text}\n## b\nB.\n")).unwrap();
            assert_eq!(told.specs[1].instructions, "B.\n", "{text}");
        }
        let open = ab("## a\n~~~\n## b\nB.\n").unwrap_err();
        assert_eq!(open, ["a block of code that begins with ~~~ does not end"]);
        let matter = "+++\nname = \"p\"\ndescription = \"d\"\n[[spec]]\nname = \"a\"\n\
                      run = [\"true\"]\n+++\n### a\nLost.\n## a\nDo.\n";
        let lost = parse(matter).unwrap_err();
        assert!(lost.len() == 1 && lost[0].contains("in the front matter, too"), "{lost:?}");
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
