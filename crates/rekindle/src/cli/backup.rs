//! `backup`, `backup verify`, `backup list`, `backup prune`, `restore`: taking, proving, removing
//! and using backups.
//!
//! Invariants: the server takes a backup, because only it knows its journal's end; everything else
//! needs no server and changes nothing but the directory that a restore is told to make, and the
//! backups that `backup prune` is told to remove.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use rekindle::backups;
use rekindle_database::{
    BackupReport, Moment, Restored, RestoredBy, list_backups, plan_prune, prune_backups,
    restore_as, verify_backup,
};
use rekindle_env::Env;
use rekindle_recovery::exit;
use rekindle_services::queues::{QueueCount, census};
use serde_json::{Value, json};

use super::Outcome;
use super::failure::Failure;
use super::http::{self, Admin};
use super::output::{Out, say};
use super::repair::who;

/// However large the store is, and however slow the place: a day.
const TAKING: Duration = Duration::from_secs(86_400);

#[derive(Args, Debug)]
#[command(subcommand_negates_reqs = true)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// Directory for the backups, on the server's machine; the same one each time
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    /// Why; kept in the audit log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<BackupCommand>,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Read every byte of all backups in a directory, and prove that each can be restored
    Verify(FolderArgs),
    /// List the backups in a directory
    List(FolderArgs),
    /// Remove the oldest backups of a directory, and the files that no other one needs
    Prune(PruneArgs),
}

#[derive(Args, Debug)]
struct FolderArgs {
    /// The directory of the backups
    #[arg(value_name = "DIR", required_unless_present = "from")]
    dir: Option<PathBuf>,
    /// The same as an option
    #[arg(long, visible_alias = "to", value_name = "DIR", conflicts_with = "dir")]
    from: Option<PathBuf>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl FolderArgs {
    fn dir(&self) -> &Path {
        let given = self.dir.as_deref().or(self.from.as_deref());
        given.expect("the arguments require one of them")
    }
}

#[derive(Args, Debug)]
struct PruneArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// How many of the newest backups stay
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keep: u64,
    /// Say what would go; change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    /// The directory of the backups
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The directory of the new store; absent or empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A moment: a position, version:N, a time such as 2026-11-25T22:00:00Z, or @MILLISECONDS
    /// [default: all of the newest backup]
    #[arg(long, value_name = "MOMENT")]
    at: Option<Moment>,
    /// Why; kept in the audit log of the new store
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &BackupArgs) -> Outcome {
    match (&args.command, &args.to) {
        (Some(BackupCommand::Verify(folder)), _) => verify(folder),
        (Some(BackupCommand::List(folder)), _) => list(folder),
        (Some(BackupCommand::Prune(args)), _) => prune(args),
        (None, Some(to)) => take(args, to),
        (None, None) => Err(Failure::new(exit::USAGE, "write where to: --to DIR")),
    }
}

fn take(args: &BackupArgs, to: &Path) -> Outcome {
    let asked = json!({ "to": http::absolute(to)?, "reason": args.reason, "by": who() });
    let value = http::post_within(args.admin.address(), "/v1/backups", &asked, TAKING)?;
    let mut out = Out::new();
    if args.json {
        out.json(&value)?;
    } else {
        out.line(&line_of(&value))?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (linked, copied, kept) = (number("linked"), number("copied"), number("kept"));
        let bytes = number("copied_bytes");
        out.line(&format!("{linked} linked, {copied} copied ({bytes} bytes), {kept} kept"))?;
    }
    out.flush()?;
    if value.get("continuous") == Some(&Value::Bool(false)) {
        say("the server had given back journal since the backup before: the moments in between \
             cannot be restored. Take backups more often");
    }
    Ok(exit::CLEAN)
}

