//! Facts about one Rust file: its functions, its tests with their doc comments, its test code.
//!
//! Functions come from the syntax tree. Tests are read from the text, because the ones inside
//! macros (`proptest!`, conformance suites) are tokens to the parser and tests to everybody else.

use std::ops::RangeInclusive;

use syn::spanned::Spanned;
use syn::visit::Visit;

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// First line, of `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from there to the closing brace.
    pub(crate) lines: usize,
}

/// A function that the test harness runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestFn {
    /// Its name.
    pub(crate) name: String,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// Its doc comment, on one line.
    pub(crate) doc: String,
}

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Its functions.
    pub(crate) functions: Vec<Function>,
    /// Its tests.
    pub(crate) tests: Vec<TestFn>,
    cfg_test: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Reads one file; says why when it does not parse.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, String> {
        let file = syn::parse_file(text)
            .map_err(|error| format!("line {}: {error}", error.span().start().line))?;
        let mut facts = Facts::default();
        facts.visit_file(&file);
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            functions: facts.functions,
            tests: tests(text),
            cfg_test: facts.cfg_test,
        })
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "benches")
    }

    /// The lines that are not test code, with their numbers.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let whole = self.is_test_file();
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(move |(number, _)| {
            !whole && !self.cfg_test.iter().any(|range| range.contains(number))
        })
    }

    /// The names behind `key:` in the doc comments of tests, each with its test.
    pub(crate) fn claims<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (String, &'a TestFn)> {
        self.tests
            .iter()
            .flat_map(move |test| claimed(&test.doc, key).into_iter().map(move |name| (name, test)))
    }
}

#[derive(Default)]
struct Facts {
    functions: Vec<Function>,
    cfg_test: Vec<RangeInclusive<usize>>,
}

impl Facts {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (start, end) = (signature.span().start().line, block.span().end().line);
        let name = signature.ident.to_string();
        self.functions.push(Function { name, line: start, lines: end + 1 - start });
    }
}

impl<'ast> Visit<'ast> for Facts {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        if item.attrs.iter().any(is_cfg_test) {
            self.cfg_test.push(item.span().start().line..=item.span().end().line);
        }
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.attrs.iter().any(is_cfg_test) {
            self.cfg_test.push(item.span().start().line..=item.span().end().line);
        }
        syn::visit::visit_item_mod(self, item);
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
}

/// The tests in a text: a doc comment and attributes, one of them `test`, and then `fn`.
fn tests(text: &str) -> Vec<TestFn> {
    let mut found = vec![];
    let (mut doc, mut attributes, mut open) = (String::new(), String::new(), 0_usize);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if open > 0 || line.starts_with("#[") {
            attributes.push_str(line);
            open += line.matches('[').count();
            open = open.saturating_sub(line.matches(']').count());
        } else if let Some(comment) = line.strip_prefix("///") {
            doc.push_str(comment.trim());
            doc.push(' ');
        } else if !line.starts_with("//") {
            if let Some(name) = function_name(line).filter(|_| is_test(&attributes)) {
                found.push(TestFn { name, line: at + 1, doc: doc.trim_end().to_owned() });
            }
            doc.clear();
            attributes.clear();
        }
    }
    found
}

fn is_test(attributes: &str) -> bool {
    ["#[test]", "::test]", "::test("].iter().any(|test| attributes.contains(test))
}

/// The name in `pub async fn name(…`.
fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| {
        matches!(*word, "async" | "unsafe" | "const") || word.starts_with("pub")
    });
    if words.next() != Some("fn") {
        return None;
    }
    let name = words.next()?;
    let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    name.get(..end.unwrap_or(name.len())).map(ToOwned::to_owned)
}

/// The comma-separated names behind each `key:` in a doc comment: `proves: B4, D12.` gives both.
fn claimed(doc: &str, key: &str) -> Vec<String> {
    let marker = format!("{key}:");
    let mut names = vec![];
    let mut rest = doc;
    while let Some(at) = rest.find(&marker) {
        rest = rest.get(at + marker.len()..).unwrap_or_default();
        for part in rest.split(',') {
            let part = part.trim_start();
            let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
            let name = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
            if !is_claim(name) {
                break;
            }
            names.push(name.to_owned());
            if part.len() > name.len() {
                break;
            }
        }
    }
    names
}

/// `B4`, `S15`, `journal-3`: letters (with hyphens), then a number.
fn is_claim(name: &str) -> bool {
    let letters = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    letters.len() < name.len() && letters.starts_with(|letter: char| letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"//! A file.

/// Not a test.
fn helper() {
    let _ = 1;
}

trait Shape {
    fn area(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    /// Does it, proves: B4, D12 and
    /// more. fault: S15. produces: journal-3,
    /// journal-4
    #[test]
    fn it_works() {}

    proptest! {
        /// proves: D13
        #[test]
        fn in_a_macro(x in 0..3) {}
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "campaign"]
    async fn waits() {}
}
"#;

    fn source() -> Source {
        Source::parse("crates/a/src/lib.rs", TEXT).expect("it parses")
    }

    #[test]
    fn functions_have_their_length() {
        let functions = source().functions;
        let find = |name: &str| functions.iter().find(|each| each.name == name).cloned();
        let expected = Function { name: "helper".to_owned(), line: 4, lines: 3 };
        assert_eq!(find("helper"), Some(expected));
        assert_eq!(find("area").map(|area| area.lines), Some(3));
    }

    #[test]
    fn tests_are_found_in_macros_too() {
        let names: Vec<_> = source().tests.into_iter().map(|test| test.name).collect();
        assert_eq!(names, ["it_works", "in_a_macro", "waits"]);
    }

    #[test]
    fn claims_end_where_the_list_ends() {
        let source = source();
        let claims = |key| source.claims(key).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(claims("proves"), ["B4", "D12", "D13"]);
        assert_eq!(claims("fault"), ["S15"]);
        assert_eq!(claims("produces"), ["journal-3", "journal-4"]);
    }

    #[test]
    fn test_code_is_no_product_code() {
        let last = source().product_lines().last().map(|(number, _)| number);
        assert_eq!(last, Some(13));
        let file = Source::parse("crates/a/tests/main.rs", TEXT).expect("it parses");
        assert!(file.is_test_file());
        assert_eq!(file.product_lines().count(), 0);
    }

    #[test]
    fn what_does_not_parse_says_where() {
        let error = Source::parse("a.rs", "//! A.\nfn {").expect_err("no function");
        assert!(error.starts_with("line 2"), "{error}");
    }
}
