//! Metrics of loops.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rekindle_services::loops::Status;

use super::{Labels, counter, gauge};
use crate::boot::Recovered;

/// How many executions stand where, and how far their transcripts are.
pub(super) fn standing(registry: &mut Registry, recovered: &Recovered) {
    let loops = recovered.services.loops();
    let counts = loops.counts();
    let executions: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
    for status in Status::ALL {
        let labels = vec![("status", status.to_string())];
        executions.get_or_create(&labels).set(counts.get(&status).copied().unwrap_or(0));
    }
    registry.register("loop_executions", "Executions of loops by status", executions);
    let told = loops.transcripts();
    let help = "Lines written to transcripts of loops";
    counter(registry, "loop_transcript_lines", help, told.lines);
    let help = "Executions whose transcripts are behind what happened";
    gauge(registry, "loop_transcripts_behind", help, told.behind);
    let help = "Executions that are over, whose transcripts were not looked at since the start";
    gauge(registry, "loop_transcripts_unchecked", help, told.unchecked);
    let help = "Damaged transcripts that were set aside, and written anew";
    counter(registry, "loop_transcripts_set_aside", help, told.set_aside);
    let help = "Writes and syncs of transcripts that failed, and are tried again";
    counter(registry, "loop_transcript_failures", help, told.failures);
}
