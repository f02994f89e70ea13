//! The review inbox: what waits for a person, the evidence, and the decision.
//!
//! Invariant: a decision is a form with this process's token and a reason; looking decides nothing.

use maud::{Markup, html};
use rekindle_services::limits::REASON_BYTES_MAX;
use rekindle_services::queues::review::Evidence;
use rekindle_services::queues::{Decision, ReviewItem};

use super::frame::{badge, nothing, scrolling};
use super::loops::review::{self, Place};
use super::times::Now;
use super::{audit, text};
use crate::front::http::token::FormToken;

/// Most reviews of one page.
pub(super) const REVIEWS_PAGE: usize = 100;

/// A page of reviews.
#[derive(Clone, Debug, Default)]
pub(super) struct ReviewsScreen {
    /// Those of this page.
    pub(super) items: Vec<ReviewItem>,
    /// Whether more follow.
    pub(super) more: bool,
    /// How many wait in all.
    pub(super) waiting: u64,
    /// Log time, milliseconds.
    pub(super) now_ms: u64,
    /// What was decided a moment ago: in words, and the number of its audit record.
    pub(super) decided: Option<(String, u64)>,
}

/// The whole screen; `table` is the part that is kept up to date.
pub(super) fn screen(view: &ReviewsScreen, table: &Markup) -> Markup {
    let last = view.items.last().map(|item| item.id.to_string()).unwrap_or_default();
    html! {
        @if let Some((words, record)) = &view.decided { (done(words, *record)) }
        section.card.wide aria-label="What waits for a person" {
            (table)
            @if view.more {
                nav.pages aria-label="Pages" {
                    a href="/ui/reviews" { "⇤ First page" }
                    a href={ "/ui/reviews?after=" (last) } rel="next" { "Next page →" }
                }
            }
        }
    }
}

/// What was decided a moment ago, and the number of its audit record.
pub(super) fn done(words: &str, record: u64) -> Markup {
    html! {
        section.card.wide.done role="status" {
            p {
                (badge("✓", "decided", "ok")) " " (words)
                " (" a href="/ui/audit" { "audit record " (record) } ")"
            }
        }
    }
}

/// Why it is done, and by whom; it is kept in `place`.
pub(super) fn signature(place: &str) -> Markup {
    html! {
        label for="reason" { "Why (kept in " (place) ")" }
        textarea #reason name="reason" rows="3" required maxlength=(REASON_BYTES_MAX) {}
        label for="by" { "Your name" }
        input #by name="by" type="text" maxlength="100" autocomplete="name";
    }
}

/// What waits.
pub(super) fn table(view: &ReviewsScreen) -> Markup {
    if view.items.is_empty() {
        return nothing(
            "Nothing waits for a person. What recovery cannot settle by itself comes here; the \
             same list at a terminal:",
            Some("rekindle review list"),
        );
    }
    let table = html! {
        table.rows.cards {
            caption.unseen { "What waits for a person" }
            thead {
                tr {
                    th scope="col" { "Item" }
                    th scope="col" { "Found" }
                    th scope="col" { "Queue, job or loop" }
                    th scope="col" { "Label" }
                    th scope="col" { "Waits for" }
                }
            }
            tbody {
                @for item in &view.items {
                    tr {
                        td { a href={ "/ui/reviews/" (item.id) } { (item.id) } }
                        td { (item.found) }
                        td { (queue(item)) }
                        td.label { (item.label) }
                        td { (text::span(view.now_ms.saturating_sub(item.since_ms))) }
                    }
                }
            }
        }
    };
    html! {
        p { b { (text::count(view.waiting, "item waits", "items wait")) } " for a person." }
        (scrolling("What waits for a person", &table))
    }
}

/// Where it belongs: its queue; or its job, by its type; or its execution, by its spec.
fn queue(item: &ReviewItem) -> Markup {
    html! {
        @match (&item.queue, &item.job_type) {
            (Some(name), _) => a href={ "/ui/queues/" (name) } { (name) },
            (None, Some(kind)) => { "job: " a href={ "/ui/jobs/" (item.id) } { (kind) } }
            (None, None) if item.spec.is_some() => {
                "loop: "
                a href={ "/ui/loops/" (item.id) } { (item.spec.as_deref().unwrap_or_default()) }
            }
            (None, None) => span.quiet { "not known" },
        }
    }
}