fn list(args: &FolderArgs) -> Outcome {
    let manifests = list_backups(args.dir(), &Env::real())?;
    let backups: Vec<Value> = manifests.iter().map(backups::summary).collect();
    let mut out = Out::new();
    if args.json {
        out.json(&json!({ "backups": backups }))?;
    } else {
        for backup in &backups {
            out.line(&line_of(backup))?;
        }
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

fn prune(args: &PruneArgs) -> Outcome {
    let (dir, env) = (args.folder.dir(), Env::real());
    let pruned = match args.dry_run {
        true => plan_prune(dir, args.keep, &env)?,
        false => prune_backups(dir, args.keep, &env)?,
    };
    let mut out = Out::new();
    if args.folder.json {
        out.json(&backups::pruned(&pruned, args.dry_run))?;
    } else {
        let (goes, stays) = match args.dry_run {
            true => ("would be removed", "would stay"),
            false => ("removed", "stays"),
        };
        for manifest in &pruned.removed {
            out.line(&format!("{goes}: {}", line_of(&backups::summary(manifest))))?;
        }
        for manifest in &pruned.kept {
            out.line(&format!("{stays}: {}", line_of(&backups::summary(manifest))))?;
        }
        out.line(&format!("{goes}: {} files, {} bytes", pruned.files.len(), pruned.bytes))?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

fn verify(args: &FolderArgs) -> Outcome {
    let report = verify_backup(args.dir(), &Env::real())?;
    let mut out = Out::new();
    if args.json {
        out.json(&backups::verified(&report))?;
    } else {
        print(&mut out, &report)?;
    }
    out.flush()?;
    Ok(report.code())
}

fn print(out: &mut Out, report: &BackupReport) -> Result<(), Failure> {
    for finding in &report.findings {
        out.line(&format!("damaged: {finding}"))?;
    }
    for (manifest, restorable) in &report.backups {
        let word = if *restorable { "can be restored" } else { "CANNOT be restored" };
        out.line(&format!("{}: {word}", line_of(&backups::summary(manifest))))?;
    }
    let (files, bytes) = (report.files, report.bytes);
    out.line(&match report.findings.len() {
        0 => format!("whole: {files} files, {bytes} bytes"),
        count => format!("{count} findings in {files} files, {bytes} bytes"),
    })?;
    Ok(())
}

/// A backup in one line.
fn line_of(backup: &Value) -> String {
    let number = |name: &str| backup.get(name).and_then(Value::as_u64).unwrap_or(0);
    let until = number("until_ms").max(number("log_time_ms"));
    let place = backup.get("to").and_then(Value::as_str);
    let place = place.map(|place| format!(" in {place}")).unwrap_or_default();
    format!(
        "backup {}{place}: version {}, position {}, up to {}, {} bytes",
        number("number"),
        number("version"),
        number("position"),
        rekindle_database::rfc3339(until),
        number("bytes")
    )
}

pub(super) fn restore_to(args: &RestoreArgs) -> Outcome {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| Failure::io(&format!("the path {}", path.display()), &error))
    };
    let (from, to) = (absolute(&args.from)?, absolute(&args.to)?);
    let by = RestoredBy { who: who(), reason: args.reason.clone() };
    let restored = restore_as(&from, &to, args.at.unwrap_or_default(), &by, &Env::real())?;
    let queues = census(&restored.view).map_err(|error| {
        let message = format!("the store is restored, but its queues cannot be counted: {error}");
        Failure::new(exit::CORRUPT, message)
    })?;
    let mut out = Out::new();
    if args.json {
        out.json(&report(&from, &to, &restored, &queues))?;
    } else {
        for line in lines(&to, &restored, &queues) {
            out.line(&line)?;
        }
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

fn report(from: &Path, to: &Path, restored: &Restored, queues: &[QueueCount]) -> Value {
    let keyspaces = restored.keyspaces.iter();
    let keyspaces: Vec<Value> =
        keyspaces.map(|(name, keys)| json!({ "name": name, "keys": keys })).collect();
    let queues = queues.iter();
    let queues: Vec<Value> =
        queues.map(|queue| json!({ "name": queue.name, "messages": queue.messages })).collect();
    json!({
        "from": from.display().to_string(),
        "to": to.display().to_string(),
        "backup": restored.backup,
        "position": restored.position,
        "version": restored.version,
        "log_time_ms": restored.log_time_ms,
        "engine": restored.engine.name(),
        "store_id": restored.store_id,
        "lineage": restored.lineage,
        "next_incarnation": restored.next_incarnation,
        "next_position": restored.next_position,
        "next_version": restored.next_version,
        "replayed": restored.replayed,
        "keyspaces": keyspaces,
        "queues": queues,
        "state_hash": format!("{:032x}", restored.state_hash),
    })
}

fn lines(to: &Path, restored: &Restored, queues: &[QueueCount]) -> Vec<String> {
    let Restored { backup, version, position, log_time_ms, .. } = restored;
    let time = rekindle_database::rfc3339(*log_time_ms);
    let to = to.display();
    let mut lines = vec![
        format!("restored to {to}"),
        format!("backup     {backup}"),
        format!("version    {version} (the next one is {})", restored.next_version),
        format!("position   {position} (the next one is {})", restored.next_position),
        format!("log time   {time}"),
        format!("store      {}", restored.store_id),
        format!("engine     {}", restored.engine),
        format!("lineage    {} (new)", restored.lineage),
        format!("state      {:032x}", restored.state_hash),
    ];
    let keyspaces = restored.keyspaces.iter();
    lines.extend(keyspaces.map(|(name, keys)| format!("keyspace   {name}: {keys} keys")));
    let queues = queues.iter();
    lines.extend(queues.map(|it| format!("queue      {}: {} messages", it.name, it.messages)));
    lines.push(format!("next: rekindle serve --data {to}"));
    lines
}
