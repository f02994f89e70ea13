//! Metrics, in the OpenMetrics text format.
//!
//! Counters are plain numbers that the fronts add to; everything else is read from where it lives
//! when it is asked for. Invariant: the number of time series is bounded, whatever callers do.

mod alerts;
pub mod disk;
mod jobs;
mod loops;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use rekindle_database::Database;

use crate::boot::Recovered;
use crate::progress::Stage;
use crate::state::Server;

/// The labels of one series.
type Labels = Vec<(&'static str, String)>;

/// The type of what [`encode`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The most queues that have series of their own (the first by name).
const QUEUES_SHOWN: usize = 1_000;

/// What the fronts count.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages acknowledged to senders.
    pub sent: AtomicU64,
    /// Messages refused to senders.
    pub refused: AtomicU64,
    /// Messages handed out under a lease.
    pub received: AtomicU64,
    /// Messages finished.
    pub acked: AtomicU64,
    /// Messages given back.
    pub nacked: AtomicU64,
    /// Leases extended.
    pub extended: AtomicU64,
    /// Messages that went to a dead-letter queue with a nack.
    pub dead_lettered: AtomicU64,
    /// Jobs that were submitted.
    pub jobs_submitted: AtomicU64,
    /// Jobs handed out under a claim.
    pub jobs_claimed: AtomicU64,
    /// Jobs that their workers completed.
    pub jobs_completed: AtomicU64,
    /// Attempts that their workers failed.
    pub jobs_failed: AtomicU64,
    /// The most attempts of a message or job that was handed out since the last look of the alerts.
    pub most_attempts: AtomicU64,
}

impl Counters {
    /// Adds to one of them.
    pub fn add(counter: &AtomicU64, n: u64) {
        if n > 0 {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }
}

/// All metrics of a server now.
pub fn encode(server: &Server) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rekindle");
    journal(&mut registry, server);
    fronts(&mut registry, server);
    messages(&mut registry, &server.counters);
    jobs::calls(&mut registry, &server.counters, &server.executions);
    alerts::register(&mut registry, server);
    if let Some(recovered) = server.recovered() {
        recovery(&mut registry, recovered);
        database(&mut registry, recovered);
        expirations(&mut registry, recovered);
        producers(&mut registry, recovered);
        queues(&mut registry, recovered);
        jobs::standing(&mut registry, recovered);
        loops::standing(&mut registry, recovered);
    }
    let mut text = String::with_capacity(16 << 10);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// A number that only grows.
fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

/// A number that moves.
fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstGauge::new(value));
}

/// A time that moves, in seconds.
fn seconds(registry: &mut Registry, name: &str, help: &str, micros: u64) {
    let value = Duration::from_micros(micros).as_secs_f64();
    registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(value));
}

/// A size that moves, in bytes.
fn bytes(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(value));
}

/// A size that only grows, in bytes.
fn total(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register_with_unit(name, help, Unit::Bytes, ConstCounter::new(value));
}

/// What the journal's files were measured to do.
fn journal(registry: &mut Registry, server: &Server) {
    let times = &server.disk_times;
    let (seconds, bytes) = (Unit::Seconds, Unit::Bytes);
    let help = "Time of each sync of a journal file; its count is the number of syncs";
    registry.register_with_unit("journal_sync", help, seconds, times.sync_seconds.clone());
    let help = "Size of each write to a journal file: one sync group";
    registry.register_with_unit("journal_batch", help, bytes, times.write_bytes.clone());
}

/// The process and its listeners.
fn fronts(registry: &mut Registry, server: &Server) {
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "Which build runs", Info::new(version));
    let ready = u64::from(server.progress.stage() == Stage::Ready);
    gauge(registry, "ready", "1 while work is accepted", ready);
    let insecure = u64::from(server.config.insecure_allow_remote);
    gauge(registry, "insecure_allow_remote", "1 when remote callers are allowed", insecure);
    let open: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
    let refused: Family<Labels, Counter> = Family::default();
    for (front, doorman) in [("grpc", &server.grpc_doorman), ("http", &server.http_doorman)] {
        let labels = vec![("front", front.to_owned())];
        open.get_or_create(&labels).set(doorman.open());
        refused.get_or_create(&labels).inc_by(doorman.refused());
    }
    registry.register("connections", "Open connections", open);
    registry.register("connections_refused", "Connections above a limit", refused);
    let budget = &server.budget;
    gauge(registry, "calls", "Calls of work in flight, of both fronts", budget.calls());
    gauge(registry, "long_polls", "Receive calls that wait", budget.waiting());
    let help = "Bytes of requests for work in flight, of both fronts";
    bytes(registry, "inflight", help, budget.inflight_bytes());
}

/// What passed both fronts.
fn messages(registry: &mut Registry, counters: &Counters) {
    let all = [
        ("messages_sent", "Messages acknowledged to senders", &counters.sent),
        ("messages_refused", "Messages refused to senders", &counters.refused),
        ("messages_received", "Messages handed out under a lease", &counters.received),
        ("messages_acked", "Messages finished", &counters.acked),
        ("messages_nacked", "Messages given back", &counters.nacked),
        ("leases_extended", "Leases extended", &counters.extended),
        ("messages_dead_lettered", "Messages dead-lettered by a nack", &counters.dead_lettered),
    ];
    for (name, help, value) in all {
        counter(registry, name, help, value.load(Ordering::Relaxed));
    }
}

