//! Validation: rows become an index that can be trusted, steps, and findings. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use rekindle_database::Row;
use rekindle_recovery::{ActionKind, Finding, Label};

use crate::claims::{self, CRASHES_MAX, Decision, Event, REVIEW};
use crate::findings::Findings;
use crate::keys::queue as queue_key;
use crate::limits::REVIEW_ROWS_MAX;
use crate::queues::MessageId;
use crate::queues::attempts::{Attempts, UNDER_REVIEW};
use crate::queues::definition::Definition;
use crate::queues::index::QueueIndex;
use crate::queues::lease::Lease;
use crate::queues::message::parse;
use crate::queues::recovery::scan::{Item, Join, Pieces, Unreadable};
use crate::queues::recovery::table::{
    BadKey, Claim, Expiry, MESSAGES, Situation, Stored, UNREADABLE, Verdict,
};
use crate::queues::recovery::{Step, place, restore};
use crate::queues::review::{Unowned, UnreadRow};

/// What was read and can be trusted.
#[derive(Debug, Default)]
pub(crate) struct Trusted {
    /// The index of each queue by its number.
    pub(crate) queues: HashMap<u64, QueueIndex>,
    /// What is to be done.
    pub(crate) steps: Vec<Step>,
    pub(crate) messages: u64,
    pub(crate) leases_kept: u64,
    pub(crate) set_aside: u64,
    /// What waits for a person and belongs to no queue.
    pub(crate) waiting: Waiting,
    reclaims: u64,
    indexed: HashMap<&'static str, u64>,
}

impl Trusted {
    /// The indexes, in the order of their queues.
    pub(crate) fn into_indexes(self) -> impl Iterator<Item = QueueIndex> {
        let mut queues: Vec<_> = self.queues.into_iter().collect();
        queues.sort_unstable_by_key(|(id, _)| *id);
        queues.into_iter().map(|(_, queue)| queue)
    }

    /// What is decided, counted.
    pub(crate) fn tally(&self) -> impl Iterator<Item = (ActionKind, Label, u64, &'static str)> {
        let indexed = |label: &'static str| {
            let count = self.indexed.get(label).copied().unwrap_or(0);
            (ActionKind::Rebuild, Label(label), count, "the index of leases by time is made again")
        };
        [
            (ActionKind::Keep, Label("queue-2"), self.leases_kept, "leased until their deadline"),
            (ActionKind::Reclaim, Label("queue-3"), self.reclaims, "their lease ran out"),
            indexed("queue-4"),
            indexed("queue-5"),
            indexed("queue-6"),
        ]
        .into_iter()
    }
}

/// What waits for a person and belongs to no queue; as many as are remembered.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    rows: Vec<UnreadRow>,
    messages: Vec<MessageId>,
}

impl Waiting {
    fn row(&mut self, unreadable: &Unreadable) {
        if self.rows.len() < REVIEW_ROWS_MAX {
            let Unreadable { what, keyspace, key, .. } = unreadable;
            self.rows.push(UnreadRow { what: *what, keyspace, key: key.clone() });
        }
    }

    fn message(&mut self, message: MessageId) {
        if self.messages.len() < REVIEW_ROWS_MAX {
            self.messages.push(message);
        }
    }

    /// Remembers them.
    pub(crate) fn note(self, unowned: &mut Unowned, now_ms: u64) {
        self.rows.into_iter().for_each(|row| unowned.add_row(row, now_ms));
        self.messages.into_iter().for_each(|message| unowned.add_message(message, now_ms));
    }
}

/// Judges every row.
pub(crate) fn validate(pieces: Pieces, now_ms: u64) -> (Trusted, Vec<Finding>) {
    let mut trusted = Trusted::default();
    let mut findings = Findings::default();
    let Pieces { queues, messages, leases, attempts, lease_expiry } = pieces;
    for row in queues {
        match definition(&row) {
            Ok(definition) => {
                trusted.queues.insert(definition.id, QueueIndex::new(Arc::new(definition)));
            }
            Err(found) => {
                let (what, keyspace) = (BadKey::Definition, "queues");
                let unreadable = Unreadable { what, keyspace, key: row.key.to_vec(), found };
                trusted.waiting.row(&unreadable);
                tell_unreadable(&mut findings, unreadable);
            }
        }
    }
    let mut unreadable = vec![];
    let join = Join::new(messages, leases, attempts, lease_expiry, &mut unreadable);
    for one in unreadable {
        trusted.waiting.row(&one);
        tell_unreadable(&mut findings, one);
    }
    for item in join {
        trusted.judge(&item, now_ms, &mut findings);
    }
    (trusted, findings.finish())
}

fn tell_unreadable(findings: &mut Findings, unreadable: Unreadable) {
    let row = UNREADABLE.decide(&unreadable.what);
    let file = format!("keyspace {}", unreadable.keyspace);
    findings.tell(row.label, &file, row.then, &unreadable.found);
}

