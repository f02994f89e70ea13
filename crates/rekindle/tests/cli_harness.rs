//! The command line in tests: a command with its input, and what it answered.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

use super::harness::{Server, rekindle};

/// A command that talks to this server.
pub fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = rekindle(arguments);
    command.env("REKINDLE_ADDR", server.grpc.to_string());
    command.env("REKINDLE_HTTP", server.http.to_string());
    command
}

/// Runs a command to its end, with this input.
pub fn run_with(mut command: Command, input: &[u8]) -> Answered {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let feed = std::thread::spawn(move || {
        // A command that fails early reads no input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    Answered::from(output)
}

/// Runs a command against this server to its end.
pub fn cli(server: &Server, arguments: &[&str]) -> Answered {
    run_with(command(server, arguments), b"")
}

/// The same, and it must succeed.
pub fn ok(server: &Server, arguments: &[&str]) -> Answered {
    let answered = cli(server, arguments);
    assert_eq!(answered.code, 0, "{arguments:?}: {answered:?}");
    answered
}

/// Sends lines to a queue, which is created when it is missing.
pub fn send_lines(server: &Server, queue: &str, input: &[u8]) -> Answered {
    run_with(command(server, &["queue", "send", queue, "--create"]), input)
}

/// What a command answered.
#[derive(Debug)]
pub struct Answered {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Answered {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answered {
    /// Its output as JSON lines.
    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// One field of each line, as text.
    pub fn texts(&self, field: &str) -> Vec<String> {
        let text = |line: Value| line[field].as_str().unwrap_or_default().to_owned();
        self.lines().into_iter().map(text).collect()
    }
}

/// A command that is talked to while it runs.
pub struct Talking {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    pub out: BufReader<ChildStdout>,
}

impl Talking {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (stdin, out) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, out }
    }

    pub fn say(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next line of its output.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// What else it says, and its exit code.
    pub fn end(mut self) -> (Vec<Value>, i32) {
        let rest = std::io::read_to_string(&mut self.out).unwrap();
        let rest = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (rest, self.child.wait().unwrap().code().unwrap_or(-1))
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
