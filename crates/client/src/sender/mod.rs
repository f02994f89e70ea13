//! A sender: many messages in flight over one stream, batched by itself, each sent once.
//!
//! Invariants: messages of one task are in the queue in the order in which it submitted them, also
//! over reconnects; a message is in the queue at most once, however often it had to be sent; what
//! is in flight is bounded in messages and bytes.

mod driver;
mod state;
mod stream;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rekindle_wire::v1::{Durability, Message};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::identity::ProducerId;
use state::State;

/// What an accepted message got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its id; opaque.
    pub id: String,
    /// What the server promises.
    pub durability: Durability,
}

/// How a sender behaves.
#[derive(Clone, Debug)]
pub struct SenderOptions {
    /// How long to try before a message's outcome is given up as unknown.
    pub timeout: Duration,
    /// The most messages in flight (at most 1,024: the server keeps that many results to recognise
    /// what is sent again).
    pub in_flight: usize,
    /// The most bytes of bodies in flight; one message is always allowed.
    pub in_flight_bytes: usize,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), in_flight: 1_024, in_flight_bytes: 4 << 20 }
    }
}

/// Sends to one queue. Clones share the stream. What was submitted is sent also after the last
/// clone is dropped, as long as the runtime lives.
#[derive(Clone)]
pub struct Sender {
    handle: Arc<Handle>,
}

/// Closes the sender when the last clone goes.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    timeout: Duration,
    seed: u64,
    /// There is work, or the sender was closed.
    work: Notify,
    /// Everything is resolved.
    idle: Notify,
}

impl Sender {
    pub(crate) fn new(client: Client, queue: String, options: SenderOptions) -> Self {
        let id = ProducerId::new();
        let mix = |seed: u64, byte: &u8| seed.rotate_left(8) ^ u64::from(*byte);
        let seed = id.bytes().iter().fold(0, mix);
        let state = Mutex::new(State::new(queue, id, &options));
        let (work, idle) = (Notify::new(), Notify::new());
        let shared = Arc::new(Shared { state, timeout: options.timeout, seed, work, idle });
        tokio::spawn(driver::drive(Arc::clone(&shared), client));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Hands a message over as soon as there is room; the ticket is its acknowledgement. The order
    /// of finished submissions is the order in the queue.
    pub async fn submit(&self, message: Message) -> Ticket {
        let shared = &self.handle.shared;
        let slot = Submission { shared, message: Some(message), waiter: None }.await;
        Ticket { shared: Some(Arc::clone(shared)), slot }
    }

    /// Sends a message and waits for its acknowledgement.
    pub async fn send(&self, message: Message) -> Result<Ack, Error> {
        self.submit(message).await.await
    }

    /// Waits until everything that was submitted is resolved.
    pub async fn drain(&self) {
        let shared = &self.handle.shared;
        loop {
            let idle = shared.idle.notified();
            if shared.lock().is_empty() {
                return;
            }
            idle.await;
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.change(State::close);
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then wakes without the lock whoever that concerns.
    fn change<T>(&self, change: impl FnOnce(&mut State, &mut Vec<Waker>) -> T) -> T {
        let mut wake = Vec::new();
        let (result, empty) = {
            let mut state = self.lock();
            let result = change(&mut state, &mut wake);
            (result, state.is_empty())
        };
        if empty {
            self.idle.notify_waiters();
        }
        for waker in wake {
            waker.wake();
        }
        result
    }

    /// Waits for something to send; false when nothing will come any more.
    async fn work(&self) -> bool {
        loop {
            {
                let state = self.lock();
                if !state.is_empty() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.work.notified().await;
        }
    }

    /// When to look for messages past their deadline.
    fn wake_time(&self) -> Instant {
        let next = self.lock().next_deadline();
        next.unwrap_or_else(|| Instant::now() + self.timeout)
    }
}

/// A message that waits for room.
struct Submission<'a> {
    shared: &'a Arc<Shared>,
    message: Option<Message>,
    waiter: Option<u64>,
}

impl Future for Submission<'_> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let Self { shared, message, waiter } = &mut *self;
        let mut wake = Vec::new();
        let (slot, first) = {
            let mut state = shared.lock();
            let first = state.is_empty();
            let deadline = || Instant::now() + shared.timeout;
            (state.submit(message, waiter, context.waker(), deadline, &mut wake), first)
        };
        if first && slot.is_ready() {
            shared.work.notify_one();
        }
        for waker in wake {
            waker.wake();
        }
        slot
    }
}

impl Drop for Submission<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.shared.change(|state, wake| state.forget_waiter(waiter, wake));
        }
    }
}

/// The acknowledgement of one message, to be awaited. Dropping it does not take the message back.
#[must_use = "a ticket that nobody awaits tells nobody whether the message was accepted"]
pub struct Ticket {
    shared: Option<Arc<Shared>>,
    slot: usize,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Future for Ticket {
    type Output = Result<Ack, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.shared.as_ref().expect("a ticket is not polled after it is done");
        let result = shared.lock().poll_slot(self.slot, context.waker());
        if result.is_ready() {
            self.shared = None;
        }
        result
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.lock().abandon(self.slot);
        }
    }
}
