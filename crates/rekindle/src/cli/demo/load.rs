//! The load: numbered messages over one sender, and what became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rekindle_client::{Message, Sender, Ticket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const BODY_BYTES: usize = 256;

/// How far the load is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) submitted: u64,
    pub(super) acknowledged: u64,
}

/// Sends until it is ended.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    submitted: Arc<AtomicU64>,
    acknowledged: watch::Receiver<u64>,
    sending: JoinHandle<()>,
    waiting: JoinHandle<Sent>,
}

/// What became of each message; number `n` at index `n`.
#[derive(Debug, Default)]
pub(super) struct Sent {
    acknowledged: Vec<bool>,
}

impl Sent {
    pub(super) fn acknowledged(&self) -> u64 {
        super::to_u64(self.acknowledged_numbers().count())
    }

    pub(super) fn unknown(&self) -> u64 {
        super::to_u64(self.acknowledged.iter().filter(|acknowledged| !**acknowledged).count())
    }

    pub(super) fn acknowledged_numbers(&self) -> impl Iterator<Item = usize> {
        let numbered = self.acknowledged.iter().enumerate();
        numbered.filter(|(_, acknowledged)| **acknowledged).map(|(number, _)| number)
    }
}

impl Load {
    pub(super) fn begin(sender: Sender) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let submitted = Arc::new(AtomicU64::new(0));
        let (tickets, results) = mpsc::channel(2_048);
        let (count, acknowledged) = watch::channel(0);
        let sending =
            tokio::spawn(send(sender, Arc::clone(&stop), Arc::clone(&submitted), tickets));
        let waiting = tokio::spawn(wait(results, count));
        Self { stop, submitted, acknowledged, sending, waiting }
    }

    pub(super) fn progress(&self) -> Progress {
        let acknowledged = *self.acknowledged.borrow();
        // Read second: never fewer than were acknowledged.
        Progress { acknowledged, submitted: self.submitted.load(Ordering::SeqCst) }
    }

    /// Waits until so many are acknowledged, or until the time is over.
    pub(super) async fn acknowledged(&self, count: u64, within: Duration) {
        let mut acknowledged = self.acknowledged.clone();
        let enough = acknowledged.wait_for(|acknowledged| *acknowledged >= count);
        // Out of time is as good an end: the verdict counts what was acknowledged.
        drop(tokio::time::timeout(within, enough).await);
    }

    /// Sends no more, and waits for what is under way.
    pub(super) async fn end(self) -> Sent {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.sending.await);
        self.waiting.await.unwrap_or_default()
    }
}

async fn send(
    sender: Sender,
    stop: Arc<AtomicBool>,
    submitted: Arc<AtomicU64>,
    tickets: mpsc::Sender<Ticket>,
) {
    for number in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let mut body = format!("{number} ");
        body.extend(std::iter::repeat_n('.', BODY_BYTES - body.len()));
        let ticket = sender.submit(Message::new(body)).await;
        submitted.store(number + 1, Ordering::SeqCst);
        if tickets.send(ticket).await.is_err() {
            return;
        }
    }
}

async fn wait(mut tickets: mpsc::Receiver<Ticket>, count: watch::Sender<u64>) -> Sent {
    let mut sent = Sent::default();
    while let Some(ticket) = tickets.recv().await {
        let acknowledged = ticket.await.is_ok();
        sent.acknowledged.push(acknowledged);
        if acknowledged {
            count.send_modify(|count| *count += 1);
        }
    }
    sent
}
