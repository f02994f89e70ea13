//! What recoveries did, as figures of the report: their names are stable.

use rekindle_recovery::LayerReport;

use crate::jobs::recovery::Recovered as RecoveredJobs;
use crate::loops::recovery::Recovered as RecoveredLoops;
use crate::queues::recovery::Recovered;

/// What the recovery of queues did, as figures of its report.
pub(crate) fn queue_figures(mut report: LayerReport, recovered: &Recovered) -> LayerReport {
    report.figure("queues", recovered.queues);
    report.figure("messages", recovered.messages);
    report.figure("leases_kept", recovered.leases_kept);
    report.figure("leases_reclaimed", recovered.leases_reclaimed);
    report.figure("dead_lettered", recovered.dead_lettered);
    report.figure("set_aside", recovered.set_aside);
    report.figure("messages_read", recovered.read);
    report
}

/// What the recovery of jobs did, as figures of its report.
pub(crate) fn job_figures(mut report: LayerReport, recovered: &RecoveredJobs) -> LayerReport {
    report.figure("job_types", recovered.types);
    report.figure("jobs", recovered.jobs);
    report.figure("finished", recovered.finished);
    report.figure("schedules", recovered.schedules);
    report.figure("claims_kept", recovered.claims_kept);
    report.figure("claims_resumed", recovered.claims_resumed);
    report.figure("processing_recovered", recovered.processing_recovered);
    report.figure("pending_re_enqueued", recovered.pending_re_enqueued);
    report.figure("failed", recovered.failed);
    report.figure("set_aside", recovered.set_aside);
    report.figure("jobs_read", recovered.read);
    report
}

/// What the recovery of loops did, as figures of its report.
pub(crate) fn loop_figures(mut report: LayerReport, recovered: &RecoveredLoops) -> LayerReport {
    report.figure("executions", recovered.executions);
    report.figure("incomplete", recovered.incomplete);
    report.figure("going_on", recovered.going_on);
    report.figure("waiting", recovered.waiting);
    report.figure("set_aside", recovered.set_aside);
    report.figure("failed", recovered.failed);
    report.figure("repaired", recovered.repaired);
    report.figure("unread", recovered.unread);
    report.figure("transcripts", recovered.transcripts);
    report.figure("corrupted_records", recovered.corrupted_records);
    report
}
