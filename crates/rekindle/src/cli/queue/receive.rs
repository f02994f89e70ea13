//! `queue receive`: leased messages as JSON lines.
//!
//! Invariants: what was leased and could not be printed is given back, also when a signal ends it;
//! `--ack` acks a message only after its line was written and flushed.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use rekindle_client::{Client, Delivery, Header, Receive};
use rekindle_recovery::exit;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::admin::summary;
use crate::cli::failure::{Failure, code, worse};
use crate::cli::output::{Out, Text, say};
use crate::cli::signals::Signals;
use crate::cli::{Outcome, durations};

/// Messages per call: few enough that little is to be given back when standard output closes.
const PAGE: u64 = 256;
/// How long a signal waits for the server to take back what was not printed.
const END_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub(super) struct ReceiveArgs {
    /// The queue
    name: String,
    /// The most messages [default: 1; with --all: no limit]
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Receive until nothing is ready for the time of --wait
    #[arg(long)]
    all: bool,
    /// How long to wait for the first message; with --all, for each further one (ms, s, m, h)
    #[arg(long, default_value = "0s", value_parser = durations::parse, value_name = "DURATION")]
    wait: Duration,
    /// Finish each message after its line was written
    #[arg(long)]
    ack: bool,
    /// Accepted like everywhere; the output is always JSON lines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DeliveryLine<'a> {
    id: &'a str,
    token: &'a str,
    attempt: u32,
    headers: BTreeMap<&'a str, HeaderValue<'a>>,
    body: Text<'a>,
}

/// The value of a header; several where its name is repeated.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum HeaderValue<'a> {
    One(&'a str),
    Several(Vec<&'a str>),
}

impl<'a> From<&'a Delivery> for DeliveryLine<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self {
            id: &delivery.id,
            token: &delivery.token,
            attempt: delivery.attempt,
            headers: headers(&delivery.headers),
            body: Text(&delivery.body),
        }
    }
}

fn headers(headers: &[Header]) -> BTreeMap<&str, HeaderValue<'_>> {
    let mut map = BTreeMap::new();
    for Header { name, value } in headers {
        let joined = match map.remove(name.as_str()) {
            None => HeaderValue::One(value),
            Some(HeaderValue::One(first)) => HeaderValue::Several(vec![first, value]),
            Some(HeaderValue::Several(mut values)) => {
                values.push(value);
                HeaderValue::Several(values)
            }
        };
        map.insert(name.as_str(), joined);
    }
    map
}

/// The headers of a message as one JSON object, for the environment of a command.
pub(super) fn headers_json(delivery: &Delivery) -> String {
    serde_json::to_string(&headers(&delivery.headers)).unwrap_or_default()
}

/// The leases of the page that is being printed.
#[derive(Debug, Default)]
struct Page {
    /// Of lines that were written and flushed, and are not acked yet.
    printed: Vec<String>,
    /// Of lines that were not begun.
    rest: VecDeque<String>,
    /// A signal puts this in order and ends the program.
    ending: bool,
}

/// What printing and a signal share.
#[derive(Debug, Default)]
struct Shared {
    page: Mutex<Page>,
    /// Held from when printed leases are taken until they are acked: a signal waits for that.
    acking: tokio::sync::Mutex<()>,
}

type Open = Arc<Shared>;

fn lock(open: &Open) -> MutexGuard<'_, Page> {
    open.page.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until a signal: then acks what was printed, where that is wanted, and gives back what was not.
