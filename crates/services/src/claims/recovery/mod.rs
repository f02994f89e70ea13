//! What the recoveries of queues and of jobs share: reading the rows of claims, and ending those
//! that are over.
//!
//! Invariant: each step is a transaction of its own that looks again before it acts, so recovering
//! twice finds nothing to do.

mod cursor;
mod rows;
mod table;
mod units;

use rekindle_database::Transaction;
use rekindle_recovery::{Action, ActionKind, Failure, Finding, Label, Plan};

use crate::claims::attempts::Attempts;
use crate::claims::expire::{Expire, drop_expiries};
use crate::claims::lease::Lease;
use crate::claims::settle::load_lease;
use crate::claims::{self, Decision, Event, Run, Subject};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::findings::Findings;
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::limits::REVIEW_ROWS_MAX;
use crate::queues::Settled;
use crate::review::{Unowned, UnreadRow};
use crate::ticket::Ticket;
pub(crate) use cursor::{Cursor, one};
pub(crate) use rows::{Item, Join, Pieces, Unreadable, read, scan_all};
pub(crate) use table::{BadKey, Claim, Expiry, Stored, UNREADABLE};

/// Steps that are on their way at one time.
const IN_FLIGHT: usize = 1_024;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Settle the claim, or hand it to an executor of this run.
    Settle {
        /// Whose.
        subject: Subject,
        /// Rows of the index by time that are not its lease's.
        stale: Vec<u64>,
    },
    /// Make the index by time agree with the leases: these rows go, the lease's is written.
    Index {
        /// Whose.
        subject: Subject,
        /// Rows to remove.
        stale: Vec<u64>,
    },
}

/// What steps did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Claims that were over, and whose work is ready again or waits.
    pub(crate) reclaimed: u64,
    /// Claims that were over, and whose work was given up.
    pub(crate) given_up: u64,
    /// Claims of dead executors whose work goes on in this run.
    pub(crate) resumed: u64,
    /// Work that could not be read, and waits for a person.
    pub(crate) set_aside: u64,
}

impl Step {
    fn subject(&self) -> Subject {
        let (Self::Settle { subject, .. } | Self::Index { subject, .. }) = self;
        *subject
    }

    /// Puts its transaction on its way.
    fn start(&self, core: &Core, now_ms: u64) -> Result<Ticket<Option<Settled>>, Error> {
        match self {
            Self::Settle { subject, stale } => {
                let event = Event::Lead;
                core.submit(&mut Expire { subject: *subject, event, now_ms, stale })
            }
            Self::Index { subject, stale } => {
                core.submit(&mut IndexLease { subject: *subject, stale })
            }
        }
    }
}

/// What is decided alike about so many: the action, its label, how many, why.
pub(crate) type Counted = (ActionKind, Label, u64, &'static str);

/// The plan of a layer of claims: its steps, what is decided about its `units` in numbers, and a
/// question for each finding.
pub(crate) fn planned(
    steps: &[Step],
    units: &str,
    tally: impl Iterator<Item = Counted>,
    findings: &[Finding],
) -> Plan<Step> {
    let counted =
        tally.filter(|(_, _, count, _)| *count > 0).map(|(kind, label, count, detail)| Action {
            kind,
            label,
            target: format!("{count} {units}"),
            detail: detail.to_owned(),
        });
    let asked = findings.iter().map(|finding| Action {
        kind: ActionKind::Ask,
        label: finding.label,
        target: finding.place.file.clone(),
        detail: "left as it is and not served; a person decides".to_owned(),
    });
    Plan { steps: steps.to_vec(), actions: counted.chain(asked).collect() }
}

/// Does all steps, many on their way at one time; `told` hears of each claim that ended.
pub(crate) fn perform(
    core: &Core,
    steps: &[Step],
    now_ms: u64,
    mut told: impl FnMut(Subject, Settled),
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for steps in steps.chunks(IN_FLIGHT) {
        let start = |step: &Step| (step.subject(), step.start(core, now_ms));
        let tickets: Vec<_> = steps.iter().map(start).collect();
        for (subject, ticket) in tickets {
            match ticket.and_then(Ticket::wait).map(|answer| answer.value) {
                Ok(Some(settled)) => {
                    match settled {
                        Settled::DeadLettered => tally.given_up += 1,
                        Settled::Extended { .. } => tally.resumed += 1,
                        _ => tally.reclaimed += 1,
                    }
                    told(subject, settled);
                }
                Ok(None) => {}
                // The store opens nevertheless, or nobody could make room in it. What is due stays
                // in the index, and the next tick tries it again.
                Err(error) if error.kind() == Kind::Full => {
                    tracing::warn!(%error, "a lease is taken back later");
                }
                // As the timer does: one waits for a person, the others are served.
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::error!(%subject, %error, "a lease that ran out is set aside");
                    core.index.set_aside(subject, now_ms);
                    tally.set_aside += 1;
                }
                Err(error) => {
                    return Err(Failure::io("settle a lease", std::io::Error::other(error)));
                }
            }
        }
    }
    Ok(tally)
}

