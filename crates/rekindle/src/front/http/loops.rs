//! Loops over HTTP: plans that are started, executions and what is asked about them.

use std::sync::Arc;

use axum::http::StatusCode;
use rekindle_services::limits::{LIST_LOOPS_MAX, LOOP_EVENTS_MAX};
use rekindle_services::loops::{
    Ask, Event, ExecutionDetail, ExecutionInfo, LoopFilter, LoopId, Plan, PlanInfo, Shown, Status,
};
use rekindle_services::{Error, Kind as Why};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::serving;
use super::operation::{Given, Kind, Operation, Parameter, Shape, Taken, of};
use super::problem::Code;
use super::queues::{DURABILITIES, Nothing};
use super::reply::{Refusal, json as answer, ok};
use super::request::Asked;
use super::route::Working;
use crate::front::loop_commands;
use crate::state::Server;

const ID: Parameter = Parameter::path(
    "id",
    Kind::Text,
    "The id of a plan or an execution.",
    "018bcfe5-6800-7fff-bfff-ffffffffffff",
);

/// What a plan is started with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StartLoop {
    /// The plan, as `rekindle loop check FILE --json` prints it (docs/loops.md).
    #[schemars(with = "Value")]
    plan: Value,
    /// It waits for somebody to approve it.
    #[serde(default)]
    draft: bool,
}

/// A plan that was started.
#[derive(Serialize, JsonSchema)]
struct LoopStarted {
    /// Names the plan.
    id: String,
    /// The transaction that started it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

/// What an execution is forked with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ForkLoop {
    /// The iteration that the fork begins with: one that was begun, or the next one.
    #[schemars(range(min = 1))]
    at: u32,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// An execution that was forked.
#[derive(Serialize, JsonSchema)]
struct LoopForked {
    /// Names the new plan.
    id: String,
    /// Its execution.
    execution: String,
    /// The transaction that forked it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

/// What is asked for is said with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AlterLoop {
    /// Why.
    #[serde(default)]
    reason: String,
}

/// What was asked for is done.
#[derive(Serialize, JsonSchema)]
struct LoopAltered {
    /// The plan or the execution.
    id: String,
    /// How many executions it changed.
    changed: u64,
    /// The transaction that did it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

const EXECUTION: Shape = Shape::Fields(&[
    ("kind", "string", "`plan` or `execution`."),
    ("id", "string", "Names it."),
    ("status", "string", "How an execution stands."),
    ("used", "object", "What an execution used of its budget; never becomes less."),
    ("forked_from", "object|null", "The `execution` that an execution was forked from, and `at`."),
    ("specs", "array", "The specs of a plan, each with its execution."),
    ("events", "array", "The last events of an execution."),
]);

fn execution(info: &ExecutionInfo) -> Value {
    let step = info.step.map(|step| serde_json::to_value(step).unwrap_or_default());
    json!({
        "id": info.id,
        "plan": info.plan,
        "plan_name": info.plan_name,
        "spec": info.spec,
        "status": info.status.as_str(),
        "used": {
            "iterations": info.used.iterations,
            "attempts": info.used.attempts,
            "cost_micros": info.used.cost_micros,
            "wall_time_ms": info.used.wall_time_ms,
        },
        "step": step,
        "job": info.job,
        "review": info.review,
        "resume_at_ms": info.resume_at_ms,
        "progress_micros": info.best_micros,
        "created_ms": info.created_ms,
        "updated_ms": info.updated_ms,
        "events": info.events,
    })
}

fn numbered(events: &[(u64, Event)]) -> Vec<Value> {
    let one = |(number, event): &(u64, Event)| {
        let mut value = serde_json::to_value(event).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.insert("sequence".to_owned(), json!(number));
        }
        value
    };
    events.iter().map(one).collect()
}

/// An execution with what it is to do and its last events.
pub(super) fn detail(detail: &ExecutionDetail) -> Value {
    let mut value = execution(&detail.info);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("kind".to_owned(), json!("execution"));
        fields.insert("does".to_owned(), json!(detail.spec));
        let from = detail.forked_from;
        let from = from.map(|from| json!({ "execution": from.execution, "at": from.at }));
        fields.insert("forked_from".to_owned(), json!(from));
        fields.insert("last_events".to_owned(), json!(numbered(&detail.last)));
    }
    value
}

