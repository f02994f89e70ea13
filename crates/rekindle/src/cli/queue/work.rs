//! `queue work`: a command per message.
//!
//! Invariants: the command reads exactly the body and then the end of its input; its exit status
//! alone decides between ack and nack; it runs in a process group of its own, so that a signal for
//! this program lets it finish. A second signal kills these groups: nothing that was started is
//! left behind.

use std::collections::HashSet;
use std::future::Future;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use rekindle_client::{Client, Delivery, Verdict, Worker};
use rekindle_recovery::exit;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Notify;

use super::receive::headers_json;
use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::output::say;
use crate::cli::signals::Signals;

/// The call deadline of a worker: a short one only means more attempts.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct WorkArgs {
    /// The queue
    name: String,
    /// How many commands run at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = concurrency)]
    concurrency: usize,
    /// Exit 0 when nothing is ready, leased (by anybody) or delayed
    #[arg(long)]
    drain: bool,
    /// The command and its arguments; the body is its standard input
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("expected a number from 1 to 10000".to_owned()),
    }
}

/// What all handlers share.
struct Job {
    queue: String,
    command: Vec<String>,
    /// The command cannot be started: no use in going on.
    broken: Notify,
    groups: Groups,
}

/// The process groups of the commands that run.
#[derive(Default)]
struct Groups {
    state: Mutex<GroupsState>,
}

#[derive(Default)]
struct GroupsState {
    running: HashSet<Pid>,
    /// They were killed: what starts now is killed, too.
    killed: bool,
}

/// A running group; dropping it says that its leader was waited for.
struct Group<'a> {
    groups: &'a Groups,
    leader: Option<Pid>,
}

impl Groups {
    /// A command was started.
    fn add(&self, leader: Option<u32>) -> Group<'_> {
        let leader = leader.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut state = self.lock();
        if state.killed {
            leader.into_iter().for_each(kill_group);
        }
        state.running.extend(leader);
        Group { groups: self, leader }
    }

    /// Kills all commands, with everything that they started and that stayed in their group.
    fn kill(&self) -> usize {
        let mut state = self.lock();
        state.killed = true;
        state.running.iter().copied().for_each(kill_group);
        state.running.len()
    }

    fn lock(&self) -> MutexGuard<'_, GroupsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kill_group(leader: Pid) {
    // One that has ended by itself needs no signal.
    let _ = kill_process_group(leader, Signal::KILL);
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            self.groups.lock().running.remove(&leader);
        }
    }
}

pub(super) async fn run(client: &Client, args: WorkArgs) -> Outcome {
    // Says early that the queue or the server is not there; later both are waited for.
    client.show_queue(&args.name).await?;
    let client = Client::connect(client.address())?.with_timeout(TIMEOUT);
    let (broken, groups) = (Notify::new(), Groups::default());
    let job = Arc::new(Job { queue: args.name.clone(), command: args.command, broken, groups });
    let worker = Worker::new(client, args.name)
        .concurrency(args.concurrency)
        .drain(args.drain)
        .owner(format!("work-{}", std::process::id()));
    let handled = Arc::clone(&job);
    let handler = move |delivery| handle(Arc::clone(&handled), delivery);
    let mut signals = Signals::new()?;
    let mut failed = false;
    let stop = async {
        tokio::select! {
            _ = signals.next() => say("finishing what runs; a second signal kills it"),
            () = job.broken.notified() => failed = true,
        }
        // Whoever is impatient sends the signal again.
        signals
    };
    let (stopped, second) = tokio::sync::oneshot::channel();
    let stop = async {
        drop(stopped.send(stop.await));
    };
    let impatient = async {
        match second.await {
            Ok(mut signals) => {
                signals.next().await;
                // In here: once this is done the worker is dropped, and its tasks forget what ran.
                job.groups.kill()
            }
            Err(_) => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        biased;
        killed = impatient => {
            let message = format!(
                "stopped: {killed} commands were killed; their messages come back, at the latest \
                 when their leases run out"
            );
            return Err(Failure::new(exit::REFUSED, message));
        }
        result = worker.run(handler, stop) => result,
    };
    result?;
    Ok(if failed { exit::REFUSED } else { 0 })
}

/// Runs the command for one message.
async fn handle(job: Arc<Job>, delivery: Delivery) -> Verdict {
    let Some((program, arguments)) = job.command.split_first() else {
        return Verdict::Release;
    };
    let child = Command::new(program)
        .args(arguments)
        .env("REKINDLE_QUEUE", &job.queue)
        .env("REKINDLE_MESSAGE_ID", &delivery.id)
        .env("REKINDLE_TOKEN", &delivery.token)
        .env("REKINDLE_ATTEMPT", delivery.attempt.to_string())
        .env("REKINDLE_KEY", delivery.fairness_key.replace('\0', ""))
        .env("REKINDLE_HEADERS", headers_json(&delivery))
        .stdin(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            say(&format!("cannot start {program:?}: {error}"));
            job.broken.notify_one();
            return Verdict::Release;
        }
    };
    let group = job.groups.add(child.id());
    let stdin = child.stdin.take();
    let body = delivery.body;
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A command need not read its input; what it makes of that, its exit status says.
            drop(stdin.write_all(&body).await);
            drop(stdin.shutdown().await);
        }
    };
    let ended = fed(feed, child.wait()).await;
    drop(group);
    match ended {
        Ok(status) if status.success() => Verdict::Ack,
        Ok(status) => nack(reason(status)),
        Err(error) => nack(format!("cannot wait for the command: {error}")),
    }
}

/// Feeds the command until it ends; something that it left behind may hold its input open.
async fn fed<T>(feed: impl Future<Output = ()>, wait: impl Future<Output = T>) -> T {
    tokio::pin!(wait);
    tokio::select! {
        biased;
        status = wait.as_mut() => status,
        () = feed => wait.await,
    }
}

fn nack(reason: String) -> Verdict {
    Verdict::Nack { delay: Duration::ZERO, reason }
}

fn reason(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
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
