//! Types of jobs over HTTP: what they are, and their settings.

use std::sync::Arc;

use rekindle_services::jobs::{JobSettingsChange, Rate};
use rekindle_services::limits::{
    DELAY_MS_MAX, JOB_KEEP_MS_MAX, LIST_QUEUES_MAX, NAME_BYTES_MAX, VISIBILITY_MS_MAX,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::serving;
use super::job_view::TypeView;
use super::operation::{Given, Kind, Operation, Parameter, Taken, of};
use super::problem::Code;
use super::queues::{DURABILITIES, FORM};
use super::reply::{Refusal, ok};
use super::request::Asked;
use super::route::Working;
use crate::state::Server;

/// The name of a type in a path.
const NAME: Parameter =
    Parameter::path("name", Kind::Form(FORM, NAME_BYTES_MAX), "The name of a job type.", "resize");

/// A page of types.
#[derive(Debug, Serialize, JsonSchema)]
struct TypesPage {
    /// In the order of their names.
    types: Vec<TypeView>,
    /// What to give as `after` for the next page.
    next: Option<String>,
}

pub(super) const LIST: Operation = Operation {
    id: "listJobTypes",
    tag: "jobs",
    summary: "A page of job types.",
    about: "In the order of their names, with their settings and counts.",
    parameters: &[
        Parameter::text("after", "Only types whose names are behind this one."),
        Parameter::number("limit", 1, LIST_QUEUES_MAX as u64, "The most types of the page (1000)."),
    ],
    takes: None,
    answers: &[Given::ok("The page.", of::<TypesPage>())],
    refuses: &[],
    once: false,
};

/// GET `/v1/job-types`.
pub(super) fn list(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let limit = asked.limit(LIST_QUEUES_MAX, LIST_QUEUES_MAX)?;
        let jobs = serving(&server)?.services.jobs();
        jobs.settled().await?;
        let (types, more) = jobs.types(asked.text("after").unwrap_or(""), limit)?;
        let next = types.last().filter(|_| more).map(|kind| kind.name.clone());
        ok(&TypesPage { types: types.iter().map(TypeView::from).collect(), next })
    })
}

pub(super) const SHOW: Operation = Operation {
    id: "getJobType",
    tag: "jobs",
    summary: "One job type.",
    about: "Its settings and counts.",
    parameters: &[NAME],
    takes: None,
    answers: &[Given::ok("The type.", of::<TypeView>())],
    refuses: &[Code::NotFound],
    once: false,
};

/// GET `/v1/job-types/{name}`.
pub(super) fn show(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let jobs = serving(&server)?.services.jobs();
        jobs.settled().await?;
        ok(&TypeView::from(&jobs.show_type(asked.text("name").unwrap_or(""))?))
    })
}

/// Settings of a type; what is not given stays as it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetJobType {
    /// How long a claim lasts without a heartbeat.
    #[schemars(range(min = 1, max = VISIBILITY_MS_MAX))]
    lease_ms: Option<u64>,
    /// Charged attempts after which a job has failed; 0: no limit.
    max_attempts: Option<u32>,
    /// The pause after the first charged attempt.
    #[schemars(range(max = DELAY_MS_MAX))]
    backoff_base_ms: Option<u64>,
    /// The longest pause.
    #[schemars(range(max = DELAY_MS_MAX))]
    backoff_max_ms: Option<u64>,
    /// Most jobs in work at once; 0: no limit.
    concurrency: Option<u32>,
    /// Most jobs handed out in `rate_per_ms`; 0: no limit.
    rate_count: Option<u32>,
    /// In how long; stands beside `rate_count`.
    #[schemars(range(max = DELAY_MS_MAX))]
    rate_per_ms: Option<u64>,
    /// Most jobs that wait; 0: no limit.
    max_waiting: Option<u64>,
    /// How long completed jobs are kept.
    #[schemars(range(max = JOB_KEEP_MS_MAX))]
    keep_completed_ms: Option<u64>,
    /// How long failed jobs are kept.
    #[schemars(range(max = JOB_KEEP_MS_MAX))]
    keep_failed_ms: Option<u64>,
    /// How long cancelled jobs are kept.
    #[schemars(range(max = JOB_KEEP_MS_MAX))]
    keep_cancelled_ms: Option<u64>,
}

/// What setting did.
#[derive(Debug, Serialize, JsonSchema)]
struct JobTypeSet {
    /// The name of the type.
    name: String,
    /// False: it was so already.
    changed: bool,
    /// The transaction that made it so.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

pub(super) const SET: Operation = Operation {
    id: "setJobType",
    tag: "jobs",
    summary: "Sets what is so for all jobs of a type.",
    about: "In force at once, for waiting jobs, too. A type that there is not yet begins. Goes \
            into the audit log.",
    parameters: &[NAME],
    takes: Some(Taken {
        shape: of::<SetJobType>(),
        example: r#"{"concurrency":4,"max_attempts":5}"#,
    }),
    answers: &[Given::ok("It is so.", of::<JobTypeSet>())],
    refuses: &[Code::Full, Code::NoSpace],
    once: true,
};

/// PUT `/v1/job-types/{name}`.
pub(super) fn set(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let wanted: SetJobType = asked.json()?;
        let rate = match (wanted.rate_count, wanted.rate_per_ms) {
            (None, None) => None,
            (Some(0), _) => Some(Rate::default()),
            (Some(count), Some(per_ms)) => Some(Rate { count, per_ms }),
            (Some(_), None) | (None, Some(_)) => {
                let message = "rate_count and rate_per_ms belong together; give both";
                return Err(Refusal::invalid(message));
            }
        };
        let change = JobSettingsChange {
            lease_ms: wanted.lease_ms,
            max_attempts: wanted.max_attempts,
            backoff_base_ms: wanted.backoff_base_ms,
            backoff_max_ms: wanted.backoff_max_ms,
            concurrency: wanted.concurrency,
            rate,
            max_waiting: wanted.max_waiting,
            keep_completed_ms: wanted.keep_completed_ms,
            keep_failed_ms: wanted.keep_failed_ms,
            keep_cancelled_ms: wanted.keep_cancelled_ms,
        };
        let name = asked.text("name").unwrap_or("");
        let jobs = serving(&server)?.services.jobs();
        let (who, identity) = (asked.who(), asked.identity());
        let set = jobs.submit_set_type(name, change, &who, identity).await?.await?;
        ok(&JobTypeSet {
            name: name.to_owned(),
            changed: set.value,
            version: set.version,
            durability: set.durability.as_str(),
        })
    })
}
