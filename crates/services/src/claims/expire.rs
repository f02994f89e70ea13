//! Leases that ran out: the work is ready again, or given up.

use rekindle_database::Transaction;

use crate::bytes::truncated;
use crate::claims::settle::{load_lease, settle};
use crate::claims::state::Ending;
use crate::claims::{self, Decision, Event, Situation, Subject};
use crate::exec::{Answer, Command, Core, Stop};
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::limits::REASON_BYTES_MAX;
use crate::queues::Settled;

/// Takes a lease back whose deadline passed. Repeatable: one that was extended or ended meanwhile
/// is left alone.
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
        let due = lease.deadline_ms <= self.now_ms;
        let cause = match claims::decide(Situation::external(self.event, due)) {
            Decision::Keep => return Ok(Answer::new(None)),
            Decision::Settle(cause) => cause,
        };
        let owner = if lease.owner.is_empty() { "its owner" } else { &lease.owner };
        let reason = format!("{owner} did not answer before the lease ran out");
        let ending = Ending {
            cause,
            reason: truncated(&reason, REASON_BYTES_MAX),
            now_ms: self.now_ms,
            delay_ms: None,
            last: false,
        };
        let settled = settle(core, txn, &line, self.subject, &lease, &ending)?.settled;
        drop_expiries(core, txn, self.subject, self.stale);
        Ok(Answer::new(Some(settled)))
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
