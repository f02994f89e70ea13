//! The pool: claims jobs of the configured types, and runs as many at once as is configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rekindle_services::Kind;
use rekindle_services::jobs::{ClaimRequest, Claimed};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::command;
use super::evidence::Left;
use super::held::{Context, PAUSE, Phase};
use super::settings::{Executor, Executors, What};
use super::webhook;

/// Goes on with what was left, and serves the configured types until the server ends and
/// everything that ran has ended.
pub(super) async fn all(context: Context, settings: Executors, left: Vec<Left>) {
    let mut tasks = JoinSet::new();
    let room = |executor: &Executor| Arc::new(Semaphore::new(executor.concurrency));
    let of_types = settings.of_types.into_iter();
    let rooms: BTreeMap<_, _> =
        of_types.map(|(kind, executor)| (kind, (room(&executor), executor))).collect();
    for left in left {
        let context = context.clone();
        // What goes on has its place among those that its type may have at once.
        let kind = context.kind(left.token);
        let room = kind.and_then(|kind| rooms.get(&kind)).map(|(room, _)| Arc::clone(room));
        let place = room.and_then(|room| room.try_acquire_owned().ok());
        tasks.spawn(async move {
            command::resume(context, left).await;
            drop(place);
        });
    }
    for (kind, (room, executor)) in rooms {
        tasks.spawn(serve(context.clone(), kind, Arc::new(executor), room));
    }
    while tasks.join_next().await.is_some() {}
}

/// Serves one type.
async fn serve(context: Context, kind: String, executor: Arc<Executor>, room: Arc<Semaphore>) {
    let mut running = JoinSet::new();
    while !context.is(Phase::Draining) {
        while running.try_join_next().is_some() {}
        let place = tokio::select! {
            place = Arc::clone(&room).acquire_owned() => place,
            () = context.reached(Phase::Draining) => break,
        };
        let place = place.expect("nobody closes it");
        let Some(job) = claim(&context, &kind, executor.name()).await else { continue };
        context.figures.started.fetch_add(1, Ordering::Relaxed);
        let (context, executor) = (context.clone(), Arc::clone(&executor));
        running.spawn(async move {
            work(&context, &executor.what, &job).await;
            drop(place);
        });
    }
    while running.join_next().await.is_some() {}
}

/// Waits for the next job; `None`: look again.
async fn claim(context: &Context, kind: &str, name: &str) -> Option<Claimed> {
    let types = [kind];
    let request = ClaimRequest { types: &types, max: 1, lease_ms: None, worker: name };
    let draining = context.reached(Phase::Draining);
    match context.jobs.claim_inside(&request, draining).await {
        Ok(claimed) => claimed.value.into_iter().next(),
        Err(error) => {
            // A store that ends or failed says so by itself.
            if error.kind() != Kind::Poisoned {
                tracing::warn!(r#type = kind, %error, "an executor could not claim a job");
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = context.reached(Phase::Draining) => {}
            }
            None
        }
    }
}

async fn work(context: &Context, what: &What, job: &Claimed) {
    let held = context.hold(job.token, Duration::from_millis(job.lease_ms));
    match what {
        What::Command(settings) => command::run(held, settings, job).await,
        What::Webhook(settings) => webhook::run(held, settings, job).await,
        What::Steps(settings) => command::run_step(held, settings, job).await,
    }
}
