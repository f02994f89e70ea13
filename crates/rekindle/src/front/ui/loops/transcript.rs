//! What happened to an execution, event by event, each with its number.
//!
//! Invariant: a page holds at most [`EVENTS_PAGE`] events and of each a bounded part, however many
//! there are and whatever a program printed; all of an event is a link away.

use maud::{Markup, html};
use rekindle_services::loops::event::{PlanRef, Report};
use rekindle_services::loops::{Event, LoopId, Outcome, StepRef, What};
use serde_json::json;

use super::words::{api, decided, ended, json as json_bytes, link, reason, said, step};
use crate::front::ui::carried::carried;
use crate::front::ui::frame::nothing;
use crate::front::ui::times::{Now, ago, at};
use crate::front::ui::{curl, text};

/// Most events of one page.
pub(in crate::front::ui) const EVENTS_PAGE: u64 = 50;
/// Most bytes of what a step printed.
const OUTPUT_BYTES_MAX: usize = 8 << 10;

/// A page of the transcript.
#[derive(Clone, Debug)]
pub(in crate::front::ui) struct TranscriptScreen {
    /// The execution.
    pub(in crate::front::ui) id: LoopId,
    /// What its spec and its plan are called.
    pub(in crate::front::ui) named: (String, String),
    /// The events of this page, oldest first.
    pub(in crate::front::ui) events: Vec<(u64, Event)>,
    /// How many there are.
    pub(in crate::front::ui) all: u64,
    /// Now.
    pub(in crate::front::ui) now: Now,
}

/// Behind which event a page begins, and how many it has: behind the parameter `after`, or such
/// that it ends before `before`; else the newest.
pub(in crate::front::ui) fn place(all: u64, after: Option<u64>, before: Option<u64>) -> (u64, u64) {
    match (after, before) {
        (Some(after), _) => (after, EVENTS_PAGE),
        (None, Some(before)) => {
            let last = before.saturating_sub(1).min(all);
            // At least one: none would be as many as there may be.
            (last.saturating_sub(EVENTS_PAGE), last.clamp(1, EVENTS_PAGE))
        }
        (None, None) => (all.saturating_sub(EVENTS_PAGE), EVENTS_PAGE),
    }
}

/// The whole screen; `page` is the part that is kept up to date.
pub(in crate::front::ui) fn screen(
    view: &TranscriptScreen,
    page: &Markup,
    address: &str,
) -> Markup {
    let path = format!("{}/events", api(view.id));
    let all = format!("{path}?limit=1000");
    let (spec, plan) = &view.named;
    html! {
        section.card.wide aria-labelledby="h-events" {
            h2 #h-events {
                "What happened to " (said(spec)) " of " (said(plan)) " "
                small { a href=(link(view.id)) { "the execution" } }
            }
            form.filter method="get" action={ (link(view.id)) "/events" } role="search" {
                div.field {
                    label for="after" { "Behind event" }
                    input #after name="after" type="number" min="0" max=(view.all) required;
                }
                button type="submit" { "Go there" }
            }
            (page)
        }
        section.card.wide aria-labelledby="h-curl" {
            h2 #h-curl { "The same at a terminal" }
            (curl::lines(&[
                ("the first thousand", curl::get(address, &all)),
                ("all of it, as it happens", format!("rekindle loop follow {}", view.id)),
            ]))
        }
        p { a href=(link(view.id)) { "← The execution" } }
    }
}

/// The events of a page with the way to others; kept up to date together.
pub(in crate::front::ui) fn page(view: &TranscriptScreen) -> Markup {
    let first = view.events.first().map(|(number, _)| *number);
    let last = view.events.last().map(|(number, _)| *number);
    html! {
        @match (first, last) {
            (Some(first), Some(last)) => p {
                "Events " b { (text::number(first)) } " to " b { (text::number(last)) } " of "
                (text::number(view.all)) ", oldest first."
            },
            _ => (nothing("No event follows.", None)),
        }
        (pages(view, first, last))
        (story(&view.events, view.id, view.now, true))
        @if view.events.len() > 10 { (pages(view, first, last)) }
    }
}

