//! The lives of jobs and of messages over gRPC, through the Rust client.
//!
//! Invariant: every step is a call of its own, and its answer says that it is on the disk.

use std::sync::Arc;
use std::time::Duration;

use rekindle_client::{
    ClaimJobs, Client, Durability, Error, JobCompletion, Message, NewJob, Receive,
};
use tokio::runtime::Runtime;

use super::ours::TYPE;
use super::{Backlog, payload};
use crate::Failed;
use crate::child::Server;
use crate::phase::{self, Phase, Reached, Work};
use crate::server::{self, QUEUE};

/// What each task does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Claims a job that waits, and completes it.
    Work(Backlog),
    /// Submits a job, claims one, completes it.
    Jobs,
    /// Sends a message, receives one, acknowledges it.
    Messages,
}

/// Runs a load with so many tasks.
pub(crate) fn run(
    server: &Server,
    load: Load,
    tasks: usize,
    time: Duration,
) -> Result<Reached, Failed> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(server::connect(server))?;
    let phase = Arc::new(Phase::default());
    let start = |task| {
        let (client, phase) = (client.clone(), Arc::clone(&phase));
        runtime.spawn(async move {
            let (mut work, mut number) = (Work::default(), 0);
            while phase.goes_on() {
                number += 1;
                let began = phase::now_ns();
                if step(&client, load, payload(number)).await? {
                    work.done_since(&phase, began);
                } else if let Load::Work(backlog) = load {
                    panic!("task {task}: {}", backlog.ran_dry());
                }
            }
            Ok::<Work, Error>(work)
        })
    };
    let running: Vec<_> = (0..tasks).map(start).collect();
    let borders = phase::walk(&phase, time, || server.cpu_ns());
    let mut works = vec![];
    for task in running {
        works.push(runtime.block_on(task)??);
    }
    runtime.shutdown_background();
    Ok(phase::reached(borders, works))
}

/// Whether there was something to do.
async fn step(client: &Client, load: Load, payload: String) -> Result<bool, Error> {
    let checked = |durability| {
        assert_eq!(durability, Durability::Disk, "the server of a benchmark syncs first");
    };
    if load == Load::Messages {
        checked(client.send(QUEUE, Message::new(payload)).await?.durability);
        let deliveries = client.receive(&Receive::new(QUEUE)).await?;
        let tokens: Vec<_> = deliveries.into_iter().map(|delivery| delivery.token).collect();
        for acked in client.ack(QUEUE, &tokens).await {
            checked(acked?);
        }
        return Ok(!tokens.is_empty());
    }
    let jobs = client.jobs();
    if load == Load::Jobs {
        let job = NewJob { r#type: TYPE.to_owned(), payload: payload.into(), ..NewJob::default() };
        checked(jobs.submit(job).await?.durability);
    }
    let claimed = jobs.claim(&ClaimJobs::new([TYPE])).await?;
    let done = |job: rekindle_client::ClaimedJob| JobCompletion {
        token: job.token,
        id: job.id,
        ..JobCompletion::default()
    };
    let completions: Vec<_> = claimed.into_iter().map(done).collect();
    let any = !completions.is_empty();
    for completed in jobs.complete(completions).await {
        checked(completed?.durability);
    }
    Ok(any)
}
