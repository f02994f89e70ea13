//! An audit record as it is stored.
//!
//! ```text
//! format 1, at_ms 8, wall_ms 8, who text (2), action text (2), target text (2), why text (2),
//! result text (2)
//! ```

use crate::bytes::{Malformed, Reader, put_text16};
use crate::error::Error;
use crate::limits::AUDIT_TEXT_BYTES_MAX;

/// The format of the value; persisted.
const FORMAT: u8 = 1;

/// What is to be recorded. Names, ids, reasons and counts; never a payload, a token or a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewAudit<'a> {
    /// Who asked for it, as far as is known.
    pub who: &'a str,
    /// What was done: a noun and a verb, `queue.delete`.
    pub action: &'a str,
    /// To what: a name or an id.
    pub target: &'a str,
    /// In the words of who asked for it; empty where nobody must say it.
    pub why: &'a str,
    /// What came of it.
    pub result: &'a str,
}

impl NewAudit<'_> {
    fn texts(&self) -> [(&'static str, &str); 5] {
        let Self { who, action, target, why, result } = self;
        [("who", who), ("action", action), ("target", target), ("why", why), ("result", result)]
    }

    /// Refuses what is too long, or would not stand on one line.
    ///
    /// # Errors
    /// `Invalid`, with the name of the text.
    pub fn check(&self) -> Result<(), Error> {
        for (name, text) in self.texts() {
            if text.len() > AUDIT_TEXT_BYTES_MAX {
                let found = text.len();
                return Err(Error::invalid(format!(
                    "{name} of {found} bytes; an audit record has at most {AUDIT_TEXT_BYTES_MAX}"
                )));
            }
            if text.chars().any(char::is_control) {
                let message = format!("{name} has control characters; write it on one line");
                return Err(Error::invalid(message));
            }
        }
        Ok(())
    }

    /// The stored bytes.
    pub(crate) fn encode(&self, at_ms: u64, wall_ms: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&at_ms.to_le_bytes());
        bytes.extend_from_slice(&wall_ms.to_le_bytes());
        self.texts().iter().for_each(|(_, text)| put_text16(&mut bytes, text));
        bytes
    }
}

/// One audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number; dense, from 1.
    pub number: u64,
    /// The transaction that did it and recorded it.
    pub version: u64,
    /// When, log time in milliseconds.
    pub at_ms: u64,
    /// When, by the wall clock in milliseconds.
    pub wall_ms: u64,
    /// Who asked for it.
    pub who: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// Why.
    pub why: String,
    /// What came of it.
    pub result: String,
}

impl AuditRecord {
    /// The record with this number in the bytes of a row of that version.
    pub(crate) fn parse(number: u64, version: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(number, version, bytes).ok_or_else(|| Malformed::new("an audit record", bytes))
    }

    fn read(number: u64, version: u64, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let at_ms = reader.u64()?;
        let wall_ms = reader.u64()?;
        let mut text = || reader.text16().map(str::to_owned);
        let (who, action, target) = (text()?, text()?, text()?);
        let (why, result) = (text()?, text()?);
        reader.end()?;
        let record = Self { number, version, at_ms, wall_ms, who, action, target, why, result };
        (format == FORMAT).then_some(record)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_every_cut_is_noticed() {
        let new = NewAudit {
            who: "grpc 127.0.0.1",
            action: "queue.delete",
            target: "grün",
            why: "",
            result: "3 messages went with it",
        };
        let bytes = new.encode(5, 9);
        let record = AuditRecord::parse(7, 70, &bytes).unwrap();
        assert_eq!((record.number, record.version), (7, 70));
        assert_eq!((record.at_ms, record.wall_ms), (5, 9));
        assert_eq!((record.target.as_str(), record.why.as_str()), ("grün", ""));
        for len in 0..bytes.len() {
            AuditRecord::parse(7, 70, bytes.get(..len).unwrap()).unwrap_err();
        }
    }

    #[test]
    fn texts_stand_at_their_limit_and_on_one_line() {
        let long = "x".repeat(AUDIT_TEXT_BYTES_MAX + 1);
        let with = |why| NewAudit { why, ..NewAudit::default() };
        with(&long[1..]).check().unwrap();
        with(&long).check().unwrap_err();
        for wrong in ["a\nb", "\x1b[31m", "a\0"] {
            with(wrong).check().unwrap_err();
        }
    }
}
