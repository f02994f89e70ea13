//! What is proved of executions: their table of transitions, and short lives.

use std::collections::BTreeMap;

use super::event::{Decision, Event, Outcome, PlanRef, Reason, Report, StepRef, What};
use super::id::LoopId;
use super::next::{Next, next};
use super::plan::{Budget, Spec, Step};
use super::plan_tests::spec;
use super::state::{Execution, Status};

pub(super) fn who() -> String {
    "ada".to_owned()
}

/// A plan with one spec.
pub(super) fn some_plan() -> Box<PlanRef> {
    Box::new(PlanRef {
        id: LoopId::new(1_700_000_000_000, [7; 10]),
        name: "plan".to_owned(),
        description: String::new(),
        parallel: 1,
        specs: 1,
        index: 0,
        who: who(),
    })
}

fn step(iteration: u32, step: u32, attempt: u32) -> StepRef {
    StepRef { iteration, step, attempt }
}

/// A spec whose run must not be done twice, with two checks that may.
pub(super) fn two_checks() -> Spec {
    let check = Step { argv: vec!["true".to_owned()], idempotent: true, time_limit_ms: 1_000 };
    Spec { checks: vec![check; 2], ..spec("a", &[]) }
}

fn ended(step: StepRef, code: i32) -> What {
    What::StepEnded {
        step,
        outcome: Outcome::Exited(code),
        report: Report::default(),
        output: String::new(),
    }
}

/// An execution, and the events that made it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) now_ms: u64,
    pub(super) events: Vec<Event>,
    pub(super) execution: Execution,
}

impl Life {
    pub(super) fn of(spec: Spec) -> Self {
        Self::made(spec, false, false)
    }

    fn made(spec: Spec, draft: bool, blocked: bool) -> Self {
        let (plan, spec) = (some_plan(), Box::new(spec));
        let what = What::Created { plan, spec, draft, blocked, fork: None };
        let event = Event { at_ms: 1_000, what };
        let execution = Execution::begin(&event).unwrap();
        Self { now_ms: 1_000, events: vec![event], execution }
    }

    pub(super) fn try_it(&mut self, what: What) -> bool {
        let event = Event { at_ms: self.now_ms, what };
        let before = self.execution.clone();
        let done = self.execution.apply(&event).is_ok();
        if done {
            self.events.push(event);
        } else {
            assert_eq!(before, self.execution, "what is refused changes nothing");
        }
        done
    }

    pub(super) fn happens(&mut self, what: What) -> &mut Self {
        assert!(self.try_it(what.clone()), "{what:?} to {:?}", self.status());
        self
    }

    pub(super) fn status(&self) -> Status {
        self.execution.status(self.now_ms)
    }

    pub(super) fn next(&self) -> Next {
        next(&self.execution, self.now_ms)
    }

    /// Goes through one iteration with these codes.
    fn iteration(&mut self, codes: &[i32]) -> &mut Self {
        for code in codes {
            if let Next::Wait(at_ms) = self.next() {
                self.now_ms = at_ms;
            }
            let Next::Step(step) = self.next() else { panic!("{:?}", self.next()) };
            self.happens(What::StepStarted(step)).happens(ended(step, *code));
        }
        self
    }
}

/// One execution in each status.
fn in_each_status() -> BTreeMap<Status, Life> {
    let unknown = Reason::Unknown { step: step(1, 0, 1), why: "a crash".to_owned() };
    let report = Report { resume_at_ms: Some(90_000), ..Report::default() };
    let outcome = Outcome::Exited(0);
    let running = || {
        let mut life = Life::of(two_checks());
        life.happens(What::StepStarted(step(1, 0, 1)));
        life
    };
    let mut all = BTreeMap::new();
    let mut is = |status: Status, life: &Life| {
        assert_eq!(life.status(), status);
        all.insert(status, life.clone());
    };
    is(Status::Draft, &Life::made(two_checks(), true, true));
    is(Status::Blocked, &Life::made(two_checks(), false, true));
    is(Status::Pending, &Life::of(two_checks()));
    is(Status::Running, &running());
    is(Status::Paused, Life::of(two_checks()).happens(What::Paused { who: who() }));
    let waits = What::StepEnded { step: step(1, 0, 1), outcome, report, output: String::new() };
    is(Status::Waiting, running().happens(waits));
    is(Status::NeedsReview, running().happens(What::SetAside { reason: unknown }));
    let completed = Life::of(two_checks()).iteration(&[0, 0, 0]).happens(What::Completed).clone();
    is(Status::Completed, &completed);
    is(Status::Failed, Life::of(two_checks()).happens(What::Failed { why: "so".to_owned() }));
    is(Status::Cancelled, Life::of(two_checks()).happens(What::Cancelled { who: who() }));
    assert_eq!(all.len(), Status::ALL.len());
    all
}

