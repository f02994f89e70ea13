//! The gRPC service `rekindle.v1.Jobs`.
//!
//! Invariant: nothing here decides; a call becomes one call of the service, its answer one answer.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle_services::jobs::{ClaimRequest, Done, Failure, Heartbeat, JobFilter, Jobs, Submitted};
use rekindle_services::limits::SEND_MESSAGES_MAX;
use rekindle_services::{Error, Identity, Kind, Ticket};
use rekindle_wire::v1;
use tonic::{Request, Response, Status};

use super::super::long_poll::waited;
use super::convert::{self, optional, refuse};
use super::{caller, job_convert};
use crate::metrics::Counters;
use crate::state::Server;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    server: Arc<Server>,
    jobs: Jobs,
}

impl Service {
    pub(super) fn new(server: Arc<Server>, jobs: Jobs) -> Self {
        Self { server, jobs }
    }

    fn counters(&self) -> &Counters {
        &self.server.counters
    }

    fn now_ms(&self) -> u64 {
        self.server.recovered().map_or(0, |it| it.database.log_time_ms())
    }

    /// Hands jobs over in their order; awaits them afterwards.
    async fn submit_all(
        &self,
        jobs: &[v1::NewJob],
        identity: Option<Identity>,
    ) -> Vec<Result<Ticket<Submitted>, Error>> {
        let mut tickets = Vec::with_capacity(jobs.len());
        for (at, job) in jobs.iter().enumerate() {
            let identity = identity.map(|identity| identity.item(at));
            tickets.push(match job_convert::new_job(job) {
                Ok(new) => self.jobs.submit_job(&job.r#type, &new, identity).await,
                Err(error) => Err(error),
            });
        }
        tickets
    }

    /// Does what is asked for with each good token, in one transaction.
    async fn done<'a>(
        &self,
        items: impl Iterator<Item = (&'a str, &'a str, Done<'a>)>,
        identity: Option<&v1::RequestIdentity>,
        count: Option<&AtomicU64>,
    ) -> Result<Response<v1::JobsChangedResponse>, Status> {
        let identity = convert::identity(identity).map_err(|e| refuse(&e))?;
        let (mut places, mut asked, mut errors) = (vec![], vec![], vec![]);
        for (place, (token, id, done)) in items.enumerate() {
            match job_convert::token(token, id) {
                Ok(token) => {
                    places.push(place);
                    asked.push((token, done));
                }
                Err(error) => errors.push(convert::refuse_item(place, &error)),
            }
        }
        // Repeated, the same tokens are none: the others keep their numbers.
        let result = match asked.is_empty() && !errors.is_empty() {
            true => None,
            false => {
                let ticket = self.jobs.submit_done(&asked, identity).await;
                Some(ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?)
            }
        };
        let answer = job_convert::changes(result, &places, errors, self.now_ms());
        if let Some(counter) = count {
            let done = answer.jobs.iter().filter(|job| !job.id.is_empty()).count();
            Counters::add(counter, u64::try_from(done).unwrap_or(0));
        }
        Ok(Response::new(answer))
    }
}

/// Awaits submitted jobs.
async fn submitted(tickets: Vec<Result<Ticket<Submitted>, Error>>) -> v1::SubmitJobsResponse {
    let mut promised = None;
    let mut answer = v1::SubmitJobsResponse::default();
    for (index, ticket) in tickets.into_iter().enumerate() {
        let outcome = match ticket {
            Ok(ticket) => ticket.await,
            Err(error) => Err(error),
        };
        answer.jobs.push(match outcome {
            Ok(done) => {
                promised = Some(convert::weaker(promised, done.durability));
                v1::SubmittedJob { id: done.value.id.to_string(), new: done.value.new }
            }
            Err(error) => {
                answer.errors.push(convert::refuse_item(index, &error));
                v1::SubmittedJob::default()
            }
        });
    }
    answer.durability = promised.map_or(0, convert::durability);
    answer
}

fn within(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[tonic::async_trait]
impl v1::jobs_server::Jobs for Service {
    async fn submit(
        &self,
        request: Request<v1::SubmitJobsRequest>,
    ) -> Result<Response<v1::SubmitJobsResponse>, Status> {
        let request = request.into_inner();
        let count = request.jobs.len();
        if count > SEND_MESSAGES_MAX {
            let message = format!("{count} jobs in one call; at most {SEND_MESSAGES_MAX} may be");
            return Err(refuse(&Error::new(Kind::Full, message)));
        }
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let tickets = self.submit_all(&request.jobs, identity).await;
        let answer = submitted(tickets).await;
        let new = answer.jobs.iter().filter(|job| job.new).count();
        Counters::add(&self.counters().jobs_submitted, u64::try_from(new).unwrap_or(0));
        Ok(Response::new(answer))
    }

    async fn claim(
        &self,
        request: Request<v1::ClaimJobsRequest>,
    ) -> Result<Response<v1::ClaimJobsResponse>, Status> {
        let request = request.into_inner();
        let types: Vec<&str> = request.types.iter().map(String::as_str).collect();
        let asked = ClaimRequest {
            types: &types,
            max: within(request.max),
            lease_ms: (request.lease_ms > 0).then_some(request.lease_ms),
            worker: &request.worker,
        };
        let waiting = pin!(waited(&self.server, request.wait_ms));
        let claimed = self.jobs.claim_wait(&asked, waiting).await.map_err(|e| refuse(&e))?.value;
        let counters = self.counters();
        Counters::add(&counters.jobs_claimed, u64::try_from(claimed.len()).unwrap_or(0));
        let most = claimed.iter().map(|job| job.attempt).max().unwrap_or(0);
        counters.most_attempts.fetch_max(u64::from(most), Ordering::Relaxed);
        let jobs = claimed.into_iter().map(job_convert::claimed).collect();
        Ok(Response::new(v1::ClaimJobsResponse { jobs }))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatJobsRequest>,
    ) -> Result<Response<v1::JobsChangedResponse>, Status> {
        let request = request.into_inner();
        let by_ms = (request.by_ms > 0).then_some(request.by_ms);
        let items = request.jobs.iter().map(|job| {
            let heartbeat = Heartbeat { by_ms, progress: job.progress.as_deref() };
            (job.token.as_str(), job.id.as_str(), Done::Heartbeat(heartbeat))
        });
        self.done(items, request.identity.as_ref(), None).await
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteJobsRequest>,
    ) -> Result<Response<v1::JobsChangedResponse>, Status> {
        let request = request.into_inner();
        let items = request
            .jobs
            .iter()
            .map(|job| (job.token.as_str(), job.id.as_str(), Done::Complete(&job.result)));
        let count = Some(&self.counters().jobs_completed);
        self.done(items, request.identity.as_ref(), count).await
    }

    async fn fail(
        &self,
        request: Request<v1::FailJobsRequest>,
    ) -> Result<Response<v1::JobsChangedResponse>, Status> {
        let request = request.into_inner();
        let items = request.jobs.iter().map(|job| {
            let (error, retry_in_ms, last) = (job.error.as_str(), job.retry_in_ms, job.last);
            let failure = Failure { error, retry_in_ms, last };
            (job.token.as_str(), job.id.as_str(), Done::Fail(failure))
        });
        let count = Some(&self.counters().jobs_failed);
        self.done(items, request.identity.as_ref(), count).await
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseJobsRequest>,
    ) -> Result<Response<v1::JobsChangedResponse>, Status> {
        let request = request.into_inner();
        let items = request
            .jobs
            .iter()
            .map(|job| (job.token.as_str(), job.id.as_str(), Done::Release(job.reason.as_str())));
        self.done(items, request.identity.as_ref(), None).await
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::JobChangedResponse>, Status> {
        let who = caller::name(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let id = job_convert::id(&request.id).map_err(|e| refuse(&e))?;
        let ticket = self.jobs.submit_cancel(id, &request.reason, &who, identity).await;
        let changed = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(changed.durability);
        let job = Some(job_convert::change(changed.value, self.now_ms()));
        Ok(Response::new(v1::JobChangedResponse { durability, job }))
    }

    async fn retry(
        &self,
        request: Request<v1::RetryJobRequest>,
    ) -> Result<Response<v1::JobChangedResponse>, Status> {
        let who = caller::name(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let id = job_convert::id(&request.id).map_err(|e| refuse(&e))?;
        let ticket = self.jobs.submit_retry(id, &who, identity).await;
        let changed = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(changed.durability);
        let job = Some(job_convert::change(changed.value, self.now_ms()));
        Ok(Response::new(v1::JobChangedResponse { durability, job }))
    }

    async fn list(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let request = request.into_inner();
        let statuses = job_convert::statuses(&request.statuses).map_err(|e| refuse(&e))?;
        let after = optional(&request.after).map(job_convert::id).transpose();
        let filter = JobFilter {
            kind: optional(&request.r#type),
            statuses: &statuses,
            unique_key: optional(&request.unique_key),
            newest_first: request.newest_first,
            after: after.map_err(|e| refuse(&e))?,
            events: request.events,
            limit: within(request.limit),
        };
        self.jobs.settled().await.map_err(|e| refuse(&e))?;
        let page = self.jobs.list(&filter).map_err(|e| refuse(&e))?;
        let jobs = page.jobs.into_iter().map(job_convert::info).collect();
        let next = page.next.map(|id| id.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListJobsResponse { jobs, next }))
    }

    async fn count(
        &self,
        request: Request<v1::CountJobsRequest>,
    ) -> Result<Response<v1::CountJobsResponse>, Status> {
        let request = request.into_inner();
        self.jobs.settled().await.map_err(|e| refuse(&e))?;
        let counts = self.jobs.counts(optional(&request.r#type)).map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::CountJobsResponse { counts: Some(job_convert::counts(counts)) }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowJobRequest>,
    ) -> Result<Response<v1::ShowJobResponse>, Status> {
        let id = job_convert::id(&request.into_inner().id).map_err(|e| refuse(&e))?;
        self.jobs.settled().await.map_err(|e| refuse(&e))?;
        let job = self.jobs.show(id).map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::ShowJobResponse { job: Some(job_convert::detail(job)) }))
    }

    async fn wait(
        &self,
        request: Request<v1::WaitJobRequest>,
    ) -> Result<Response<v1::WaitJobResponse>, Status> {
        let request = request.into_inner();
        let id = job_convert::id(&request.id).map_err(|e| refuse(&e))?;
        let waiting = waited(&self.server, request.wait_ms);
        let job = self.jobs.wait(id, waiting).await.map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::WaitJobResponse { job: Some(job_convert::detail(job)) }))
    }

    async fn set_type(
        &self,
        request: Request<v1::SetJobTypeRequest>,
    ) -> Result<Response<v1::SetJobTypeResponse>, Status> {
        let who = caller::name(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let change = job_convert::settings_change(&request.settings.unwrap_or_default());
        let ticket = self.jobs.submit_set_type(&request.name, change, &who, identity).await;
        let set = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(set.durability);
        Ok(Response::new(v1::SetJobTypeResponse { durability, changed: set.value }))
    }

    async fn list_types(
        &self,
        request: Request<v1::ListJobTypesRequest>,
    ) -> Result<Response<v1::ListJobTypesResponse>, Status> {
        let request = request.into_inner();
        self.jobs.settled().await.map_err(|e| refuse(&e))?;
        let listed = self.jobs.types(&request.after, within(request.limit));
        let (types, more) = listed.map_err(|e| refuse(&e))?;
        let types = types.into_iter().map(job_convert::job_type).collect();
        Ok(Response::new(v1::ListJobTypesResponse { types, more }))
    }

    async fn show_type(
        &self,
        request: Request<v1::ShowJobTypeRequest>,
    ) -> Result<Response<v1::ShowJobTypeResponse>, Status> {
        self.jobs.settled().await.map_err(|e| refuse(&e))?;
        let kind = self.jobs.show_type(&request.into_inner().name).map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::ShowJobTypeResponse { r#type: Some(job_convert::job_type(kind)) }))
    }
}
