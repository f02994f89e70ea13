//! `job submit`: one job, or the lines of a file.
//!
//! Invariants: the jobs of a file are submitted in the order of its lines, each once whatever
//! happens to the server meanwhile; memory is bounded by one request.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rekindle_client::limits::MESSAGE_BYTES_MAX;
use rekindle_client::{Client, Jobs, NewJob};
use rekindle_recovery::exit;
use serde::Serialize;
use tokio::time::Instant;

use super::lines::{self, At};
use super::patient;
use crate::cli::failure::{Failure, worse};
use crate::cli::input::{Line, Lines};
use crate::cli::output::{Out, say};
use crate::cli::results::{Printer, Stop};
use crate::cli::{Outcome, durations};

/// Jobs of one request.
const BATCH: usize = 256;
/// How often people are told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Submit a job, or one per line of a file.
///
/// Prints {"id":…,"new":true,"durability":"disk"}. "new" is false where another job has the unique
/// key: then "id" is that one, and nothing was submitted.
///
/// With --file each line is a job: an object with the key "payload" describes one ({"payload":…}
/// and, where wanted, "type", "priority", "at", "unique", "max_attempts"); any other line of JSON
/// is a payload as it stands.
/// Each line has one result on standard output, in the order of the lines,
/// with its number: {"line":1,"id":…}, or {"line":2,"error":…}, or {"line":3,"outcome":"unknown"}.
/// A server that restarts meanwhile is waited for: no job is lost, none is there twice.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rekindle job submit mail --payload '{\"to\":\"ada@example.org\"}'
  rekindle job submit report --payload '{}' --at +5m --priority 10 --unique nightly
  rekindle job submit report --at 2026-11-30T22:00:00Z
  jq -c '.[]' orders.json | rekindle job submit order --file -")]
pub(super) struct SubmitArgs {
    /// The type: who works on it, and how it is treated
    #[arg(value_name = "TYPE")]
    kind: String,
    /// What is to be done, JSON; - reads it from standard input [default: null]
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    payload: Option<String>,
    /// One job per line of JSON; - is standard input
    #[arg(long, value_name = "JSONL")]
    file: Option<PathBuf>,
    /// When it becomes pending: 2026-11-25T22:00:00Z, or +5m (ms, s, m, h) from now
    #[arg(long, value_name = "T", value_parser = At::parse)]
    at: Option<At>,
    /// Higher ones are claimed first, -32768 to 32767
    #[arg(long, default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
    priority: i16,
    /// Not submitted while another unfinished job of the type has this key
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// Keep the key for that long from now instead, finished or not (ms, s, m, h)
    #[arg(long, value_name = "DURATION", requires = "unique", value_parser = durations::parse)]
    unique_window: Option<Duration>,
    /// Failed or expired attempts after which it has failed; 0: no limit [default: the type's]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long to try to learn what became of a job (ms, s, m, h)
    #[arg(long, default_value = "30s", value_parser = durations::parse, value_name = "DURATION")]
    timeout: Duration,
}

#[derive(Serialize)]
struct SubmittedLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    id: &'a str,
    new: bool,
    durability: &'a str,
}

pub(super) async fn run(client: &Client, args: SubmitArgs) -> Outcome {
    let window = args.unique_window.map_or(0, |window| window.as_millis());
    let mut template = NewJob {
        r#type: args.kind,
        priority: args.priority.into(),
        max_attempts: args.max_attempts,
        unique_key: args.unique.unwrap_or_default(),
        unique_window_ms: u64::try_from(window).unwrap_or(u64::MAX),
        ..NewJob::default()
    };
    if let Some(at) = args.at {
        at.set(&mut template);
    }
    if let Some(file) = args.file {
        let lines = Lines::open(Some(&file), false)?;
        // Says early that the server is not there; later it is waited for.
        client.jobs().count(None).await?;
        let jobs = patient(client, args.timeout)?.jobs();
        return File { jobs, template, stop: Stop::default(), printer: Printer::new() }
            .submit(lines)
            .await;
    }
    let payload = match args.payload {
        Some(dash) if dash == "-" => whole_input().await?,
        Some(text) => Bytes::from(text),
        None => Bytes::from_static(b"null"),
    };
    lines::check(&payload).map_err(|message| Failure::new(exit::REFUSED, message))?;
    let jobs = client.with_timeout(args.timeout).jobs();
    let done = jobs.submit(NewJob { payload, ..template }).await?;
    let mut out = Out::new();
    let (id, new, durability) = (done.id.as_str(), done.new, done.durability.word());
    out.json(&SubmittedLine { line: None, id, new, durability })?;
    out.flush()?;
    Ok(0)
}

