//! Sends a backlog: several senders, each with a connection of its own and many in flight.
//!
//! Invariants: a message counts once its acknowledgement says that it is on the disk; the numbers
//! of a sender rise without a gap.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rekindle_client::{Client, Durability, Message, SenderOptions, Ticket};

use super::body::{self, Name};
use crate::phase;
use crate::server::QUEUE;

/// Senders, and what each has in flight: as much as one may have.
const SENDERS: u64 = 4;
const IN_FLIGHT: usize = 1_024;

/// How long a message may wait for a server that waits for its disk.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked how far they are, and how often that is told.
const LOOK: Duration = Duration::from_millis(50);
const TELL_NS: u64 = 5_000_000_000;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Messages.
    pub(super) messages: u64,
    /// Bytes of each body.
    pub(super) bytes: usize,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// From the first submission to the last acknowledgement.
    pub(crate) seconds: f64,
    /// The same for the first and for the last tenth of the messages.
    pub(crate) first_tenth_seconds: f64,
    pub(crate) last_tenth_seconds: f64,
}

/// Sends everything to the server at this address, whose queue is there. `ended` says how the
/// server's process ended, if it did: nobody waits for one that is gone.
pub(super) async fn send(
    address: &str,
    load: Load,
    mut ended: impl FnMut() -> Option<String>,
) -> Result<Sent, String> {
    let acked = Arc::new(AtomicU64::new(0));
    let began_ns = phase::now_ns();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        // The first ones take what is left over.
        let share = load.messages / SENDERS + u64::from(sender < load.messages % SENDERS);
        let share = Load { messages: share, ..load };
        let client = Client::connect(address).map_err(|error| error.to_string())?;
        senders.spawn(one_sender(client, sender, share, Arc::clone(&acked)));
    }
    let mut tenths = Tenths::new(load.messages, began_ns);
    let mut looks = tokio::time::interval(LOOK);
    let mut told_ns = began_ns;
    loop {
        tokio::select! {
            done = senders.join_next() => match done {
                None => break,
                Some(done) => done.map_err(|error| error.to_string())??,
            },
            _ = looks.tick() => if ended().is_some() {
                let done = acked.load(Ordering::Relaxed);
                return Err(format!("sending ended behind {done} messages"));
            },
        }
        let (now_ns, done) = (phase::now_ns(), acked.load(Ordering::Relaxed));
        tenths.note(done, now_ns);
        if now_ns - told_ns >= TELL_NS {
            told_ns = now_ns;
            let percent = done * 100 / load.messages.max(1);
            let rate = done as f64 / seconds(now_ns - began_ns);
            let _ = writeln!(io::stderr(), "  {percent} % sent, {rate:.0} msg/s so far");
        }
    }
    Ok(tenths.end(phase::now_ns()))
}

async fn one_sender(
    client: Client,
    sender: u64,
    share: Load,
    acked: Arc<AtomicU64>,
) -> Result<(), String> {
    let options =
        SenderOptions { timeout: PATIENCE, in_flight: IN_FLIGHT, ..SenderOptions::default() };
    let queue = client.sender_with(QUEUE, options);
    let mut pending = VecDeque::with_capacity(IN_FLIGHT);
    for number in 0..share.messages {
        if pending.len() == IN_FLIGHT
            && let Some(oldest) = pending.pop_front()
        {
            on_disk(oldest, &acked).await?;
        }
        let body = body::write(Name { sender, number }, share.bytes);
        pending.push_back(queue.submit(Message::new(body)).await);
    }
    for ticket in pending {
        on_disk(ticket, &acked).await?;
    }
    Ok(())
}

async fn on_disk(ticket: Ticket, acked: &AtomicU64) -> Result<(), String> {
    let so_far = || acked.load(Ordering::Relaxed);
    let ack = ticket.await;
    let ack =
        ack.map_err(|error| format!("sending ended behind {} messages: {error}", so_far()))?;
    if ack.durability != Durability::Disk {
        return Err(format!("an acknowledgement says {}, not disk", ack.durability.word()));
    }
    acked.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Nanoseconds as seconds.
pub(super) fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

/// When the first tenth was over, and when the last began.
#[derive(Debug)]
struct Tenths {
    messages: u64,
    began_ns: u64,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
}

impl Tenths {
    fn new(messages: u64, began_ns: u64) -> Self {
        Self { messages, began_ns, first_ns: None, last_ns: None }
    }

    /// So many are acknowledged now.
    fn note(&mut self, done: u64, now_ns: u64) {
        if done >= self.messages / 10 {
            self.first_ns.get_or_insert(now_ns);
        }
        if done >= self.messages - self.messages / 10 {
            self.last_ns.get_or_insert(now_ns);
        }
    }

    fn end(&self, now_ns: u64) -> Sent {
        let first = self.first_ns.unwrap_or(now_ns) - self.began_ns;
        let last = now_ns - self.last_ns.unwrap_or(now_ns);
        Sent {
            seconds: seconds(now_ns - self.began_ns),
            first_tenth_seconds: seconds(first),
            last_tenth_seconds: seconds(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_of_the_messages() {
        let mut tenths = Tenths::new(100, 1_000_000_000);
        for (done, at) in [(9, 2), (12, 3), (50, 4), (90, 6), (99, 8)] {
            tenths.note(done, at * 1_000_000_000);
        }
        let sent = tenths.end(9_000_000_000);
        let found = [sent.seconds, sent.first_tenth_seconds, sent.last_tenth_seconds];
        assert_eq!(found, [8.0, 2.0, 3.0]);
    }
}
