//! One message at work: its handler, and beside it the extension of its lease.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use rekindle_wire::v1::Delivery;
use tokio::sync::mpsc;

use super::Verdict;
use super::settle::Settlement;
use crate::client::Client;
use crate::error::Error;

/// Extensions come at this part of the visibility, so that one may fail and be repeated in time.
const PART: u32 = 3;

pub(super) struct Task {
    pub(super) client: Client,
    pub(super) queue: String,
    pub(super) settlement: Settlement,
    pub(super) settlements: mpsc::Sender<Settlement>,
}

impl Task {
    /// Runs the handler to its end and hands its verdict to the settler.
    pub(super) async fn run<H, F>(self, handler: H, delivery: Delivery)
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Verdict>,
    {
        let work = AssertUnwindSafe(async move { handler(delivery).await }).catch_unwind();
        let verdict = tokio::select! {
            biased;
            verdict = work => verdict.unwrap_or_else(|_| Verdict::Nack {
                delay: Duration::ZERO,
                reason: "the handler panicked".to_owned(),
            }),
            never = self.extend() => match never {},
        };
        let sent = self.settlements.send(self.settlement.with(verdict)).await;
        debug_assert!(sent.is_ok(), "the settler ends after its last sender");
    }

    /// Keeps the lease alive for as long as it is polled.
    async fn extend(&self) -> std::convert::Infallible {
        let every = (self.settlement.visibility / PART).max(Duration::from_millis(1));
        let client = self.client.with_timeout(every);
        let token = [self.settlement.token.clone()];
        loop {
            tokio::time::sleep(every).await;
            let results = client.extend(&self.queue, &token, Duration::ZERO).await;
            match results.into_iter().next() {
                Some(Err(error @ (Error::Fenced(_) | Error::NotFound(_)))) => {
                    tracing::warn!("a lease ran out while its message was worked on: {error}");
                    return std::future::pending().await;
                }
                Some(Err(error)) => tracing::warn!("a lease was not extended: {error}"),
                Some(Ok(_)) | None => {}
            }
        }
    }
}
