//! Calls on jobs.
//!
//! Invariant: everything that changes something carries an identity, so that a repeated request has
//! one effect; only [`Jobs::claim`] does not: an answer that is lost leaves claims that run out. An
//! item whose outcome the server could not tell is asked for again, with its whole request.

use std::future::Future;
use std::time::Duration;

use rekindle_wire::error::status;
use rekindle_wire::v1::{
    CancelJobRequest, ClaimJobsRequest, ClaimJobsResponse, ClaimedJob, CompleteJobsRequest,
    CountJobsRequest, Durability, FailJobsRequest, HeartbeatJobsRequest, ItemError, JobChange,
    JobChangedResponse, JobCompletion, JobCounts, JobDetail, JobFailure, JobHeartbeat, JobInfo,
    JobRelease, JobSettings, JobStatus, JobTypeInfo, JobsChangedResponse, Kind,
    ListJobTypesRequest, ListJobsRequest, NewJob, ReleaseJobsRequest, RequestIdentity,
    RetryJobRequest, SetJobTypeRequest, ShowJobRequest, ShowJobTypeRequest, SubmitJobsRequest,
    WaitJobRequest, WaitJobResponse,
};
use tonic::{Response, Status};

use crate::client::{Client, Effect, millis};
use crate::error::Error;
use crate::identity::ITEMS_PER_REQUEST;

/// Payloads and results of one request: half of what a server takes.
const REQUEST_BYTES: usize = 2 << 20;
/// Types per page of a list.
const LIST_PAGE: u32 = 256;

/// The jobs of a server.
#[derive(Clone, Debug)]
pub struct Jobs {
    client: Client,
}

/// A job that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmittedJob {
    /// Its id; where another one had the unique key, that one's.
    pub id: String,
    /// False: another one had the unique key, and nothing was submitted.
    pub new: bool,
    /// What the server promises.
    pub durability: Durability,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobChanged {
    /// Its id.
    pub id: String,
    /// How it stands now.
    pub status: JobStatus,
    /// How long its claim lasts; zero without one.
    pub lease: Duration,
    /// What the server promises.
    pub durability: Durability,
}

impl JobChanged {
    fn new(change: JobChange, durability: Durability) -> Self {
        let (status, lease) = (change.status(), Duration::from_millis(change.lease_ms));
        Self { id: change.id, status, lease, durability }
    }
}

/// What to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimJobs {
    /// Jobs of these types, looked for in this order.
    pub types: Vec<String>,
    /// The most jobs of the answer; the server may answer fewer.
    pub max: u32,
    /// How long to wait for the first one.
    pub wait: Duration,
    /// How long the claims last without a heartbeat; zero: as long as the type says.
    pub lease: Duration,
    /// Who works, for people who look at jobs.
    pub worker: String,
}

impl ClaimJobs {
    /// One job of these types, without waiting.
    #[must_use]
    pub fn new<T: Into<String>>(types: impl IntoIterator<Item = T>) -> Self {
        Self {
            types: types.into_iter().map(Into::into).collect(),
            max: 1,
            wait: Duration::ZERO,
            lease: Duration::ZERO,
            worker: String::new(),
        }
    }
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListJobs {
    /// Only this type.
    pub kind: Option<String>,
    /// Only these statuses; empty: all.
    pub statuses: Vec<JobStatus>,
    /// Only the one with this unique key (needs a type).
    pub unique_key: Option<String>,
    /// The newest first.
    pub newest_first: bool,
    /// Behind this job, in that order.
    pub after: Option<String>,
    /// The most of one page; 0: the server's own page size.
    pub limit: u32,
    /// With what happened to each.
    pub events: bool,
}

/// What an answer says of its items: one each, in order, and the refused ones.
type Parts<T> = (Durability, Vec<T>, Vec<ItemError>);

impl Client {
    /// The jobs of this server.
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        Jobs { client: self.clone() }
    }
}

