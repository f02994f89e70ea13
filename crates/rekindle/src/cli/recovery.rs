//! `recovery list | show | plan`: what starts found and did, and what the next one would.
//!
//! The reports come from a server (`--http`), or without one from its directory (`--data`), where
//! they are files that are replaced whole. Reading them takes no lock and changes no byte.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rekindle::reports;
use rekindle_env::Env;
use rekindle_recovery::report::{StoredReport, utc};
use rekindle_recovery::{exit, store};
use serde_json::Value;

use super::Outcome;
use super::failure::Failure;
use super::http::{self, Admin};
use super::inspect::{self, StoreArgs};
use super::output::{Out, say, table};

#[derive(Args, Debug)]
pub(super) struct RecoveryArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(subcommand)]
    command: RecoveryCommand,
}

#[derive(Debug, Subcommand)]
enum RecoveryCommand {
    /// List the reports of the last starts, newest first
    List(ListArgs),
    /// Show one report
    Show(ShowArgs),
    /// Say what the next start would find, decide and do; change nothing
    Plan(StoreArgs),
}

#[derive(Args, Debug)]
struct Source {
    /// Read the store's directory instead of asking a server
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    source: Source,
    /// One object per line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// The report's number; the newest where none is given
    #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    #[command(flatten)]
    source: Source,
    /// One line of JSON
    #[arg(long, conflicts_with = "md")]
    json: bool,
    /// An incident report in Markdown
    #[arg(long)]
    md: bool,
}

impl RecoveryArgs {
    /// Whether a directory is read, so that no server is asked.
    pub(super) fn reads_directory(&self) -> bool {
        match &self.command {
            RecoveryCommand::List(args) => args.source.data.is_some(),
            RecoveryCommand::Show(args) => args.source.data.is_some(),
            RecoveryCommand::Plan(_) => true,
        }
    }
}

pub(super) fn run(args: &RecoveryArgs) -> Outcome {
    match &args.command {
        RecoveryCommand::List(list_args) => list(list_args, &args.admin),
        RecoveryCommand::Show(show_args) => show(show_args, &args.admin),
        RecoveryCommand::Plan(store_args) => inspect::plan(store_args),
    }
}

fn list(args: &ListArgs, admin: &Admin) -> Outcome {
    let page = match &args.source.data {
        Some(data) => {
            let env = store_of(data)?;
            let page = reports::list(&env, data, None, reports::KEPT);
            let page = page.map_err(|error| Failure::io("cannot list the reports", &error))?;
            serde_json::to_value(page).map_err(|error| Failure::io("no JSON", &error))?
        }
        None => http::get(admin.address(), "/v1/recoveries")?.value()?,
    };
    let listed = page.get("recoveries").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut out = Out::new();
    if args.json {
        for one in &listed {
            out.json(one)?;
        }
    } else if listed.is_empty() {
        say("no recovery has been reported yet");
    } else {
        let heading = ["REPORT", "RUN", "WHEN", "MS", "CODE", "FINDINGS", "ACTIONS", "SUMMARY"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(listed.iter().map(row));
        out.line(&table(&rows))?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

/// A report as a row for people.
fn row(one: &Value) -> Vec<String> {
    let number = |name: &str| one.get(name).and_then(Value::as_u64);
    let shown = |name: &str| number(name).map_or_else(|| "-".to_owned(), |it| it.to_string());
    let text = |name: &str| one.get(name).and_then(Value::as_str).map(one_line);
    let run = match number("incarnation") {
        Some(run) if run > 0 => run.to_string(),
        _ => "-".to_owned(),
    };
    vec![
        shown("number"),
        run,
        number("started_wall_ms").map_or_else(|| "-".to_owned(), utc),
        number("micros").map_or_else(|| "-".to_owned(), |micros| (micros / 1_000).to_string()),
        shown("code"),
        shown("findings"),
        shown("actions"),
        text("summary").or_else(|| text("error")).unwrap_or_default(),
    ]
}

/// Without what would move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

fn show(args: &ShowArgs, admin: &Admin) -> Outcome {
    let value = match &args.source.data {
        Some(data) => from_directory(data, args.number)?,
        None => {
            let address = admin.address();
            let path = match args.number {
                Some(number) => format!("/v1/recoveries/{number}"),
                None => newest_path(address)?,
            };
            http::get(address, &path)?.value()?
        }
    };
    let mut out = Out::new();
    if args.json {
        out.json(&value)?;
    } else {
        let bytes = value.to_string();
        let report = StoredReport::parse(bytes.as_bytes())
            .map_err(|error| Failure::new(exit::REFUSED, error.to_string()))?;
        let text = if args.md { report.markdown() } else { report.text() };
        out.bytes(text.as_bytes())?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

/// The newest report that a server has: of this run, or while it starts of the one before.
fn newest_path(address: &str) -> Result<String, Failure> {
    let page = http::get(address, "/v1/recoveries?limit=1")?.value()?;
    let number = page.pointer("/recoveries/0/number").and_then(Value::as_u64);
    let number = number.ok_or_else(none)?;
    Ok(format!("/v1/recoveries/{number}"))
}

fn from_directory(data: &Path, number: Option<u64>) -> Result<Value, Failure> {
    let env = store_of(data)?;
    let number = match number {
        Some(number) => number,
        None => {
            let newest = reports::newest(&env, data);
            let newest = newest.map_err(|error| Failure::io("cannot list the reports", &error))?;
            newest.ok_or_else(none)?
        }
    };
    let read = reports::read(&env, data, number);
    read.map(|(_, value)| value).map_err(|it| Failure::new(exit::REFUSED, it.reason))
}

fn none() -> Failure {
    Failure::new(exit::REFUSED, "no recovery has been reported yet")
}

/// The machine, if this directory is a store.
fn store_of(data: &Path) -> Result<Env, Failure> {
    let env = Env::real();
    let is_there = |name: &str| matches!(env.disk.stat(&data.join(name)), Ok(Some(_)));
    if store::COPIES.into_iter().any(is_there) {
        return Ok(env);
    }
    Err(Failure::new(exit::CONFIG, format!("{} is no store", data.display())))
}
