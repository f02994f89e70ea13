//! What is to be done with an execution: the one place where budgets, progress and pauses are
//! weighed. Pure.

use crate::claims::CRASHES_MAX;
use crate::loops::event::{Reason, StepRef};
use crate::loops::state::{Execution, Status};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, before something happens to it.
    Nothing,
    /// Nothing before this log time.
    Wait(u64),
    /// This step begins.
    Step(StepRef),
    /// It is completed.
    Complete,
    /// It is given up: why.
    Fail(String),
    /// A person is asked.
    Ask(Reason),
}

/// What is to be done with it at this log time.
#[must_use]
pub fn next(execution: &Execution, now_ms: u64) -> Next {
    let status = execution.status(now_ms);
    if !matches!(status, Status::Pending | Status::Waiting) {
        return Next::Nothing;
    }
    if execution.has_passed() {
        return Next::Complete;
    }
    if usize::try_from(execution.crashes()).is_ok_and(|times| times >= CRASHES_MAX) {
        return Next::Ask(Reason::Crashes { times: execution.crashes() });
    }
    let step = execution.next_step();
    // One that was begun before, and proved not to have, was counted then.
    let begins = step.iteration > execution.used(now_ms).iterations;
    if let Some(why) = used_up(execution, begins, now_ms) {
        return Next::Fail(why);
    }
    let unimproved = execution.unimproved();
    if begins && execution.spec().stuck_after.is_some_and(|after| unimproved >= after) {
        return Next::Ask(Reason::Stuck { iterations: unimproved });
    }
    match execution.resume_at_ms().filter(|at_ms| *at_ms > now_ms) {
        Some(at_ms) => Next::Wait(at_ms.min(wall_end_ms(execution, now_ms))),
        None => Next::Step(step),
    }
}

/// Which part of the budget is used up.
fn used_up(execution: &Execution, begins: bool, now_ms: u64) -> Option<String> {
    let (budget, charged) = (&execution.spec().budget, execution.charged(now_ms));
    if begins && charged.iterations >= budget.iterations {
        return Some(format!("its {} iterations are used up", budget.iterations));
    }
    if charged.wall_time_ms >= budget.wall_time_ms {
        return Some(format!("its wall time of {} ms is used up", budget.wall_time_ms));
    }
    if let Some(attempts) = budget.attempts.filter(|most| charged.attempts >= *most) {
        return Some(format!("its {attempts} attempts are used up"));
    }
    let cost = budget.cost_micros.filter(|most| charged.cost_micros >= *most)?;
    let (used, most) = (micros(charged.cost_micros), micros(cost));
    Some(format!("its cost of {most} is used up: {used}"))
}

/// When its wall time is used up, if it goes on.
fn wall_end_ms(execution: &Execution, now_ms: u64) -> u64 {
    let used = execution.charged(now_ms).wall_time_ms;
    now_ms.saturating_add(execution.spec().budget.wall_time_ms.saturating_sub(used))
}

/// Millionths as a decimal number.
fn micros(number: u64) -> String {
    let (whole, rest) = (number / 1_000_000, number % 1_000_000);
    let rest = format!("{rest:06}");
    match rest.trim_end_matches('0') {
        "" => whole.to_string(),
        rest => format!("{whole}.{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millionths_are_decimal() {
        let shown = [0, 1, 500_000, 12_000_000, 12_340_000].map(micros);
        assert_eq!(shown, ["0", "0.000001", "0.5", "12", "12.34"]);
    }
}
