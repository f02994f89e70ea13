//! Jobs: how many stand where, and a page of them.
//!
//! Invariant: the address of the page is its filter, so a link leads to what was seen; its
//! parameters are those of `GET /v1/jobs`, but that the newest come first unless it says otherwise.

use maud::{Markup, html};
use rekindle_services::jobs::{JobCounts, JobId, JobInfo, Status};
use rekindle_services::limits::{LIST_JOBS_LOOKED_AT, NAME_BYTES_MAX, UNIQUE_KEY_BYTES_MAX};

use super::frame::{badge, nothing, scrolling};
use super::queues::path;
use super::times::{Now, ago, ahead};
use super::{curl, text};

/// Most jobs of one page.
pub(super) const JOBS_PAGE: usize = 50;
/// Most names of types that the filter proposes.
pub(super) const TYPES_PROPOSED: usize = 200;
/// Most characters of an error in a list.
const ERROR_CHARS: usize = 120;

/// Which jobs are looked at; empty: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// The name of their type.
    pub(super) kind: String,
    /// Words of statuses, with commas.
    pub(super) status: String,
    /// The unique key.
    pub(super) unique_key: String,
    /// The oldest first.
    pub(super) oldest_first: bool,
    /// Behind which job the page begins.
    pub(super) after: String,
}

impl Filter {
    /// Those of a type.
    pub(super) fn of_type(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    /// The same, of this status only, from the beginning.
    pub(super) fn with(&self, status: Status) -> Self {
        let status = status.as_str().to_owned();
        Self { status, after: String::new(), ..self.clone() }
    }

    /// The same from behind a job.
    fn behind(&self, after: &str) -> Self {
        Self { after: after.to_owned(), ..self.clone() }
    }

    /// Whether it leaves anything out.
    fn is_narrow(&self) -> bool {
        !(self.kind.is_empty() && self.status.is_empty() && self.unique_key.is_empty())
    }

    /// Its parameters for `base`.
    pub(super) fn query(&self, base: &str, more: &[(&str, &str)]) -> String {
        let order = if self.oldest_first { "false" } else { "" };
        let mut all = vec![
            ("type", self.kind.as_str()),
            ("status", &self.status),
            ("unique_key", &self.unique_key),
            ("newest_first", order),
            ("after", &self.after),
        ];
        all.extend_from_slice(more);
        path(base, &all)
    }

    /// The page that shows this.
    pub(super) fn link(&self) -> String {
        self.query("/ui/jobs", &[])
    }

    /// What answers the same to programs.
    fn api(&self) -> String {
        // There the oldest come first unless one asks.
        let plain = Self { oldest_first: false, ..self.clone() };
        let order = if self.oldest_first { "" } else { "true" };
        let limit = JOBS_PAGE.to_string();
        plain.query("/v1/jobs", &[("newest_first", order), ("limit", &limit)])
    }
}

/// A page of jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct JobsScreen {
    /// Which.
    pub(super) filter: Filter,
    /// Names of types, for the filter.
    pub(super) types: Vec<String>,
    /// How many of the type, or of all, stand where.
    pub(super) counts: JobCounts,
    /// The jobs.
    pub(super) jobs: Vec<JobInfo>,
    /// Behind which job more follow.
    pub(super) next: Option<JobId>,
    /// Now.
    pub(super) now: Now,
    /// Where HTTP is answered.
    pub(super) address: String,
    /// What submits a first one.
    pub(super) first_command: String,
}

/// The whole screen; `parts` are kept up to date.
pub(super) fn screen(view: &JobsScreen, [counts, table]: [&Markup; 2]) -> Markup {
    html! {
        section.card.wide aria-labelledby="h-counts" {
            h2 #h-counts {
                @if view.filter.kind.is_empty() { "How many stand where" }
                @else { "How many of type " (view.filter.kind) " stand where" }
                " " small { a href="/ui/job-types" { "all types" } }
            }
            (counts)
        }
        section.card.wide aria-label="Jobs" {
            (form(view))
            (table)
        }
        section.card.wide aria-labelledby="h-curl" {
            h2 #h-curl { "The same at a terminal" }
            (curl::lines(&[
                ("this page", curl::get(&view.address, &view.filter.api())),
                ("the counts", curl::get(
                    &view.address, &path("/v1/jobs/counts", &[("type", &view.filter.kind)]),
                )),
            ]))
        }
    }
}

/// How many stand where, each a link to these.
pub(super) fn counts(filter: &Filter, counts: &JobCounts) -> Markup {
    let all = Filter { kind: filter.kind.clone(), ..Filter::default() };
    html! {
        dl.tiles {
            @for status in Status::ALL {
                div {
                    dt { a href=(all.with(status).link()) { (word(status)) } }
                    dd { (text::number(counts.of(status))) }
                }
            }
        }
    }
}

