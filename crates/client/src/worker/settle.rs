//! Sends what handlers decided, many in one request, until the server answered.

use tokio::sync::mpsc;

use super::{Held, SETTLEMENTS, Source};
use crate::error::Error;

/// What is to be done with one claim.
pub(super) struct Settlement<S: Source> {
    pub(super) held: Held<S::Link>,
    pub(super) decision: Decision<S::Verdict>,
}

/// What came of a handler.
pub(super) enum Decision<V> {
    /// It decided.
    Verdict(V),
    /// Its claim was lost: whatever it decided is not said.
    Lost,
}

pub(super) struct Settler<S: Source> {
    source: S,
    summary: S::Summary,
}

impl<S: Source> Settler<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, summary: S::Summary::default() }
    }

    /// Settles until nobody can send settlements any more.
    pub(super) async fn run(mut self, mut incoming: mpsc::Receiver<Settlement<S>>) -> S::Summary {
        let mut batch = Vec::with_capacity(SETTLEMENTS);
        while incoming.recv_many(&mut batch, SETTLEMENTS).await > 0 {
            let batch = std::mem::take(&mut batch);
            self.source.settle(batch, &mut self.summary).await;
        }
        self.summary
    }
}

/// Counts what was done; notes what was not.
pub(super) fn count<T>(
    results: &[Result<T, Error>],
    what: &str,
    refused: &mut u64,
    unknown: &mut u64,
) -> u64 {
    let mut done = 0;
    for result in results {
        match result {
            Ok(_) => done += 1,
            Err(error @ (Error::Unknown(_) | Error::Unreachable { .. } | Error::Retry(_))) => {
                tracing::warn!("a {what} could not be settled: {error}; its lease runs out");
                *unknown += 1;
            }
            Err(error) => {
                tracing::warn!("a {what} was not settled: {error}");
                *refused += 1;
            }
        }
    }
    done
}