fn plan(plan: &PlanInfo) -> Value {
    let specs = plan
        .specs
        .iter()
        .map(|spec| json!({ "needs": spec.needs, "execution": execution(&spec.execution) }));
    json!({
        "kind": "plan",
        "id": plan.id,
        "name": plan.name,
        "description": plan.description,
        "parallel": plan.parallel,
        "by": plan.who,
        "created_ms": plan.created_ms,
        "specs": specs.collect::<Vec<_>>(),
    })
}

fn id(asked: &Asked) -> Result<LoopId, Refusal> {
    Ok(asked.text("id").unwrap_or_default().parse()?)
}

pub(super) const START: Operation = Operation {
    id: "startLoop",
    tag: "loops",
    summary: "Starts a plan.",
    about: "All that is wrong with it is told at once. One whose specs name no `worker` needs a \
            server that runs commands of loops (`loops.commands`). Goes into the audit log.",
    parameters: &[],
    takes: Some(Taken {
        shape: of::<StartLoop>(),
        example: "{\"plan\":{\"name\":\"p\",\"description\":\"\",\"parallel\":1,\
                  \"specs\":[{\"name\":\"s\",\"needs\":[],\"instructions\":\"\",\
                  \"worker\":\"agents\",\"run\":{\"argv\":[\"true\"],\
                  \"idempotent\":true,\"time_limit_ms\":1000},\"checks\":[],\
                  \"directory\":\"temporary\",\"environment\":{},\
                  \"budget\":{\"iterations\":1,\"wall_time_ms\":1000,\"attempts\":null,\
                  \"cost_micros\":null},\"stuck_after\":null}]}}",
    }),
    answers: &[Given::created("It is started.", of::<LoopStarted>())],
    refuses: &[Code::Conflict, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/loops`.
pub(super) fn start(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let wanted: StartLoop = asked.json()?;
        let plan: Plan = serde_json::from_value(wanted.plan)
            .map_err(|error| Error::new(Why::Invalid, format!("it is no plan: {error}")))?;
        loop_commands::may_begin(&server, &plan.specs)?;
        let loops = serving(&server)?.services.loops();
        let (who, identity) = (asked.who(), asked.identity());
        let started = loops.submit_start(&plan, wanted.draft, &who, identity).await?.await?;
        let started = LoopStarted {
            id: started.value.plan.to_string(),
            version: started.version,
            durability: started.durability.as_str(),
        };
        Ok(answer(StatusCode::CREATED, &started))
    })
}

pub(super) const LIST: Operation = Operation {
    id: "listLoops",
    tag: "loops",
    summary: "A page of executions.",
    about: "In the order in which they were made.",
    parameters: &[
        Parameter::text("plan", "Only executions of this plan."),
        Parameter::text("status", "Only these statuses, separated by commas."),
        Parameter::text("after", "Only executions behind this one."),
        Parameter::text("order", "`newest` for the newest first."),
        Parameter::number("limit", 1, LIST_LOOPS_MAX as u64, "The most of the page (1000)."),
    ],
    takes: None,
    answers: &[Given::ok(
        "The page.",
        Shape::Fields(&[
            ("executions", "array", "The executions."),
            ("next", "string|null", "What to give as `after` for the next page."),
        ]),
    )],
    refuses: &[],
    once: false,
};

/// GET `/v1/loops`.
pub(super) fn list(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let loops = serving(&server)?.services.loops();
        loops.settled().await?;
        let named = |name: &str| asked.text(name).map(str::parse::<LoopId>).transpose();
        let words = asked.text("status").unwrap_or_default();
        let words = words.split(',').filter(|word| !word.is_empty());
        let statuses = words.map(str::parse::<Status>).collect::<Result<Vec<_>, _>>()?;
        let newest_first = match asked.text("order") {
            None | Some("" | "oldest") => false,
            Some("newest") => true,
            Some(other) => {
                let message = format!("{other:?} is no order; use oldest or newest");
                return Err(Error::new(Why::Invalid, message).into());
            }
        };
        let filter = LoopFilter {
            plan: named("plan")?,
            statuses: &statuses,
            newest_first,
            after: named("after")?,
            limit: asked.limit(LIST_LOOPS_MAX, LIST_LOOPS_MAX)?,
        };
        let page = loops.list(&filter)?;
        let last = page.executions.last().filter(|_| page.more);
        let next = last.map(|execution| execution.id);
        let executions: Vec<Value> = page.executions.iter().map(execution).collect();
        ok(&json!({ "executions": executions, "next": next }))
    })
}

pub(super) const SHOW: Operation = Operation {
    id: "getLoop",
    tag: "loops",
    summary: "A plan or an execution.",
    about: "A plan with its specs and their executions; an execution with what it is to do and \
            its last events.",
    parameters: &[ID],
    takes: None,
    answers: &[Given::ok("It.", EXECUTION)],
    refuses: &[Code::NotFound],
    once: false,
};

/// GET `/v1/loops/{id}`.
pub(super) fn show(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let loops = serving(&server)?.services.loops();
        loops.settled().await?;
        match loops.show(id(&asked)?)? {
            Shown::Plan(info) => ok(&plan(&info)),
            Shown::Execution(shown) => ok(&detail(&shown)),
        }
    })
}

pub(super) const EVENTS: Operation = Operation {
    id: "getLoopEvents",
    tag: "loops",
    summary: "What happened to an execution.",
    about: "Oldest first, each with its sequence number, from 1 on without gaps.",
    parameters: &[
        ID,
        Parameter::number("after", 0, u64::MAX, "Only events behind this number (0)."),
        Parameter::number("limit", 1, LOOP_EVENTS_MAX as u64, "The most of the page (1000)."),
    ],
    takes: None,
    answers: &[Given::ok(
        "The page.",
        Shape::Fields(&[
            ("events", "array", "The events."),
            ("more", "boolean", "Whether more follow."),
            ("over", "boolean", "Nothing happens any more unless somebody asks for it."),
        ]),
    )],
    refuses: &[Code::NotFound],
    once: false,
};

/// GET `/v1/loops/{id}/events`.
pub(super) fn events(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let loops = serving(&server)?.services.loops();
        loops.settled().await?;
        let after = asked.text("after").unwrap_or("0").parse().unwrap_or(0);
        let limit = asked.limit(LOOP_EVENTS_MAX, LOOP_EVENTS_MAX)?;
        let page = loops.events(id(&asked)?, after, limit)?;
        let events = numbered(&page.events);
        ok(&json!({ "events": events, "more": page.more, "over": page.is_over }))
    })
}

pub(super) const ALTER: Operation = Operation {
    id: "alterLoop",
    tag: "loops",
    summary: "Approves, pauses, resumes, cancels or retries.",
    about: "An execution, or all executions of a plan to which it means anything; `conflict` \
            where it means nothing to any. A step that runs goes on to its end when its \
            execution is paused, and is ended when that is cancelled. Goes into the audit log.",
    parameters: &[
        ID,
        Parameter::path(
            "ask",
            Kind::Word(&["approve", "pause", "resume", "cancel", "retry"]),
            "What is asked for.",
            "pause",
        ),
    ],
    takes: Some(Taken { shape: of::<AlterLoop>(), example: r#"{"reason":"so"}"# }),
    answers: &[Given::ok("It is done.", of::<LoopAltered>())],
    refuses: &[Code::NotFound, Code::Conflict, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/loops/{id}/{ask}`.
pub(super) fn alter(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let word = asked.text("ask").unwrap_or_default();
        let ask = Ask::ALL.into_iter().find(|ask| ask.as_str() == word);
        let ask = ask.ok_or_else(|| Error::new(Why::Invalid, format!("{word:?} is none")))?;
        let AlterLoop { reason } = asked.json()?;
        let loops = serving(&server)?.services.loops();
        let (who, identity, id) = (asked.who(), asked.identity(), id(&asked)?);
        let altered = loops.submit_alter(id, ask, &reason, &who, identity).await?.await?;
        ok(&LoopAltered {
            id: id.to_string(),
            changed: altered.value.changed,
            version: altered.version,
            durability: altered.durability.as_str(),
        })
    })
}

