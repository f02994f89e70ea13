//! Reviews: what waits for a person, with the evidence, and the person's decisions.
//!
//! Invariants: a review is judged anew from its rows whenever somebody looks at it or decides; a
//! decision is one transaction with its audit record, and is refused where it cannot mean anything;
//! asking for the same decision again changes nothing.

mod decide;
mod evidence;
mod execution;
mod judge;
mod trouble;
mod unowned;

use std::sync::{Arc, PoisonError};

pub use evidence::{Evidence, LeaseEvidence, RowEvidence, SettledAttempt};
pub use judge::{Decision, ReviewId};
pub(crate) use unowned::{Unowned, UnreadRow};

use crate::audit::{Audit, NewAudit};
use crate::error::{Error, Kind};
use crate::exec::Core;
use crate::limits::{LIST_REVIEWS_MAX, REASON_BYTES_MAX};
use crate::ticket::Acknowledged;
use decide::Decide;
use judge::Case;

/// What the actions of decisions begin with in the audit log.
const ACTION: &str = "review.";

/// The reviews of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Reviews {
    core: Arc<Core>,
}

/// How many reviews there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReviewFigures {
    /// All of them.
    pub count: u64,
    /// Since when the oldest waits, as far as this run knows; log time in milliseconds.
    pub oldest_ms: Option<u64>,
}

/// Something that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewItem {
    /// Names it; opaque, safe in URLs and shells.
    pub id: ReviewId,
    /// The situation, explained in docs/recovery.md.
    pub label: &'static str,
    /// Its queue, where it is a message and that is known.
    pub queue: Option<String>,
    /// Its type, where it is a job and that is known.
    pub job_type: Option<String>,
    /// Its spec, where it is an execution of a loop.
    pub spec: Option<String>,
    /// What was found, in words.
    pub found: &'static str,
    /// Since when it waits, as far as this run knows; log time in milliseconds.
    pub since_ms: u64,
    /// What can be decided.
    pub decisions: Vec<Decision>,
}

/// What a decision did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// About what.
    pub id: ReviewId,
    /// What was decided.
    pub decision: Decision,
    /// What became of it, in words.
    pub result: String,
    /// The number of its audit record.
    pub audit: u64,
    /// It had been decided so before, and nothing was done now.
    pub before: bool,
}

impl Reviews {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// How many wait, and for how long.
    #[must_use]
    pub fn figures(&self) -> ReviewFigures {
        let (count, oldest_ms) = self.core.index.reviews();
        let executions = self.core.loops.reviews();
        let count = count + executions.len() as u64;
        let oldest = executions.iter().map(|(_, since_ms)| *since_ms);
        ReviewFigures { count, oldest_ms: oldest.chain(oldest_ms).min() }
    }

    /// Up to `limit` reviews behind `after`, in the order of their ids, and whether more follow.
    pub fn list(
        &self,
        after: Option<ReviewId>,
        limit: usize,
    ) -> Result<(Vec<ReviewItem>, bool), Error> {
        self.core.alive()?;
        let limit = limit.clamp(1, LIST_REVIEWS_MAX);
        let mut waiting = self.core.index.waiting(after, limit + 1);
        let executions = self.core.loops.reviews();
        let executions = executions.into_iter().map(|(id, at)| (ReviewId::Execution(id), at));
        let behind = executions.filter(|(id, _)| after.is_none_or(|after| *id > after));
        // Their ids come behind all others.
        waiting.extend(behind.take((limit + 1).saturating_sub(waiting.len())));
        let more = waiting.len() > limit;
        waiting.truncate(limit);
        let snapshot = self.core.database.snapshot()?;
        let mut items = Vec::with_capacity(waiting.len());
        for (id, since_ms) in waiting {
            if let ReviewId::Execution(execution) = id {
                // One that cannot be read hides no other.
                match crate::loops::glance(&self.core, &snapshot, execution) {
                    Ok(info) => items.extend(info.and_then(|it| execution::item(&it, since_ms))),
                    Err(error) => tracing::error!(%id, %error, "a review cannot be listed"),
                }
                continue;
            }
            // One that was decided in between waits no longer.
            if let Some(case) = Case::read(&self.core, &snapshot, id)? {
                items.push(case.item(id, since_ms));
            }
        }
        Ok((items, more))
    }

