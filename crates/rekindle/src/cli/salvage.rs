//! `salvage`: writes everything that can be read of a store as lines of JSON.
//!
//! Invariant: the store is only read, whatever its state.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rekindle_env::Env;
use rekindle_recovery::exit;
use serde_json::{Value, json};

use super::Outcome;
use super::failure::Failure;
use super::http::{self, Admin};
use super::output::{Out, say};

/// However large the store is, and however slow the place: a day.
const SALVAGE_TIMEOUT: Duration = Duration::from_secs(86_400);

#[derive(Args, Debug)]
pub(super) struct SalvageArgs {
    /// The store's directory; without it a server in recovery mode does it
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) admin: Admin,
    /// The folder to write to: new, empty, or with an unfinished salvage
    #[arg(long, value_name = "OUT")]
    export: PathBuf,
    /// One line of JSON: what `salvage.json` says
    #[arg(long)]
    json: bool,
}

/// A salvage, wherever it was done.
struct Done {
    json: String,
    whole: bool,
    lines: Vec<String>,
    unreadable: Vec<String>,
}

pub(super) fn run(args: &SalvageArgs) -> Outcome {
    let done = match &args.data {
        Some(data) => here(data, &args.export)?,
        None => there(args.admin.address(), &args.export)?,
    };
    let mut out = Out::new();
    if args.json {
        out.line(&done.json)?;
    } else {
        done.lines.iter().try_for_each(|line| out.line(line))?;
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

/// From a directory that nobody serves.
fn here(data: &Path, export: &Path) -> Result<Done, Failure> {
    let done = rekindle_database::salvage(data, export, &Env::real())?;
    summed_up(done.json)
}

/// Asks a server in recovery mode.
fn there(address: &str, export: &Path) -> Result<Done, Failure> {
    let asked = json!({ "export": http::absolute(export)? });
    summed_up(http::post_within(address, "/v1/salvage", &asked, SALVAGE_TIMEOUT)?.to_string())
}

/// What `salvage.json` says, for people.
fn summed_up(json: String) -> Result<Done, Failure> {
    let told: Value = serde_json::from_str(&json).map_err(|error| {
        Failure::new(exit::REFUSED, format!("what a salvage says of itself is no JSON: {error}"))
    })?;
    let all = |name: &str| told.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = |file: &Value| {
        let named = |name: &str| file.get(name).filter(|value| !value.is_null()).map(text);
        let numbered = || format!("number {}", number(file, "number").unwrap_or(0));
        let (name, rows) = (named("file").unwrap_or_default(), number(file, "rows").unwrap_or(0));
        format!("{name}: {rows} rows of keyspace {}", named("name").unwrap_or_else(numbered))
    };
    let mut lines: Vec<String> = all("keyspaces").iter().map(line).collect();
    let begun = match number(&told, "checkpoint") {
        Some(id) => format!("checkpoint {id} and the journal"),
        None => "the journal".to_owned(),
    };
    lines.push(format!("version {}, from {begun}", number(&told, "version").unwrap_or(0)));
    let unreadable = all("unreadable").iter().map(text).collect();
    let whole = told.get("whole") == Some(&Value::Bool(true));
    Ok(Done { whole, lines, unreadable, json })
}
