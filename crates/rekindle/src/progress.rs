//! How far a server is: starting, serving, ending. What the probes say follows from it.
//!
//! Invariant: stages only move forward, and `Ready` is entered after the gRPC front accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle_env::Clock;
use serde::Serialize;
use tokio::sync::watch;

/// Where a server stands, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reads its settings and binds its addresses.
    Starting,
    /// Opens the directory: identity, engine, journal, replay.
    Open,
    /// Settles what was in flight: leases, timers, indexes.
    Lead,
    /// Writes the report and opens the gRPC front.
    Serve,
    /// Serves.
    Ready,
    /// Ends: takes no new work, finishes what runs, syncs.
    Shutdown,
}

/// What `/startupz` and `/readyz` say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether work is accepted.
    pub ready: bool,
    /// Where it stands.
    pub stage: Stage,
    /// Since the process began to start, milliseconds.
    pub elapsed_ms: u64,
    /// How long the last start took, milliseconds: the best estimate for this one.
    pub estimate_ms: Option<u64>,
}

/// The stage of one server, to be moved and to be waited for.
#[derive(Debug)]
pub struct Progress {
    clock: Arc<dyn Clock>,
    began_ns: u64,
    estimate_ms: AtomicU64,
    stage: watch::Sender<Stage>,
}

/// `estimate_ms` when there is none.
const NO_ESTIMATE: u64 = u64::MAX;

impl Progress {
    /// A start that begins now.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let began_ns = clock.boot_ns();
        let (stage, _) = watch::channel(Stage::Starting);
        Self { clock, began_ns, estimate_ms: AtomicU64::new(NO_ESTIMATE), stage }
    }

    /// Moves on; going back changes nothing.
    pub fn enter(&self, stage: Stage) {
        let moved = self.stage.send_if_modified(|now| {
            let forward = stage > *now;
            *now = stage.max(*now);
            forward
        });
        if moved {
            tracing::debug!(?stage, elapsed_ms = self.elapsed_ms(), "stage");
        }
    }

    /// Notes how long this start will probably take.
    pub fn estimate(&self, ms: u64) {
        self.estimate_ms.store(ms, Ordering::Relaxed);
    }

    /// The stage now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until `stage` or a later one is entered.
    pub async fn reached(&self, stage: Stage) {
        let mut watcher = self.stage.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = watcher.wait_for(|now| *now >= stage).await;
    }

    /// Since the start began, milliseconds.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        self.clock.boot_ns().saturating_sub(self.began_ns) / 1_000_000
    }

    /// What the probes say.
    #[must_use]
    pub fn status(&self) -> Status {
        let stage = self.stage();
        let estimate = self.estimate_ms.load(Ordering::Relaxed);
        Status {
            ready: stage == Stage::Ready,
            stage,
            elapsed_ms: self.elapsed_ms(),
            estimate_ms: (estimate != NO_ESTIMATE).then_some(estimate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_env::ManualClock;

    /// A shutdown that begins during a start is not undone by the start's next stage.
    #[test]
    fn stages_only_move_forward() {
        let clock = Arc::new(ManualClock::new(0));
        let progress = Progress::new(Arc::clone(&clock) as Arc<dyn Clock>);
        progress.enter(Stage::Lead);
        progress.enter(Stage::Open);
        assert_eq!(progress.stage(), Stage::Lead);
        progress.enter(Stage::Shutdown);
        progress.enter(Stage::Ready);
        clock.advance_ms(7);
        progress.estimate(9);
        let status = progress.status();
        assert_eq!((status.ready, status.stage), (false, Stage::Shutdown));
        assert_eq!((status.elapsed_ms, status.estimate_ms), (7, Some(9)));
    }
}
