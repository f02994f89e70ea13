//! `cargo xtask docs`: what the documents tell a reader to type, typed.
//!
//! A block ```` ```sh ```` of README.md or docs/ runs in a fresh temporary folder with the built
//! `rekindle` on the PATH, and so does each script of examples/, and the `run.sh` of each folder
//! there; their servers die with them. A block ```` ```sh repo ```` holds cargo commands and runs
//! in the clone, with `--repo` only. Other blocks (`text`, `toml`…) are not run.
//! Invariant: a block passes when `sh -eu` ends with 0 within its deadline.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process;

/// Long enough for a block with a demo in it, short enough to notice a block that waits for ever.
const FOLDER_DEADLINE: Duration = Duration::from_secs(120);

/// Blocks in the clone build and test.
const REPOSITORY_DEADLINE: Duration = Duration::from_secs(3600);

/// Which blocks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// ```` ```sh ````
    Folder,
    /// ```` ```sh repo ````
    Repository,
    /// The same without the tests, which the gate runs itself.
    RepositoryWithoutTests,
}

/// The README's test command.
const TEST_COMMAND: &str = "cargo test --workspace";

/// A block of a document.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    script: String,
}

/// Runs all blocks of one kind; fails when one does, or when there is none.
pub(crate) fn run(root: &Path, blocks: Blocks) -> Result<(), String> {
    let program = match blocks {
        Blocks::Folder => Some(build(root)?),
        Blocks::Repository | Blocks::RepositoryWithoutTests => None,
    };
    let mut count = 0;
    let mut failed = vec![];
    for document in documents(root)? {
        let text = fs::read_to_string(&document)
            .map_err(|error| format!("{}: {error}", document.display()))?;
        let name = document.strip_prefix(root).unwrap_or(&document).display().to_string();
        for block in extract(&text, blocks) {
            count += 1;
            let place = format!("{name}:{}", block.line);
            let start = Instant::now();
            match run_block(root, program.as_deref(), &block) {
                Ok(()) => say!("docs: {place} passed in {:.1?}", start.elapsed()),
                Err(message) => {
                    say!("docs: {place} FAILED\n{message}");
                    failed.push(place);
                }
            }
        }
    }
    if let Some(program) = &program {
        for example in examples(root)? {
            count += 1;
            let script = fs::read_to_string(&example)
                .map_err(|error| format!("{}: {error}", example.display()))?;
            let place = example.strip_prefix(root).unwrap_or(&example).display().to_string();
            // Where the files are that stand beside it.
            let script = format!("EXAMPLES='{}'\n{script}", root.join("examples").display());
            let start = Instant::now();
            match run_block(root, Some(program), &Block { line: 1, script }) {
                Ok(()) => say!("docs: {place} passed in {:.1?}", start.elapsed()),
                Err(message) => {
                    say!("docs: {place} FAILED\n{message}");
                    failed.push(place);
                }
            }
        }
    }
    match (count, failed.is_empty()) {
        (0, _) => Err("docs: no blocks to run".to_owned()),
        (_, false) => Err(format!("docs: failed: {}", failed.join(", "))),
        (count, true) => {
            say!("docs: {count} blocks passed");
            Ok(())
        }
    }
}

/// README.md and every document.
fn documents(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = files(&root.join("docs"), "md")?;
    found.extend(Some(root.join("README.md")).filter(|path| path.exists()));
    found.sort();
    Ok(found)
}

/// The examples that are scripts, which run as blocks do; of a folder it is its `run.sh`.
fn examples(root: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = root.join("examples");
    if !folder.exists() {
        return Ok(vec![]);
    }
    let mut found = files(&folder, "sh")?;
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        found.extend(Some(entry.path().join("run.sh")).filter(|path| path.exists()));
    }
    found.sort();
    Ok(found)
}

/// The files of a folder with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let named = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = vec![];
    for entry in fs::read_dir(folder).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The blocks of one kind, with the lines on which they begin.
fn extract(text: &str, blocks: Blocks) -> Vec<Block> {
    let wanted = match blocks {
        Blocks::Folder => "sh",
        Blocks::Repository | Blocks::RepositoryWithoutTests => "sh repo",
    };
    let left_out =
        |line: &str| blocks == Blocks::RepositoryWithoutTests && line.trim() == TEST_COMMAND;
    let mut found: Vec<Block> = vec![];
    let mut fence: Option<bool> = None;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), fence) {
            (Some(info), None) => {
                fence = Some(info.trim() == wanted);
                if info.trim() == wanted {
                    found.push(Block { line: at + 1, script: String::new() });
                }
            }
            (Some(_), Some(_)) => fence = None,
            (None, Some(true)) if !left_out(line) => {
                if let Some(block) = found.last_mut() {
                    block.script.push_str(line);
                    block.script.push('\n');
                }
            }
            (None, _) => {}
        }
    }
    found
}

