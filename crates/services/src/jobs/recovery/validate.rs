//! Validation: rows become an index that can be trusted, steps, and findings. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use rekindle_database::Row;
use rekindle_recovery::{ActionKind, Finding, Label};

use crate::claims::index::{Claim as Attempted, Due, LineIndex, Place};
use crate::claims::recovery::{
    BadKey, Counted, Item, Join, Known, Pieces, Step, Unreadable, Waiting, read,
};
use crate::claims::{CRASHES_MAX, Cause, Decision, Line, REVIEW, Run};
use crate::findings::Findings;
use crate::jobs::job::{Head, parse_head};
use crate::jobs::kind::JobType;
use crate::jobs::look::Now;
use crate::jobs::outcome::Outcome;
use crate::jobs::recovery::table::{JOBS, Situation, Verdict};
use crate::keys::queue as name_key;
use crate::schedules::cron::Pattern;
use crate::schedules::row::Stored as Schedule;

/// What was read and can be trusted.
#[derive(Debug, Default)]
pub(crate) struct Trusted {
    /// The index of each type by its number.
    pub(crate) types: HashMap<u64, LineIndex>,
    /// What is to be done.
    pub(crate) steps: Vec<Step>,
    /// Jobs that are not finished.
    pub(crate) jobs: u64,
    pub(crate) finished: u64,
    pub(crate) claims_kept: u64,
    pub(crate) set_aside: u64,
    /// Rows of units that were read; the others are known from an earlier run.
    pub(crate) read: u64,
    /// Schedules by their names.
    pub(crate) schedules: Vec<(String, Schedule, Pattern)>,
    /// What waits for a person and belongs to no type.
    pub(crate) waiting: Waiting,
    /// Claims that are over for their owners, by what becomes of them.
    over: HashMap<Option<Decision>, u64>,
    indexed: HashMap<&'static str, u64>,
}

impl Trusted {
    /// The indexes, in the order of their types.
    pub(crate) fn into_indexes(self) -> impl Iterator<Item = LineIndex> {
        let mut types: Vec<_> = self.types.into_iter().collect();
        types.sort_unstable_by_key(|(id, _)| *id);
        types.into_iter().map(|(_, kind)| kind)
    }

    /// Everything that it comes to, in one form.
    #[cfg(debug_assertions)]
    pub(crate) fn sum(&self) -> impl std::fmt::Debug + PartialEq + use<> {
        let places = crate::claims::kept::places::of(self.types.values());
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
        let over = |decision| self.over.get(&Some(decision)).copied().unwrap_or(0);
        let settled = |label: &'static str, cause, why| {
            (ActionKind::Reclaim, Label(label), over(Decision::Settle(cause)), why)
        };
        let resumed = over(Decision::Resume);
        let goes_on = "what was started of them goes on, or ended on record";
        [
            (ActionKind::Keep, Label("job-2"), self.claims_kept, "claimed until their deadline"),
            settled("job-3", Cause::LeaseExpired, "their claim ran out"),
            settled("claim-5", Cause::Released, "the server died before they were begun"),
            settled("claim-6", Cause::Shutdown, "the server ended while they were worked on"),
            settled("claim-7", Cause::ServerCrash, "the server died while they were worked on"),
            (ActionKind::Resume, Label("claim-11"), resumed, goes_on),
            indexed("job-5"),
            indexed("job-6"),
        ]
        .into_iter()
    }
}

/// Judges every row.
pub(crate) fn validate(mut pieces: Pieces, run: &Run, now: Now) -> (Trusted, Vec<Finding>) {
    let mut trusted = Trusted { read: pieces.units_read, ..Trusted::default() };
    let mut findings = Findings::default();
    for row in std::mem::take(&mut pieces.lines) {
        match kind(&row) {
            Ok(kind) => {
                let line = Line::Jobs(Arc::new(kind));
                trusted.types.insert(line.id(), LineIndex::new(line));
            }
            Err(found) => {
                let (what, keyspace) = (BadKey::Type, "job_types");
                let unreadable = Unreadable { what, keyspace, key: row.key.to_vec(), found };
                trusted.waiting.row(&mut findings, unreadable);
            }
        }
    }
    for row in std::mem::take(&mut pieces.schedules) {
        match schedule(&row) {
            Ok(schedule) => trusted.schedules.push(schedule),
            Err(found) => {
                let (what, keyspace) = (BadKey::Schedule, "schedules");
                let unreadable = Unreadable { what, keyspace, key: row.key.to_vec(), found };
                trusted.waiting.row(&mut findings, unreadable);
            }
        }
    }
    for (line, units) in std::mem::take(&mut pieces.unclaimed) {
        // `job-1` and `job-4`: of types that are known only.
        if let Some(kind) = trusted.types.get_mut(&line) {
            trusted.finished += units.finished.len() as u64;
            trusted.jobs += kind.adopt(units, now.log_ms, now.wall_ms);
        }
    }
    let mut unreadable = vec![];
    let join = Join::new(true, pieces, &mut unreadable);
    for one in unreadable {
        trusted.waiting.row(&mut findings, one);
    }
    for item in join {
        trusted.judge(&item, run, now, &mut findings);
    }
    (trusted, findings.finish())
}

