//! A job that an executor holds: its heartbeats, and the telling of what became of it.
//!
//! Invariant: a verdict is told until it is acknowledged, or the job is known to be somebody
//! else's; nothing else ends the telling but the end of the process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rekindle_env::Env;
use rekindle_services::claims::Token;
use rekindle_services::jobs::{Changed, Done, Heartbeat};
use rekindle_services::{Error, Jobs, Kind};
use tokio::sync::watch;

use super::Figures;
use super::verdict::Verdict;

/// The pause before something that the store refused is tried again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// The shortest time between two heartbeats.
const BEAT_MIN: Duration = Duration::from_millis(10);

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    /// It claims.
    Running,
    /// It claims nothing more.
    Draining,
    /// What runs is asked to end.
    Stopping,
}

/// What all tasks of the executors share.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) env: Env,
    pub(super) jobs: Jobs,
    /// Where commands have their directories.
    pub(super) dir: PathBuf,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) figures: Arc<Figures>,
}

impl Context {
    /// Resolves when the server is that far.
    pub(super) async fn reached(&self, phase: Phase) {
        let mut watched = self.phase.clone();
        // Whoever would change it is gone: nothing is to go on.
        let _ = watched.wait_for(|now| *now >= phase).await;
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() >= phase
    }

    /// A job that is worked on, counted for as long as it lives.
    pub(super) fn hold(&self, token: Token, lease: Duration) -> Held {
        self.figures.running.fetch_add(1, Ordering::Relaxed);
        Held { context: self.clone(), token, every: (lease / 3).max(BEAT_MIN) }
    }

    /// The same of a claim that an earlier server made; `None` where the job is gone.
    pub(super) fn resume(&self, token: Token) -> Option<Held> {
        let kind = self.jobs.glance(token.subject()).ok()?.kind;
        let lease_ms = self.jobs.show_type(&kind).ok()?.settings.lease_ms;
        self.figures.resumed.fetch_add(1, Ordering::Relaxed);
        Some(self.hold(token, Duration::from_millis(lease_ms)))
    }
}

/// Whether a job is still ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was acknowledged.
    Done,
    /// The job is somebody else's, or finished.
    Lost,
}

/// A job that is worked on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) context: Context,
    pub(super) token: Token,
    every: Duration,
}

impl Held {
    /// Keeps the claim until it is lost; then resolves.
    pub(super) async fn lost(&self) {
        loop {
            match self.ask(Done::Heartbeat(Heartbeat::default())).await {
                Ok(_) => {}
                Err(error) if is_lost(&error) => return,
                Err(error) => {
                    tracing::warn!(token = %self.token, %error, "a heartbeat was not taken");
                }
            }
            tokio::time::sleep(self.every).await;
        }
    }

    /// Tells what became of the job, until that is acknowledged.
    pub(super) async fn tell(&self, verdict: &Verdict) -> Told {
        loop {
            let error = match self.ask(verdict.done()).await {
                Ok(_) => {
                    self.count(verdict);
                    return Told::Done;
                }
                Err(error) if is_lost(&error) => return Told::Lost,
                Err(error) => error,
            };
            tracing::warn!(token = %self.token, %error, "the end of a job is told again");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn count(&self, verdict: &Verdict) {
        let figures = &self.context.figures;
        let count = match verdict {
            Verdict::Complete(_) => &figures.completed,
            Verdict::Fail(..) | Verdict::Died(_) | Verdict::WorkerDied(_) => &figures.failed,
            Verdict::Stop | Verdict::Release(_) => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    async fn ask(&self, done: Done<'_>) -> Result<Changed, Error> {
        let ticket = self.context.jobs.submit_done(&[(self.token, done)], None).await?;
        let mut answers = ticket.await?.value;
        answers.pop().expect("one token has one answer")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.context.figures.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), Kind::Fenced | Kind::NotFound)
}
