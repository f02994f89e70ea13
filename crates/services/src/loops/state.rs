//! How an execution stands, and what can become of it: all statuses, all transitions, each with
//! the event that is its cause. Pure.
//!
//! ```text
//! draft ─approved─▶ blocked ─unblocked─▶ pending ◀──────────────┐
//!                                          │ step_started       │ step_ended, step_lost,
//!                                          ▼                    │ step_not_begun
//!                                       running ────────────────┤
//!                                          │ resume_at          │
//!                                          └────────▶ waiting ──┘
//! paused, resumed, set_aside, decided, cancelled, failed: from whatever is not over
//! ```
//! Invariants: nothing but [`Execution::apply`] changes an execution; a status is not kept, it
//! follows from what happened ([`Execution::status`]); what was used is never given back.

mod fork;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::loops::event::{Decision, Event, Reason, Report, StepRef, What};
use crate::loops::plan::{Spec, Step};
pub use crate::loops::status::Status;
pub use fork::ForkPoint;

/// The pause after the first run that did not end well, milliseconds; it doubles.
const PAUSE_MS: u64 = 1_000;
/// The longest of these.
const PAUSE_MS_MAX: u64 = 60_000;

/// What an execution used so far; none of it ever becomes less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Iterations that were begun.
    pub iterations: u32,
    /// Charged attempts.
    pub attempts: u32,
    /// Reported cost, in millionths.
    pub cost_micros: u64,
    /// Milliseconds from its first step on, without those that it waited for a person: paused, or
    /// under review.
    pub wall_time_ms: u64,
}

/// How long it waits after so many runs in a row that did not end well, milliseconds.
fn pause_ms(failures: u32) -> Option<u64> {
    let doublings = failures.checked_sub(1)?;
    let pause_ms = PAUSE_MS.checked_shl(doublings).filter(|_| doublings < u64::BITS / 2);
    Some(pause_ms.map_or(PAUSE_MS_MAX, |pause_ms| pause_ms.min(PAUSE_MS_MAX)))
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Completed,
    Failed,
    Cancelled,
}

/// An execution, as its events made it. Persisted but for its spec: names are stable, new ones have
/// defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    #[serde(skip)]
    spec: Arc<Spec>,
    draft: bool,
    blocked: bool,
    ended: Option<End>,
    review: Option<Reason>,
    paused: bool,
    in_flight: Option<StepRef>,
    /// What comes next.
    next: StepRef,
    /// Everything passed in the iteration of `next`.
    passed: bool,
    used: Used,
    /// What had been used when its budget began anew.
    forgiven: Used,
    /// Up to when its wall time is counted; `None` before its first step.
    counted_ms: Option<u64>,
    resume_at_ms: Option<u64>,
    best_micros: Option<u64>,
    /// This iteration came further than any before.
    improved: bool,
    /// Iterations in a row that did not.
    unimproved: u32,
    /// Runs in a row that did not end well.
    failures: u32,
    /// Losses in a row of whoever worked on it.
    crashes: u32,
}

