//! A job that an executor holds: its heartbeats, and the telling of what became of it.
//!
//! Invariant: a verdict is told until it is acknowledged, or the job is known to be somebody
//! else's; nothing else ends the telling but the end of the process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekindle_env::Env;
use rekindle_services::claims::Token;
use rekindle_services::jobs::{Changed, Done, JobId};
use rekindle_services::loops::STEPS;
use rekindle_services::{Error, Jobs, Kind};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use super::Figures;
use super::command::Aim;
use super::steps;
use super::verdict::Verdict;
use super::work::Work;

/// The pause before something that the store refused is tried again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// The same where a verdict waits: the claim must not run out meanwhile.
const TELL_PAUSE: Duration = Duration::from_millis(100);
/// The same where a person has to look first.
const LONG_PAUSE: Duration = Duration::from_secs(10);
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
    pub(super) turns: Turns,
    /// Where the steps of loops work.
    pub(super) work: Work,
}

/// Whose turn it is with a job: what works on it in this server ends before the next begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    of_jobs: Arc<Mutex<HashMap<JobId, Arc<AsyncMutex<()>>>>>,
}

/// It is somebody's turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    id: JobId,
    mine: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for one's turn.
    pub(super) async fn take(&self, id: JobId) -> Turn {
        let turn = Arc::clone(self.lock().entry(id).or_default());
        Turn { turns: self.clone(), id, mine: Some(turn.lock_owned().await) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<AsyncMutex<()>>>> {
        self.of_jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        self.mine = None;
        // Nobody waits for it: the map has the last one.
        if turns.get(&self.id).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.id);
        }
    }
}

impl Context {
    /// Resolves when the server is that far.
    pub(super) async fn reached(&self, phase: Phase) {
        let mut watched = self.phase.clone();
        if watched.wait_for(|now| *now >= phase).await.is_err() {
            // The server ends otherwise than in order: that is a crash, and commands survive it.
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() >= phase
    }

    /// A job that is worked on, counted for as long as it lives.
    pub(super) fn hold(&self, token: Token, lease: Duration) -> Held {
        self.figures.running.fetch_add(1, Ordering::Relaxed);
        Held { context: self.clone(), token, lease, fresh: true }
    }

    /// The same of a claim that an earlier server made; `None` where the job is gone.
    pub(super) async fn resume(&self, token: Token) -> Option<Held> {
        loop {
            let job = self.jobs.glance(token.subject());
            match job.and_then(|job| self.jobs.show_type(&job.kind)) {
                Ok(kind) => {
                    self.figures.resumed.fetch_add(1, Ordering::Relaxed);
                    let lease = Duration::from_millis(kind.settings.lease_ms);
                    let mut held = self.hold(token, lease);
                    held.fresh = false;
                    return Some(held);
                }
                Err(error) if error.kind() == Kind::NotFound => return None,
                Err(error) => {
                    tracing::error!(%token, %error, "a command is left alone: its job is unread");
                }
            }
            tokio::time::sleep(LONG_PAUSE).await;
        }
    }

    /// What the command of a claim is for.
    pub(super) fn aim(&self, token: Token) -> Aim {
        let job = self.jobs.show(token.subject()).ok().filter(|job| job.info.kind == STEPS);
        let task = job.and_then(|job| steps::task(&job.payload));
        task.map_or(Aim::Job, |task| Aim::Step(Arc::new(task)))
    }

    /// The type of the job of a claim.
    pub(super) fn kind(&self, token: Token) -> Option<String> {
        Some(self.jobs.glance(token.subject()).ok()?.kind)
    }
}

/// A job that is worked on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) context: Context,
    pub(super) token: Token,
    /// How long the claim lasts from each heartbeat.
    lease: Duration,
    /// It was claimed a moment ago.
    fresh: bool,
}

impl Held {
    /// Keeps the claim until it is lost; then resolves.
    pub(super) async fn lost(&self) {
        let every = (self.lease / 3).max(BEAT_MIN);
        if self.fresh {
            self.pause(every).await;
        }
        loop {
            let pause = match self.beat().await {
                Ok(()) => every,
                Err(error) if is_lost(&error) => return,
                Err(error) => {
                    tracing::warn!(token = %self.token, %error, "a heartbeat was not taken");
                    every.min(PAUSE)
                }
            };
            self.pause(pause).await;
        }
    }

    /// Waits until the next heartbeat is due, or the job ends: it may have been called off.
    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            ended = self.context.jobs.end_of(self.token.subject()) => {
                if ended.is_err() {
                    // Too many listen already.
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// One heartbeat: the claim lasts as long as it did, whatever its type says by now.
    pub(super) async fn beat(&self) -> Result<(), Error> {
        let by_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        self.ask(Done::Hold(by_ms)).await.map(drop)
    }

    /// Tells what became of the job, until that is acknowledged, or the job is somebody else's.
    pub(super) async fn tell(&self, verdict: &Verdict) {
        loop {
            let error = match self.ask(verdict.done()).await {
                Ok(_) => return self.count(verdict),
                Err(error) if is_lost(&error) => return,
                Err(error) => error,
            };
            tracing::warn!(token = %self.token, %error, "the end of a job is told again");
            tokio::time::sleep(TELL_PAUSE).await;
        }
    }

    /// Whether the job is somebody else's, or was never an executor's; it is ours where nobody can
    /// say.
    pub(super) async fn is_over(&self) -> bool {
        matches!(self.beat().await, Err(error) if is_lost(&error))
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
