//! A server in a process of its own: this program as `rekindle serve`.
//!
//! Invariants: the process runs the same function as the command `rekindle serve`, built together
//! with what measures it, so that it cannot be an older one; it is killed when its handle goes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Failed;
use crate::machine;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    /// Where gRPC listens.
    pub(crate) grpc: String,
    /// Where HTTP listens, host and port.
    pub(crate) http: String,
    /// Kept open: a server says more than its first lines.
    _output: BufReader<ChildStdout>,
}

/// What the server counted since it started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Syncs of journal files.
    pub(crate) syncs: f64,
    /// Seconds that they took together.
    pub(crate) sync_seconds: f64,
    /// Messages acknowledged to senders.
    pub(crate) sent: f64,
}

impl Server {
    /// Starts one on this directory and waits until it says that it is ready.
    pub(crate) fn start(data: &Path, longer: Duration) -> Result<Self, Failed> {
        let program = std::env::current_exe()?;
        let mut process = Command::new(program)
            .args(["serve", "--delay-us", &longer.as_micros().to_string(), "--data"])
            .arg(data)
            .env("REKINDLE__LOG__LEVEL", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("a server without standard output")?;
        let mut output = BufReader::new(output);
        let (mut grpc, mut http) = (None, None);
        while grpc.is_none() || http.is_none() {
            let mut line = String::new();
            if output.read_line(&mut line)? == 0 {
                return Err(format!("the server ended with {}", process.wait()?).into());
            }
            let value = |name| line.strip_prefix(name).map(|rest: &str| rest.trim().to_owned());
            grpc = grpc.or_else(|| value("grpc:"));
            http = http.or_else(|| value("http:"));
        }
        let (grpc, http) = (grpc.unwrap_or_default(), http.unwrap_or_default());
        let http = http.trim_start_matches("http://").to_owned();
        Ok(Self { process, grpc, http, _output: output })
    }

    /// Its CPU time, nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        machine::cpu_ns_of(self.process.id())
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) -> Result<(), Failed> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// What it counted so far.
    pub(crate) fn counted(&self) -> Result<Counted, Failed> {
        let mut connection = TcpStream::connect(&self.http)?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        connection.write_all(request.as_bytes())?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0)
        };
        Ok(Counted {
            syncs: of("rekindle_journal_sync_seconds_count "),
            sync_seconds: of("rekindle_journal_sync_seconds_sum "),
            sent: of("rekindle_messages_sent_total "),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is dead already where `kill` was called.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