async fn end_in_order(
    mut signals: Signals,
    client: &Client,
    args: &ReceiveArgs,
    open: &Open,
) -> i32 {
    let code = signals.next().await;
    let take =
        |page: &mut Page| (std::mem::take(&mut page.printed), std::mem::take(&mut page.rest));
    // In one step, so that no line is begun after what was printed is taken.
    let first = {
        let mut page = lock(open);
        page.ending = true;
        take(&mut page)
    };
    let settle = async |(printed, rest): (Vec<String>, VecDeque<String>)| {
        give_back(client, &args.name, rest.into()).await;
        if args.ack {
            ack(client, &args.name, printed).await;
        }
    };
    let in_order = async {
        settle(first).await;
        drop(open.acking.lock().await);
        // A line that was being written, a page that came at the same moment.
        let second = take(&mut lock(open));
        settle(second).await;
    };
    if tokio::time::timeout(END_TIMEOUT, in_order).await.is_err() {
        say("the server does not answer: what was not printed stays leased until that runs out");
    }
    code
}

pub(super) async fn run(client: &Client, args: &ReceiveArgs) -> Outcome {
    let (open, signals) = (Open::default(), Signals::new()?);
    let (handle, printing) = (Handle::current(), (client.clone(), args.clone(), Arc::clone(&open)));
    // On a thread of its own: a signal is heard also while nobody takes the output.
    let printing = tokio::task::spawn_blocking(move || {
        let (client, args, open) = printing;
        handle.block_on(print_all(&client, &args, &open))
    });
    tokio::select! {
        outcome = printing => outcome.unwrap_or_else(|error| {
            Err(Failure::new(exit::IO, format!("the command ended with a panic: {error}")))
        }),
        code = end_in_order(signals, client, args, &open) => Ok(code),
    }
}

/// What was printed by this command and is still its to keep.
struct Held<'a> {
    client: &'a Client,
    queue: &'a str,
    /// Ids of all messages that were printed.
    ids: HashSet<String>,
    /// The tokens of those that are not acked.
    tokens: Vec<String>,
    /// A third of the queue's visibility, once it was asked for.
    every: Option<Duration>,
    extended: Instant,
    /// Leases that ran out all the same.
    lost: usize,
}

impl<'a> Held<'a> {
    fn new(client: &'a Client, queue: &'a str) -> Self {
        let (ids, tokens, extended) = (HashSet::new(), vec![], Instant::now());
        Self { client, queue, ids, tokens, every: None, extended, lost: 0 }
    }

    /// Of a page, those that were not printed before. A lease that ran out while others were
    /// printed brings its message back: it is kept without another line.
    fn fresh(&mut self, deliveries: Vec<Delivery>) -> (Vec<Delivery>, Vec<String>) {
        let (again, fresh): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|it| !self.ids.insert(it.id.to_string()));
        self.lost += again.len();
        (fresh, again.into_iter().map(|it| it.token.to_string()).collect())
    }

    /// Keeps the leases of what was printed while printing goes on.
    async fn extend(&mut self) -> Result<(), Failure> {
        let every = match self.every {
            Some(every) => every,
            None => {
                let shown = self.client.show_queue(self.queue).await?;
                let visibility_ms = shown.definition.unwrap_or_default().visibility_ms;
                *self.every.insert(Duration::from_millis(visibility_ms / 3))
            }
        };
        if self.extended.elapsed() < every || self.tokens.is_empty() {
            return Ok(());
        }
        self.extended = Instant::now();
        let results = self.client.extend(self.queue, &self.tokens, Duration::ZERO).await;
        let mut results = results.into_iter();
        self.tokens.retain(|_| results.next().is_some_and(|result| result.is_ok()));
        Ok(())
    }
}

