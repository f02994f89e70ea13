//! Looks at a server from time to time, judges the rules, and tells what changed.
//!
//! Invariant: what may wait for the disk is looked at on a thread that may, and while it hangs the
//! other figures go on: a disk that hangs is what an alert is for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rekindle_database::scrub_advice;
use rekindle_services::queues::Backlog;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::figures::{Figures, Window};
use super::webhook::Webhook;
use super::{Alert, Damage, State};
use crate::boot::{Recovered, Refused};
use crate::metrics::disk::Syncs;
use crate::progress::Stage;
use crate::state::Server;

/// Queues whose backlog is looked at, the first by name.
const QUEUES: usize = 1_000;
/// How long a look waits for what may hang.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the process of a refused start stays for the webhook: one try that hangs.
pub const LAST_NOTICES: Duration = Duration::from_secs(5);

/// What may wait for the disk.
#[derive(Clone, Debug, Default)]
struct Slow {
    disk_free_bytes: Option<u64>,
    backlog: Option<Vec<Backlog>>,
}

/// What one look leaves for the next.
#[derive(Debug, Default)]
struct Past {
    slow: Slow,
    /// The look of before that has not come back.
    pending: Option<JoinHandle<Slow>>,
    syncs: Syncs,
    attempts: Window,
    dead_letters: Window,
    /// Scrubs whose findings were told.
    scrubs: u64,
}

/// Watches on a task of its own, until shutdown begins or the start is refused.
#[derive(Debug)]
pub struct Watching {
    refused: Sender<Refused>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Begins.
    #[must_use]
    pub fn start(server: &Arc<Server>) -> Self {
        let (refused, last) = channel(1);
        Self { refused, task: tokio::spawn(watch(Arc::clone(server), last)) }
    }

    /// The start was refused: the rules are looked at once more, and what fires has a moment to
    /// reach the webhook before the process ends.
    pub async fn refused(self, refused: &Refused) {
        // Whoever watches is gone once shutdown began.
        let _ = self.refused.try_send(refused.clone());
        let _ = timeout(LAST_NOTICES, self.task).await;
    }
}

async fn watch(server: Arc<Server>, mut last: Receiver<Refused>) {
    let settings = &server.config.alerts;
    let target = settings.webhook.clone();
    let webhook = target.map(|target| Webhook::start(target, server.alerts.delivered.clone()));
    let mut ticks = interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut past = Past::default();
    let mut served = false;
    loop {
        let refused = tokio::select! {
            _ = ticks.tick() => None,
            // What the start found is told at once.
            () = server.progress.reached(Stage::RecoveryMode), if !served => {
                served = true;
                None
            }
            Some(refused) = last.recv() => Some(refused),
            () = server.progress.reached(Stage::Shutdown) => return,
        };
        past.slow(&server).await;
        let mut figures = past.look(&server);
        if let Some(refused) = &refused {
            of_refusal(&server, refused, &mut figures);
        }
        let changed = server.alerts.judge(figures, server.env.clock.wall_ms());
        changed.iter().for_each(|alert| tell(alert, webhook.as_ref()));
        if refused.is_some() {
            if let Some(webhook) = webhook {
                webhook.finish().await;
            }
            return;
        }
    }
}

/// A change, for the log and the webhook.
fn tell(alert: &Alert, webhook: Option<&Webhook>) {
    let Alert { alert: name, value, threshold, summary, next_step, .. } = alert;
    match alert.state {
        State::Firing => {
            tracing::warn!(alert = name, value, threshold, next_step, "alert firing: {summary}");
        }
        State::Resolved => tracing::info!(alert = name, value, threshold, "alert resolved"),
    }
    if let Some(webhook) = webhook {
        match serde_json::to_string(alert) {
            Ok(notice) => webhook.send(notice),
            Err(error) => tracing::warn!(%error, "an alert is no JSON"),
        }
    }
}

/// Looks at what may wait for the disk.
fn look_slowly(server: &Server) -> Slow {
    let data = &server.config.data;
    let disk_free_bytes = server.env.disk.available_bytes(data).ok();
    let services = server.serving().map(|recovered| &recovered.services);
    let backlog = services.and_then(|services| services.queues().backlog(QUEUES).ok());
    Slow { disk_free_bytes, backlog }
}

impl Past {
    /// Waits a little for what may hang; what does not come back is asked for next time.
    async fn slow(&mut self, server: &Arc<Server>) {
        let mut job = self.pending.take().unwrap_or_else(|| {
            let server = Arc::clone(server);
            tokio::task::spawn_blocking(move || look_slowly(&server))
        });
        match timeout(PATIENCE, &mut job).await {
            Ok(slow) => self.slow = slow.unwrap_or_default(),
            Err(_) => self.pending = Some(job),
        }
    }

