//! Validation: rows become an index that can be trusted, steps, and findings. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use rekindle_database::Row;
use rekindle_recovery::{ActionKind, Finding, Label};

use crate::claims::index::{Claim as Attempted, LaneKey, LineIndex, Place};
use crate::claims::recovery::{
    BadKey, Counted, Item, Join, Known, Pieces, Step, Unreadable, Waiting, read,
};
use crate::claims::{CRASHES_MAX, Line, REVIEW, Run};
use crate::findings::Findings;
use crate::keys::queue as queue_key;
use crate::queues::definition::Definition;
use crate::queues::message::{Message, parse};
use crate::queues::recovery::table::{MESSAGES, Situation, Verdict};

/// What was read and can be trusted.
#[derive(Debug, Default)]
pub(crate) struct Trusted {
    /// The index of each queue by its number.
    pub(crate) queues: HashMap<u64, LineIndex>,
    /// What is to be done.
    pub(crate) steps: Vec<Step>,
    pub(crate) messages: u64,
    pub(crate) leases_kept: u64,
    pub(crate) set_aside: u64,
    /// Rows of units that were read; the others are known from an earlier run.
    pub(crate) read: u64,
    /// What waits for a person and belongs to no queue.
    pub(crate) waiting: Waiting,
    reclaims: u64,
    indexed: HashMap<&'static str, u64>,
}

impl Trusted {
    /// The indexes, in the order of their queues.
    pub(crate) fn into_indexes(self) -> impl Iterator<Item = LineIndex> {
        let mut queues: Vec<_> = self.queues.into_iter().collect();
        queues.sort_unstable_by_key(|(id, _)| *id);
        queues.into_iter().map(|(_, queue)| queue)
    }

    /// Everything that it comes to, in one form.
    #[cfg(debug_assertions)]
    pub(crate) fn sum(&self) -> impl std::fmt::Debug + PartialEq + use<> {
        let places = crate::claims::kept::places::of(self.queues.values());
        let mut steps: Vec<_> = self.steps.iter().map(|step| format!("{step:?}")).collect();
        steps.sort_unstable();
        (places, steps)
    }

    /// What is decided, counted.
    pub(crate) fn tally(&self) -> impl Iterator<Item = Counted> {
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

/// Judges every row.
pub(crate) fn validate(mut pieces: Pieces, run: &Run, now_ms: u64) -> (Trusted, Vec<Finding>) {
    let mut trusted = Trusted { read: pieces.units_read, ..Trusted::default() };
    let mut findings = Findings::default();
    for row in std::mem::take(&mut pieces.lines) {
        match definition(&row) {
            Ok(definition) => {
                let line = Line::Queue(Arc::new(definition));
                trusted.queues.insert(line.id(), LineIndex::new(line));
            }
            Err(found) => {
                let (what, keyspace) = (BadKey::Definition, "queues");
                let unreadable = Unreadable { what, keyspace, key: row.key.to_vec(), found };
                trusted.waiting.row(&mut findings, unreadable);
            }
        }
    }
    for (line, units) in std::mem::take(&mut pieces.unclaimed) {
        // `queue-1`: of lines that are known only.
        if let Some(queue) = trusted.queues.get_mut(&line) {
            trusted.messages += queue.adopt(units, now_ms, 0);
        }
    }
    let mut unreadable = vec![];
    let join = Join::new(false, pieces, &mut unreadable);
    for one in unreadable {
        trusted.waiting.row(&mut findings, one);
    }
    for item in join {
        trusted.judge(&item, run, now_ms, &mut findings);
    }
    (trusted, findings.finish())
}

fn definition(row: &Row) -> Result<Definition, String> {
    let name = queue_key::parse(&row.key).map_err(|malformed| malformed.found)?;
    Definition::parse(name, &row.value)
        .map_err(|malformed| format!("queue \"{name}\", {}", malformed.found))
}

impl Trusted {
    fn judge(&mut self, item: &Item, run: &Run, now_ms: u64, findings: &mut Findings) {
        let known = Known::of(item, run, now_ms);
        let (stored, message) = read(item.unit.as_ref(), parse);
        let situation = Situation {
            queue: self.queues.contains_key(&item.id.line),
            message: stored,
            claim: known.claim,
            attempts: known.stored_attempts,
            expiry: known.expiry,
        };
        let row = MESSAGES.decide(&situation);
        let subject = item.id;
        match row.then {
            Verdict::Serve => {}
            Verdict::KeepLease => self.leases_kept += 1,
            Verdict::Reclaim => {
                self.reclaims += 1;
                self.steps.push(Step::Settle { subject, stale: known.stale(item) });
            }
            Verdict::DropExpiry | Verdict::ServeAndDropExpiry | Verdict::RebuildExpiry => {
                if row.then == Verdict::RebuildExpiry {
                    self.leases_kept += 1;
                }
                *self.indexed.entry(row.label.0).or_default() += 1;
                self.steps.push(Step::Index { subject, stale: known.stale(item) });
            }
            Verdict::Ask => {
                self.set_aside += 1;
                match self.queues.get_mut(&subject.line) {
                    Some(queue) => queue.set_aside(subject.number, now_ms),
                    None => self.waiting.subject(subject),
                }
                let found = format!("{situation:?}");
                let file = format!("message {subject} of queue {}", subject.line);
                findings.tell(row.label, &file, "whole rows of a message of a queue", &found);
                return;
            }
        }
        if let Some(message) = message {
            self.restore(item, &known, &message, now_ms, findings);
        }
    }

    /// A message takes its place.
    fn restore(
        &mut self,
        item: &Item,
        known: &Known,
        message: &Message<'_>,
        now_ms: u64,
        findings: &mut Findings,
    ) {
        let subject = item.id;
        let Some(queue) = self.queues.get_mut(&subject.line) else { return };
        self.messages += 1;
        if known.waits_for_a_person() {
            self.set_aside += 1;
            queue.set_aside(subject.number, known.settled_ms().unwrap_or(now_ms));
            let file = format!("message {subject} of queue {}", subject.line);
            let found = format!("{CRASHES_MAX} crashes of the server in a row");
            findings.tell(REVIEW, &file, "fewer crashes", &found);
            return;
        }
        let attempts = known.attempts.as_ref().map(|attempts| attempts.due_ms);
        let due_ms = message.due_ms.max(attempts.unwrap_or(0));
        let place = match known.deadline() {
            Some(deadline_ms) => Place::Leased(deadline_ms),
            None if due_ms > now_ms => Place::Delayed(due_ms),
            None => Place::Ready,
        };
        let lane = LaneKey { priority: 0, fairness: message.fairness_key };
        let claim = Attempted { attempted: attempts.is_some(), due_ms: attempts.unwrap_or(0) };
        queue.restored(subject.number, lane, place, claim);
    }
}
