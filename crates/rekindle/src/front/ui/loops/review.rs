//! The evidence about an execution that waits for a person: which plan, spec and step, what is
//! known, what it printed last, where it works, and what happened around it.
//!
//! Invariant: looking decides nothing; what can be decided is said in the words of what it does.

use maud::{Markup, html};
use rekindle_services::loops::event::Reason;
use rekindle_services::loops::{Event, ExecutionDetail, StepRef, What};
use rekindle_services::queues::{Decision, ReviewItem};

use super::transcript::{printed, story};
use super::words::{argv, directory, ended, link, reason, said, step_of};
use crate::front::ui::frame::{badge, nothing};
use crate::front::ui::text;
use crate::front::ui::times::Now;

/// Where an execution works, and what is there.
#[derive(Clone, Debug, Default)]
pub(in crate::front::ui) struct Place {
    /// The directory.
    pub(in crate::front::ui) path: String,
    /// What is there, in words.
    pub(in crate::front::ui) state: String,
}

/// What a decision does.
pub(in crate::front::ui) const fn means(
    about: Option<&Reason>,
    decision: Decision,
) -> &'static str {
    match (decision, about) {
        (Decision::Fail, _) => "Give it up: the execution has failed.",
        (Decision::Approve, Some(Reason::Unknown { .. })) => {
            "The step is taken as done, and the execution goes on behind it."
        }
        (Decision::Retry, Some(Reason::Unknown { .. })) => {
            "The step is done again: only if doing it twice does no harm."
        }
        (Decision::Approve, _) => "The execution goes on.",
        (Decision::Retry, _) => "The same: the execution goes on.",
    }
}

/// What stands above.
pub(in crate::front::ui) fn headline(
    item: &ReviewItem,
    detail: &ExecutionDetail,
    now_ms: u64,
) -> Markup {
    let info = &detail.info;
    html! {
        section.card.wide.headline.warn aria-labelledby="h-item" {
            h2 #h-item { (badge("!", "waits for a person", "warn")) " " (item.label) }
            @match &info.review {
                Some(about) => p.summary { (reason(about)) "." },
                None => p { (item.found) },
            }
            dl.tiles {
                div { dt { "plan" } dd { a href=(link(info.plan)) { (said(&info.plan_name)) } } }
                div { dt { "spec" } dd { a href=(link(info.id)) { (said(&info.spec)) } } }
                @if let Some(at) = step(detail) {
                    div.double { dt { "step" } dd { (step_of(at)) } }
                }
                div {
                    dt { "waits for" }
                    dd { (text::span(now_ms.saturating_sub(item.since_ms))) }
                }
                div {
                    dt { "iterations" }
                    dd {
                        (text::number(info.charged.iterations.into()))
                        span.quiet {
                            " of " (text::number(detail.spec.budget.iterations.into()))
                        }
                    }
                }
                div { dt { "attempts charged" } dd { (info.charged.attempts) } }
            }
        }
    }
}

/// The step that it is about, or the last that ended.
fn step(detail: &ExecutionDetail) -> Option<StepRef> {
    match &detail.info.review {
        Some(Reason::Unknown { step, .. }) => Some(*step),
        _ => detail.last.iter().rev().find_map(|(_, event)| match &event.what {
            What::StepEnded { step, .. } | What::StepLost { step, .. } => Some(*step),
            _ => None,
        }),
    }
}

/// The evidence: what the step does, where, and what was printed last.
pub(in crate::front::ui) fn evidence(detail: &ExecutionDetail, place: &Place) -> Markup {
    let spec = &detail.spec;
    let does = step(detail).and_then(|at| match at.step {
        0 => Some(&spec.run),
        check => spec.checks.get(usize::try_from(check).ok()?.checked_sub(1)?),
    });
    html! {
        section.card aria-labelledby="h-evidence" {
            h2 #h-evidence { "Evidence" }
            dl.facts-of {
                @if let Some(does) = does {
                    div { dt { "command" } dd { code { (argv(&does.argv)) } } }
                    div {
                        dt { "may be done twice" }
                        dd { @if does.idempotent { "yes" } @else { "no: it was not declared so" } }
                    }
                    div { dt { "time limit" } dd { (text::span(does.time_limit_ms)) } }
                }
                @match &spec.worker {
                    Some(worker) => div { dt { "done by workers of" } dd { (said(worker)) } },
                    None => div {
                        dt { "works in" }
                        dd {
                            code { (said(&place.path)) } " "
                            span.quiet { (directory(&spec.directory)) "; " (place.state) }
                        }
                    },
                }
                @if !spec.environment.is_empty() {
                    @let names: Vec<&str> = spec.environment.keys().map(String::as_str).collect();
                    div { dt { "environment" } dd { (text::cut(&names.join(", "), 400)) } }
                }
            }
            h3 { "What was printed last" }
            (last_output(&detail.last))
        }
    }
}

