//! `rekindle serve`: from arguments to an exit code.
//!
//! Invariants: every way out is one of the exit codes of docs/reference.md; HTTP answers before
//! recovery begins, gRPC accepts only after it is done; a store that failed (a write, a sync, a
//! panic of any thread) is not limped on with: the process ends with 70.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekindle_env::Env;
use rekindle_recovery::exit;
use tokio::net::TcpListener;

use crate::alerts::Watching;
use crate::bar;
use crate::boot::{self, Recovered, Refused};
use crate::config::Config;
use crate::executors::Executing;
use crate::front::access::Principal;
use crate::front::{grpc, http, ui};
use crate::listen::{self, Addresses, Bound};
use crate::log;
use crate::progress::Stage;
use crate::recovery_mode::{self, RecoveryMode};
use crate::runs::End;
use crate::shutdown::{self, Signals};
use crate::state::Server;

/// How often a server that anybody may reach says so.
const INSECURE_WARNING: Duration = Duration::from_secs(60);
/// How often the journal is asked whether it is poisoned; the process is gone within a second.
const POISON_CHECK: Duration = Duration::from_millis(100);
/// How long answers that say *unknown* have to leave before a poisoned process ends.
const LAST_ANSWERS: Duration = Duration::from_millis(200);
/// How long the last event of a stream has to leave.
const LAST_EVENT: Duration = Duration::from_millis(20);
/// How long a server that ended in order waits for threads that still hold its store.
const LAST_HOLDERS: Duration = Duration::from_secs(1);
/// How long a server that ended in order waits for its record to be written.
const LAST_RECORD: Duration = Duration::from_secs(5);

/// Arguments of `rekindle serve`. What is not given comes from the environment
/// (`REKINDLE__SECTION__KEY`), then from the configuration file, then from the defaults.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// The store's directory; made when missing [default: ./rekindle-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the gRPC front; port 0 picks a free one [default: 127.0.0.1:7611]
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc: Option<String>,
    /// Address of the HTTP front; port 0 picks a free one [default: 127.0.0.1:7610]
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// What an acknowledgement promises: strict, batched or relaxed [default: strict]
    #[arg(long, value_name = "MODE")]
    pub durability: Option<String>,
    /// The engine that holds the state: lsm, memory, or rocksdb in a program that was built with it
    /// [default: the store's; lsm for a new one]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Run the commands of loops: whoever may start a plan runs programs as this server's user
    #[arg(long)]
    pub loop_commands: bool,
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen on an address that other machines can reach, although nobody is asked who they are
    #[arg(long)]
    pub insecure_allow_remote: bool,
    /// Start limited, to look and decide: the admin side only, no claims, no work
    #[arg(long)]
    pub recovery_mode: bool,
}

/// Serves until a signal or a failure; returns the exit code.
#[must_use]
pub fn run(args: ServeArgs) -> i32 {
    run_in(&args, &Env::real())
}

/// The same on another machine: benchmarks put a slower disk there.
#[must_use]
pub fn run_in(args: &ServeArgs, env: &Env) -> i32 {
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(error) => return complain(&Refused::configuration(error.to_string())),
    };
    log::begin(config.log_level, config.log_format);
    let server = Server::new(config, env);
    shutdown::end_on_panic(&server.run);
    let config = &server.config;
    let threads = usize::try_from(config.worker_threads).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("rekindle-front")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("the network runtime cannot start: {error}");
            return complain(&Refused::new(exit::IO, message));
        }
    };
    let result = runtime.block_on(async {
        let signals = Signals::listen().map_err(|error| {
            Refused::new(exit::IO, format!("signals cannot be listened to: {error}"))
        })?;
        tokio::select! {
            ended = serve(&server) => ended,
            ended = watch_signals(Arc::clone(&server), signals) => Err(ended),
        }
    });
    match result {
        Ok(()) => {
            server.run.end(exit::CLEAN, "", LAST_RECORD);
            // The store is synced and closed. Its engine goes before the process does, with the
            // last of its holders: threads of RocksDB do not survive the end of its statics.
            runtime.shutdown_timeout(LAST_HOLDERS);
            leave(server);
            exit::CLEAN
        }
        Err(refused) => {
            server.run.end(refused.code, &refused.message, shutdown::LAST_WORDS);
            // Nothing may delay the end: threads still hold the store.
            leave(server);
            runtime.shutdown_background();
            complain(&refused)
        }
    }
}

