//! How far a server is: starting, serving, ending. What the probes say follows from it.
//!
//! Invariants: stages only move forward, and `Ready` is entered after the gRPC front accepts; a
//! start has one outcome, and whoever watches is told it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rekindle_env::Clock;
use rekindle_recovery::{Meter, Reading, Stage as LayerStage};
use serde::Serialize;
use tokio::sync::watch;

use crate::reports::Took;

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
    /// Started limited on purpose: it is looked at and decided about, and serves no work.
    #[serde(rename = "recovery-mode")]
    RecoveryMode,
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
    /// How long the last start took, milliseconds.
    pub estimate_ms: Option<u64>,
    /// The layer that recovers, or recovered last.
    pub layer: Option<&'static str>,
    /// Its stage.
    pub layer_stage: Option<LayerStage>,
    /// Bytes that recovery read.
    pub bytes_done: u64,
    /// Those that it will have read; an estimate until the journal was scanned.
    pub bytes_total: u64,
    /// Rows loaded, records replayed and rows looked at.
    pub records_done: u64,
    /// All of them, where that is known.
    pub records_total: Option<u64>,
    /// What is read per second now.
    pub bytes_per_second: u64,
    /// Until work is accepted, milliseconds, where that can be told.
    pub remaining_ms: Option<u64>,
}

/// How a start ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Outcome {
    /// Work is accepted.
    Ready,
    /// Nothing is recovered: it was started to be looked at.
    #[serde(rename = "recovery-mode")]
    RecoveryMode,
    /// Recovery refused.
    Refused {
        /// The exit code of the process.
        code: i32,
        /// Why, and the ways on.
        message: String,
    },
    /// It was asked to end.
    Stopped,
}

/// The stage of one server, to be moved and to be waited for.
#[derive(Debug)]
pub struct Progress {
    clock: Arc<dyn Clock>,
    began_ns: u64,
    lead_began_ns: AtomicU64,
    last: OnceLock<Took>,
    meter: Meter,
    refused: OnceLock<Outcome>,
    stage: watch::Sender<Stage>,
    /// Changes whenever the stage does or the start is refused; its receivers are those who watch.
    news: watch::Sender<()>,
}