fn run_block(root: &Path, program: Option<&Path>, block: &Block) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", &block.script]);
    let deadline = match program {
        Some(program) => {
            command.current_dir(folder.path()).env("HOME", folder.path());
            command.env("PATH", path_with(program)?);
            FOLDER_DEADLINE
        }
        None => {
            command.current_dir(root);
            REPOSITORY_DEADLINE
        }
    };
    let ended = process::run(&mut command, deadline, program.is_none())?;
    if ended.success() {
        return Ok(());
    }
    Err(format!("{}\n{}\n{}", block.script.trim_end(), ended.how(), ended.output))
}

/// The PATH with the folder of the program in front.
fn path_with(program: &Path) -> Result<OsString, String> {
    let folder = program.parent().ok_or("the program has no folder")?.to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).map_err(|error| format!("PATH: {error}"))
}

/// Builds the program and says where it is.
fn build(root: &Path) -> Result<PathBuf, String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--package", "rekindle", "--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo build: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut programs = messages.filter_map(|message: serde_json::Value| {
        let program = message.get("executable")?.as_str()?;
        program.ends_with("/rekindle").then(|| PathBuf::from(program))
    });
    match (output.status.success(), programs.next_back()) {
        (true, Some(program)) => Ok(program),
        _ => Err("cargo build --package rekindle gave no program".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A\n```sh\nrekindle --version\necho b\n```\n```text\nnot run\n```\n\
                        ```sh repo\ncargo test --workspace\n```\n```\n```\n```sh\ntrue\n```\n";

    #[test]
    fn blocks_are_told_apart() {
        let block = |line, script: &str| Block { line, script: script.to_owned() };
        assert_eq!(
            extract(TEXT, Blocks::Folder),
            [block(2, "rekindle --version\necho b\n"), block(14, "true\n")]
        );
        let tests = format!("{TEST_COMMAND}\n");
        assert_eq!(extract(TEXT, Blocks::Repository), [block(9, &tests)]);
        assert_eq!(extract(TEXT, Blocks::RepositoryWithoutTests), [block(9, "")]);
    }

    #[test]
    fn a_block_runs_in_an_empty_folder_and_stops_at_the_first_error() {
        let root = tempfile::tempdir().expect("a folder");
        let program = root.path().join("rekindle");
        let run = |script: &str| {
            let block = Block { line: 1, script: script.to_owned() };
            run_block(root.path(), Some(&program), &block)
        };
        assert_eq!(run("test -z \"$(ls -A)\"\necho x > y\ntest -f y\n"), Ok(()));
        let error = run("echo before\nfalse\necho after\n").expect_err("false fails");
        assert!(error.contains("\nbefore\n") && !error.ends_with("after\n"), "{error}");
    }

    #[test]
    fn the_clone_is_where_repository_blocks_run() {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("here"), "").expect("a file");
        let block = Block { line: 1, script: "test -f here".to_owned() };
        assert_eq!(run_block(root.path(), None, &block), Ok(()));
    }

    #[test]
    fn documents_are_the_readme_and_the_folder() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("docs")).expect("a folder");
        for name in ["README.md", "docs/a.md", "docs/b.toml"] {
            fs::write(root.path().join(name), "").expect("a file");
        }
        let found = documents(root.path()).expect("both exist");
        assert_eq!(found, [root.path().join("README.md"), root.path().join("docs/a.md")]);
    }

    #[test]
    fn examples_are_scripts_and_what_folders_run() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(examples(root.path()), Ok(vec![]));
        fs::create_dir_all(root.path().join("examples/b")).expect("a folder");
        fs::create_dir(root.path().join("examples/d")).expect("a folder");
        for name in ["a.sh", "a.json", "b/run.sh", "b/agent.sh", "c.sh"] {
            fs::write(root.path().join("examples").join(name), "").expect("a file");
        }
        let wanted =
            ["a.sh", "b/run.sh", "c.sh"].map(|name| root.path().join("examples").join(name));
        assert_eq!(examples(root.path()), Ok(wanted.to_vec()));
    }
}
