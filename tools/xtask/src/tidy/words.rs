//! Words and paths that have no place in the repository: leftovers of a machine or of its tools.
//!
//! The words are kept as hashes, so that this list does not break its own rule. Invariant: every
//! text file is read but the lock file and the licences.

use super::Violation;
use crate::workspace::{TextFile, Workspace};

/// FNV-1a of lower-case words: names of tools that write text, which say nothing about the product.
const WORDS: [u64; 8] = [
    0x2391_9480_3edf_98f7,
    0x2524_b426_1996_11b3,
    0x7f7a_7547_86a6_64b8,
    0x8a1b_8f4a_0a91_3503,
    0xa113_d274_5d70_6ce3,
    0x2ffb_778d_fae5_4384,
    0xd4c8_0b5a_1bd0_7e8e,
    0x125b_6919_1db9_4ab8,
];

/// Marks of unfinished work; an open end is an issue, not a comment.
const MARKS: [&str; 3] = ["TO\u{44}O", "FIX\u{4d}E", "X\u{58}X:"];

/// Beginnings of absolute paths that exist on one machine only.
const PATHS: [&str; 4] = ["/ho\u{6d}e/", "/ro\u{6f}t/", "/wo\u{72}k/", "/Us\u{65}rs/"];

const SKIPPED: [&str; 3] = ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT"];

pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let files = workspace.files.iter().filter(|file| !SKIPPED.contains(&file.path.as_str()));
    files.flat_map(of_file).collect()
}

fn of_file(file: &TextFile) -> Vec<Violation> {
    let mut violations = vec![];
    for (at, line) in file.text.lines().enumerate() {
        let mut broken = |message: String| {
            violations.push(Violation::new(&file.path, at + 1, message));
        };
        for mark in MARKS.iter().filter(|mark| line.contains(**mark)) {
            broken(format!("{mark}: finish it, or open an issue"));
        }
        for path in PATHS.iter().filter(|path| line.contains(**path)) {
            broken(format!("{path}: a path of one machine"));
        }
        let words = line.split(|letter: char| !letter.is_alphanumeric());
        for word in words.filter(|word| WORDS.contains(&hash(&word.to_lowercase()))) {
            broken(format!("`{word}` has no place here"));
        }
    }
    violations
}

/// FNV-1a, 64 bits.
fn hash(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |state: u64, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let file = TextFile { path: "README.md".to_owned(), text: text.to_owned() };
        of_file(&file).into_iter().map(|each| each.message).collect()
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn ordinary_text_passes() {
        assert!(messages("A queue, a lease and a journal in ./rekindle-data.").is_empty());
    }

    #[test]
    fn marks_and_paths_are_found() {
        let [mark, ..] = MARKS;
        let [path, ..] = PATHS;
        assert_eq!(messages(&format!("// {mark}: later")).len(), 1);
        assert_eq!(messages(&format!("see {path}me/x")).len(), 1);
    }

    #[test]
    fn words_are_found_whatever_their_case() {
        let word: String = ["Co", "dex"].concat();
        assert_eq!(messages(&format!("by {word}.")), [format!("`{word}` has no place here")]);
    }
}
