//! Jobs over HTTP: submitting one or many, looking at them, calling them off, trying them again.
//!
//! Invariants: jobs of one request are claimed in its order; each has exactly one result, at its
//! place.

use std::sync::Arc;

use axum::http::StatusCode;
use rekindle_services::jobs::{
    JobFilter, JobId, Jobs, NewJob, Status, Submitted, Unique, When as Due,
};
use rekindle_services::limits::{
    BODY_BYTES_MAX, DELAY_MS_MAX, LIST_JOBS_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX,
    SEND_MESSAGES_MAX, UNIQUE_KEY_BYTES_MAX,
};
use rekindle_services::{Acknowledged, Identity, Ticket};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answers::serving;
use super::job_view::{ChangedView, CountsView, DetailView, JobView, ResultView};
use super::messages::RefusedItem;
use super::object::Object;
use super::operation::{Given, Kind, Operation, Parameter, Taken, of};
use super::payload::within;
use super::problem::Code;
use super::queues::{DURABILITIES, FORM, Nothing};
use super::reply::{Answered, Refusal, json, ok};
use super::request::Asked;
use super::route::Working;
use crate::front::limits::LONG_POLL_MS_MAX;
use crate::front::long_poll::waited;
use crate::metrics::Counters;
use crate::state::Server;

/// The id of a job in a path.
pub(super) const ID: Parameter = Parameter::path(
    "id",
    Kind::Form("^j[0-9a-z]+$", 64),
    "The id of a job, as submitting it told.",
    "j0000000000000000000000000000000",
);
/// Only one type.
pub(super) const TYPE: Parameter = Parameter::text("type", "Only jobs of this type.");

/// The job that a request is about.
pub(super) fn id(asked: &Asked) -> Result<JobId, Refusal> {
    Ok(asked.text("id").unwrap_or("").parse()?)
}

/// A key that one job has alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UniqueKey {
    /// The key.
    #[schemars(length(min = 1, max = UNIQUE_KEY_BYTES_MAX))]
    key: String,
    /// For how long from the submission; 0, the default: until the job is finished.
    #[schemars(range(max = DELAY_MS_MAX))]
    window_ms: Option<u64>,
}

/// A job to be submitted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OneJob {
    /// The name of its type, which begins with its first job.
    #[schemars(length(min = 1, max = NAME_BYTES_MAX), regex(pattern = FORM))]
    r#type: String,
    /// What is to be done: any JSON, at most 1 MiB; null unless it is given.
    #[schemars(with = "Option<serde_json::Value>")]
    payload: Option<Box<RawValue>>,
    /// Higher ones are claimed first; 0 unless it is given.
    priority: Option<i16>,
    /// When it becomes deliverable, milliseconds since 1970; at once unless it is given.
    run_at_ms: Option<u64>,
    /// In how long it becomes deliverable, instead of `run_at_ms`.
    #[schemars(range(max = DELAY_MS_MAX))]
    delay_ms: Option<u64>,
    /// Charged attempts after which it has failed; those of its type unless it is given.
    max_attempts: Option<u32>,
    /// Not submitted while another one has this key.
    #[schemars(with = "Option<UniqueKey>")]
    unique: Option<Object<UniqueKey>>,
}

/// Jobs to be submitted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ManyJobs {
    /// In the order in which they will be claimed, where their priorities are equal.
    #[schemars(length(min = 1, max = SEND_MESSAGES_MAX))]
    #[schemars(with = "Vec<OneJob>")]
    jobs: Vec<Object<OneJob>>,
}

/// One job, or `{"jobs":[…]}`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "it is there for its schema; a body is parsed as one or the other")]
enum SubmitJobs {
    One(OneJob),
    Many(ManyJobs),
}

/// What a body of a submission is, before it is known which.
#[derive(Debug, Deserialize)]
struct Peek {
    jobs: Option<serde::de::IgnoredAny>,
}

/// A job that was submitted.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SubmittedJob {
    /// Names the job; where another one had the unique key, that one.
    id: String,
    /// False: another one had the unique key, and nothing was submitted.
    new: bool,
    /// The transaction that submitted it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

/// What became of one job.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum SubmitResult {
    Submitted(SubmittedJob),
    Refused(RefusedItem),
}

/// What became of jobs.
#[derive(Debug, Serialize, JsonSchema)]
struct SubmitResults {
    /// One for each job, in their order.
    results: Vec<SubmitResult>,
}

pub(super) const SUBMIT: Operation = Operation {
    id: "submitJobs",
    tag: "jobs",
    summary: "Submits one job, or several.",
    about: "One job is answered 201 (200 where another one has its unique key), or refused as a \
            whole. `{\"jobs\":[…]}` is answered 200 with one result or problem for each; every job \
            is a transaction of its own: item `i` of an Idempotency-Key has the sequence + `i`.",
    parameters: &[],
    takes: Some(Taken {
        shape: of::<SubmitJobs>(),
        example: r#"{"type":"resize","payload":{"picture":7},"priority":5}"#,
    }),
    answers: &[
        Given::ok("Another one had its key, or several results.", of::<SubmitAnswer>()),
        Given::created("The job waits.", of::<SubmittedJob>()),
    ],
    refuses: &[Code::Full, Code::NoSpace],
    once: true,
};

