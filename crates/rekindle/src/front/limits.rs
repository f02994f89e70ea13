//! Limits: every bound that a caller can meet, in one list.
//!
//! Invariant: what `/v1/limits` says is what the guards use; both read this file.

use std::time::Duration;

use rekindle_database::{BACKUPS_MAX, TRANSACTION_BYTES_MAX};
use rekindle_recovery::quarantine;
use rekindle_services::limits as service;
use serde::Serialize;

use crate::alerts;
use crate::{reports, runs};

/// Largest request on the wire, bytes.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Largest header list of a call, bytes.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// Largest body of a request to the HTTP front that is no work, bytes; work has
/// [`REQUEST_BYTES_MAX`].
pub const HTTP_BODY_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of the JSON in such a body.
pub const JSON_DEPTH_MAX: usize = 64;
/// Longest `Idempotency-Key`, bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Requests to the HTTP front whose answers wait for the disk at once.
pub const HTTP_WAITING_MAX: usize = 64;
/// Open pages that are kept up to date at once.
pub const LIVE_STREAMS_MAX: usize = 64;
/// Most headers of an HTTP/1 request.
pub const HTTP_HEADERS_MAX: usize = 100;
/// Streams that a peer opened and reset and that were not yet accepted.
pub const PENDING_RESETS_MAX: usize = 20;
/// Bytes that HTTP/2 may send on one connection, and on one stream of it, before they are read.
/// One MiB lets a stream run at full speed; what is buffered here is bounded by the connections.
pub const WINDOW_BYTES: u32 = 1 << 20;
/// Unanswered messages of one stream of batches before it is read no further.
pub const STREAM_MESSAGES_MAX: usize = 4_096;
/// Until a connection has sent its first byte.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the head of an HTTP request is complete.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the body of a call is complete (streams have their own pace).
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a single answer may wait for a peer that reads and grants no window for it.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a peer may leave what was written to it unread.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a gRPC connection may be silent before it is asked whether it lives.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// How long it may take to say so.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait of a receive call, milliseconds.
pub const LONG_POLL_MS_MAX: u64 = 60_000;
/// The same as a time.
pub const LONG_POLL_MAX: Duration = Duration::from_millis(LONG_POLL_MS_MAX);

/// The limits of the services, which enforce them.
const SERVICE_LIMITS: &[(&str, u64)] = &[
    ("message_bytes", service::BODY_BYTES_MAX as u64),
    ("message_headers", service::HEADERS_MAX as u64),
    ("message_header_bytes", service::HEADER_BYTES_MAX as u64),
    ("fairness_key_bytes", service::FAIRNESS_KEY_BYTES_MAX as u64),
    ("name_bytes", service::NAME_BYTES_MAX as u64),
    ("owner_bytes", service::OWNER_BYTES_MAX as u64),
    ("reason_bytes", service::REASON_BYTES_MAX as u64),
    ("queues", service::QUEUES_MAX as u64),
    ("list_queues", service::LIST_QUEUES_MAX as u64),
    ("send_messages", service::SEND_MESSAGES_MAX as u64),
    ("receive_messages", service::RECEIVE_MESSAGES_MAX as u64),
    ("receive_bytes", service::RECEIVE_BYTES_MAX as u64),
    ("receivers_waiting", service::WAITERS_MAX as u64),
    ("abandoned_grants", service::ABANDONED_MAX as u64),
    ("tokens", service::TOKENS_MAX as u64),
    ("visibility_ms", service::VISIBILITY_MS_MAX),
    ("delay_ms", service::DELAY_MS_MAX),
    ("attempt_history", service::HISTORY_MAX as u64),
    ("producers", service::PRODUCERS_MAX as u64),
    ("producer_results", service::PRODUCER_RESULTS_MAX),
    ("job_types", service::JOB_TYPES_MAX as u64),
    ("job_result_bytes", service::RESULT_BYTES_MAX as u64),
    ("job_progress_bytes", service::PROGRESS_BYTES_MAX as u64),
    ("unique_key_bytes", service::UNIQUE_KEY_BYTES_MAX as u64),
    ("claim_types", service::CLAIM_TYPES_MAX as u64),
    ("list_jobs", service::LIST_JOBS_MAX as u64),
    ("job_keep_ms", service::JOB_KEEP_MS_MAX),
    ("schedules", service::SCHEDULES_MAX as u64),
    ("loop_plan_bytes", service::LOOP_PLAN_BYTES_MAX as u64),
    ("loop_plan_specs", service::LOOP_SPECS_MAX as u64),
    ("loop_parallel", service::LOOP_PARALLEL_MAX as u64),
    ("loop_executions", service::LOOP_EXECUTIONS_MAX as u64),
    ("list_loops", service::LIST_LOOPS_MAX as u64),
    ("list_loop_events", service::LOOP_EVENTS_MAX as u64),
    ("cron_bytes", service::CRON_BYTES_MAX as u64),
    ("transaction_operations", service::TRANSACT_OPERATIONS_MAX as u64),
    ("transaction_over_everything_bytes", service::TRANSACT_BYTES_MAX as u64),
    ("kv_key_bytes", service::KV_KEY_BYTES_MAX as u64),
    ("kv_value_bytes", service::KV_VALUE_BYTES_MAX as u64),
    ("kv_scan_rows", service::KV_SCAN_ROWS_MAX as u64),
    ("kv_scan_bytes", service::KV_SCAN_BYTES_MAX as u64),
    ("kv_transaction_operations", service::KV_OPERATIONS_MAX as u64),
    ("kv_transaction_bytes", service::KV_TRANSACTION_BYTES_MAX as u64),
];

