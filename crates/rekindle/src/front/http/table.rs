//! The table of HTTP routes: each with the permission that it needs, when it is served, and what
//! the document says of it.
//!
//! Invariant: an [`axum::Router`] is built from a table and nowhere else.

use std::sync::Arc;

use axum::Router;

pub use super::route::{Does, Route, When};
use super::serve::router_of;
use super::{
    answers, audit, backups, health, job_types, job_work, jobs, kv, kv_scan, loops, messages,
    openapi, queues, recoveries, recovery_mode, reviews, runs, schedules, store, tokens,
    transactions,
};
use crate::front::access::{Permission, Principal, Subject, Verb};
use crate::front::ui;
use crate::state::Server;

const READ_SERVER: Permission = Permission::Needs(Subject::Server, Verb::Read);
const MANAGE_SERVER: Permission = Permission::Needs(Subject::Server, Verb::Manage);
const READ_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Read);
const SEND: Permission = Permission::Needs(Subject::Queue, Verb::Write);
const ACK: Permission = Permission::Needs(Subject::Queue, Verb::Ack);
const MANAGE_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Manage);
const READ_JOB: Permission = Permission::Needs(Subject::Job, Verb::Read);
const SUBMIT: Permission = Permission::Needs(Subject::Job, Verb::Write);
const WORK: Permission = Permission::Needs(Subject::Job, Verb::Ack);
const MANAGE_JOB: Permission = Permission::Needs(Subject::Job, Verb::Manage);
const READ_LOOP: Permission = Permission::Needs(Subject::Loop, Verb::Read);
const MANAGE_LOOP: Permission = Permission::Needs(Subject::Loop, Verb::Manage);
const TRANSACT: Permission = Permission::Needs(Subject::Everything, Verb::Write);
const READ_KV: Permission = Permission::Needs(Subject::Kv, Verb::Read);
const WRITE_KV: Permission = Permission::Needs(Subject::Kv, Verb::Write);

