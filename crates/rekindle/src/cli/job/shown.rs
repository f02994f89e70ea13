//! Jobs as scripts and people read them.

use rekindle_client::{JobDetail, JobEvent, JobInfo, JobProgress, JobStatus};
use serde::Serialize;

use crate::cli::output::Json;

/// The word of a status.
pub(super) fn word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Unspecified => "unknown",
        JobStatus::Scheduled => "scheduled",
        JobStatus::Pending => "pending",
        JobStatus::Processing => "processing",
        JobStatus::Completed => "completed",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "cancelled",
        JobStatus::NeedsReview => "needs_review",
    }
}

/// All statuses, in the order in which they are shown.
pub(super) const STATUSES: [JobStatus; 7] = [
    JobStatus::Scheduled,
    JobStatus::Pending,
    JobStatus::Processing,
    JobStatus::Completed,
    JobStatus::Failed,
    JobStatus::Cancelled,
    JobStatus::NeedsReview,
];

/// A status among the arguments.
pub(super) fn status(text: &str) -> Result<JobStatus, String> {
    let found = STATUSES.into_iter().find(|status| word(*status) == text);
    found.ok_or_else(|| format!("expected one of {}", STATUSES.map(word).join(", ")))
}

/// A text that is there.
fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A time that is there.
fn time(ms: u64) -> Option<u64> {
    (ms > 0).then_some(ms)
}

/// A job of a list.
#[derive(Serialize)]
pub(super) struct JobLine<'a> {
    id: &'a str,
    r#type: &'a str,
    status: &'a str,
    priority: i32,
    attempts: u32,
    charged: u32,
    max_attempts: u32,
    last_error: Option<&'a str>,
    submitted_ms: u64,
    due_ms: Option<u64>,
    worker: Option<&'a str>,
    deadline_ms: Option<u64>,
    finished_ms: Option<u64>,
    unique_key: Option<&'a str>,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<EventLine<'a>>>,
}

impl<'a> JobLine<'a> {
    pub(super) fn new(info: &'a JobInfo, events: bool) -> Self {
        Self {
            id: &info.id,
            r#type: &info.r#type,
            status: word(info.status()),
            priority: info.priority,
            attempts: info.attempts,
            charged: info.charged,
            max_attempts: info.max_attempts,
            last_error: text(&info.last_error),
            submitted_ms: info.submitted_ms,
            due_ms: time(info.due_ms),
            worker: text(&info.worker),
            deadline_ms: time(info.deadline_ms),
            finished_ms: time(info.finished_ms),
            unique_key: text(&info.unique_key),
            version: info.version,
            events: events.then(|| info.events.iter().map(EventLine::from).collect()),
        }
    }
}

#[derive(Serialize)]
struct EventLine<'a> {
    event: &'a str,
    cause: Option<&'a str>,
    at_ms: u64,
    attempt: Option<u32>,
    by: Option<&'a str>,
    reason: Option<&'a str>,
}

impl<'a> From<&'a JobEvent> for EventLine<'a> {
    fn from(event: &'a JobEvent) -> Self {
        Self {
            event: &event.event,
            cause: text(&event.cause),
            at_ms: event.at_ms,
            attempt: (event.attempt > 0).then_some(event.attempt),
            by: text(&event.by),
            reason: text(&event.reason),
        }
    }
}

#[derive(Serialize)]
struct ProgressLine<'a> {
    at_ms: u64,
    value: Json<'a>,
}

impl<'a> From<&'a JobProgress> for ProgressLine<'a> {
    fn from(progress: &'a JobProgress) -> Self {
        Self { at_ms: progress.at_ms, value: Json(&progress.value) }
    }
}

/// A job with what it carries.
#[derive(Serialize)]
pub(super) struct DetailLine<'a> {
    #[serde(flatten)]
    job: JobLine<'a>,
    payload: Json<'a>,
    progress: Option<ProgressLine<'a>>,
    result: Option<Json<'a>>,
}

impl<'a> DetailLine<'a> {
    pub(super) fn new(detail: &'a JobDetail, info: &'a JobInfo) -> Self {
        Self {
            job: JobLine::new(info, true),
            payload: Json(&detail.payload),
            progress: detail.progress.as_ref().map(ProgressLine::from),
            result: detail.result.as_ref().map(|result| Json(result)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that scripts rely on, to the letter.
    #[test]
    fn a_job_is_one_line_of_json() {
        let event = JobEvent { event: "submitted".into(), at_ms: 5, ..JobEvent::default() };
        let info = JobInfo {
            id: "j1".into(),
            r#type: "t".into(),
            status: JobStatus::Completed.into(),
            submitted_ms: 5,
            version: 3,
            events: vec![event],
            ..JobInfo::default()
        };
        let (payload, result) = (b"{\n\"a\": 1}".to_vec(), b"done\n".to_vec());
        let detail = JobDetail {
            payload: payload.into(),
            result: Some(result.into()),
            ..JobDetail::default()
        };
        assert_eq!(
            serde_json::to_string(&DetailLine::new(&detail, &info)).expect("a line serializes"),
            concat!(
                r#"{"id":"j1","type":"t","status":"completed","priority":0,"attempts":0,"#,
                r#""charged":0,"max_attempts":0,"last_error":null,"submitted_ms":5,"#,
                r#""due_ms":null,"worker":null,"deadline_ms":null,"finished_ms":null,"#,
                r#""unique_key":null,"version":3,"events":[{"event":"submitted","cause":null,"#,
                r#""at_ms":5,"attempt":null,"by":null,"reason":null}],"payload":{ "a": 1},"#,
                r#""progress":null,"result":"done\n"}"#
            )
        );
    }

    #[test]
    fn statuses_are_words() {
        for known in STATUSES {
            assert_eq!(status(word(known)), Ok(known));
        }
        assert!(status("done").is_err());
    }
}