/// What a server keeps, lists or remembers, and what happens above it.
const KEPT: &[(&str, u64, &str)] = {
    const OLDEST: &str = "the oldest goes";
    const ASKED: &str = "the request is refused: 400";
    &[
        ("list_reviews", service::LIST_REVIEWS_MAX as u64, ASKED),
        ("review_rows", service::REVIEW_ROWS_MAX as u64, "further ones wait for a later start"),
        ("list_audit", service::AUDIT_LIST_MAX as u64, ASKED),
        ("audit_records", service::AUDIT_MAX, "the oldest go, and a record says so"),
        ("audit_text_bytes", service::AUDIT_TEXT_BYTES_MAX as u64, ASKED),
        ("transaction_bytes", TRANSACTION_BYTES_MAX as u64, "refused: invalid"),
        ("recovery_reports", reports::KEPT as u64, OLDEST),
        ("run_records", runs::files::KEPT as u64, OLDEST),
        ("backups", BACKUPS_MAX, "the backup is refused: full"),
        ("quarantine_files", quarantine::FILES_MAX as u64, OLDEST),
        ("quarantine_bytes", quarantine::BYTES_MAX, OLDEST),
        ("webhook_waiting", alerts::WAITING_MAX as u64, "the notice is dropped and counted"),
        ("damages_told_apart", alerts::TOLD_APART_MAX as u64, "further ones are in the log only"),
    ]
};

/// The limits that are configured (`[limits]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections to each front.
    pub connections: u64,
    /// Connections to each front from one address.
    pub connections_per_address: u64,
    /// Calls at once on one gRPC connection.
    pub streams_per_connection: u64,
    /// Bytes of unanswered requests, all connections together.
    pub inflight_bytes: u64,
    /// Bytes of unanswered requests of one connection.
    pub inflight_bytes_per_connection: u64,
    /// Receive calls that wait at once.
    pub long_polls: u64,
}

/// One line of `/v1/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Its name, unit last.
    pub name: &'static str,
    /// The largest value that is accepted.
    pub value: u64,
    /// The key that sets it; absent where it is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'static str>,
    /// What happens above it.
    pub above: &'static str,
}

/// A fixed limit.
const fn fixed(name: &'static str, value: u64, above: &'static str) -> Limit {
    Limit { name, value, key: None, above }
}

/// A configured limit.
const fn set(name: &'static str, value: u64, key: &'static str, above: &'static str) -> Limit {
    Limit { name, value, key: Some(key), above }
}

/// A time as a fixed limit.
fn time(name: &'static str, time: Duration, above: &'static str) -> Limit {
    fixed(name, u64::try_from(time.as_millis()).unwrap_or(u64::MAX), above)
}

/// The limits of a store whose state may have so many bytes, and what is kept in memory so many.
#[must_use]
pub fn of_state(max_state_bytes: u64, max_memory_bytes: u64) -> [Limit; 2] {
    let results = service::producer_bytes_max(max_memory_bytes);
    let above = "the oldest results are trimmed; repeating their requests is answered unknown";
    [
        set(
            "state_bytes",
            max_state_bytes,
            "engine.max_state_bytes",
            "growth is refused: full; deletes and what works it off go on",
        ),
        set("producer_result_bytes", results, "engine.max_state_bytes", above),
    ]
}

