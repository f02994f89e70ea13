//! `recovery plan`, `verify`, `journal dump`: looking at a store without a server.
//!
//! Invariant: none of them changes a byte of the directory; what would be written goes to an
//! overlay in memory and is thrown away.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rekindle::boot::add_unled;
use rekindle::executors;
use rekindle::overlay;
use rekindle_database::{Database, Error, Report};
use rekindle_env::{Env, LockMode};
use rekindle_recovery::{Finding, LayerReport};
use rekindle_services::{Options as ServiceOptions, Services};

use super::Outcome;
use super::failure::Failure;
use super::output::Out;

mod dump;

#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    /// The store's directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct RecoverArgs {
    /// Say what the next start would find, decide and do; change nothing
    #[arg(long, required = true)]
    plan: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Print segments, frames, records and transactions, oldest first
    Dump(StoreArgs),
}

pub(super) fn journal(args: &JournalArgs) -> Outcome {
    let JournalCommand::Dump(args) = &args.command;
    dump::run(&args.data, args.json)
}

/// Checks every byte, and that services find what they need.
pub(super) fn verify(args: &StoreArgs) -> Outcome {
    let env = Env::real();
    let mut report = rekindle_database::verify(&args.data, &env)?;
    if report.refusal().is_none() {
        let _lock = lock(&args.data, &env)?;
        match overlay::open(&args.data, None, &env) {
            Ok(database) => add(&mut report, services(&database, &args.data, &env)?),
            Err(error) => report = refused(error, &args.data, &env)?,
        }
    }
    print(&report, args.json)
}

/// The same as `recovery plan`, under its older name.
pub(super) fn recover(args: &RecoverArgs) -> Outcome {
    assert!(args.plan, "the arguments require it");
    plan(&args.store)
}

/// A start over an overlay: what it would find, decide and do.
pub(super) fn plan(args: &StoreArgs) -> Outcome {
    let env = Env::real();
    let _lock = lock(&args.data, &env)?;
    let report = match overlay::open(&args.data, None, &env) {
        Ok(database) => {
            let mut report = database.report().clone();
            add(&mut report, services(&database, &args.data, &env)?);
            look_everywhere(&mut report, rekindle_database::verify(&args.data, &env)?);
            report
        }
        Err(error) => refused(error, &args.data, &env)?,
    };
    print(&report, args.json)
}

/// Keeps servers away for as long as it lives.
fn lock(data: &Path, env: &Env) -> Result<Option<Box<dyn rekindle_env::DirectoryLock>>, Failure> {
    match env.disk.lock(data, LockMode::Shared) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(Error::Locked(data.display().to_string()).into()),
        // Opening says better what is wrong with a directory that is not there.
        Err(_) => Ok(None),
    }
}

/// What the services would find and decide, with the commands that are left.
fn services(database: &Database, data: &Path, env: &Env) -> Result<Planned, Failure> {
    let (traces, commands) = executors::plan(env, data).map_err(Error::from)?;
    let options = ServiceOptions {
        traces,
        transcripts: Some(executors::loops(data)),
        ..ServiceOptions::default()
    };
    Ok(Services::plan(database, options).map(|mut reports| {
        reports.push(commands);
        reports
    }))
}

/// The layers of the services, or why they cannot start.
type Planned = Result<Vec<LayerReport>, rekindle_services::Error>;

/// Adds what the services would find and decide, or why they could not.
fn add(report: &mut Report, services: Planned) {
    match services {
        Ok(layers) => layers.into_iter().for_each(|layer| report.add(layer)),
        Err(error) => add_unled(report, &error),
    }
}

/// Adds what only reading every byte shows. A start does not look below its checkpoint, but a plan
/// exits as `verify` does.
fn look_everywhere(report: &mut Report, full: Report) {
    for seen in full.layers {
        let layer = report.layers.iter_mut().find(|layer| layer.layer == seen.layer);
        let Some(layer) = layer else { continue };
        for finding in seen.findings {
            if finding.verdict.is_some() && !layer.findings.contains(&finding) {
                layer.findings.push(finding);
            }
        }
    }
    let findings: Vec<Finding> = report.findings().cloned().collect();
    if report.refusal().is_none() {
        report.code = rekindle_recovery::report::exit_code(&findings);
    }
}

/// The report of a start that is refused; other errors are those of the command.
fn refused(error: Error, data: &Path, env: &Env) -> Result<Report, Failure> {
    match error {
        Error::Corrupt(report) | Error::Refused { report, .. } => Ok(*report),
        // What is of a newer program, or no store, is told by a report as well, if there is one.
        other @ Error::NotAStore(_) => {
            let report = rekindle_database::verify(data, env).ok();
            report.filter(|report| report.refusal().is_some()).ok_or_else(|| other.into())
        }
        other => Err(other.into()),
    }
}

fn print(report: &Report, json: bool) -> Outcome {
    let mut out = Out::new();
    if json {
        out.line(&report.to_json())?;
    } else {
        out.bytes(report.text().as_bytes())?;
        out.line(&report.verdict_line())?;
    }
    out.flush()?;
    Ok(report.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_recovery::exit;
    use rekindle_services::{Error, Kind};

    /// Services that cannot be recovered are in the report, which is printed like every other.
    #[test]
    fn services_that_cannot_be_looked_at_are_in_the_report() {
        for (kind, code, label) in [
            (Kind::Corrupt, exit::CORRUPT, "services-1"),
            (Kind::Io, exit::IO, "services-2"),
            (Kind::Full, exit::IO, "services-2"),
        ] {
            let mut report = Report::default();
            add(&mut report, Err(Error::new(kind, "this is why")));
            assert_eq!(report.code, code);
            let json = report.to_json();
            assert!(json.contains(label) && json.contains("this is why"), "{json}");
            let line = report.verdict_line();
            assert!(line.ends_with(&format!("(exit code {code})")), "{line}");
        }
    }
}
