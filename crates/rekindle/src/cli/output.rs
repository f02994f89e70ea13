//! Standard output for scripts, standard error for people, and bytes as JSON.
//!
//! Invariant: a write that fails is an error of the command, never a panic: readers may go away.

use std::io::{self, BufWriter, StdoutLock, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekindle_recovery::exit;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::failure::Failure;

/// Standard output, locked and buffered.
pub(super) struct Out {
    inner: BufWriter<StdoutLock<'static>>,
}

impl Out {
    pub(super) fn new() -> Self {
        Self { inner: BufWriter::new(io::stdout().lock()) }
    }

    /// A value as one line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.inner, value)?;
        self.inner.write_all(b"\n")
    }

    /// A line of text.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.inner.write_all(line.as_bytes())?;
        self.inner.write_all(b"\n")
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }

    /// Everything is handed to whoever reads.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A write to standard output failed. A reader that has seen enough needs no explanation.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(exit::REFUSED, "");
        }
        Self::io("cannot write to standard output", &error)
    }
}

/// Tells people something. Nobody can be told that standard error is closed.
pub(super) fn say(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Passes on what somebody else told people.
pub(super) fn stderr_bytes(bytes: &[u8]) {
    drop(io::stderr().lock().write_all(bytes));
}

/// Bytes in JSON: text where they are UTF-8, `{"base64":"…"}` otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Encoded {
            base64: String,
        }
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Encoded { base64: STANDARD.encode(self.0) }.serialize(serializer),
        }
    }
}

/// Bytes in JSON: as they are where they are JSON, otherwise as [`Text`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<'a>(pub(super) &'a [u8]);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Ok(raw) = serde_json::from_slice::<&RawValue>(self.0) else {
            return Text(self.0).serialize(serializer);
        };
        if !raw.get().contains(['\n', '\r']) {
            return raw.serialize(serializer);
        }
        // Between tokens: inside of a string they are escaped. A value stays on its line.
        let line = RawValue::from_string(raw.get().replace(['\n', '\r'], " "));
        line.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// Rows in columns of equal width, the first row the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let json = |bytes: &[u8]| serde_json::to_string(&Text(bytes)).expect("bytes serialize");
        assert_eq!(json(b"a\"\n"), r#""a\"\n""#);
        assert_eq!(json(b""), r#""""#);
        assert_eq!(json(&[0xFF, 0x00]), r#"{"base64":"/wA="}"#);
    }

    #[test]
    fn json_stays_json_and_on_its_line() {
        let json = |bytes: &[u8]| serde_json::to_string(&Json(bytes)).expect("bytes serialize");
        assert_eq!(json(b" {\"a\":\n 1.00}\n"), r#"{"a":  1.00}"#);
        assert_eq!(json(b"\"a\\nb\""), r#""a\nb""#);
        assert_eq!(json(b"not json"), r#""not json""#);
        assert_eq!(json(b""), r#""""#);
        assert_eq!(json(&[0xFF]), r#"{"base64":"/w=="}"#);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["NAME".to_owned(), "READY".to_owned()], vec!["é".into(), "1".into()]];
        assert_eq!(table(&rows), "NAME  READY\né     1");
    }
}
