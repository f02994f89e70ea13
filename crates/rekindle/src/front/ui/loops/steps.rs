//! The steps of the iteration that an execution is in.
//!
//! Invariant: of many steps the outputs of the last [`OUTPUTS_MAX`] are here; the others are in the
//! transcript.

use maud::{Markup, html};
use rekindle_services::loops::{Outcome, Step, What};

use super::execution::ExecutionScreen;
use super::transcript::printed;
use super::words::{argv, ended, link, step as name};
use crate::front::ui::frame::{badge, nothing, scrolling};
use crate::front::ui::text;

/// Most outputs beside each other.
const OUTPUTS_MAX: usize = 10;

/// One step, as far as it is.
struct Seen<'a> {
    number: u32,
    does: &'a Step,
    attempt: u32,
    began_ms: Option<u64>,
    end: End<'a>,
}

enum End<'a> {
    NotBegun,
    /// It ended well before the events that were looked at.
    Before,
    Running,
    Lost,
    Ended {
        at_ms: u64,
        outcome: &'a Outcome,
        output: &'a str,
        event: u64,
    },
}

/// The steps of an iteration; kept up to date.
pub(in crate::front::ui) fn steps(view: &ExecutionScreen) -> Markup {
    let last = view.iterations.last().map(|it| it.number);
    let Some(iteration) = view.info.step.map(|step| step.iteration).or(last) else {
        return nothing("No step is begun yet.", None);
    };
    let all = seen(view, iteration);
    let ended = all.iter().filter(|it| matches!(it.end, End::Ended { .. })).count();
    let hidden = ended.saturating_sub(OUTPUTS_MAX);
    let mut ends = 0;
    let shows: Vec<bool> = all
        .iter()
        .map(|one| {
            let is_end = matches!(one.end, End::Ended { .. });
            ends += usize::from(is_end);
            is_end && ends > hidden
        })
        .collect();
    let table = html! {
        table.rows.cards.steps-of {
            caption.unseen { "Steps of iteration " (iteration) }
            thead {
                tr {
                    th scope="col" { "Step" }
                    th scope="col" { "Command" }
                    th scope="col" { "How it stands" }
                    th.number scope="col" { "Attempt" }
                    th.number scope="col" { "Took" }
                }
            }
            tbody {
                @for (one, shows) in all.iter().zip(shows) { (row(view, one, shows)) }
            }
        }
    };
    html! {
        p {
            "Iteration " b { (text::number(iteration.into())) } " of "
            (text::number(view.spec.budget.iterations.into())) ", "
            (text::count(view.spec.checks.len() as u64, "check", "checks")) "."
        }
        (scrolling("Steps of the iteration", &table))
    }
}

/// What the events tell of the steps of an iteration.
fn seen(view: &ExecutionScreen, iteration: u32) -> Vec<Seen<'_>> {
    let does = std::iter::once(&view.spec.run).chain(&view.spec.checks);
    let none =
        |(number, does)| Seen { number, does, attempt: 0, began_ms: None, end: End::NotBegun };
    let mut all: Vec<Seen<'_>> = (0..).zip(does).map(none).collect();
    for (number, event) in &view.events {
        let (at, end) = match &event.what {
            What::StepStarted(at) => (at, End::Running),
            What::StepNotBegun(at) => (at, End::NotBegun),
            What::StepLost { step, .. } => (step, End::Lost),
            What::StepEnded { step, outcome, output, .. } => {
                let (at_ms, event) = (event.at_ms, *number);
                (step, End::Ended { at_ms, outcome, output, event })
            }
            _ => continue,
        };
        let index = usize::try_from(at.step).unwrap_or(usize::MAX);
        if at.iteration == iteration
            && let Some(one) = all.get_mut(index)
        {
            if matches!(end, End::Running) {
                one.began_ms = Some(event.at_ms);
            }
            (one.attempt, one.end) = (at.attempt, end);
        }
    }
    // A step follows on one that ended well.
    let begun = all.iter().rposition(|one| one.attempt > 0).unwrap_or(0);
    for one in all.iter_mut().take(begun).filter(|one| one.attempt == 0) {
        one.end = End::Before;
    }
    // One that was begun runs, or nobody knows.
    let runs = view.info.step.map(|at| (at.iteration, at.step));
    for one in &mut all {
        if matches!(one.end, End::Running) && runs != Some((iteration, one.number)) {
            one.end = End::Lost;
        }
    }
    all
}

