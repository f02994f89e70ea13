//! What became of each line of an input, one JSON line each, in line order.
//!
//! Invariants: every line that was read gets exactly one line of output (accepted, refused or
//! unknown); after the first unknown outcome nothing more is read. When standard output takes no
//! more, the outcomes are unknown to whoever reads it.

use std::cell::Cell;
use std::io;

use rekindle_client::Error;
use rekindle_recovery::exit;
use serde::Serialize;
use tokio::sync::Notify;

use super::failure::worse;
use super::output::{Out, say};

/// Tells the reader to read no more.
#[derive(Default)]
pub(super) struct Stop {
    set: Cell<bool>,
    changed: Notify,
}

impl Stop {
    fn set(&self) {
        self.set.set(true);
        self.changed.notify_one();
    }

    /// Whether nothing more is to be read.
    pub(super) fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Completes when nothing more is to be read.
    pub(super) async fn wait(&self) {
        while !self.set.get() {
            self.changed.notified().await;
        }
    }
}

#[derive(Serialize)]
struct RefusedLine<'a> {
    line: u64,
    error: &'a str,
}

#[derive(Serialize)]
struct UnknownLine<'a> {
    line: u64,
    outcome: &'a str,
}

/// Prints results.
pub(super) struct Printer {
    out: Out,
    code: i32,
    /// Why standard output takes nothing more.
    failed: Option<String>,
    /// Results since the last flush: they are lost with it.
    unflushed: u64,
    unprinted: u64,
}

impl Printer {
    pub(super) fn new() -> Self {
        Self { out: Out::new(), code: 0, failed: None, unflushed: 0, unprinted: 0 }
    }

    /// This line was accepted.
    pub(super) fn accepted(&mut self, line: &impl Serialize, stop: &Stop) {
        self.json(line, stop);
    }

    /// It was not, or nobody knows.
    pub(super) fn failed(&mut self, line: u64, error: &Error, stop: &Stop) {
        match error {
            // Also what was never handed to a connection: the reader has taken the line away.
            Error::Unknown(_) | Error::Unreachable { .. } | Error::Retry(_) => {
                self.unknown(line, stop);
            }
            error => self.refused(line, &error.to_string(), stop),
        }
    }

    /// Nobody knows what became of this line.
    pub(super) fn unknown(&mut self, line: u64, stop: &Stop) {
        self.code = worse(self.code, exit::UNKNOWN);
        stop.set();
        self.json(&UnknownLine { line, outcome: "unknown" }, stop);
    }

    /// This line was refused.
    pub(super) fn refused(&mut self, line: u64, error: &str, stop: &Stop) {
        self.code = worse(self.code, exit::REFUSED);
        self.json(&RefusedLine { line, error }, stop);
    }

    /// Once standard output fails nothing more is read, but what is under way is awaited.
    fn json(&mut self, value: &impl Serialize, stop: &Stop) {
        if self.failed.is_some() {
            self.unprinted += 1;
            return;
        }
        self.unflushed += 1;
        if let Err(error) = self.out.json(value) {
            self.fail(&error, stop);
        }
    }

    /// Hands what was printed to whoever reads.
    pub(super) fn flush(&mut self, stop: &Stop) {
        if self.failed.is_some() {
            return;
        }
        match self.out.flush() {
            Ok(()) => self.unflushed = 0,
            Err(error) => self.fail(&error, stop),
        }
    }

    /// Nothing more comes: the exit code. `there` says where unprinted lines may be.
    pub(super) fn finish(mut self, there: &str, stop: &Stop) -> i32 {
        self.flush(stop);
        if let Some(why) = &self.failed {
            let lost = self.unprinted;
            say(&format!(
                "{why}: nothing more was read, and the results of {lost} lines that were read are \
                 not printed; they may be {there}"
            ));
            self.code = worse(self.code, exit::UNKNOWN);
        }
        self.code
    }

    fn fail(&mut self, error: &io::Error, stop: &Stop) {
        self.failed = Some(match error.kind() {
            io::ErrorKind::BrokenPipe => "standard output was closed".to_owned(),
            _ => format!("cannot write to standard output: {error}"),
        });
        self.unprinted += std::mem::take(&mut self.unflushed);
        stop.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("a line serializes")
    }

    /// The lines that scripts rely on, to the letter.
    #[test]
    fn every_line_has_its_result() {
        let refused = RefusedLine { line: 2, error: "too \"long\"" };
        assert_eq!(json(&refused), r#"{"line":2,"error":"too \"long\""}"#);
        let unknown = UnknownLine { line: 3, outcome: "unknown" };
        assert_eq!(json(&unknown), r#"{"line":3,"outcome":"unknown"}"#);
    }
}