/// Lets go of the server. Where a thread still holds it, nobody ever drops it: closing an engine
/// that is C++ while the process ends aborts.
#[allow(clippy::disallowed_methods, reason = "the process ends; that it is never dropped is meant")]
fn leave(server: Arc<Server>) {
    if let Err(held) = Arc::try_unwrap(server) {
        std::mem::forget(held);
    }
}

/// Prints why the server ended; returns its exit code.
fn complain(refused: &Refused) -> i32 {
    // Nobody reads standard error any more: the exit code still says it.
    let _ = writeln!(io::stderr(), "rekindle: {refused}");
    refused.code
}

/// Waits for SIGTERM or SIGINT and begins the shutdown; a second one ends the process at once.
async fn watch_signals(server: Arc<Server>, mut signals: Signals) -> Refused {
    signals.next().await;
    tracing::info!("asked to end");
    server.progress.enter(Stage::Shutdown);
    let run = Arc::clone(&server.run);
    tokio::task::spawn_blocking(move || run.asked());
    signals.next().await;
    server.run.note(End::SecondSignal, "ended by a second signal");
    let message = "ended by a second signal, before everything was synced and closed; the next \
                   start recovers";
    Refused::new(exit::IO, message)
}

/// A start, a life and an end. It ends when [`Stage::Shutdown`] is entered, or when the store
/// fails.
pub async fn serve(server: &Arc<Server>) -> Result<(), Refused> {
    let config = &server.config;
    let http_listener = Bound::new(config, "--http", config.http)?.listen(config)?;
    if config.recovery_mode {
        return limited(server, http_listener).await;
    }
    // Bound and not listened to: the address is ours, and nobody gets through before recovery.
    let grpc_bound = Bound::new(config, "--grpc", config.grpc)?;
    let addresses = Addresses { grpc: grpc_bound.local()?, http: listen::local(&http_listener)? };
    server.bind(addresses);
    let router = http::router(server, Principal::Local);
    tokio::spawn(http::serve(http_listener, router, Arc::clone(server)));
    tokio::spawn(ui::remember(Arc::clone(server)));
    tracing::info!(http = %addresses.http, "recovery begins");

    let watching = Watching::start(server);

    let starting = Arc::clone(server);
    let start = tokio::task::spawn_blocking(move || {
        starting.run.begin();
        let recovered = boot::boot(&starting.config, &starting.env, &starting.progress)?;
        starting.run.opened(&recovered.report);
        Ok(recovered)
    });
    let telling = tokio::spawn(bar::tell(Arc::clone(server)));
    let started = tokio::select! {
        started = start => Some(started.map_err(|error| failed(&error))?),
        // Whoever stops a start wants it stopped: recovery is repeatable, so it may end anywhere.
        () = server.progress.reached(Stage::Shutdown) => None,
    };
    telling.abort();
    let _ = telling.await;
    bar::erase();
    let recovered = match started {
        None => return Ok(()),
        Some(Err(refused)) => return Err(tell_refusal(server, refused, watching).await),
        Some(Ok(recovered)) => server.recover(recovered),
    };

    let grpc_listener = grpc_bound.listen(config)?;
    let executing = Executing::start(
        &server.env,
        &config.data,
        &recovered.services,
        (&config.all_executors(), &server.work),
        &recovered.left,
        &server.executions,
    );
    let serving = tokio::spawn(grpc::serve(grpc_listener, Arc::clone(server), recovered.clone()));
    server.progress.enter(Stage::Ready);
    tokio::spawn(announce_once_reported(Arc::clone(server), addresses));
    warn_when_insecure(server);

    tokio::select! {
        () = server.progress.reached(Stage::Shutdown) => {}
        reason = poisoned(recovered) => {
            server.run.note(End::Poisoned, reason.clone());
            return Err(poison(reason).await);
        }
    }
    shutdown::gracefully(server, recovered, serving, executing).await
}