    /// All figures now.
    fn look(&mut self, server: &Server) -> Figures {
        let window = server.config.alerts.thresholds.window;
        let mut figures = Figures {
            unclean_ends: Some(server.run.unclean_within(window)),
            last_end: last_end(server),
            disk_free_bytes: self.slow.disk_free_bytes,
            sync_seconds: Some(self.sync_seconds(server)),
            ..Figures::default()
        };
        if let Some(backlog) = &self.slow.backlog {
            let oldest = backlog.iter().max_by_key(|queue| queue.oldest_age_ms);
            let age = oldest.map_or(0, |queue| queue.oldest_age_ms);
            figures.backlog_seconds = Some(Duration::from_millis(age).as_secs_f64());
            figures.backlog_queue = oldest.map(|it| it.queue.clone()).unwrap_or_default();
            figures.backlog.clone_from(backlog);
        }
        if let Some(mode) = server.recovery_mode() {
            // What can be read there is of an overlay: only what was found is true of the store.
            found(server.alerts.damages.open(Damage::of(&mode.report())), &mut figures);
        } else if let Some(recovered) = server.recovered() {
            self.of_store(server, recovered, &mut figures);
        }
        figures
    }

    fn of_store(&mut self, server: &Server, recovered: &Recovered, figures: &mut Figures) {
        let window = server.config.alerts.thresholds.window;
        let now_ms = server.env.clock.boot_ms();
        let report = &recovered.report;
        let stats = recovered.database.stats();
        let predicted = stats.predicted_replay_micros;
        let recent = Duration::from_millis(server.progress.elapsed_ms()) < window;
        let micros = if recent { predicted.max(stats.replay_micros) } else { predicted };
        figures.replay_seconds = Some(Duration::from_micros(micros).as_secs_f64());
        figures.disk_low = stats.disk.low;
        self.scrubbed(server, recovered);
        found(server.alerts.damages.open(Damage::of(report)), figures);
        let reviews = recovered.services.reviews().figures();
        figures.review_items = Some(reviews.count);
        let now = recovered.database.log_time_ms();
        let age = reviews.oldest_ms.map_or(0, |since| now.saturating_sub(since));
        figures.review_oldest_seconds = Duration::from_millis(age).as_secs_f64();
        let counters = &server.counters;
        let attempts = counters.most_attempts.swap(0, Ordering::Relaxed);
        self.attempts.add(now_ms, attempts, window);
        figures.most_attempts = Some(self.attempts.most());
        let expired = recovered.services.ticked().dead_lettered;
        let dead = expired + counters.dead_lettered.load(Ordering::Relaxed);
        let of_start = report.figure("dead_lettered");
        if self.dead_letters.is_empty() {
            // What the start itself dead-lettered happened within the window, too.
            self.dead_letters.add(now_ms, 0, window);
        }
        self.dead_letters.add(now_ms, dead.saturating_add(of_start), window);
        figures.dead_letters = Some(self.dead_letters.growth());
    }

    /// What the last scrub found, once.
    fn scrubbed(&mut self, server: &Server, recovered: &Recovered) {
        let scrubs = recovered.database.scrubs();
        if std::mem::replace(&mut self.scrubs, scrubs.rounds) == scrubs.rounds {
            return;
        }
        for finding in &scrubs.last.findings {
            server.alerts.damages.met(&format!("{finding}; {}", scrub_advice(finding)));
        }
    }

    /// The mean time of a sync since the last look, or of the one that goes on, which is longer.
    fn sync_seconds(&mut self, server: &Server) -> f64 {
        let now = server.disk_times.syncs(server.env.clock.boot_ns());
        let count = now.count.saturating_sub(self.syncs.count);
        let total_ns = now.total_ns.saturating_sub(self.syncs.total_ns);
        self.syncs = now;
        let mean_ns = total_ns.checked_div(count).unwrap_or(0);
        Duration::from_nanos(mean_ns.max(now.running_ns)).as_secs_f64()
    }
}

/// The figures of a start that was refused.
fn of_refusal(server: &Server, refused: &Refused, figures: &mut Figures) {
    // One that has no record (somebody else holds the directory) is no failure of this store.
    if let Some(number) = server.run.number_of_this() {
        let before = figures.unclean_ends.unwrap_or(0);
        figures.unclean_ends = Some(before.saturating_add(1));
        let reason = refused.message.lines().next().unwrap_or_default();
        figures.last_end = format!("run {number} refused ({reason})");
    }
    if refused.damage.count > 0 {
        found(refused.damage.clone(), figures);
    }
}

fn found(damage: Damage, figures: &mut Figures) {
    figures.damages = Some(damage.count);
    figures.damage = damage.example;
}

/// How the last unclean run ended, in words.
fn last_end(server: &Server) -> String {
    let runs = server.run.all();
    let unclean = runs.iter().find(|run| run.end.is_unclean());
    unclean.map_or_else(String::new, |run| {
        let (number, end, reason) = (run.number, run.end.as_str(), &run.reason);
        format!("run {number} {end} ({reason})")
    })
}
