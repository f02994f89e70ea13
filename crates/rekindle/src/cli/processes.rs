//! Commands that work on messages and jobs: started in groups of their own, watched, ended.
//!
//! Invariants: a command runs in a process group of its own, so that a signal for this program lets
//! it finish; a second signal kills these groups: nothing that was started is left behind.

use std::collections::HashMap;
use std::future::Future;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, oneshot};

use super::failure::Failure;
use super::output::say;
use super::signals::Signals;

/// How many commands run at once, as an argument.
pub(super) fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("expected a number from 1 to 10000".to_owned()),
    }
}

/// The commands that run.
#[derive(Default)]
pub(super) struct Processes {
    state: Mutex<State>,
    /// A command cannot be started: no use in going on.
    broken: AtomicBool,
    broke: Notify,
}

#[derive(Default)]
struct State {
    /// The process groups, and the tokens that they work on.
    running: HashMap<Pid, String>,
    /// They were killed: what starts now is killed, too.
    killed: bool,
}

/// A running group; dropping it says that its leader was waited for.
pub(super) struct Group<'a> {
    processes: &'a Processes,
    leader: Option<Pid>,
}

impl Processes {
    /// Starts a command for the work with this token. `None`: it cannot be started, which was said.
    pub(super) fn start(&self, command: &mut Command, token: &str) -> Option<(Child, Group<'_>)> {
        match command.spawn() {
            Ok(child) => {
                let group = self.add(child.id(), token);
                Some((child, group))
            }
            Err(error) => {
                say(&format!("cannot start {:?}: {error}", command.as_std().get_program()));
                self.broken.store(true, Ordering::Relaxed);
                self.broke.notify_one();
                None
            }
        }
    }

    fn add(&self, leader: Option<u32>, token: &str) -> Group<'_> {
        let leader = leader.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut state = self.lock();
        if state.killed {
            leader.into_iter().for_each(|leader| signal(leader, Signal::KILL));
        }
        state.running.extend(leader.map(|leader| (leader, token.to_owned())));
        Group { processes: self, leader }
    }

    /// Kills all commands, with everything that they started and that stayed in their group; gives
    /// the tokens that they worked on.
    fn kill(&self) -> Vec<String> {
        let mut state = self.lock();
        state.killed = true;
        state.running.keys().for_each(|leader| signal(*leader, Signal::KILL));
        state.running.values().cloned().collect()
    }

    /// Whether a command could not be started.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Whether the commands were killed.
    pub(super) fn is_killed(&self) -> bool {
        self.lock().killed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group<'_> {
    /// Sends a signal to everything in the group.
    pub(super) fn signal(&self, what: Signal) {
        self.leader.into_iter().for_each(|leader| signal(leader, what));
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            self.processes.lock().running.remove(&leader);
        }
    }
}

fn signal(leader: Pid, signal: Signal) {
    // One that has ended by itself needs no signal.
    let _ = kill_process_group(leader, signal);
}

/// A command in a group of its own, with a pipe to its standard input.
pub(super) fn command(arguments: &[String]) -> Option<Command> {
    let (program, arguments) = arguments.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
    Some(command)
}

/// Writes the input of a command.
pub(super) async fn feed(stdin: Option<ChildStdin>, body: Bytes) {
    if let Some(mut stdin) = stdin {
        // A command need not read its input; what it makes of that, its exit status says.
        drop(stdin.write_all(&body).await);
        drop(stdin.shutdown().await);
    }
}

/// Feeds the command until it ends; something that it left behind may hold its input open.
pub(super) async fn fed<T>(feed: impl Future<Output = ()>, wait: impl Future<Output = T>) -> T {
    tokio::pin!(wait);
    tokio::select! {
        biased;
        status = wait.as_mut() => status,
        () = feed => wait.await,
    }
}

/// How a command ended, in words.
pub(super) fn reason(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// How supervised work ended.
pub(super) enum Supervised<T> {
    /// By itself, or after the first signal.
    Ended(T),
    /// By a second signal: the tokens whose commands were killed.
    Killed(Vec<String>),
}

/// Runs a worker: the first signal, or a command that cannot be started, stops it; the second one
/// kills what runs.
pub(super) async fn supervise<'a, T, F>(
    processes: &'a Processes,
    work: impl FnOnce(BoxFuture<'a, ()>) -> F,
) -> Result<Supervised<T>, Failure>
where
    F: Future<Output = T>,
{
    let mut signals = Signals::new()?;
    let (stopped, second) = oneshot::channel();
    let stop = async move {
        tokio::select! {
            _ = signals.next() => say("finishing what runs; a second signal kills it"),
            () = processes.broke.notified() => {}
        }
        // Whoever is impatient sends the signal again.
        drop(stopped.send(signals));
    };
    let impatient = async {
        match second.await {
            Ok(mut signals) => {
                signals.next().await;
                // In here: once this is done the worker is dropped, and its tasks forget what ran.
                processes.kill()
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        killed = impatient => Ok(Supervised::Killed(killed)),
        ended = work(stop.boxed()) => Ok(Supervised::Ended(ended)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn the_reason_of_a_nack_is_the_exit_status() {
        assert_eq!(reason(ExitStatus::from_raw(3 << 8)), "exit status 3");
        assert_eq!(reason(ExitStatus::from_raw(9)), "killed by signal 9");
    }

    #[test]
    fn concurrency_is_bounded() {
        assert_eq!(concurrency("1"), Ok(1));
        assert!(concurrency("0").is_err());
        assert!(concurrency("10001").is_err());
    }
}