impl Jobs {
    /// The same with another deadline for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { client: self.client.with_timeout(timeout) }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.client.timeout()
    }

    /// Submits one job. Its type begins with its first job.
    pub async fn submit(&self, job: NewJob) -> Result<SubmittedJob, Error> {
        only(self.submit_all(vec![job]).await)
    }

    /// Submits jobs in their order, each a transaction of its own; one result each. A refused one
    /// does not hinder the others.
    pub async fn submit_all(&self, jobs: Vec<NewJob>) -> Vec<Result<SubmittedJob, Error>> {
        let call = |jobs, identity| {
            let mut calls = self.client.job_calls();
            let request = SubmitJobsRequest { jobs, identity };
            async move {
                let answer = calls.submit(request).await?;
                decided(answer.map(|it| (it.durability(), it.jobs, it.errors)))
            }
        };
        let results = self.in_requests(jobs, |job: &NewJob| job.payload.len(), call).await;
        let done = |(job, durability): (rekindle_wire::v1::SubmittedJob, _)| SubmittedJob {
            id: job.id,
            new: job.new,
            durability,
        };
        results.into_iter().map(|result| result.map(done)).collect()
    }

    /// Claims jobs: as soon as one is pending, or none when `wait` is over. When the answer is
    /// lost, what it would have claimed comes back when the claims run out.
    pub async fn claim(&self, claim: &ClaimJobs) -> Result<Vec<ClaimedJob>, Error> {
        let call = |wait_ms| {
            let mut calls = self.client.job_calls();
            let request = ClaimJobsRequest {
                types: claim.types.clone(),
                max: claim.max,
                wait_ms,
                lease_ms: millis(claim.lease),
                worker: claim.worker.clone(),
            };
            async move { calls.claim(request).await }
        };
        let there = |answer: &ClaimJobsResponse| !answer.jobs.is_empty();
        Ok(self.client.long_poll(claim.wait, Effect::Again, call, there).await?.jobs)
    }

    /// Keeps claims for `by` from now (zero: as long as the type says), and notes how far the work
    /// is; one result each.
    pub async fn heartbeat(
        &self,
        jobs: Vec<JobHeartbeat>,
        by: Duration,
    ) -> Vec<Result<JobChanged, Error>> {
        let call = |jobs, identity| {
            let mut calls = self.client.job_calls();
            let request = HeartbeatJobsRequest { jobs, by_ms: millis(by), identity };
            async move { changes(calls.heartbeat(request).await) }
        };
        let progress = |job: &JobHeartbeat| job.progress.as_ref().map_or(0, bytes::Bytes::len);
        changed(self.in_requests(jobs, progress, call).await)
    }

    /// Finishes jobs; one result each.
    pub async fn complete(&self, jobs: Vec<JobCompletion>) -> Vec<Result<JobChanged, Error>> {
        let call = |jobs, identity| {
            let mut calls = self.client.job_calls();
            let request = CompleteJobsRequest { jobs, identity };
            async move { changes(calls.complete(request).await) }
        };
        changed(self.in_requests(jobs, |job: &JobCompletion| job.result.len(), call).await)
    }

    /// Gives jobs up, until later or for good; one result each.
    pub async fn fail(&self, jobs: Vec<JobFailure>) -> Vec<Result<JobChanged, Error>> {
        let call = |jobs, identity| {
            let mut calls = self.client.job_calls();
            let request = FailJobsRequest { jobs, identity };
            async move { changes(calls.fail(request).await) }
        };
        changed(self.in_requests(jobs, |job: &JobFailure| job.error.len(), call).await)
    }

    /// Gives jobs back that nobody worked on: pending at once, and the attempt is not charged.
    pub async fn release(&self, jobs: Vec<JobRelease>) -> Vec<Result<JobChanged, Error>> {
        let call = |jobs, identity| {
            let mut calls = self.client.job_calls();
            let request = ReleaseJobsRequest { jobs, identity };
            async move { changes(calls.release(request).await) }
        };
        changed(self.in_requests(jobs, |job: &JobRelease| job.reason.len(), call).await)
    }

    /// Calls a job off, whoever works on it; [`Error::Conflict`] when it is finished.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<JobChanged, Error> {
        let numbers = self.client.producer().reserve(1).await;
        let identity = Some(numbers.identity());
        let request = CancelJobRequest { id: id.to_owned(), reason: reason.to_owned(), identity };
        let call = || {
            let (mut calls, request) = (self.client.job_calls(), request.clone());
            async move { calls.cancel(request).await }
        };
        one(self.client.call(Effect::Once, call).await?)
    }

    /// Another attempt at once, of a job that has failed, was cancelled, or waits for its time.
    pub async fn retry(&self, id: &str) -> Result<JobChanged, Error> {
        let numbers = self.client.producer().reserve(1).await;
        let request = RetryJobRequest { id: id.to_owned(), identity: Some(numbers.identity()) };
        let call = || {
            let (mut calls, request) = (self.client.job_calls(), request.clone());
            async move { calls.retry(request).await }
        };
        one(self.client.call(Effect::Once, call).await?)
    }

    /// A page of jobs, and behind which job the next one begins; a page may be short, even empty,
    /// and not be the last.
    pub async fn list(&self, list: &ListJobs) -> Result<(Vec<JobInfo>, Option<String>), Error> {
        let request = ListJobsRequest {
            r#type: list.kind.clone().unwrap_or_default(),
            statuses: list.statuses.iter().map(|status| i32::from(*status)).collect(),
            unique_key: list.unique_key.clone().unwrap_or_default(),
            newest_first: list.newest_first,
            after: list.after.clone().unwrap_or_default(),
            limit: list.limit,
            events: list.events,
        };
        let call = || {
            let (mut calls, request) = (self.client.job_calls(), request.clone());
            async move { calls.list(request).await }
        };
        let page = self.client.call(Effect::Reads, call).await?;
        Ok((page.jobs, Some(page.next).filter(|next| !next.is_empty())))
    }

    /// How many jobs stand where, of one type or of all.
    pub async fn count(&self, kind: Option<&str>) -> Result<JobCounts, Error> {
        let request = CountJobsRequest { r#type: kind.unwrap_or_default().to_owned() };
        let call = || {
            let (mut calls, request) = (self.client.job_calls(), request.clone());
            async move { calls.count(request).await }
        };
        Ok(self.client.call(Effect::Reads, call).await?.counts.unwrap_or_default())
    }

    /// One job with what it carries and what happened to it.
    pub async fn show(&self, id: &str) -> Result<JobDetail, Error> {
        let call = || {
            let mut calls = self.client.job_calls();
            let request = ShowJobRequest { id: id.to_owned() };
            async move { calls.show(request).await }
        };
        there(self.client.call(Effect::Reads, call).await?.job)
    }

    /// The same, once it is finished or `wait` is over.
    pub async fn wait(&self, id: &str, wait: Duration) -> Result<JobDetail, Error> {
        let call = |wait_ms| {
            let mut calls = self.client.job_calls();
            let request = WaitJobRequest { id: id.to_owned(), wait_ms };
            async move { calls.wait(request).await }
        };
        let finished = |answer: &WaitJobResponse| {
            let info = answer.job.as_ref().and_then(|job| job.info.as_ref());
            info.is_none_or(|info| info.finished_ms > 0)
        };
        there(self.client.long_poll(wait, Effect::Reads, call, finished).await?.job)
    }

    /// Changes settings of a type, which begins where there is none; what is absent stays as it is.
    /// False when everything was so already.
    pub async fn set_type(&self, name: &str, settings: JobSettings) -> Result<bool, Error> {
        let numbers = self.client.producer().reserve(1).await;
        let (settings, identity) = (Some(settings), Some(numbers.identity()));
        let request = SetJobTypeRequest { name: name.to_owned(), settings, identity };
        let call = || {
            let (mut calls, request) = (self.client.job_calls(), request.clone());
            async move { calls.set_type(request).await }
        };
        Ok(self.client.call(Effect::Once, call).await?.changed)
    }

    /// All types in the order of their names.
    pub async fn list_types(&self) -> Result<Vec<JobTypeInfo>, Error> {
        let mut all: Vec<JobTypeInfo> = Vec::new();
        loop {
            let after = all.last().map(|last| last.name.clone()).unwrap_or_default();
            let request = ListJobTypesRequest { after, limit: LIST_PAGE };
            let call = || {
                let (mut calls, request) = (self.client.job_calls(), request.clone());
                async move { calls.list_types(request).await }
            };
            let page = self.client.call(Effect::Reads, call).await?;
            let more = page.more && !page.types.is_empty();
            all.extend(page.types);
            if !more {
                return Ok(all);
            }
        }
    }

    /// One type: settings and counts.
    pub async fn show_type(&self, name: &str) -> Result<JobTypeInfo, Error> {
        let call = || {
            let mut calls = self.client.job_calls();
            let request = ShowJobTypeRequest { name: name.to_owned() };
            async move { calls.show_type(request).await }
        };
        there(self.client.call(Effect::Reads, call).await?.r#type)
    }

    /// Makes requests of as many items as fit into one, one after the other, each until it is
    /// answered; one result per item, in order.
    async fn in_requests<I, T, F>(
        &self,
        items: Vec<I>,
        weigh: impl Fn(&I) -> usize,
        call: impl Fn(Vec<I>, Option<RequestIdentity>) -> F,
    ) -> Vec<Result<(T, Durability), Error>>
    where
        I: Clone,
        F: Future<Output = Result<Response<Parts<T>>, Status>>,
    {
        let mut results = Vec::with_capacity(items.len());
        let mut rest = items.as_slice();
        while !rest.is_empty() {
            let (items, behind) = rest.split_at(fitting(rest, &weigh));
            rest = behind;
            let numbers = self.client.producer().reserve(items.len()).await;
            let attempt = || call(items.to_vec(), Some(numbers.identity()));
            match self.client.call(Effect::Once, attempt).await {
                Ok(parts) => results.extend(per_item(items.len(), parts)),
                Err(error) => results.extend(items.iter().map(|_| Err(error.clone()))),
            }
        }
        results
    }
}

/// How many of these items one request holds: at least one.
fn fitting<I>(items: &[I], weigh: impl Fn(&I) -> usize) -> usize {
    let mut bytes = 0;
    let fits = items.iter().take(ITEMS_PER_REQUEST).take_while(|item| {
        bytes += weigh(item);
        bytes <= REQUEST_BYTES
    });
    fits.count().max(1)
}

/// An answer, unless the server could not tell what became of an item: then the request is lost,
/// and to be made again.
fn decided<T>(answer: Response<Parts<T>>) -> Result<Response<Parts<T>>, Status> {
    let undecided = |error: &&ItemError| matches!(error.kind(), Kind::Unknown | Kind::Retry);
    match answer.get_ref().2.iter().find(undecided) {
        Some(error) => Err(status(Kind::Unknown, error.message.clone())),
        None => Ok(answer),
    }
}

fn changes(
    answer: Result<Response<JobsChangedResponse>, Status>,
) -> Result<Response<Parts<JobChange>>, Status> {
    decided(answer?.map(|it| (it.durability(), it.jobs, it.errors)))
}

/// One result per item, in order.
fn per_item<T>(
    count: usize,
    (durability, items, mut errors): Parts<T>,
) -> Vec<Result<(T, Durability), Error>> {
    let mut items = items.into_iter();
    let refused = |errors: &mut Vec<ItemError>, at: usize| {
        let place = errors.iter().position(|error| usize::try_from(error.index) == Ok(at))?;
        Some(Error::of_item(&errors.swap_remove(place)))
    };
    let result = |at| match (refused(&mut errors, at), items.next()) {
        (Some(error), _) => Err(error),
        (None, Some(item)) => Ok((item, durability)),
        (None, None) => Err(Error::Internal("an answer with too few items".to_owned())),
    };
    (0..count).map(result).collect()
}

fn changed(results: Vec<Result<(JobChange, Durability), Error>>) -> Vec<Result<JobChanged, Error>> {
    let new = |(change, durability)| JobChanged::new(change, durability);
    results.into_iter().map(|result| result.map(new)).collect()
}

fn one(answer: JobChangedResponse) -> Result<JobChanged, Error> {
    let durability = answer.durability();
    Ok(JobChanged::new(there(answer.job)?, durability))
}

fn only<T>(results: Vec<Result<T, Error>>) -> Result<T, Error> {
    let missing = || Err(Error::Internal("an answer without a result".to_owned()));
    results.into_iter().next().unwrap_or_else(missing)
}

fn there<T>(part: Option<T>) -> Result<T, Error> {
    part.ok_or_else(|| Error::Internal("an answer without what was asked for".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_wire::error::item;

    #[test]
    fn refused_items_keep_their_place() {
        let errors = vec![item(2, Kind::Full, "full"), item(0, Kind::Invalid, "no")];
        let results = per_item(4, (Durability::Disk, vec!['a', 'b', 'c'], errors));
        let missing = Err(Error::Internal("an answer with too few items".into()));
        let (no, full) = (Err(Error::Invalid("no".into())), Err(Error::Full("full".into())));
        assert_eq!(results, [no, Ok(('b', Durability::Disk)), full, missing]);
    }

    #[test]
    fn requests_are_cut_by_items_and_by_bytes() {
        assert_eq!(fitting(&[0_usize; 1_000], |bytes| *bytes), ITEMS_PER_REQUEST);
        assert_eq!(fitting(&[1 << 20, 1 << 20, 1], |bytes| *bytes), 2);
        assert_eq!(fitting(&[3 << 20, 1], |bytes| *bytes), 1, "one always fits");
    }

    #[test]
    fn an_item_of_unknown_outcome_is_a_lost_request() {
        let answer = |kind| Response::new((Durability::Disk, vec![()], vec![item(0, kind, "")]));
        assert!(decided(answer(Kind::Fenced)).is_ok());
        for kind in [Kind::Unknown, Kind::Retry] {
            assert!(
                decided(answer(kind))
                    .is_err_and(|it| { rekindle_wire::error::kind(&it) == Some(Kind::Unknown) })
            );
        }
    }
}