/// Standard input as one payload or result.
pub(super) async fn whole_input() -> Result<Bytes, Failure> {
    let mut lines = Lines::open(None, true)?;
    let read = lines.next().await.transpose();
    let read = read.map_err(|error| Failure::io("cannot read the input", &error))?;
    match read.and_then(|lines| lines.into_iter().next()) {
        None => Ok(Bytes::new()),
        Some(Line::Body(body)) => Ok(body),
        Some(Line::TooLong(length)) => {
            let message = format!("the input has {length} bytes; at most {MESSAGE_BYTES_MAX} fit");
            Err(Failure::new(exit::REFUSED, message))
        }
    }
}

/// The jobs of a file.
struct File {
    jobs: Jobs,
    template: NewJob,
    stop: Stop,
    printer: Printer,
}

/// A line that was read.
enum Item {
    Job(NewJob),
    Refused(String),
}

impl File {
    async fn submit(mut self, mut lines: Lines) -> Outcome {
        let mut told = Told::new();
        let (mut number, mut failed) = (0, None);
        'reading: while let Some(chunk) = lines.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            for lines in chunk.chunks(BATCH) {
                self.batch(number, lines).await;
                number += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                told.lines(number);
                if self.stop.is_set() {
                    break 'reading;
                }
            }
            self.printer.flush(&self.stop);
        }
        told.end(number);
        let code = self.printer.finish("among the jobs", &self.stop);
        if let Some(error) = failed {
            say(&format!("cannot read the input: {error}"));
            return Ok(worse(code, exit::IO));
        }
        Ok(code)
    }

    /// Submits lines, which stand behind line `before`.
    async fn batch(&mut self, before: u64, lines: &[Line]) {
        let items: Vec<Item> = lines.iter().map(|line| item(line, &self.template)).collect();
        let good = items.iter().filter_map(|item| match item {
            Item::Job(job) => Some(job.clone()),
            Item::Refused(_) => None,
        });
        let mut results = self.jobs.submit_all(good.collect()).await.into_iter();
        for (line, item) in (before + 1..).zip(items) {
            match item {
                Item::Refused(error) => self.printer.refused(line, &error, &self.stop),
                Item::Job(_) => match results.next() {
                    Some(Ok(done)) => {
                        let (id, durability) = (done.id.as_str(), done.durability.word());
                        let line = Some(line);
                        let shown = SubmittedLine { line, id, new: done.new, durability };
                        self.printer.accepted(&shown, &self.stop);
                    }
                    Some(Err(error)) => self.printer.failed(line, &error, &self.stop),
                    None => self.printer.unknown(line, &self.stop),
                },
            }
        }
    }
}

fn item(line: &Line, template: &NewJob) -> Item {
    match line {
        Line::TooLong(length) => Item::Refused(format!(
            "the line has {length} bytes; a job has at most {MESSAGE_BYTES_MAX}"
        )),
        Line::Body(body) => lines::job(body, template).map_or_else(Item::Refused, Item::Job),
    }
}

/// Tells people how far it is, where they look.
struct Told {
    terminal: bool,
    last: Instant,
}

impl Told {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), last: Instant::now() }
    }

    fn lines(&mut self, count: u64) {
        if self.terminal && self.last.elapsed() >= TOLD_EVERY {
            self.last = Instant::now();
            say(&format!("{count} lines so far"));
        }
    }

    fn end(&self, count: u64) {
        say(&format!("{count} lines read"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that scripts rely on, to the letter.
    #[test]
    fn a_submitted_job_is_one_line_of_json() {
        let json = |line| {
            let shown = SubmittedLine { line, id: "j1", new: true, durability: "disk" };
            serde_json::to_string(&shown).expect("a line serializes")
        };
        assert_eq!(json(Some(1)), r#"{"line":1,"id":"j1","new":true,"durability":"disk"}"#);
        assert_eq!(json(None), r#"{"id":"j1","new":true,"durability":"disk"}"#);
    }
}
