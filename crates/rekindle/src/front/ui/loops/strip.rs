//! The iterations of an execution as a strip, and how far each came as a chart.
//!
//! Invariants: a cell differs by its sign as well as by its colour, and says in words what it is;
//! the strip is bounded, however many iterations there were.

use maud::{Markup, html};
use rekindle_services::loops::ExecutionInfo;

use super::iterations::{Became, Iteration};
use super::words::link;
use crate::front::ui::chart::{Across, Chart, Line, Unit, chart};
use crate::front::ui::frame::nothing;
use crate::front::ui::samples::float;
use crate::front::ui::text;

/// Most cells of iterations that are not begun.
const LATER_MAX: u32 = 24;

/// The strip, with what its signs mean and how many there are of each.
pub(in crate::front::ui) fn strip(info: &ExecutionInfo, all: &[Iteration], budget: u32) -> Markup {
    let over = info.status.is_finished();
    let left = if over { 0 } else { budget.saturating_sub(info.charged.iterations) };
    let count = |became: Became| all.iter().filter(|it| it.became == became).count() as u64;
    if all.is_empty() {
        return nothing("No iteration is begun yet.", None);
    }
    html! {
        ol.strip {
            @for one in all { (cell(info, one)) }
            @for _ in 0..left.min(LATER_MAX) {
                li.later aria-hidden="true" title="not begun" { (Became::NotBegun.shown().0) }
            }
            @if left > 0 {
                li.rest {
                    @if left > LATER_MAX { "… " }
                    (text::number(left.into())) " may follow"
                }
            }
        }
        ul.legend.marks {
            @for became in Became::ALL {
                @let (sign, class, word) = became.shown();
                @let count = count(became);
                @if count > 0 {
                    li {
                        span.mark.(class) aria-hidden="true" { (sign) }
                        (word) " " b { (text::number(count)) }
                    }
                }
            }
        }
        @let used = u64::from(info.used.iterations);
        @if used > all.len() as u64 {
            p.quiet {
                "The last " (text::number(all.len() as u64)) " of " (text::number(used))
                " iterations; those before are in "
                a href={ (link(info.id)) "/events?after=0" } { "the transcript" } "."
            }
        }
    }
}

/// What an iteration was, in words.
fn what(one: &Iteration) -> String {
    let (_, _, word) = one.became.shown();
    let mut text = format!("iteration {}: {word}", text::number(one.number.into()));
    if !one.how.is_empty() {
        text.push_str(&format!(" ({})", text::cut(&one.how, 120)));
    }
    if let Some(took_ms) = one.took_ms() {
        text.push_str(&format!(", {}", text::span(took_ms)));
    }
    if one.lost > 0 && one.became != Became::Unknown {
        text.push_str(&format!(", {} lost", text::count(one.lost.into(), "step", "steps")));
    }
    text
}

fn cell(info: &ExecutionInfo, one: &Iteration) -> Markup {
    let (sign, class, _) = one.became.shown();
    let what = what(one);
    let before = one.event.saturating_sub(1);
    html! {
        li.(class) title=(what) {
            // By keyboard one goes there through the transcript, without some hundred stops.
            a href={ (link(info.id)) "/events?after=" (before) } tabindex="-1" {
                span aria-hidden="true" { (sign) }
                span.unseen { (what) }
            }
        }
    }
}

/// How far it was after each iteration.
pub(in crate::front::ui) fn progress(info: &ExecutionInfo, all: &[Iteration]) -> Markup {
    let points: Vec<Option<f64>> = all.iter().map(|it| Some(told(it.progress_micros?))).collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return none(info) };
    if points.iter().all(Option::is_none) {
        return none(info);
    }
    let ticks = match all.len() {
        1 => [format!("iteration {}", first.number), String::new(), String::new()],
        _ => {
            let [first, last] = [first, last].map(|it| text::number(it.number.into()));
            [format!("iteration {first}"), String::new(), format!("iteration {last}")]
        }
    };
    let words = format!("iterations {} to {}", first.number, last.number);
    let now = points.iter().rev().flatten().next().copied();
    chart(&Chart {
        title: "Progress by iteration",
        unit: Unit::Number,
        across: Across { words, ticks },
        lines: vec![Line { name: "told", now, points }],
        bound: None,
        note: None,
    })
}

fn told(micros: u64) -> f64 {
    float(micros) / 1e6
}

fn none(info: &ExecutionInfo) -> Markup {
    html! {
        section.card aria-labelledby="h-progress" {
            h2 #h-progress { "Progress by iteration" }
            @match info.best_micros {
                Some(best) => p {
                    "The furthest that it came is " b { (text::millionths(best)) }
                    "; of the last iterations none told anything."
                },
                None => (nothing(
                    "None was told. A step says how far it is in the file that REKINDLE_REPORT \
                     names:",
                    Some("echo '{\"progress\": 12.5, \"cost\": 0.04}' > \"$REKINDLE_REPORT\""),
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::info;
    use super::super::iterations::{ITERATIONS_MAX, iterations, tests as told};
    use super::*;
    use rekindle_services::loops::{Event, Outcome, Status, What};

    fn all(events: &[(u64, Event)]) -> Vec<Iteration> {
        iterations(events, 1)
    }

    /// Each cell says by its sign and in words what it was, and leads to its events.
    ///
    /// proves: L11
    #[test]
    fn a_cell_for_each_iteration() {
        let mut events: Vec<What> = [told::checked(1, 1), told::checked(2, 0)].concat();
        events.push(What::StepStarted(told::at(3, 0, 1)));
        let why = "<script>\x1b[2J".to_owned();
        events.push(told::ended(told::at(3, 0, 1), Outcome::NotRun(why)));
        let all = all(&told::numbered(1, events));
        let one = info(Status::Running);
        let text = strip(&one, &all, 50).into_string();
        for part in [
            "<li class=\"warn\" title=\"iteration 1: check failed (check 1 exit code 1), 3 s\">",
            "<li class=\"ok\" title=\"iteration 2: passed (check 1 ended well), 3 s\">",
            "iteration 3: run failed (run could not be started: &lt;script&gt;␛[2J), 1 s",
            &format!("/ui/loops/{}/events?after=4\"", one.id),
            "check failed <b>1</b>",
            "may follow",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("<script"), "{text}");
        let text = strip(&info(Status::Failed), &all, 50).into_string();
        assert!(!text.contains("may follow"), "nothing follows: {text}");
        let chart = progress(&one, &all).into_string();
        assert!(chart.contains("iterations 1 to 3; told between 0.5 and 1.5"), "{chart}");
        assert!(progress(&one, &[]).into_string().contains("REKINDLE_REPORT"));
    }

    /// A hundred thousand iterations are a strip of some hundred cells.
    #[test]
    fn the_strip_is_bounded() {
        let events: Vec<What> = (99_000..=100_000).flat_map(|n| told::checked(n, 1)).collect();
        let all = all(&told::numbered(1, events));
        let mut one = info(Status::Running);
        one.used.iterations = 100_000;
        let text = strip(&one, &all, 1_000_000).into_string();
        let cells = text.matches("<li").count();
        assert!(cells <= ITERATIONS_MAX + LATER_MAX as usize + 10, "{cells}");
        assert!(text.contains("The last 240 of 100,000 iterations"), "{text}");
        assert!(text.len() < 100_000, "{}", text.len());
    }
}
