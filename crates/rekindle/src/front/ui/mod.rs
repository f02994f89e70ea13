//! The page: what operators look at, rendered here, useful without scripts.
//!
//! Every screen is gathered in [`screens`] from what the server knows and rendered by pure
//! functions, values in, markup out. Invariants: a value from outside is text (maud escapes it) and
//! never markup; a page loads nothing but the three files of [`assets`]; every route stands in
//! [`ROUTES`] with the permission that it needs.

mod alerts;
mod api;
mod assets;
mod audit;
mod carried;
mod chart;
mod curl;
mod findings;
mod frame;
mod history;
mod job;
mod job_types;
mod jobs;
mod limited;
mod live;
mod loops;
mod overview;
mod progress;
mod queues;
mod recovery;
mod report;
mod reviews;
mod samples;
mod schedules;
mod screens;
mod text;
mod timeline;
mod times;
mod workers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use rekindle_env::Random;
use tokio::sync::Semaphore;

use super::access::{Permission, Subject, Verb};
use super::http::reply::Refusal;
use super::http::table::{Route, When};
use super::limits::LIVE_STREAMS_MAX;
use crate::state::Server;

/// What the pages of one server share.
#[derive(Debug)]
pub struct Board {
    /// Tells this process from others, so that an open page notices a restart.
    boot: u64,
    /// Places for pages that are kept up to date.
    streams: Arc<Semaphore>,
    /// The last ten minutes.
    samples: Mutex<samples::Ring>,
    /// The iterations of executions that somebody looks at.
    iterations: loops::remembered::Remembered,
}

impl Board {
    /// Of a server that is about to start.
    #[must_use]
    pub fn new(random: &dyn Random) -> Self {
        Self {
            boot: random.next_u64(),
            streams: Arc::new(Semaphore::new(LIVE_STREAMS_MAX)),
            samples: Mutex::default(),
            iterations: loops::remembered::Remembered::default(),
        }
    }

    /// The samples. A panic of who held them leaves them whole: a sample is pushed at once.
    fn ring(&self) -> MutexGuard<'_, samples::Ring> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const READ: Permission = Permission::Needs(Subject::Server, Verb::Read);
const MANAGE: Permission = Permission::Needs(Subject::Server, Verb::Manage);
const MANAGE_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Manage);
const READ_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Read);
const READ_JOB: Permission = Permission::Needs(Subject::Job, Verb::Read);
const MANAGE_JOB: Permission = Permission::Needs(Subject::Job, Verb::Manage);
const READ_LOOP: Permission = Permission::Needs(Subject::Loop, Verb::Read);
const MANAGE_LOOP: Permission = Permission::Needs(Subject::Loop, Verb::Manage);

/// All routes of the page.
pub static ROUTES: &[Route] = &[
    Route::get("/", READ, When::Always, screens::home).for_people(),
    Route::get("/ui", READ, When::Always, screens::home).for_people(),
    Route::get("/ui/", READ, When::Ready, screens::overview::show).for_people(),
    Route::read("/ui/recovery", READ, When::Always, screens::recovery::newest).for_people(),
    Route::read("/ui/recovery/{number}", READ, When::Always, screens::recovery::one).for_people(),
    Route::read("/ui/recovery/{number}/report.md", READ, When::Always, screens::recovery::markdown)
        .for_people(),
    Route::get("/ui/queues", READ_QUEUE, When::Readable, screens::queues::list).for_people(),
    Route::get("/ui/queues/{name}", READ_QUEUE, When::Readable, screens::queues::one).for_people(),
    Route::read("/ui/jobs", READ_JOB, When::Readable, screens::jobs::list).for_people(),
    Route::read("/ui/jobs/{id}", READ_JOB, When::Readable, screens::jobs::one).for_people(),
    Route::form("/ui/jobs/{id}/cancel", MANAGE_JOB, When::Ready, screens::jobs::cancel)
        .for_people(),
    Route::form("/ui/jobs/{id}/retry", MANAGE_JOB, When::Ready, screens::jobs::retry).for_people(),
    Route::read("/ui/job-types", READ_JOB, When::Readable, screens::jobs::types).for_people(),
    Route::read("/ui/schedules", READ_JOB, When::Readable, screens::schedules::list).for_people(),
    Route::read("/ui/workers", READ_JOB, When::Readable, screens::jobs::workers).for_people(),
    Route::read("/ui/loops", READ_LOOP, When::Readable, screens::loops::list).for_people(),
    Route::read("/ui/loops/{id}", READ_LOOP, When::Readable, screens::loops::one).for_people(),
    Route::form("/ui/loops/{id}", MANAGE_LOOP, When::Ready, screens::loops::ask).for_people(),
    Route::read("/ui/loops/{id}/events", READ_LOOP, When::Readable, screens::loops::events)
        .for_people(),
    Route::read("/ui/reviews", READ_QUEUE, When::Readable, screens::reviews::list).for_people(),
    Route::read("/ui/reviews/{id}", READ_QUEUE, When::Readable, screens::reviews::show)
        .for_people(),
    Route::form("/ui/reviews/{id}", MANAGE_QUEUE, When::Ready, screens::reviews::decide)
        .for_people(),
    Route::form("/ui/repair", MANAGE, When::RecoveryMode, screens::limited::repair).for_people(),
    Route::form("/ui/salvage", MANAGE, When::RecoveryMode, screens::limited::salvage).for_people(),
    Route::get("/ui/alerts", READ, When::Always, screens::alerts::show).for_people(),
    Route::form("/ui/alerts/{rule}", MANAGE, When::Ready, screens::alerts::acknowledge)
        .for_people(),
    Route::read("/ui/audit", READ, When::Readable, screens::audit::list).for_people(),
    Route::get("/ui/api", READ, When::Always, screens::api::show).for_people(),
    Route::events("/ui/live", READ, When::Always, live::live),
    Route::get("/ui/static/{file}", READ, When::Always, assets::serve),
    Route::get("/ui/{*rest}", READ, When::Always, screens::nowhere).for_people(),
];

/// Looks at the server once a second for as long as it runs, for the overview.
pub(crate) async fn remember(server: Arc<Server>) {
    samples::watch(server).await;
}

/// A refusal as a page.
#[must_use]
pub fn refused(refusal: &Refusal, server: &Server) -> Response {
    screens::refused(server, refusal)
}
