//! `demo crash`: starts a server, sends to it, kills it under load, starts it again, and counts.
//!
//! Invariant: the verdict comes from what the client was told (acknowledged or not) and from what a
//! consumer then receives; the server's own word is printed beside it, not believed.

mod check;
mod load;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use rekindle_client::{Client, QueueDefinition, SenderOptions};
use rekindle_recovery::exit;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::failure::Failure;
use super::output::{Out, say};
use super::{Outcome, report};
use check::Received;
use load::{Load, Sent};
use server::Server;

const QUEUE: &str = "demo";
/// Longer than the demo: a message that comes twice comes twice from the queue, not from a lease.
const VISIBILITY_MS: u64 = 600_000;
/// The kill comes when this many are acknowledged, or when the time below is over.
const ACKED_BEFORE_KILL: u64 = 50_000;
const LOAD_BEFORE_KILL: Duration = Duration::from_secs(2);
/// Sending goes on for this long after the first acknowledgement of the new process.
const LOAD_AFTER_RESTART: Duration = Duration::from_millis(500);
/// A message is sent again for this long; the restart takes a fraction of it.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    #[command(subcommand)]
    command: DemoCommand,
}

#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// SIGKILL a server under load, restart it, and prove that nothing acknowledged is lost
    Crash(CrashArgs),
}

#[derive(Args, Debug)]
struct CrashArgs {
    /// One line of JSON
    #[arg(long)]
    json: bool,
    /// Keep the store and the logs in this directory, which must be new or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What happened, as scripts read it.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    acknowledged: u64,
    acknowledged_before_kill: u64,
    in_flight_at_kill: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    unknown: u64,
    load_ms: u64,
    ready_after_kill_ms: u64,
    acknowledging_after_kill_ms: u64,
    seconds: f64,
    recovery: Value,
}

pub(super) async fn run(args: DemoArgs) -> Outcome {
    let DemoCommand::Crash(args) = args.command;
    let directory = Directory::new(args.keep.as_deref())?;
    let verdict = match crash(directory.path(), args.json).await {
        Ok(verdict) => verdict,
        Err(failure) => {
            directory.keep();
            return Err(failure);
        }
    };
    let mut out = Out::new();
    if args.json {
        out.json(&verdict)?;
    } else {
        out.line(&text(&verdict))?;
    }
    out.flush()?;
    if args.keep.is_some() || !verdict.ok {
        directory.keep();
    }
    Ok(if verdict.ok { 0 } else { exit::REFUSED })
}

