//! Work on jobs over HTTP: claim, heartbeat, complete, fail, release.
//!
//! Invariants: a token is good for its own job only; an old one is 409, `fenced`, and changes
//! nothing; what was granted to a caller that went away is given back.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rekindle_services::jobs::{ClaimRequest, Done, Failure, Heartbeat};
use rekindle_services::limits::{
    CLAIM_TYPES_MAX, DELAY_MS_MAX, OWNER_BYTES_MAX, PROGRESS_BYTES_MAX, REASON_BYTES_MAX,
    RECEIVE_MESSAGES_MAX, RESULT_BYTES_MAX, VISIBILITY_MS_MAX,
};
use rekindle_services::queues::Token;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answers::serving;
use super::job_view::{ChangedView, ClaimedView};
use super::jobs::{ID, id};
use super::operation::{Given, Operation, Taken, of};
use super::payload::within;
use super::problem::Code;
use super::reply::{Answered, Refusal, ok};
use super::request::{Asked, how_many_and_how_long};
use super::route::Working;
use crate::front::limits::LONG_POLL_MS_MAX;
use crate::front::long_poll::waited;
use crate::metrics::Counters;
use crate::state::Server;

/// What is claimed, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimJobs {
    /// Jobs of these types, looked for in this order.
    #[schemars(length(min = 1, max = CLAIM_TYPES_MAX))]
    types: Vec<String>,
    /// The most jobs; 1 unless it is given.
    #[schemars(range(min = 1, max = RECEIVE_MESSAGES_MAX))]
    max: Option<u64>,
    /// How long to wait for the first one, where none is pending; 0, the default: not at all.
    #[schemars(range(max = LONG_POLL_MS_MAX))]
    wait_ms: Option<u64>,
    /// How long the claims last without a heartbeat; as long as the type says unless it is given.
    #[schemars(range(min = 1, max = VISIBILITY_MS_MAX))]
    lease_ms: Option<u64>,
    /// Who works, for people who look.
    #[schemars(length(max = OWNER_BYTES_MAX))]
    worker: Option<String>,
}

/// What was claimed.
#[derive(Serialize, JsonSchema)]
struct ClaimedJobs<'a> {
    /// None where nothing was pending.
    jobs: Vec<ClaimedView<'a>>,
}

pub(super) const CLAIM: Operation = Operation {
    id: "claimJobs",
    tag: "jobs",
    summary: "Claims what is pending.",
    about: "Higher priorities first, equal ones in the order of submission. With `wait_ms` it \
            waits for the first job, and for a type that has not begun yet; where too many wait \
            already, or the server ends, it answers at once with what there is. What was granted \
            to a caller that went away meanwhile is pending again at once, uncharged.",
    parameters: &[],
    takes: Some(Taken {
        shape: of::<ClaimJobs>(),
        example: r#"{"types":["resize"],"max":10,"wait_ms":1000,"worker":"w-1"}"#,
    }),
    answers: &[Given::ok("What was claimed; nothing is no error.", of::<ClaimedJobs<'_>>())],
    refuses: &[Code::Full, Code::NoSpace],
    once: false,
};

/// POST `/v1/jobs/claim`.
pub(super) fn claim(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let wanted: ClaimJobs = asked.json()?;
        let (max, wait_ms) = how_many_and_how_long(wanted.max, wanted.wait_ms)?;
        let types: Vec<&str> = wanted.types.iter().map(String::as_str).collect();
        let worker = wanted.worker.unwrap_or_default();
        let lease_ms = wanted.lease_ms;
        let request = ClaimRequest { types: &types, max, lease_ms, worker: &worker };
        let jobs = serving(&server)?.services.jobs();
        let claimed = jobs.claim_wait(&request, pin!(waited(&server, wait_ms))).await?.value;
        let counters = &server.counters;
        Counters::add(&counters.jobs_claimed, u64::try_from(claimed.len()).unwrap_or(0));
        let most = claimed.iter().map(|job| job.attempt).max().unwrap_or(0);
        counters.most_attempts.fetch_max(u64::from(most), Ordering::Relaxed);
        ok(&ClaimedJobs { jobs: claimed.iter().map(ClaimedView::from).collect() })
    })
}

/// The token of a request, which must be of the job in its path.
fn token(asked: &Asked, word: &str) -> Result<Token, Refusal> {
    let (id, token) = (id(asked)?, word.parse::<Token>()?);
    if token.subject() != id {
        return Err(Refusal::invalid(format!("the token is not of job {id}")));
    }
    Ok(token)
}

/// Does one thing with one token.
async fn act(server: &Server, asked: &Asked, word: &str, done: Done<'_>) -> Answered {
    let token = token(asked, word)?;
    let jobs = serving(server)?.services.jobs();
    let mut answer = jobs.submit_done(&[(token, done)], asked.identity()).await?.await?;
    let changed = answer.value.pop().expect("the service answers each token")?;
    let counter = match done {
        Done::Complete(_) => Some(&server.counters.jobs_completed),
        Done::Fail(_) => Some(&server.counters.jobs_failed),
        Done::Release(_) | Done::Heartbeat(_) => None,
        // Nobody outside can say these.
        Done::Hold(_) | Done::Stop(_) | Done::Died(_) | Done::WorkerDied(_) => None,
    };
    if let Some(counter) = counter {
        Counters::add(counter, 1);
    }
    ok(&ChangedView::of(changed, answer.version, answer.durability.as_str()))
}

