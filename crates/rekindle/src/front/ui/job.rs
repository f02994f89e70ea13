//! One job: how it stands, what happened to it, what it carries, and what can be done about it.
//!
//! Invariants: only what jobs/state.rs allows is offered, by a form with this process's token;
//! whatever a job carries, its page is bounded.

use maud::{Markup, html};
use rekindle_services::jobs::state::next;
use rekindle_services::jobs::{Change, JobDetail, JobEvent, JobInfo, Status};
use rekindle_services::limits::HISTORY_MAX;

use super::carried::carried;
use super::frame::nothing;
use super::jobs::{Filter, attempts, due, of_type, standing};
use super::reviews::signature;
use super::times::{Now, ago, ahead, at};
use super::{curl, text};
use crate::front::http::token::FormToken;

/// Where all of a job is.
fn api(job: &JobInfo) -> String {
    format!("/v1/jobs/{}", job.id)
}

/// How it stands; kept up to date.
pub(super) fn headline(job: &JobInfo, now: Now) -> Markup {
    let class = match job.status {
        Status::Completed => "ok",
        Status::Failed => "bad",
        Status::NeedsReview => "warn",
        Status::Processing => "info",
        Status::Scheduled | Status::Pending | Status::Cancelled => "plain",
    };
    html! {
        div.headline.(class) {
            h2 #h-job { (standing(job.status)) " " (of_type(&job.kind)) }
            @if job.status == Status::NeedsReview {
                p { "A person decides about it: " a href={ "/ui/reviews/" (job.id) } { "review" } }
            }
            @if !job.last_error.is_empty() { p { b { "Last error: " } (job.last_error) } }
            dl.tiles {
                div { dt { "attempts" } dd { (attempts(job)) } }
                div { dt { "of them charged" } dd { (job.charged) } }
                div { dt { "priority" } dd { (job.priority) } }
                @if job.submitted_ms > 0 {
                    div { dt { "submitted" } dd { (ago(now.log_ms, job.submitted_ms)) } }
                }
                @if job.status == Status::Scheduled { div { dt { "due" } dd { (due(job, now)) } } }
                @if job.status == Status::Processing {
                    div { dt { "worker" } dd { (job.worker) } }
                    div { dt { "claim ends" } dd { (ahead(now.log_ms, job.deadline_ms)) } }
                }
                @if job.finished_ms > 0 {
                    div { dt { "finished" } dd { (ago(now.log_ms, job.finished_ms)) } }
                }
                @if !job.unique_key.is_empty() {
                    div { dt { "unique key" } dd { (unique(job)) } }
                }
                @if let Some((name, at_ms)) = &job.schedule {
                    div.double {
                        dt { "made by schedule " a href="/ui/schedules" { (name) } " for" }
                        dd { (at(*at_ms)) }
                    }
                }
            }
        }
    }
}

fn unique(job: &JobInfo) -> Markup {
    let unique_key = job.unique_key.clone();
    let filter = Filter { unique_key, ..Filter::of_type(&job.kind) };
    html! { a href=(filter.link()) { (job.unique_key) } }
}

/// What happened to it, oldest first; kept up to date.
pub(super) fn story(events: &[JobEvent], now: Now) -> Markup {
    if events.is_empty() {
        return nothing("None of it can be read.", None);
    }
    let first_ended = events.iter().find(|event| event.event == "attempt_ended");
    let lost = first_ended.is_some_and(|event| event.attempt > 1);
    let before = std::iter::once(None).chain(events.iter().map(Some));
    html! {
        ol.story {
            @for (event, before) in events.iter().zip(before) { (happened(event, before, now)) }
        }
        @if lost {
            p.quiet {
                "Of the attempts that ended the last " (HISTORY_MAX) " are kept."
            }
        }
    }
}

/// What is said of an event, and its colour.
fn told(event: &JobEvent) -> (String, &'static str) {
    let cause = event.cause.replace('_', " ");
    match (event.event, event.cause) {
        ("attempt_ended", "released" | "shutdown") => (format!("attempt ended: {cause}"), "plain"),
        ("attempt_ended", _) => (format!("attempt ended: {cause}"), "warn"),
        ("claimed", _) => ("claimed".to_owned(), "info"),
        ("completed", _) => ("completed".to_owned(), "ok"),
        ("failed", _) => ("failed: given up".to_owned(), "bad"),
        (other, _) => (other.replace('_', " "), "plain"),
    }
}

fn happened(event: &JobEvent, before: Option<&JobEvent>, now: Now) -> Markup {
    let (words, class) = told(event);
    let later_ms = before.map(|before| event.at_ms.saturating_sub(before.at_ms));
    html! {
        li.(class) {
            p {
                b.(class) { (words) }
                @if event.attempt > 0 { span.quiet { " · attempt " (event.attempt) } }
                @if !event.by.is_empty() { span.quiet { " · by " } (event.by) }
            }
            p.when {
                (at(event.at_ms)) " · " (ago(now.log_ms, event.at_ms))
                @if let Some(later_ms) = later_ms { " · after " (text::span(later_ms)) }
            }
            @if !event.reason.is_empty() { p.reason { (event.reason) } }
        }
    }
}