/// Recovery mode: the admin side only, until it is asked to end.
async fn limited(server: &Arc<Server>, http_listener: TcpListener) -> Result<(), Refused> {
    let http = listen::local(&http_listener)?;
    // The gRPC front stays closed; its address is told as configured.
    server.bind(Addresses { grpc: server.config.grpc, http });
    let router = http::router(server, Principal::Local);
    tokio::spawn(http::serve(http_listener, router, Arc::clone(server)));
    let _watching = Watching::start(server);
    server.progress.enter(Stage::Open);
    let looking = Arc::clone(server);
    let looked = tokio::task::spawn_blocking(move || {
        RecoveryMode::begin(&looking)?;
        let mode = looking.recovery_mode().expect("a look was taken");
        looking.run.look(&mode.report());
        Ok(())
    });
    tokio::select! {
        looked = looked => looked.map_err(|error| failed(&error))??,
        () = server.progress.reached(Stage::Shutdown) => return Ok(()),
    }
    server.progress.enter(Stage::RecoveryMode);
    let mode = server.recovery_mode().expect("a look was taken");
    say(&recovery_mode::announcement(server, mode));
    tracing::warn!(%http, code = mode.report().code, "recovery mode: no work is served");
    warn_when_insecure(server);
    server.progress.reached(Stage::Shutdown).await;
    let deciding = Arc::clone(server);
    let decided = move || deciding.recovery_mode().is_some_and(RecoveryMode::await_decision);
    if tokio::task::spawn_blocking(decided).await.unwrap_or(false) {
        // Its answer is on its way to the socket.
        tokio::time::sleep(LAST_EVENT).await;
    }
    Ok(())
}

/// Whoever watches the start, and the webhook, hears why it is refused before the process ends.
async fn tell_refusal(server: &Server, refused: Refused, watching: Watching) -> Refused {
    server.progress.refuse(refused.code, &refused.message);
    let told = async {
        server.progress.unwatched().await;
        // The last event is on its way to the socket.
        tokio::time::sleep(LAST_EVENT).await;
    };
    let told = async {
        if server.progress.is_watched() {
            let _ = tokio::time::timeout(LAST_ANSWERS, told).await;
        }
    };
    tokio::select! {
        _ = async { tokio::join!(told, watching.refused(&refused)) } => {}
        () = server.progress.reached(Stage::Shutdown) => {}
    }
    refused
}

/// A start that panicked; the panic hook has ended the process unless a test replaced it.
fn failed(error: &tokio::task::JoinError) -> Refused {
    Refused::new(exit::IO, format!("the start failed: {error}"))
}

/// Announces the start once its report is written: who reads the announcement finds it.
async fn announce_once_reported(server: Arc<Server>, addresses: Addresses) {
    let Some(recovered) = server.recovered() else { return };
    recovered.writing.done().await;
    announce(&server.config, addresses, recovered);
}

/// Says on standard output what a person and a script want to know. Scripts read the lines that
/// begin with a word and a colon.
fn announce(config: &Config, addresses: Addresses, recovered: &Recovered) {
    let Addresses { grpc, http } = addresses;
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let data = data.display();
    let durability = config.loss_window();
    let recovery = recovered.report.summary_line();
    let incarnation = recovered.report.incarnation;
    let address = if grpc.port() == 7611 { String::new() } else { format!(" --addr {grpc}") };
    let text = format!(
        "rekindle {version} is ready (run {incarnation})\n\
         data:       {data}\n\
         grpc:       {grpc}\n\
         http:       http://{http}\n\
         page:       http://{http}/ui/\n\
         durability: {durability}\n\
         recovery:   {recovery}\n\
         next:       echo hello | rekindle queue send greetings --create{address}\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    say(&text);
    tracing::info!(%grpc, %http, %data, durability, "ready");
}

/// A server whose output nobody reads serves all the same.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}

/// Warns each minute while anybody who reaches the addresses may do everything.
fn warn_when_insecure(server: &Arc<Server>) {
    let config = &server.config;
    let exposed = [config.grpc, config.http].iter().any(|address| !address.ip().is_loopback());
    if !exposed {
        return;
    }
    let (grpc, http) = (config.grpc, config.http);
    tokio::spawn(async move {
        let mut minutes = tokio::time::interval(INSECURE_WARNING);
        loop {
            minutes.tick().await;
            tracing::warn!(
                %grpc,
                %http,
                "INSECURE: other machines can reach this server, and nobody is asked who they are"
            );
        }
    });
}

/// Waits until the journal is poisoned; says why.
async fn poisoned(recovered: &Recovered) -> String {
    let mut checks = tokio::time::interval(POISON_CHECK);
    loop {
        checks.tick().await;
        if let Some(reason) = recovered.database.poisoned() {
            return reason;
        }
    }
}

/// The end of a poisoned server: callers hear *unknown*, then the process ends.
async fn poison(reason: String) -> Refused {
    tracing::error!(reason, "the store failed; the process ends (70)");
    tokio::time::sleep(LAST_ANSWERS).await;
    let message = format!(
        "the store failed: {reason}\nWrites that were not answered have an unknown outcome. Check \
         the disk, then start again: recovery keeps everything that was acknowledged"
    );
    Refused::new(exit::IO, message)
}