/// Every pair of a status and an event is decided: these are all that are allowed.
///
/// proves: L1
#[test]
fn every_transition_has_its_cause() {
    let first = step(1, 0, 1);
    let why = || "why".to_owned();
    let events = [
        ("approved", What::Approved { who: who() }),
        ("unblocked", What::Unblocked),
        ("step_started", What::StepStarted(first)),
        ("step_ended", ended(first, 0)),
        ("step_not_begun", What::StepNotBegun(first)),
        ("step_lost", What::StepLost { step: first, why: why() }),
        ("set_aside", What::SetAside { reason: Reason::Unknown { step: first, why: why() } }),
        ("stuck", What::SetAside { reason: Reason::Stuck { iterations: 3 } }),
        ("go_on", What::Decided { decision: Decision::GoOn, who: who(), why: why() }),
        ("done", What::Decided { decision: Decision::Done, who: who(), why: why() }),
        ("fail", What::Decided { decision: Decision::Fail, who: who(), why: why() }),
        ("interrupted", What::Interrupted { cause: "server_crash".to_owned() }),
        ("paused", What::Paused { who: who() }),
        ("resumed", What::Resumed { who: who() }),
        ("completed", What::Completed),
        ("failed", What::Failed { why: why() }),
        ("cancelled", What::Cancelled { who: who() }),
        ("retried", What::Retried { who: who() }),
    ];
    for (_, what) in &events {
        assert_eq!(serde_json::to_value(what).unwrap()["event"], what.word());
    }
    let mut allowed = Vec::new();
    for (status, life) in in_each_status() {
        let mut of_status = Vec::new();
        for (name, what) in &events {
            let mut life = life.clone();
            if life.try_it(what.clone()) {
                of_status.push(format!("{name} {}", life.status()));
            }
        }
        allowed.push(format!("{status}: {}", of_status.join(", ")));
    }
    let always = |status: &str| {
        format!(
            "stuck needs_review, interrupted {status}, paused paused, failed failed, \
                 cancelled cancelled"
        )
    };
    assert_eq!(
        allowed,
        [
            format!("draft: approved blocked, unblocked draft, {}", always("draft")),
            format!("pending: step_started running, {}", always("pending")),
            "running: step_ended pending, step_not_begun pending, set_aside needs_review, \
             interrupted running, paused running"
                .to_owned(),
            "paused: stuck needs_review, interrupted paused, resumed pending, failed failed, \
             cancelled cancelled"
                .to_owned(),
            format!("blocked: unblocked pending, {}", always("blocked")),
            format!("waiting: {}", always("waiting")),
            "completed: ".to_owned(),
            "failed: retried pending".to_owned(),
            "cancelled: retried pending".to_owned(),
            "needs_review: go_on pending, done pending, fail failed, interrupted needs_review, \
             paused needs_review, failed failed, cancelled cancelled"
                .to_owned(),
        ]
    );
}

/// Run, checks in their order, the next iteration behind the first that fails.
#[test]
fn iterations_go_on_until_the_checks_pass() {
    let mut life = Life::of(two_checks());
    life.iteration(&[0, 1]);
    assert_eq!(life.next(), Next::Step(step(2, 0, 1)));
    life.iteration(&[0, 0, 7]);
    life.iteration(&[2]);
    // A run that went wrong waits before the next; a check does not.
    assert_eq!((life.status(), life.next()), (Status::Waiting, Next::Wait(2_000)));
    life.iteration(&[0, 0, 0]);
    assert_eq!((life.status(), life.next()), (Status::Pending, Next::Complete));
    assert_eq!(life.execution.used(life.now_ms).iterations, 4);
    life.happens(What::Completed);
    assert_eq!(life.next(), Next::Nothing);
}

