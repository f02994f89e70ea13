//! The end of a server: signals, the graceful shutdown, and panics.
//!
//! Invariant: a graceful shutdown ends within `server.shutdown_timeout`, whatever callers do; with
//! 0 everything that was accepted is synced and the journal is marked as cleanly ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rekindle_recovery::exit;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::boot::{Recovered, Refused};
use crate::executors::Executing;
use crate::progress::Stage;
use crate::runs::{End, RunLog};
use crate::state::Server;

/// How long the last answers have to leave once no call is in flight.
const LAST_ANSWERS: Duration = Duration::from_millis(50);
/// How long a process that ends otherwise than in order waits for its record to be written.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(300);

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    /// The next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A panic of any thread ends the process: what it left half done in memory must not be served, and
/// recovery from the journal is the one way back that is tested at every point.
// No destructor may run over state that a panic left half done, so this is no case for `main`.
#[allow(clippy::disallowed_methods)]
pub(crate) fn end_on_panic(run: &Arc<RunLog>) {
    let run = Arc::clone(run);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a thread panicked; the process ends (70)");
        // Not the message: it may hold what a caller sent.
        let reason = format!("a thread panicked at {place}");
        run.last_words(End::Panicked, reason, exit::IO, LAST_WORDS);
        std::process::exit(exit::IO);
    }));
}

/// Takes no new work, ends what waits, answers what runs, syncs and closes.
pub(crate) async fn gracefully(
    server: &Arc<Server>,
    recovered: &Recovered,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    executing: Executing,
) -> Result<(), Refused> {
    let timeout = server.config.shutdown_timeout;
    let all = async {
        executing.drain();
        // The listener closes, connections are told to go away, long polls and streams end.
        server.progress.enter(Stage::Shutdown);
        let services = recovered.services.clone();
        blocking(move || services.shutdown().map_err(|error| error.to_string())).await?;
        // Half of the time; the other half is left for the disk.
        tokio::join!(drain(server, serving), executing.stop(timeout / 2));
        // It is written into a directory that this process holds.
        recovered.writing.done().await;
        let (services, database) = (recovered.services.clone(), recovered.database.clone());
        blocking(move || {
            // Again: a receiver that went away meanwhile gives back what was granted to it.
            services.shutdown().map_err(|error| error.to_string())?;
            database.flush().map_err(|error| error.to_string())?;
            database.close().map_err(|error| error.to_string())
        })
        .await
    };
    match tokio::time::timeout(timeout, all).await {
        Ok(Ok(())) => {
            tracing::info!("everything is synced; the server ends");
            Ok(())
        }
        Ok(Err(message)) => {
            let message = format!("the shutdown failed: {message}; the next start recovers");
            Err(Refused::new(exit::IO, message))
        }
        Err(_) => {
            let message = format!(
                "the shutdown took longer than server.shutdown_timeout ({timeout:?}) and was \
                 ended; the next start recovers"
            );
            Err(Refused::new(exit::IO, message))
        }
    }
}

/// Waits for running calls; at most half of the time, so that the other half is left for the disk.
async fn drain(server: &Arc<Server>, mut serving: JoinHandle<Result<(), tonic::transport::Error>>) {
    let idle = async {
        server.budget.idle().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        _ = &mut serving => {}
        () = idle => {}
        () = tokio::time::sleep(server.config.shutdown_timeout / 2) => {
            tracing::warn!(calls = server.budget.calls(), "calls that did not end are cut off");
        }
    }
    serving.abort();
}

/// Runs what waits for the disk on a thread that may wait.
async fn blocking(
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A panic of any thread ends the whole process with 70. The panicking process is this test
    /// again, told so by a variable.
    #[test]
    fn a_panic_of_a_thread_ends_the_process() {
        const CHILD: &str = "REKINDLE_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let data = std::path::PathBuf::from(std::env::var_os(CHILD).unwrap());
            let run = Arc::new(RunLog::new(&rekindle_env::Env::real(), data));
            run.begin();
            end_on_panic(&run);
            let thread = std::thread::spawn(|| panic!("as the test wants it"));
            let _ = thread.join();
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "shutdown::tests::a_panic_of_a_thread_ends_the_process"]);
        let dir = tempfile::tempdir().unwrap();
        let env = rekindle_env::Env::real();
        let store = dir.path().join("store.a");
        rekindle_env::durable::create_file(env.disk.as_ref(), &store, b"x").unwrap();
        let output = child.env(CHILD, dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(exit::IO), "{output:?}");
        let record = crate::runs::files::read(&env, dir.path(), 1).unwrap();
        assert_eq!((record.end, record.code), (End::Panicked, Some(exit::IO)));
        assert!(record.reason.contains("shutdown.rs"), "{record:?}");
    }
}
