//! Standard output for scripts, standard error for people.
//!
//! Invariant: a write that fails is an error of the command, never a panic: readers may go away.

use std::io::{self, BufWriter, StdoutLock, Write};

use rekindle_recovery::exit;
use serde::Serialize;

use super::failure::Failure;
pub(super) use rekindle::shown::{Json, Text};

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
    fn columns_line_up() {
        let rows = [vec!["NAME".to_owned(), "READY".to_owned()], vec!["é".into(), "1".into()]];
        assert_eq!(table(&rows), "NAME  READY\né     1");
    }
}