/// A claim that goes on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeartbeatJob {
    /// As it was claimed.
    token: String,
    /// How long the claim lasts from now; as long as its type says unless it is given.
    #[schemars(range(min = 1, max = VISIBILITY_MS_MAX))]
    by_ms: Option<u64>,
    /// How far the work is: any JSON, at most 4 KiB; kept with the job.
    #[schemars(with = "Option<serde_json::Value>")]
    progress: Option<Box<RawValue>>,
}

pub(super) const HEARTBEAT: Operation = Operation {
    id: "heartbeatJob",
    tag: "jobs",
    summary: "Keeps a claim.",
    about: "Its end moves; a claim that ended is taken up again as long as nobody else claimed the \
            job.",
    parameters: &[ID],
    takes: Some(Taken {
        shape: of::<HeartbeatJob>(),
        example: r#"{"token":"TOKEN","progress":{"percent":40}}"#,
    }),
    answers: &[Given::ok("The claim goes on.", of::<ChangedView>())],
    refuses: &[Code::Fenced, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/jobs/{id}/heartbeat`.
pub(super) fn heartbeat(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let HeartbeatJob { token, by_ms, progress } = asked.json()?;
        let progress = progress.as_ref().map(|progress| progress.get().as_bytes());
        let found = progress.map_or(0, <[u8]>::len);
        within("bytes of the progress", found, PROGRESS_BYTES_MAX)?;
        act(&server, &asked, &token, Done::Heartbeat(Heartbeat { by_ms, progress })).await
    })
}

/// A job that is done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompleteJob {
    /// As it was claimed.
    token: String,
    /// What it resulted in: any JSON, at most 1 MiB; null unless it is given.
    #[schemars(with = "Option<serde_json::Value>")]
    result: Option<Box<RawValue>>,
}

pub(super) const COMPLETE: Operation = Operation {
    id: "completeJob",
    tag: "jobs",
    summary: "Completes a job.",
    about: "Also after its claim ended, as long as nobody else claimed it.",
    parameters: &[ID],
    takes: Some(Taken {
        shape: of::<CompleteJob>(),
        example: r#"{"token":"TOKEN","result":{"width":80}}"#,
    }),
    answers: &[Given::ok("It is completed.", of::<ChangedView>())],
    refuses: &[Code::Fenced, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/jobs/{id}/complete`.
pub(super) fn complete(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let CompleteJob { token, result } = asked.json()?;
        let result = result.as_ref().map_or("null", |result| result.get());
        within("bytes of the result", result.len(), RESULT_BYTES_MAX)?;
        act(&server, &asked, &token, Done::Complete(result.as_bytes())).await
    })
}

/// A job that went wrong.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FailJob {
    /// As it was claimed.
    token: String,
    /// What went wrong; the first 1,024 bytes are kept.
    error: Option<String>,
    /// In how long it is tried again; the back-off of its type unless it is given.
    #[schemars(range(max = DELAY_MS_MAX))]
    retry_in_ms: Option<u64>,
    /// Trying again is of no use: it has failed.
    last: Option<bool>,
}

pub(super) const FAIL: Operation = Operation {
    id: "failJob",
    tag: "jobs",
    summary: "Ends an attempt that went wrong.",
    about: "It is tried again after the back-off of its type, or has failed where its attempts are \
            used up.",
    parameters: &[ID],
    takes: Some(Taken {
        shape: of::<FailJob>(),
        example: r#"{"token":"TOKEN","error":"no such picture"}"#,
    }),
    answers: &[Given::ok("The attempt is over.", of::<ChangedView>())],
    refuses: &[Code::Fenced, Code::NoSpace],
    once: true,
};

/// POST `/v1/jobs/{id}/fail`.
pub(super) fn fail(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let FailJob { token, error, retry_in_ms, last } = asked.json()?;
        let error = error.unwrap_or_default();
        let failure = Failure { error: &error, retry_in_ms, last: last.unwrap_or(false) };
        act(&server, &asked, &token, Done::Fail(failure)).await
    })
}

/// A job that is given back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseJob {
    /// As it was claimed.
    token: String,
    /// Kept with the attempt.
    #[schemars(length(max = REASON_BYTES_MAX))]
    reason: Option<String>,
}

pub(super) const RELEASE: Operation = Operation {
    id: "releaseJob",
    tag: "jobs",
    summary: "Gives a job back unstarted.",
    about: "It is pending again at once, and the attempt is not charged.",
    parameters: &[ID],
    takes: Some(Taken {
        shape: of::<ReleaseJob>(),
        example: r#"{"token":"TOKEN","reason":"shutting down"}"#,
    }),
    answers: &[Given::ok("It is pending.", of::<ChangedView>())],
    refuses: &[Code::Fenced, Code::NoSpace],
    once: true,
};

/// POST `/v1/jobs/{id}/release`.
pub(super) fn release(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let ReleaseJob { token, reason } = asked.json()?;
        let reason = reason.unwrap_or_default();
        act(&server, &asked, &token, Done::Release(&reason)).await
    })
}
