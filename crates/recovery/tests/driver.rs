//! The driver: the order of the stages, their times, and that a refusal stops `act`.

use std::cell::RefCell;
use std::io;

use rekindle_env::ManualClock;
use rekindle_recovery::{
    Acked, Action, ActionKind, Failure, Finding, Label, Layer, Place, Plan, Stage, Verdict,
    examine, exit, perform,
};

/// A layer that notes what was called, and takes a millisecond for each stage.
struct Noting<'a> {
    clock: &'a ManualClock,
    kind: ActionKind,
    verdict: Option<Verdict>,
    calls: RefCell<Vec<&'static str>>,
}

impl Noting<'_> {
    fn note(&self, stage: &'static str) {
        self.calls.borrow_mut().push(stage);
        self.clock.advance_ms(1);
    }
}

impl Layer for Noting<'_> {
    const NAME: &'static str = "noting";
    type Source = u32;
    type Sink = RefCell<u32>;
    type Pieces = u32;
    type Trusted = u32;
    type Step = u32;
    type Recovered = u32;

    fn scan(&self, source: &u32) -> Result<u32, Failure> {
        self.note("scan");
        Ok(*source)
    }

    fn validate(&self, pieces: u32) -> (u32, Vec<Finding>) {
        self.note("validate");
        let finding = Finding {
            label: Label("store-1"),
            place: Place { file: "f".to_owned(), offset: 3, from: 8, to: 16 },
            verdict: self.verdict,
            acked: Acked::Unknown,
            expected: "a".to_owned(),
            found: "b".to_owned(),
        };
        (pieces + 1, vec![finding])
    }

    fn plan(&self, trusted: &u32, findings: &[Finding]) -> Plan<u32> {
        self.note("plan");
        assert_eq!(findings.len(), 1);
        let action = Action {
            kind: self.kind,
            label: Label("store-1"),
            target: "it".to_owned(),
            detail: "because".to_owned(),
        };
        Plan { steps: vec![*trusted], actions: vec![action] }
    }

    fn act(&self, trusted: u32, steps: Vec<u32>, sink: &RefCell<u32>) -> Result<u32, Failure> {
        self.note("act");
        assert_eq!(steps, [trusted]);
        *sink.borrow_mut() = trusted;
        Ok(trusted)
    }
}

fn noting(clock: &ManualClock, kind: ActionKind, verdict: Option<Verdict>) -> Noting<'_> {
    Noting { clock, kind, verdict, calls: RefCell::default() }
}

#[test]
fn stages_run_in_order_and_are_timed() {
    let clock = ManualClock::new(0);
    let layer = noting(&clock, ActionKind::Keep, None);
    let examined = examine(&layer, &4, &clock).unwrap();
    assert!(!examined.plan.refuses());
    assert!(examined.refusal().is_none());
    let sink = RefCell::new(0);
    let (recovered, report) = perform(&layer, examined, &sink, &clock).unwrap();
    assert_eq!((recovered, sink.into_inner()), (5, 5));
    assert_eq!(*layer.calls.borrow(), ["scan", "validate", "plan", "act"]);
    let stages: Vec<_> = report.stages.iter().map(|time| (time.stage, time.micros)).collect();
    let expected = [Stage::Scan, Stage::Validate, Stage::Plan, Stage::Act];
    assert_eq!(stages, expected.map(|stage| (stage, 1000)));
}

#[test]
fn a_refusal_is_never_acted_on() {
    let clock = ManualClock::new(0);
    for (verdict, code) in [(Some(Verdict::Corrupt), exit::CORRUPT), (None, exit::CONFIG)] {
        let layer = noting(&clock, ActionKind::Refuse, verdict);
        let examined = examine(&layer, &4, &clock).unwrap();
        let failure = perform(&layer, examined, &RefCell::new(0), &clock).unwrap_err();
        assert_eq!(failure.exit_code(), code);
        assert!(failure.to_string().contains("because"), "{failure}");
        assert_eq!(*layer.calls.borrow(), ["scan", "validate", "plan"]);
    }
}

#[test]
fn failures_name_their_cause_and_code() {
    let failure = Failure::io("sync /srv/data", io::Error::other("broken"));
    assert_eq!(failure.to_string(), "sync /srv/data: broken");
    assert_eq!(failure.exit_code(), exit::IO);
    assert_eq!(Failure::Locked("/srv/data".to_owned()).exit_code(), exit::LOCKED);
    assert_eq!(Failure::Refused("x".to_owned()).exit_code(), exit::CORRUPT);
    assert_eq!(Failure::Config("x".to_owned()).exit_code(), exit::CONFIG);
}

#[test]
fn findings_read_as_one_line() {
    let clock = ManualClock::new(0);
    let line = |verdict| {
        let examined = examine(&noting(&clock, ActionKind::Keep, verdict), &1, &clock).unwrap();
        examined.report.findings[0].to_string()
    };
    assert_eq!(
        line(Some(Verdict::Corrupt)),
        "store-1 corrupt: f at 3 (8..16), acked unknown: expected a, found b"
    );
    assert_eq!(line(None), "store-1 note: f at 3 (8..16): expected a, found b");
}
