//! `queue work`: a command per message.
//!
//! Invariants: the command reads exactly the body and then the end of its input; its exit status
//! alone decides between ack and nack.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rekindle_client::{Client, Delivery, Verdict, Worker};
use rekindle_recovery::exit;

use super::receive::headers_json;
use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::processes::{
    self, Processes, Supervised, concurrency, fed, feed, reason, supervise,
};

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

/// What all handlers share.
struct Job {
    queue: String,
    command: Vec<String>,
    processes: Processes,
}

pub(super) async fn run(client: &Client, args: WorkArgs) -> Outcome {
    // Says early that the queue or the server is not there; later both are waited for.
    client.show_queue(&args.name).await?;
    let client = Client::connect(client.address())?.with_timeout(TIMEOUT);
    let (queue, processes) = (args.name.clone(), Processes::default());
    let job = Arc::new(Job { queue, command: args.command, processes });
    let worker = Worker::new(client, args.name)
        .concurrency(args.concurrency)
        .drain(args.drain)
        .owner(format!("work-{}", std::process::id()));
    let handled = Arc::clone(&job);
    let handler = move |delivery| handle(Arc::clone(&handled), delivery);
    match supervise(&job.processes, |stop| worker.run(handler, stop)).await? {
        Supervised::Ended(result) => {
            result?;
            Ok(if job.processes.is_broken() { exit::REFUSED } else { 0 })
        }
        Supervised::Killed(running) => {
            let message = format!(
                "stopped: {} commands were killed; their messages come back, at the latest when \
                 their leases run out",
                running.len()
            );
            Err(Failure::new(exit::REFUSED, message))
        }
    }
}

/// Runs the command for one message.
async fn handle(job: Arc<Job>, delivery: Delivery) -> Verdict {
    let Some(mut command) = processes::command(&job.command) else { return Verdict::Release };
    command
        .env("REKINDLE_QUEUE", &job.queue)
        .env("REKINDLE_MESSAGE_ID", &delivery.id)
        .env("REKINDLE_TOKEN", &delivery.token)
        .env("REKINDLE_ATTEMPT", delivery.attempt.to_string())
        .env("REKINDLE_KEY", delivery.fairness_key.replace('\0', ""))
        .env("REKINDLE_HEADERS", headers_json(&delivery));
    let Some((mut child, group)) = job.processes.start(&mut command, &delivery.token) else {
        return Verdict::Release;
    };
    let feed = feed(child.stdin.take(), delivery.body);
    let ended = fed(feed, child.wait()).await;
    drop(group);
    match ended {
        Ok(status) if status.success() => Verdict::Ack,
        Ok(status) => nack(reason(status)),
        Err(error) => nack(format!("cannot wait for the command: {error}")),
    }
}

fn nack(reason: String) -> Verdict {
    Verdict::Nack { delay: Duration::ZERO, reason }
}
