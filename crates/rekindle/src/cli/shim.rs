//! `rekindle shim`: the process between the server and a command. Hidden, because only the server
//! starts it.

use std::path::PathBuf;

use clap::Args;
use rekindle::shim;

/// Arguments of `shim`.
#[derive(Args, Debug)]
pub(super) struct ShimArgs {
    /// The directory of the command
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The word that names the attempt
    #[arg(long)]
    token: String,
    /// Become the command itself, under this shim
    #[arg(long, value_name = "PID")]
    second_stage: Option<u32>,
}

/// Gives the exit code.
pub(super) fn run(args: &ShimArgs) -> i32 {
    match args.second_stage {
        Some(pid) => shim::become_command(&args.dir, &args.token, pid),
        None => shim::supervise(&args.dir, &args.token),
    }
}
