//! `store info`: what a store is, from its headers or from the server that has it open.
//!
//! Invariant: it changes no byte; of a store that a server holds it reads none either, because
//! files change meanwhile, and asks the server instead.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rekindle_database::{Error, store_info};
use rekindle_env::Env;
use rekindle_recovery::exit;
use serde_json::Value;

use super::Outcome;
use super::failure::Failure;
use super::http::{self, Admin};
use super::output::Out;

#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Show what a store is: identity, versions, segments, checkpoints, copies
    Info(InfoArgs),
}

#[derive(Args, Debug)]
struct InfoArgs {
    /// The store's directory, which no server has open; without it the server is asked
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StoreArgs) -> Outcome {
    let StoreCommand::Info(info) = &args.command;
    match &info.data {
        Some(data) => of_directory(data, info.json),
        None => of_server(args.admin.address(), info.json),
    }
}

fn of_directory(data: &std::path::Path, json: bool) -> Outcome {
    let info = match store_info(data, &Env::real()) {
        Err(Error::Locked(dir)) => {
            let message = format!(
                "{dir} is locked by another process; ask the server that has it open: 'rekindle \
                 store info --http HOST:PORT'"
            );
            return Err(Failure::new(exit::LOCKED, message));
        }
        other => other?,
    };
    let mut out = Out::new();
    if json {
        out.json(&info)?;
    } else {
        out.line(&info.text())?;
    }
    out.flush()?;
    Ok(info.code())
}

fn of_server(address: &str, json: bool) -> Outcome {
    let value = http::get(address, "/v1/store")?.value()?;
    let code = value.get("code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    let mut out = Out::new();
    if json {
        out.json(&value)?;
    } else {
        out.line(&lines(&value))?;
    }
    out.flush()?;
    Ok(code.unwrap_or(exit::IO))
}

/// The object of a server as lines: a name and a value each, nested ones by their path.
fn lines(value: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, value)| format!("{name:<width$}  {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&below(key), value, rows);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                flatten(&below(&index.to_string()), value, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push((name.to_owned(), text.clone())),
        other => rows.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_have_a_path() {
        let value = json!({ "a": 1, "b": { "c": "x", "d": null }, "e": [{ "f": true }] });
        assert_eq!(lines(&value), "a      1\nb.c    x\ne.0.f  true");
    }
}
