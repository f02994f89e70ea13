//! The worker on jobs: a handler whose claim is lost is stopped, and its result is dropped.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rekindle_wire::v1::{ClaimedJob, JobCompletion, JobFailure, JobHeartbeat, JobRelease};
use tokio::sync::watch;

use super::settle::{Decision, Settlement, count};
use super::{Claim, Engine, Held, Kept, Source};
use crate::client::{Client, millis};
use crate::error::Error;
use crate::jobs::{ClaimJobs, Jobs};

/// What a handler decides about its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobVerdict {
    /// Done, with this result.
    Complete(Bytes),
    /// It went wrong.
    Fail {
        /// What; kept with the attempt.
        error: String,
        /// How long the job stays away; `None`: the back-off of its type.
        retry_in: Option<Duration>,
        /// Trying again is of no use.
        last: bool,
    },
    /// Not worked on: pending at once, and the attempt is not charged.
    Release,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobSummary {
    /// Jobs that were finished.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Jobs that were given back.
    pub released: u64,
    /// Jobs whose claim was lost while they were worked on: the handler was stopped.
    pub lost: u64,
    /// Jobs that were somebody else's by the time they were settled.
    pub refused: u64,
    /// Jobs whose settlement was not answered; their claims run out.
    pub unknown: u64,
}

/// A job as its handler gets it.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is.
    pub claimed: ClaimedJob,
    /// What can be said about it meanwhile.
    pub handle: JobHandle,
}

/// Tells the server how far a job is, and its handler that it is somebody else's.
#[derive(Clone)]
pub struct JobHandle {
    jobs: Jobs,
    token: String,
    lease: Duration,
    lost: Arc<watch::Sender<bool>>,
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("lost", &self.is_lost()).finish_non_exhaustive()
    }
}

impl JobHandle {
    /// Says how far the work is, in the worker's words, and keeps the claim.
    pub async fn progress(&self, words: impl Into<Bytes>) -> Result<(), Error> {
        let progress = Some(words.into());
        let heartbeat = JobHeartbeat { token: self.token.clone(), progress, ..Default::default() };
        let results = self.jobs.heartbeat(vec![heartbeat], self.lease).await;
        let result = results.into_iter().next().map_or(Ok(()), |result| result.map(|_| ()));
        if let Err(Error::Fenced(_)) = result {
            self.lost.send_replace(true);
        }
        result
    }

    /// Whether the claim is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Completes when the claim is lost: nobody wants the result any more. Unless the worker was
    /// given a [`JobWorker::grace`], the handler is dropped at that moment anyway.
    pub async fn lost(&self) {
        // The sender lives in here, so this ends only with the loss.
        let lost = self.lost.subscribe().wait_for(|lost| *lost).await.is_ok();
        debug_assert!(lost, "the sender is in here");
    }
}

/// How a worker works on jobs.
#[derive(Clone, Debug)]
pub struct JobWorker {
    engine: Engine<Work>,
}

impl JobWorker {
    /// A worker on jobs of these types, looked for in this order, that runs one handler at a time
    /// until it is stopped.
    #[must_use]
    pub fn new<T: Into<String>>(client: &Client, types: impl IntoIterator<Item = T>) -> Self {
        let claim =
            ClaimJobs { worker: format!("worker-{}", std::process::id()), ..ClaimJobs::new(types) };
        let source = Work { jobs: client.jobs(), claim, grace: Duration::ZERO };
        Self { engine: Engine { source, concurrency: 1, drain: false } }
    }

    /// How many handlers run at once, at least 1.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.engine.concurrency = concurrency.max(1);
        self
    }

    /// Ends when none is pending, processing (by anybody) or scheduled.
    #[must_use]
    pub fn drain(mut self, drain: bool) -> Self {
        self.engine.drain = drain;
        self
    }

    /// Who works, for people who look at jobs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.engine.source.claim.worker = name.into();
        self
    }

    /// How long claims last without a heartbeat, which comes at a third of it; zero, the default:
    /// as long as the type says.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.engine.source.claim.lease = lease;
        self
    }

    /// How long a handler whose claim is lost may go on to put things in order, once
    /// [`JobHandle::lost`] told it; none by default.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.engine.source.grace = grace;
        self
    }

    /// Works until `stop` completes (then finishes what runs), or until all types are drained. A
    /// server that cannot be reached is waited for; so is the first job of a type.
    pub async fn run<H, F>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
    ) -> Result<JobSummary, Error>
    where
        H: Fn(Job) -> F + Clone + Send + 'static,
        F: Future<Output = JobVerdict> + Send + 'static,
    {
        self.engine.run(handler, stop).await
    }
}

