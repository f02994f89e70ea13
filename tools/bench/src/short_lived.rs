//! Messages that are received and acknowledged a moment after they were sent: what each byte of a
//! body costs in bytes written.
//!
//! What counts are the server's own figures: what it wrote into its journal, and what the state
//! took in files. Beside them stand two of the kernel's, which have more in them: all that was
//! passed to calls of `write` (a part of the sockets too), and the pages that became dirty.
//!
//! Invariants: no more than so many messages live at a time; every body is looked at; what is
//! written while the load ends counts, what a clean end would write does not: the server is killed.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekindle_client::{Client, Durability, Message, Receive, SenderOptions};
use rekindle_database::EngineKind;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::args::{self, Format};
use crate::backlog::{self, Name};
use crate::child::{Launch, Server};
use crate::disks::Place;
use crate::machine::Wrote;
use crate::server::{self, QUEUE};
use crate::table::{markdown_rows, number, text_rows};
use crate::{Failed, machine, phase};

const CONSUMERS: usize = 4;
const AT_ONCE: u32 = 64;
/// How long a consumer waits for a message before it looks whether the load is over.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes written for each byte of a body.
const GOAL: f64 = 1.3;
/// How long a message may live to count as one that lives for a moment, milliseconds.
const LIFE_MS: f64 = 1_000.0;

/// Arguments of `short-lived`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShortLivedArgs {
    /// The engine of the store
    #[arg(long, default_value = "lsm")]
    engine: EngineKind,
    /// How long, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Bytes of each body
    #[arg(long, value_name = "BYTES", value_parser = backlog::message, default_value = "1KiB")]
    message: u64,
    /// Messages that live at a time, at most
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: u32,
    /// A directory on the disk to measure; the store in it is removed [default: beside this
    /// program]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What was found.
#[derive(Debug)]
struct Lived {
    messages: u64,
    bodies: f64,
    seconds: f64,
    /// Bytes into the journal, into checkpoints and files of the engine.
    written: [f64; 2],
    kernel: Wrote,
    /// From the submission to the acknowledgement of whoever received it: half of the messages, of
    /// 1,000 all but one, all; milliseconds.
    lives_ms: [f64; 3],
}

