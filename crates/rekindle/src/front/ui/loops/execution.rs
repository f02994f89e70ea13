//! One execution: how it stands and why, and where it works.
//!
//! Invariant: why it stands so is told by its events, never guessed: where they say nothing,
//! nothing is said.

use std::sync::Arc;

use maud::{Markup, html};
use rekindle_services::loops::event::{Decision, Event};
use rekindle_services::loops::{ExecutionInfo, Spec, Status, What};

use super::iterations::Iteration;
use super::words::{
    api, argv, directory, ended, json, link, reason, said, sign, standing, step, step_of,
};
use crate::front::ui::carried::carried;
use crate::front::ui::text;
use crate::front::ui::times::{Now, ago, ahead};

/// Most characters of instructions; all of them are in the JSON of the spec.
const INSTRUCTIONS_CHARS: usize = 8 << 10;

/// What a screen of an execution is made of.
#[derive(Clone, Debug)]
pub(in crate::front::ui) struct ExecutionScreen {
    /// How it stands.
    pub(in crate::front::ui) info: ExecutionInfo,
    /// What it is to do.
    pub(in crate::front::ui) spec: Spec,
    /// The last events, oldest first.
    pub(in crate::front::ui) events: Vec<(u64, Event)>,
    /// The last iterations; those before the last of the events, too.
    pub(in crate::front::ui) iterations: Arc<Vec<Iteration>>,
    /// Where commands run that the server does itself.
    pub(in crate::front::ui) place: String,
    /// Now.
    pub(in crate::front::ui) now: Now,
}

impl ExecutionScreen {
    /// The last of its events of which something is told.
    pub(super) fn last<T>(&self, tell: impl Fn(&What) -> Option<T>) -> Option<T> {
        self.events.iter().rev().find_map(|(_, event)| tell(&event.what))
    }
}

/// How it stands, and why; kept up to date.
pub(in crate::front::ui) fn headline(view: &ExecutionScreen) -> Markup {
    let ExecutionScreen { info, spec, now, .. } = view;
    let class = sign(info.status).1;
    html! {
        div.headline.(class) {
            h2 #h-loop {
                (standing(info.status)) " " (said(&info.spec)) " of "
                a href=(link(info.plan)) { (said(&info.plan_name)) }
            }
            (cause(view))
            dl.tiles {
                div {
                    dt { "iterations" }
                    dd {
                        (text::number(info.charged.iterations.into()))
                        span.quiet { " of " (text::number(spec.budget.iterations.into())) }
                    }
                }
                @if let Some(at) = info.step { div.double { dt { "step" } dd { (step_of(at)) } } }
                div.double {
                    dt { "wall time" }
                    dd {
                        (text::span(info.charged.wall_time_ms))
                        span.quiet { " of " (text::span(spec.budget.wall_time_ms)) }
                    }
                }
                div {
                    dt { "cost" }
                    dd {
                        (text::millionths(info.charged.cost_micros))
                        @if let Some(most) = spec.budget.cost_micros {
                            span.quiet { " of " (text::millionths(most)) }
                        }
                    }
                }
                @if let Some(best) = info.best_micros {
                    div { dt { "furthest progress" } dd { (text::millionths(best)) } }
                }
                div { dt { "made" } dd { (ago(now.log_ms, info.created_ms)) } }
                div { dt { "last event" } dd { (ago(now.log_ms, info.updated_ms)) } }
                div {
                    dt { a href={ (link(info.id)) "/events" } { "events" } }
                    dd { (text::number(info.events)) }
                }
            }
        }
    }
}

