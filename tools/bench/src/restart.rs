//! From the kill of a server that holds messages to the first message of the next one.
//!
//! Invariant: the time begins before the process is started and ends when a client holds a message;
//! the page cache is warm, or emptied where the kernel permits it.

use std::path::Path;
use std::time::Duration;

use rekindle_client::{Client, Error, Message, Receive, SenderOptions};
use rekindle_database::Options;
use rekindle_env::Env;
use tokio::runtime::Runtime;

use crate::Failed;
use crate::args::Args;
use crate::book::{Book, Figure};
use crate::child::Server;
use crate::disks::Place;
use crate::server::{self, BODY, QUEUE};
use crate::{machine, phase};

/// Messages that wait.
const MESSAGES: usize = 100_000;
/// The same, for how the time grows.
const GROWING: [usize; 4] = [25_000, 50_000, 100_000, 200_000];

/// Measures everything in this section once.
pub(crate) fn measure(_: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    let place = Place::new(dir)?;
    let runtime = Runtime::new()?;
    let started = Server::start(&place.store(), Duration::ZERO)?;
    let filled = runtime.block_on(async {
        let client = server::connect(&started).await?;
        fill(&client, MESSAGES).await
    });
    filled?;
    started.kill()?;
    let warm = first_message(&runtime, &place)?;
    let figure = Figure::new("100,000 messages of 1 KiB, warm", "ms", warm * 1e3);
    book.add(figure.at_most("60 ms", warm * 1e3, 60.0));
    if machine::drop_caches() {
        let cold = first_message(&runtime, &place)?;
        let figure = Figure::new("100,000 messages of 1 KiB, cold", "ms", cold * 1e3);
        book.add(figure.at_most("150 ms", cold * 1e3, 150.0));
    }
    Ok(())
}

/// How the time grows with the state and with the journal behind its checkpoint, as the policy of a
/// server leaves them.
pub(crate) fn measure_growth(_: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    for messages in GROWING {
        let place = Place::new(dir)?;
        let runtime = Runtime::new()?;
        let started = Server::start(&place.store(), Duration::ZERO)?;
        let filled = runtime.block_on(async {
            let client = server::connect(&started).await?;
            fill(&client, messages).await
        });
        filled?;
        started.kill()?;
        let (checkpoint, journal) = sizes(&place.store())?;
        let ms = first_message(&runtime, &place)? * 1e3;
        let figure = Figure::new(format!("{messages} messages of 1 KiB"), "ms", ms);
        let figure =
            figure.with("checkpoint MiB", mib(checkpoint)).with("journal MiB", mib(journal));
        book.add(figure.with("ms per MiB", ms / mib(checkpoint + journal)));
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of the newest checkpoint, and of the journal that a start reads behind it.
fn sizes(store: &Path) -> Result<(u64, u64), Failed> {
    let info = rekindle_database::dry_run(store, &Options::default(), &Env::real())?;
    let before = info.before.ok_or("a killed store has a past")?;
    Ok((before.checkpoint_bytes, before.journal_bytes))
}

async fn fill(client: &Client, messages: usize) -> Result<(), Error> {
    let options = SenderOptions { in_flight: 1_024, ..SenderOptions::default() };
    let sender = client.sender_with(QUEUE, options);
    let mut last = None;
    for _ in 0..messages {
        last = Some(sender.submit(Message::new(&BODY[..])).await);
    }
    if let Some(last) = last {
        last.await?;
    }
    sender.drain().await;
    Ok(())
}

/// Starts a server, receives one message, kills it again; seconds from exec to the message.
fn first_message(runtime: &Runtime, place: &Place) -> Result<f64, Failed> {
    let began = phase::now_ns();
    let server = Server::start(&place.store(), Duration::ZERO)?;
    let received = runtime.block_on(async {
        let client = Client::connect(&server.grpc)?;
        let wait = Duration::from_secs(5);
        client.receive(&Receive { wait, ..Receive::new(QUEUE) }).await
    });
    let seconds = Duration::from_nanos(phase::now_ns() - began).as_secs_f64();
    let received = received?;
    if received.len() != 1 {
        return Err("no message was there after the restart".into());
    }
    server.kill()?;
    Ok(seconds)
}