/// The words of a status.
pub(super) fn word(status: Status) -> String {
    status.as_str().replace('_', " ")
}

/// A status with its sign, in its colour.
pub(super) fn standing(status: Status) -> Markup {
    let (sign, class) = match status {
        Status::Scheduled => ("◌", "plain"),
        Status::Pending => ("○", "plain"),
        Status::Processing => ("◐", "info"),
        Status::Completed => ("✓", "ok"),
        Status::Failed => ("✖", "bad"),
        Status::Cancelled => ("–", "plain"),
        Status::NeedsReview => ("!", "warn"),
    };
    badge(sign, &word(status), class)
}

/// A type, as a link to its jobs.
pub(super) fn of_type(kind: &str) -> Markup {
    html! { a href=(Filter::of_type(kind).link()) { (kind) } }
}

fn form(view: &JobsScreen) -> Markup {
    let Filter { kind, status, unique_key, oldest_first, .. } = &view.filter;
    let several = status.contains(',');
    html! {
        form.filter method="get" action="/ui/jobs" role="search" {
            div.field {
                label for="type" { "Type" }
                input #type name="type" type="text" value=(kind) maxlength=(NAME_BYTES_MAX)
                    list="types" autocomplete="off" spellcheck="false";
            }
            datalist #types { @for name in &view.types { option value=(name) {} } }
            div.field {
                label for="status" { "Status" }
                select #status name="status" {
                    option value="" selected[status.is_empty()] { "any" }
                    @if several { option value=(status) selected { (status) } }
                    @for one in Status::ALL {
                        option value=(one.as_str()) selected[status == one.as_str()] { (word(one)) }
                    }
                }
            }
            div.field {
                label for="unique_key" { "Unique key" }
                input #unique_key name="unique_key" type="text" value=(unique_key)
                    maxlength=(UNIQUE_KEY_BYTES_MAX) autocomplete="off" spellcheck="false";
            }
            div.field {
                label for="newest_first" { "Order" }
                select #newest_first name="newest_first" {
                    option value="true" selected[!*oldest_first] { "newest first" }
                    option value="false" selected[*oldest_first] { "oldest first" }
                }
            }
            button type="submit" { "Filter" }
            @if view.filter.is_narrow() { a href="/ui/jobs" { "All jobs" } }
        }
    }
}

/// The jobs and where the next page is; kept up to date together, so that no job is left out.
pub(super) fn table(view: &JobsScreen) -> Markup {
    html! {
        @if view.jobs.is_empty() { (none(view)) } @else { (rows(view)) }
        @if view.next.is_some() || !view.filter.after.is_empty() {
            nav.pages aria-label="Pages" {
                @if !view.filter.after.is_empty() {
                    a href=(view.filter.behind("").link()) { "⇤ First page" }
                }
                @if let Some(next) = view.next {
                    a href=(view.filter.behind(&next.to_string()).link()) rel="next" {
                        "Next page →"
                    }
                }
            }
        }
    }
}

/// Why there is nothing, and what to do about it.
fn none(view: &JobsScreen) -> Markup {
    let filter = &view.filter;
    if !filter.unique_key.is_empty() && filter.kind.is_empty() {
        return nothing("A unique key belongs to a type: name that, too.", None);
    }
    if view.next.is_some() {
        let most = text::number(u64::try_from(LIST_JOBS_LOOKED_AT).unwrap_or(u64::MAX));
        let words = format!("None of the {most} jobs that were looked at fits; more follow.");
        return nothing(&words, None);
    }
    match (filter.is_narrow(), filter.after.is_empty()) {
        (false, true) => nothing(
            "There are no jobs yet. A job is of a type, which begins with it; submit one:",
            Some(&view.first_command),
        ),
        (true, true) => nothing("No job fits.", None),
        (_, false) => nothing("No job follows.", None),
    }
}

fn rows(view: &JobsScreen) -> Markup {
    let order = if view.filter.oldest_first { "oldest first" } else { "newest first" };
    let name = format!("Jobs, {order}");
    let table = html! {
        table.rows.cards {
            caption.unseen { (name) }
            thead {
                tr {
                    th scope="col" { "Job" }
                    th scope="col" { "Type" }
                    th scope="col" { "Status" }
                    th.number scope="col" { "Priority" }
                    th.number scope="col" { "Attempts" }
                    th.number scope="col" { "Submitted" }
                    th scope="col" { "Worker" }
                    th scope="col" { "Last error" }
                }
            }
            tbody { @for job in &view.jobs { (row(job, view.now)) } }
        }
    };
    scrolling(&name, &table)
}