fn definition(row: &Row) -> Result<Definition, String> {
    let name = queue_key::parse(&row.key).map_err(|malformed| malformed.found)?;
    Definition::parse(name, &row.value)
        .map_err(|malformed| format!("queue \"{name}\", {}", malformed.found))
}

/// The rows of a message, read.
struct Known<'a> {
    fairness_key: &'a str,
    due_ms: u64,
    lease: Option<Lease>,
    attempts: Option<Attempts>,
    situation: Situation,
}

impl Known<'_> {
    /// It died with the server too often.
    fn waits_for_a_person(&self) -> bool {
        let attempts = self.attempts.as_ref().filter(|_| self.lease.is_none());
        attempts.is_some_and(|attempts| attempts.due_ms == UNDER_REVIEW)
    }

    /// When its last attempt ended.
    fn settled_ms(&self) -> Option<u64> {
        Some(self.attempts.as_ref()?.history.last()?.at_ms)
    }
}

fn read(item: &Item, queue: bool, now_ms: u64) -> Known<'_> {
    let mut known = Known {
        fairness_key: "",
        due_ms: 0,
        lease: None,
        attempts: None,
        situation: Situation {
            queue,
            message: Stored::Absent,
            claim: Claim::None,
            attempts: Stored::Absent,
            expiry: Expiry::None,
        },
    };
    let situation = &mut known.situation;
    if let Some(row) = &item.message {
        situation.message = Stored::Bad;
        if let Ok(message) = parse(&row.value) {
            situation.message = Stored::Good;
            known.fairness_key = message.fairness_key;
            known.due_ms = message.due_ms;
        }
    }
    if let Some(row) = &item.lease {
        known.lease = Lease::parse(&row.value, row.version).ok();
        let decide = |lease: &Lease| {
            claims::decide(claims::Situation::external(Event::Lead, lease.deadline_ms <= now_ms))
        };
        situation.claim = match known.lease.as_ref().map(decide) {
            Some(Decision::Keep) => Claim::Live,
            Some(Decision::Settle(_)) => Claim::Due,
            None => Claim::Bad,
        };
    }
    if let Some(row) = &item.attempts {
        known.attempts = Attempts::parse(&row.value).ok();
        situation.attempts = if known.attempts.is_some() { Stored::Good } else { Stored::Bad };
    }
    let deadline = known.lease.as_ref().map(|lease| lease.deadline_ms);
    situation.expiry = match (item.expiries.as_slice(), deadline) {
        ([], _) => Expiry::None,
        ([only], Some(deadline)) if *only == deadline => Expiry::Match,
        _ => Expiry::Other,
    };
    known
}

impl Trusted {
    fn judge(&mut self, item: &Item, now_ms: u64, findings: &mut Findings) {
        let known = read(item, self.queues.contains_key(&item.id.queue), now_ms);
        let row = MESSAGES.decide(&known.situation);
        let deadline = known.lease.as_ref().map(|lease| lease.deadline_ms);
        let stale = || -> Vec<u64> {
            item.expiries.iter().copied().filter(|&at| Some(at) != deadline).collect()
        };
        let message = item.id;
        match row.then {
            Verdict::Serve => {}
            Verdict::KeepLease => self.leases_kept += 1,
            Verdict::Reclaim => {
                self.reclaims += 1;
                self.steps.push(Step::Reclaim { message, stale: stale() });
            }
            Verdict::DropExpiry | Verdict::ServeAndDropExpiry | Verdict::RebuildExpiry => {
                if row.then == Verdict::RebuildExpiry {
                    self.leases_kept += 1;
                }
                *self.indexed.entry(row.label.0).or_default() += 1;
                self.steps.push(Step::Index { message, stale: stale() });
            }
            Verdict::Ask => {
                self.set_aside += 1;
                match self.queues.get_mut(&message.queue) {
                    Some(queue) => queue.set_aside(message.number, now_ms),
                    None => self.waiting.message(message),
                }
                let found = format!("{:?}", known.situation);
                let file = format!("message {message} of queue {}", message.queue);
                findings.tell(row.label, &file, "whole rows of a message of a queue", &found);
                return;
            }
        }
        let Some(queue) = self.queues.get_mut(&message.queue) else { return };
        if item.message.is_some() {
            self.messages += 1;
            if known.waits_for_a_person() {
                self.set_aside += 1;
                queue.set_aside(message.number, known.settled_ms().unwrap_or(now_ms));
                let file = format!("message {message} of queue {}", message.queue);
                let found = format!("{CRASHES_MAX} crashes of the server in a row");
                findings.tell(REVIEW, &file, "fewer crashes", &found);
                return;
            }
            let attempts = known.attempts.as_ref().map(|attempts| attempts.due_ms);
            let due_ms = known.due_ms.max(attempts.unwrap_or(0));
            let place = place(deadline, due_ms, now_ms);
            restore(queue, message.number, known.fairness_key, place, attempts);
        }
    }
}
