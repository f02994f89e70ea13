//! The repository as the chores see it: its files, its crates, its Rust sources.
//!
//! Invariant: paths are relative to the root, with `/` between their parts, and sorted.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::Source;

/// Directories that hold nothing of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "rekindle-data"];

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    /// Relative to the root.
    pub(crate) path: String,
    /// Its text; files that are not UTF-8 are not loaded.
    pub(crate) text: String,
}

/// One crate of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Crate {
    /// The name in its manifest.
    pub(crate) name: String,
    /// The directory of its manifest.
    pub(crate) dir: String,
    /// The manifest.
    pub(crate) manifest: toml::Table,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// All text files.
    pub(crate) files: Vec<TextFile>,
    /// All crates.
    pub(crate) crates: Vec<Crate>,
    /// All Rust files that parse.
    pub(crate) sources: Vec<Source>,
    /// What could not be read, with the reason.
    pub(crate) unreadable: Vec<(String, String)>,
}

impl Workspace {
    /// Reads the repository at `root`.
    pub(crate) fn load(root: &Path) -> Result<Self, String> {
        let mut paths = vec![];
        walk(root, &mut paths).map_err(|error| format!("{}: {error}", root.display()))?;
        paths.sort();
        let mut workspace = Self::default();
        for path in paths {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let relative = relative.to_string_lossy().replace('\\', "/");
            let bytes = fs::read(&path).map_err(|error| format!("{relative}: {error}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                workspace.add(relative, text);
            }
        }
        Ok(workspace)
    }

    fn add(&mut self, path: String, text: String) {
        if let Some(dir) = path.strip_suffix("/Cargo.toml") {
            match text.parse::<toml::Table>() {
                Ok(manifest) => self.crates.extend(named(dir, manifest)),
                Err(error) => self.unreadable.push((path.clone(), error.to_string())),
            }
        }
        if path.ends_with(".rs") {
            match Source::parse(&path, &text) {
                Ok(source) => self.sources.push(source),
                Err(error) => self.unreadable.push((path.clone(), error)),
            }
        }
        self.files.push(TextFile { path, text });
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }
}

fn named(dir: &str, manifest: toml::Table) -> Option<Crate> {
    let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
    Some(Crate { name, dir: dir.to_owned(), manifest })
}

fn walk(dir: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        // In a linked worktree `.git` is a file.
        if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

/// The root of the workspace that this program was built from.
pub(crate) fn root() -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|error| format!("current directory: {error}"))?;
    let root = here.ancestors().find(|dir| {
        fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
    });
    root.map(Path::to_path_buf)
        .ok_or_else(|| format!("no workspace at or above {}", here.display()))
}

/// A small repository for the tests of the chores.
#[cfg(test)]
pub(crate) fn fixture(files: &[(&str, &str)]) -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let workspace = Workspace::load(dir.path()).expect("the fixture can be read");
    (dir, workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_text_crates_and_sources_and_skips_what_is_not_ours() {
        let (_dir, workspace) = fixture(&[
            ("Cargo.toml", "[workspace]\n"),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("crates/a/src/lib.rs", "//! A.\n"),
            ("crates/a/src/bad.rs", "fn {\n"),
            ("target/debug/x.rs", "fn {\n"),
        ]);
        let paths: Vec<_> = workspace.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["Cargo.toml", "crates/a/Cargo.toml", "crates/a/src/bad.rs", "crates/a/src/lib.rs"]
        );
        assert_eq!(workspace.crates.len(), 1);
        assert_eq!(workspace.sources.len(), 1);
        assert_eq!(workspace.unreadable.len(), 1);
        assert_eq!(workspace.text("crates/a/src/lib.rs"), Some("//! A.\n"));
    }
}
