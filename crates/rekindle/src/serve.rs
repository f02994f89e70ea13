//! `rekindle serve`: from arguments to an exit code.
//!
//! Invariants: every way out is one of the exit codes of docs/reference.md; HTTP answers before
//! recovery begins, gRPC accepts only after it is done; a store that failed (a write, a sync, a panic
//! of any thread) is not limped on with: the process ends with 70.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekindle_env::{Env, LockMode};
use rekindle_recovery::exit;
use tokio::net::{TcpListener, TcpSocket};

use crate::boot::{self, Recovered, Refused};
use crate::config::Config;
use crate::front::access::Principal;
use crate::front::{grpc, http};
use crate::log;
use crate::progress::Stage;
use crate::shutdown::{self, Signals};
use crate::state::Server;

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1_024;
/// How often a server that anybody may reach says so.
const INSECURE_WARNING: Duration = Duration::from_secs(60);
/// How often the journal is asked whether it is poisoned; the process is gone within a second.
const POISON_CHECK: Duration = Duration::from_millis(100);
/// How long answers that say *unknown* have to leave before a poisoned process ends.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

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
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen on an address that other machines can reach, although nobody is asked who they are
    #[arg(long)]
    pub insecure_allow_remote: bool,
}

/// Serves until a signal or a failure; returns the exit code.
#[must_use]
pub fn run(args: ServeArgs) -> i32 {
    let config = match Config::load(&args) {
        Ok(config) => config,
        Err(error) => return complain(&Refused::configuration(error.to_string())),
    };
    log::begin(config.log_level, config.log_format);
    shutdown::end_on_panic();
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
            return complain(&Refused { code: exit::IO, message });
        }
    };
    let result = runtime.block_on(serve(Server::new(config, &Env::real())));
    // Connections that are still open must not delay the end: all that matters is synced.
    runtime.shutdown_background();
    match result {
        Ok(()) => exit::CLEAN,
        Err(refused) => complain(&refused),
    }
}

/// Prints why the server ended; returns its exit code.
fn complain(refused: &Refused) -> i32 {
    // Nobody reads standard error any more: the exit code still says it.
    let _ = writeln!(io::stderr(), "rekindle: {refused}");
    refused.code
}

/// A start, a life and an end.
async fn serve(server: Arc<Server>) -> Result<(), Refused> {
    let mut signals = Signals::listen().map_err(|error| Refused {
        code: exit::IO,
        message: format!("signals cannot be listened to: {error}"),
    })?;
    let config = &server.config;
    let http_listener = bind(config, "--http", config.http)
        .and_then(|socket| listen(config, "--http", config.http, socket))?;
    // Bound and not listened to: the address is ours, and nobody gets through before recovery.
    let grpc_socket = bind(config, "--grpc", config.grpc)?;
    let http_address = local(http_listener.local_addr())?;
    let router = http::router(&server, Principal::Local);
    tokio::spawn(http::serve(http_listener, router, Arc::clone(&server)));

    let starting = Arc::clone(&server);
    let start = tokio::task::spawn_blocking(move || {
        boot::boot(&starting.config, &starting.env, &starting.progress)
    });
    let recovered = tokio::select! {
        started = start => started.map_err(|error| failed(&error))??,
        // Whoever stops a start wants it stopped: recovery is repeatable, so it may end anywhere.
        () = signals.next() => {
            tracing::info!("stopped while starting");
            return Ok(());
        }
    };
    let recovered = server.recover(recovered);

    let grpc_listener = listen(config, "--grpc", config.grpc, grpc_socket)?;
    let grpc_address = local(grpc_listener.local_addr())?;
    let serving = tokio::spawn(grpc::serve(grpc_listener, Arc::clone(&server), recovered.clone()));
    server.progress.enter(Stage::Ready);
    announce(config, grpc_address, http_address, recovered);
    warn_when_insecure(&server);

    tokio::select! {
        () = signals.next() => tracing::info!("shutting down"),
        reason = poisoned(recovered) => return Err(poison(reason).await),
    }
    tokio::select! {
        ended = shutdown::gracefully(&server, recovered, serving) => ended,
        () = signals.next() => Err(Refused {
            code: exit::IO,
            message: "ended by a second signal, before everything was synced and closed; the next \
                      start recovers"
                .to_owned(),
        }),
    }
}

/// Binds an address, without listening.
fn bind(config: &Config, flag: &str, address: std::net::SocketAddr) -> Result<TcpSocket, Refused> {
    let socket = match address {
        std::net::SocketAddr::V4(_) => TcpSocket::new_v4(),
        std::net::SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let bound = socket.and_then(|socket| {
        // A restart must not wait until the last connections of the run before are forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.map_err(|error| not_bound(config, flag, address, &error))
}

/// Listens on a bound address.
fn listen(
    config: &Config,
    flag: &str,
    address: std::net::SocketAddr,
    socket: TcpSocket,
) -> Result<TcpListener, Refused> {
    socket.listen(BACKLOG).map_err(|error| not_bound(config, flag, address, &error))
}

/// Why an address cannot be had. When the directory is in use as well, that is the reason to name: it
/// is the same server, started twice.
fn not_bound(
    config: &Config,
    flag: &str,
    address: std::net::SocketAddr,
    error: &io::Error,
) -> Refused {
    if error.kind() != io::ErrorKind::AddrInUse {
        return Refused::configuration(format!("cannot listen on {address} ({flag}): {error}"));
    }
    let data = config.data.display();
    if let Ok(None) = Env::real().disk.lock(&config.data, LockMode::Shared) {
        let message = format!(
            "{data} is locked by another process, which serves it already; stop that one first, or \
             use another directory (--data) and other addresses"
        );
        return Refused { code: exit::LOCKED, message };
    }
    Refused::configuration(format!(
        "{address} is in use by another process. Choose another address with {flag} (port 0 picks \
         a free one), or stop that process"
    ))
}

/// A listener's own address.
fn local(address: io::Result<std::net::SocketAddr>) -> Result<std::net::SocketAddr, Refused> {
    address.map_err(|error| Refused {
        code: exit::IO,
        message: format!("a listener does not know its own address: {error}"),
    })
}

/// A start that panicked; the panic hook has ended the process unless a test replaced it.
fn failed(error: &tokio::task::JoinError) -> Refused {
    Refused { code: exit::IO, message: format!("the start failed: {error}") }
}

/// Says on standard output what a person and a script want to know. Scripts read the lines that begin
/// with a word and a colon.
fn announce(
    config: &Config,
    grpc: std::net::SocketAddr,
    http: std::net::SocketAddr,
    recovered: &Recovered,
) {
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
         durability: {durability}\n\
         recovery:   {recovery}\n\
         next:       echo hello | rekindle queue send greetings --create{address}\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    // A server whose output nobody reads serves all the same.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    tracing::info!(%grpc, %http, %data, durability, "ready");
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
    Refused { code: exit::IO, message }
}
