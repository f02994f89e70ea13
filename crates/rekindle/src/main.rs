//! The program `rekindle`: arguments to a command, its outcome to an exit code.
//!
//! Invariant: nothing but this function decides the exit code of the process.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = cli::run();
    // Exit codes are those of docs/reference.md, all below 128.
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