fn kind(row: &Row) -> Result<JobType, String> {
    let name = name_key::parse(&row.key).map_err(|malformed| malformed.found)?;
    JobType::parse(name, &row.value)
        .map_err(|malformed| format!("job type \"{name}\", {}", malformed.found))
}

fn schedule(row: &Row) -> Result<(String, Schedule, Pattern), String> {
    let name = name_key::parse(&row.key).map_err(|malformed| malformed.found)?;
    let (stored, pattern) = Schedule::parse(&row.value)
        .map_err(|malformed| format!("schedule \"{name}\", {}", malformed.found))?;
    Ok((name.to_owned(), stored, pattern))
}

impl Trusted {
    fn judge(&mut self, item: &Item, run: &Run, now: Now, findings: &mut Findings) {
        let known = Known::of(item, run, now.log_ms);
        let (job, head) = read(item.unit.as_ref(), parse_head);
        let (outcome, end) = read(item.outcome.as_ref(), Outcome::parse);
        let situation = Situation {
            kind: self.types.contains_key(&item.id.line),
            job,
            outcome,
            claim: known.claim,
            attempts: known.stored_attempts,
            expiry: known.expiry,
        };
        let row = JOBS.decide(&situation);
        let subject = item.id;
        match row.then {
            Verdict::Serve | Verdict::Finished => {}
            Verdict::KeepClaim => self.claims_kept += 1,
            Verdict::Reclaim => {
                *self.over.entry(known.decision).or_default() += 1;
                self.steps.push(Step::Settle { subject, stale: known.stale(item) });
            }
            Verdict::DropExpiry | Verdict::RebuildExpiry => {
                if row.then == Verdict::RebuildExpiry {
                    self.claims_kept += 1;
                }
                *self.indexed.entry(row.label.0).or_default() += 1;
                self.steps.push(Step::Index { subject, stale: known.stale(item) });
            }
            Verdict::Ask => {
                self.set_aside += 1;
                match self.types.get_mut(&subject.line) {
                    Some(kind) => kind.set_aside(subject.number, now.log_ms),
                    None => self.waiting.subject(subject),
                }
                let found = format!("{situation:?}");
                let file = format!("job {subject}");
                findings.tell(row.label, &file, "whole rows of a job of a type", &found);
                return;
            }
        }
        match (head, end) {
            (Some(_), Some(end)) => self.finished(item, &end),
            (Some(head), None) => self.restore(item, &known, &head, now, findings),
            (None, _) => {}
        }
    }

    /// A finished job is known by its end.
    fn finished(&mut self, item: &Item, end: &Outcome<'_>) {
        let Some(kind) = self.types.get_mut(&item.id.line) else { return };
        self.finished += 1;
        kind.finished(item.id.number, end.status, end.finished_ms);
    }

    /// A job takes its place.
    fn restore(
        &mut self,
        item: &Item,
        known: &Known,
        head: &Head<'_>,
        now: Now,
        findings: &mut Findings,
    ) {
        let subject = item.id;
        let Some(kind) = self.types.get_mut(&subject.line) else { return };
        self.jobs += 1;
        if known.waits_for_a_person() {
            self.set_aside += 1;
            kind.set_aside(subject.number, known.settled_ms().unwrap_or(now.log_ms));
            let file = format!("job {subject}");
            let found = format!("{CRASHES_MAX} crashes of the server in a row");
            findings.tell(REVIEW, &file, "fewer crashes", &found);
            return;
        }
        let attempts = known.attempts.as_ref().map(|attempts| attempts.due_ms);
        let place = match (known.deadline(), attempts, head.due()) {
            (Some(deadline_ms), ..) => Place::Leased(deadline_ms),
            (None, Some(due_ms), _) if due_ms > now.log_ms => Place::Delayed(due_ms),
            // What was tried once had come to its time, whatever the clock says now.
            (None, Some(_), _) => Place::Ready,
            (None, None, Due::Wall(at_ms)) if at_ms > now.wall_ms => Place::Scheduled(at_ms),
            (None, None, _) => Place::Ready,
        };
        let claim = Attempted { attempted: attempts.is_some(), due_ms: attempts.unwrap_or(0) };
        kind.restored(subject.number, head.lane(), place, claim);
    }
}
