//! `journal dump`: a line per segment, frame, record, transaction and change.

use std::io;
use std::path::Path;

use rekindle_database::{DumpLine, Error, Operation};
use rekindle_env::Env;
use rekindle_recovery::{Place, exit};
use serde::Serialize;

use crate::cli::Outcome;
use crate::cli::output::{Out, Text, say};

/// A line as scripts read it; `type` says which.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Segment {
        file: &'a str,
        number: u64,
        incarnation: u64,
        first_position: u64,
        from: u64,
        to: u64,
    },
    Frame {
        file: &'a str,
        offset: u64,
        lsn: u64,
        durable_lsn: u64,
        records: u16,
        bytes: u32,
    },
    Record {
        position: u64,
        term: u64,
        kind: String,
        bytes: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    Transaction {
        id: u64,
        version: Option<u64>,
        log_time_ms: Option<u64>,
    },
    Put {
        keyspace: u16,
        key: Text<'a>,
        value: Text<'a>,
    },
    Delete {
        keyspace: u16,
        key: Text<'a>,
    },
    DeleteRange {
        keyspace: u16,
        start: Text<'a>,
        end: Text<'a>,
    },
    Loss {
        from_position: u64,
        to_position: u64,
        audit: Text<'a>,
    },
}

impl<'a> From<DumpLine<'a>> for Line<'a> {
    fn from(line: DumpLine<'a>) -> Self {
        match line {
            DumpLine::Segment { file, seq, incarnation, first_position, base_lsn, end_lsn } => {
                let (number, from, to) = (seq, base_lsn, end_lsn);
                Self::Segment { file, number, incarnation, first_position, from, to }
            }
            DumpLine::Frame { place, lsn, durable_lsn, records, body_len } => {
                let Place { file, offset, .. } = place;
                let (offset, bytes) = (*offset, body_len);
                Self::Frame { file, offset, lsn, durable_lsn, records, bytes }
            }
            DumpLine::Record { position, term, kind, payload_len, undecodable } => {
                let kind = format!("{kind:?}").to_lowercase();
                Self::Record { position, term, kind, bytes: payload_len, error: undecodable }
            }
            DumpLine::Transaction { id, version, log_time_ms } => {
                Self::Transaction { id, version, log_time_ms }
            }
            DumpLine::Operation(operation) => operation.into(),
            DumpLine::Loss { from_position, to_position, audit } => {
                Self::Loss { from_position, to_position, audit: Text(audit) }
            }
        }
    }
}

impl<'a> From<Operation<'a>> for Line<'a> {
    fn from(operation: Operation<'a>) -> Self {
        match operation {
            Operation::Put { keyspace, key, value } => {
                Self::Put { keyspace: keyspace.0, key: Text(key), value: Text(value) }
            }
            Operation::Delete { keyspace, key } => {
                Self::Delete { keyspace: keyspace.0, key: Text(key) }
            }
            Operation::DeleteRange { keyspace, start, end } => {
                Self::DeleteRange { keyspace: keyspace.0, start: Text(start), end: Text(end) }
            }
        }
    }
}

impl Line<'_> {
    /// The line for people: what contains it stands less far to the right.
    fn text(&self) -> String {
        match self {
            Self::Segment { file, number, incarnation, first_position, from, to } => format!(
                "segment {number} {file}: run {incarnation}, position {first_position}, \
                 log addresses {from}..{to}"
            ),
            Self::Frame { offset, lsn, durable_lsn, records, bytes, .. } => format!(
                "  frame {lsn} at {offset}: {records} records, {bytes} bytes, durable {durable_lsn}"
            ),
            Self::Record { position, term, kind, bytes, error } => {
                let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                format!("    record {position} {kind}: term {term}, {bytes} bytes{error}")
            }
            Self::Transaction { id, version, .. } => match version {
                Some(version) => format!("      transaction {id}: version {version}"),
                None => format!("      transaction {id}"),
            },
            Self::Put { keyspace, key, value } => {
                format!("        put {keyspace}/{}: {} bytes", escaped(key), value.0.len())
            }
            Self::Delete { keyspace, key } => {
                format!("        delete {keyspace}/{}", escaped(key))
            }
            Self::DeleteRange { keyspace, start, end } => {
                format!("        delete {keyspace}/{}..{}", escaped(start), escaped(end))
            }
            Self::Loss { from_position, to_position, audit } => {
                format!("      loss of {from_position}..={to_position}: {}", escaped(audit))
            }
        }
    }
}

fn escaped<'a>(bytes: &Text<'a>) -> std::slice::EscapeAscii<'a> {
    bytes.0.escape_ascii()
}

pub(super) fn run(data: &Path, json: bool) -> Outcome {
    let mut out = Out::new();
    let mut closed: Option<io::Error> = None;
    let told = rekindle_database::dump(data, &Env::real(), &mut |line| {
        let line = Line::from(line);
        let written = if json { out.json(&line) } else { out.line(&line.text()) };
        written.map_err(|error| {
            let message = error.to_string();
            closed = Some(error);
            Error::Invalid(message)
        })
    });
    if let Some(error) = closed {
        return Err(error.into());
    }
    // What is whole is printed, whatever follows.
    out.flush()?;
    let report = told?;
    for finding in report.findings().filter(|finding| finding.verdict.is_some()) {
        say(&finding.to_string());
    }
    if report.code != exit::CLEAN {
        say(&report.verdict_line());
    }
    Ok(report.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_database::KeyspaceId;

    #[test]
    fn lines_say_their_type_and_bytes_are_readable() {
        let put = Operation::Put { keyspace: KeyspaceId(3), key: b"k\xFF", value: b"v" };
        let line = Line::from(DumpLine::Operation(put));
        let json = serde_json::to_string(&line).expect("a line serializes");
        assert_eq!(json, r#"{"type":"put","keyspace":3,"key":{"base64":"a/8="},"value":"v"}"#);
        assert_eq!(line.text(), r"        put 3/k\xff: 1 bytes");
        let transaction = DumpLine::Transaction { id: 7, version: None, log_time_ms: None };
        let json = serde_json::to_string(&Line::from(transaction)).expect("a line serializes");
        assert_eq!(json, r#"{"type":"transaction","id":7,"version":null,"log_time_ms":null}"#);
    }
}