/// Why an event cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Execution {
    /// An execution as it begins; `None`: this is not how one begins.
    #[must_use]
    pub fn begin(event: &Event) -> Option<Self> {
        let What::Created { spec, draft, blocked, fork, .. } = &event.what else { return None };
        let begins = match fork {
            Some(fork) => fork.begins()?,
            None => Self::unused(),
        };
        let spec = Arc::new((**spec).clone());
        Some(Self { spec, draft: *draft, blocked: *blocked, ..begins })
    }

    /// One to which nothing happened, without its spec.
    fn unused() -> Self {
        Self {
            spec: Arc::default(),
            draft: false,
            blocked: false,
            ended: None,
            review: None,
            paused: false,
            in_flight: None,
            next: StepRef { iteration: 1, step: 0, attempt: 1 },
            passed: false,
            used: Used::default(),
            forgiven: Used::default(),
            counted_ms: None,
            resume_at_ms: None,
            best_micros: None,
            improved: false,
            unimproved: 0,
            failures: 0,
            crashes: 0,
        }
    }

    /// The same, of a spec that was read elsewhere.
    #[must_use]
    pub(crate) fn with_spec(self, spec: Arc<Spec>) -> Self {
        Self { spec, ..self }
    }

    /// How it stands at this log time.
    #[must_use]
    pub fn status(&self, now_ms: u64) -> Status {
        match self.ended {
            Some(End::Completed) => return Status::Completed,
            Some(End::Failed) => return Status::Failed,
            Some(End::Cancelled) => return Status::Cancelled,
            None => {}
        }
        if self.in_flight.is_some() {
            Status::Running
        } else if self.review.is_some() {
            Status::NeedsReview
        } else if self.paused {
            Status::Paused
        } else if self.draft {
            Status::Draft
        } else if self.blocked {
            Status::Blocked
        } else if self.resume_at_ms.is_some_and(|at_ms| at_ms > now_ms) {
            Status::Waiting
        } else {
            Status::Pending
        }
    }

    /// What it is to do.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The step that was begun, while its end is not known.
    #[must_use]
    pub fn in_flight(&self) -> Option<StepRef> {
        self.in_flight
    }

    /// What a person has to decide about.
    #[must_use]
    pub fn review(&self) -> Option<&Reason> {
        self.review.as_ref()
    }

    /// Whether a person paused it; a step that was begun still goes on to its end.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether a person has to approve it before it runs.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.draft
    }

    /// Whether specs that it needs are not completed.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The furthest that it came, in millionths.
    #[must_use]
    pub fn best_micros(&self) -> Option<u64> {
        self.best_micros
    }

    /// What it used, up to this log time.
    #[must_use]
    pub fn used(&self, now_ms: u64) -> Used {
        let mut used = self.used;
        // A person's time is not its own, but what runs uses what it uses.
        let waits_for_a_person = self.paused || self.review.is_some();
        if self.ended.is_none() && (self.in_flight.is_some() || !waits_for_a_person) {
            let since = self.counted_ms.map_or(0, |counted| now_ms.saturating_sub(counted));
            used.wall_time_ms = used.wall_time_ms.saturating_add(since);
        }
        used
    }

    /// What of it counts against its budget.
    pub(super) fn charged(&self, now_ms: u64) -> Used {
        let (used, forgiven) = (self.used(now_ms), self.forgiven);
        Used {
            iterations: used.iterations.saturating_sub(forgiven.iterations),
            attempts: used.attempts.saturating_sub(forgiven.attempts),
            cost_micros: used.cost_micros.saturating_sub(forgiven.cost_micros),
            wall_time_ms: used.wall_time_ms.saturating_sub(forgiven.wall_time_ms),
        }
    }

    pub(super) fn next_step(&self) -> StepRef {
        self.next
    }

    pub(super) fn has_passed(&self) -> bool {
        self.passed
    }

    pub(super) fn resume_at_ms(&self) -> Option<u64> {
        self.resume_at_ms
    }

    pub(super) fn unimproved(&self) -> u32 {
        self.unimproved
    }

    pub(super) fn crashes(&self) -> u32 {
        self.crashes
    }

    /// The definition of a step; `None`: the spec has no such one.
    #[must_use]
    pub fn step(&self, step: u32) -> Option<&Step> {
        match step.checked_sub(1) {
            None => Some(&self.spec.run),
            Some(check) => self.spec.checks.get(usize::try_from(check).ok()?),
        }
    }

    /// Has this happen.
    ///
    /// # Errors
    /// It cannot be as the execution stands; nothing is changed.
    pub fn apply(&mut self, event: &Event) -> Result<(), Refused> {
        let mut after = self.clone();
        after.change(event)?;
        *self = after;
        Ok(())
    }

    /// The same; what is refused may have changed a part.
    fn change(&mut self, event: &Event) -> Result<(), Refused> {
        let status = self.status(event.at_ms);
        let refused = |why: &str| Err(Refused(format!("it is {status}: {why}")));
        self.count(event.at_ms);
        match &event.what {
            What::Created { .. } => return refused("it was made before"),
            What::Retried { .. } if matches!(status, Status::Failed | Status::Cancelled) => {
                self.retry();
            }
            // Also of one that may be tried again.
            What::Unblocked if self.blocked => self.blocked = false,
            _ if status.is_finished() => return refused("nothing happens to it any more"),
            What::Approved { .. } if self.draft => self.draft = false,
            What::StepStarted(step) => {
                if status != Status::Pending || self.passed || *step != self.next {
                    return refused("this is not the step that comes next");
                }
                self.start(*step, event.at_ms);
            }
            What::StepEnded { step, outcome, report, .. } => {
                self.take(*step, status)?;
                self.report(report);
                if outcome.is_well() {
                    self.crashes = 0;
                }
                self.end_step(outcome.is_well());
                if let Some(pause_ms) = pause_ms(self.failures).filter(|_| step.step == 0) {
                    let at_ms = event.at_ms.saturating_add(pause_ms);
                    self.resume_at_ms = self.resume_at_ms.max(Some(at_ms));
                }
            }
            What::StepNotBegun(step) => self.take(*step, status)?,
            What::StepLost { step, .. } => {
                if !self.step(step.step).is_some_and(|step| step.idempotent) {
                    return refused("this step must not be done twice");
                }
                self.take(*step, status)?;
                self.next.attempt = step.attempt.saturating_add(1);
            }
            What::SetAside { reason } if self.may_be_asked(reason) => {
                match reason {
                    Reason::Unknown { step, .. } => self.take(*step, status)?,
                    // What is left of a step comes to its end, or that is not known either.
                    Reason::Interrupted { .. } | Reason::Rebuilt { .. } => {}
                    _ if self.in_flight.is_some() => return refused("a step is not over"),
                    Reason::Stuck { .. } | Reason::Crashes { .. } => {}
                }
                self.review = Some(reason.clone());
            }
            What::Decided { .. } if self.in_flight.is_some() => {
                return refused("a step is not over");
            }
            What::Decided { decision, .. } => self.decide(*decision, status)?,
            What::Interrupted { .. } => {
                self.used.attempts = self.used.attempts.saturating_add(1);
                self.crashes = self.crashes.saturating_add(1);
            }
            What::Paused { .. } if !self.paused => self.paused = true,
            What::Resumed { .. } if self.paused => self.paused = false,
            What::Completed if self.passed && status == Status::Pending => {
                self.ended = Some(End::Completed);
            }
            What::Failed { .. } if self.in_flight.is_none() => self.ended = Some(End::Failed),
            What::Cancelled { .. } if self.in_flight.is_none() => self.ended = Some(End::Cancelled),
            _ => return refused("that cannot happen to it now"),
        }
        Ok(())
    }

    /// Whether a person can be asked about this: one thing at a time, but for a step whose end is
    /// not known.
    fn may_be_asked(&self, reason: &Reason) -> bool {
        match &self.review {
            None => true,
            Some(Reason::Interrupted { .. } | Reason::Rebuilt { .. }) => {
                matches!(reason, Reason::Unknown { .. })
            }
            Some(_) => false,
        }
    }

    /// Counts its wall time up to now.
    fn count(&mut self, now_ms: u64) {
        self.used = self.used(now_ms);
        self.counted_ms = self.counted_ms.map(|counted| counted.max(now_ms));
    }

    fn start(&mut self, step: StepRef, now_ms: u64) {
        if step.step == 0 && step.attempt == 1 {
            self.used.iterations = self.used.iterations.max(step.iteration);
            self.improved = false;
        }
        self.counted_ms.get_or_insert(now_ms);
        self.resume_at_ms = None;
        self.in_flight = Some(step);
    }

    /// Takes the step that was begun: it must be this one.
    fn take(&mut self, step: StepRef, status: Status) -> Result<(), Refused> {
        if self.in_flight != Some(step) {
            return Err(Refused(format!("it is {status}: this step was not begun, or is over")));
        }
        self.in_flight = None;
        Ok(())
    }

    fn report(&mut self, report: &Report) {
        self.used.cost_micros = self.used.cost_micros.saturating_add(report.cost_micros);
        self.resume_at_ms = report.resume_at_ms;
        if let Some(progress) = report.progress_micros
            && self.best_micros.is_none_or(|best| progress > best)
        {
            self.best_micros = Some(progress);
            self.improved = true;
        }
    }

    /// The step that comes next ended, well or not.
    fn end_step(&mut self, well: bool) {
        let checks = u32::try_from(self.spec.checks.len()).unwrap_or(u32::MAX);
        let StepRef { iteration, step, .. } = self.next;
        if step == 0 {
            self.failures = if well { 0 } else { self.failures.saturating_add(1) };
        }
        let is_last = step >= checks;
        if !well || is_last {
            self.unimproved = if self.improved { 0 } else { self.unimproved.saturating_add(1) };
        }
        self.passed = well && is_last;
        if self.passed {
            // Nothing comes that would have to wait.
            self.resume_at_ms = None;
        }
        self.next = match (well, is_last) {
            (true, true) => self.next,
            (true, false) => StepRef { iteration, step: step + 1, attempt: 1 },
            (false, _) => StepRef { iteration: iteration.saturating_add(1), step: 0, attempt: 1 },
        };
    }

    fn decide(&mut self, decision: Decision, status: Status) -> Result<(), Refused> {
        let Some(reason) = &self.review else {
            return Err(Refused(format!("it is {status}: nothing waits for a decision")));
        };
        match (decision, reason) {
            (Decision::Fail, _) => self.ended = Some(End::Failed),
            (Decision::GoOn, Reason::Unknown { step, .. }) => {
                self.next.attempt = step.attempt.saturating_add(1);
            }
            (Decision::GoOn, Reason::Stuck { .. }) => self.unimproved = 0,
            (Decision::GoOn, _) => {}
            (Decision::Done, Reason::Unknown { .. }) => self.end_step(true),
            (Decision::Done, _) => {
                let text = "no step waits for a decision, so none can be called done";
                return Err(Refused(text.to_owned()));
            }
        }
        self.review = None;
        self.crashes = 0;
        Ok(())
    }

    /// Begins again behind what was done, with the whole budget.
    fn retry(&mut self) {
        self.ended = None;
        self.review = None;
        self.passed = false;
        self.forgiven = self.used;
        self.paused = false;
        self.resume_at_ms = None;
        (self.unimproved, self.failures, self.crashes) = (0, 0, 0);
        let begun = self.used.iterations;
        self.next = StepRef { iteration: begun.saturating_add(1), step: 0, attempt: 1 };
    }
}