async fn print_all(client: &Client, args: &ReceiveArgs, open: &Open) -> Outcome {
    let mut held = Held::new(client, &args.name);
    let mut left = args.max.unwrap_or(if args.all { u64::MAX } else { 1 });
    let mut receive = Receive {
        wait: args.wait,
        owner: format!("receive-{}", std::process::id()),
        ..Receive::new(&args.name)
    };
    let (mut out, mut printed, mut exit_code) = (Out::new(), 0_u64, 0);
    while left > 0 {
        receive.max = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let deliveries = client.receive(&receive).await?;
        if deliveries.is_empty() {
            break;
        }
        let (deliveries, mut tokens) = held.fresh(deliveries);
        let count = u64::try_from(deliveries.len()).unwrap_or(u64::MAX);
        let written = write(&mut out, &deliveries, open);
        if lock(open).ending {
            std::future::pending::<()>().await;
        }
        let acking = open.acking.lock().await;
        tokens.append(&mut lock(open).printed);
        if args.ack {
            exit_code = worse(exit_code, ack(client, &args.name, tokens).await);
            drop(acking);
        } else {
            drop(acking);
            held.tokens.append(&mut tokens);
            held.extend().await?;
        }
        if let Err(error) = written {
            let rest = std::mem::take(&mut lock(open).rest);
            give_back(client, &args.name, rest.into()).await;
            say(&format!("cannot write to standard output: {error}"));
            return Ok(worse(exit_code, exit::REFUSED));
        }
        if exit_code == exit::UNKNOWN {
            break;
        }
        printed += count;
        left = left.saturating_sub(count);
        // What follows at once belongs to this answer; only --all waits for more.
        receive.wait = if args.all { args.wait } else { Duration::ZERO };
    }
    if held.lost > 0 {
        say(&format!(
            "{} leases ran out while this command printed, so the tokens that it printed for them \
             are void; take fewer with --max, or give the queue a longer --visibility",
            held.lost
        ));
    }
    if printed == 0 && exit_code == 0 && left > 0 {
        let shown = client.show_queue(&args.name).await?;
        say(&summary(&shown.counts.unwrap_or_default()));
    }
    Ok(exit_code)
}

/// Prints a page; what cannot be printed is among the rest again.
fn write(out: &mut Out, deliveries: &[Delivery], open: &Open) -> io::Result<()> {
    let tokens = deliveries.iter().map(|delivery| delivery.token.clone()).collect();
    {
        let mut page = lock(open);
        if page.ending {
            page.rest = tokens;
            return Ok(());
        }
        (page.printed, page.rest) = (vec![], tokens);
    }
    for delivery in deliveries {
        let Some(token) = lock(open).rest.pop_front() else { return Ok(()) };
        let written = out.json(&DeliveryLine::from(delivery)).and_then(|()| out.flush());
        let mut page = lock(open);
        match written {
            Ok(()) => page.printed.push(token),
            Err(error) => {
                page.rest.push_front(token);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Acks messages; gives the exit code and says what was not acked.
async fn ack(client: &Client, queue: &str, tokens: Vec<String>) -> i32 {
    let results = client.ack(queue, &tokens).await;
    let mut exit_code = 0;
    for (token, result) in tokens.iter().zip(results) {
        if let Err(error) = result {
            say(&format!("{token} was not acked: {error}"));
            exit_code = worse(exit_code, code(&error));
        }
    }
    exit_code
}

/// Gives back what nobody saw. Where that fails, the leases run out.
async fn give_back(client: &Client, queue: &str, tokens: Vec<String>) {
    if tokens.is_empty() {
        return;
    }
    for result in client.release(queue, &tokens).await {
        if let Err(error) = result {
            say(&format!("a message was not given back, its lease runs out: {error}"));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.to_owned(), value: value.to_owned() }
    }

    /// The line that scripts rely on, to the letter.
    #[test]
    fn a_delivery_is_one_line_of_json() {
        let delivery = Delivery {
            id: "m1".into(),
            token: "t1".into(),
            attempt: 2,
            body: "hä".into(),
            headers: vec![header("a", "1"), header("b", "2"), header("a", "3")],
            ..Delivery::default()
        };
        let json = |delivery: &Delivery| {
            serde_json::to_string(&DeliveryLine::from(delivery)).expect("a line serializes")
        };
        assert_eq!(
            json(&delivery),
            r#"{"id":"m1","token":"t1","attempt":2,"headers":{"a":["1","3"],"b":"2"},"body":"hä"}"#
        );
        let binary = Delivery { body: vec![0xFF].into(), ..Delivery::default() };
        assert!(json(&binary).ends_with(r#""headers":{},"body":{"base64":"/w=="}}"#));
    }
}