/// Why it stands so.
fn cause(view: &ExecutionScreen) -> Markup {
    let ExecutionScreen { info, spec, .. } = view;
    let paused = view.last(|what| match what {
        What::Paused { who } => Some(said(who)),
        _ => None,
    });
    html! {
        @match info.status {
            Status::Draft => p { "Somebody has to approve it." },
            Status::Blocked if spec.needs.is_empty() => p { "It waits for a place in its plan." },
            Status::Blocked => p {
                "It comes behind " b { (said(&spec.needs.join(", "))) }
                "; then it waits for a place in its plan."
            },
            Status::Pending => p { "What comes next is about to begin." },
            Status::Running => (running(view)),
            Status::Waiting => (waiting(view)),
            Status::Paused => p { "Nothing is begun until somebody resumes it." },
            Status::Completed => p { "Everything in its last iteration ended well." },
            Status::Failed => (failed(view)),
            Status::Cancelled => {
                @let who = view.last(|what| match what {
                    What::Cancelled { who } => Some(said(who)),
                    _ => None,
                });
                @if let Some(who) = who {
                    p {
                        "Called off by " (who) "; why is in "
                        a href="/ui/audit" { "the audit log" } "."
                    }
                }
            }
            Status::NeedsReview => {}
        }
        @if let Some(about) = &info.review {
            p { b { "A person is asked: " } (reason(about)) "." }
            p { a href={ "/ui/reviews/" (info.id) } { "Look at the evidence and decide" } }
        }
        @if info.paused && !info.status.is_finished() {
            p {
                "Paused" @if let Some(who) = paused { " by " (who) }
                @if info.step.is_some() {
                    ": the step that runs goes on to its end, nothing follows"
                }
                "."
            }
        }
    }
}

fn running(view: &ExecutionScreen) -> Markup {
    let ExecutionScreen { info, spec, now, .. } = view;
    let Some(at) = info.step else { return html! {} };
    let does = match at.step {
        0 => Some(&spec.run),
        check => usize::try_from(check - 1).ok().and_then(|at| spec.checks.get(at)),
    };
    let began_ms = view
        .events
        .iter()
        .rev()
        .find_map(|(_, event)| (event.what == What::StepStarted(at)).then_some(event.at_ms));
    html! {
        p {
            "Since " (text::age(now.log_ms.saturating_sub(began_ms.unwrap_or(info.updated_ms))))
            @if let Some(does) = does { ": " code { (argv(&does.argv)) } }
            @if let Some(worker) = &spec.worker { " by a worker of " b { (said(worker)) } }
            @if let Some(job) = &info.job { " (" a href={ "/ui/jobs/" (job) } { "its job" } ")" }
            "."
        }
    }
}

fn waiting(view: &ExecutionScreen) -> Markup {
    let why = view.last(|what| match what {
        What::StepEnded { outcome, step: at, .. } => Some(match outcome.is_well() {
            true => "a step said so".to_owned(),
            false => format!("{} {}", step(at.step), ended(outcome)),
        }),
        _ => None,
    });
    html! {
        p {
            "It goes on by itself"
            @if let Some(at_ms) = view.info.resume_at_ms { " " (ahead(view.now.log_ms, at_ms)) }
            @if let Some(why) = why { ": " (why) }
            "."
        }
    }
}

fn failed(view: &ExecutionScreen) -> Markup {
    let why = view.last(|what| match what {
        What::Failed { why } => Some(html! { p { b { "Given up: " } (said(why)) "." } }),
        What::Decided { decision: Decision::Fail, who, why } => Some(html! {
            p { b { "Given up by " (said(who)) ": " } (said(why)) }
        }),
        _ => None,
    });
    why.unwrap_or_default()
}

