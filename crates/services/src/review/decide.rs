//! A decision about a review: one transaction with its audit record.
//!
//! What a decision does is told in docs/reference.md; a message is put back by writing its row
//! again, which is what the ready index follows.

use std::collections::BTreeSet;

use rekindle_database::Transaction;

use crate::audit::{self, NewAudit};
use crate::bytes::truncated;
use crate::claims::attempts::{Attempts, Settlement};
use crate::claims::expire::drop_expiries;
use crate::claims::{Cause, Line, Subject};
use crate::exec::{Answer, Command, Core, Stop};
use crate::jobs::job::parse_head as parse_job;
use crate::jobs::outcome::Outcome;
use crate::jobs::state::FAILED;
use crate::keys::subject as key;
use crate::limits::REASON_BYTES_MAX;
use crate::loops::event::StepRef;
use crate::loops::id::LoopId;
use crate::loops::step::{self, End, is_a_step};
use crate::queues::bury::bury;
use crate::queues::message::{Message, parse};
use crate::review::judge::{Case, Decision, ReviewId, Stored};
use crate::review::trouble::Trouble;
use crate::review::{Decided, not_waiting};

/// Decides.
pub(crate) struct Decide<'a> {
    pub(crate) id: ReviewId,
    pub(crate) decision: Decision,
    pub(crate) reason: &'a str,
    pub(crate) who: &'a str,
    /// Rows of the index of leases by time that go with the lease.
    pub(crate) expiries: BTreeSet<u64>,
}

impl Command for Decide<'_> {
    type Value = Decided;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Decided>, Stop> {
        let case = Case::in_txn(core, txn, self.id)?.ok_or_else(|| not_waiting(self.id))?;
        case.check(self.id, self.decision)?;
        self.check_step(&case)?;
        let result = match (self.id, self.decision) {
            (ReviewId::Row(_) | ReviewId::Execution(_), _) => remove_row(core, txn, &case),
            (ReviewId::Work(id), Decision::Approve) => self.approve(core, txn, id, &case)?,
            (ReviewId::Work(id), Decision::Retry) => self.serve(core, txn, id, &case, false)?,
            (ReviewId::Work(id), Decision::Fail) => self.fail(core, txn, id, &case)?,
        };
        self.tell_execution(core, txn, &case)?;
        let target = self.id.to_string();
        let entry = NewAudit {
            who: self.who,
            action: self.decision.action(),
            target: &target,
            why: self.reason,
            result: &result,
        };
        let audit = audit::add(core, txn, &entry)?;
        let Self { id, decision, .. } = *self;
        Ok(Answer::new(Decided { id, decision, result, audit, before: false }))
    }
}

