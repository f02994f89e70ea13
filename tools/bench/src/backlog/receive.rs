//! Receives a part of a backlog at several consumers, and acknowledges it.
//!
//! Invariants: everything that a consumer is handed is looked at and acknowledged, and the
//! acknowledgement says that it is on the disk; consumers end together, once enough was received.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rekindle_client::{Client, Delivery, Durability, Receive};

use super::order::Handed;
use super::send::seconds;
use crate::phase;
use crate::server::QUEUE;

/// Consumers, each with a connection of its own, and how many messages each asks for.
const CONSUMERS: usize = 8;
const AT_ONCE: u32 = 100;

/// How long a consumer waits for a message where there are some.
const PATIENCE: Duration = Duration::from_secs(30);

/// What they did.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// From the first request to the last acknowledgement.
    pub(super) seconds: f64,
    /// What each was handed.
    pub(super) handed: Vec<Handed>,
}

/// A client that waits for a server whose memory is bounded.
pub(super) fn client(address: &str) -> Result<Client, String> {
    let client = Client::connect(address).map_err(|error| error.to_string())?;
    Ok(client.with_timeout(PATIENCE))
}

/// One message, the first of a start.
pub(super) async fn first(client: &Client, handed: &mut Handed) -> Result<(), String> {
    match round(client, 1, handed).await? {
        0 => Err(format!("no message came within {PATIENCE:?} after the start")),
        _ => Ok(()),
    }
}

/// At least so many messages, as many are there.
pub(super) async fn receive(address: &str, messages: u64) -> Result<Received, String> {
    let count = Arc::new(AtomicU64::new(0));
    let began_ns = phase::now_ns();
    let mut consumers = tokio::task::JoinSet::new();
    for _ in 0..CONSUMERS {
        consumers.spawn(consumer(client(address)?, messages, Arc::clone(&count)));
    }
    let mut received = Received::default();
    while let Some(ended) = consumers.join_next().await {
        received.handed.push(ended.map_err(|error| error.to_string())??);
    }
    received.seconds = seconds(phase::now_ns() - began_ns);
    Ok(received)
}

async fn consumer(client: Client, messages: u64, count: Arc<AtomicU64>) -> Result<Handed, String> {
    let mut handed = Handed::default();
    // What is asked for is counted before: no consumer waits for what others were handed.
    while count.fetch_add(u64::from(AT_ONCE), Ordering::Relaxed) < messages {
        let found = round(&client, AT_ONCE, &mut handed).await?;
        if found == 0 {
            return Err(format!("no message came within {PATIENCE:?}, and some must be there"));
        }
        count.fetch_sub(u64::from(AT_ONCE).saturating_sub(found), Ordering::Relaxed);
    }
    Ok(handed)
}

/// Receives once and acknowledges; how many.
async fn round(client: &Client, max: u32, handed: &mut Handed) -> Result<u64, String> {
    let receive = Receive { max, wait: PATIENCE, ..Receive::new(QUEUE) };
    let deliveries = client.receive(&receive).await;
    let deliveries = deliveries.map_err(|error| format!("receiving ended: {error}"))?;
    let mut tokens = Vec::with_capacity(deliveries.len());
    for Delivery { token, body, .. } in deliveries {
        handed.note(&body)?;
        tokens.push(token);
    }
    for acked in client.ack(QUEUE, &tokens).await {
        let durability = acked.map_err(|error| format!("acknowledging ended: {error}"))?;
        if durability != Durability::Disk {
            return Err(format!("an acknowledgement says {}, not disk", durability.word()));
        }
    }
    Ok(tokens.len() as u64)
}
