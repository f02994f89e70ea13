//! `runs`: when each run of a server on a store began and ended, and why; of a running server, or
//! of a directory whose server does not start.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rekindle::runs::{RunRecord, files};
use rekindle_env::Env;
use rekindle_recovery::exit;
use rekindle_recovery::report::utc;
use serde_json::Value;

use super::failure::Failure;
use super::http::{self, Admin};
use super::output::{Out, say, table};
use super::{Outcome, page};

#[derive(Args, Debug)]
pub(super) struct RunsArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(subcommand)]
    command: RunsCommand,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// The last runs, newest first
    List {
        #[command(flatten)]
        source: Source,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = page)]
        limit: u64,
        /// One line of JSON for each
        #[arg(long)]
        json: bool,
    },
    /// One run [default: the newest]
    Show {
        /// Its number
        number: Option<u64>,
        #[command(flatten)]
        source: Source,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct Source {
    /// A store's directory, read without a server
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(args: &RunsArgs) -> Outcome {
    let mut out = Out::new();
    match &args.command {
        RunsCommand::List { source, limit, json } => {
            let runs = list(args, source, *limit)?;
            if *json {
                runs.iter().try_for_each(|run| out.json(run))?;
            } else {
                out.line(&text(&runs))?;
            }
        }
        RunsCommand::Show { number, source, json } => {
            let run = show(args, source, *number)?;
            if *json {
                out.json(&run)?;
            } else {
                out.line(&text(std::slice::from_ref(&run)))?;
            }
        }
    }
    out.flush()?;
    Ok(0)
}

fn list(args: &RunsArgs, source: &Source, limit: u64) -> Result<Vec<RunRecord>, Failure> {
    let (runs, unreadable) = match &source.data {
        None => {
            let path = format!("/v1/runs?limit={limit}");
            let answer = http::get(args.admin.address(), &path)?.value()?;
            let unreadable = answer.get("unreadable").and_then(Value::as_u64).unwrap_or(0);
            (parsed(answer.get("runs").cloned().unwrap_or_default())?, unreadable)
        }
        Some(data) => {
            let limit = usize::try_from(limit).unwrap_or(files::KEPT);
            let (mut runs, unreadable) = files::last(&Env::real(), data, limit)
                .map_err(|error| Failure::io("cannot read the runs", &error))?;
            runs.reverse();
            (runs, unreadable as u64)
        }
    };
    if unreadable > 0 {
        say(&format!("{unreadable} records cannot be read; they are left as they are"));
    }
    Ok(runs)
}

fn show(args: &RunsArgs, source: &Source, number: Option<u64>) -> Result<RunRecord, Failure> {
    let Some(number) = number else {
        let newest = list(args, source, 1)?.into_iter().next();
        return newest.ok_or_else(|| Failure::new(exit::REFUSED, "no run is recorded yet"));
    };
    match &source.data {
        None => {
            let path = format!("/v1/runs/{number}");
            parsed(http::get(args.admin.address(), &path)?.value()?)
        }
        Some(data) => files::read(&Env::real(), data, number).map_err(|error| {
            let message = format!("run {number} is not recorded here: {error}");
            Failure::new(exit::REFUSED, message)
        }),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        let message = format!("the server gave no run records: {error}");
        Failure::new(exit::REFUSED, message)
    })
}

/// Runs for people.
fn text(runs: &[RunRecord]) -> String {
    let heading = ["RUN", "STARTED", "END", "CODE", "SERVED", "VERSION", "REASON"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for run in runs {
        let served = match (run.ready_wall_ms, run.over_wall_ms()) {
            (None, _) => "-".to_owned(),
            (Some(_), None) => "yes".to_owned(),
            (Some(ready), Some(over)) => {
                let most = if run.ended_wall_ms.is_some() { "" } else { "< " };
                format!("{most}{} s", over.saturating_sub(ready) / 1_000)
            }
        };
        rows.push(vec![
            run.number.to_string(),
            utc(run.started_wall_ms),
            run.end.as_str().to_owned(),
            run.code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            served,
            run.version.clone(),
            run.reason.clone(),
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle::runs::End;

    #[test]
    fn people_read_ends_and_reasons() {
        let killed = RunRecord {
            number: 3,
            version: "0.1.0".to_owned(),
            started_wall_ms: 1_000,
            ready_wall_ms: Some(2_000),
            noticed_wall_ms: Some(9_000),
            end: End::Killed,
            reason: "the process died without a word".to_owned(),
            ..RunRecord::default()
        };
        let text = text(&[killed]);
        let words: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(words[0], "3");
        assert!(text.contains("1970-01-01 00:00:01") && text.contains("< 7 s"), "{text}");
        assert!(text.ends_with("the process died without a word"), "{text}");
    }
}