/// How far it is, and what came of it; kept up to date.
pub(super) fn outcome(job: &JobDetail, now: Now) -> Markup {
    let all = api(&job.info);
    html! {
        @if let Some((at_ms, progress)) = &job.progress {
            h3 { "Progress " span.quiet { "told " (ago(now.log_ms, *at_ms)) } }
            (carried("Progress", progress, &all))
        }
        h3 { "Result" }
        @match &job.result {
            Some(result) => (carried("Result", result, &format!("{all}/result"))),
            None => p.quiet { "None: the job is not completed." },
        }
    }
}

/// What it is to do; it never changes.
pub(super) fn payload(job: &JobDetail) -> Markup {
    html! {
        section.card aria-labelledby="h-payload" {
            h2 #h-payload { "Payload" }
            (carried("Payload", &job.payload, &api(&job.info)))
        }
    }
}

/// What can be done about it; kept up to date. Without a token it is only looked at.
pub(super) fn actions(job: &JobInfo, token: Option<&FormToken>) -> Markup {
    let cancels = next(job.status, Change::Cancelled).is_some();
    let retries = next(job.status, Change::Retried).is_some();
    let Some(token) = token else {
        return nothing("The server is in recovery mode: this is decided once it serves.", None);
    };
    html! {
        @if retries {
            form.decide method="post" action={ "/ui/jobs/" (job.id) "/retry" } {
                input type="hidden" name=(FormToken::FIELD) value=(token.as_str());
                p {
                    @if job.status == Status::Scheduled { "It waits for its time. " }
                    "Retry makes it pending at once; none of its attempts counts any more."
                }
                button.main type="submit" { "Retry" }
            }
        }
        @if cancels {
            form.decide method="post" action={ "/ui/jobs/" (job.id) "/cancel" } {
                input type="hidden" name=(FormToken::FIELD) value=(token.as_str());
                p {
                    "Cancel calls it off"
                    @if job.status == Status::Processing {
                        "; what its worker still sends is refused"
                    }
                    "."
                }
                (signature("the job's history"))
                button.main type="submit" { "Cancel" }
            }
        }
        @if !cancels && !retries {
            (nothing("It is completed: there is nothing left to do about it.", None))
        }
    }
}

/// The same at a terminal.
pub(super) fn commands(job: &JobInfo, address: &str) -> Markup {
    let path = api(job);
    let to = |verb: &str| format!("{path}/{verb}");
    let reason = r#"{"reason":"not needed"}"#;
    html! {
        section.card.wide aria-labelledby="h-curl" {
            h2 #h-curl { "The same at a terminal" }
            (curl::lines(&[
                ("show", curl::get(address, &path)),
                ("result", curl::get(address, &to("result"))),
                ("cancel", curl::post(address, &to("cancel"), reason)),
                ("retry", curl::post(address, &to("retry"), "{}")),
            ]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ui::jobs::tests::job;
    use rekindle_env::OsRandom;

    const NOW: Now = Now { log_ms: 65_000, wall_ms: 65_000 };

    /// What the state machine refuses is not offered, and everything that it allows is.
    #[test]
    fn only_what_is_allowed_is_offered() {
        let token = FormToken::draw(&OsRandom);
        for status in Status::ALL {
            let one = job(status);
            let text = actions(&one, Some(&token)).into_string();
            for (change, verb) in [(Change::Cancelled, "cancel"), (Change::Retried, "retry")] {
                let offered = text.contains(&format!("action=\"/ui/jobs/{}/{verb}\"", one.id));
                assert_eq!(offered, next(status, change).is_some(), "{status}, {verb}: {text}");
            }
            let forms = text.matches("<form").count();
            assert_eq!(text.matches(token.as_str()).count(), forms);
            assert_eq!(forms == 0, text.contains("nothing left to do"));
            assert!(!actions(&one, None).into_string().contains("<form"));
        }
    }

    /// Its events in their order, each with when and why; what people wrote is text.
    #[test]
    fn a_job_tells_its_story() {
        let event = |event, cause, at_ms, attempt, reason: &str| JobEvent {
            event,
            cause,
            at_ms,
            attempt,
            by: "<b>ada".to_owned(),
            reason: reason.to_owned(),
        };
        let events = [
            event("submitted", "", 1_000, 0, ""),
            event("attempt_ended", "lease_expired", 4_000, 3, "<script>"),
            event("cancelled", "", 5_000, 4, "not needed"),
        ];
        let text = story(&events, NOW).into_string();
        for part in [
            "attempt ended: lease expired",
            "after 3 s",
            "1 m ago",
            "attempt 3",
            "1970-01-01 00:00:05 UTC",
            "&lt;script&gt;",
            "&lt;b&gt;ada",
            "not needed",
            "are kept",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(text.find("submitted") < text.find("cancelled"));
        assert!(story(&[], NOW).into_string().contains("None of it can be read"));
        let schedule = Some(("nightly".to_owned(), 60_000));
        let one = JobInfo { schedule, ..job(Status::NeedsReview) };
        let text = headline(&one, NOW).into_string();
        assert!(text.contains(&format!("/ui/reviews/{}", one.id)) && text.contains("nightly"));
        assert!(text.contains("unique_key=k%27%22%3Ci%3E") && !text.contains("<script"), "{text}");
        let lines = commands(&one, "h:1").into_string();
        assert!(lines.contains(&format!("-X POST 'http://h:1/v1/jobs/{}/cancel'", one.id)));
    }
}
