//! A worker: receives, runs a handler, keeps leases alive, settles; through reconnects.
//!
//! Invariants: at most `concurrency` handlers run; a lease is extended as long as its handler runs;
//! what was received is settled or given back before [`Worker::run`] returns, as far as the server
//! can be reached; a message whose settlement is lost comes back when its lease runs out.

mod settle;
mod task;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::future::BoxFuture;
use rekindle_wire::v1::Delivery;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::Error;
use crate::queues::Receive;
pub use settle::Summary;
use settle::{Settlement, Settler};

/// One long poll: short enough that stopping, which waits for it, is prompt. It is never cut off: a
/// lease granted to a call that nobody awaits would keep its message away until it expires.
const POLL: Duration = Duration::from_secs(1);
/// The same while draining: the end is noticed by a poll that comes back empty.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// Settlements that wait to be sent.
const SETTLEMENTS: usize = 256;

/// What a handler decides about its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Ack,
    /// Failed: again after `delay`.
    Nack {
        /// How long the message stays away.
        delay: Duration,
        /// Kept with the attempt.
        reason: String,
    },
    /// Not worked on: back at once, and the attempt is not charged.
    Release,
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Worker {
    client: Client,
    queue: String,
    owner: String,
    concurrency: usize,
    drain: bool,
}

type Poll = BoxFuture<'static, Result<(Vec<Delivery>, Duration), Error>>;

impl Worker {
    /// A worker on this queue that runs one handler at a time, until it is stopped.
    #[must_use]
    pub fn new(client: Client, queue: impl Into<String>) -> Self {
        let owner = format!("worker-{}", std::process::id());
        Self { client, queue: queue.into(), owner, concurrency: 1, drain: false }
    }

    /// How many handlers run at once, at least 1.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }

    /// Ends when nothing is ready, leased (by anybody) or delayed.
    #[must_use]
    pub fn drain(mut self, drain: bool) -> Self {
        self.drain = drain;
        self
    }

    /// Who receives, for people who look at leases.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// Works until `stop` completes (then finishes what runs), or until the queue is drained.
    /// A server that cannot be reached is waited for; a queue that does not exist is an error.
    pub async fn run<H, F>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
    ) -> Result<Summary, Error>
    where
        H: Fn(Delivery) -> F + Clone + Send + 'static,
        F: Future<Output = Verdict> + Send + 'static,
    {
        let (settlements, incoming) = mpsc::channel(SETTLEMENTS);
        let settler = Settler::new(self.client.clone(), self.queue.clone());
        let settler = tokio::spawn(settler.run(incoming));
        let backoff = Backoff::new(u64::from(std::process::id()));
        let tasks = JoinSet::new();
        let mut running = Running { worker: self, settlements, tasks, backoff, waiting: false };
        let result = running.work(&handler, stop).await;
        while running.tasks.join_next().await.is_some() {}
        // The settler ends when the last of its senders is gone.
        drop(running);
        let summary = settler.await.unwrap_or_default();
        result.map(|()| summary)
    }
}

/// A worker at work.
struct Running {
    worker: Worker,
    settlements: mpsc::Sender<Settlement>,
    tasks: JoinSet<()>,
    backoff: Backoff,
    /// The server could not be reached the last time.
    waiting: bool,
}

impl Running {
    async fn work<H, F>(&mut self, handler: &H, stop: impl Future<Output = ()>) -> Result<(), Error>
    where
        H: Fn(Delivery) -> F + Clone + Send + 'static,
        F: Future<Output = Verdict> + Send + 'static,
    {
        tokio::pin!(stop);
        let mut stopping = false;
        let mut poll: Option<Poll> = None;
        loop {
            if poll.is_none() && !stopping {
                poll = self.poll();
            }
            if stopping && poll.is_none() {
                return Ok(());
            }
            tokio::select! {
                () = stop.as_mut(), if !stopping => stopping = true,
                Some(_) = self.tasks.join_next() => {}
                answer = ready(&mut poll), if poll.is_some() => {
                    poll = None;
                    let empty = self.take(answer, handler, stopping).await?;
                    if empty && !stopping && self.drained().await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A long poll for as many messages as handlers are free.
    fn poll(&self) -> Option<Poll> {
        let free = self.worker.concurrency.saturating_sub(self.tasks.len());
        if free == 0 {
            return None;
        }
        let receive = Receive {
            queue: self.worker.queue.clone(),
            max: u32::try_from(free).unwrap_or(u32::MAX),
            wait: if self.worker.drain { DRAIN_POLL } else { POLL },
            owner: self.worker.owner.clone(),
        };
        let client = self.worker.client.clone();
        Some(Box::pin(async move { client.receive_leased(&receive).await }))
    }

    /// Starts handlers for what was received; true when that was nothing.
    async fn take<H, F>(
        &mut self,
        answer: Result<(Vec<Delivery>, Duration), Error>,
        handler: &H,
        stopping: bool,
    ) -> Result<bool, Error>
    where
        H: Fn(Delivery) -> F + Clone + Send + 'static,
        F: Future<Output = Verdict> + Send + 'static,
    {
        let (deliveries, visibility) = match answer {
            Ok(answer) => answer,
            // Too many wait already: as passing as a server that is not there.
            Err(error) if error.is_transient() || matches!(error, Error::Full(_)) => {
                if !std::mem::replace(&mut self.waiting, true) {
                    tracing::warn!("{error}; trying again until it works");
                }
                tokio::time::sleep(self.backoff.next()).await;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if std::mem::replace(&mut self.waiting, false) {
            tracing::warn!("receiving again");
        }
        self.backoff.reset();
        let empty = deliveries.is_empty();
        for delivery in deliveries {
            let settlement = Settlement::new(&delivery, visibility);
            if stopping {
                self.settle(settlement.with(Verdict::Release)).await;
                continue;
            }
            let task = task::Task {
                client: self.worker.client.clone(),
                queue: self.worker.queue.clone(),
                settlement,
                settlements: self.settlements.clone(),
            };
            self.tasks.spawn(task.run(handler.clone(), delivery));
        }
        Ok(empty)
    }

    async fn settle(&self, settlement: Settlement) {
        let sent = self.settlements.send(settlement).await;
        debug_assert!(sent.is_ok(), "the settler ends after its last sender");
    }

    /// Nothing runs here and the queue holds nothing at all. What waits to be settled is leased, so
    /// the queue counts it.
    async fn drained(&mut self) -> bool {
        while self.tasks.try_join_next().is_some() {}
        if !self.worker.drain || !self.tasks.is_empty() {
            return false;
        }
        let Ok(shown) = self.worker.client.show_queue(&self.worker.queue).await else {
            return false;
        };
        let counts = shown.counts.unwrap_or_default();
        counts.ready == 0 && counts.leased == 0 && counts.delayed == 0
    }
}

/// The answer of a poll that is there.
async fn ready(poll: &mut Option<Poll>) -> Result<(Vec<Delivery>, Duration), Error> {
    match poll {
        Some(poll) => Pin::new(poll).await,
        None => std::future::pending().await,
    }
}
