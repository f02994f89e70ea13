//! How a job ended, as it is stored.
//!
//! ```text
//! format 1, status 1, finished_ms 8, attempt 4, granted_ms 8, by (length 1, text), detail
//! ```
//! `attempt` 0: it ended in none. The detail is the result of a completed job, the error of a
//! failed one, why a cancelled one was called off.

use crate::bytes::{Malformed, Reader, put_text8, truncated};
use crate::jobs::Status;
use crate::jobs::state::of_outcome;
use crate::limits::OWNER_BYTES_MAX;

/// The format of the value; persisted.
const FORMAT: u8 = 1;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome<'a> {
    /// The number of its status.
    pub(crate) status: u8,
    /// When, log time.
    pub(crate) finished_ms: u64,
    /// In which attempt; 0: in none.
    pub(crate) attempt: u32,
    /// When that began, log time.
    pub(crate) granted_ms: u64,
    /// Whose doing it was.
    pub(crate) by: &'a str,
    /// Its result, or why.
    pub(crate) detail: &'a [u8],
}

impl<'a> Outcome<'a> {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        debug_assert!(of_outcome(self.status).is_some(), "a job ends in one of three ways");
        let by = truncated(self.by, OWNER_BYTES_MAX);
        let mut bytes = Vec::with_capacity(23 + by.len() + self.detail.len());
        bytes.push(FORMAT);
        bytes.push(self.status);
        bytes.extend_from_slice(&self.finished_ms.to_le_bytes());
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        bytes.extend_from_slice(&self.granted_ms.to_le_bytes());
        put_text8(&mut bytes, by);
        bytes.extend_from_slice(self.detail);
        bytes
    }

    /// The outcome in stored bytes.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(bytes).ok_or_else(|| Malformed::new("the end of a job", bytes))
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (format, status) = (reader.u8()?, reader.u8()?);
        let finished_ms = reader.u64()?;
        let (attempt, granted_ms) = (reader.u32()?, reader.u64()?);
        let by = reader.text8()?;
        let whole = format == FORMAT && of_outcome(status).is_some();
        let detail = reader.rest();
        whole.then_some(Self { status, finished_ms, attempt, granted_ms, by, detail })
    }

    /// The status of the job.
    pub(crate) fn status(&self) -> Status {
        of_outcome(self.status).expect("an outcome is read or made with a status that there is")
    }
}

/// Only the number of the status and when, for the index.
pub(crate) fn parse_end(bytes: &[u8]) -> Option<(u8, u64)> {
    let mut reader = Reader::new(bytes);
    let (_format, status) = (reader.u8()?, reader.u8()?);
    Some((status, reader.u64()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::jobs::state::{CANCELLED, COMPLETED, FAILED};

    #[test]
    fn outcomes_round_trip_and_every_cut_of_the_head_is_noticed() {
        for status in [COMPLETED, FAILED, CANCELLED] {
            let by = "worker-7";
            let detail = &b"ok"[..];
            let outcome = Outcome { status, finished_ms: 9, attempt: 2, granted_ms: 4, by, detail };
            let bytes = outcome.encode();
            assert_eq!(Outcome::parse(&bytes).unwrap(), outcome);
            assert_eq!(parse_end(&bytes), Some((status, 9)));
            for len in 0..bytes.len() - detail.len() {
                Outcome::parse(bytes.get(..len).unwrap()).unwrap_err();
            }
            let mut wrong = bytes.clone();
            wrong[1] = 9;
            Outcome::parse(&wrong).unwrap_err();
        }
    }
}