impl Decide<'_> {
    /// Does what was proposed.
    fn approve(
        &self,
        core: &Core,
        txn: &mut Transaction,
        id: Subject,
        case: &Case,
    ) -> Result<String, Stop> {
        if case.trouble == Trouble::Crashes {
            return self.serve(core, txn, id, case, true);
        }
        self.remove(core, txn, id);
        Ok("its rows are removed".to_owned())
    }

    /// The work is ready again. Its attempts are kept, those that can be read.
    fn serve(
        &self,
        core: &Core,
        txn: &mut Transaction,
        id: Subject,
        case: &Case,
        forgiven: bool,
    ) -> Result<String, Stop> {
        let bytes = case.bytes.as_ref().ok_or_else(|| not_waiting(self.id))?;
        let keyspaces = &core.keyspaces;
        let units = if id.is_job() { keyspaces.jobs } else { keyspaces.messages };
        let mut attempts = self.attempts(core, case, Cause::Released);
        if forgiven {
            attempts.forget_crashes();
        }
        let key = key::encode(id);
        if id.is_job() {
            txn.delete(keyspaces.job_outcomes, &key);
        }
        // The unit first: the index takes it back, and then follows what happens to it.
        txn.put(units, &key, bytes);
        txn.put(keyspaces.attempts, &key, &attempts.encode());
        txn.delete(keyspaces.leases, &key);
        let deadlines: Vec<u64> = self.expiries.iter().copied().collect();
        drop_expiries(core, txn, id, &deadlines);
        let count = attempts.attempt;
        Ok(match case.attempts {
            Stored::Bad(_) => "ready again; its attempts could not be read".to_owned(),
            _ if forgiven => format!("ready again after {count} attempts, its crashes forgotten"),
            _ => format!("ready again after {count} attempts"),
        })
    }

    /// The message goes to the dead-letter queue; one that cannot be read, as the bytes it has.
    fn fail(
        &self,
        core: &Core,
        txn: &mut Transaction,
        id: Subject,
        case: &Case,
    ) -> Result<String, Stop> {
        let line = case.line.as_ref().ok_or_else(|| not_waiting(self.id))?;
        let Line::Queue(queue) = line else { return Ok(self.fail_job(core, txn, id, case)) };
        let bytes = case.bytes.as_ref().ok_or_else(|| not_waiting(self.id))?;
        let now_ms = core.database.log_time_ms();
        let raw =
            Message { sent_ms: now_ms, due_ms: 0, fairness_key: "", headers: vec![], body: bytes };
        let message = parse(bytes);
        let readable = message.is_ok();
        let attempts = self.attempts(core, case, Cause::Failed);
        let message = message.unwrap_or(raw);
        let target = bury(core, txn, queue, id, &message, &attempts, now_ms)?;
        self.remove(core, txn, id);
        let how = if readable { "" } else { ", as the bytes that it has" };
        Ok(format!("in queue {target}{how}"))
    }

    /// The job has failed.
    fn fail_job(&self, core: &Core, txn: &mut Transaction, id: Subject, case: &Case) -> String {
        let attempts = self.attempts(core, case, Cause::Failed);
        let key = key::encode(id);
        let outcome = Outcome {
            status: FAILED,
            finished_ms: core.database.log_time_ms(),
            attempt: attempts.attempt,
            granted_ms: 0,
            by: self.who,
            detail: truncated(self.reason, REASON_BYTES_MAX).as_bytes(),
        };
        txn.put(core.keyspaces.job_outcomes, &key, &outcome.encode());
        txn.put(core.keyspaces.attempts, &key, &attempts.encode());
        txn.delete(core.keyspaces.leases, &key);
        let deadlines: Vec<u64> = self.expiries.iter().copied().collect();
        drop_expiries(core, txn, id, &deadlines);
        format!("failed after {} attempts", attempts.attempt)
    }

    /// A step of a loop is not served again by itself: its execution decides, and a person about
    /// that.
    fn check_step(&self, case: &Case) -> Result<(), Stop> {
        let ReviewId::Work(id) = self.id else { return Ok(()) };
        match step_of(id, case) {
            Some((execution, _)) if self.decision == Decision::Retry => {
                Err(Stop::Refused(is_a_step(execution)))
            }
            _ => Ok(()),
        }
    }

    /// A job that is a step of a loop: its execution hears that it has failed, or is no more.
    fn tell_execution(&self, core: &Core, txn: &mut Transaction, case: &Case) -> Result<(), Stop> {
        let ReviewId::Work(id) = self.id else { return Ok(()) };
        let served = case.trouble == Trouble::Crashes && self.decision == Decision::Approve;
        if served || self.decision == Decision::Retry {
            return Ok(());
        }
        let Some(of) = step_of(id, case) else { return Ok(()) };
        let end = End::Failed(self.reason, None);
        step::ended(core, txn, id, of, end, core.database.log_time_ms())
    }

    /// Everything of a unit goes.
    fn remove(&self, core: &Core, txn: &mut Transaction, id: Subject) {
        let key = key::encode(id);
        let keyspaces = &core.keyspaces;
        if id.is_job() {
            for keyspace in [keyspaces.job_outcomes, keyspaces.job_progress, keyspaces.jobs] {
                txn.delete(keyspace, &key);
            }
        } else {
            txn.delete(keyspaces.messages, &key);
        }
        for keyspace in [keyspaces.leases, keyspaces.attempts] {
            txn.delete(keyspace, &key);
        }
        let deadlines: Vec<u64> = self.expiries.iter().copied().collect();
        drop_expiries(core, txn, id, &deadlines);
    }

    /// The attempts with this decision at their end.
    fn attempts(&self, core: &Core, case: &Case, cause: Cause) -> Attempts {
        let mut attempts = case.attempts.good().cloned().unwrap_or_default();
        if let Some(lease) = case.lease.good() {
            attempts.attempt = attempts.attempt.max(lease.attempt);
            attempts.grant = attempts.grant.max(lease.grant);
        }
        // One whose number cannot be read was granted at least once.
        attempts.attempt = attempts.attempt.max(1);
        attempts.due_ms = 0;
        let reason = format!("review: {}: {}", self.decision, self.reason);
        attempts.add(Settlement {
            attempt: attempts.attempt,
            cause,
            at_ms: core.database.log_time_ms(),
            reason: truncated(&reason, REASON_BYTES_MAX).to_owned(),
        });
        attempts
    }
}

/// The step of a loop that this job is, as far as that can be read.
fn step_of(id: Subject, case: &Case) -> Option<(LoopId, StepRef)> {
    let bytes = case.bytes.as_ref().filter(|_| id.is_job())?;
    parse_job(bytes).ok()?.step
}

/// A row that cannot be read goes.
fn remove_row(core: &Core, txn: &mut Transaction, case: &Case) -> String {
    let Some(row) = &case.row else { return String::new() };
    txn.delete(row.keyspace(&core.keyspaces), &row.key);
    format!("the row in keyspace {} is removed", row.keyspace)
}

/// Waits until all that was read before is acknowledged.
pub(crate) struct Nothing;

impl Command for Nothing {
    type Value = ();
    const FREES_WORK: bool = true;

    fn build(&mut self, _: &Core, _: &mut Transaction) -> Result<Answer<()>, Stop> {
        Ok(Answer::new(()))
    }
}