/// What the start did.
fn recovery(registry: &mut Registry, recovered: &Recovered) {
    let report = &recovered.report;
    seconds(registry, "recovery", "Time that the start's recovery took", report.micros);
    let code = u64::try_from(report.code).unwrap_or(0);
    gauge(registry, "recovery_code", "0 clean, 3 torn tail cut, 4 healed", code);
    gauge(registry, "incarnation", "Number of this run of the store", report.incarnation);
    let findings: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
    for finding in report.findings() {
        findings.get_or_create(&vec![("label", finding.label.to_string())]).inc();
    }
    registry.register("recovery_findings", "Findings of the start's recovery", findings);
}

/// How the database stands.
fn database(registry: &mut Registry, recovered: &Recovered) {
    let stats = recovered.database.stats();
    counter(registry, "transactions", "Transactions that took a version", stats.commits);
    counter(registry, "conflicts", "Transactions that lost a race", stats.conflicts);
    counter(registry, "refused_full", "Commits refused at a limit", stats.refused_full);
    gauge(registry, "version", "Newest version that reads see", stats.visible_version);
    let pending = stats.latest_version.saturating_sub(stats.visible_version);
    gauge(registry, "pending_transactions", "Ordered and not yet visible", pending);
    bytes(registry, "state", "Newest state", stats.state_bytes);
    bytes(registry, "state_limit", "The most that the state may become", stats.max_state_bytes);
    bytes(registry, "engine_memory", "What the engine holds in memory", stats.engine_memory_bytes);
    let help = "What checkpoints and the files of the engine took, merges included";
    total(registry, "state_written", help, stats.state_written_bytes);
    bytes(registry, "history", "Old versions kept for readers", stats.history_bytes);
    gauge(registry, "readers", "Open snapshots and reading transactions", stats.readers);
    counter(registry, "checkpoints", "Checkpoints written", stats.checkpoints);
    counter(registry, "checkpoints_failed", "Checkpoints that failed", stats.checkpoints_failed);
    seconds(registry, "checkpoint", "Time of the last checkpoint", stats.checkpoint_micros);
    let help = "Time that a start would probably take now";
    seconds(registry, "predicted_recovery", help, stats.predicted_recovery_micros);
    let help = "Of that the replay, which recovery.max_time bounds";
    seconds(registry, "predicted_replay", help, stats.predicted_replay_micros);
    let help = "Time that this start took to check and replay the journal";
    seconds(registry, "replay", help, stats.replay_micros);
    scrubs(registry, &recovered.database);
    let disk = stats.disk;
    bytes(registry, "disk_available", "Free on the store's file system", disk.available_bytes);
    bytes(registry, "disk_reserve", "Held back for when the disk is full", disk.reserve_bytes);
    let help = "Growth is refused while what is free and held back is less";
    bytes(registry, "disk_low_mark", help, disk.low_mark_bytes);
    gauge(registry, "disk_low", "1 while growth is refused", u64::from(disk.low));
    counter(registry, "wall_clock_jumps", "Jumps of the wall clock", stats.wall_jumps);
    let poisoned = u64::from(recovered.database.poisoned().is_some());
    gauge(registry, "poisoned", "1 after a failed write or sync", poisoned);
}

/// What was read at rest.
fn scrubs(registry: &mut Registry, database: &Database) {
    let scrubs = database.scrubs();
    counter(registry, "scrubs", "Scrubs that came to their end", scrubs.rounds);
    let help = "Damage that scrubs met; what stays is counted by each";
    counter(registry, "scrub_findings", help, scrubs.findings);
    total(registry, "scrubbed", "What scrubs read", scrubs.bytes);
}

/// What time did to leases and delays.
fn expirations(registry: &mut Registry, recovered: &Recovered) {
    let ticked = recovered.services.ticked();
    let help = "Leases that ran out and whose messages are ready again";
    counter(registry, "leases_expired", help, ticked.reclaimed);
    let help = "Messages dead-lettered because their last lease ran out";
    counter(registry, "messages_expired_to_dead_letter", help, ticked.dead_lettered);
    let help = "Grants given back because the receiver had gone";
    counter(registry, "leases_released", help, ticked.released);
    counter(registry, "messages_due", "Delayed messages that became ready", ticked.due);
}

/// What is remembered of requests with an identity.
fn producers(registry: &mut Registry, recovered: &Recovered) {
    let figures = recovered.services.producers();
    gauge(registry, "producers", "Producers that are remembered", figures.producers);
    let help = "Results of requests that are kept for their retries";
    gauge(registry, "producer_results", help, figures.results);
    bytes(registry, "producer_result", "Keys and values of those results", figures.bytes);
}

/// How full the queues are.
fn queues(registry: &mut Registry, recovered: &Recovered) {
    let Ok((queues, more)) = recovered.services.queues().list("", QUEUES_SHOWN) else { return };
    let depth: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
    for queue in &queues {
        let counts = [
            ("ready", queue.stats.ready),
            ("leased", queue.stats.leased),
            ("delayed", queue.stats.delayed),
            ("review", queue.stats.review),
        ];
        for (state, count) in counts {
            let labels = vec![("queue", queue.name.clone()), ("state", state.to_owned())];
            depth.get_or_create(&labels).set(count);
        }
    }
    registry.register("queue_messages", "Messages by queue and state", depth);
    let help = "1 when there are more queues than have series of their own";
    gauge(registry, "queues_not_shown", help, u64::from(more));
}