fn row(job: &JobInfo, now: Now) -> Markup {
    html! {
        tr {
            td { a.id href={ "/ui/jobs/" (job.id) } { code { (job.id) } } }
            td.inline { (of_type(&job.kind)) }
            td.inline {
                (standing(job.status))
                @if job.status == Status::Scheduled { " " span.quiet { (due(job, now)) } }
            }
            td.number.inline data-label="priority" { (job.priority) }
            td.number.inline data-label="attempts" { (attempts(job)) }
            td.number.inline data-label="submitted" { (ago(now.log_ms, job.submitted_ms)) }
            td.worker data-label="worker" { (job.worker) }
            td.error data-label="last error" { (text::cut(&job.last_error, ERROR_CHARS)) }
        }
    }
}

/// When a job becomes deliverable: by the wall clock, or after an attempt by the log's.
pub(super) fn due(job: &JobInfo, now: Now) -> Markup {
    let now_ms = if job.attempts == 0 { now.wall_ms } else { now.log_ms };
    ahead(now_ms, job.due_ms)
}

/// How many attempts of how many: those that are charged count.
pub(super) fn attempts(job: &JobInfo) -> Markup {
    html! {
        (job.attempts)
        @if job.max_attempts > 0 { span.quiet { " of " (job.max_attempts) } }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The id of a job, as a store gave it.
    const ID: &str = "jg0002000000040000400000005d8m";

    pub(in crate::front::ui) fn job(status: Status) -> JobInfo {
        JobInfo {
            id: ID.parse().expect("an id"),
            kind: "mail".to_owned(),
            status,
            attempts: 2,
            charged: 1,
            max_attempts: 10,
            priority: -3,
            last_error: "</td><script>alert(1)</script>".repeat(9),
            submitted_ms: 1_000,
            due_ms: 125_000,
            worker: "<b>w".to_owned(),
            deadline_ms: 90_000,
            finished_ms: 0,
            unique_key: "k'\"<i>".to_owned(),
            schedule: None,
            version: 7,
            events: vec![],
        }
    }

    fn view() -> JobsScreen {
        JobsScreen {
            filter: Filter {
                kind: "a&b".to_owned(),
                status: "failed".to_owned(),
                unique_key: "it's".to_owned(),
                oldest_first: true,
                after: "j0".to_owned(),
            },
            types: vec!["a\"b".to_owned()],
            counts: JobCounts { failed: 12_345, ..JobCounts::default() },
            jobs: vec![job(Status::Failed), job(Status::Scheduled)],
            next: Some(ID.parse().expect("an id")),
            now: Now { log_ms: 65_000, wall_ms: 65_000 },
            address: "127.0.0.1:7610".to_owned(),
            first_command: "submit one".to_owned(),
        }
    }

    fn shown(view: &JobsScreen) -> String {
        screen(view, [&counts(&view.filter, &view.counts), &table(view)]).into_string()
    }

    /// The filter is in every link of the page; what people wrote is text.
    #[test]
    fn the_address_is_the_filter() {
        let view = view();
        let (text, next) = (shown(&view), view.next.expect("more follow"));
        let kept = "type=a%26b&amp;status=failed&amp;unique_key=it%27s&amp;newest_first=false";
        for part in [
            &format!("href=\"/ui/jobs?{kept}&amp;after={next}\" rel=\"next\""),
            &format!("href=\"/ui/jobs?{kept}\""),
            "href=\"/ui/jobs?type=a%26b&amp;status=needs_review\"",
            "value=\"failed\" selected",
            "value=\"false\" selected",
            "value=\"a&quot;b\"",
            "12,345",
            "1 m ago",
            "in 1 m",
            "2<span class=\"quiet\"> of 10",
            "curl 'http://127.0.0.1:7610/v1/jobs?type=a%26b&amp;status=failed&amp;unique_key=it%27s\
             &amp;after=j0&amp;limit=50'",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"), "{text}");
        let newest = JobsScreen { filter: Filter::of_type("t"), ..view };
        assert!(shown(&newest).contains("/v1/jobs?type=t&amp;newest_first=true&amp;limit=50'"));
    }

    /// Where nothing is shown, the page says why and what to do.
    #[test]
    fn nothing_has_a_reason() {
        let none = |filter: Filter, next: Option<JobId>| {
            table(&JobsScreen { jobs: vec![], next, filter, ..view() }).into_string()
        };
        assert!(none(Filter::default(), None).contains("submit one"));
        assert!(none(Filter::of_type("t"), None).contains("No job fits"));
        assert!(none(Filter::of_type("t"), view().next).contains("more follow"));
        let after = Filter { after: "j0".to_owned(), ..Filter::default() };
        assert!(none(after, None).contains("No job follows"));
        let key = Filter { unique_key: "k".to_owned(), ..Filter::default() };
        assert!(none(key, None).contains("belongs to a type"));
        let several = Filter { status: "failed,cancelled".to_owned(), ..Filter::default() };
        let text = shown(&JobsScreen { filter: several, ..view() });
        assert!(text.contains("value=\"failed,cancelled\" selected"), "{text}");
    }
}