/// What a decision does, in words.
const fn means(decision: Decision, is_job: bool) -> &'static str {
    match decision {
        Decision::Approve => "Do what is proposed.",
        Decision::Retry => "Serve it again; its attempts are kept.",
        Decision::Fail if is_job => "Give it up: the job has failed.",
        Decision::Fail => "Give it up: it goes to the dead letters.",
    }
}

/// One review, with its evidence and the forms; an execution works in `place`.
pub(super) fn one(
    item: &ReviewItem,
    evidence: &Evidence,
    place: &Place,
    now: Now,
    token: Option<&FormToken>,
) -> Markup {
    let about = evidence.execution.as_ref().and_then(|detail| detail.info.review.as_ref());
    let is_job = item.job_type.is_some();
    let decide = match &evidence.execution {
        Some(_) => decide(item, token, |decision| review::means(about, decision)),
        None => decide(item, token, |decision| means(decision, is_job)),
    };
    html! {
        @match &evidence.execution {
            Some(detail) => {
                (review::headline(item, detail, now.log_ms))
                (review::evidence(detail, place))
                (decide)
                (review::around(detail, now))
            }
            None => {
                (headline(item, evidence, now.log_ms))
                section.card aria-labelledby="h-evidence" {
                    h2 #h-evidence { "Evidence" }
                    (rows(evidence))
                }
                (decide)
                section.card.wide aria-labelledby="h-attempts" {
                    h2 #h-attempts { "Attempts that ended" }
                    (attempts(evidence, now.log_ms))
                }
            }
        }
        @if let Some(decision) = &evidence.decision {
            section.card.wide aria-labelledby="h-before" {
                h2 #h-before { "The last decision about it" }
                (audit::table(std::slice::from_ref(decision)))
            }
        }
        p { a href="/ui/reviews" { "← All that waits" } }
    }
}

/// What stands above a message or a job.
fn headline(item: &ReviewItem, evidence: &Evidence, now_ms: u64) -> Markup {
    html! {
        section.card.wide.headline.warn aria-labelledby="h-item" {
            h2 #h-item { (badge("!", "waits for a person", "warn")) " " (item.label) }
            p { (item.found) }
            dl.tiles {
                div {
                    dt { @if item.job_type.is_some() { "type" } @else { "queue" } }
                    dd { (queue(item)) }
                }
                div {
                    dt { "waits for" }
                    dd { (text::span(now_ms.saturating_sub(item.since_ms))) }
                }
                div { dt { "size" } dd { (text::bytes(evidence.bytes)) } }
                @if let Some(sent_ms) = evidence.sent_ms {
                    div.double { dt { "sent" } dd { (text::moment(sent_ms)) } }
                }
                @if let Some(attempt) = evidence.attempt {
                    div { dt { "attempts" } dd { (attempt) } }
                }
                @if let Some(charged) = evidence.charged {
                    div { dt { "of them charged" } dd { (charged) } }
                }
                @if let Some(crashes) = evidence.crashes {
                    div { dt { "crashes in a row" } dd { (crashes) } }
                }
            }
        }
    }
}

/// The form, where this server decides.
fn decide(
    item: &ReviewItem,
    token: Option<&FormToken>,
    means: impl Fn(Decision) -> &'static str,
) -> Markup {
    html! {
        section.card aria-labelledby="h-decide" {
            h2 #h-decide { "Decide" }
            @match token {
                Some(token) => (form(item, token, means)),
                None => (nothing(
                    "The server is in recovery mode: this is decided once it serves.",
                    None,
                )),
            }
        }
    }
}

