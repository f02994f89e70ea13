//! `salvage`: writes everything that can be read of a store as lines of JSON.
//!
//! Invariant: the store is only read, whatever its state.

use std::path::PathBuf;

use clap::Args;
use rekindle_env::Env;
use rekindle_recovery::exit;

use super::Outcome;
use super::output::{Out, say};

#[derive(Args, Debug)]
pub(super) struct SalvageArgs {
    /// The store's directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The folder to write to: new, empty, or with an unfinished salvage
    #[arg(long, value_name = "OUT")]
    export: PathBuf,
    /// One line of JSON: what `salvage.json` says
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SalvageArgs) -> Outcome {
    let done = rekindle_database::salvage(&args.data, &args.export, &Env::real())?;
    let mut out = Out::new();
    if args.json {
        out.line(&done.json)?;
    } else {
        for file in &done.files {
            let name = file.name.as_deref().map(|name| name.escape_ascii().to_string());
            let name = name.unwrap_or_else(|| format!("number {}", file.keyspace));
            out.line(&format!("{}: {} rows of keyspace {name}", file.file, file.rows))?;
        }
        let begun = match done.checkpoint {
            Some(id) => format!("checkpoint {id} and the journal"),
            None => "the journal".to_owned(),
        };
        out.line(&format!("version {}, from {begun}", done.version))?;
    }
    out.flush()?;
    for line in &done.unreadable {
        say(&format!("not readable: {line}"));
    }
    if done.whole {
        return Ok(exit::CLEAN);
    }
    say("rows may be missing, or older than the last one that was acknowledged");
    Ok(exit::REFUSED)
}