/// What is answered 200.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "it is there for its schema")]
enum SubmitAnswer {
    One(SubmittedJob),
    Many(SubmitResults),
}

/// POST `/v1/jobs`.
pub(super) fn submit(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let Peek { jobs } = asked.json()?;
        let service = serving(&server)?.services.jobs();
        if jobs.is_some() {
            let ManyJobs { jobs } = asked.json()?;
            return submit_many(&server, service, jobs, asked.identity()).await;
        }
        let job: OneJob = asked.json()?;
        let submitted = start(service, &job, asked.identity()).await?.await?;
        let status = if submitted.value.new { StatusCode::CREATED } else { StatusCode::OK };
        Counters::add(&server.counters.jobs_submitted, u64::from(submitted.value.new));
        Ok(json(status, &told(&submitted)))
    })
}

async fn submit_many(
    server: &Server,
    service: &Jobs,
    jobs: Vec<Object<OneJob>>,
    identity: Option<Identity>,
) -> Answered {
    let count = jobs.len();
    if !(1..=SEND_MESSAGES_MAX).contains(&count) {
        let message = format!("{count} jobs in one request; 1 to {SEND_MESSAGES_MAX} may be");
        return Err(Refusal::invalid(message));
    }
    // All are on their way, in their order, before the first is awaited.
    let mut tickets = Vec::with_capacity(count);
    for (index, Object(job)) in jobs.iter().enumerate() {
        let identity = identity.map(|identity| identity.item(index));
        tickets.push(start(service, job, identity).await);
    }
    let (mut results, mut new) = (Vec::with_capacity(count), 0);
    for ticket in tickets {
        let submitted = match ticket {
            Ok(ticket) => ticket.await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        results.push(match submitted {
            Ok(submitted) => {
                new += u64::from(submitted.value.new);
                SubmitResult::Submitted(told(&submitted))
            }
            Err(refusal) => SubmitResult::Refused(RefusedItem { problem: refusal.into_item() }),
        });
    }
    Counters::add(&server.counters.jobs_submitted, new);
    ok(&SubmitResults { results })
}

/// Puts one job on its way.
async fn start(
    service: &Jobs,
    job: &OneJob,
    identity: Option<Identity>,
) -> Result<Ticket<Submitted>, Refusal> {
    let new = new_job(job)?;
    Ok(service.submit_job(&job.r#type, &new, identity).await?)
}

/// What is to be submitted.
pub(super) fn new_job(job: &OneJob) -> Result<NewJob<'_>, Refusal> {
    let when = match (job.run_at_ms, job.delay_ms) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid("run_at_ms and delay_ms stand both; give one"));
        }
        (Some(at_ms), None) => Due::At(at_ms),
        (None, Some(ms)) => Due::In(ms),
        (None, None) => Due::Now,
    };
    let payload = job.payload.as_ref().map_or("null", |payload| payload.get()).as_bytes();
    within("bytes of the payload", payload.len(), BODY_BYTES_MAX)?;
    let unique = job.unique.as_ref().map(|Object(unique)| Unique {
        key: &unique.key,
        window_ms: unique.window_ms.unwrap_or(0),
    });
    let (priority, max_attempts) = (job.priority.unwrap_or(0), job.max_attempts);
    Ok(NewJob { payload, priority, when, max_attempts, unique })
}

/// The name of a job's type.
pub(super) fn type_of(job: &OneJob) -> &str {
    &job.r#type
}

fn told(submitted: &Acknowledged<Submitted>) -> SubmittedJob {
    SubmittedJob {
        id: submitted.value.id.to_string(),
        new: submitted.value.new,
        version: submitted.version,
        durability: submitted.durability.as_str(),
    }
}

/// A page of jobs.
#[derive(Debug, Serialize, JsonSchema)]
struct JobsPage {
    /// In the order of their submission, or the other way round.
    jobs: Vec<JobView>,
    /// What to give as `after` for the next page. A short or empty page need not be the last.
    next: Option<String>,
}

pub(super) const LIST: Operation = Operation {
    id: "listJobs",
    tag: "jobs",
    summary: "A page of jobs.",
    about: "In the order of their submission, over one type or all of them.",
    parameters: &[
        TYPE,
        Parameter::text("status", "Only jobs of these statuses, separated by commas."),
        Parameter::text("unique_key", "Only the one with this key; needs `type`."),
        Parameter::flag("newest_first", "The other way round."),
        Parameter::flag("events", "With what happened to each."),
        Parameter::text("after", "Behind this job: `next` of the page before."),
        Parameter::number("limit", 1, LIST_JOBS_MAX as u64, "The most jobs of the page (100)."),
    ],
    takes: None,
    answers: &[Given::ok("The page.", of::<JobsPage>())],
    refuses: &[],
    once: false,
};

/// Jobs of a page whose length nobody asked for.
const PAGE: usize = 100;