pub(super) const FORK: Operation = Operation {
    id: "forkLoop",
    tag: "loops",
    summary: "A new plan that begins as an execution stood before an iteration.",
    about: "The execution may have any status, and is not changed. What it had used stays used; \
            files are not taken back. Goes into the audit log.",
    parameters: &[Parameter::path(
        "id",
        Kind::Text,
        "The id of an execution.",
        "018bcfe5-6800-7fff-bfff-ffffffffffff",
    )],
    takes: Some(Taken { shape: of::<ForkLoop>(), example: r#"{"at":2}"# }),
    answers: &[Given::created("It is forked.", of::<LoopForked>())],
    refuses: &[Code::NotFound, Code::Conflict, Code::Full, Code::NoSpace],
    once: true,
};

/// POST `/v1/loops/{id}/fork`.
pub(super) fn fork(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let ForkLoop { at, reason } = asked.json()?;
        let loops = serving(&server)?.services.loops();
        let (who, identity, id) = (asked.who(), asked.identity(), id(&asked)?);
        loops.settled().await?;
        if let Shown::Execution(original) = loops.show(id)? {
            loop_commands::may_begin(&server, [&original.spec])?;
        }
        let forked = loops.submit_fork(id, at, &reason, &who, identity).await?.await?;
        let forked = LoopForked {
            id: forked.value.plan.to_string(),
            execution: forked.value.execution.to_string(),
            version: forked.version,
            durability: forked.durability.as_str(),
        };
        Ok(answer(StatusCode::CREATED, &forked))
    })
}

