//! `repair`: goes on without ranges of the journal whose loss an operator accepts, or makes loops
//! again from their transcripts.
//!
//! Invariant: what is given up is exactly what was named; without that the command changes no byte.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rekindle::executors;
use rekindle::overlay;
use rekindle::repaired::{PROGRAM, Repaired, parse_range, range_text};
use rekindle_database::{Database, EngineKind, Options as DatabaseOptions, RepairOptions};
use rekindle_env::Env;
use rekindle_recovery::exit;
use rekindle_services::loops::{Rebuilt, rebuild};
use serde::Serialize;
use serde_json::json;

use super::Outcome;
use super::failure::Failure;
use super::http::{self, Admin};
use super::output::{Out, say};

/// Until a server has written the journal anew, and read every byte of the store again.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(3_600);

#[derive(Args, Debug)]
pub(super) struct RepairArgs {
    /// The store's directory; without it a server in recovery mode does it
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) admin: Admin,
    /// Log addresses whose loss is accepted, TO not included, as `verify --json` prints `from` and
    /// `to` of a corrupt finding; once for each
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    accept_loss: Vec<Range<u64>>,
    /// Make plans and executions of loops again from the transcripts in FROM (without it, those of
    /// the store), where the store knows less of them; a store that is not there is made
    #[arg(
        long,
        value_name = "FROM",
        num_args = 0..=1,
        requires = "data",
        conflicts_with = "accept_loss",
    )]
    from_transcripts: Option<Option<PathBuf>>,
    /// Why; kept in the journal and beside the originals
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Say what would be done and what would be lost; change nothing
    #[arg(long, requires = "data")]
    plan: bool,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// FROM..TO.
fn range(text: &str) -> Result<Range<u64>, String> {
    parse_range(text).ok_or_else(|| "expected FROM..TO, such as 4096..8192".to_owned())
}

pub(super) fn run(args: &RepairArgs) -> Outcome {
    if let (Some(data), Some(from)) = (&args.data, &args.from_transcripts) {
        return from_transcripts(data, from.as_deref(), args);
    }
    let done = match &args.data {
        Some(data) => here(data, args)?,
        None => there(args)?,
    };
    let mut out = Out::new();
    if args.json {
        out.json(&done)?;
    } else {
        done.text().iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    match (&args.data, args.plan) {
        (_, true) => {}
        (Some(_), false) => {
            say("repaired; 'rekindle verify' checks it, 'rekindle serve' goes on with it");
        }
        (None, false) => {
            done.warning.iter().for_each(|warning| say(warning));
            say("repaired; end that server and start it without --recovery-mode");
        }
    }
    Ok(0)
}

/// Repairs a directory that nobody serves.
fn here(data: &Path, args: &RepairArgs) -> Result<Repaired, Failure> {
    let options = RepairOptions {
        accept: args.accept_loss.clone(),
        who: who(),
        reason: args.reason.clone(),
        program: PROGRAM.to_owned(),
    };
    let env = Env::real();
    let done = if args.plan {
        rekindle_database::plan_repair(data, &options, &env)?
    } else {
        rekindle_database::repair(data, &options, &env)?
    };
    Ok(Repaired::new(done, args.plan))
}

/// Makes loops again from their transcripts.
fn from_transcripts(data: &Path, from: Option<&Path>, args: &RepairArgs) -> Outcome {
    let env = Env::real();
    let from = from.map_or_else(|| executors::loops(data), Path::to_path_buf);
    let database = if args.plan {
        overlay::open(data, None, &env)?
    } else {
        let new_engine = EngineKind::Lsm;
        let options = DatabaseOptions { new_engine, ..DatabaseOptions::default() };
        Database::open_with(data, options, env.clone())?
    };
    let rebuilt = rebuild(&database, &*env.disk, &from, &args.reason, &who())?;
    database.close()?;
    let mut out = Out::new();
    if args.json {
        out.json(&Answer { planned: args.plan, rebuilt: &rebuilt })?;
    } else {
        rebuilt_text(&rebuilt, &from).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    if !args.plan {
        say("'rekindle serve' goes on with it");
    }
    Ok(if rebuilt.corrupted_records.is_empty() { exit::CLEAN } else { exit::REFUSED })
}

/// The same, for scripts.
#[derive(Serialize)]
struct Answer<'a> {
    planned: bool,
    #[serde(flatten)]
    rebuilt: &'a Rebuilt,
}

/// What was made again, for people.
fn rebuilt_text(rebuilt: &Rebuilt, from: &Path) -> Vec<String> {
    let Rebuilt { plans, executions, events, set_aside, kept, state_hash, .. } = rebuilt;
    let mut lines = vec![
        format!("from the transcripts in {}", from.display()),
        format!("made again   {plans} plans, {executions} executions, {events} events"),
        format!("kept         {kept} executions of which the store knows as much or more"),
        format!("state hash   {state_hash} of all that the transcripts say"),
    ];
    if *set_aside > 0 {
        lines.push(format!(
            "waiting      {set_aside} executions for a person, as their last events may be \
             missing: 'rekindle review list'"
        ));
    }
    let records = rebuilt.corrupted_records.iter();
    lines.extend(records.map(|record| format!("corrupted    {record}")));
    lines
}

/// Asks a server in recovery mode.
fn there(args: &RepairArgs) -> Result<Repaired, Failure> {
    let ranges: Vec<String> = args.accept_loss.iter().map(range_text).collect();
    let reason = match args.reason.trim() {
        "" => "no reason was given",
        reason => reason,
    };
    let asked = json!({ "accept_loss": ranges, "reason": reason, "by": who() });
    let address = args.admin.address();
    let done = http::post_within(address, "/v1/repair", &asked, REPAIR_TIMEOUT)?;
    serde_json::from_value(done).map_err(|error| {
        Failure::new(exit::REFUSED, format!("{address} answered no repair: {error}"))
    })
}

/// Who runs this, as far as the environment says.
pub(super) fn who() -> String {
    let names =
        ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|it| std::env::var(it).ok());
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_addresses() {
        assert_eq!(range("4096..8192"), Ok(4096..8192));
        for wrong in ["", "..", "1..", "..2", "2..1", "2..2", "1-2", "1..=2", "-1..2", "a..b"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
