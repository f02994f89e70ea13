//! The settled attempts of a unit of work as they are stored.
//!
//! ```text
//! format 1, attempt 4, charged 4, grant 8, due_ms 8, count 1,
//! per settled attempt: attempt 4, cause 1, at_ms 8, reason (length 2, text)
//! ```
//! A unit has this row from its first settlement on, for as long as it lives. `grant` is the
//! last one that was settled: whoever holds its token may still finish the message until it is
//! granted again. A `due_ms` of all ones says that it waits for a person.

use crate::bytes::{Malformed, Reader, put_text16};
use crate::claims::{self, Cause};
use crate::limits::{HISTORY_MAX, REASON_BYTES_MAX};

/// The format of the value; persisted.
const FORMAT: u8 = 1;

/// `due_ms` of a message that is not ready before a person decides; persisted.
pub(crate) const UNDER_REVIEW: u64 = u64::MAX;

/// One settled attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// Which attempt.
    pub(crate) attempt: u32,
    /// Why it ended.
    pub(crate) cause: Cause,
    /// When, log time.
    pub(crate) at_ms: u64,
    /// In the owner's words.
    pub(crate) reason: String,
}

/// The settled attempts of a unit of work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// How often it was granted.
    pub(crate) attempt: u32,
    /// How many settlements count towards the limit.
    pub(crate) charged: u32,
    /// The last settled grant.
    pub(crate) grant: u64,
    /// When it is ready again, log time; 0: at once; [`UNDER_REVIEW`]: when a person says so.
    pub(crate) due_ms: u64,
    /// The newest settlements, oldest first.
    pub(crate) history: Vec<Settlement>,
}

impl Attempts {
    /// Adds a settlement; the oldest goes above the limit.
    pub(crate) fn add(&mut self, settled: Settlement) {
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(settled);
    }

    /// How many of the newest settlements are crashes of the server in a row.
    pub(crate) fn crashes_in_a_row(&self) -> usize {
        claims::crashes_in_a_row(self.history.iter().rev().map(|settled| settled.cause))
    }

    /// Forgets the crashes of the server at the end of the history: somebody answers for them.
    pub(crate) fn forget_crashes(&mut self) {
        while self.crashes_in_a_row() > 0 {
            let last = self.history.iter().rposition(|one| one.cause == Cause::ServerCrash);
            let Some(last) = last else { break };
            self.history.remove(last);
        }
    }

    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        debug_assert!(self.history.len() <= HISTORY_MAX);
        let mut bytes = Vec::with_capacity(48);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        bytes.extend_from_slice(&self.charged.to_le_bytes());
        bytes.extend_from_slice(&self.grant.to_le_bytes());
        bytes.extend_from_slice(&self.due_ms.to_le_bytes());
        bytes.push(u8::try_from(self.history.len()).expect("the history's limit is below 256"));
        for settled in &self.history {
            bytes.extend_from_slice(&settled.attempt.to_le_bytes());
            bytes.push(settled.cause as u8);
            bytes.extend_from_slice(&settled.at_ms.to_le_bytes());
            debug_assert!(settled.reason.len() <= REASON_BYTES_MAX);
            put_text16(&mut bytes, &settled.reason);
        }
        bytes
    }

    /// The attempts in stored bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(bytes).ok_or_else(|| Malformed::new("a message's attempts", bytes))
    }

    /// Only when the message is ready again, for the index.
    pub(crate) fn parse_due(bytes: &[u8]) -> Option<u64> {
        let mut reader = Reader::new(bytes);
        reader.take(17)?;
        reader.u64()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let attempt = reader.u32()?;
        let charged = reader.u32()?;
        let grant = reader.u64()?;
        let due_ms = reader.u64()?;
        let count = usize::from(reader.u8()?);
        let mut history = Vec::new();
        for _ in 0..count {
            let attempt = reader.u32()?;
            let cause = Cause::from_u8(reader.u8()?)?;
            let at_ms = reader.u64()?;
            let reason = reader.text16()?.to_owned();
            history.push(Settlement { attempt, cause, at_ms, reason });
        }
        reader.end()?;
        let whole = format == FORMAT && attempt > 0 && count <= HISTORY_MAX;
        whole.then_some(Self { attempt, charged, grant, due_ms, history })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn attempts_round_trip_and_every_cut_is_noticed() {
        let settled =
            Settlement { attempt: 2, cause: Cause::Failed, at_ms: 5, reason: "exit 1".into() };
        let attempts =
            Attempts { attempt: 2, charged: 1, grant: 44, due_ms: 9, history: vec![settled] };
        let bytes = attempts.encode();
        assert_eq!(Attempts::parse(&bytes).unwrap(), attempts);
        assert_eq!(Attempts::parse_due(&bytes), Some(9));
        for len in 0..bytes.len() {
            Attempts::parse(bytes.get(..len).unwrap()).unwrap_err();
        }
    }
}