    /// One review with its evidence.
    pub fn show(&self, id: ReviewId) -> Result<(ReviewItem, Evidence), Error> {
        self.core.alive()?;
        let since_ms = self.waits(id).ok_or_else(|| not_waiting(id))?;
        let last = Audit::new(Arc::clone(&self.core)).last_of(&id.to_string(), ACTION)?;
        if let ReviewId::Execution(execution) = id {
            let detail = execution::show(&self.core, execution)?.ok_or_else(|| not_waiting(id))?;
            let item = execution::item(&detail.info, since_ms).ok_or_else(|| not_waiting(id))?;
            return Ok((item, Evidence::of_execution(detail, last)));
        }
        let snapshot = self.core.database.snapshot()?;
        let case = Case::read(&self.core, &snapshot, id)?.ok_or_else(|| not_waiting(id))?;
        let item = case.item(id, since_ms);
        Ok((item, Evidence::of(&case, last)))
    }

    /// Decides about a review, for this reason. Blocks until it is acknowledged.
    pub fn decide(
        &self,
        id: ReviewId,
        decision: Decision,
        reason: &str,
        who: &str,
    ) -> Result<Acknowledged<Decided>, Error> {
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a decision needs a reason of 1 to {REASON_BYTES_MAX} bytes, such as --reason \
                 'looked at it'"
            )));
        }
        NewAudit { who, why: reason, ..NewAudit::default() }.check()?;
        // One decision at a time: the next one sees what this one did.
        let _alone = self.core.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        self.core.settle()?;
        self.core.alive()?;
        if self.waits(id).is_none() {
            return self.decided_before(id, decision);
        }
        if let ReviewId::Execution(id) = id {
            return self.core.submit(&mut execution::Decide { id, decision, reason, who })?.wait();
        }
        let expiries = self.core.expiries_of(id)?;
        let mut command = Decide { id, decision, reason, who, expiries };
        let decided = self.core.submit(&mut command)?.wait()?;
        self.core.index.unowned().remove(id);
        Ok(decided)
    }

    /// Since when this waits.
    fn waits(&self, id: ReviewId) -> Option<u64> {
        match id {
            ReviewId::Execution(id) => self.core.loops.get(id).and_then(|entry| entry.review_ms),
            ReviewId::Work(_) | ReviewId::Row(_) => self.core.index.waits(id),
        }
    }

    /// The answer to a decision about what waits no longer.
    fn decided_before(
        &self,
        id: ReviewId,
        decision: Decision,
    ) -> Result<Acknowledged<Decided>, Error> {
        let audit = Audit::new(Arc::clone(&self.core));
        let Some(last) = audit.last_of(&id.to_string(), ACTION)? else {
            return Err(not_waiting(id));
        };
        if last.action != decision.action() {
            let (was, who) = (last.action.trim_start_matches(ACTION), &last.who);
            let message = format!(
                "{id} waits no longer: the decision was {was:?}, by {who} (audit record {})",
                last.number
            );
            return Err(Error::new(Kind::Conflict, message));
        }
        let (result, number) = (last.result, last.number);
        let decided = Decided { id, decision, result, audit: number, before: true };
        self.core.submit(&mut decide::Nothing)?.wait().map(|answer| Acknowledged {
            value: decided,
            version: last.version,
            durability: answer.durability,
        })
    }
}

fn not_waiting(id: ReviewId) -> Error {
    let message = format!("{id} does not wait for a person; see 'rekindle review list'");
    Error::new(Kind::NotFound, message)
}