/// An end that is not known: what may be done twice is done again, the rest waits for a person.
///
/// proves: L7
#[test]
fn unknown_ends_are_repeated_or_reviewed() {
    let mut life = Life::of(two_checks());
    let run = step(1, 0, 1);
    life.happens(What::StepStarted(run));
    assert!(!life.try_it(What::StepLost { step: run, why: String::new() }), "it must not be");
    let unknown = Reason::Unknown { step: run, why: "its shim died".to_owned() };
    life.happens(What::SetAside { reason: unknown.clone() });
    assert_eq!((life.next(), life.execution.review()), (Next::Nothing, Some(&unknown)));
    let decided =
        |decision| What::Decided { decision, who: "ada".to_owned(), why: "looked".to_owned() };
    let mut again = life.clone();
    again.happens(decided(Decision::GoOn));
    assert_eq!(again.next(), Next::Step(step(1, 0, 2)));
    life.happens(decided(Decision::Done));
    let check = step(1, 1, 1);
    assert_eq!(life.next(), Next::Step(check));
    life.happens(What::StepStarted(check));
    life.happens(What::StepLost { step: check, why: String::new() });
    assert_eq!(life.next(), Next::Step(step(1, 1, 2)));
    // One that is proved not to have begun is begun as if for the first time.
    life.happens(What::StepStarted(step(1, 1, 2))).happens(What::StepNotBegun(step(1, 1, 2)));
    assert_eq!(life.next(), Next::Step(step(1, 1, 2)));
}

/// Each part of a budget ends an execution, and a retry has all of it again; what was used stays.
///
/// proves: L9
#[test]
fn budgets_end() {
    let of = |budget: Budget| Life::of(Spec { budget, ..two_checks() });
    let mut by_iterations = of(Budget { iterations: 2, ..Budget::default() });
    by_iterations.iteration(&[0, 1]).iteration(&[0, 1]);
    let failed = |life: &Life, why: &str| assert_eq!(life.next(), Next::Fail(why.to_owned()));
    failed(&by_iterations, "its 2 iterations are used up");
    by_iterations.happens(What::Failed { why: String::new() });
    by_iterations.happens(What::Retried { who: who() });
    assert_eq!(by_iterations.next(), Next::Step(step(3, 0, 1)));
    by_iterations.iteration(&[0, 1]).iteration(&[0, 1]);
    failed(&by_iterations, "its 2 iterations are used up");
    assert_eq!(by_iterations.execution.used(by_iterations.now_ms).iterations, 4);

    let mut by_time = of(Budget { wall_time_ms: 10_000, ..Budget::default() });
    by_time.iteration(&[0, 1]);
    by_time.now_ms += 4_000;
    by_time.happens(What::Paused { who: who() });
    by_time.now_ms += 100_000;
    by_time.happens(What::Resumed { who: who() });
    by_time.now_ms += 5_999;
    assert_eq!(by_time.next(), Next::Step(step(2, 0, 1)));
    by_time.now_ms += 1;
    failed(&by_time, "its wall time of 10000 ms is used up");

    let mut by_attempts = of(Budget { attempts: Some(2), ..Budget::default() });
    let interrupted = || What::Interrupted { cause: "server_crash".to_owned() };
    by_attempts.happens(interrupted()).iteration(&[0, 1]).happens(interrupted());
    failed(&by_attempts, "its 2 attempts are used up");

    let mut by_cost = of(Budget { cost_micros: Some(1_500_000), ..Budget::default() });
    by_cost.happens(What::StepStarted(step(1, 0, 1)));
    let report = Report { cost_micros: 1_600_000, ..Report::default() };
    let outcome = Outcome::Exited(0);
    by_cost.happens(What::StepEnded {
        step: step(1, 0, 1),
        outcome,
        report,
        output: String::new(),
    });
    failed(&by_cost, "its cost of 1.5 is used up: 1.6");
}

/// What is proved not to have begun is as if it had not been started, in the last iteration too.
#[test]
fn not_begun_is_not_charged() {
    let mut life =
        Life::of(Spec { budget: Budget { iterations: 1, ..Budget::default() }, ..two_checks() });
    let run = step(1, 0, 1);
    life.happens(What::StepStarted(run)).happens(What::StepNotBegun(run));
    assert_eq!(life.next(), Next::Step(run));
    life.iteration(&[0, 1]);
    assert!(matches!(life.next(), Next::Fail(_)));
}

/// The time that a person takes is not its own.
#[test]
fn a_review_does_not_use_its_time() {
    let budget = Budget { wall_time_ms: 10_000, ..Budget::default() };
    let mut life = Life::of(Spec { budget, ..two_checks() });
    let run = step(1, 0, 1);
    life.happens(What::StepStarted(run)).happens(What::Paused { who: who() });
    life.now_ms += 4_000;
    assert_eq!(life.execution.used(life.now_ms).wall_time_ms, 4_000, "it runs to its end");
    let reason = Reason::Unknown { step: run, why: String::new() };
    life.happens(What::SetAside { reason }).happens(What::Resumed { who: who() });
    life.now_ms += 100_000;
    let (decision, why) = (Decision::Done, String::new());
    life.happens(What::Decided { decision, who: who(), why });
    assert_eq!(life.execution.used(life.now_ms).wall_time_ms, 4_000);
    assert_eq!(life.next(), Next::Step(step(1, 1, 1)));
}