/// GET `/v1/jobs`.
pub(super) fn list(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let words = asked.text("status").unwrap_or("").split(',').filter(|word| !word.is_empty());
        let statuses = words.map(str::parse::<Status>).collect::<Result<Vec<_>, _>>()?;
        let events = asked.flag("events")?;
        let filter = JobFilter {
            kind: asked.text("type"),
            statuses: &statuses,
            unique_key: asked.text("unique_key"),
            newest_first: asked.flag("newest_first")?,
            after: asked.text("after").map(str::parse).transpose()?,
            events,
            limit: asked.limit(LIST_JOBS_MAX, PAGE)?,
        };
        let jobs = serving(&server)?.services.jobs();
        jobs.settled().await?;
        let page = jobs.list(&filter)?;
        let view = |job| JobView::of(job, events.then_some(job.events.as_slice()));
        let jobs = page.jobs.iter().map(view).collect();
        ok(&JobsPage { jobs, next: page.next.map(|id| id.to_string()) })
    })
}

pub(super) const COUNTS: Operation = Operation {
    id: "countJobs",
    tag: "jobs",
    summary: "How many jobs stand where.",
    about: "Of one type, or of all.",
    parameters: &[TYPE],
    takes: None,
    answers: &[Given::ok("The numbers.", of::<CountsView>())],
    refuses: &[],
    once: false,
};

/// GET `/v1/jobs/counts`.
pub(super) fn counts(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let jobs = serving(&server)?.services.jobs();
        jobs.settled().await?;
        ok(&CountsView::from(jobs.counts(asked.text("type"))?))
    })
}

pub(super) const SHOW: Operation = Operation {
    id: "getJob",
    tag: "jobs",
    summary: "One job.",
    about: "With its payload, progress, result, and what happened to it.",
    parameters: &[ID],
    takes: None,
    answers: &[Given::ok("The job.", of::<DetailView<'_>>())],
    refuses: &[Code::NotFound],
    once: false,
};

/// GET `/v1/jobs/{id}`.
pub(super) fn show(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let jobs = serving(&server)?.services.jobs();
        jobs.settled().await?;
        ok(&DetailView::from(&jobs.show(id(&asked)?)?))
    })
}

pub(super) const RESULT: Operation = Operation {
    id: "getJobResult",
    tag: "jobs",
    summary: "What came of a job.",
    about: "With `wait_ms` it waits for the end; `finished` says whether it came.",
    parameters: &[
        ID,
        Parameter::number("wait_ms", 0, LONG_POLL_MS_MAX, "How long to wait for the end (0)."),
    ],
    takes: None,
    answers: &[Given::ok("How it stands.", of::<ResultView<'_>>())],
    refuses: &[Code::NotFound, Code::Full],
    once: false,
};

/// GET `/v1/jobs/{id}/result`.
pub(super) fn result(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let wait_ms = asked.number("wait_ms", 0..=LONG_POLL_MS_MAX, 0)?;
        let jobs = serving(&server)?.services.jobs();
        let job = jobs.wait(id(&asked)?, waited(&server, wait_ms)).await?;
        ok(&ResultView::from(&job))
    })
}

/// Why a job is called off.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelJob {
    /// Kept with the job.
    #[schemars(length(max = REASON_BYTES_MAX))]
    reason: Option<String>,
}

pub(super) const CANCEL: Operation = Operation {
    id: "cancelJob",
    tag: "jobs",
    summary: "Calls a job off.",
    about: "Whoever works on it: the token is fenced. One that is finished is 409, `conflict`.",
    parameters: &[ID],
    takes: Some(Taken { shape: of::<CancelJob>(), example: r#"{"reason":"not needed"}"# }),
    answers: &[Given::ok("It is cancelled.", of::<ChangedView>())],
    refuses: &[Code::NotFound, Code::Conflict, Code::NoSpace],
    once: true,
};

/// POST `/v1/jobs/{id}/cancel`.
pub(super) fn cancel(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let CancelJob { reason } = asked.json()?;
        let (jobs, reason) = (serving(&server)?.services.jobs(), reason.unwrap_or_default());
        let (who, identity) = (asked.who(), asked.identity());
        let done = jobs.submit_cancel(id(&asked)?, &reason, &who, identity).await?.await?;
        ok(&ChangedView::of(done.value, done.version, done.durability.as_str()))
    })
}

pub(super) const RETRY: Operation = Operation {
    id: "retryJob",
    tag: "jobs",
    summary: "Another attempt at once.",
    about: "Of a job that has failed, was cancelled, or waits for its time; with all its attempts. \
            Any other is 409, `conflict`.",
    parameters: &[ID],
    takes: Some(Taken { shape: of::<Nothing>(), example: "{}" }),
    answers: &[Given::ok("It is pending.", of::<ChangedView>())],
    refuses: &[Code::NotFound, Code::Conflict, Code::NoSpace],
    once: true,
};

/// POST `/v1/jobs/{id}/retry`.
pub(super) fn retry(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let Nothing {} = asked.json()?;
        let jobs = serving(&server)?.services.jobs();
        let (who, identity) = (asked.who(), asked.identity());
        let done = jobs.submit_retry(id(&asked)?, &who, identity).await?.await?;
        ok(&ChangedView::of(done.value, done.version, done.durability.as_str()))
    })
}
