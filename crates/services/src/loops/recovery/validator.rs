//! What the rows of an execution mean, by a table. Pure.

use rekindle_recovery::{Finding, Label, Row, Table};

use crate::claims::{self, Decision, Event, Run};
use crate::findings::Findings;
use crate::loops::id::LoopId;
use crate::loops::recovery::Strategies;
use crate::loops::recovery::scanner::{Piece, Pieces};
use crate::loops::recovery::transcripts::{self, Transcript};
use crate::loops::row::Stored;
use crate::loops::state::Status;

/// How long it is since something was alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Age {
    /// Short enough to go on.
    Fresh,
    /// A person decides.
    Stale,
    /// Too long.
    Expired,
}

/// How the step that was begun stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum InFlight {
    /// None was.
    None,
    /// Somebody has it, or what it started goes on.
    Held,
    /// Its job waits, or its claim is over.
    Interrupted,
    /// Its job is gone, or finished, and the execution was not told.
    Jobless,
}

/// All that is known of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    /// Its row can be read.
    pub(crate) read: bool,
    /// Its plan and its first event are there, and the plan knows it.
    pub(crate) related: bool,
    /// It is over.
    pub(crate) over: bool,
    /// It would go on by itself: pending or running, and nobody paused it.
    pub(crate) active: bool,
    pub(crate) in_flight: InFlight,
    pub(crate) age: Age,
}

impl Situation {
    fn whole(&self) -> bool {
        self.read && self.related && !self.over && self.in_flight != InFlight::Jobless
    }

    /// Nobody has it, and it would go on.
    fn interrupted(&self) -> bool {
        self.whole() && self.active && self.in_flight != InFlight::Held
    }
}

/// What is done about an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// Nothing: it is over.
    Over,
    /// Nothing: it waits for a person, for time, or for others.
    Waits,
    /// It goes on.
    GoOn,
    /// A person decides.
    Ask,
    /// It has failed.
    Fail,
    /// Its step is lost.
    Tell,
    /// It stays as it is, and is not served.
    Unread,
}

/// What the rows of an execution mean.
pub(crate) static LOOPS: Table<Situation, Verdict> = Table {
    rows: &[
        Row { label: Label("loop-1"), when: |s| s.read && s.over, then: Verdict::Over },
        Row { label: Label("loop-2"), when: |s| s.whole() && !s.active, then: Verdict::Waits },
        Row {
            label: Label("loop-3"),
            when: |s| {
                let held = s.whole() && s.active && s.in_flight == InFlight::Held;
                held || (s.interrupted() && s.age == Age::Fresh)
            },
            then: Verdict::GoOn,
        },
        Row {
            label: Label("loop-4"),
            when: |s| s.interrupted() && s.age == Age::Stale,
            then: Verdict::Ask,
        },
        Row {
            label: Label("loop-5"),
            when: |s| s.interrupted() && s.age == Age::Expired,
            then: Verdict::Fail,
        },
        Row {
            label: Label("loop-6"),
            when: |s| s.read && s.related && !s.over && s.in_flight == InFlight::Jobless,
            then: Verdict::Tell,
        },
        Row { label: UNREAD, when: |s| !s.read, then: Verdict::Unread },
        Row { label: UNRELATED, when: |s| s.read && !s.over && !s.related, then: Verdict::Unread },
    ],
};

const UNREAD: Label = Label("loop-7");
const UNRELATED: Label = Label("loop-8");
const BAD_PLAN: Label = Label("loop-9");

/// An execution that was judged.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) id: LoopId,
    pub(crate) stored: Stored,
    pub(crate) label: Label,
    pub(crate) verdict: Verdict,
}

/// What can be trusted.
#[derive(Debug, Default)]
pub(crate) struct Trusted {
    pub(crate) executions: Vec<Judged>,
    /// How long nothing was alive, milliseconds.
    pub(crate) down_ms: u64,
    /// Rows that cannot be read.
    pub(crate) unread: u64,
    /// The transcripts of those that are not over.
    pub(crate) transcripts: Vec<Transcript>,
    /// Places in them that are damaged.
    pub(crate) corrupted_records: u64,
}