fn pages(view: &TranscriptScreen, first: Option<u64>, last: Option<u64>) -> Markup {
    let to = |query: &str| format!("{}/events{query}", link(view.id));
    if first == Some(1) && last == Some(view.all) {
        return html! {};
    }
    html! {
        nav.pages aria-label="Pages" {
            @if first != Some(1) { a href=(to("?after=0")) { "⇤ Oldest" } }
            @if let Some(first) = first.filter(|first| *first > 1) {
                a href=(to(&format!("?before={first}"))) rel="prev" { "← Older" }
            }
            @if let Some(last) = last.filter(|last| *last < view.all) {
                a href=(to(&format!("?after={last}"))) rel="next" { "Newer →" }
            }
            @if last != Some(view.all) { a href=(to("")) { "Newest ⇥" } }
        }
    }
}

/// Events, oldest first; `raw`: with the JSON of each.
pub(in crate::front::ui) fn story(
    events: &[(u64, Event)],
    id: LoopId,
    now: Now,
    raw: bool,
) -> Markup {
    let before = std::iter::once(None).chain(events.iter().map(|(_, event)| Some(event)));
    html! {
        ol.story.numbered {
            @for ((number, event), before) in events.iter().zip(before) {
                (happened((*number, event), before, id, now, raw))
            }
        }
    }
}

fn happened(
    (number, event): (u64, &Event),
    before: Option<&Event>,
    id: LoopId,
    now: Now,
    raw: bool,
) -> Markup {
    let told = told(&event.what);
    let later_ms = before.map(|before| event.at_ms.saturating_sub(before.at_ms));
    let behind = number.saturating_sub(1);
    let output = match &event.what {
        What::StepEnded { output, .. } => output.as_str(),
        _ => "",
    };
    html! {
        li.(told.class) #{ "e" (number) } {
            p {
                a.seq href={ (link(id)) "/events?after=" (behind) "#e" (number) } {
                    (text::number(number))
                }
                " " b.(told.class) { (told.words) }
                @if let Some(quiet) = &told.quiet { span.quiet { " · " (quiet) } }
                @if let Some(who) = told.who { span.quiet { " · by " (said(who)) } }
            }
            p.when {
                (at(event.at_ms)) " · " (ago(now.log_ms, event.at_ms))
                @if let Some(later_ms) = later_ms { " · after " (text::span(later_ms)) }
            }
            @if let Some(why) = &told.why { p.reason { (why) } }
            (printed(&format!("o{number}"), output, false))
            @if raw { (json_of(number, event, id)) }
        }
    }
}

/// All of an event as programs have it, folded.
fn json_of(number: u64, event: &Event, id: LoopId) -> Markup {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("sequence".to_owned(), json!(number));
    }
    let all = format!("{}/events?after={}&limit=1", api(id), number.saturating_sub(1));
    html! {
        details #{ "j" (number) } {
            summary { "JSON" }
            (carried(&format!("Event {number} as JSON"), &json_bytes(&value), &all))
        }
    }
}

/// What a step printed, folded but where it is `open`; the end of it, where it is long.
pub(super) fn printed(id: &str, output: &str, open: bool) -> Markup {
    let shown = text::printable(output.trim_end());
    let from = shown.len().saturating_sub(OUTPUT_BYTES_MAX);
    let from = (from..shown.len()).find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
    let lines = shown.lines().count() as u64;
    html! {
        @if !shown.is_empty() {
            details #(id) open[open] {
                summary { "Output, " (text::count(lines, "line", "lines")) }
                pre.carried role="region" tabindex="0" aria-label="Output" {
                    code { @if from > 0 { "…" } (shown.get(from..).unwrap_or_default()) }
                }
                p.quiet {
                    (text::bytes(u64::try_from(output.len()).unwrap_or(u64::MAX)))
                    @if from > 0 { "; only the end is shown" }
                    "."
                }
            }
        }
    }
}

/// What is said of an event.
struct Told<'a> {
    words: String,
    class: &'static str,
    quiet: Option<String>,
    who: Option<&'a str>,
    why: Option<String>,
}

