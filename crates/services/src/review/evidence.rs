//! The evidence of a review: its rows as they stand, without the payload.

use crate::audit::AuditRecord;
use crate::jobs::job::parse_head as parse_job;
use crate::loops::ExecutionDetail;
use crate::queues::message::parse_head;
use crate::review::judge::{Case, Stored};

/// One row of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowEvidence {
    /// Its keyspace.
    pub keyspace: &'static str,
    /// `good`, or what was expected and found instead.
    pub state: String,
}

/// The lease that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseEvidence {
    /// Who has it, in their own words.
    pub owner: String,
    /// When it was granted, log time in milliseconds.
    pub granted_ms: u64,
    /// When it runs out, log time in milliseconds.
    pub deadline_ms: u64,
}

/// An attempt that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledAttempt {
    /// Which one.
    pub attempt: u32,
    /// Why it ended.
    pub cause: &'static str,
    /// When, log time in milliseconds.
    pub at_ms: u64,
    /// In the owner's words.
    pub reason: String,
}

/// What a person looks at before a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The rows.
    pub rows: Vec<RowEvidence>,
    /// Bytes of the message's row, or of the row that cannot be read.
    pub bytes: u64,
    /// When the message was sent, log time in milliseconds, where that can be read.
    pub sent_ms: Option<u64>,
    /// How often it was granted, where that can be read.
    pub attempt: Option<u32>,
    /// How many of the ended attempts count towards the limit.
    pub charged: Option<u32>,
    /// Crashes of the server in a row.
    pub crashes: Option<u64>,
    /// The lease that it has.
    pub lease: Option<LeaseEvidence>,
    /// The attempts that ended, oldest first; the last 16.
    pub history: Vec<SettledAttempt>,
    /// The last decision about it.
    pub decision: Option<AuditRecord>,
    /// The execution of a loop that it is: all else is empty then.
    pub execution: Option<Box<ExecutionDetail>>,
}

fn row<T>(keyspace: &'static str, stored: &Stored<T>) -> Option<RowEvidence> {
    let state = match stored {
        Stored::Absent => return None,
        Stored::Good(_) => "good".to_owned(),
        Stored::Bad(why) => why.clone(),
    };
    Some(RowEvidence { keyspace, state })
}

impl Evidence {
    /// Of what was read.
    pub(crate) fn of(case: &Case, decision: Option<AuditRecord>) -> Self {
        let unread = case.row.as_ref().map(|row| RowEvidence {
            keyspace: row.keyspace,
            state: format!("key of {} bytes: {}", row.key.len(), shown(&row.key)),
        });
        let rows = [
            row(if case.is_job() { "jobs" } else { "messages" }, &case.unit),
            row("job_outcomes", &case.outcome),
            row("leases", &case.lease),
            row("attempts", &case.attempts),
            unread,
        ];
        let attempts = case.attempts.good();
        let whole = case.bytes.as_ref().filter(|_| case.unit.good().is_some());
        let sent_ms = whole.and_then(|bytes| {
            if case.is_job() {
                return Some(parse_job(bytes).ok()?.submitted_ms);
            }
            Some(parse_head(bytes).ok()?.sent_ms)
        });
        let history = attempts.map(|attempts| attempts.history.as_slice()).unwrap_or_default();
        Self {
            rows: rows.into_iter().flatten().collect(),
            bytes: case.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            sent_ms,
            attempt: attempts.map(|attempts| attempts.attempt),
            charged: attempts.map(|attempts| attempts.charged),
            crashes: attempts.map(|attempts| super::judge::crashes(attempts) as u64),
            lease: case.lease.good().map(|lease| LeaseEvidence {
                owner: lease.owner.clone(),
                granted_ms: lease.granted_ms,
                deadline_ms: lease.deadline_ms,
            }),
            history: history.iter().map(settled).collect(),
            decision,
            execution: None,
        }
    }
}

fn settled(settlement: &crate::claims::attempts::Settlement) -> SettledAttempt {
    SettledAttempt {
        attempt: settlement.attempt,
        cause: settlement.cause.as_str(),
        at_ms: settlement.at_ms,
        reason: settlement.reason.clone(),
    }
}

/// The beginning of a key, printable.
fn shown(key: &[u8]) -> String {
    const SHOWN: usize = 48;
    key.get(..SHOWN).unwrap_or(key).escape_ascii().to_string()
}