fn rows(evidence: &Evidence) -> Markup {
    html! {
        table.rows {
            caption.unseen { "Its rows" }
            thead { tr { th scope="col" { "Row" } th scope="col" { "State" } } }
            tbody {
                @for row in &evidence.rows {
                    tr { th scope="row" { (row.keyspace) } td { (row.state) } }
                }
            }
        }
        @if let Some(lease) = &evidence.lease {
            p {
                "Leased to " b { (lease.owner) } ", granted " (text::moment(lease.granted_ms))
                ", until " (text::moment(lease.deadline_ms)) "."
            }
        }
    }
}

/// A radio for each decision, one reason, one button: nothing is decided by a slip of the mouse.
fn form(item: &ReviewItem, token: &FormToken, means: impl Fn(Decision) -> &'static str) -> Markup {
    if item.decisions.is_empty() {
        return nothing("Nothing can be decided about it here.", None);
    }
    html! {
        form.decide method="post" action={ "/ui/reviews/" (item.id) } {
            input type="hidden" name=(FormToken::FIELD) value=(token.as_str());
            fieldset {
                legend { "What is to be done" }
                @for decision in &item.decisions {
                    label.choice {
                        input type="radio" name="decision" value=(decision.as_str()) required;
                        span {
                            b { (decision.as_str()) } " " (means(*decision))
                        }
                    }
                }
            }
            (signature("the audit log"))
            button.main type="submit" { "Decide" }
        }
    }
}

fn attempts(evidence: &Evidence, now_ms: u64) -> Markup {
    if evidence.history.is_empty() {
        return nothing("None is known.", None);
    }
    let table = html! {
        table.rows {
            caption.unseen { "Attempts that ended, oldest first" }
            thead {
                tr {
                    th.number scope="col" { "Attempt" }
                    th scope="col" { "Ended" }
                    th scope="col" { "When" }
                    th scope="col" { "Reason" }
                }
            }
            tbody {
                @for one in &evidence.history {
                    tr {
                        th.number scope="row" { (one.attempt) }
                        td { (one.cause) }
                        td { (text::span(now_ms.saturating_sub(one.at_ms))) " ago" }
                        td { (one.reason) }
                    }
                }
            }
        }
    };
    scrolling("Attempts that ended, oldest first", &table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_env::OsRandom;
    use rekindle_services::queues::ReviewId;
    use rekindle_services::queues::review::{RowEvidence, SettledAttempt};

    /// The form offers what can be decided and no more; what somebody wrote is text.
    #[test]
    fn a_review_is_decided_by_a_form() {
        let item = ReviewItem {
            id: ReviewId::Row(7),
            label: "queue-8",
            queue: Some("q".to_owned()),
            job_type: None,
            spec: None,
            found: "a message that cannot be read",
            since_ms: 1_000,
            decisions: vec![Decision::Fail],
        };
        let attempt = SettledAttempt {
            attempt: 2,
            cause: "failed",
            at_ms: 1_000,
            reason: "<script>alert(1)</script>".to_owned(),
        };
        let row = RowEvidence { keyspace: "messages", state: "</td><b>".to_owned() };
        let evidence = Evidence {
            rows: vec![row],
            bytes: 12,
            attempt: Some(2),
            history: vec![attempt],
            ..Evidence::default()
        };
        let token = FormToken::draw(&OsRandom);
        let now = Now { log_ms: 62_000, wall_ms: 62_000 };
        let shown = |item: &ReviewItem, token| {
            one(item, &evidence, &Place::default(), now, token).into_string()
        };
        let text = shown(&item, Some(&token));
        assert!(text.contains(token.as_str()) && text.contains("1 m 1 s"), "{text}");
        assert!(text.contains("value=\"fail\"") && !text.contains("value=\"retry\""), "{text}");
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
        assert!(text.contains("&lt;/td&gt;&lt;b&gt;"), "{text}");
        let none = ReviewItem { decisions: vec![], ..item };
        let text = shown(&none, Some(&token));
        assert!(!text.contains("<form") && text.contains("Nothing can be decided"), "{text}");
        let text = shown(&none, None);
        assert!(!text.contains("<form") && text.contains("once it serves"), "{text}");
    }
}