fn told(what: &What) -> Told<'_> {
    let plain = |words: &str| Told {
        words: words.to_owned(),
        class: "plain",
        quiet: None,
        who: None,
        why: None,
    };
    let by = |words: &str, who| Told { who: Some(who), ..plain(words) };
    let because = |why: &str| (!why.is_empty()).then(|| said(why));
    let of = |at: StepRef| {
        let iteration = text::number(at.iteration.into());
        Some(format!("iteration {iteration} · attempt {}", at.attempt))
    };
    match what {
        What::Created { plan, draft, blocked, .. } => {
            Told { quiet: Some(place_in(plan, *draft, *blocked)), ..by("made", &plan.who) }
        }
        What::Approved { who } => by("approved", who),
        What::Unblocked => plain("its turn: what it needs is completed"),
        What::StepStarted(at) => {
            let words = format!("{} begun", step(at.step));
            Told { class: "info", quiet: of(*at), ..plain(&words) }
        }
        What::StepEnded { step: at, outcome, report, .. } => {
            let class = match outcome {
                Outcome::CalledOff => "plain",
                outcome if outcome.is_well() => "ok",
                _ if at.step == 0 => "bad",
                _ => "warn",
            };
            let words = format!("{}: {}", step(at.step), ended(outcome));
            Told { class, quiet: of(*at), why: reported(report), ..plain(&words) }
        }
        What::StepNotBegun(at) => {
            let words = format!("{} had not begun after all", step(at.step));
            Told { quiet: of(*at), ..plain(&words) }
        }
        What::StepLost { step: at, why } => {
            let words = format!("{}: its end is not known, it is done again", step(at.step));
            Told { class: "warn", quiet: of(*at), why: because(why), ..plain(&words) }
        }
        What::SetAside { reason: about } => {
            Told { class: "warn", why: Some(reason(about)), ..plain("a person is asked") }
        }
        What::Decided { decision, who, why } => {
            let words = format!("decided: {}", decided(*decision));
            Told { why: because(why), ..by(&words, who) }
        }
        What::Interrupted { cause } => {
            let words = format!("interrupted: {}", said(&cause.replace('_', " ")));
            let why = Some("An attempt is charged.".to_owned());
            Told { class: "warn", why, ..plain(&words) }
        }
        What::Paused { who } => by("paused", who),
        What::Resumed { who } => by("resumed", who),
        What::Completed => Told { class: "ok", ..plain("completed") },
        What::Failed { why } => {
            Told { class: "bad", why: because(why), ..plain("failed: given up") }
        }
        What::Cancelled { who } => by("cancelled", who),
        What::Retried { who } => by("retried, with its whole budget", who),
    }
}

/// Which spec of its plan it is, and what it waits for.
fn place_in(plan: &PlanRef, draft: bool, blocked: bool) -> String {
    let waits = match (draft, blocked) {
        (true, _) => ", a draft",
        (false, true) => ", behind what it needs",
        (false, false) => "",
    };
    format!("spec {} of {}{waits}", plan.index.saturating_add(1), plan.specs)
}

