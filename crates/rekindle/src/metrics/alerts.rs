//! Metrics of alerts and of the figures behind them: what the last look saw.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, bytes, counter, gauge};
use crate::alerts::State;
use crate::state::Server;

/// What the rules say, and what they were judged by.
pub(super) fn register(registry: &mut Registry, server: &Server) {
    let firing: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
    for alert in server.alerts.all() {
        let labels = vec![("alert", alert.alert.to_owned())];
        firing.get_or_create(&labels).set(u64::from(alert.state == State::Firing));
    }
    registry.register("alert", "1 while this alert fires", firing);
    let figures = server.alerts.figures();
    let help = "Runs that ended uncleanly within alerts.window";
    gauge(registry, "unclean_ends", help, figures.unclean_ends.unwrap_or(0));
    if let Some(free) = figures.disk_free_bytes {
        bytes(registry, "disk_free", "Bytes that can still be written", free);
    }
    let help = "Mean time of a sync since the last look, or of the one that goes on";
    seconds(registry, "journal_sync_recent", help, figures.sync_seconds.unwrap_or(0.0));
    gauge(registry, "review_items", "What waits for a person", figures.review_items.unwrap_or(0));
    let help = "How long the oldest of them waits";
    seconds(registry, "review_oldest_age", help, figures.review_oldest_seconds);
    let help = "Most attempts of a message handed out within alerts.window";
    gauge(registry, "most_attempts", help, figures.most_attempts.unwrap_or(0));
    let help = "Messages dead-lettered within alerts.window";
    gauge(registry, "dead_letters_recent", help, figures.dead_letters.unwrap_or(0));
    let ages: Family<Labels, Gauge<f64, AtomicU64>> = Family::default();
    for queue in &figures.backlog {
        let age = Duration::from_millis(queue.oldest_age_ms).as_secs_f64();
        ages.get_or_create(&vec![("queue", queue.queue.clone())]).set(age);
    }
    let help = "Age of the oldest ready message";
    registry.register_with_unit("queue_oldest_age", help, Unit::Seconds, ages);
    let delivered = &server.alerts.delivered;
    counter(registry, "webhook_sent", "Notices that the webhook took", delivered.sent());
    let help = "Notices given up after all tries";
    counter(registry, "webhook_failed", help, delivered.failed());
    let help = "Notices for which there was no room";
    counter(registry, "webhook_dropped", help, delivered.dropped());
}

fn seconds(registry: &mut Registry, name: &str, help: &str, value: f64) {
    registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(value));
}
