//! Sends what handlers decided, many in one request, until the server answered.

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle_wire::v1::{Delivery, Durability};
use tokio::sync::mpsc;

use super::{SETTLEMENTS, Verdict};
use crate::client::Client;
use crate::error::Error;

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

/// What is to be done with one message.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    pub(super) token: String,
    pub(super) visibility: Duration,
    verdict: Verdict,
}

impl Settlement {
    /// Not decided yet: what was never decided is given back.
    pub(super) fn new(delivery: &Delivery, visibility: Duration) -> Self {
        Self { token: delivery.token.clone(), visibility, verdict: Verdict::Release }
    }

    pub(super) fn with(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }
}

pub(super) struct Settler {
    client: Client,
    queue: String,
    summary: Summary,
}

impl Settler {
    pub(super) fn new(client: Client, queue: String) -> Self {
        Self { client, queue, summary: Summary::default() }
    }

    /// Settles until nobody can send settlements any more.
    pub(super) async fn run(mut self, mut incoming: mpsc::Receiver<Settlement>) -> Summary {
        let mut batch = Vec::with_capacity(SETTLEMENTS);
        while incoming.recv_many(&mut batch, SETTLEMENTS).await > 0 {
            self.settle(batch.drain(..)).await;
        }
        self.summary
    }

    async fn settle(&mut self, batch: impl Iterator<Item = Settlement>) {
        let (mut acks, mut releases) = (Vec::new(), Vec::new());
        let mut nacks: BTreeMap<(Duration, String), Vec<String>> = BTreeMap::new();
        let mut longest = self.client.timeout();
        for Settlement { token, visibility, verdict } in batch {
            longest = longest.max(visibility);
            match verdict {
                Verdict::Ack => acks.push(token),
                Verdict::Release => releases.push(token),
                Verdict::Nack { delay, reason } => {
                    nacks.entry((delay, reason)).or_default().push(token);
                }
            }
        }
        // A lease lives on over a restart of the server: worth trying for as long as it lasts.
        let client = self.client.with_timeout(longest);
        if !acks.is_empty() {
            let results = client.ack(&self.queue, &acks).await;
            self.summary.acked += self.count(&results);
        }
        if !releases.is_empty() {
            let results = client.release(&self.queue, &releases).await;
            self.summary.nacked += self.count(&results);
        }
        for ((delay, reason), tokens) in nacks {
            let results = client.nack(&self.queue, &tokens, delay, &reason).await;
            self.summary.nacked += self.count(&results);
        }
    }

    /// Counts what was done; notes what was not.
    fn count(&mut self, results: &[Result<Durability, Error>]) -> u64 {
        let mut done = 0;
        for result in results {
            match result {
                Ok(_) => done += 1,
                Err(error @ (Error::Unknown(_) | Error::Unreachable { .. } | Error::Retry(_))) => {
                    tracing::warn!("a message could not be settled: {error}; its lease runs out");
                    self.summary.unknown += 1;
                }
                Err(error) => {
                    tracing::warn!("a message was not settled: {error}");
                    self.summary.refused += 1;
                }
            }
        }
        done
    }
}
