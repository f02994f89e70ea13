//! `queue send`: lines in, one JSON line per line out, in line order.
//!
//! Invariants: every line that was read gets exactly one line of output (acknowledged, refused or
//! unknown); after the first unknown outcome nothing more is read. When standard output takes no
//! more, the outcomes are unknown to whoever reads it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::poll;
use rekindle_client::limits::MESSAGE_BYTES_MAX;
use rekindle_client::{
    Client, Error, Header, Message, QueueDefinition, Sender, SenderOptions, Ticket,
};
use rekindle_recovery::exit;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::cli::failure::{Failure, worse};
use crate::cli::input::{Line, Lines};
use crate::cli::output::say;
use crate::cli::results::{Printer, Stop};
use crate::cli::{Outcome, durations};

/// The visibility of a queue that `--create` makes: that of `queue create`.
const VISIBILITY_MS: u64 = 30_000;
/// Lines between the reader and the printer: as many as can be in flight, and some refused ones.
const LINES: usize = 2_048;

#[derive(Args, Debug)]
pub(super) struct SendArgs {
    /// The queue
    name: String,
    /// Where the messages are; - or nothing: standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Create the queue when it does not exist
    #[arg(long)]
    create: bool,
    /// The whole input is one message
    #[arg(long)]
    whole: bool,
    /// Fairness key: messages of one key are in order, keys take turns
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    key: String,
    /// A header of every message; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<Header>,
    /// How long to try to learn what became of a message (ms, s, m, h)
    #[arg(long, default_value = "5s", value_parser = durations::parse, value_name = "DURATION")]
    timeout: Duration,
}

fn header(text: &str) -> Result<Header, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Header { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[derive(Serialize)]
struct AckLine<'a> {
    line: u64,
    id: &'a str,
    durability: &'a str,
}

/// What becomes of a line.
enum Item {
    Sent(Ticket),
    Refused(String),
    Unknown,
}

pub(super) async fn run(client: &Client, args: SendArgs) -> Outcome {
    let mut lines = Lines::open(args.file.as_deref(), args.whole)?;
    let client = client.with_timeout(args.timeout);
    find_or_create(&client, &args).await?;
    let options = SenderOptions { timeout: args.timeout, ..SenderOptions::default() };
    let sender = client.sender_with(args.name, options);
    let template = Message { fairness_key: args.key, headers: args.header, ..Message::default() };
    let (items, printed) = mpsc::channel(LINES);
    let stop = Stop::default();
    let reading = read(&mut lines, &sender, &template, items, &stop);
    let printing = print(printed, &stop);
    let (read, code) = futures::join!(reading, printing);
    if let Err(error) = read {
        say(&format!("cannot read the input: {error}"));
        return Ok(worse(code, exit::IO));
    }
    Ok(code)
}

/// Says early that the queue or the server is not there; makes the queue when that is wanted.
async fn find_or_create(client: &Client, args: &SendArgs) -> Result<(), Failure> {
    match client.show_queue(&args.name).await {
        Err(Error::NotFound(_)) if args.create => {
            let name = args.name.clone();
            let definition = QueueDefinition {
                name,
                visibility_ms: VISIBILITY_MS,
                ..QueueDefinition::default()
            };
            match client.create_queue(definition).await {
                // Somebody else made it at the same moment.
                Ok(_) | Err(Error::Conflict(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        other => other.map(|_| ()).map_err(Failure::from),
    }
}

/// Hands lines to the sender until the input ends or an outcome is unknown.
async fn read(
    lines: &mut Lines,
    sender: &Sender,
    template: &Message,
    items: mpsc::Sender<(u64, Item)>,
    stop: &Stop,
) -> io::Result<()> {
    let mut number = 0;
    loop {
        let chunk = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            chunk = lines.next() => chunk,
        };
        let Some(chunk) = chunk.transpose()? else { return Ok(()) };
        for line in chunk {
            number += 1;
            let item = match line {
                Line::TooLong(length) => Item::Refused(format!(
                    "the line has {length} bytes; a message has at most {MESSAGE_BYTES_MAX}"
                )),
                Line::Body(body) => {
                    let message = Message { body, ..template.clone() };
                    tokio::select! {
                        biased;
                        () = stop.wait() => Item::Unknown,
                        ticket = sender.submit(message) => Item::Sent(ticket),
                    }
                }
            };
            if items.send((number, item)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Prints what became of each line, as it is known.
async fn print(mut items: mpsc::Receiver<(u64, Item)>, stop: &Stop) -> i32 {
    let mut printer = Printer::new();
    loop {
        let next = match items.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                printer.flush(stop);
                items.recv().await
            }
        };
        let Some((line, item)) = next else { break };
        match item {
            Item::Unknown => printer.unknown(line, stop),
            Item::Refused(error) => printer.refused(line, &error, stop),
            Item::Sent(mut ticket) => {
                let result = match poll!(&mut ticket) {
                    std::task::Poll::Ready(result) => result,
                    std::task::Poll::Pending => {
                        printer.flush(stop);
                        ticket.await
                    }
                };
                match result {
                    Ok(ack) => {
                        let durability = ack.durability.word();
                        printer.accepted(&AckLine { line, id: &ack.id, durability }, stop);
                    }
                    Err(error) => printer.failed(line, &error, stop),
                }
            }
        }
    }
    printer.finish("in the queue", stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("a line serializes")
    }

    /// The line that scripts rely on, to the letter.
    #[test]
    fn a_line_has_its_acknowledgement() {
        let ack = AckLine { line: 1, id: "m1", durability: "disk" };
        assert_eq!(json(&ack), r#"{"line":1,"id":"m1","durability":"disk"}"#);
    }

    #[test]
    fn headers_have_a_name() {
        let good = header("a=b=c").expect("a header");
        assert_eq!((good.name.as_str(), good.value.as_str()), ("a", "b=c"));
        assert!(header("=b").is_err());
        assert!(header("a").is_err());
    }
}