/// Measures and prints.
pub(crate) fn run(asked: &ShortLivedArgs, format: Format) -> Result<(), Failed> {
    let dir = args::directory(asked.data.as_deref())?;
    let place = Place::new(&dir)?;
    let store = place.store();
    let engine = Some(asked.engine);
    let longer = Duration::ZERO;
    let server = Server::launch(&Launch { data: &store, engine, longer, group: None })?;
    let runtime = Runtime::new()?;
    let lived = measure(asked, &server, &runtime)?;
    runtime.shutdown_background();
    server.kill()?;
    let text = render(asked.engine, &lived, &machine::describe(&dir), format);
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn measure(asked: &ShortLivedArgs, server: &Server, runtime: &Runtime) -> Result<Lived, Failed> {
    runtime.block_on(server::connect(server))?;
    let before = written(server)?;
    let began_ns = phase::now_ns();
    let load = runtime.block_on(live(asked, &server.grpc));
    let mut lives = load?;
    let seconds = Duration::from_nanos(phase::now_ns() - began_ns).as_secs_f64();
    let after = written(server)?;
    let written = [after.0[0] - before.0[0], after.0[1] - before.0[1]];
    let kernel =
        Wrote { calls: after.1.calls - before.1.calls, pages: after.1.pages - before.1.pages };
    lives.sort_unstable();
    let messages = lives.len() as u64;
    let bodies = messages as f64 * asked.message as f64;
    let at = |of_1000: usize| {
        let ns = lives.get((lives.len() * of_1000 / 1_000).min(lives.len().saturating_sub(1)));
        ns.copied().unwrap_or(0) as f64 / 1e6
    };
    Ok(Lived { messages, bodies, seconds, written, kernel, lives_ms: [500, 999, 1_000].map(at) })
}

fn written(server: &Server) -> Result<([f64; 2], Wrote), Failed> {
    let metrics = server.metrics()?;
    let names = ["rekindle_journal_batch_bytes_sum", "rekindle_state_written_bytes_total"];
    Ok((names.map(|name| metrics.of(name)), machine::wrote(server.process())))
}

/// Sends for the time, while others receive; how long each message lived, nanoseconds.
async fn live(asked: &ShortLivedArgs, address: &str) -> Result<Vec<u64>, String> {
    let room = Arc::new(Semaphore::new(asked.in_flight as usize));
    let over = Arc::new(AtomicBool::new(false));
    let mut consumers = tokio::task::JoinSet::new();
    for _ in 0..CONSUMERS {
        let client = Client::connect(address).map_err(|error| error.to_string())?;
        consumers.spawn(consumer(client, Arc::clone(&room), Arc::clone(&over)));
    }
    let client = Client::connect(address).map_err(|error| error.to_string())?;
    let load = async {
        let sent = sender(client, asked, &room).await?;
        // Everything is acknowledged once all the room is back.
        let all = room.acquire_many(asked.in_flight).await.map_err(|error| error.to_string())?;
        all.forget();
        Ok::<u64, String>(sent)
    };
    let sent = tokio::select! {
        sent = load => sent?,
        ended = consumers.join_next() => match ended {
            Some(Ok(Err(error))) => return Err(error),
            _ => return Err("a consumer ended before its time".to_owned()),
        },
    };
    over.store(true, Ordering::Relaxed);
    let mut lives = vec![];
    while let Some(ended) = consumers.join_next().await {
        lives.extend(ended.map_err(|error| error.to_string())??);
    }
    match lives.len() as u64 == sent {
        true => Ok(lives),
        false => Err(format!("{sent} messages were sent and {} received", lives.len())),
    }
}

/// Sends while there is room; the number of a body is when it was submitted.
async fn sender(client: Client, asked: &ShortLivedArgs, room: &Semaphore) -> Result<u64, String> {
    let options = SenderOptions { in_flight: 1_024, ..SenderOptions::default() };
    let queue = client.sender_with(QUEUE, options);
    let bytes = usize::try_from(asked.message).map_err(|error| error.to_string())?;
    let until_ns = phase::now_ns() + u64::from(asked.seconds) * 1_000_000_000;
    let (mut count, mut last) = (0, None);
    while phase::now_ns() < until_ns {
        room.acquire().await.map_err(|error| error.to_string())?.forget();
        let name = Name { sender: 0, number: phase::now_ns() };
        last = Some(queue.submit(Message::new(backlog::write(name, bytes))).await);
        count += 1;
    }
    if let Some(last) = last {
        last.await.map_err(|error| format!("sending ended: {error}"))?;
    }
    queue.drain().await;
    Ok(count)
}

async fn consumer(
    client: Client,
    room: Arc<Semaphore>,
    over: Arc<AtomicBool>,
) -> Result<Vec<u64>, String> {
    let receive = Receive { max: AT_ONCE, wait: LOOK, ..Receive::new(QUEUE) };
    let mut lives = vec![];
    while !over.load(Ordering::Relaxed) {
        let deliveries = client.receive(&receive).await;
        let deliveries = deliveries.map_err(|error| format!("receiving ended: {error}"))?;
        let (mut tokens, mut began) = (vec![], vec![]);
        for delivery in deliveries {
            let name = backlog::read(&delivery.body);
            began.push(name.ok_or("a body is not what was sent: it was changed")?.number);
            tokens.push(delivery.token);
        }
        for acked in client.ack(QUEUE, &tokens).await {
            match acked {
                Ok(Durability::Disk) => {}
                Ok(other) => return Err(format!("an acknowledgement says {}", other.word())),
                Err(error) => return Err(format!("acknowledging ended: {error}")),
            }
        }
        let now_ns = phase::now_ns();
        room.add_permits(tokens.len());
        lives.extend(began.into_iter().map(|began_ns| now_ns - began_ns));
    }
    Ok(lives)
}

/// A figure: its name in JSON, what it is, its value, its unit.
type Line = (&'static str, &'static str, f64, &'static str);

fn lines(of: &Lived) -> Vec<Line> {
    let each = |bytes: f64| bytes / of.bodies.max(1.0);
    let [journal, state] = of.written;
    let [half, most, all] = of.lives_ms;
    let unit = "B per body byte";
    vec![
        ("messages", "messages", of.messages as f64, ""),
        ("messages_per_second", "lived", of.messages as f64 / of.seconds, "msg/s"),
        ("life_p50_ms", "half of them for at most", half, "ms"),
        ("life_p999_ms", "of 1,000 all but one", most, "ms"),
        ("life_max_ms", "all", all, "ms"),
        ("journal_per_body_byte", "written to the journal", each(journal), unit),
        ("state_per_body_byte", "written for the state", each(state), unit),
        ("written_per_body_byte", "both", each(journal + state), unit),
        (
            "calls_per_body_byte",
            "all calls of write, sockets in part",
            each(of.kernel.calls as f64),
            unit,
        ),
        ("pages_per_body_byte", "pages made dirty", each(of.kernel.pages as f64), unit),
    ]
}

fn goals(of: &Lived) -> [(&'static str, f64, f64); 2] {
    let [journal, state] = of.written;
    let written = (journal + state) / of.bodies.max(1.0);
    let [_, _, longest] = of.lives_ms;
    [
        ("1.3 B written for each byte of a body", written, GOAL / written.max(1e-9)),
        ("every message acknowledged within 1 s", longest, LIFE_MS / longest.max(1e-9)),
    ]
}

fn render(
    engine: EngineKind,
    lived: &Lived,
    machine: &[(String, String)],
    format: Format,
) -> String {
    if format == Format::Json {
        let facts: Map<String, Value> =
            machine.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut all = Map::new();
        all.insert("engine".to_owned(), json!(engine.name()));
        let figures = lines(lived).into_iter();
        all.extend(figures.map(|(name, _, value, _)| (name.to_owned(), json!(value))));
        let goals = goals(lived).map(
            |(goal, value, reached)| json!({"goal": goal, "value": value, "reached": reached}),
        );
        let whole = json!({"machine": facts, "short_lived": all, "goals": goals});
        return format!("{whole:#}\n");
    }
    let markdown = format == Format::Markdown;
    let bullet = if markdown { "- " } else { "" };
    let facts = machine.iter().map(|(name, value)| format!("{bullet}{name}: {value}\n"));
    let mut text: String = facts.collect();
    let head = ["what", engine.name(), "unit"].map(str::to_owned).to_vec();
    let row = |(_, what, value, unit): Line| vec![what.to_owned(), number(value), unit.to_owned()];
    let rows: Vec<_> = std::iter::once(head).chain(lines(lived).into_iter().map(row)).collect();
    text += &format!("\n{}\n", if markdown { markdown_rows(&rows) } else { text_rows(&rows) });
    for (goal, value, reached) in goals(lived) {
        let judged = if reached >= 1.0 { "yes" } else { "NO" };
        text += &format!("{bullet}goal: {goal}: {} ({judged})\n", number(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_of_a_byte_of_the_bodies() {
        let lived = Lived {
            messages: 1_000,
            bodies: 1_000_000.0,
            seconds: 2.0,
            written: [1_200_000.0, 300_000.0],
            kernel: Wrote { calls: 4_000_000, pages: 2_000_000 },
            lives_ms: [4.0, 20.0, 500.0],
        };
        let text = render(EngineKind::Lsm, &lived, &[], Format::Text);
        for part in ["goal: 1.3 B written for each byte of a body: 1.50 (NO)", "500 (yes)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = render(EngineKind::Lsm, &lived, &[], Format::Json);
        let json: Value = serde_json::from_str(&json).unwrap();
        let found = &json["short_lived"];
        let docs = include_str!("../../../docs/benchmarks.md");
        for (name, ..) in lines(&lived) {
            assert!(docs.contains(&format!("`{name}`")), "docs/benchmarks.md lacks {name}");
        }
        for (name, value) in [
            ("journal_per_body_byte", 1.2),
            ("state_per_body_byte", 0.3),
            ("written_per_body_byte", 1.5),
            ("calls_per_body_byte", 4.0),
            ("pages_per_body_byte", 2.0),
            ("messages_per_second", 500.0),
        ] {
            assert_eq!(found[name], json!(value), "{name}");
        }
    }
}
