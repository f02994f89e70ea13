//! Executions of loops that wait for a person: what is told of them, and the decision.

use rekindle_database::Transaction;
use rekindle_recovery::Label;

use crate::audit::{self, NewAudit};
use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::loops::event::{Decision as Decided, Reason, What};
use crate::loops::id::LoopId;
use crate::loops::life::Life;
use crate::loops::{ExecutionDetail, ExecutionInfo, Shown};
use crate::review::evidence::Evidence;
use crate::review::judge::{Decision, ReviewId};
use crate::review::{Decided as Done, ReviewItem, not_waiting};

/// What waits, and what is proposed about it.
pub(super) fn terms(reason: &Reason) -> (Label, &'static str) {
    match reason {
        Reason::Unknown { .. } => {
            (Label("loop-10"), "a step began, its end is not known, and it must not be done twice")
        }
        Reason::Stuck { .. } => (Label("loop-11"), "it comes no further"),
        Reason::Crashes { .. } => (Label("loop-12"), "whoever worked on it was lost too often"),
        Reason::Rebuilt { .. } => {
            (Label("loop-18"), "it was made again from its transcript, whose end may be missing")
        }
        Reason::Interrupted { .. } => {
            (Label("loop-13"), "nothing was alive for longer than it goes on by itself")
        }
    }
}

/// What a decision means to an execution, and what comes of it in words.
fn meaning(reason: &Reason, decision: Decision) -> (Decided, &'static str) {
    match (decision, reason) {
        (Decision::Fail, _) => (Decided::Fail, "the execution has failed"),
        (Decision::Approve, Reason::Unknown { .. }) => {
            (Decided::Done, "the step is taken as done, and the execution goes on behind it")
        }
        (Decision::Retry, Reason::Unknown { .. }) => (Decided::GoOn, "the step is done again"),
        _ => (Decided::GoOn, "the execution goes on"),
    }
}

/// One that waits, as a list has it.
pub(super) fn item(info: &ExecutionInfo, since_ms: u64) -> Option<ReviewItem> {
    let (label, found) = terms(info.review.as_ref()?);
    Some(ReviewItem {
        id: ReviewId::Execution(info.id),
        label: label.0,
        queue: None,
        job_type: None,
        spec: Some(info.spec.clone()),
        found,
        since_ms,
        decisions: Decision::ALL.to_vec(),
    })
}

/// The same with its evidence; `None`: it waits no longer.
pub(super) fn show(core: &Core, id: LoopId) -> Result<Option<ExecutionDetail>, Error> {
    let Shown::Execution(detail) = crate::loops::shown(core, id)? else { return Ok(None) };
    Ok(Some(*detail))
}

impl Evidence {
    /// Of an execution.
    pub(super) fn of_execution(
        detail: ExecutionDetail,
        decision: Option<crate::audit::AuditRecord>,
    ) -> Self {
        Self { execution: Some(Box::new(detail)), decision, ..Self::default() }
    }
}

/// Decides.
pub(super) struct Decide<'a> {
    pub(super) id: LoopId,
    pub(super) decision: Decision,
    pub(super) reason: &'a str,
    pub(super) who: &'a str,
}

impl Command for Decide<'_> {
    type Value = Done;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Done>, Stop> {
        let id = ReviewId::Execution(self.id);
        let now_ms = core.database.log_time_ms();
        let life = Life::load(core, txn, self.id)?;
        let mut life = life.ok_or_else(|| not_waiting(id))?;
        let reason = life.row.state.review().cloned().ok_or_else(|| not_waiting(id))?;
        let (decision, result) = meaning(&reason, self.decision);
        let (who, why) = (self.who.to_owned(), self.reason.to_owned());
        life.happens(core, txn, What::Decided { decision, who, why }, now_ms)?;
        life.go_on(core, txn, now_ms)?;
        let target = id.to_string();
        let entry = NewAudit {
            who: self.who,
            action: self.decision.action(),
            target: &target,
            why: self.reason,
            result,
        };
        let audit = audit::add(core, txn, &entry)?;
        let (decision, result) = (self.decision, result.to_owned());
        Ok(Answer::new(Done { id, decision, result, audit, before: false }))
    }
}
