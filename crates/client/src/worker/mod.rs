//! Workers: claim, run a handler, keep claims alive, settle; through reconnects.
//!
//! Messages and jobs are worked on by one mechanism; a [`Source`] says what differs. Invariants: at
//! most `concurrency` handlers run; a claim is kept as long as its handler runs; what was claimed
//! is settled or given back before a worker returns, as far as the server can be reached;
//! work whose
//! settlement is lost comes back when its claim runs out.

mod jobs;
mod messages;
mod settle;
mod task;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::error::Error;
pub use jobs::{Job, JobHandle, JobSummary, JobVerdict, JobWorker};
pub use messages::{Summary, Verdict, Worker};
use settle::{Decision, Settlement, Settler};

/// One long poll: short enough that stopping, which waits for it, is prompt. It is never cut off: a
/// claim granted to a call that nobody awaits would keep its work away until it expires.
const POLL: Duration = Duration::from_secs(1);
/// The same while draining: the end is noticed by a poll that comes back empty.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// Settlements that wait to be sent.
const SETTLEMENTS: usize = 256;

/// A claim of this worker.
#[derive(Clone, Debug)]
struct Held<L> {
    token: String,
    /// How long it lasts without being kept.
    lease: Duration,
    /// What else its source keeps with it.
    link: L,
}

/// What came of keeping a claim.
enum Kept {
    /// It goes on.
    Yes,
    /// It is somebody else's, or the work is finished.
    No(Error),
}

/// Claimed work: its claim and what its handler gets.
type Claim<S> = (Held<<S as Source>::Link>, <S as Source>::Item);

/// Where work comes from, and what is done with it.
trait Source: Clone + Send + Sync + 'static {
    /// What a handler gets.
    type Item: Send + 'static;
    /// What a handler decides.
    type Verdict: Send + 'static;
    /// What is kept with a claim.
    type Link: Clone + Send + Sync + 'static;
    /// What a worker did.
    type Summary: Default + Send + 'static;

    /// Whether a handler whose claim is lost is stopped, and what it decided is not said.
    const STOPS: bool;

    /// Claims up to `max` as soon as there is something, or nothing when `wait` is over.
    fn claim(
        &self,
        max: u32,
        wait: Duration,
    ) -> BoxFuture<'static, Result<Vec<Claim<Self>>, Error>>;
    /// Keeps a claim for another lease; tries for `within` at most.
    fn keep<'a>(
        &'a self,
        held: &'a Held<Self::Link>,
        within: Duration,
    ) -> BoxFuture<'a, Result<Kept, Error>>;
    /// The claim is lost: completes when its handler is to be stopped.
    fn lost<'a>(&'a self, held: &'a Held<Self::Link>, why: &'a Error) -> BoxFuture<'a, ()>;
    /// Sends what handlers decided.
    fn settle<'a>(
        &'a self,
        batch: Vec<Settlement<Self>>,
        summary: &'a mut Self::Summary,
    ) -> BoxFuture<'a, ()>;
    /// Whether nothing at all is left.
    fn drained(&self) -> BoxFuture<'_, Result<bool, Error>>;
    /// What was not worked on.
    fn release() -> Self::Verdict;
    /// What a handler that panicked decided.
    fn panicked() -> Self::Verdict;
}

/// How a worker works.
#[derive(Clone, Debug)]
struct Engine<S> {
    source: S,
    concurrency: usize,
    drain: bool,
}

type Poll<S> = BoxFuture<'static, Result<Vec<Claim<S>>, Error>>;

impl<S: Source> Engine<S> {
    /// Works until `stop` completes (then finishes what runs), or until everything is drained.
    async fn run<H, F>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
    ) -> Result<S::Summary, Error>
    where
        H: Fn(S::Item) -> F + Clone + Send + 'static,
        F: Future<Output = S::Verdict> + Send + 'static,
    {
        let (settlements, incoming) = mpsc::channel(SETTLEMENTS);
        let settler = tokio::spawn(Settler::new(self.source.clone()).run(incoming));
        let backoff = Backoff::new(u64::from(std::process::id()));
        let tasks = JoinSet::new();
        let mut running = Running { engine: self, settlements, tasks, backoff, waiting: false };
        let result = running.work(&handler, stop).await;
        while running.tasks.join_next().await.is_some() {}
        // The settler ends when the last of its senders is gone.
        drop(running);
        let summary = settler.await.unwrap_or_default();
        result.map(|()| summary)
    }
}

/// A worker at work.
struct Running<S: Source> {
    engine: Engine<S>,
    settlements: mpsc::Sender<Settlement<S>>,
    tasks: JoinSet<()>,
    backoff: Backoff,
    /// The server could not be reached the last time.
    waiting: bool,
}

impl<S: Source> Running<S> {
    async fn work<H, F>(&mut self, handler: &H, stop: impl Future<Output = ()>) -> Result<(), Error>
    where
        H: Fn(S::Item) -> F + Clone + Send + 'static,
        F: Future<Output = S::Verdict> + Send + 'static,
    {
        tokio::pin!(stop);
        let mut stopping = false;
        let mut poll: Option<Poll<S>> = None;
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
                answer = ready::<S>(&mut poll), if poll.is_some() => {
                    poll = None;
                    let empty = self.take(answer, handler, stopping).await?;
                    if empty && !stopping && self.drained().await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A long poll for as much as handlers are free.
    fn poll(&self) -> Option<Poll<S>> {
        let free = self.engine.concurrency.saturating_sub(self.tasks.len());
        if free == 0 {
            return None;
        }
        let wait = if self.engine.drain { DRAIN_POLL } else { POLL };
        Some(self.engine.source.claim(u32::try_from(free).unwrap_or(u32::MAX), wait))
    }

    /// Starts handlers for what was claimed; true when that was nothing.
    async fn take<H, F>(
        &mut self,
        answer: Result<Vec<Claim<S>>, Error>,
        handler: &H,
        stopping: bool,
    ) -> Result<bool, Error>
    where
        H: Fn(S::Item) -> F + Clone + Send + 'static,
        F: Future<Output = S::Verdict> + Send + 'static,
    {
        let claims = match answer {
            Ok(claims) => claims,
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
        let empty = claims.is_empty();
        for (held, item) in claims {
            if stopping {
                let decision = Decision::Verdict(S::release());
                let sent = self.settlements.send(Settlement { held, decision }).await;
                debug_assert!(sent.is_ok(), "the settler ends after its last sender");
                continue;
            }
            let task = task::Task {
                source: self.engine.source.clone(),
                held,
                settlements: self.settlements.clone(),
            };
            self.tasks.spawn(task.run(handler.clone(), item));
        }
        Ok(empty)
    }

    /// Nothing runs here and nothing at all is left. What waits to be settled is claimed, so the
    /// server counts it.
    async fn drained(&mut self) -> bool {
        while self.tasks.try_join_next().is_some() {}
        if !self.engine.drain || !self.tasks.is_empty() {
            return false;
        }
        self.engine.source.drained().await.unwrap_or(false)
    }
}

/// The answer of a poll that is there.
async fn ready<S: Source>(poll: &mut Option<Poll<S>>) -> Result<Vec<Claim<S>>, Error> {
    match poll {
        Some(poll) => Pin::new(poll).await,
        None => std::future::pending().await,
    }
}
