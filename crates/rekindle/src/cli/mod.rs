//! The command line: one file per command, and what they share.
//!
//! Invariants: what scripts read goes to standard output and is flushed before the exit code says
//! that it was written; what people read (errors, summaries, progress) goes to standard error.

mod audit;
mod backup;
mod demo;
mod durations;
mod failure;
mod health;
mod http;
mod input;
mod inspect;
mod job;
mod kv;
mod loops;
mod migrate;
mod output;
mod processes;
mod queue;
mod recovery;
mod repair;
mod report;
mod results;
mod review;
mod runs;
mod salvage;
mod schedule;
mod shim;
mod signals;
mod store;
mod transact;

use std::ffi::OsString;
use std::future::Future;
use std::io;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use rekindle::owner;
use rekindle::serve::{self, ServeArgs};
use rekindle_client::{Client, normal_address};
use tracing_subscriber::EnvFilter;

use failure::Failure;

/// What a command ends with: an exit code, or a sentence and an exit code.
type Outcome = Result<i32, Failure>;

/// Work that survives the crash: queues and transactional state over one journal.
#[derive(Debug, Parser)]
#[command(name = "rekindle", version, arg_required_else_help = true)]
struct Cli {
    /// Address of the server (gRPC), for `queue`, `job` and `kv`; it may stand after them as well
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    addr: Option<String>,
    /// Address of its HTTP side, for `schedule`, `transact`, `report`, `recovery`, `store` and
    /// `backup`; it may stand after it as well
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    http: Option<String>,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// The arguments as they were given.
    fn from(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
        let matches = Self::command().try_get_matches_from(arguments)?;
        let Self { addr, http, mut command } = Self::from_arg_matches(&matches)?;
        for (id, given) in [("addr", addr), ("http", http)] {
            let (Some(given), Some((name, after))) = (given, matches.subcommand()) else {
                continue;
            };
            let Some(place) = command.server(id) else {
                let message = match (name, id) {
                    ("serve", "http") => {
                        "write --http after 'serve': it is where to listen".to_owned()
                    }
                    _ => format!("'rekindle {name}' does not use --{id}"),
                };
                return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
            };
            // The one that stands later wins; either wins over the environment.
            if after.value_source(id) != Some(ValueSource::CommandLine) {
                place.set(given);
            }
        }
        let admin_given = matches.value_source("http") == Some(ValueSource::CommandLine)
            || matches.subcommand().is_some_and(|(_, after)| {
                // Only the commands that have it may be asked about it.
                after.try_contains_id("http").is_ok()
                    && after.value_source("http") == Some(ValueSource::CommandLine)
            });
        if admin_given && command.reads_directory() {
            let message = "--http names a server, --data a directory: give one of them";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(command)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server
    Serve(ServeArgs),
    /// Send, receive and settle messages; create and look at queues
    Queue(queue::QueueArgs),
    /// Submit jobs, work on them, and look at what became of them
    Job(job::JobArgs),
    /// Make, list and delete schedules: jobs by the clock
    Schedule(schedule::ScheduleArgs),
    /// Do several things in one transaction: all of it, or none
    Transact(transact::TransactArgs),
    /// Run plans of iterations that go on until their checks pass
    Loop(loops::LoopArgs),
    /// Read and write keys and values
    Kv(kv::KvArgs),
    /// The same as `recovery plan`
    Recover(inspect::RecoverArgs),
    /// Check every byte of a store, without changing one
    Verify(inspect::StoreArgs),
    /// Go on without what is corrupt, once its loss is accepted
    Repair(repair::RepairArgs),
    /// Write everything that can be read as lines of JSON
    Salvage(salvage::SalvageArgs),
    /// Look into the journal of a store
    Journal(inspect::JournalArgs),
    /// Move a store's state to another engine
    Migrate(migrate::MigrateArgs),
    /// Show what a store is
    Store(store::StoreArgs),
    /// Show what starts found and did, and what the next one would do
    Recovery(recovery::RecoveryArgs),
    /// Take a backup of a running server; verify and list backups
    Backup(backup::BackupArgs),
    /// Make a store from a backup, as of any moment between the first and the last
    Restore(backup::RestoreArgs),
    /// Show the recovery report of a running server
    Report(report::ReportArgs),
    /// Show how a server stands, why, and what to do
    Health(health::HealthArgs),
    /// Show the alert rules of a server, and which fire
    Alerts(health::AlertsArgs),
    /// Show what operators did, to what and why
    Audit(audit::AuditArgs),
    /// Show what waits for a person, and decide about it
    Review(review::ReviewArgs),
    /// Show when each run of a server began and ended, and why
    Runs(runs::RunsArgs),
    /// Show that a crash loses nothing
    Demo(demo::DemoArgs),
    /// Run one command under watch; the server starts this, nobody else
    #[command(hide = true)]
    Shim(shim::ShimArgs),
}

impl Command {
    /// Whether it reads a store's directory instead of asking a server.
    fn reads_directory(&self) -> bool {
        match self {
            Self::Recovery(args) => args.reads_directory(),
            Self::Repair(args) => args.data.is_some(),
            Self::Salvage(args) => args.data.is_some(),
            _ => false,
        }
    }

    /// Where this command keeps the address of the server that it talks to: its gRPC side (`addr`)
    /// or its admin side (`http`).
    fn server(&mut self, id: &str) -> Option<Place<'_>> {
        match (self, id) {
            (Self::Queue(args), "addr") => Some(Place::Grpc(args.address_mut())),
            (Self::Job(args), "addr") => Some(Place::Grpc(args.address_mut())),
            (Self::Kv(args), "addr") => Some(Place::Grpc(args.address_mut())),
            (Self::Recovery(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Report(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Repair(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Salvage(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Backup(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Store(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Health(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Alerts(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Audit(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Review(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Runs(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Schedule(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Loop(args), "http") => Some(Place::Admin(&mut args.admin)),
            (Self::Transact(args), "http") => Some(Place::Admin(&mut args.admin)),
            _ => None,
        }
    }
}

/// An address among the arguments of a command.
enum Place<'a> {
    Grpc(&'a mut String),
    Admin(&'a mut http::Admin),
}

impl Place<'_> {
    fn set(self, address: String) {
        match self {
            Self::Grpc(place) => *place = address,
            Self::Admin(admin) => admin.set(address),
        }
    }
}

/// Where the server is.
#[derive(Args, Clone, Debug)]
struct Address {
    /// Address of the server (gRPC)
    #[arg(
        long,
        global = true,
        env = "REKINDLE_ADDR",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7611",
        value_parser = address
    )]
    addr: String,
}

impl Address {
    /// A client of it, which says at once when no server is there.
    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.addr)?.impatient())
    }
}

/// HOST:PORT; a leading `http://` is accepted.
fn address(text: &str) -> Result<String, String> {
    let address = normal_address(text);
    let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        Some((host, Ok(_))) if !host.is_empty() && !address.contains('/') => Ok(address.to_owned()),
        _ => Err("expected HOST:PORT, such as 127.0.0.1:7611".to_owned()),
    }
}

/// A number of things on one page of an answer.
fn page(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=1_000).contains(number));
    number.ok_or_else(|| "expected a whole number from 1 to 1000".to_owned())
}

/// Parses the arguments and runs the command; gives the exit code.
pub(crate) fn run() -> i32 {
    let command = Cli::from(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match command {
        Command::Serve(args) => {
            owner::keep_others_out();
            return serve::run(args);
        }
        // Before anything makes a thread or takes a signal.
        Command::Shim(args) => return shim::run(&args),
        // They may open a store.
        Command::Recover(_)
        | Command::Verify(_)
        | Command::Journal(_)
        | Command::Repair(_)
        | Command::Salvage(_)
        | Command::Migrate(_)
        | Command::Store(_)
        | Command::Recovery(_)
        | Command::Backup(_)
        | Command::Restore(_) => owner::keep_others_out(),
        // They run programs of the caller, or write files that are the caller's.
        _ => {}
    }
    begin_log();
    let outcome = match command {
        Command::Serve(args) => Ok(serve::run(args)),
        Command::Queue(args) => block_on(queue::run(args)),
        Command::Job(args) => block_on(job::run(args)),
        Command::Schedule(args) => schedule::run(&args),
        Command::Transact(args) => transact::run(&args),
        Command::Loop(args) => loops::run(&args),
        Command::Kv(args) => block_on(kv::run(args)),
        Command::Recover(args) => inspect::recover(&args),
        Command::Verify(args) => inspect::verify(&args),
        Command::Journal(args) => inspect::journal(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Salvage(args) => salvage::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Recovery(args) => recovery::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => backup::restore_to(&args),
        Command::Report(args) => report::run(&args),
        Command::Health(args) => health::health(&args),
        Command::Alerts(args) => health::alerts(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Review(args) => review::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Shim(args) => Ok(shim::run(&args)),
    };
    outcome.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            output::say(&failure.message);
        }
        failure.code
    })
}

/// Runs the client side. The main thread may block on standard output, so it is no worker.
fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", &error))?;
    let outcome = runtime.block_on(command);
    // A thread that still waits for standard input must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

/// Warnings of the client (reconnects, lost leases) go to standard error.
fn begin_log() {
    let filter = EnvFilter::try_from_env("REKINDLE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false);
    if let Err(error) = log.try_init() {
        output::say(&format!("no log: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    /// `--addr` and `--http` stand before or after the command that uses them; the later one wins.
    #[test]
    fn addresses_stand_before_and_after_the_command() {
        let parse = |line: &str| Cli::from(line.split(' ').map(OsString::from));
        let found = |line: &str| match parse(line).expect(line) {
            Command::Queue(mut args) => args.address_mut().clone(),
            Command::Kv(mut args) => args.address_mut().clone(),
            Command::Report(args) => args.admin.address().to_owned(),
            Command::Store(args) => args.admin.address().to_owned(),
            Command::Recovery(args) => args.admin.address().to_owned(),
            other => panic!("{other:?}"),
        };
        for line in [
            "rekindle --addr a:1 queue list",
            "rekindle queue --addr a:1 list",
            "rekindle queue list --addr a:1",
            "rekindle --addr b:2 queue --addr a:1 list",
            "rekindle --addr b:2 queue list --addr http://a:1",
            "rekindle --addr a:1 kv get k",
            "rekindle --addr b:2 kv get --addr a:1 k",
            "rekindle --http a:1 report",
            "rekindle report --http a:1",
            "rekindle --http b:2 report --http a:1",
            "rekindle --http a:1 store info",
            "rekindle store info --http a:1",
            "rekindle --http a:1 recovery list",
            "rekindle recovery list --http a:1",
            "rekindle --http b:2 recovery show 3 --http a:1",
        ] {
            assert_eq!(found(line), "a:1", "{line}");
        }
        for line in ["rekindle --addr a:1 report", "rekindle --http a:1 queue list"] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("does not use"), "{error}");
        }
        for line in [
            "rekindle --http a:1 recovery list --data d",
            "rekindle recovery show --data d --http a:1",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert!(parse("rekindle recovery show --data d").is_ok());
        assert!(parse("rekindle --addr a:1 serve").is_err());
        assert!(parse("rekindle --addr a queue list").is_err());
    }

    #[test]
    fn addresses_are_host_and_port() {
        assert_eq!(address("http://127.0.0.1:7611").as_deref(), Ok("127.0.0.1:7611"));
        assert_eq!(address("[::1]:7611").as_deref(), Ok("[::1]:7611"));
        for wrong in ["", "localhost", ":7611", "a:b", "a:70000", "https://a:1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
