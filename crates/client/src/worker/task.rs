//! One claim at work: its handler, and beside it what keeps the claim.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc;

use super::settle::{Decision, Settlement};
use super::{Held, Kept, Source};

/// Claims are kept each time this part of their lease is over, so that one call may fail and be
/// repeated in time.
const PART: u32 = 3;

pub(super) struct Task<S: Source> {
    pub(super) source: S,
    pub(super) held: Held<S::Link>,
    pub(super) settlements: mpsc::Sender<Settlement<S>>,
}

impl<S: Source> Task<S> {
    /// Runs the handler to its end and hands its verdict to the settler.
    pub(super) async fn run<H, F>(self, handler: H, item: S::Item)
    where
        H: Fn(S::Item) -> F,
        F: Future<Output = S::Verdict>,
    {
        let stopped = AtomicBool::new(false);
        let work = AssertUnwindSafe(async move { handler(item).await }).catch_unwind();
        let decision = tokio::select! {
            biased;
            verdict = work => Decision::Verdict(verdict.unwrap_or_else(|_| S::panicked())),
            () = self.keep(&stopped) => Decision::Lost,
        };
        // One that was told to stop and ended by itself in time has lost its claim all the same.
        let decision = if stopped.load(Ordering::Relaxed) { Decision::Lost } else { decision };
        let Self { held, settlements, .. } = self;
        let sent = settlements.send(Settlement { held, decision }).await;
        debug_assert!(sent.is_ok(), "the settler ends after its last sender");
    }

    /// Keeps the claim alive for as long as it is polled; completes when the handler is to be
    /// stopped.
    async fn keep(&self, stopped: &AtomicBool) {
        let every = (self.held.lease / PART).max(Duration::from_millis(1));
        loop {
            tokio::time::sleep(every).await;
            match self.source.keep(&self.held, every).await {
                Ok(Kept::Yes) => {}
                Ok(Kept::No(error)) => {
                    stopped.store(S::STOPS, Ordering::Relaxed);
                    return self.source.lost(&self.held, &error).await;
                }
                Err(error) => tracing::warn!("a lease was not extended: {error}"),
            }
        }
    }
}
