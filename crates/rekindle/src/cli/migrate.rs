//! `migrate`: moves the state of a store, which nobody serves, to another engine.

use std::path::PathBuf;

use clap::Args;
use rekindle_database::{EngineKind, Options};
use rekindle_env::Env;
use rekindle_recovery::exit;
use serde::Serialize;

use super::Outcome;
use super::output::Out;

#[derive(Args, Debug)]
pub(super) struct MigrateArgs {
    /// The store's directory, which no server has open
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The engine that is to hold the state: memory, lsm, or rocksdb in a program that was built
    /// with it
    #[arg(long, value_name = "ENGINE")]
    to: EngineKind,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct MigratedLine {
    from: &'static str,
    to: &'static str,
    version: u64,
    state_hash: String,
}

pub(super) fn run(args: &MigrateArgs) -> Outcome {
    let done = rekindle_database::migrate(&args.data, args.to, Options::default(), &Env::real())?;
    let line = MigratedLine {
        from: done.from.name(),
        to: done.to.name(),
        version: done.version,
        state_hash: format!("{:032x}", done.state_hash),
    };
    let mut out = Out::new();
    if args.json {
        out.json(&line)?;
    } else {
        let MigratedLine { from, to, version, state_hash } = &line;
        let what = match from == to {
            true => format!("the store is on the engine {to} already"),
            false => format!("moved from the engine {from} to {to}"),
        };
        out.line(&format!("{what}: version {version}, state hash {state_hash}"))?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}
