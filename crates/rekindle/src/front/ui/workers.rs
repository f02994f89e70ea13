//! Workers: who holds claims of jobs at this moment.
//!
//! Invariant: a worker is only its claims: one that waits for work is not told, and what was not
//! looked at is said.

use maud::{Markup, html};
use rekindle_services::jobs::{Status, WorkerInfo, Workers};

use super::frame::{nothing, scrolling};
use super::jobs::Filter;
use super::text;
use super::times::{Now, ago, ahead};

/// Most types that are named of one worker.
const TYPES_NAMED: usize = 10;

/// Who works now.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkersScreen {
    /// They.
    pub(super) all: Workers,
    /// How many jobs are in work in all.
    pub(super) processing: u64,
    /// Now.
    pub(super) now: Now,
    /// What starts one.
    pub(super) first_command: String,
}

/// The whole of it; kept up to date.
pub(super) fn table(view: &WorkersScreen) -> Markup {
    if view.all.workers.is_empty() {
        return nothing(
            "Nobody has a job in work now: a worker is listed while it holds one. Start one:",
            Some(&view.first_command),
        );
    }
    let workers = u64::try_from(view.all.workers.len()).unwrap_or(u64::MAX);
    let table = html! {
        table.rows {
            caption.unseen { "Who has jobs in work" }
            thead {
                tr {
                    th scope="col" { "Worker" }
                    th.number scope="col" { "Jobs" }
                    th scope="col" { "Types" }
                    th.number scope="col" { "Oldest claim" }
                    th.number scope="col" { "Next deadline" }
                }
            }
            tbody { @for worker in &view.all.workers { (row(worker, view.now)) } }
        }
    };
    html! {
        p {
            b { (text::count(workers, "worker has", "workers have")) } " "
            (text::count(view.all.looked_at, "job", "jobs")) " in work."
            @if view.all.more {
                " " span.warn {
                    "⚠ Only " (text::number(view.all.looked_at)) " of "
                    (text::number(view.processing))
                    " claims were looked at: there may be more workers, with more jobs."
                }
            }
        }
        (scrolling("Who has jobs in work", &table))
    }
}

fn row(worker: &WorkerInfo, now: Now) -> Markup {
    let unnamed = worker.types.len().saturating_sub(TYPES_NAMED);
    html! {
        tr {
            th scope="row" {
                @if worker.name.is_empty() { span.quiet { "without a name" } }
                @else { (worker.name) }
            }
            td.number { (text::number(worker.jobs())) }
            td {
                @for (at, (name, jobs)) in worker.types.iter().take(TYPES_NAMED).enumerate() {
                    @if at > 0 { ", " }
                    a href=(Filter::of_type(name).with(Status::Processing).link()) { (name) }
                    @if worker.types.len() > 1 { " " span.quiet { (text::number(*jobs)) } }
                }
                @if unnamed > 0 { " and " (unnamed) " more" }
            }
            td.number { (ago(now.log_ms, worker.oldest_ms)) }
            td.number { (ahead(now.log_ms, worker.deadline_ms)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Who works on what, and what was not looked at.
    #[test]
    fn workers_are_told() {
        let types: BTreeMap<String, u64> = (0..12).map(|n| (format!("t{n:02}"), n + 1)).collect();
        let worker =
            WorkerInfo { name: "<b>ada".to_owned(), types, oldest_ms: 5_000, deadline_ms: 125_000 };
        let all = Workers { workers: vec![worker], looked_at: 1_000, more: true };
        let view = WorkersScreen {
            all,
            processing: 12_345,
            now: Now { log_ms: 65_000, wall_ms: 0 },
            first_command: "work".to_owned(),
        };
        let text = table(&view).into_string();
        for part in [
            "&lt;b&gt;ada",
            "78",
            "1 m ago",
            "in 1 m",
            "1,000 of 12,345",
            "href=\"/ui/jobs?type=t00&amp;status=processing\"",
            "and 2 more",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let none = WorkersScreen { all: Workers::default(), ..view };
        assert!(table(&none).into_string().contains("<code>work</code>"));
    }
}
