//! The ends of a lease, as every command that ends one writes them.
//!
//! The order of operations is what the index needs: a unit of work goes before its lease, attempts
//! are written before the lease goes.

use rekindle_database::Transaction;

use crate::claims::attempts::Attempts;
use crate::claims::lease::Lease;
use crate::claims::state::{self, Ending, Next, Retry};
use crate::claims::{Cause, Line, Subject, Token};
use crate::error::{Error, Kind};
use crate::exec::{Core, Stop};
use crate::jobs;
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::keys::subject as key;
use crate::loops::event::StepRef;
use crate::loops::id::LoopId;
use crate::loops::step::{self, End};
use crate::queues::{Settled, bury};

/// The lease of a unit of work.
pub(crate) fn load_lease(
    core: &Core,
    txn: &mut Transaction,
    id: Subject,
) -> Result<Option<Lease>, Stop> {
    let Some(row) = txn.get(core.keyspaces.leases, &key::encode(id))? else { return Ok(None) };
    let lease = Lease::parse(&row.bytes, row.version)
        .map_err(|malformed| Error::corrupt(format!("the lease of {id}: {malformed}")))?;
    Ok(Some(lease))
}

/// The settled attempts of a unit of work.
pub(crate) fn load_attempts(
    core: &Core,
    txn: &mut Transaction,
    id: Subject,
) -> Result<Option<Attempts>, Stop> {
    let Some(row) = txn.get(core.keyspaces.attempts, &key::encode(id))? else { return Ok(None) };
    let attempts = Attempts::parse(&row.bytes)
        .map_err(|malformed| Error::corrupt(format!("the attempts of {id}: {malformed}")))?;
    Ok(Some(attempts))
}

/// Removes a lease and its row in the index by time.
pub(crate) fn remove_lease(core: &Core, txn: &mut Transaction, id: Subject, lease: &Lease) {
    let expiry = LeaseExpiry { deadline_ms: lease.deadline_ms, subject: id };
    txn.delete(core.keyspaces.leases, &key::encode(id));
    txn.delete(core.keyspaces.lease_expiry, &lease_expiry::encode(expiry));
}

/// A lease that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What became of the work.
    pub(crate) settled: Settled,
    /// When it is ready again, log time; 0: at once.
    pub(crate) due_ms: u64,
}

/// Ends a lease with a cause: the work is ready again, or given up (a message goes to the
/// dead-letter queue, a job has failed), or waits for a person.
pub(crate) fn settle(
    core: &Core,
    txn: &mut Transaction,
    line: &Line,
    id: Subject,
    lease: &Lease,
    ending: &Ending<'_>,
) -> Result<Ended, Stop> {
    debug_assert_eq!(line.id(), id.line);
    let attempts = if may_have_attempts(lease) { load_attempts(core, txn, id)? } else { None };
    let mut retry = line.retry();
    if let Line::Jobs(_) = line {
        let claim = jobs::of_claim(core, txn, id)?;
        retry.max_attempts = claim.max_attempts.unwrap_or(retry.max_attempts);
        if let Some(of) = claim.step.filter(|_| ending.begun) {
            return settle_step(core, txn, (id, of), (lease, attempts), ending);
        }
    }
    let (attempts, settled) = match (state::settle(lease, attempts, ending, retry), line) {
        (Next::Return(attempts), _) => (attempts, Settled::Returned),
        (Next::Review(attempts), _) => (attempts, Settled::UnderReview),
        (Next::DeadLetter(attempts), Line::Queue(queue)) => {
            bury::dead_letter(core, txn, queue, id, &attempts, ending)?;
            finish(core, txn, id, Some(lease));
            return Ok(Ended { settled: Settled::DeadLettered, due_ms: 0 });
        }
        (Next::DeadLetter(attempts), Line::Jobs(_)) => {
            jobs::give_up(core, txn, id, lease, ending);
            (attempts, Settled::DeadLettered)
        }
    };
    txn.put(core.keyspaces.attempts, &key::encode(id), &attempts.encode());
    remove_lease(core, txn, id, lease);
    Ok(Ended { settled, due_ms: attempts.due_ms })
}

/// Ends a lease on a step of a loop that may have begun: it is not claimed again, and its execution
/// decides what becomes of it.
fn settle_step(
    core: &Core,
    txn: &mut Transaction,
    (id, of): (Subject, (LoopId, StepRef)),
    (lease, attempts): (&Lease, Option<Attempts>),
    ending: &Ending<'_>,
) -> Result<Ended, Stop> {
    let settled = state::settle(lease, attempts, ending, Retry::default());
    let (Next::Return(attempts) | Next::DeadLetter(attempts) | Next::Review(attempts)) = settled;
    jobs::give_up(core, txn, id, lease, ending);
    let attempts = Attempts { due_ms: 0, ..attempts };
    txn.put(core.keyspaces.attempts, &key::encode(id), &attempts.encode());
    remove_lease(core, txn, id, lease);
    let end = match ending.cause {
        Cause::Failed => End::Failed(ending.reason, ending.delay_ms),
        cause => End::Lost(cause, ending.reason),
    };
    step::ended(core, txn, id, of, end, ending.now_ms)?;
    Ok(Ended { settled: Settled::DeadLettered, due_ms: 0 })
}

/// Whether there may be a row of attempts beside this lease: an earlier attempt was settled, or
/// this one was, and its late owner took it up again.
pub(crate) fn may_have_attempts(lease: &Lease) -> bool {
    lease.attempt > 1 || lease.extended
}

/// A message is done with: everything of it goes.
pub(crate) fn finish(core: &Core, txn: &mut Transaction, id: Subject, lease: Option<&Lease>) {
    txn.delete(core.keyspaces.messages, &key::encode(id));
    if let Some(lease) = lease {
        remove_lease(core, txn, id, lease);
    }
    if lease.is_none_or(may_have_attempts) {
        txn.delete(core.keyspaces.attempts, &key::encode(id));
    }
}

/// Writes a lease that goes on.
pub(crate) fn hold(core: &Core, txn: &mut Transaction, token: Token, lease: &Lease) -> Settled {
    let id = token.subject;
    debug_assert_eq!(lease.grant, token.grant, "a lease goes on under its own grant");
    let expiry = LeaseExpiry { deadline_ms: lease.deadline_ms, subject: id };
    txn.put(core.keyspaces.leases, &key::encode(id), &lease.encode());
    txn.put(core.keyspaces.lease_expiry, &lease_expiry::encode(expiry), &[]);
    Settled::Extended { deadline_ms: lease.deadline_ms }
}

/// A token that is no longer good.
pub(crate) fn fenced(id: Subject) -> Error {
    let what = if id.is_job() { "job" } else { "message" };
    Error::new(
        Kind::Fenced,
        format!(
            "the lease on {id} is over: the {what} was granted again or is finished; drop this \
             work, its new owner has it"
        ),
    )
}
