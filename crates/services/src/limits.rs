//! Every limit of the services, in one place; `/v1/limits` lists them, tests stand at each and
//! above.

/// Longest name of a queue in bytes; `[A-Za-z0-9._-]` only.
pub const NAME_BYTES_MAX: usize = 249;
/// Most queues; a dead-letter queue that is created beside another one is not refused.
pub const QUEUES_MAX: usize = 100_000;
/// Largest body of a message in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most headers of a message.
pub const HEADERS_MAX: usize = 100;
/// Largest sum of all names and values of a message's headers in bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Longest fairness key in bytes.
pub const FAIRNESS_KEY_BYTES_MAX: usize = 249;
/// Most messages of one send.
pub const SEND_MESSAGES_MAX: usize = 1_000;
/// Most messages of one receive; more are asked for by the next call.
pub const RECEIVE_MESSAGES_MAX: usize = 1_000;
/// Bytes of bodies and headers after which a receive takes no further message.
pub const RECEIVE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most tokens of one ack, nack or extend.
pub const TOKENS_MAX: usize = 1_000;
/// Longest visibility, and longest extension of a lease, in milliseconds: 12 hours.
pub const VISIBILITY_MS_MAX: u64 = 12 * 60 * 60 * 1_000;
/// Longest delay of a send or nack in milliseconds: 366 days.
pub const DELAY_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// Longest reason of a nack in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Longest owner's name in bytes.
pub const OWNER_BYTES_MAX: usize = 249;
/// Most settled attempts of a message that are remembered, newest kept.
pub const HISTORY_MAX: usize = 16;
/// Most receivers that wait at one time, over all queues.
pub const WAITERS_MAX: usize = 65_536;
/// Most grants whose receiver went away that wait to be given back; further leases run out.
pub const ABANDONED_MAX: usize = 65_536;
/// Jobs of one type that a start makes deliverable at once, unless configured otherwise.
pub const DISPATCH_CAPACITY: u64 = 1_000;
/// Most operations of one transaction over everything.
pub const TRANSACT_OPERATIONS_MAX: usize = 1_000;
/// Most bytes of bodies, payloads, results, keys and values of one of them.
pub const TRANSACT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Most schedules.
pub const SCHEDULES_MAX: usize = 10_000;
/// Longest cron pattern, and longest name of a time zone, in bytes.
pub const CRON_BYTES_MAX: usize = 249;
/// Longest unique key of a job in bytes.
pub const UNIQUE_KEY_BYTES_MAX: usize = 249;
/// Most types of jobs.
pub const JOB_TYPES_MAX: usize = 10_000;
/// Most types of one claim.
pub const CLAIM_TYPES_MAX: usize = 64;
/// Largest progress of a job in bytes.
pub const PROGRESS_BYTES_MAX: usize = 4 * 1024;
/// Largest result of a job in bytes.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// How long completed and cancelled jobs are kept unless their type says otherwise, milliseconds.
pub const JOB_KEEP_MS: u64 = 24 * 60 * 60 * 1_000;
/// The same for failed jobs: 30 days.
pub const JOB_KEEP_FAILED_MS: u64 = 30 * JOB_KEEP_MS;
/// Longest that a type can say, milliseconds: ten years.
pub const JOB_KEEP_MS_MAX: u64 = 3_653 * JOB_KEEP_MS;
/// Most jobs of one page of a list.
pub const LIST_JOBS_MAX: usize = 1_000;
/// The same where their events are asked for.
pub const LIST_HISTORIES_MAX: usize = 100;
/// Jobs that one page of a list looks at.
pub const LIST_JOBS_LOOKED_AT: usize = 10_000;
/// Claims that are looked at to tell who works.
pub const WORKERS_CLAIMS_MAX: usize = 1_000;