impl Progress {
    /// A start that begins now.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let began_ns = clock.boot_ns();
        Self {
            clock,
            began_ns,
            lead_began_ns: AtomicU64::new(0),
            last: OnceLock::new(),
            meter: Meter::default(),
            refused: OnceLock::new(),
            stage: watch::Sender::new(Stage::Starting),
            news: watch::Sender::new(()),
        }
    }

    /// Moves on; going back changes nothing.
    pub fn enter(&self, stage: Stage) {
        if stage == Stage::Lead {
            self.lead_began_ns.store(self.clock.boot_ns(), Ordering::Relaxed);
        }
        let moved = self.stage.send_if_modified(|now| {
            let forward = stage > *now;
            *now = stage.max(*now);
            forward
        });
        if moved {
            self.news.send_replace(());
            tracing::debug!(?stage, elapsed_ms = self.elapsed_ms(), "stage");
        }
    }

    /// Notes how long this start will probably take, as long as nothing better is known.
    pub fn expect(&self, took: Took) {
        self.last.get_or_init(|| took);
    }

    /// Notes that the start was refused; the first reason counts.
    pub fn refuse(&self, code: i32, message: &str) {
        self.refused.get_or_init(|| Outcome::Refused { code, message: message.to_owned() });
        self.news.send_replace(());
    }

    /// What recovery tells how far it is.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How the start ended; `None` while it goes on.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match (self.stage(), self.refused.get()) {
            (Stage::Shutdown, _) => Some(Outcome::Stopped),
            (_, Some(refused)) => Some(refused.clone()),
            (Stage::Ready, None) => Some(Outcome::Ready),
            (Stage::RecoveryMode, None) => Some(Outcome::RecoveryMode),
            _ => None,
        }
    }

    /// Wakes at each change of the stage, and at a refusal.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Whether anybody watches.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.news.receiver_count() > 0
    }

    /// Waits until nobody watches any more.
    pub async fn unwatched(&self) {
        self.news.closed().await;
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
        let now_ns = self.clock.boot_ns();
        let stage = self.stage();
        let reading = self.meter.reading(now_ns);
        Status {
            ready: stage == Stage::Ready,
            stage,
            elapsed_ms: now_ns.saturating_sub(self.began_ns) / 1_000_000,
            estimate_ms: self.last.get().map(|took| took.total_ms),
            layer: reading.layer,
            layer_stage: reading.stage,
            bytes_done: reading.bytes_done,
            bytes_total: reading.bytes_total,
            records_done: reading.records_done,
            records_total: reading.records_total,
            bytes_per_second: reading.bytes_per_second,
            remaining_ms: self.remaining_ms(stage, &reading, now_ns),
        }
    }

    /// What is left: bytes at the rate of now and then the settling, which takes what it took the
    /// last time; without a rate, what is left of the last start's time. `None` once that is over.
    fn remaining_ms(&self, stage: Stage, reading: &Reading, now_ns: u64) -> Option<u64> {
        let last = self.last.get();
        let left_of = |ms: u64, since_ns: u64| {
            let spent_ms = now_ns.saturating_sub(since_ns) / 1_000_000;
            ms.checked_sub(spent_ms).filter(|left| *left > 0)
        };
        match stage {
            Stage::Starting | Stage::Open => match reading.bytes_left_ms() {
                Some(ms) => Some(ms.saturating_add(last.map_or(0, |took| took.lead_ms))),
                None => last.and_then(|took| left_of(took.total_ms, self.began_ns)),
            },
            Stage::Lead => {
                let since_ns = self.lead_began_ns.load(Ordering::Relaxed);
                last.and_then(|took| left_of(took.lead_ms, since_ns))
            }
            Stage::Serve | Stage::Ready => Some(0),
            Stage::RecoveryMode | Stage::Shutdown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_env::ManualClock;

    fn progress() -> (Arc<ManualClock>, Progress) {
        let clock = Arc::new(ManualClock::new(0));
        let progress = Progress::new(Arc::clone(&clock) as Arc<dyn Clock>);
        (clock, progress)
    }

    /// A shutdown that begins during a start is not undone by the start's next stage.
    #[test]
    fn stages_only_move_forward() {
        let (clock, progress) = progress();
        progress.enter(Stage::Lead);
        progress.enter(Stage::Open);
        assert_eq!(progress.stage(), Stage::Lead);
        progress.enter(Stage::Shutdown);
        progress.enter(Stage::Ready);
        clock.advance_ms(7);
        progress.expect(Took { total_ms: 9, lead_ms: 1 });
        let status = progress.status();
        assert_eq!((status.ready, status.stage), (false, Stage::Shutdown));
        assert_eq!((status.elapsed_ms, status.estimate_ms), (7, Some(9)));
        assert_eq!(progress.outcome(), Some(Outcome::Stopped));
    }

    /// What is left comes from the last start until something moves, then from the rate, then from
    /// what settling took the last time.
    #[test]
    fn what_is_left_is_told_as_well_as_it_can_be() {
        let (clock, progress) = progress();
        let left = || progress.status().remaining_ms;
        assert_eq!(left(), None, "nothing is known");
        progress.expect(Took { total_ms: 10_000, lead_ms: 2_000 });
        progress.enter(Stage::Open);
        clock.advance_ms(1_000);
        assert_eq!(left(), Some(9_000));
        progress.meter().enter("engine", LayerStage::Scan);
        progress.meter().expect_bytes(5_000);
        progress.meter().advance(1_000, 10);
        clock.advance_ms(1_000);
        assert_eq!(left(), Some(6_000), "4,000 bytes at 1,000 a second, and 2 s of settling");
        let status = progress.status();
        assert_eq!((status.layer, status.layer_stage), (Some("engine"), Some(LayerStage::Scan)));
        assert_eq!((status.bytes_done, status.bytes_total), (1_000, 5_000));
        assert_eq!((status.records_done, status.records_total), (10, None));
        clock.advance_ms(60_000);
        assert_eq!(left(), None, "it stands still, and longer than the last start took");
        progress.enter(Stage::Lead);
        clock.advance_ms(500);
        assert_eq!(left(), Some(1_500));
        clock.advance_ms(1_500);
        assert_eq!(left(), None);
        progress.enter(Stage::Ready);
        assert_eq!((left(), progress.outcome()), (Some(0), Some(Outcome::Ready)));
    }

    /// Whoever watches is woken by a refusal and told why.
    #[tokio::test]
    async fn a_refusal_is_an_outcome() {
        let (_, progress) = progress();
        let mut watching = progress.watch();
        progress.enter(Stage::Open);
        assert!(watching.changed().await.is_ok());
        assert_eq!(progress.outcome(), None);
        progress.refuse(65, "damaged");
        assert!(watching.changed().await.is_ok());
        let refused = Outcome::Refused { code: 65, message: "damaged".to_owned() };
        assert_eq!(progress.outcome(), Some(refused));
        drop(watching);
        progress.unwatched().await;
    }
}
