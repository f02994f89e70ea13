//! Leases that ran out, and those whose executor is dead: the work is ready again, or given up, or
//! goes on under an executor of this run.

use rekindle_database::Transaction;

use crate::bytes::truncated;
use crate::claims::lease::Lease;
use crate::claims::settle::{hold, load_lease, remove_lease, settle};
use crate::claims::state::{self, Ending};
use crate::claims::{self, Cause, Decision, Event, Line, Subject, Token};
use crate::exec::{Answer, Command, Core, Stop};
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::limits::REASON_BYTES_MAX;
use crate::queues::Settled;

/// Looks at a lease whose deadline passed, or that a start found: what is over is taken back.
/// Repeatable: one that was extended or ended meanwhile is left alone.
pub(crate) struct Expire<'a> {
    pub(crate) subject: Subject,
    /// What made somebody look: time, or a start.
    pub(crate) event: Event,
    pub(crate) now_ms: u64,
    /// Rows of `lease_expiry` that recovery found beside the right one.
    pub(crate) stale: &'a [u64],
}

impl Command for Expire<'_> {
    type Value = Option<Settled>;
    const FREES_WORK: bool = true;

    fn build(
        &mut self,
        core: &Core,
        txn: &mut Transaction,
    ) -> Result<Answer<Option<Settled>>, Stop> {
        let Some(line) = core.index.line_of(self.subject.line) else {
            return Ok(Answer::new(None));
        };
        let Some(lease) = load_lease(core, txn, self.subject)? else {
            return Ok(Answer::new(None));
        };
        let situation = core.run.situation(self.subject, &lease, self.event, self.now_ms);
        let cause = match claims::decide(situation) {
            Decision::Keep => return Ok(Answer::new(None)),
            Decision::Resume => {
                let taken = self.take_over(core, txn, &line, &lease);
                drop_expiries(core, txn, self.subject, self.stale);
                return Ok(Answer::new(Some(taken)));
            }
            Decision::Settle(cause) => cause,
        };
        let reason = reason(cause, &lease.owner);
        let ending = Ending {
            cause,
            reason: truncated(&reason, REASON_BYTES_MAX),
            now_ms: self.now_ms,
            delay_ms: None,
            last: false,
            begun: cause != Cause::Released,
        };
        let settled = settle(core, txn, &line, self.subject, &lease, &ending)?.settled;
        drop_expiries(core, txn, self.subject, self.stale);
        Ok(Answer::new(Some(settled)))
    }
}

impl Expire<'_> {
    /// An executor of this run goes on with it: the lease is its, from now.
    fn take_over(&self, core: &Core, txn: &mut Transaction, line: &Line, lease: &Lease) -> Settled {
        remove_lease(core, txn, self.subject, lease);
        let holder = core.run.inside();
        let taken = state::taken_over(lease, self.now_ms, line.lease_ms(), holder);
        hold(core, txn, Token { subject: self.subject, grant: lease.grant }, &taken)
    }
}

/// Why a claim ended, in words.
fn reason(cause: Cause, owner: &str) -> String {
    let owner = if owner.is_empty() { "its owner" } else { owner };
    match cause {
        Cause::ServerCrash => format!("the server died while {owner} worked on it"),
        Cause::Shutdown => format!("the server ended while {owner} worked on it"),
        Cause::Released => format!("the server died before {owner} had begun"),
        Cause::LeaseExpired | Cause::Failed | Cause::WorkerCrash => {
            format!("{owner} did not answer before the lease ran out")
        }
    }
}

/// Removes rows of the index by time.
pub(crate) fn drop_expiries(
    core: &Core,
    txn: &mut Transaction,
    subject: Subject,
    deadlines: &[u64],
) {
    for &deadline_ms in deadlines {
        let expiry = LeaseExpiry { deadline_ms, subject };
        txn.delete(core.keyspaces.lease_expiry, &lease_expiry::encode(expiry));
    }
}

/// Removes rows of the index by time whose leases went with a whole range.
pub(crate) struct DropOrphans<'a>(pub(crate) &'a [LeaseExpiry]);

impl Command for DropOrphans<'_> {
    type Value = ();
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        for expiry in self.0 {
            txn.delete(core.keyspaces.lease_expiry, &lease_expiry::encode(*expiry));
        }
        Ok(Answer::new(()))
    }
}