pub(super) fn validate(
    pieces: Pieces,
    run: &Run,
    now_ms: u64,
    strategies: Strategies,
) -> (Trusted, Vec<Finding>) {
    let mut findings = Findings::default();
    let mut trusted = Trusted::default();
    for bad in &pieces.bad_keys {
        findings.tell(UNREAD, "keyspace loop_executions", bad.expected, &bad.found);
        trusted.unread += 1;
    }
    for (id, bad) in &pieces.bad_plans {
        findings.tell(BAD_PLAN, &format!("plan {id}"), bad.expected, &bad.found);
        trusted.unread += 1;
    }
    let signs = pieces.executions.iter().filter_map(|(_, piece)| last_sign(piece));
    let alive_ms = signs.max().map(|sign_ms| sign_ms.max(pieces.alive_ms));
    trusted.down_ms = alive_ms.map_or(0, |alive_ms| now_ms.saturating_sub(alive_ms));
    let age = match trusted.down_ms {
        down_ms if down_ms <= strategies.resume_within_ms => Age::Fresh,
        down_ms if down_ms <= strategies.recovery_timeout_ms => Age::Stale,
        _ => Age::Expired,
    };
    for (id, piece) in pieces.executions {
        let related = piece.has_first && is_related(id, &piece, &pieces.plans);
        let situation = situation(&piece, related, run, now_ms, age);
        let row = LOOPS.decide(&situation);
        let place = format!("execution {id}");
        if let (Ok(stored), Some(found)) = (&piece.stored, piece.transcript) {
            transcripts::judge(id, stored, found, &mut trusted, &mut findings);
        }
        match piece.stored {
            Err(bad) => {
                findings.tell(row.label, &place, bad.expected, &bad.found);
                trusted.unread += 1;
            }
            Ok(_) if row.then == Verdict::Unread => {
                let expected = "its plan and its first event";
                findings.tell(row.label, &place, expected, "they are missing, or do not know it");
                trusted.unread += 1;
            }
            Ok(stored) => {
                if row.then == Verdict::Tell {
                    let found = "none that is not finished";
                    findings.tell(row.label, &place, "the job of its step", found);
                }
                let (label, verdict) = (row.label, row.then);
                trusted.executions.push(Judged { id, stored, label, verdict });
            }
        }
    }
    (trusted, findings.finish())
}

/// When something of it was alive last.
fn last_sign(piece: &Piece) -> Option<u64> {
    let stored = piece.stored.as_ref().ok()?;
    let lease = piece.job.as_ref().and_then(|job| job.lease.as_ref());
    Some(lease.map_or(0, |lease| lease.granted_ms).max(stored.updated_ms))
}

fn is_related(
    id: LoopId,
    piece: &Piece,
    plans: &std::collections::HashMap<LoopId, crate::loops::row::PlanRow>,
) -> bool {
    let Ok(stored) = &piece.stored else { return false };
    let index = usize::try_from(stored.index).unwrap_or(usize::MAX);
    let spec = plans.get(&stored.plan).and_then(|plan| plan.specs.get(index));
    spec.is_some_and(|spec| spec.execution == id && spec.name == stored.name)
}

fn situation(piece: &Piece, related: bool, run: &Run, now_ms: u64, age: Age) -> Situation {
    let Ok(stored) = &piece.stored else {
        let (over, active, in_flight) = (false, false, InFlight::None);
        return Situation { read: false, related, over, active, in_flight, age };
    };
    let state = &stored.state;
    let status = state.status(now_ms.max(stored.updated_ms));
    let in_flight = match (state.in_flight(), &piece.job) {
        (None, _) => InFlight::None,
        (Some(_), Some(job)) if job.is_open => {
            let held = job.lease.as_ref().is_some_and(|lease| {
                let situation = run.situation(job.id, lease, Event::Lead, now_ms);
                !matches!(claims::decide(situation), Decision::Settle(_))
            });
            if held { InFlight::Held } else { InFlight::Interrupted }
        }
        (Some(_), _) => InFlight::Jobless,
    };
    let active = matches!(status, Status::Pending | Status::Running)
        && !state.is_paused()
        && state.review().is_none();
    let over = status.is_finished();
    Situation { read: true, related, over, active, in_flight, age }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of conditions matches exactly one row.
    ///
    /// proves: L3, L7
    /// produces: loop-1, loop-2, loop-3, loop-4, loop-5, loop-6, loop-7, loop-8
    #[test]
    fn each_situation_has_one_row() {
        let in_flights = [InFlight::None, InFlight::Held, InFlight::Interrupted, InFlight::Jobless];
        let mut all = Vec::new();
        for bits in 0..16_u8 {
            for in_flight in in_flights {
                for age in [Age::Fresh, Age::Stale, Age::Expired] {
                    let bit = |at: u8| bits & (1 << at) != 0;
                    let (read, related, over, active) = (bit(0), bit(1), bit(2), bit(3));
                    all.push(Situation { read, related, over, active, in_flight, age });
                }
            }
        }
        assert_eq!(LOOPS.check(all), Vec::<String>::new());
    }
}