/// One that was cancelled while it waited for others can be tried again when they are completed.
#[test]
fn what_is_unblocked_while_it_is_over_is_not_blocked_later() {
    let mut life = Life::made(two_checks(), false, true);
    life.happens(What::Cancelled { who: who() }).happens(What::Unblocked);
    assert_eq!(life.status(), Status::Cancelled);
    life.happens(What::Retried { who: who() });
    assert_eq!(life.status(), Status::Pending);
}

/// A rate limit that is told with the last check holds up nothing.
#[test]
fn what_passed_does_not_wait() {
    let mut life = Life::of(two_checks());
    life.iteration(&[0, 0]);
    let last = step(1, 2, 1);
    let report = Report { resume_at_ms: Some(u64::MAX), ..Report::default() };
    life.happens(What::StepStarted(last));
    life.happens(What::StepEnded {
        step: last,
        outcome: Outcome::Exited(0),
        report,
        output: String::new(),
    });
    assert_eq!(life.next(), Next::Complete);
    life.happens(What::Completed);
}

/// A wait ends with the wall time at the latest.
#[test]
fn a_wait_does_not_outlive_the_budget() {
    let budget = Budget { wall_time_ms: 10_000, ..Budget::default() };
    let mut life = Life::of(Spec { budget, ..two_checks() });
    life.happens(What::StepStarted(step(1, 0, 1)));
    let report = Report { resume_at_ms: Some(500_000), ..Report::default() };
    let outcome = Outcome::Exited(0);
    life.happens(What::StepEnded { step: step(1, 0, 1), outcome, report, output: String::new() });
    assert_eq!((life.status(), life.next()), (Status::Waiting, Next::Wait(11_000)));
}

/// Progress counts by iterations; what does not come further for so long is a person's.
#[test]
fn no_progress_is_stuck() {
    let mut life = Life::of(Spec { stuck_after: Some(2), ..two_checks() });
    let iterate = |life: &mut Life, progress: Option<u64>| {
        let Next::Step(run) = life.next() else { panic!("{:?}", life.next()) };
        let report = Report { progress_micros: progress, ..Report::default() };
        life.happens(What::StepStarted(run));
        life.happens(What::StepEnded {
            step: run,
            outcome: Outcome::Exited(0),
            report,
            output: String::new(),
        });
        life.iteration(&[1]);
    };
    for progress in [Some(1), Some(1), Some(2), None] {
        iterate(&mut life, progress);
    }
    assert!(matches!(life.next(), Next::Step(_)));
    iterate(&mut life, Some(2));
    let stuck = Reason::Stuck { iterations: 2 };
    assert_eq!(life.next(), Next::Ask(stuck.clone()));
    life.happens(What::SetAside { reason: stuck });
    let (decision, why) = (Decision::GoOn, String::new());
    life.happens(What::Decided { decision, who: who(), why });
    assert!(matches!(life.next(), Next::Step(_)));
}

/// Three losses in a row without an end between them are a person's, whatever the budget says.
#[test]
fn losses_in_a_row_are_reviewed() {
    let mut life = Life::of(two_checks());
    let interrupted = || What::Interrupted { cause: "server_crash".to_owned() };
    life.happens(interrupted()).happens(interrupted()).iteration(&[0]);
    life.happens(interrupted()).happens(interrupted());
    assert!(matches!(life.next(), Next::Step(_)));
    life.happens(interrupted());
    assert_eq!(life.next(), Next::Ask(Reason::Crashes { times: 3 }));
}

/// What a transcript shows: one line, one event, its name first seen by `jq .event`.
#[test]
fn events_are_lines_of_json() {
    let line = |what: What| serde_json::to_string(&Event { at_ms: 5, what }).unwrap();
    assert_eq!(
        line(ended(step(2, 1, 1), 3)),
        concat!(
            r#"{"at_ms":5,"event":"step_ended","iteration":2,"step":1,"attempt":1,"#,
            r#""outcome":{"exited":3}}"#
        )
    );
    let reason = Reason::Unknown { step: step(1, 0, 1), why: "so".to_owned() };
    assert_eq!(
        line(What::SetAside { reason }),
        concat!(
            r#"{"at_ms":5,"event":"set_aside","reason":"unknown","iteration":1,"step":0,"#,
            r#""attempt":1,"why":"so"}"#
        )
    );
    assert_eq!(line(What::Completed), r#"{"at_ms":5,"event":"completed"}"#);
}
