//! `rekindle serve`: from arguments to an exit code.
//!
//! Invariant: every way out of this function is one of the exit codes of docs/reference.md.

use std::path::PathBuf;

/// Arguments of `rekindle serve`. What is not given comes from the environment
/// (`REKINDLE__SECTION__KEY`), then from the configuration file, then from the defaults.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// The store's directory; made when missing [default: ./rekindle-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the gRPC front; port 0 picks a free one [default: 127.0.0.1:7611]
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc: Option<String>,
    /// Address of the HTTP front; port 0 picks a free one [default: 127.0.0.1:7610]
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// What an acknowledgement promises: strict, batched or relaxed [default: strict]
    #[arg(long, value_name = "MODE")]
    pub durability: Option<String>,
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen on an address that other machines can reach, although nobody is asked who they are
    #[arg(long)]
    pub insecure_allow_remote: bool,
}

/// Serves until a signal or a failure; returns the exit code.
#[must_use]
pub fn run(args: ServeArgs) -> i32 {
    drop(args);
    rekindle_recovery::exit::CONFIG
}
