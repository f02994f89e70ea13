//! Schedules: what is submitted by the clock, when it was the last time, and when it is next.

use maud::{Markup, html};
use rekindle_services::jobs::{JobId, JobInfo};
use rekindle_services::schedules::{Missed, ScheduleInfo};

use super::frame::{nothing, scrolling};
use super::jobs::{of_type, standing};
use super::queues::path;
use super::times::{Now, ago, ahead, at};
use super::{curl, text};

/// Most schedules of one page.
pub(super) const SCHEDULES_PAGE: usize = 100;

/// A page of schedules.
#[derive(Clone, Debug, Default)]
pub(super) struct SchedulesScreen {
    /// Behind which name this page begins.
    pub(super) after: String,
    /// Each with the last job that it made, while that is kept.
    pub(super) schedules: Vec<(ScheduleInfo, Option<JobInfo>)>,
    /// Whether more follow.
    pub(super) more: bool,
    /// Now.
    pub(super) now: Now,
    /// Where HTTP is answered.
    pub(super) address: String,
    /// What makes a first one.
    pub(super) first_command: String,
}

/// The whole screen; `table` is the part that is kept up to date.
pub(super) fn screen(view: &SchedulesScreen, table: &Markup) -> Markup {
    let last = view.schedules.last().map_or("", |(schedule, _)| schedule.name.as_str());
    html! {
        section.card.wide aria-label="Schedules" {
            (table)
            @if view.more || !view.after.is_empty() {
                nav.pages aria-label="Pages" {
                    @if !view.after.is_empty() { a href="/ui/schedules" { "⇤ First page" } }
                    @if view.more {
                        a href=(path("/ui/schedules", &[("after", last)])) rel="next" {
                            "Next page →"
                        }
                    }
                }
            }
        }
        section.card.wide aria-labelledby="h-curl" {
            h2 #h-curl { "The same at a terminal" }
            (curl::lines(&[
                ("make one", make(&view.address)),
                ("all of them", curl::get(&view.address, "/v1/schedules")),
            ]))
        }
    }
}

/// What makes one.
fn make(address: &str) -> String {
    let body = r#"{"name":"nightly","type":"report","cron":"0 3 * * *","zone":"Europe/Berlin"}"#;
    curl::post(address, "/v1/schedules", body)
}

/// The schedules.
pub(super) fn table(view: &SchedulesScreen) -> Markup {
    if view.schedules.is_empty() {
        return match view.after.is_empty() {
            true => nothing(
                "There are no schedules yet: a schedule submits a job at the times of a cron \
                 pattern in a time zone. Make one:",
                Some(&view.first_command),
            ),
            false => nothing("No schedule follows.", None),
        };
    }
    let table = html! {
        table.rows.cards {
            caption.unseen { "Schedules, and when they fire" }
            thead {
                tr {
                    th scope="col" { "Schedule" }
                    th scope="col" { "Type" }
                    th scope="col" { "Pattern" }
                    th scope="col" { "Time zone" }
                    th scope="col" { "Missed times" }
                    th scope="col" { "Next" }
                    th scope="col" { "Last" }
                    th scope="col" { "Last job" }
                    th.number scope="col" { "Jobs made" }
                }
            }
            tbody {
                @for (schedule, last) in &view.schedules {
                    (row(schedule, last.as_ref(), view.now))
                }
            }
        }
    };
    scrolling("Schedules, and when they fire", &table)
}

fn row(schedule: &ScheduleInfo, last: Option<&JobInfo>, now: Now) -> Markup {
    let fired_ms = last.and_then(|job| job.schedule.as_ref()).map(|(_, at_ms)| *at_ms);
    html! {
        tr {
            td { b { (schedule.name) } }
            td.inline data-label="type" { (of_type(&schedule.kind)) }
            td.inline.keep data-label="pattern" { code { (schedule.cron) } }
            td.inline.keep data-label="zone" { (schedule.zone) }
            td.inline data-label="missed times" { (policy(schedule.missed)) }
            td data-label="next" {
                @match schedule.next_ms {
                    Some(ms) => { (at(ms)) " " span.quiet.under { (ahead(now.wall_ms, ms)) } }
                    None => span.quiet { "never again" },
                }
            }
            td data-label="last" {
                @match fired_ms {
                    Some(ms) => { (at(ms)) " " span.quiet.under { (ago(now.wall_ms, ms)) } }
                    None => span.quiet {
                        @if schedule.fired > 0 { "not known" } @else { "never" }
                    },
                }
            }
            td.inline data-label="last job" { (last_job(schedule.last_job, last)) }
            td.number.inline data-label="jobs made" { (text::number(schedule.fired)) }
        }
    }
}

/// What is done about missed times, in words.
fn policy(missed: Missed) -> &'static str {
    match missed {
        Missed::One => "one job for all",
        Missed::All => "a job for each",
        Missed::Skip => "skipped",
    }
}

fn last_job(id: Option<JobId>, job: Option<&JobInfo>) -> Markup {
    html! {
        @match (id, job) {
            (Some(id), Some(job)) => a href={ "/ui/jobs/" (id) } { (standing(job.status)) },
            (Some(_), None) => span.quiet { "kept no more" },
            (None, _) => span.quiet { "–" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ui::jobs::tests::job;
    use rekindle_services::jobs::Status;

    /// Next and last time, the last job while it is kept, and what to do where there is nothing.
    #[test]
    fn schedules_say_when() {
        let last =
            JobInfo { schedule: Some(("nightly".to_owned(), 5_000)), ..job(Status::Completed) };
        let schedule = ScheduleInfo {
            name: "nightly".to_owned(),
            kind: "report".to_owned(),
            cron: "0 3 * * *".to_owned(),
            zone: "<b>".to_owned(),
            missed: Missed::Skip,
            payload: vec![],
            priority: 0,
            max_attempts: None,
            created_ms: 0,
            fired: 1_234,
            last_job: Some(last.id),
            next_ms: Some(125_000),
        };
        let view = SchedulesScreen {
            after: String::new(),
            schedules: vec![(schedule.clone(), Some(last.clone())), (schedule, None)],
            more: true,
            now: Now { log_ms: 0, wall_ms: 65_000 },
            address: "h:1".to_owned(),
            first_command: "make one of them".to_owned(),
        };
        let text = screen(&view, &table(&view)).into_string();
        for part in [
            "1970-01-01 00:02:05 UTC",
            "in 1 m",
            "1970-01-01 00:00:05 UTC",
            "1 m ago",
            &format!("href=\"/ui/jobs/{}\"", last.id),
            "kept no more",
            "not known",
            "1,234",
            "skipped",
            "&lt;b&gt;",
            "href=\"/ui/schedules?after=nightly\" rel=\"next\"",
            "curl -X POST 'http://h:1/v1/schedules'",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let none = SchedulesScreen { schedules: vec![], more: false, ..view };
        assert!(table(&none).into_string().contains("make one of them"));
    }
}
