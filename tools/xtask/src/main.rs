//! `cargo xtask`: the chores of this repository, as code that is tested like the rest.
//!
//! Invariant: every chore exits 0 only when it checked something and found nothing wrong; a chore
//! that had nothing to look at fails.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a chore reads the repository, starts processes and talks to a terminal"
)]

/// Prints a line. A reader that has seen enough (`| head -1`) ends the chore without a panic.
macro_rules! say {
    ($($part:tt)*) => {
        $crate::say(&format!($($part)*))
    };
}

mod campaign;
mod docs;
mod process;
mod requirements;
mod source;
mod tidy;
mod workspace;

use std::io::Write as _;
use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <chore>

  tidy                       sizes, headers, arrows between crates, labels, sources, words
  requirements [--group B]   which test proves which point; fails on gaps in finished groups
  docs [--repo]              runs the `sh` blocks of the documents (--repo: the `sh repo` blocks;
                             --without-tests leaves `cargo test --workspace` out)
  campaign [NAME] [--seed N] crash, corruption, kill, strace, disk, planted, coverage or all
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&format!("{message}\n"));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(1);
    }
}

/// Nobody can be told that standard error is closed.
fn complain(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let root = workspace::root()?;
    match arguments {
        ["tidy"] => tidy::run(&Workspace::load(&root)?),
        ["requirements"] => requirements::run(&Workspace::load(&root)?, None),
        ["requirements", "--group", group] => {
            requirements::run(&Workspace::load(&root)?, Some(group))
        }
        ["docs"] => docs::run(&root, docs::Blocks::Folder),
        ["docs", "--repo"] => docs::run(&root, docs::Blocks::Repository),
        ["docs", "--repo", "--without-tests"] => {
            docs::run(&root, docs::Blocks::RepositoryWithoutTests)
        }
        ["campaign"] => campaign::run(&root, "all", None),
        ["campaign", "--seed", seed] => campaign::run(&root, "all", Some(seed)),
        ["campaign", name] => campaign::run(&root, name, None),
        ["campaign", name, "--seed", seed] => campaign::run(&root, name, Some(seed)),
        _ => Err(USAGE.to_owned()),
    }
}
