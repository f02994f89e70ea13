//! The iterations of an execution, as far as its last events tell them. Pure.
//!
//! Invariant: whatever events there are, at most [`ITERATIONS_MAX`] iterations come of them, each
//! told whole: one whose beginning is not among the events is left out, unless it is the only one.

use rekindle_services::loops::event::{Decision, Reason};
use rekindle_services::loops::{Event, Outcome, StepRef, What};

use super::words;

/// Most iterations that are shown; older ones are in the transcript.
pub(super) const ITERATIONS_MAX: usize = 240;

/// What became of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// All of it ended well.
    Passed,
    /// A check did not.
    CheckFailed,
    /// Its run did not.
    RunFailed,
    /// Nobody knows how a step of it ended; that is done again, or a person is asked.
    Unknown,
    /// It was called off.
    CalledOff,
    /// A step of it was begun.
    Running,
    /// What follows in it is not begun.
    Open,
    /// It is not begun.
    NotBegun,
}

impl Became {
    /// All of them, in the order of the legend.
    pub(super) const ALL: [Self; 8] = [
        Self::Passed,
        Self::CheckFailed,
        Self::RunFailed,
        Self::Unknown,
        Self::CalledOff,
        Self::Running,
        Self::Open,
        Self::NotBegun,
    ];

    /// Its sign, the class of its colour, and its words.
    pub(super) const fn shown(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Passed => ("✓", "ok", "passed"),
            Self::CheckFailed => ("✗", "warn", "check failed"),
            Self::RunFailed => ("✖", "bad", "run failed"),
            Self::Unknown => ("?", "lost", "lost or unknown"),
            Self::CalledOff => ("–", "off", "called off"),
            Self::Running => ("◐", "info", "running"),
            Self::Open => ("…", "info", "between steps"),
            Self::NotBegun => ("·", "later", "not begun"),
        }
    }
}

/// One iteration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::front::ui) struct Iteration {
    /// Which, from 1.
    pub(super) number: u32,
    /// The number of its first event.
    pub(super) event: u64,
    /// When it began, log time.
    pub(super) began_ms: u64,
    /// When something of it ended last.
    pub(super) ended_ms: Option<u64>,
    /// What became of it.
    pub(super) became: Became,
    /// How the last step of it ended, in words.
    pub(super) how: String,
    /// Steps of it whose ends were lost.
    pub(super) lost: u32,
    /// What it said of itself last.
    pub(super) progress_micros: Option<u64>,
    /// What it cost.
    pub(super) cost_micros: u64,
    /// Its first event is among those that were looked at.
    whole: bool,
}

impl Iteration {
    /// How long it took so far.
    pub(super) fn took_ms(&self) -> Option<u64> {
        self.ended_ms.map(|ended_ms| ended_ms.saturating_sub(self.began_ms))
    }
}

/// The iterations that these events tell, oldest first; `checks`: how many an iteration has.
pub(in crate::front::ui) fn iterations(events: &[(u64, Event)], checks: usize) -> Vec<Iteration> {
    let checks = u32::try_from(checks).unwrap_or(u32::MAX);
    let mut fold = Fold { all: vec![], checks, asked: None };
    for (number, event) in events {
        fold.take(*number, event);
    }
    let mut all = fold.all;
    if all.len() > 1 && all.first().is_some_and(|first| !first.whole) {
        all.remove(0);
    }
    let more = all.len().saturating_sub(ITERATIONS_MAX);
    all.drain(..more);
    all
}

struct Fold {
    all: Vec<Iteration>,
    checks: u32,
    /// The step about which a person was asked.
    asked: Option<StepRef>,
}

impl Fold {
    /// The iteration of a step.
    fn of(&mut self, step: StepRef, number: u64, at_ms: u64) -> &mut Iteration {
        let is_last = self.all.last().is_some_and(|last| last.number == step.iteration);
        if !is_last {
            self.all.push(Iteration {
                number: step.iteration,
                event: number,
                began_ms: at_ms,
                ended_ms: None,
                became: Became::Open,
                how: String::new(),
                lost: 0,
                progress_micros: None,
                cost_micros: 0,
                whole: false,
            });
        }
        self.all.last_mut().expect("it was just pushed, or is there")
    }

