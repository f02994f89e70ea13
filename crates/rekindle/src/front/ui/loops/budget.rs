//! What an execution used of its budget, as bars, and what of it is used up first.
//!
//! Invariant: every number is text beside its bar; what has no limit has no bar.

use maud::{Markup, html};
use rekindle_services::loops::{Budget, ExecutionInfo};

use super::iterations::Iteration;
use crate::front::ui::text;

/// From this share on, in thousandths, little is left.
const LITTLE_LEFT: u64 = 800;
/// So many iterations tell a pace.
const PACE_MIN: usize = 3;

/// One thing that a budget bounds.
struct Part {
    name: &'static str,
    used: u64,
    most: Option<u64>,
    /// All that was ever used, where that is another number.
    ever: u64,
    show: fn(u64) -> String,
}

impl Part {
    fn left(&self) -> Option<u64> {
        self.most.map(|most| most.saturating_sub(self.used))
    }

    /// Thousandths that are used.
    fn share(&self) -> Option<u64> {
        let share = u128::from(self.used) * 1_000 / u128::from(self.most?.max(1));
        Some(u64::try_from(share).unwrap_or(u64::MAX).min(1_000))
    }
}

fn parts(info: &ExecutionInfo, budget: &Budget) -> [Part; 4] {
    let (now, ever) = (info.charged, info.used);
    let part = |name, used, most, ever, show| Part { name, used, most, ever, show };
    [
        part(
            "iterations",
            now.iterations.into(),
            Some(budget.iterations.into()),
            ever.iterations.into(),
            text::number,
        ),
        part(
            "wall time",
            now.wall_time_ms,
            Some(budget.wall_time_ms),
            ever.wall_time_ms,
            text::span,
        ),
        part(
            "attempts charged",
            now.attempts.into(),
            budget.attempts.map(u64::from),
            ever.attempts.into(),
            text::number,
        ),
        part("cost", now.cost_micros, budget.cost_micros, ever.cost_micros, text::millionths),
    ]
}

/// All of it.
pub(in crate::front::ui) fn bars(
    info: &ExecutionInfo,
    budget: &Budget,
    all: &[Iteration],
) -> Markup {
    let parts = parts(info, budget);
    let anew = parts.iter().any(|part| part.ever != part.used);
    html! {
        dl.spent { @for part in &parts { (bar(part)) } }
        @if anew {
            p.quiet {
                "The budget began anew when it was retried; before that it had used "
                @for (at, part) in parts.iter().filter(|part| part.ever != part.used).enumerate() {
                    @if at > 0 { ", " }
                    (part.name) " " (before(part))
                }
                "."
            }
        }
        @if let Some(words) = first(info, &parts, all) { p { (words) } }
    }
}

fn before(part: &Part) -> String {
    (part.show)(part.ever.saturating_sub(part.used))
}

fn bar(part: &Part) -> Markup {
    let used = (part.show)(part.used);
    let of = part.most.map(part.show);
    html! {
        div {
            dt { (part.name) }
            dd {
                b { (used) }
                @match (&of, part.share(), part.left()) {
                    (Some(of), Some(share), Some(left)) => {
                        " of " (of) span.quiet { " · " ((part.show)(left)) " left" }
                        (drawn(part.name, share))
                    }
                    _ => span.quiet { " · no limit" },
                }
            }
        }
    }
}

fn drawn(name: &str, share: u64) -> Markup {
    let class = match share {
        1_000.. => "bad",
        LITTLE_LEFT.. => "warn",
        _ => "plain",
    };
    let label = format!("{name}: {} % used", share / 10);
    html! {
        svg.bars.share viewBox="0 0 1000 20" preserveAspectRatio="none" role="img"
            aria-label=(label) {
            rect.used.(class) x="0" y="0" width=(share) height="20" {}
            @for quarter in 1..4_u64 {
                @let x = quarter * 250;
                line.grid x1=(x) x2=(x) y1="0" y2="20" {}
            }
        }
    }
}

/// A bar beside a number in a table.
pub(super) fn small(used: u64, most: u64) -> Markup {
    let part = Part { name: "iterations", used, most: Some(most), ever: used, show: text::number };
    drawn(part.name, part.share().unwrap_or(0))
}

