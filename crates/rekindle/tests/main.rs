//! Integration tests of the program `rekindle`: one binary, a module per scenario.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    unreachable_pub
)]

mod asking;
mod browser;
mod cli_backup;
mod cli_fixtures;
mod cli_harness;
mod cli_inspect;
mod cli_job_work;
mod cli_jobs;
mod cli_kv;
mod cli_loop;
mod cli_receive;
mod cli_recovery;
mod cli_repair;
mod cli_send;
mod cli_store;
mod cli_work;
mod executor_harness;
mod executor_kills;
mod full_disk;
mod harness;
mod hooked_disk;
mod job_backlog;
mod job_stale;
mod kill_loop;
mod kill_oracle;
mod openapi_kill;
mod page_browser;
mod relay;
mod reports_crash;
mod server_alerts;
mod server_copied;
mod server_damage;
mod server_executors;
mod server_health;
mod server_hostile;
mod server_http;
mod server_inside;
mod server_jobs;
mod server_life;
mod server_limits;
mod server_loops;
mod server_loops_grpc;
mod server_malformed;
mod server_page;
mod server_page_jobs;
mod server_page_loops;
mod server_progress;
mod server_recovery_mode;
mod server_reviews;
mod server_runs;
mod server_start;
mod server_unled;
mod server_walk;
mod server_webhook;
mod server_work;
mod server_work_kv;
mod server_work_limits;
mod server_worktrees;
mod shim_copied;
mod shim_crash;
mod shim_harness;
mod shim_life;
#[path = "../../services/tests/small_disk.rs"]
mod small_disk;
mod strace;
