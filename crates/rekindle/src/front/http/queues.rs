//! Queues over HTTP: what there is of them, and creating, emptying and deleting them.
//!
//! Invariant: nothing here decides; a request becomes one call of the service, its answer one
//! answer.

use std::sync::Arc;

use axum::http::StatusCode;
use rekindle_services::limits::{LIST_QUEUES_MAX, NAME_BYTES_MAX, VISIBILITY_MS_MAX};
use rekindle_services::queues::{QueueInfo, QueueSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{recovered, serving};
use super::operation::{Given, Kind, Operation, Parameter, Taken, of};
use super::problem::Code;
use super::reply::{Answered, json, ok};
use super::request::Asked;
use super::route::Working;
use crate::state::Server;

/// The name of a queue in a path.
pub(super) const NAME: Parameter =
    Parameter::path("name", Kind::Form(FORM, NAME_BYTES_MAX), "The name of a queue.", "greetings");

/// The form of such a name.
pub(super) const FORM: &str = "^[A-Za-z0-9._-]+$";

/// The words of `durability`.
pub(super) const DURABILITIES: [&str; 4] = ["memory", "written", "disk", "quorum"];

/// A queue, as it shall be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewQueue {
    /// 1 to 249 of `A-Z a-z 0-9 . _ -`.
    #[schemars(length(min = 1, max = NAME_BYTES_MAX), regex(pattern = FORM))]
    name: String,
    /// How long a received message stays leased; 30,000 unless it is given.
    #[schemars(range(min = 1, max = VISIBILITY_MS_MAX))]
    visibility_ms: Option<u64>,
    /// Attempts after which a message goes to the dead-letter queue; 0, the default: no limit.
    max_attempts: Option<u32>,
    /// That queue; with limited attempts `NAME.dead` unless it is given.
    #[schemars(length(min = 1, max = NAME_BYTES_MAX), regex(pattern = FORM))]
    dead_letter: Option<String>,
}

/// What creating did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CreatedQueue {
    /// Its name.
    name: String,
    /// False: it was there, with equal settings.
    created: bool,
    /// The transaction that made it so.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

/// What deleting or purging did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RemovedMessages {
    /// Messages that went.
    messages: u64,
    /// The transaction that did it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

/// A body that says nothing: `{}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A queue: its settings, and how full it is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Queue")]
pub(super) struct QueueView {
    /// Its name.
    name: String,
    /// How long a received message stays leased.
    visibility_ms: u64,
    /// Attempts after which a message goes to the dead-letter queue; 0: no limit.
    max_attempts: u32,
    /// That queue.
    dead_letter: Option<String>,
    /// When it was created, log time.
    created_ms: u64,
    /// Messages that can be received now.
    ready: u64,
    /// Messages under a lease.
    leased: u64,
    /// Messages that become ready later.
    delayed: u64,
    /// Messages that wait for a person.
    review: u64,
    /// Fairness keys among the ready messages.
    keys: u64,
    /// Milliseconds until the first lease runs out.
    next_expiry_ms: Option<u64>,
    /// Milliseconds until the first delayed message becomes ready.
    next_ready_ms: Option<u64>,
}

/// A page of queues.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct QueuesPage {
    /// In the order of their names.
    queues: Vec<QueueView>,
    /// Whether more follow.
    more: bool,
    /// What to give as `after` for the next page.
    next: Option<String>,
}

impl From<&QueueInfo> for QueueView {
    fn from(queue: &QueueInfo) -> Self {
        Self {
            name: queue.name.clone(),
            visibility_ms: queue.settings.visibility_ms,
            max_attempts: queue.settings.max_attempts,
            dead_letter: queue.settings.dead_letter.clone(),
            created_ms: queue.created_ms,
            ready: queue.stats.ready,
            leased: queue.stats.leased,
            delayed: queue.stats.delayed,
            review: queue.stats.review,
            keys: queue.stats.keys,
            next_expiry_ms: queue.stats.next_expiry_ms,
            next_ready_ms: queue.stats.next_ready_ms,
        }
    }
}

pub(super) const LIST: Operation = Operation {
    id: "listQueues",
    tag: "queues",
    summary: "A page of queues.",
    about: "In the order of their names, with their counts.",
    parameters: &[
        Parameter::text("after", "Only queues whose names are behind this one."),
        Parameter::number(
            "limit",
            1,
            LIST_QUEUES_MAX as u64,
            "The most queues of the page (1000).",
        ),
    ],
    takes: None,
    answers: &[Given::ok("The page.", of::<QueuesPage>())],
    refuses: &[],
    once: false,
};

