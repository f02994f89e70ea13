//! A server in a process of its own: this program as `rekindle serve`.
//!
//! Invariants: the process runs the same function as the command `rekindle serve`, built together
//! with what measures it, so that it cannot be an older one; one that is to be in a control group
//! is in it before the program begins; it is killed when its handle goes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rekindle_database::EngineKind;

use crate::Failed;
use crate::cgroup::Group;
use crate::machine;

/// A shell joins the group and becomes the program.
const JOIN: &str = r#"echo $$ > "$0" && exec "$@""#;

/// What is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'a> {
    /// The store's directory.
    pub(crate) data: &'a Path,
    /// The engine of the store; `None` as the server chooses.
    pub(crate) engine: Option<EngineKind>,
    /// How much longer each sync takes.
    pub(crate) longer: Duration,
    /// What bounds its memory.
    pub(crate) group: Option<&'a Group>,
}

impl Launch<'_> {
    fn command(&self) -> Result<Command, Failed> {
        let program = std::env::current_exe()?;
        let mut command = match self.group {
            None => Command::new(program),
            Some(group) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", JOIN]).arg(group.processes()).arg(program);
                shell
            }
        };
        command.args(["serve", "--delay-us", &self.longer.as_micros().to_string()]);
        if let Some(engine) = self.engine {
            command.args(["--engine", engine.name()]);
        }
        command.arg("--data").arg(self.data).env("REKINDLE__LOG__LEVEL", "error");
        Ok(command)
    }
}

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
        Self::launch(&Launch { data, engine: None, longer, group: None })
    }

    /// The same, as asked for.
    pub(crate) fn launch(launch: &Launch<'_>) -> Result<Self, Failed> {
        let mut process = launch.command()?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
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

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok().flatten();
        status.map(|status| format!("the server ended with {status}"))
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
        let metrics = self.metrics()?;
        Ok(Counted {
            syncs: metrics.of("rekindle_journal_sync_seconds_count"),
            sync_seconds: metrics.of("rekindle_journal_sync_seconds_sum"),
            sent: metrics.of("rekindle_messages_sent_total"),
        })
    }

    /// Its metrics now.
    pub(crate) fn metrics(&self) -> Result<Metrics, Failed> {
        let mut connection = TcpStream::connect(&self.http)?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        connection.write_all(request.as_bytes())?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        Ok(Metrics { text })
    }
}

/// What a server says under `/metrics`.
#[derive(Debug)]
pub(crate) struct Metrics {
    text: String,
}

impl Metrics {
    /// The value of a series without labels; 0 where it is not there.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.text_of(name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// The same of one that is a whole number.
    pub(crate) fn whole(&self, name: &str) -> u64 {
        self.text_of(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(str::trim)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is dead already where `kill` was called.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let text = "rekindle_a_max 1\nrekindle_a 12.5\nrekindle_b 7\n# EOF\n".to_owned();
        let metrics = Metrics { text };
        assert_eq!((metrics.of("rekindle_a"), metrics.of("rekindle")), (12.5, 0.0));
        assert_eq!((metrics.whole("rekindle_b"), metrics.whole("rekindle_c")), (7, 0));
    }

    #[test]
    fn a_group_is_joined_before_the_program_begins() {
        let place = tempfile::tempdir().expect("a directory");
        let joined = place.path().join("procs");
        let output = Command::new("/bin/sh")
            .args(["-c", JOIN])
            .arg(&joined)
            .args(["/bin/sh", "-c", "echo $$ $1", "sh", "an argument"])
            .output()
            .expect("a shell");
        let said = String::from_utf8(output.stdout).expect("text");
        let process = machine::proc_text(&joined.to_string_lossy());
        assert_eq!(said.trim(), format!("{} an argument", process.trim()));
    }
}