async fn crash(directory: &Path, quiet: bool) -> Result<Verdict, Failure> {
    let note = |line: &str| {
        if !quiet {
            say(line);
        }
    };
    let begun = Instant::now();
    let mut server = Server::start(directory, None).await?;
    note(&format!("started a server on {}; sending 256-byte messages, 256 in flight", server.grpc));
    let client = Client::connect(&server.grpc)?.with_timeout(TIMEOUT);
    let definition =
        QueueDefinition { name: QUEUE.into(), visibility_ms: VISIBILITY_MS, ..Default::default() };
    client.create_queue(definition).await?;
    let options = SenderOptions { timeout: TIMEOUT, in_flight: 256, ..SenderOptions::default() };
    let load = Load::begin(client.sender_with(QUEUE, options));
    load.acknowledged(ACKED_BEFORE_KILL, LOAD_BEFORE_KILL).await;

    server.kill().await?;
    let killed = Instant::now();
    let at_kill = load.progress();
    note(&format!(
        "killed it (SIGKILL) with {} acknowledged and {} in flight; starting it again",
        at_kill.acknowledged,
        at_kill.submitted - at_kill.acknowledged
    ));
    let load_ms = millis(killed - begun);
    let restarted = Server::start(directory, Some(&server)).await?;
    let ready_after_kill_ms = millis(killed.elapsed());
    load.acknowledged(at_kill.acknowledged + 1, TIMEOUT).await;
    let acknowledging_after_kill_ms = millis(killed.elapsed());
    tokio::time::sleep(LOAD_AFTER_RESTART).await;
    let sent = load.end().await;
    note(&format!(
        "stopped sending with {} acknowledged; receiving everything",
        sent.acknowledged()
    ));

    let received = Received::all(&client, QUEUE).await?;
    let recovery = report::latest(&restarted.http)?;
    restarted.stop().await?;
    let times = Times { load_ms, ready_after_kill_ms, acknowledging_after_kill_ms };
    let in_flight = at_kill.submitted - at_kill.acknowledged;
    let mut verdict = judge(&sent, &received, &times, recovery);
    verdict.acknowledged_before_kill = at_kill.acknowledged;
    verdict.in_flight_at_kill = in_flight;
    verdict.seconds = (begun.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    Ok(verdict)
}

struct Times {
    load_ms: u64,
    ready_after_kill_ms: u64,
    acknowledging_after_kill_ms: u64,
}

fn judge(sent: &Sent, received: &Received, times: &Times, recovery: Value) -> Verdict {
    let lost = sent.acknowledged_numbers().filter(|&number| received.count(number) == 0).count();
    let (lost, duplicated) = (to_u64(lost), received.duplicated());
    let out_of_order = received.out_of_order;
    let ok = lost == 0 && duplicated == 0 && out_of_order == 0 && received.strange == 0;
    Verdict {
        ok: ok && sent.acknowledged() > 0,
        acknowledged: sent.acknowledged(),
        acknowledged_before_kill: 0,
        in_flight_at_kill: 0,
        received: received.total,
        lost,
        duplicated,
        out_of_order,
        unknown: sent.unknown(),
        load_ms: times.load_ms,
        ready_after_kill_ms: times.ready_after_kill_ms,
        acknowledging_after_kill_ms: times.acknowledging_after_kill_ms,
        seconds: 0.0,
        recovery,
    }
}

fn text(verdict: &Verdict) -> String {
    let sentence = if verdict.ok {
        "every acknowledged message is there exactly once, in order"
    } else {
        "FAILED: what was acknowledged is not there exactly once and in order"
    };
    format!(
        "{sentence}\n\
         acknowledged  {} ({} before the kill; {} were in flight at the kill and were sent again)\n\
         received      {}: {} lost, {} twice, {} out of order; {} unknown outcomes\n\
         after kill    ready again after {} ms, acknowledging again after {} ms\n\
         {}\n\
         took {} s",
        verdict.acknowledged,
        verdict.acknowledged_before_kill,
        verdict.in_flight_at_kill,
        verdict.received,
        verdict.lost,
        verdict.duplicated,
        verdict.out_of_order,
        verdict.unknown,
        verdict.ready_after_kill_ms,
        verdict.acknowledging_after_kill_ms,
        report::text(&verdict.recovery),
        verdict.seconds,
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Where the demo's store is.
enum Directory {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Directory {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = keep else {
            let directory = tempfile::Builder::new().prefix("rekindle-demo-").tempdir();
            return directory
                .map(Self::Temporary)
                .map_err(|error| Failure::io("cannot make a temporary directory", &error));
        };
        let env = rekindle_env::Env::real();
        let failed = |error| Failure::io(&format!("cannot use {}", path.display()), &error);
        rekindle_env::durable::create_dir_all(env.disk.as_ref(), path).map_err(failed)?;
        if !env.disk.list(path).map_err(failed)?.is_empty() {
            return Err(Failure::new(
                exit::CONFIG,
                format!("{} is not empty; --keep needs a new directory", path.display()),
            ));
        }
        Ok(Self::Kept(path.to_owned()))
    }

    /// Leaves it to whoever wants to look.
    fn keep(self) {
        let path = match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.keep(),
        };
        say(&format!("the store and the logs are in {}", path.display()));
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