/// The last thing that a step printed.
fn last_output(events: &[(u64, Event)]) -> Markup {
    let found = events.iter().rev().find_map(|(number, event)| match &event.what {
        What::StepEnded { step, outcome, output, .. } if !output.is_empty() => {
            Some((number, step, outcome, output))
        }
        _ => None,
    });
    let Some((number, step, outcome, output)) = found else {
        return nothing("Nothing, as far as the last events tell.", None);
    };
    html! {
        p { (step_of(*step)) ": " (ended(outcome)) " (event " (text::number(*number)) ")." }
        (printed("last-output", output, true))
    }
}

/// What happened around it.
pub(in crate::front::ui) fn around(detail: &ExecutionDetail, now: Now) -> Markup {
    html! {
        section.card.wide aria-labelledby="h-around" {
            h2 #h-around {
                "What happened to it last "
                small { a href={ (link(detail.info.id)) "/events" } { "all of it" } }
            }
            (story(&detail.last, detail.info.id, now, false))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::view;
    use super::super::iterations::tests as told;
    use super::*;
    use rekindle_services::loops::{Outcome, Status};
    use rekindle_services::queues::ReviewId;

    /// Plan, spec, step, reason, output, place, events: what a person needs, and as text.
    ///
    /// proves: L7, L10
    #[test]
    fn a_person_sees_the_evidence() {
        let at = told::at(3, 1, 2);
        let about = Reason::Unknown { step: at, why: "the machine <b> went down".to_owned() };
        let mut what = told::checked(2, 1);
        what.push(What::StepStarted(at));
        what.push(What::SetAside { reason: about.clone() });
        let mut shown = view(Status::NeedsReview, what);
        shown.info.review = Some(about.clone());
        shown.spec.environment = [("TOKEN".to_owned(), "secret".to_owned())].into();
        let detail = ExecutionDetail {
            info: shown.info,
            spec: shown.spec,
            forked_from: None,
            last: shown.events,
        };
        let item = ReviewItem {
            id: ReviewId::Execution(detail.info.id),
            label: "loop-10",
            queue: None,
            job_type: None,
            spec: Some("fix".to_owned()),
            found: "a step began",
            since_ms: 3_000,
            decisions: Decision::ALL.to_vec(),
        };
        let place = Place { path: "/data/<i>".to_owned(), state: "it is there".to_owned() };
        let text = html! {
            (headline(&item, &detail, 65_000)) (evidence(&detail, &place))
            (around(&detail, shown.now))
        };
        let text = text.into_string();
        for part in [
            "nobody knows how iteration 3, check 1, attempt 2 ended",
            "the machine &lt;b&gt; went down.",
            ">fix-tests</a>",
            "1 m 2 s",
            "<code>'&lt;script&gt;'</code>",
            "no: it was not declared so",
            "/data/&lt;i&gt;",
            "it is there",
            "TOKEN",
            "iteration 2, check 1: exit code 1",
            "<details id=\"last-output\" open>",
            "a person is asked",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("secret") && !text.contains("<script"), "{text}");
        assert!(means(Some(&about), Decision::Approve).contains("taken as done"));
        let stuck = Reason::Stuck { iterations: 2 };
        assert_eq!(means(Some(&stuck), Decision::Approve), "The execution goes on.");
        let called = told::ended(at, Outcome::CalledOff);
        assert!(last_output(&told::numbered(1, vec![called])).into_string().contains("called off"));
        assert!(last_output(&[]).into_string().contains("Nothing, as far"));
    }
}
