//! Schedules over HTTP: jobs by the clock.

use std::sync::Arc;

use axum::http::StatusCode;
use rekindle_services::limits::{BODY_BYTES_MAX, CRON_BYTES_MAX, LIST_QUEUES_MAX, NAME_BYTES_MAX};
use rekindle_services::schedules::{Missed, NewSchedule, ScheduleInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answers::serving;
use super::operation::{Given, Kind, Operation, Parameter, Taken, of};
use super::payload::within;
use super::problem::Code;
use super::queues::{DURABILITIES, FORM};
use super::reply::{json, ok};
use super::request::Asked;
use super::route::Working;
use crate::shown::Json;
use crate::state::Server;

/// The name of a schedule in a path.
const NAME: Parameter =
    Parameter::path("name", Kind::Form(FORM, NAME_BYTES_MAX), "The name of a schedule.", "nightly");

/// The words of `missed`.
const MISSED: [&str; 3] = ["one", "all", "skip"];

/// A schedule, as it shall be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MakeSchedule {
    /// Its name.
    #[schemars(length(min = 1, max = NAME_BYTES_MAX), regex(pattern = FORM))]
    name: String,
    /// The type of its jobs.
    #[schemars(length(min = 1, max = NAME_BYTES_MAX), regex(pattern = FORM))]
    r#type: String,
    /// When they are submitted: minute, hour, day of month, month, day of week; or six fields with
    /// seconds in front; or `@hourly` and its kin.
    #[schemars(length(min = 1, max = CRON_BYTES_MAX))]
    cron: String,
    /// In which time zone, by its IANA name; `UTC` unless it is given.
    #[schemars(length(min = 1, max = CRON_BYTES_MAX))]
    zone: Option<String>,
    /// What is done about times that passed while the server was down: `one` job for all of them
    /// together, the default; `all`: one for each; `skip`: none.
    #[schemars(with = "Option<Policy>")]
    missed: Option<String>,
    /// What is to be done: any JSON; null unless it is given.
    #[schemars(with = "Option<serde_json::Value>")]
    payload: Option<Box<RawValue>>,
    /// The priority of its jobs; 0 unless it is given.
    priority: Option<i16>,
    /// Charged attempts after which one has failed; those of its type unless it is given.
    max_attempts: Option<u32>,
}

/// The words of `missed`.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "it is there for its schema")]
enum Policy {
    One,
    All,
    Skip,
}

/// A schedule.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Schedule")]
pub(super) struct ScheduleView<'a> {
    /// Its name.
    name: &'a str,
    /// The type of its jobs.
    r#type: &'a str,
    /// Its pattern.
    cron: &'a str,
    /// Its time zone.
    zone: &'a str,
    /// What is done about missed times.
    #[schemars(extend("enum" = MISSED))]
    missed: &'static str,
    /// What is to be done.
    #[schemars(with = "serde_json::Value")]
    payload: Json<'a>,
    /// The priority of its jobs.
    priority: i16,
    /// Charged attempts after which one has failed; null: those of its type.
    max_attempts: Option<u32>,
    /// When it was made, wall time.
    created_ms: u64,
    /// How many jobs it made.
    fired: u64,
    /// The last of them.
    last_job: Option<String>,
    /// When it fires next, wall time; null: never again.
    next_ms: Option<u64>,
}

impl<'a> From<&'a ScheduleInfo> for ScheduleView<'a> {
    fn from(info: &'a ScheduleInfo) -> Self {
        Self {
            name: &info.name,
            r#type: &info.kind,
            cron: &info.cron,
            zone: &info.zone,
            missed: info.missed.as_str(),
            payload: Json(&info.payload),
            priority: info.priority,
            max_attempts: info.max_attempts,
            created_ms: info.created_ms,
            fired: info.fired,
            last_job: info.last_job.map(|id| id.to_string()),
            next_ms: info.next_ms,
        }
    }
}

/// A page of schedules.
#[derive(Serialize, JsonSchema)]
struct SchedulesPage<'a> {
    /// In the order of their names.
    schedules: Vec<ScheduleView<'a>>,
    /// What to give as `after` for the next page.
    next: Option<String>,
}