/// What a step said of itself.
fn reported(report: &Report) -> Option<String> {
    let mut parts = vec![];
    if let Some(progress) = report.progress_micros {
        parts.push(format!("progress {}", text::millionths(progress)));
    }
    if report.cost_micros > 0 {
        parts.push(format!("cost {}", text::millionths(report.cost_micros)));
    }
    if let Some(at_ms) = report.resume_at_ms {
        parts.push(format!("goes on at {}", text::moment(at_ms)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::ID;
    use super::super::iterations::tests::{at, numbered};
    use super::*;
    use rekindle_services::loops::event::{Decision, Reason};

    const NOW: Now = Now { log_ms: 65_000, wall_ms: 65_000 };

    fn view(first: u64, all: u64, what: Vec<What>) -> TranscriptScreen {
        TranscriptScreen {
            id: ID.parse().expect("an id"),
            named: ("fix <b>".to_owned(), "p".to_owned()),
            events: numbered(first, what),
            all,
            now: NOW,
        }
    }

    fn printed_by(output: &str) -> What {
        let (outcome, output) = (Outcome::Exited(1), output.to_owned());
        What::StepEnded { step: at(1, 1, 1), outcome, report: Report::default(), output }
    }

    /// A page begins where one asks, and the newest is the one without a question.
    #[test]
    fn pages_begin_where_one_asks() {
        assert_eq!(place(100_000, None, None), (99_950, 50));
        assert_eq!(place(100_000, None, Some(99_951)), (99_900, 50));
        assert_eq!(place(100_000, Some(7), Some(3)), (7, 50));
        assert_eq!(place(100_000, None, Some(u64::MAX)), (99_950, 50));
        assert_eq!(place(30, None, None), (0, 50));
        assert_eq!(place(30, None, Some(3)), (0, 2), "none of it twice");
        assert_eq!(place(30, None, Some(0)), (0, 1));
    }

    /// From the middle one gets to both ends; from an end no further.
    #[test]
    fn there_is_a_way_to_every_page() {
        let whats = || (0..3).map(|n| What::StepStarted(at(n + 1, 0, 1))).collect::<Vec<_>>();
        let text = page(&view(500, 100_000, whats())).into_string();
        for part in ["?before=500\"", "?after=502\"", "?after=0\"", "Newest", "100,000"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let text = page(&view(1, 3, whats())).into_string();
        assert!(!text.contains("Older") && !text.contains("Newer"), "{text}");
        assert!(!text.contains("Oldest") && !text.contains("Newest"), "{text}");
        let text = page(&view(1, 3, vec![])).into_string();
        assert!(text.contains("No event follows") && text.contains("Newest"), "{text}");
    }

    /// What a program printed is text, folded, and does nothing; of much of it the end is shown.
    ///
    /// proves: L2, L11
    #[test]
    fn outputs_are_escaped_printable_and_bounded() {
        let hostile = "</pre><script>alert(1)</script>\x1b[2J\0\u{202e}\n";
        let text = page(&view(1, 1, vec![printed_by(hostile)])).into_string();
        assert!(text.contains("&lt;/pre&gt;&lt;script&gt;alert(1)"), "{text}");
        assert!(text.contains("␛[2J␀\u{fffd}") && text.contains("Output, 1 line"), "{text}");
        assert!(!text.contains("<script") && !text.contains('\x1b') && !text.contains('\0'));
        assert!(text.contains("<details id=\"o1\">") && !text.contains(" open"), "{text}");
        assert!(text.contains("\\u001b[2J"), "the JSON of it is there: {text}");
        let long = format!("beginning{}the end", "<\x07é\n".repeat(64 << 10));
        let text = page(&view(1, 1, vec![printed_by(&long)])).into_string();
        assert!(text.contains("only the end is shown") && text.contains("the end</code>"));
        assert!(text.len() < 160_000, "{}", text.len());
        assert!(text.contains("events?after=0&amp;limit=1\">all of it"), "{text}");
    }

    /// Everything that can happen has words; what people wrote is text.
    #[test]
    fn every_event_is_told() {
        let who = || "<i>ada".to_owned();
        let why = || "because <script>".to_owned();
        let step = at(3, 0, 2);
        let unknown = Reason::Unknown { step, why: why() };
        let report = Report {
            progress_micros: Some(1_500_000),
            cost_micros: 40_000,
            resume_at_ms: Some(5_000),
        };
        let (outcome, output) = (Outcome::Exited(0), String::new());
        let all = vec![
            (What::Approved { who: who() }, "approved"),
            (What::Unblocked, "its turn"),
            (What::StepStarted(step), "run begun"),
            (What::StepEnded { step, outcome, report, output }, "progress 1.5, cost 0.04, goes on"),
            (What::StepNotBegun(step), "had not begun after all"),
            (What::StepLost { step, why: why() }, "it is done again"),
            (What::SetAside { reason: unknown }, "nobody knows how iteration 3, run, attempt 2"),
            (
                What::Decided { decision: Decision::Done, who: who(), why: why() },
                "decided: the step is taken as done",
            ),
            (What::Interrupted { cause: "server_crash".to_owned() }, "interrupted: server crash"),
            (What::Paused { who: who() }, "paused"),
            (What::Resumed { who: who() }, "resumed"),
            (What::Completed, "completed"),
            (What::Failed { why: why() }, "given up"),
            (What::Cancelled { who: who() }, "cancelled"),
            (What::Retried { who: who() }, "with its whole budget"),
        ];
        for (what, words) in all {
            let text = page(&view(7, 7, vec![what])).into_string();
            assert!(text.contains(words), "{words} is missing in {text}");
            assert!(text.contains("id=\"e7\"") && text.contains("&quot;sequence&quot;: 7"));
            assert!(!text.contains("<i>") && !text.contains("<script"), "{text}");
        }
    }
}