/// What is used up first at the pace of the last iterations, where one can tell.
fn first(info: &ExecutionInfo, parts: &[Part; 4], all: &[Iteration]) -> Option<String> {
    let ended: Vec<&Iteration> = all.iter().filter(|it| it.ended_ms.is_some()).collect();
    if info.status.is_finished() || ended.len() < PACE_MIN {
        return None;
    }
    let count = u64::try_from(ended.len()).ok()?;
    let began_ms = ended.first()?.began_ms;
    let took_ms = ended.last()?.ended_ms?.saturating_sub(began_ms);
    let cost = ended.iter().fold(0_u64, |sum, it| sum.saturating_add(it.cost_micros));
    let [iterations, wall_time, _, costs] = parts;
    let more = |part: &Part, spent: u64| {
        let each = (spent / count).max(1);
        part.left().filter(|_| spent > 0).map(|left| (left / each, part.name))
    };
    let left = iterations.left().map(|left| (left, iterations.name));
    let (more, name) =
        [left, more(wall_time, took_ms), more(costs, cost)].into_iter().flatten().min()?;
    let is = if name == "iterations" { "are" } else { "is" };
    Some(match more {
        0 => format!("At the pace of its last iterations its {name} {is} about to be used up."),
        _ => format!(
            "At the pace of its last {}, its {name} {is} used up first: after about {} more.",
            text::count(count, "iteration", "iterations"),
            text::number(more)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::info;
    use super::super::iterations::{iterations, tests as told};
    use super::*;
    use rekindle_services::loops::{Status, Used, What};

    const BUDGET: Budget = Budget {
        iterations: 50,
        wall_time_ms: 6 * 3_600_000,
        attempts: None,
        cost_micros: Some(10_000_000),
    };

    fn used(iterations: u32, wall_time_ms: u64, cost_micros: u64) -> ExecutionInfo {
        let used = Used { iterations, attempts: 1, cost_micros, wall_time_ms };
        ExecutionInfo { used, charged: used, ..info(Status::Running) }
    }

    /// Numbers are text, bars are shares, and what has no limit says so.
    ///
    /// proves: L9, L11
    #[test]
    fn a_budget_burns_down() {
        let text = bars(&used(12, 3_600_000, 9_500_000), &BUDGET, &[]).into_string();
        for part in [
            "<b>12</b> of 50<span class=\"quiet\"> · 38 left",
            "aria-label=\"iterations: 24 % used\"",
            "<b>1 h 0 m</b> of 6 h 0 m<span class=\"quiet\"> · 5 h 0 m left",
            "<b>1</b><span class=\"quiet\"> · no limit",
            "<rect class=\"used warn\" x=\"0\" y=\"0\" width=\"950\"",
            "<b>9.5</b> of 10<span class=\"quiet\"> · 0.5 left",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(text.matches("<svg").count(), 3);
        assert!(!text.contains("anew"), "{text}");
        let over = bars(&used(u32::MAX, u64::MAX, u64::MAX), &BUDGET, &[]).into_string();
        assert!(over.contains("width=\"1000\"") && over.contains("used bad"), "{over}");
    }

    /// What was used before a retry is told, and no part of the bar.
    #[test]
    fn a_retry_begins_the_budget_anew() {
        let charged = Used { iterations: 2, ..Used::default() };
        let one = ExecutionInfo { charged, ..used(60, 9_000, 1_500_000) };
        let text = bars(&one, &BUDGET, &[]).into_string();
        assert!(text.contains("<b>2</b> of 50"), "{text}");
        assert!(text.contains("iterations 58, wall time 9 s, attempts charged 1, cost 1.5."));
    }

    /// What ends first is told by the pace of the last iterations, and not by a guess.
    #[test]
    fn what_is_used_up_first() {
        let events: Vec<What> = (1..=5).flat_map(|n| told::checked(n, 1)).collect();
        let all = iterations(&told::numbered(1, events), 1);
        let words = |info: &ExecutionInfo| first(info, &parts(info, &BUDGET), &all);
        // Each costs 0.5.
        let text = words(&used(5, 19_000, 2_500_000)).unwrap();
        assert!(text.contains("its cost is used up first: after about 15 more"), "{text}");
        let text = words(&used(49, 19_000, 2_500_000)).unwrap();
        assert!(text.contains("iterations are used up first: after about 1 more"), "{text}");
        let text = words(&used(5, BUDGET.wall_time_ms - 1, 0)).unwrap();
        assert!(text.contains("wall time is about to be used up"), "{text}");
        assert_eq!(words(&info(Status::Completed)), None);
        assert_eq!(first(&used(5, 0, 0), &parts(&used(5, 0, 0), &BUDGET), &all[..2]), None);
    }
}