/// A page of queues: `?after=NAME&limit=N`.
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let limit = asked.limit(LIST_QUEUES_MAX, LIST_QUEUES_MAX)?;
    let after = asked.text("after").unwrap_or("");
    let (queues, more) = recovered(server)?.services.queues().list(after, limit)?;
    let queues: Vec<QueueView> = queues.iter().map(QueueView::from).collect();
    let next = queues.last().filter(|_| more).map(|queue| queue.name.clone());
    ok(&QueuesPage { queues, more, next })
}

pub(super) const SHOW: Operation = Operation {
    id: "getQueue",
    tag: "queues",
    summary: "One queue.",
    about: "Its settings and counts.",
    parameters: &[NAME],
    takes: None,
    answers: &[Given::ok("The queue.", of::<QueueView>())],
    refuses: &[Code::NotFound],
    once: false,
};

/// One queue.
pub(super) fn show(server: &Server, asked: &Asked) -> Answered {
    let name = asked.text("name").unwrap_or("");
    ok(&QueueView::from(&recovered(server)?.services.queues().show(name)?))
}

pub(super) const CREATE: Operation = Operation {
    id: "createQueue",
    tag: "queues",
    summary: "Creates a queue.",
    about: "And its dead-letter queue, where attempts are limited. One that is there already with \
            equal settings is fine (200); with others it is refused: `exists`.",
    parameters: &[],
    takes: Some(Taken { shape: of::<NewQueue>(), example: r#"{"name":"greetings"}"# }),
    answers: &[
        Given::ok("It was there already, just like this.", of::<CreatedQueue>()),
        Given::created("It was created.", of::<CreatedQueue>()),
    ],
    refuses: &[Code::Conflict, Code::Exists, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/queues`.
pub(super) fn create(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let wanted: NewQueue = asked.json()?;
        let queues = serving(&server)?.services.queues().by(&asked.who());
        let defaults = QueueSettings::default();
        let settings = QueueSettings {
            visibility_ms: wanted.visibility_ms.unwrap_or(defaults.visibility_ms),
            max_attempts: wanted.max_attempts.unwrap_or(defaults.max_attempts),
            dead_letter: wanted.dead_letter,
        };
        let ticket = queues.submit_create(&wanted.name, &settings, asked.identity()).await?;
        let done = ticket.await?;
        let status = if done.value.new { StatusCode::CREATED } else { StatusCode::OK };
        let answer = CreatedQueue {
            name: wanted.name,
            created: done.value.new,
            version: done.version,
            durability: done.durability.as_str(),
        };
        Ok(json(status, &answer))
    })
}

pub(super) const DELETE: Operation = Operation {
    id: "deleteQueue",
    tag: "queues",
    summary: "Deletes a queue with all its messages.",
    about: "Their tokens are fenced. The dead-letter queue of another queue stays: `conflict`.",
    parameters: &[NAME],
    takes: None,
    answers: &[Given::ok("It is gone.", of::<RemovedMessages>())],
    refuses: &[Code::NotFound, Code::Conflict, Code::NoSpace],
    once: true,
};

/// DELETE `/v1/queues/{name}`.
pub(super) fn delete(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let queues = serving(&server)?.services.queues().by(&asked.who());
        let name = asked.text("name").unwrap_or("");
        let done = queues.submit_delete(name, asked.identity()).await?.await?;
        ok(&RemovedMessages {
            messages: done.value.messages,
            version: done.version,
            durability: done.durability.as_str(),
        })
    })
}

pub(super) const PURGE: Operation = Operation {
    id: "purgeQueue",
    tag: "queues",
    summary: "Deletes all messages of a queue.",
    about: "Leased and delayed ones included; their tokens are fenced.",
    parameters: &[NAME],
    takes: Some(Taken { shape: of::<Nothing>(), example: "{}" }),
    answers: &[Given::ok("It is empty.", of::<RemovedMessages>())],
    refuses: &[Code::NotFound, Code::Conflict, Code::NoSpace],
    once: true,
};

/// POST `/v1/queues/{name}/purge`.
pub(super) fn purge(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let Nothing {} = asked.json()?;
        let queues = serving(&server)?.services.queues().by(&asked.who());
        let name = asked.text("name").unwrap_or("");
        let done = queues.submit_purge(name, asked.identity()).await?.await?;
        ok(&RemovedMessages {
            messages: done.value.messages,
            version: done.version,
            durability: done.durability.as_str(),
        })
    })
}
