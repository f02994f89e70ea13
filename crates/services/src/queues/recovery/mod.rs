//! Recovery of queues: definitions, messages, leases; read top-down.
//!
//! A lease whose deadline lies ahead is kept as it is, one whose deadline passed (downtime counts)
//! is taken back in a transaction of its own, and the ready index is built from what is there. Rows
//! that cannot be read stay, are told, and are not served; they stop nothing else. Recovering twice
//! finds nothing to do: each step looks again before it acts.

mod scan;
mod table;
mod validate;

use std::sync::Arc;

use rekindle_database::{Snapshot, Transaction};
use rekindle_recovery::{Action, ActionKind, Failure, Finding, Layer, Meter, Plan};

use crate::claims::Event;
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::keys::Keyspaces;
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::queues::expire::{Expire, drop_expiries};
use crate::queues::index::{Claim, IndexObserver, Place, QueueIndex};
use crate::queues::settle::load_lease;
use crate::queues::{MessageId, Settled};
use crate::ticket::Ticket;
pub(crate) use scan::{Pieces, scan_all};
pub(crate) use table::BadKey;
pub(crate) use validate::Trusted;

/// Steps that are on their way at one time.
const IN_FLIGHT: usize = 1_024;

/// The layer of queues.
pub(crate) struct QueueLayer {
    pub(crate) keyspaces: Keyspaces,
    /// Now: what lies behind is due.
    pub(crate) log_time_ms: u64,
    /// Told of each page of rows.
    pub(crate) meter: Meter,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take the lease back.
    Reclaim {
        /// Whose.
        message: MessageId,
        /// Rows of the index by time that are not its lease's.
        stale: Vec<u64>,
    },
    /// Make the index by time agree with the leases: these rows go, the lease's is written.
    Index {
        /// Whose.
        message: MessageId,
        /// Rows to remove.
        stale: Vec<u64>,
    },
}

/// What recovery gives to the layer above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) queues: u64,
    pub(crate) messages: u64,
    pub(crate) leases_kept: u64,
    pub(crate) leases_reclaimed: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) set_aside: u64,
}

impl Layer for QueueLayer {
    const NAME: &'static str = "queue";
    type Source = Snapshot;
    type Sink = Core;
    type Pieces = Pieces;
    type Trusted = Trusted;
    type Step = Step;
    type Recovered = Recovered;

    fn scan(&self, source: &Snapshot) -> Result<Pieces, Failure> {
        Pieces::scan(source, &self.keyspaces, &self.meter)
    }

    fn validate(&self, pieces: Pieces) -> (Trusted, Vec<Finding>) {
        validate::validate(pieces, self.log_time_ms)
    }

    fn plan(&self, trusted: &Trusted, findings: &[Finding]) -> Plan<Step> {
        let mut plan = Plan { steps: trusted.steps.clone(), actions: vec![] };
        for (kind, label, count, detail) in trusted.tally() {
            if count > 0 {
                let target = format!("{count} messages");
                plan.actions.push(Action { kind, label, target, detail: detail.to_owned() });
            }
        }
        for finding in findings {
            plan.actions.push(Action {
                kind: ActionKind::Ask,
                label: finding.label,
                target: finding.place.file.clone(),
                detail: "left as it is and not served; a person decides".to_owned(),
            });
        }
        plan
    }

    fn act(
        &self,
        mut trusted: Trusted,
        steps: Vec<Step>,
        sink: &Core,
    ) -> Result<Recovered, Failure> {
        let mut recovered = Recovered {
            queues: trusted.queues.len() as u64,
            messages: trusted.messages,
            leases_kept: trusted.leases_kept,
            set_aside: trusted.set_aside,
            ..Recovered::default()
        };
        std::mem::take(&mut trusted.waiting).note(&mut sink.index.unowned(), self.log_time_ms);
        for queue in trusted.into_indexes() {
            sink.index.restore(queue);
        }
        // From here on the index follows the transactions, the steps' own included.
        sink.database.observe(Arc::new(IndexObserver {
            index: Arc::downgrade(&sink.index),
            keyspaces: self.keyspaces,
        }));
        for steps in steps.chunks(IN_FLIGHT) {
            let tickets: Vec<_> =
                steps.iter().map(|step| (step.message(), self.start(step, sink))).collect();
            for (message, ticket) in tickets {
                match ticket.and_then(Ticket::wait).map(|answer| answer.value) {
                    Ok(Some(Settled::DeadLettered)) => recovered.dead_lettered += 1,
                    Ok(Some(_)) => recovered.leases_reclaimed += 1,
                    Ok(None) => {}
                    // The store opens nevertheless, or nobody could make room in it. What is due
                    // stays in the index, and the next tick tries it again.
                    Err(error) if error.kind() == Kind::Full => {
                        tracing::warn!(%error, "a lease is taken back later");
                    }
                    // As the timer does: one message waits for a person, the others are served.
                    Err(error) if error.kind() == Kind::Corrupt => {
                        tracing::error!(%message, %error, "a lease that ran out is set aside");
                        sink.index.set_aside(message, self.log_time_ms);
                        recovered.set_aside += 1;
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(recovered)
    }
}

impl Step {
    fn message(&self) -> MessageId {
        let (Self::Reclaim { message, .. } | Self::Index { message, .. }) = self;
        *message
    }
}

impl QueueLayer {
    /// Puts a step's transaction on its way.
    fn start(&self, step: &Step, core: &Core) -> Result<Ticket<Option<Settled>>, Error> {
        match step {
            Step::Reclaim { message, stale } => {
                let now_ms = self.log_time_ms;
                core.submit(&mut Expire { message: *message, event: Event::Lead, now_ms, stale })
            }
            Step::Index { message, stale } => {
                core.submit(&mut IndexLease { message: *message, stale })
            }
        }
    }
}

/// Makes the index by time agree with a lease, or with its absence.
struct IndexLease<'a> {
    message: MessageId,
    stale: &'a [u64],
}

impl Command for IndexLease<'_> {
    type Value = Option<Settled>;
    const FREES_WORK: bool = true;

    fn build(
        &mut self,
        core: &Core,
        txn: &mut Transaction,
    ) -> Result<Answer<Option<Settled>>, Stop> {
        let lease = load_lease(core, txn, self.message)?;
        drop_expiries(core, txn, self.message, self.stale);
        if let Some(lease) = lease {
            let expiry = LeaseExpiry { deadline_ms: lease.deadline_ms, message: self.message };
            txn.put(core.keyspaces.lease_expiry, &lease_expiry::encode(expiry), &[]);
        }
        Ok(Answer::new(None))
    }
}

fn failed(error: Error) -> Failure {
    Failure::io("settle a lease", std::io::Error::other(error))
}

/// Where a message stands after recovery.
pub(crate) fn place(lease: Option<u64>, due_ms: u64, now_ms: u64) -> Place {
    match lease {
        Some(deadline_ms) => Place::Leased(deadline_ms),
        None if due_ms > now_ms => Place::Delayed(due_ms),
        None => Place::Ready,
    }
}

/// Adds a message to the index that is being built.
pub(crate) fn restore(
    index: &mut QueueIndex,
    number: u64,
    fairness_key: &str,
    place: Place,
    attempts: Option<u64>,
) {
    let claim = Claim { attempted: attempts.is_some(), due_ms: attempts.unwrap_or(0) };
    index.restored(number, fairness_key, place, claim);
}