pub(super) const LIST: Operation = Operation {
    id: "listSchedules",
    tag: "schedules",
    summary: "A page of schedules.",
    about: "In the order of their names.",
    parameters: &[
        Parameter::text("after", "Only schedules whose names are behind this one."),
        Parameter::number("limit", 1, LIST_QUEUES_MAX as u64, "The most of the page (1000)."),
    ],
    takes: None,
    answers: &[Given::ok("The page.", of::<SchedulesPage<'_>>())],
    refuses: &[],
    once: false,
};

/// GET `/v1/schedules`.
pub(super) fn list(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let limit = asked.limit(LIST_QUEUES_MAX, LIST_QUEUES_MAX)?;
        let schedules = serving(&server)?.services.schedules();
        schedules.settled().await?;
        let (found, more) = schedules.list(asked.text("after").unwrap_or(""), limit)?;
        let next = found.last().filter(|_| more).map(|schedule| schedule.name.clone());
        ok(&SchedulesPage { schedules: found.iter().map(ScheduleView::from).collect(), next })
    })
}

pub(super) const SHOW: Operation = Operation {
    id: "getSchedule",
    tag: "schedules",
    summary: "One schedule.",
    about: "With when it fires next, and what it did.",
    parameters: &[NAME],
    takes: None,
    answers: &[Given::ok("The schedule.", of::<ScheduleView<'_>>())],
    refuses: &[Code::NotFound],
    once: false,
};

/// GET `/v1/schedules/{name}`.
pub(super) fn show(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let schedules = serving(&server)?.services.schedules();
        schedules.settled().await?;
        ok(&ScheduleView::from(&schedules.show(asked.text("name").unwrap_or(""))?))
    })
}

/// What making or deleting one did.
#[derive(Debug, Serialize, JsonSchema)]
struct ScheduleChanged {
    /// Its name.
    name: String,
    /// Whether anything changed.
    changed: bool,
    /// The transaction that made it so.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

pub(super) const CREATE: Operation = Operation {
    id: "createSchedule",
    tag: "schedules",
    summary: "Makes a schedule.",
    about: "One that is there already just like this is fine (200); otherwise it is refused: \
            `exists`. A pattern that never fires is `invalid`. Goes into the audit log.",
    parameters: &[],
    takes: Some(Taken {
        shape: of::<MakeSchedule>(),
        example: r#"{"name":"nightly","type":"report","cron":"0 3 * * *","zone":"Europe/Berlin"}"#,
    }),
    answers: &[
        Given::ok("It was there already, just like this.", of::<ScheduleChanged>()),
        Given::created("It is made.", of::<ScheduleChanged>()),
    ],
    refuses: &[Code::Exists, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/schedules`.
pub(super) fn create(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let wanted: MakeSchedule = asked.json()?;
        let missed = wanted.missed.as_deref().map(str::parse::<Missed>).transpose()?;
        let new = NewSchedule {
            kind: &wanted.r#type,
            cron: &wanted.cron,
            zone: wanted.zone.as_deref().unwrap_or("UTC"),
            missed: missed.unwrap_or_default(),
            payload: wanted.payload.as_ref().map_or("null", |it| it.get()).as_bytes(),
            priority: wanted.priority.unwrap_or(0),
            max_attempts: wanted.max_attempts,
        };
        within("bytes of the payload", new.payload.len(), BODY_BYTES_MAX)?;
        let schedules = serving(&server)?.services.schedules();
        let (who, identity) = (asked.who(), asked.identity());
        let made = schedules.submit_create(&wanted.name, &new, &who, identity).await?.await?;
        let status = if made.value { StatusCode::CREATED } else { StatusCode::OK };
        let answer = ScheduleChanged {
            name: wanted.name,
            changed: made.value,
            version: made.version,
            durability: made.durability.as_str(),
        };
        Ok(json(status, &answer))
    })
}

pub(super) const DELETE: Operation = Operation {
    id: "deleteSchedule",
    tag: "schedules",
    summary: "Deletes a schedule.",
    about: "The jobs that it made stay. Goes into the audit log.",
    parameters: &[NAME],
    takes: None,
    answers: &[Given::ok("It is gone.", of::<ScheduleChanged>())],
    refuses: &[Code::NotFound, Code::NoSpace],
    once: true,
};

/// DELETE `/v1/schedules/{name}`.
pub(super) fn delete(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let name = asked.text("name").unwrap_or("");
        let schedules = serving(&server)?.services.schedules();
        let (who, identity) = (asked.who(), asked.identity());
        let gone = schedules.submit_delete(name, &who, identity).await?.await?;
        ok(&ScheduleChanged {
            name: name.to_owned(),
            changed: true,
            version: gone.version,
            durability: gone.durability.as_str(),
        })
    })
}
