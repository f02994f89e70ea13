//! The worker on a queue.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rekindle_wire::v1::Delivery;

use super::settle::{Decision, Settlement, count};
use super::{Claim, Engine, Held, Kept, Source};
use crate::client::Client;
use crate::error::Error;
use crate::queues::Receive;

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

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages that were finished.
    pub acked: u64,
    /// Messages that were given back.
    pub nacked: u64,
    /// Messages whose lease had run out: somebody else has them, or had them.
    pub refused: u64,
    /// Messages whose settlement was not answered; their leases run out.
    pub unknown: u64,
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Worker {
    engine: Engine<Messages>,
}

impl Worker {
    /// A worker on this queue that runs one handler at a time, until it is stopped.
    #[must_use]
    pub fn new(client: Client, queue: impl Into<String>) -> Self {
        let owner = format!("worker-{}", std::process::id());
        let source = Messages { client, queue: queue.into(), owner };
        Self { engine: Engine { source, concurrency: 1, drain: false } }
    }

    /// How many handlers run at once, at least 1.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.engine.concurrency = concurrency.max(1);
        self
    }

    /// Ends when nothing is ready, leased (by anybody) or delayed.
    #[must_use]
    pub fn drain(mut self, drain: bool) -> Self {
        self.engine.drain = drain;
        self
    }

    /// Who receives, for people who look at leases.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.engine.source.owner = owner.into();
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
        self.engine.run(handler, stop).await
    }
}

/// The messages of a queue.
#[derive(Clone, Debug)]
struct Messages {
    client: Client,
    queue: String,
    owner: String,
}

impl Messages {
    async fn send(&self, batch: Vec<Settlement<Self>>, summary: &mut Summary) {
        let (mut acks, mut releases) = (Vec::new(), Vec::new());
        let mut nacks: BTreeMap<(Duration, String), Vec<String>> = BTreeMap::new();
        let mut longest = self.client.timeout();
        for Settlement { held, decision } in batch {
            longest = longest.max(held.lease);
            match decision {
                Decision::Verdict(Verdict::Ack) => acks.push(held.token),
                Decision::Verdict(Verdict::Nack { delay, reason }) => {
                    nacks.entry((delay, reason)).or_default().push(held.token);
                }
                Decision::Verdict(Verdict::Release) | Decision::Lost => releases.push(held.token),
            }
        }
        // A lease lives on over a restart of the server: worth trying for as long as it lasts.
        let client = self.client.with_timeout(longest);
        let Summary { acked, nacked, refused, unknown } = summary;
        if !acks.is_empty() {
            let results = client.ack(&self.queue, &acks).await;
            *acked += count(&results, "message", refused, unknown);
        }
        if !releases.is_empty() {
            let results = client.release(&self.queue, &releases).await;
            *nacked += count(&results, "message", refused, unknown);
        }
        for ((delay, reason), tokens) in nacks {
            let results = client.nack(&self.queue, &tokens, delay, &reason).await;
            *nacked += count(&results, "message", refused, unknown);
        }
    }
}

impl Source for Messages {
    type Item = Delivery;
    type Verdict = Verdict;
    type Link = ();
    type Summary = Summary;
    const STOPS: bool = false;

    fn claim(
        &self,
        max: u32,
        wait: Duration,
    ) -> BoxFuture<'static, Result<Vec<Claim<Self>>, Error>> {
        let receive = Receive { queue: self.queue.clone(), max, wait, owner: self.owner.clone() };
        let client = self.client.clone();
        async move {
            let (deliveries, lease) = client.receive_leased(&receive).await?;
            let held =
                |delivery: &Delivery| Held { token: delivery.token.clone(), lease, link: () };
            Ok(deliveries.into_iter().map(|delivery| (held(&delivery), delivery)).collect())
        }
        .boxed()
    }

    fn keep<'a>(
        &'a self,
        held: &'a Held<()>,
        within: Duration,
    ) -> BoxFuture<'a, Result<Kept, Error>> {
        async move {
            let (client, token) = (self.client.with_timeout(within), [held.token.clone()]);
            let results = client.extend(&self.queue, &token, Duration::ZERO).await;
            match results.into_iter().next() {
                Some(Err(error @ (Error::Fenced(_) | Error::NotFound(_)))) => Ok(Kept::No(error)),
                Some(Err(error)) => Err(error),
                Some(Ok(_)) | None => Ok(Kept::Yes),
            }
        }
        .boxed()
    }

    /// The handler goes on: its message may be done before anybody else begins with it.
    fn lost<'a>(&'a self, _held: &'a Held<()>, why: &'a Error) -> BoxFuture<'a, ()> {
        tracing::warn!("a lease ran out while its message was worked on: {why}");
        std::future::pending().boxed()
    }

    fn settle<'a>(
        &'a self,
        batch: Vec<Settlement<Self>>,
        summary: &'a mut Summary,
    ) -> BoxFuture<'a, ()> {
        self.send(batch, summary).boxed()
    }

    fn drained(&self) -> BoxFuture<'_, Result<bool, Error>> {
        async move {
            let shown = self.client.show_queue(&self.queue).await?;
            let counts = shown.counts.unwrap_or_default();
            Ok(counts.ready == 0 && counts.leased == 0 && counts.delayed == 0)
        }
        .boxed()
    }

    fn release() -> Verdict {
        Verdict::Release
    }

    fn panicked() -> Verdict {
        Verdict::Nack { delay: Duration::ZERO, reason: "the handler panicked".to_owned() }
    }
}