/// Makes the index by time agree with a lease, or with its absence.
struct IndexLease<'a> {
    subject: Subject,
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
        let lease = load_lease(core, txn, self.subject)?;
        drop_expiries(core, txn, self.subject, self.stale);
        if let Some(lease) = lease {
            let expiry = LeaseExpiry { deadline_ms: lease.deadline_ms, subject: self.subject };
            txn.put(core.keyspaces.lease_expiry, &lease_expiry::encode(expiry), &[]);
        }
        Ok(Answer::new(None))
    }
}

/// The rows of a claim, read.
pub(crate) struct Known {
    pub(crate) lease: Option<Lease>,
    pub(crate) attempts: Option<Attempts>,
    pub(crate) claim: Claim,
    /// What becomes of the claim, where there is one that can be read.
    pub(crate) decision: Option<Decision>,
    pub(crate) stored_attempts: Stored,
    pub(crate) expiry: Expiry,
}

impl Known {
    /// What an item says of its claim, to this run at this log time.
    pub(crate) fn of(item: &Item, run: &Run, now_ms: u64) -> Self {
        let lease =
            item.lease.as_ref().map(|row| Lease::parse(&row.value, row.version).map_err(drop));
        let decide =
            |lease: &Lease| claims::decide(run.situation(item.id, lease, Event::Lead, now_ms));
        let decision = lease.as_ref().and_then(|lease| lease.as_ref().ok()).map(decide);
        let claim = match (&lease, decision) {
            (None, _) => Claim::None,
            (Some(Ok(_)), Some(Decision::Keep)) => Claim::Live,
            (Some(Ok(_)), Some(Decision::Resume | Decision::Settle(_))) => Claim::Due,
            (Some(_), _) => Claim::Bad,
        };
        let (stored_attempts, attempts) = read(item.attempts.as_ref(), Attempts::parse);
        let lease = lease.and_then(Result::ok);
        let deadline = lease.as_ref().map(|lease| lease.deadline_ms);
        let expiry = match (item.expiries.as_slice(), deadline) {
            ([], _) => Expiry::None,
            ([only], Some(deadline)) if *only == deadline => Expiry::Match,
            _ => Expiry::Other,
        };
        Self { lease, attempts, claim, decision, stored_attempts, expiry }
    }

    /// When the lease runs out.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.lease.as_ref().map(|lease| lease.deadline_ms)
    }

    /// Rows of the index by time that are not the lease's.
    pub(crate) fn stale(&self, item: &Item) -> Vec<u64> {
        let deadline = self.deadline();
        item.expiries.iter().copied().filter(|&at| Some(at) != deadline).collect()
    }

    /// It died with the server too often.
    pub(crate) fn waits_for_a_person(&self) -> bool {
        let attempts = self.attempts.as_ref().filter(|_| self.lease.is_none());
        attempts.is_some_and(|attempts| attempts.due_ms == claims::attempts::UNDER_REVIEW)
    }

    /// When its last attempt ended.
    pub(crate) fn settled_ms(&self) -> Option<u64> {
        Some(self.attempts.as_ref()?.history.last()?.at_ms)
    }
}

/// What waits for a person and belongs to no line; as many as are remembered.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    rows: Vec<UnreadRow>,
    subjects: Vec<Subject>,
}

impl Waiting {
    /// A row that cannot be read; it is told, too.
    pub(crate) fn row(&mut self, findings: &mut Findings, unreadable: Unreadable) {
        let row = UNREADABLE.decide(&unreadable.what);
        let file = format!("keyspace {}", unreadable.keyspace);
        findings.tell(row.label, &file, row.then, &unreadable.found);
        if self.rows.len() < REVIEW_ROWS_MAX {
            let Unreadable { what, keyspace, key, .. } = unreadable;
            self.rows.push(UnreadRow { what, keyspace, key });
        }
    }

    /// Work whose line does not exist.
    pub(crate) fn subject(&mut self, subject: Subject) {
        if self.subjects.len() < REVIEW_ROWS_MAX {
            self.subjects.push(subject);
        }
    }

    /// Remembers them.
    pub(crate) fn note(self, unowned: &mut Unowned, now_ms: u64) {
        self.rows.into_iter().for_each(|row| unowned.add_row(row, now_ms));
        self.subjects.into_iter().for_each(|subject| unowned.add_subject(subject, now_ms));
    }
}
