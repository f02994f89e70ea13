//! Metrics of jobs.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rekindle_services::jobs::Status;

use super::{Counters, Labels, counter, gauge};
use crate::boot::Recovered;
use crate::executors::Figures;

/// The most types that have series of their own (the first by name).
const TYPES_SHOWN: usize = 100;

/// What callers did.
pub(super) fn calls(registry: &mut Registry, counters: &Counters, inside: &Figures) {
    let all = [
        ("jobs_submitted", "Jobs that were submitted", &counters.jobs_submitted),
        ("jobs_claimed", "Jobs handed out under a claim", &counters.jobs_claimed),
        ("jobs_completed", "Jobs that their workers completed", &counters.jobs_completed),
        ("jobs_failed", "Attempts that their workers failed", &counters.jobs_failed),
    ];
    for (name, help, value) in all {
        let inside = match name {
            "jobs_claimed" => inside.started(),
            "jobs_completed" => inside.completed(),
            "jobs_failed" => inside.failed(),
            _ => 0,
        };
        counter(registry, name, help, value.load(Ordering::Relaxed) + inside);
    }
    let help = "Jobs that executors inside the server work on";
    gauge(registry, "executions_running", help, inside.running());
    let help = "Commands that were taken over from a server that had died";
    counter(registry, "executions_resumed", help, inside.resumed());
}

/// How many jobs stand where.
pub(super) fn standing(registry: &mut Registry, recovered: &Recovered) {
    let Ok((types, more)) = recovered.services.jobs().types("", TYPES_SHOWN) else { return };
    let jobs: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
    for kind in &types {
        for status in Status::ALL {
            let labels = vec![("type", kind.name.clone()), ("status", status.to_string())];
            jobs.get_or_create(&labels).set(kind.counts.of(status));
        }
    }
    registry.register("jobs", "Jobs by type and status", jobs);
    let help = "1 when there are more job types than have series of their own";
    gauge(registry, "job_types_not_shown", help, u64::from(more));
}