pub(super) const CLEANUP: Operation = Operation {
    id: "previewLoopCleanup",
    tag: "loops",
    summary: "The directories of executions, and what becomes of them.",
    about: "What is to be removed is removed by the server itself, a moment later.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok(
        "The directories.",
        Shape::Fields(&[("directories", "array", "Each with its path, action and why.")]),
    )],
    refuses: &[],
    once: false,
};

/// GET `/v1/loops/cleanup`.
pub(super) fn cleanup(server: &Server, _: &Asked) -> super::reply::Answered {
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let found = server.work.leftovers(&server.env, recovered.services.loops());
    let found = found.map_err(|error| Error::new(Why::Io, error.to_string()))?;
    ok(&json!({ "directories": found }))
}

pub(super) const CLEAN: Operation = Operation {
    id: "cleanLoops",
    tag: "loops",
    summary: "Removes the directories of executions that are over, now.",
    about: "The server does it by itself, too. What is kept says why.",
    parameters: &[],
    takes: Some(Taken { shape: of::<Nothing>(), example: "{}" }),
    answers: &[Given::ok(
        "What there was.",
        Shape::Fields(&[("directories", "array", "Each with its path, action and why.")]),
    )],
    refuses: &[],
    once: false,
};

/// POST `/v1/loops/cleanup`.
pub(super) fn clean(server: &Server, asked: &Asked) -> super::reply::Answered {
    let Nothing {} = asked.json()?;
    let recovered = server.recovered().ok_or(Refusal::NotNow)?;
    let found = server.work.clean(&server.env, recovered.services.loops());
    let found = found.map_err(|error| Error::new(Why::Io, error.to_string()))?;
    ok(&json!({ "directories": found }))
}