/// The jobs of a few types.
#[derive(Clone, Debug)]
struct Work {
    jobs: Jobs,
    claim: ClaimJobs,
    grace: Duration,
}

impl Work {
    async fn send(&self, batch: Vec<Settlement<Self>>, summary: &mut JobSummary) {
        let (mut done, mut given_up, mut back) = (Vec::new(), Vec::new(), Vec::new());
        let mut longest = self.jobs.timeout();
        for Settlement { held, decision } in batch {
            longest = longest.max(held.lease);
            let (token, id) = (held.token, String::new());
            match decision {
                Decision::Verdict(JobVerdict::Complete(result)) => {
                    done.push(JobCompletion { token, id, result });
                }
                Decision::Verdict(JobVerdict::Fail { error, retry_in, last }) => {
                    let retry_in_ms = retry_in.map(millis);
                    given_up.push(JobFailure { token, id, error, retry_in_ms, last });
                }
                Decision::Verdict(JobVerdict::Release) => {
                    back.push(JobRelease { token, id, reason: String::new() });
                }
                Decision::Lost => summary.lost += 1,
            }
        }
        // A claim lives on over a restart of the server: worth trying for as long as it lasts.
        let jobs = self.jobs.with_timeout(longest);
        let JobSummary { completed, failed, released, refused, unknown, .. } = summary;
        *completed += count(&jobs.complete(done).await, "job", refused, unknown);
        *failed += count(&jobs.fail(given_up).await, "job", refused, unknown);
        *released += count(&jobs.release(back).await, "job", refused, unknown);
    }
}

impl Source for Work {
    type Item = Job;
    type Verdict = JobVerdict;
    type Link = Arc<watch::Sender<bool>>;
    type Summary = JobSummary;
    const STOPS: bool = true;

    fn claim(
        &self,
        max: u32,
        wait: Duration,
    ) -> BoxFuture<'static, Result<Vec<Claim<Self>>, Error>> {
        let claim = ClaimJobs { max, wait, ..self.claim.clone() };
        let jobs = self.jobs.clone();
        async move {
            let held = |claimed: ClaimedJob| {
                let link = Arc::new(watch::Sender::new(false));
                let lease = Duration::from_millis(claimed.lease_ms);
                let (token, lost) = (claimed.token.clone(), Arc::clone(&link));
                let (jobs, kept) = (jobs.clone(), claim.lease);
                let handle = JobHandle { jobs, token: token.clone(), lease: kept, lost };
                (Held { token, lease, link }, Job { claimed, handle })
            };
            Ok(jobs.claim(&claim).await?.into_iter().map(held).collect())
        }
        .boxed()
    }

    fn keep<'a>(
        &'a self,
        held: &'a Held<Self::Link>,
        within: Duration,
    ) -> BoxFuture<'a, Result<Kept, Error>> {
        async move {
            let heartbeat = JobHeartbeat { token: held.token.clone(), ..JobHeartbeat::default() };
            let jobs = self.jobs.with_timeout(within);
            let results = jobs.heartbeat(vec![heartbeat], self.claim.lease).await;
            match results.into_iter().next() {
                Some(Err(error @ (Error::Fenced(_) | Error::NotFound(_)))) => Ok(Kept::No(error)),
                Some(Err(error)) => Err(error),
                Some(Ok(_)) | None => Ok(Kept::Yes),
            }
        }
        .boxed()
    }

    fn lost<'a>(&'a self, held: &'a Held<Self::Link>, why: &'a Error) -> BoxFuture<'a, ()> {
        tracing::warn!("the claim of a job is lost, so its handler is stopped: {why}");
        held.link.send_replace(true);
        tokio::time::sleep(self.grace).boxed()
    }

    fn settle<'a>(
        &'a self,
        batch: Vec<Settlement<Self>>,
        summary: &'a mut JobSummary,
    ) -> BoxFuture<'a, ()> {
        self.send(batch, summary).boxed()
    }

    fn drained(&self) -> BoxFuture<'_, Result<bool, Error>> {
        async move {
            for kind in &self.claim.types {
                let counts = self.jobs.count(Some(kind)).await?;
                if counts.pending + counts.processing + counts.scheduled > 0 {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        .boxed()
    }

    fn release() -> JobVerdict {
        JobVerdict::Release
    }

    fn panicked() -> JobVerdict {
        let error = "the handler panicked".to_owned();
        JobVerdict::Fail { error, retry_in: None, last: false }
    }
}