/// All routes.
pub static ROUTES: &[Route] = &[
    Route::get("/livez", Permission::Probe, When::Always, answers::alive).about(&answers::ALIVE),
    Route::get("/startupz", Permission::Probe, When::Always, answers::started)
        .about(&answers::STARTED),
    Route::get("/readyz", Permission::Probe, When::Always, answers::ready).about(&answers::READY),
    Route::get("/healthz", READ_SERVER, When::Always, health::health).about(&health::HEALTH),
    Route::get("/metrics", READ_SERVER, When::Always, answers::metrics).about(&answers::METRICS),
    Route::get("/v1/openapi.json", READ_SERVER, When::Always, openapi::show).about(&openapi::SHOW),
    Route::get("/v1/alerts", READ_SERVER, When::Always, health::alerts).about(&health::ALERTS),
    Route::post("/v1/alerts/{rule}/acknowledge", MANAGE_SERVER, When::Ready, health::acknowledge)
        .about(&health::ACKNOWLEDGE),
    Route::get("/v1/limits", READ_SERVER, When::Always, answers::limits).about(&answers::LIMITS),
    Route::read("/v1/store", READ_SERVER, When::Always, store::store).about(&store::STORE),
    Route::get("/v1/stats", READ_SERVER, When::Readable, answers::stats).about(&answers::STATS),
    Route::post("/v1/backups", MANAGE_SERVER, When::Ready, backups::take).about(&backups::TAKE),
    Route::read("/v1/recoveries", READ_SERVER, When::Always, recoveries::list)
        .about(&recoveries::LIST),
    Route::read("/v1/recoveries/{n}", READ_SERVER, When::Always, recoveries::show)
        .about(&recoveries::SHOW),
    Route::get("/v1/recoveries/latest", READ_SERVER, When::Always, recoveries::latest)
        .about(&recoveries::LATEST),
    Route::events("/v1/recoveries/progress", READ_SERVER, When::Always, recoveries::progress)
        .about(&recoveries::PROGRESS),
    Route::read("/v1/runs", READ_SERVER, When::Always, runs::list).about(&runs::LIST),
    Route::read("/v1/runs/{number}", READ_SERVER, When::Always, runs::show).about(&runs::SHOW),
    Route::read("/v1/audit", READ_SERVER, When::Readable, audit::list).about(&audit::LIST),
    Route::read("/v1/reviews", READ_QUEUE, When::Readable, reviews::list).about(&reviews::LIST),
    Route::read("/v1/reviews/{id}", READ_QUEUE, When::Readable, reviews::show)
        .about(&reviews::SHOW),
    Route::post("/v1/reviews/{id}/{decision}", MANAGE_QUEUE, When::Ready, reviews::decide)
        .about(&reviews::DECIDE),
    Route::get("/v1/recovery-mode", READ_SERVER, When::RecoveryMode, recovery_mode::show)
        .about(&recovery_mode::SHOW),
    Route::post("/v1/repair", MANAGE_SERVER, When::RecoveryMode, recovery_mode::repair)
        .about(&recovery_mode::REPAIR),
    Route::post("/v1/salvage", MANAGE_SERVER, When::RecoveryMode, recovery_mode::salvage)
        .about(&recovery_mode::SALVAGE),
    Route::get("/v1/queues", READ_QUEUE, When::Readable, queues::list).about(&queues::LIST),
    Route::work(Does::Post, "/v1/queues", MANAGE_QUEUE, queues::create).about(&queues::CREATE),
    Route::get("/v1/queues/{name}", READ_QUEUE, When::Readable, queues::show).about(&queues::SHOW),
    Route::work(Does::Delete, "/v1/queues/{name}", MANAGE_QUEUE, queues::delete)
        .about(&queues::DELETE),
    Route::work(Does::Post, "/v1/queues/{name}/purge", MANAGE_QUEUE, queues::purge)
        .about(&queues::PURGE),
    Route::work(Does::Post, "/v1/queues/{name}/messages", SEND, messages::send)
        .about(&messages::SEND),
    Route::work(Does::Post, "/v1/queues/{name}/receive", ACK, messages::receive)
        .about(&messages::RECEIVE),
    Route::work(Does::Post, "/v1/queues/{name}/ack", ACK, tokens::ack).about(&tokens::ACK),
    Route::work(Does::Post, "/v1/queues/{name}/nack", ACK, tokens::nack).about(&tokens::NACK),
    Route::work(Does::Post, "/v1/queues/{name}/extend", ACK, tokens::extend).about(&tokens::EXTEND),
    Route::work(Does::Get, "/v1/kv", READ_KV, kv_scan::scan).about(&kv_scan::SCAN),
    Route::work(Does::Get, "/v1/kv/{*key}", READ_KV, kv::get).about(&kv::GET),
    Route::work(Does::Put, "/v1/kv/{*key}", WRITE_KV, kv::put).about(&kv::PUT),
    Route::work(Does::Delete, "/v1/kv/{*key}", WRITE_KV, kv::delete).about(&kv::DELETE),
    Route::work(Does::Get, "/v1/jobs", READ_JOB, jobs::list).about(&jobs::LIST),
    Route::work(Does::Post, "/v1/jobs", SUBMIT, jobs::submit).about(&jobs::SUBMIT),
    Route::work(Does::Get, "/v1/jobs/counts", READ_JOB, jobs::counts).about(&jobs::COUNTS),
    Route::work(Does::Post, "/v1/jobs/claim", WORK, job_work::claim).about(&job_work::CLAIM),
    Route::work(Does::Get, "/v1/jobs/{id}", READ_JOB, jobs::show).about(&jobs::SHOW),
    Route::work(Does::Get, "/v1/jobs/{id}/result", READ_JOB, jobs::result).about(&jobs::RESULT),
    Route::work(Does::Post, "/v1/jobs/{id}/heartbeat", WORK, job_work::heartbeat)
        .about(&job_work::HEARTBEAT),
    Route::work(Does::Post, "/v1/jobs/{id}/complete", WORK, job_work::complete)
        .about(&job_work::COMPLETE),
    Route::work(Does::Post, "/v1/jobs/{id}/fail", WORK, job_work::fail).about(&job_work::FAIL),
    Route::work(Does::Post, "/v1/jobs/{id}/release", WORK, job_work::release)
        .about(&job_work::RELEASE),
    Route::work(Does::Post, "/v1/jobs/{id}/cancel", MANAGE_JOB, jobs::cancel).about(&jobs::CANCEL),
    Route::work(Does::Post, "/v1/jobs/{id}/retry", MANAGE_JOB, jobs::retry).about(&jobs::RETRY),
    Route::work(Does::Get, "/v1/job-types", READ_JOB, job_types::list).about(&job_types::LIST),
    Route::work(Does::Get, "/v1/job-types/{name}", READ_JOB, job_types::show)
        .about(&job_types::SHOW),
    Route::work(Does::Put, "/v1/job-types/{name}", MANAGE_JOB, job_types::set)
        .about(&job_types::SET),
    Route::work(Does::Get, "/v1/loops", READ_LOOP, loops::list).about(&loops::LIST),
    Route::work(Does::Post, "/v1/loops", MANAGE_LOOP, loops::start).about(&loops::START),
    Route::read("/v1/loops/cleanup", READ_LOOP, When::Ready, loops::cleanup).about(&loops::CLEANUP),
    Route::post("/v1/loops/cleanup", MANAGE_LOOP, When::Ready, loops::clean).about(&loops::CLEAN),
    Route::work(Does::Get, "/v1/loops/{id}", READ_LOOP, loops::show).about(&loops::SHOW),
    Route::work(Does::Get, "/v1/loops/{id}/events", READ_LOOP, loops::events).about(&loops::EVENTS),
    Route::work(Does::Post, "/v1/loops/{id}/fork", MANAGE_LOOP, loops::fork).about(&loops::FORK),
    Route::work(Does::Post, "/v1/loops/{id}/{ask}", MANAGE_LOOP, loops::alter).about(&loops::ALTER),
    Route::work(Does::Get, "/v1/schedules", READ_JOB, schedules::list).about(&schedules::LIST),
    Route::work(Does::Post, "/v1/schedules", MANAGE_JOB, schedules::create)
        .about(&schedules::CREATE),
    Route::work(Does::Get, "/v1/schedules/{name}", READ_JOB, schedules::show)
        .about(&schedules::SHOW),
    Route::work(Does::Delete, "/v1/schedules/{name}", MANAGE_JOB, schedules::delete)
        .about(&schedules::DELETE),
    Route::work(Does::Post, "/v1/transactions", TRANSACT, transactions::run)
        .about(&transactions::RUN),
];

/// The router of a listener whose callers are `principal`.
pub fn router(server: &Arc<Server>, principal: Principal) -> Router {
    let all: Vec<Route> = ROUTES.iter().chain(ui::ROUTES).copied().collect();
    router_of(&all, server, principal)
}