fn row(view: &ExecutionScreen, one: &Seen<'_>, shows: bool) -> Markup {
    let (sign, words, class) = match &one.end {
        End::NotBegun => ("·", "not begun".to_owned(), "plain"),
        End::Before => ("✓", "ended well".to_owned(), "ok"),
        End::Running => ("◐", "running".to_owned(), "info"),
        End::Lost => ("?", "its end is not known".to_owned(), "warn"),
        End::Ended { outcome: Outcome::CalledOff, .. } => ("–", "called off".to_owned(), "plain"),
        End::Ended { outcome, .. } if outcome.is_well() => ("✓", ended(outcome), "ok"),
        End::Ended { outcome, .. } => ("✖", text::cut(&ended(outcome), 80), "bad"),
    };
    let until_ms = match one.end {
        End::Ended { at_ms, .. } => Some(at_ms),
        End::Running => Some(view.now.log_ms),
        End::NotBegun | End::Before | End::Lost => None,
    };
    let took_ms = one.began_ms.zip(until_ms).map(|(began, until)| until.saturating_sub(began));
    html! {
        tr {
            th scope="row" { (name(one.number)) }
            td.argv {
                code { (argv(&one.does.argv)) }
                @if !one.does.idempotent && one.number > 0 { " " span.quiet { "once only" } }
                @if let End::Ended { output, event, .. } = &one.end {
                    @if shows {
                        (printed(&format!("s{}", one.number), output, false))
                    } @else if !output.is_empty() {
                        @let behind = event.saturating_sub(1);
                        " " a href={ (link(view.info.id)) "/events?after=" (behind) } { "output" }
                    }
                }
            }
            td.inline { (badge(sign, &words, class)) }
            td.number.inline data-label="attempt" { @if one.attempt > 0 { (one.attempt) } }
            td.number.inline data-label="took" {
                @if let Some(took_ms) = took_ms { (text::span(took_ms)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::view;
    use super::super::iterations::tests as told;
    use super::*;
    use rekindle_services::loops::Status;

    /// Each step of the iteration says how it stands, of another iteration nothing is said.
    ///
    /// proves: L11
    #[test]
    fn steps_of_the_iteration_are_told() {
        let mut what = told::checked(2, 1);
        what.push(What::StepStarted(told::at(3, 0, 1)));
        what.push(told::ended(told::at(3, 0, 1), Outcome::Exited(0)));
        what.push(What::StepStarted(told::at(3, 1, 1)));
        let mut one = view(Status::Running, what);
        let text = steps(&one).into_string();
        for part in ["Iteration <b>3</b>", "ended well", "running", "58 s", "printed", "./agent.sh"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("exit code") && !text.contains("<script"), "{text}");
        // Nobody knows how it ended: it runs no longer, and did not end.
        one.info.step = None;
        let text = steps(&one).into_string();
        assert!(text.contains("its end is not known") && !text.contains("running"), "{text}");
        assert!(steps(&view(Status::Pending, vec![])).into_string().contains("No step is begun"));
        // What was before the last events is told by what follows on it.
        let later = steps(&view(Status::Running, vec![What::StepStarted(told::at(3, 1, 1))]));
        let text = later.into_string();
        assert!(text.contains("ended well") && !text.contains("not begun"), "{text}");
    }

    /// A hundred outputs are ten on the page, and links to the others.
    #[test]
    fn outputs_of_many_checks_are_bounded() {
        let mut what = vec![];
        for check in 0..=100 {
            let at = told::at(1, check, 1);
            what.push(What::StepStarted(at));
            let (outcome, output) = (Outcome::Exited(0), "x\n".repeat(2_048));
            what.push(What::StepEnded { step: at, outcome, report: Default::default(), output });
        }
        let mut one = view(Status::Pending, what);
        one.spec.checks = vec![Step { argv: vec!["y".repeat(64 << 10)], ..Step::default() }; 100];
        let text = steps(&one).into_string();
        assert_eq!(text.matches("<details").count(), OUTPUTS_MAX);
        assert_eq!(text.matches(">output</a>").count(), 101 - OUTPUTS_MAX);
        assert!(text.len() < 120_000, "{}", text.len());
    }
}
