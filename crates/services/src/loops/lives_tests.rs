//! What is proved of executions over random lives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::event::{Decision, Event, Outcome, Reason, Report, What};
use super::next::Next;
use super::plan::{Budget, Spec};
use super::state::{Execution, Status, Used};
use super::state_tests::{Life, two_checks, who};

/// What a random life meets, beside what is next for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fortune {
    Well,
    Badly(i32),
    Crash,
    CrashBeforeItBegan,
    Pause,
    Resume,
    Cancel,
    Retry,
    Person(Decision),
    Late(u64),
}

/// What it meets, with what the end of a step says of its cost and its progress.
pub(super) type Meets = (Fortune, u64, Option<u64>);

pub(super) fn fortunes() -> impl Strategy<Value = Vec<Meets>> {
    let fortune = prop_oneof![
        8 => Just(Fortune::Well),
        4 => (1..3).prop_map(Fortune::Badly),
        3 => Just(Fortune::Crash),
        2 => Just(Fortune::CrashBeforeItBegan),
        1 => Just(Fortune::Pause),
        2 => Just(Fortune::Resume),
        1 => Just(Fortune::Cancel),
        1 => Just(Fortune::Retry),
        3 => prop_oneof![
            Just(Decision::GoOn), Just(Decision::Done), Just(Decision::Fail)
        ].prop_map(Fortune::Person),
        2 => (0_u64..5_000).prop_map(Fortune::Late),
    ];
    proptest::collection::vec((fortune, 0_u64..300_000, proptest::option::of(0_u64..9)), 0..120)
}

pub(super) fn used_never_falls(before: Used, after: Used) -> bool {
    before.iterations <= after.iterations
        && before.attempts <= after.attempts
        && before.cost_micros <= after.cost_micros
        && before.wall_time_ms <= after.wall_time_ms
}

/// What happened in a random life, for what is promised of it.
#[derive(Default)]
struct Seen {
    /// Steps that were begun and must not be done twice.
    begun: BTreeSet<(u32, u32)>,
    /// Those that may be begun again.
    allowed: BTreeSet<(u32, u32)>,
    /// How many steps of an iteration ended well.
    well: BTreeMap<u32, u32>,
}

/// What is next for it happens.
fn goes_on(life: &mut Life, seen: &mut Seen) -> Result<(), TestCaseError> {
    match life.next() {
        Next::Wait(at_ms) => {
            prop_assert!(at_ms > life.now_ms);
            life.now_ms = at_ms;
        }
        Next::Complete => {
            let iteration = life.execution.used(life.now_ms).iterations;
            prop_assert_eq!(seen.well.get(&iteration), Some(&3));
            life.happens(What::Completed);
        }
        Next::Fail(why) => drop(life.happens(What::Failed { why })),
        Next::Ask(reason) => drop(life.happens(What::SetAside { reason })),
        Next::Step(step) => {
            let key = (step.iteration, step.step);
            let twice = life.execution.step(step.step).unwrap().idempotent;
            prop_assert!(!life.execution.is_paused() && life.execution.review().is_none());
            prop_assert!(twice || seen.begun.insert(key) || seen.allowed.remove(&key), "{step:?}");
            life.happens(What::StepStarted(step));
        }
        Next::Nothing => {}
    }
    Ok(())
}

/// What it meets happens to it.
fn meets(life: &mut Life, seen: &mut Seen, (fortune, cost_micros, progress_micros): Meets) {
    match (fortune, life.execution.in_flight()) {
        (Fortune::Well | Fortune::Badly(_), Some(step)) => {
            let code = if let Fortune::Badly(code) = fortune { code } else { 0 };
            let cost_micros = cost_micros % 7;
            let resume_at_ms = Some(life.now_ms + cost_micros * 1_000);
            let report = Report { progress_micros, cost_micros, resume_at_ms };
            let outcome = Outcome::Exited(code);
            life.happens(What::StepEnded { step, outcome, report, output: String::new() });
            if code == 0 {
                *seen.well.entry(step.iteration).or_default() += 1;
            }
        }
        (Fortune::Crash, Some(step)) => {
            life.happens(What::Interrupted { cause: "server_crash".to_owned() });
            let why = "lost".to_owned();
            if !life.try_it(What::StepLost { step, why: why.clone() }) {
                life.happens(What::SetAside { reason: Reason::Unknown { step, why } });
            }
        }
        (Fortune::CrashBeforeItBegan, Some(step)) => {
            life.happens(What::Interrupted { cause: "server_crash".to_owned() });
            life.happens(What::StepNotBegun(step));
            seen.allowed.insert((step.iteration, step.step));
        }
        (Fortune::Person(decision), _) => {
            let reason = life.execution.review().cloned();
            let decided = What::Decided { decision, who: who(), why: String::new() };
            if life.try_it(decided)
                && let Some(Reason::Unknown { step, .. }) = reason
            {
                match decision {
                    Decision::GoOn => drop(seen.allowed.insert((step.iteration, step.step))),
                    Decision::Done => *seen.well.entry(step.iteration).or_default() += 1,
                    Decision::Fail => {}
                }
            }
        }
        (Fortune::Pause, _) => drop(life.try_it(What::Paused { who: who() })),
        (Fortune::Resume, _) => drop(life.try_it(What::Resumed { who: who() })),
        (Fortune::Cancel, _) => drop(life.try_it(What::Cancelled { who: who() })),
        (Fortune::Retry, _) => drop(life.try_it(What::Retried { who: who() })),
        (Fortune::Late(ms), _) => life.now_ms += ms,
        _ => {}
    }
}

/// It goes on from where it is, and meets all this.
pub(super) fn live(life: &mut Life, fortunes: Vec<Meets>) -> Result<(), TestCaseError> {
    let mut seen = Seen::default();
    for meeting in fortunes {
        let before = life.execution.used(life.now_ms);
        goes_on(life, &mut seen)?;
        meets(life, &mut seen, meeting);
        prop_assert!(used_never_falls(before, life.execution.used(life.now_ms)));
        let running = life.execution.in_flight().is_some();
        prop_assert_eq!(running, life.status() == Status::Running);
    }
    Ok(())
}

/// A spec whose budget may be used up, and that may be stuck.
pub(super) fn some_spec() -> Spec {
    let budget = Budget { iterations: 5, cost_micros: Some(40), ..Budget::default() };
    Spec { budget, stuck_after: Some(4), ..two_checks() }
}

/// What these events make, read as text.
pub(super) fn read(events: &[Event]) -> Execution {
    let read = events.iter().map(|event| {
        let line = serde_json::to_string(event).unwrap();
        serde_json::from_str::<Event>(&line).unwrap()
    });
    let read: Vec<Event> = read.collect();
    assert_eq!(read, events);
    let mut again = Execution::begin(&read[0]).unwrap();
    for event in &read[1..] {
        again.apply(event).unwrap();
    }
    again
}

proptest! {
    /// Over random lives: what was used never falls; a step that must not be done twice is begun
    /// again only behind a person's word, or a proof that it had not begun; nothing begins while it
    /// is paused, under review or over; it is completed only behind an iteration in which all ended
    /// well; its events as text, read again, make the same execution.
    ///
    /// proves: L2, L7, L9
    #[test]
    fn random_lives_keep_their_promises(fortunes in fortunes()) {
        let mut life = Life::of(some_spec());
        live(&mut life, fortunes)?;
        prop_assert_eq!(read(&life.events), life.execution);
    }
}

/// An iteration whose run ended badly: the next one waits.
pub(super) fn one_iteration_that_failed() -> Vec<Meets> {
    vec![(Fortune::Badly(1), 0, None)]
}
