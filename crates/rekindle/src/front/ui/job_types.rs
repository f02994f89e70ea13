//! Types of jobs: how many jobs of each stand where, and how they are treated.

use maud::{Markup, html};
use rekindle_services::jobs::{JobTypeInfo, Rate, Status};

use super::frame::{badge, nothing, scrolling};
use super::jobs::{Filter, of_type, word};
use super::queues::path;
use super::text;

/// Most types of one page.
pub(super) const TYPES_PAGE: usize = 100;

/// A page of types.
#[derive(Clone, Debug, Default)]
pub(super) struct TypesScreen {
    /// Behind which name this page begins.
    pub(super) after: String,
    /// The types.
    pub(super) types: Vec<JobTypeInfo>,
    /// Whether more follow.
    pub(super) more: bool,
    /// What submits a first job.
    pub(super) first_command: String,
    /// What changes a type.
    pub(super) set_command: String,
}

/// The whole screen; `table` is the part that is kept up to date.
pub(super) fn screen(view: &TypesScreen, table: &Markup) -> Markup {
    let last = view.types.last().map_or("", |kind| kind.name.as_str());
    html! {
        section.card.wide aria-labelledby="h-types" {
            h2 #h-types { "How many stand where" " " small { a href="/ui/jobs" { "all jobs" } } }
            (table)
            @if view.more || !view.after.is_empty() {
                nav.pages aria-label="Pages" {
                    @if !view.after.is_empty() { a href="/ui/job-types" { "⇤ First page" } }
                    @if view.more {
                        a href=(path("/ui/job-types", &[("after", last)])) rel="next" {
                            "Next page →"
                        }
                    }
                }
            }
        }
        @if !view.types.is_empty() {
            section.card.wide aria-labelledby="h-settings" {
                h2 #h-settings { "Settings" }
                (settings(&view.types))
                p.more { "They are changed at a terminal, and are in force at once:" }
                pre { code { (view.set_command) } }
            }
        }
    }
}

/// The counts of each type.
pub(super) fn table(view: &TypesScreen) -> Markup {
    if view.types.is_empty() {
        return match view.after.is_empty() {
            true => nothing(
                "There are no types yet. One begins with its first job:",
                Some(&view.first_command),
            ),
            false => nothing("No type follows.", None),
        };
    }
    let table = html! {
        table.rows {
            caption.unseen { "Types and how many of their jobs stand where" }
            thead {
                tr {
                    th scope="col" { "Type" }
                    @for status in Status::ALL { th.number scope="col" { (word(status)) } }
                }
            }
            tbody {
                @for kind in &view.types {
                    tr {
                        th scope="row" { (of_type(&kind.name)) }
                        @for status in Status::ALL { td.number { (amount(kind, status)) } }
                    }
                }
            }
        }
    };
    scrolling("Types and how many of their jobs stand where", &table)
}

/// A count, as a link to these jobs; nothing is quiet, so that something is seen.
fn amount(kind: &JobTypeInfo, status: Status) -> Markup {
    let count = kind.counts.of(status);
    let link = Filter::of_type(&kind.name).with(status).link();
    let shown = text::number(count);
    html! {
        @match (count, status) {
            (0, _) => span.quiet { "0" },
            (_, Status::NeedsReview) => a href=(link) { (badge("!", &shown, "warn")) },
            _ => a href=(link) { (shown) },
        }
    }
}

fn settings(types: &[JobTypeInfo]) -> Markup {
    let table = html! {
        table.rows {
            caption.unseen { "Types and how their jobs are treated" }
            thead {
                tr {
                    th scope="col" { "Type" }
                    th.number scope="col" { "Claim lasts" }
                    th.number scope="col" { "Attempts" }
                    th.number scope="col" { "Back-off" }
                    th.number scope="col" { "At once" }
                    th.number scope="col" { "Rate" }
                    th.number scope="col" { "Waiting at most" }
                    th.number scope="col" { "Completed kept" }
                    th.number scope="col" { "Failed kept" }
                    th.number scope="col" { "Cancelled kept" }
                }
            }
            tbody { @for kind in types { (setting(kind)) } }
        }
    };
    scrolling("Types and how their jobs are treated", &table)
}

fn setting(kind: &JobTypeInfo) -> Markup {
    let set = &kind.settings;
    html! {
        tr {
            th scope="row" { (of_type(&kind.name)) }
            td.number { (text::span(set.lease_ms)) }
            td.number { (limit(set.max_attempts.into())) }
            td.number {
                (text::span(set.backoff.base_ms)) " to " (text::span(set.backoff.max_ms))
            }
            td.number { (limit(set.concurrency.into())) }
            td.number { (rate(set.rate)) }
            td.number { (limit(set.max_waiting)) }
            td.number { (text::span(set.keep_completed_ms)) }
            td.number { (text::span(set.keep_failed_ms)) }
            td.number { (text::span(set.keep_cancelled_ms)) }
        }
    }
}

fn limit(most: u64) -> Markup {
    html! { @if most == 0 { span.quiet { "no limit" } } @else { (text::number(most)) } }
}

fn rate(rate: Rate) -> Markup {
    html! {
        @if rate.count == 0 { span.quiet { "no limit" } }
        @else { (text::number(rate.count.into())) " in " (text::span(rate.per_ms)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_services::jobs::{JobCounts, JobSettings};

    /// Counts lead to the jobs that they count; pages lead on.
    #[test]
    fn counts_lead_to_jobs() {
        let kind = JobTypeInfo {
            name: "mail".to_owned(),
            settings: JobSettings {
                rate: Rate { count: 100, per_ms: 60_000 },
                ..JobSettings::default()
            },
            created_ms: 0,
            counts: JobCounts { pending: 12_345, needs_review: 2, ..JobCounts::default() },
        };
        let view = TypesScreen {
            after: "a".to_owned(),
            types: vec![kind],
            more: true,
            first_command: "submit one".to_owned(),
            set_command: "set it".to_owned(),
        };
        let text = screen(&view, &table(&view)).into_string();
        for part in [
            "href=\"/ui/jobs?type=mail&amp;status=pending\">12,345<",
            "type=mail&amp;status=needs_review",
            "href=\"/ui/job-types?after=mail\" rel=\"next\"",
            "100 in 1 m 0 s",
            "no limit",
            "1 s to 1 h 0 m",
            "set it",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let none = TypesScreen { types: vec![], after: String::new(), more: false, ..view };
        let text = screen(&none, &table(&none)).into_string();
        assert!(text.contains("submit one") && !text.contains("Settings"), "{text}");
    }
}