/// What it is to do and where; it never changes.
pub(in crate::front::ui) fn does(view: &ExecutionScreen) -> Markup {
    let ExecutionScreen { info, spec, place, .. } = view;
    html! {
        section.card aria-labelledby="h-does" {
            h2 #h-does { "What it is to do" }
            dl.facts-of {
                @match &spec.worker {
                    Some(worker) => div { dt { "done by workers of" } dd { (said(worker)) } },
                    None => div {
                        dt { "works in" }
                        dd {
                            code { (said(place)) } " "
                            span.quiet { (directory(&spec.directory)) }
                        }
                    },
                }
                @if let Some(after) = spec.stuck_after {
                    div { dt { "asks a person after" } dd { (after) " without progress" } }
                }
                @if !spec.needs.is_empty() {
                    div { dt { "comes after" } dd { (said(&spec.needs.join(", "))) } }
                }
            }
            @if !spec.instructions.is_empty() {
                details #instructions {
                    summary { "Instructions" }
                    pre.carried role="region" tabindex="0" aria-label="Instructions" {
                        code {
                            (text::cut(&text::printable(&spec.instructions), INSTRUCTIONS_CHARS))
                        }
                    }
                }
            }
            details #spec {
                summary { "All of it" }
                (carried("What it is to do", &json(spec), &api(info.id)))
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::iterations::{iterations, tests as told};
    use super::*;
    use rekindle_services::loops::event::Reason;
    use rekindle_services::loops::{Directory, Outcome, Step, Used};

    pub(in super::super) const ID: &str = "018bcfe5-6800-7fff-bfff-ffffffffffff";
    const PLAN: &str = "018bcfe5-6800-7fff-bfff-fffffffffffe";

    pub(in super::super) fn info(status: Status) -> ExecutionInfo {
        ExecutionInfo {
            id: ID.parse().expect("an id"),
            plan: PLAN.parse().expect("an id"),
            plan_name: "fix-tests".to_owned(),
            spec: "fix".to_owned(),
            status,
            draft: false,
            paused: false,
            used: Used::default(),
            charged: Used::default(),
            step: (status == Status::Running).then(|| told::at(3, 1, 1)),
            job: None,
            review: None,
            resume_at_ms: None,
            best_micros: None,
            created_ms: 1_000,
            updated_ms: 60_000,
            events: 9,
        }
    }

    pub(in super::super) fn view(status: Status, what: Vec<What>) -> ExecutionScreen {
        let step = |word: &str| Step { argv: vec![word.to_owned()], ..Step::default() };
        let spec = Spec {
            name: "fix".to_owned(),
            needs: vec!["prepare".to_owned()],
            run: step("./agent.sh"),
            checks: vec![step("<script>")],
            directory: Directory::Temporary,
            ..Spec::default()
        };
        let events = told::numbered(1, what);
        ExecutionScreen {
            info: info(status),
            iterations: Arc::new(iterations(&events, spec.checks.len())),
            spec,
            events,
            place: "/data/loops/workspaces/<b>".to_owned(),
            now: Now { log_ms: 65_000, wall_ms: 65_000 },
        }
    }

    /// Every status says why it is one.
    ///
    /// proves: L10, L11
    #[test]
    fn a_status_has_a_cause() {
        let who = || "<i>ada".to_owned();
        let why = || "too dear <script>".to_owned();
        let text = |view: &ExecutionScreen| headline(view).into_string();
        let fails = What::Failed { why: "its 3 iterations are used up".to_owned() };
        let person = What::Decided { decision: Decision::Fail, who: who(), why: why() };
        let badly = told::ended(told::at(1, 0, 1), Outcome::Exited(2));
        for (status, what, words) in [
            (Status::Draft, vec![], "has to approve"),
            (Status::Blocked, vec![], "behind <b>prepare</b>"),
            (Status::Running, vec![What::StepStarted(told::at(3, 1, 1))], "Since 1 m: <code>"),
            (Status::Waiting, vec![badly], "by itself: run exit code 2."),
            (Status::Completed, vec![What::Completed], "ended well"),
            (Status::Failed, vec![fails], "its 3 iterations are used up"),
            (Status::Failed, vec![person], "Given up by &lt;i&gt;ada: </b>too dear &lt;script"),
            (Status::Cancelled, vec![What::Cancelled { who: who() }], "off by &lt;i&gt;ada"),
        ] {
            let text = text(&view(status, what));
            assert!(text.contains(words), "{words} is missing in {text}");
            assert!(!text.contains("<script") && !text.contains("<i>"), "{text}");
        }
        let mut asked = view(Status::NeedsReview, vec![]);
        asked.info.review = Some(Reason::Stuck { iterations: 5 });
        let shown = text(&asked);
        assert!(shown.contains("5 iterations in a row") && shown.contains("/ui/reviews/018b"));
        let mut paused = view(Status::Running, vec![What::Paused { who: who() }]);
        paused.info.paused = true;
        assert!(text(&paused).contains("Paused by &lt;i&gt;ada: the step that runs goes on"));
        paused.spec.instructions = "</pre><i>\x1b".repeat(99_999);
        let shown = does(&paused).into_string();
        assert!(shown.contains("&lt;/pre&gt;&lt;i&gt;␛") && shown.len() < 99_999, "{shown}");
        assert!(shown.contains("/data/loops/workspaces/&lt;b&gt;"), "{shown}");
        assert!(shown.contains("comes after") && !shown.contains("<script"), "{shown}");
    }
}