/// Longest plan of loops in bytes: all its texts together, each spec with its whole environment.
pub const LOOP_PLAN_BYTES_MAX: usize = 1024 * 1024;
/// The same as JSON, in which some characters are longer.
pub const LOOP_PLAN_JSON_BYTES_MAX: usize = 1280 * 1024;
/// Most specs of a plan of loops.
pub const LOOP_SPECS_MAX: usize = 1_000;
/// Most specs of a plan that run at one time.
pub const LOOP_PARALLEL_MAX: u32 = 64;
/// Most checks of a spec.
pub const LOOP_CHECKS_MAX: usize = 100;
/// Longest instructions of a spec in bytes.
pub const LOOP_INSTRUCTIONS_BYTES_MAX: usize = 256 * 1024;
/// Longest command of a step in bytes, with a byte behind each word.
pub const LOOP_ARGV_BYTES_MAX: usize = 64 * 1024;
/// Most names in the environment of a spec.
pub const LOOP_ENVIRONMENT_MAX: usize = 100;
/// Longest description, path or value of a name in bytes.
pub const LOOP_TEXT_BYTES_MAX: usize = 4 * 1024;
/// What is kept of what a step printed, from its end, in bytes.
pub const LOOP_OUTPUT_BYTES_MAX: usize = 4 * 1024;
/// Most executions, those that are over included.
pub const LOOP_EXECUTIONS_MAX: usize = 1_000_000;
/// Most executions of one page of a list.
pub const LIST_LOOPS_MAX: usize = 1_000;
/// Most events of one page.
pub const LOOP_EVENTS_MAX: usize = 1_000;
/// Most iterations of an execution.
pub const LOOP_ITERATIONS_MAX: u32 = 1_000_000;
/// Longest time limit of a step in milliseconds: 7 days.
pub const LOOP_STEP_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Longest wall time of an execution in milliseconds: 366 days.
pub const LOOP_WALL_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;

/// Most queues of one page of a list.
pub const LIST_QUEUES_MAX: usize = 1_000;

/// Audit records that are kept.
pub const AUDIT_MAX: u64 = 100_000;
/// Above that, so many of the oldest go at once.
pub const AUDIT_BLOCK: u64 = 1_000;
/// Longest text of an audit record in bytes, each.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1_024;
/// Most audit records of one page.
pub const AUDIT_LIST_MAX: usize = 1_000;
/// Most reviews of one page of a list.
pub const LIST_REVIEWS_MAX: usize = 1_000;
/// Rows without a queue that are listed for a person, of each kind; more are counted in findings.
pub const REVIEW_ROWS_MAX: usize = 10_000;
/// Fairness keys of a queue that are looked at for its oldest ready message.
pub const OLDEST_KEYS_MAX: usize = 10_000;

/// Results that are kept of a producer however old they are.
pub const PRODUCER_RESULTS_MIN: u64 = 1_024;
/// How long every result is kept, in milliseconds of log time: 24 hours.
pub const PRODUCER_RESULT_MS_MIN: u64 = 24 * 60 * 60 * 1_000;
/// How long a silent producer's last results are kept, in milliseconds of log time: 7 days.
pub const PRODUCER_IDLE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Results of all producers together above which the oldest go before 24 hours.
pub const PRODUCER_RESULTS_MAX: u64 = 16 * 1024 * 1024;
/// Least bytes of keys and values of all results above which the oldest go before 24 hours.
pub const PRODUCER_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Those bytes where the state may have so many: an eighth, and no less than 64 MiB.
#[must_use]
pub const fn producer_bytes_max(max_state_bytes: u64) -> u64 {
    let share = max_state_bytes / 8;
    if share > PRODUCER_BYTES_MIN { share } else { PRODUCER_BYTES_MIN }
}

/// Most producers that are remembered.
pub const PRODUCERS_MAX: usize = 1_000_000;

/// Longest key of the kv service in bytes.
pub const KV_KEY_BYTES_MAX: usize = 4 * 1024;
/// Largest value of the kv service in bytes.
pub const KV_VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Most rows of one page of a scan.
pub const KV_SCAN_ROWS_MAX: usize = 1_000;
/// Bytes of keys and values after which a page of a scan ends.
pub const KV_SCAN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most checks and operations of one transaction.
pub const KV_OPERATIONS_MAX: usize = 4_096;
/// Most bytes of keys and values of one transaction.
pub const KV_TRANSACTION_BYTES_MAX: usize = 3 * 1024 * 1024;