    fn take(&mut self, number: u64, event: &Event) {
        let at_ms = event.at_ms;
        match &event.what {
            What::StepStarted(step) => {
                let one = self.of(*step, number, at_ms);
                one.whole |= one.event == number && step.step == 0 && step.attempt == 1;
                one.became = Became::Running;
                one.how = words::step(step.step);
            }
            What::StepEnded { step, outcome, report, .. } => {
                let one = self.of(*step, number, at_ms);
                one.ended_ms = Some(at_ms);
                one.progress_micros = report.progress_micros.or(one.progress_micros);
                one.cost_micros = one.cost_micros.saturating_add(report.cost_micros);
                self.end(*step, Some(outcome));
            }
            What::StepNotBegun(step) => {
                let one = self.of(*step, number, at_ms);
                let first = step.step == 0 && step.attempt == 1;
                one.became = if first { Became::NotBegun } else { Became::Open };
                one.how = format!("{} had not begun", words::step(step.step));
            }
            What::StepLost { step, .. } => self.lose(*step, number, at_ms),
            What::SetAside { reason: Reason::Unknown { step, .. } } => {
                self.asked = Some(*step);
                self.lose(*step, number, at_ms);
            }
            What::Decided { decision, .. } => match (decision, self.asked.take()) {
                (Decision::Done, Some(step)) => self.end(step, None),
                (Decision::GoOn, Some(step)) => {
                    let one = self.of(step, number, at_ms);
                    one.became = Became::Open;
                    one.how = format!("{} is done again", words::step(step.step));
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// A step ended; `None`: a person says that it ended well.
    fn end(&mut self, step: StepRef, outcome: Option<&Outcome>) {
        let is_last = step.step >= self.checks;
        let Some(one) = self.all.last_mut() else { return };
        let how = outcome.map_or_else(|| "taken as done".to_owned(), words::ended);
        one.how = format!("{} {how}", words::step(step.step));
        one.became = match outcome {
            Some(Outcome::CalledOff) => Became::CalledOff,
            Some(outcome) if !outcome.is_well() && step.step == 0 => Became::RunFailed,
            Some(outcome) if !outcome.is_well() => Became::CheckFailed,
            _ if is_last => Became::Passed,
            _ => Became::Open,
        };
    }

    fn lose(&mut self, step: StepRef, number: u64, at_ms: u64) {
        let one = self.of(step, number, at_ms);
        one.lost += 1;
        one.became = Became::Unknown;
        one.how = format!("nobody knows how {} ended", words::step(step.step));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rekindle_services::loops::event::Report;

    /// Events of one second each, numbered from `first`.
    pub(in super::super) fn numbered(first: u64, all: Vec<What>) -> Vec<(u64, Event)> {
        let numbered = (first..).zip(all);
        numbered.map(|(number, what)| (number, Event { at_ms: number * 1_000, what })).collect()
    }

    pub(in super::super) fn at(iteration: u32, step: u32, attempt: u32) -> StepRef {
        StepRef { iteration, step, attempt }
    }

    pub(in super::super) fn ended(step: StepRef, outcome: Outcome) -> What {
        let report = Report {
            progress_micros: Some(u64::from(step.iteration) * 500_000),
            cost_micros: 250_000,
            ..Report::default()
        };
        What::StepEnded { step, outcome, report, output: "printed".to_owned() }
    }

    /// Iteration `n`: its run ends well, its check with this code.
    pub(in super::super) fn checked(n: u32, code: i32) -> Vec<What> {
        vec![
            What::StepStarted(at(n, 0, 1)),
            ended(at(n, 0, 1), Outcome::Exited(0)),
            What::StepStarted(at(n, 1, 1)),
            ended(at(n, 1, 1), Outcome::Exited(code)),
        ]
    }

    fn became(events: &[(u64, Event)]) -> Vec<(u32, Became)> {
        iterations(events, 1).iter().map(|it| (it.number, it.became)).collect()
    }

    /// Each way in which an iteration can go.
    ///
    /// proves: L11
    #[test]
    fn iterations_are_told_by_their_events() {
        let why = String::new;
        let mut all = checked(1, 1);
        all.push(What::StepStarted(at(2, 0, 1)));
        all.push(ended(at(2, 0, 1), Outcome::TimedOut));
        all.push(What::StepStarted(at(3, 0, 1)));
        all.push(What::StepNotBegun(at(3, 0, 1)));
        assert_eq!(became(&numbered(1, all.clone())).last(), Some(&(3, Became::NotBegun)));
        all.push(What::StepStarted(at(3, 0, 1)));
        assert_eq!(became(&numbered(1, all.clone())).last(), Some(&(3, Became::Running)));
        let step = at(3, 0, 1);
        all.push(What::SetAside { reason: Reason::Unknown { step, why: why() } });
        assert_eq!(became(&numbered(1, all.clone())).last(), Some(&(3, Became::Unknown)));
        let mut again = all.clone();
        let who = || "ada".to_owned();
        let decided = |decision| What::Decided { decision, who: who(), why: why() };
        again.push(decided(Decision::GoOn));
        assert_eq!(became(&numbered(1, again)).last(), Some(&(3, Became::Open)));
        all.push(decided(Decision::Done));
        all.push(What::StepStarted(at(3, 1, 1)));
        all.push(What::StepLost { step: at(3, 1, 1), why: why() });
        assert_eq!(became(&numbered(1, all.clone())).last(), Some(&(3, Became::Unknown)));
        all.push(What::StepStarted(at(3, 1, 2)));
        all.push(ended(at(3, 1, 2), Outcome::Exited(0)));
        all.push(What::Retried { who: who() });
        all.push(What::StepStarted(at(4, 0, 1)));
        all.push(ended(at(4, 0, 1), Outcome::CalledOff));
        let expected = [
            (1, Became::CheckFailed),
            (2, Became::RunFailed),
            (3, Became::Passed),
            (4, Became::CalledOff),
        ];
        let events = numbered(1, all);
        assert_eq!(became(&events), expected);
        let told = iterations(&events, 1);
        assert_eq!((told[0].cost_micros, told[0].took_ms()), (500_000, Some(3_000)));
        assert_eq!((told[2].lost, told[2].event), (2, 7));
        assert_eq!(told[2].how, "check 1 ended well");
        assert_eq!(told[1].how, "run ended by its time limit");
    }

    /// Of many the last are told, none of them by a part of its events only.
    #[test]
    fn a_window_tells_whole_iterations() {
        let all: Vec<What> = (1..=300).flat_map(|n| checked(n, 1)).collect();
        let events = numbered(1, all);
        let told = became(&events);
        assert_eq!(told.len(), ITERATIONS_MAX);
        assert_eq!(told.last(), Some(&(300, Became::CheckFailed)));
        let told = became(&events[events.len() - 9..]);
        assert_eq!(told.iter().map(|it| it.0).collect::<Vec<_>>(), [299, 300]);
        // The only one is told even so.
        let told = became(&events[events.len() - 1..]);
        assert_eq!(told, [(300, Became::CheckFailed)]);
        assert_eq!(became(&[]), []);
    }
}
