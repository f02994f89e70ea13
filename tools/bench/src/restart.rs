//! From the kill of a server that holds messages to the first message of the next one.
//!
//! Invariant: the time begins before the process is started and ends when a client holds a message;
//! the page cache is warm, or emptied where the kernel permits it.

use std::path::Path;
use std::time::Duration;

use rekindle_client::{Client, Error, Message, Receive, SenderOptions};
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

/// Measures everything in this section once.
pub(crate) fn measure(_: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    let place = Place::new(dir)?;
    let runtime = Runtime::new()?;
    let started = Server::start(&place.store(), Duration::ZERO)?;
    let filled = runtime.block_on(async {
        let client = server::connect(&started).await?;
        fill(&client).await
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

async fn fill(client: &Client) -> Result<(), Error> {
    let options = SenderOptions { in_flight: 1_024, ..SenderOptions::default() };
    let sender = client.sender_with(QUEUE, options);
    let mut last = None;
    for _ in 0..MESSAGES {
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