impl Limits {
    /// All limits, as `/v1/limits` shows them.
    #[must_use]
    pub fn list(&self) -> Vec<Limit> {
        const REFUSED: &str = "refused: full, or invalid where it is a form; HTTP: 413, 429 or 400";
        const CLOSED: &str = "the connection is closed";
        const FULL: &str = "the call is refused: full; HTTP: 503";
        let mut list = vec![
            set("connections", self.connections, "limits.connections", CLOSED),
            set(
                "connections_per_address",
                self.connections_per_address,
                "limits.connections_per_address",
                CLOSED,
            ),
            set(
                "streams_per_connection",
                self.streams_per_connection,
                "limits.streams_per_connection",
                "further calls of the connection wait",
            ),
            set("inflight_bytes", self.inflight_bytes, "limits.inflight_bytes", FULL),
            set(
                "inflight_bytes_per_connection",
                self.inflight_bytes_per_connection,
                "limits.inflight_bytes_per_connection",
                FULL,
            ),
            set("long_polls", self.long_polls, "limits.long_polls", "the call does not wait"),
            fixed("request_bytes", REQUEST_BYTES_MAX as u64, "refused: out of range, or 413"),
            fixed("header_list_bytes", HEADER_LIST_BYTES_MAX.into(), "the call is refused"),
            fixed("http_body_bytes", HTTP_BODY_BYTES_MAX as u64, "the request is refused: 413"),
            fixed("json_depth", JSON_DEPTH_MAX as u64, "the request is refused: 400"),
            fixed(
                "idempotency_key_bytes",
                IDEMPOTENCY_KEY_BYTES_MAX as u64,
                "the request is refused: 400",
            ),
            fixed("http_waiting", HTTP_WAITING_MAX as u64, "the request waits 30 s, then 503"),
            fixed("live_streams", LIVE_STREAMS_MAX as u64, "the page is not kept up to date"),
            fixed("http_headers", HTTP_HEADERS_MAX as u64, "the call is refused: 431"),
            fixed("pending_resets", PENDING_RESETS_MAX as u64, CLOSED),
            fixed("window_bytes", WINDOW_BYTES.into(), "the sender waits"),
            fixed("stream_messages", STREAM_MESSAGES_MAX as u64, "the sender waits"),
        ];
        list.extend(SERVICE_LIMITS.iter().map(|(name, value)| fixed(name, *value, REFUSED)));
        list.extend(KEPT.iter().map(|(name, value, above)| fixed(name, *value, above)));
        list.extend([
            time("first_byte_ms", FIRST_BYTE_TIMEOUT, CLOSED),
            time("head_ms", HEAD_TIMEOUT, CLOSED),
            time("body_ms", BODY_TIMEOUT, "the call is refused"),
            time("write_stall_ms", WRITE_STALL_TIMEOUT, CLOSED),
            time("answer_ms", ANSWER_TIMEOUT, CLOSED),
            time("keepalive_interval_ms", KEEPALIVE_INTERVAL, "the peer is asked"),
            time("keepalive_answer_ms", KEEPALIVE_TIMEOUT, CLOSED),
            time("long_poll_ms", LONG_POLL_MAX, "the call waits that long; HTTP: 400"),
            time("last_notices_ms", alerts::LAST_NOTICES, "the refused process ends"),
        ]);
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// docs/limits.md has the list of `/v1/limits` with the values of a server that was not
    /// configured, line by line; those that rest on the memory of the machine have no number.
    #[test]
    fn the_list_is_documented() {
        let row = |limit: &Limit, value: String| {
            let key = limit.key.map_or_else(String::new, |key| format!("`{key}`"));
            format!("| `{}` | {value} | {key} | {} |", limit.name, limit.above)
        };
        let list = Config::default().limits.list();
        let mut expected: Vec<String> =
            list.iter().map(|limit| row(limit, limit.value.to_string())).collect();
        expected.extend(
            of_state(1 << 30, 1 << 30).iter().map(|limit| row(limit, "of memory".to_owned())),
        );
        let page = include_str!("../../../../docs/limits.md");
        let (_, section) = page.split_once("## The list of `/v1/limits`").unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        let found: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(found, expected, "the table should be\n{}", expected.join("\n"));
    }
}
