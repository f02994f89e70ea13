//! Waiting, without blocking a thread, until what was acknowledged is visible.
//!
//! Only where a commit is acknowledged from memory is that not so at once. Invariants: a waker is
//! here exactly while somebody waits; whoever waits is woken by the record that shows its version,
//! or by the loss of everything pending.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::apply::lock;
use crate::core::Handle;
use crate::error::Error;

/// What the mutex guards.
#[derive(Debug, Default)]
struct Waiting {
    /// By version and number.
    wakers: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

/// All who wait.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    waiting: Mutex<Waiting>,
}

impl Watchers {
    /// Wakes those who wait for this version or an older one.
    pub(crate) fn shown(&self, version: u64) {
        let due = {
            let mut waiting = lock(&self.waiting);
            if waiting.wakers.first_key_value().is_none_or(|((first, _), _)| *first > version) {
                return;
            }
            let later = waiting.wakers.split_off(&(version.saturating_add(1), 0));
            std::mem::replace(&mut waiting.wakers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Wakes all: what they wait for will not come.
    pub(crate) fn lost(&self) {
        let all = std::mem::take(&mut lock(&self.waiting).wakers);
        all.into_values().for_each(Waker::wake);
    }
}

/// Resolves when everything that was acknowledged before is visible. Dropping it ends the waiting.
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Settled {
    core: Arc<Handle>,
    version: u64,
    number: Option<u64>,
}

impl Settled {
    pub(crate) fn new(core: Arc<Handle>) -> Self {
        let version = core.acknowledged_version();
        Self { core, version, number: None }
    }

    /// Leaves a waker, in the place of the one before.
    fn register(&mut self, waker: &Waker) {
        let mut waiting = lock(&self.core.state.watchers.waiting);
        let number = *self.number.get_or_insert_with(|| {
            waiting.next += 1;
            waiting.next
        });
        waiting.wakers.insert((self.version, number), waker.clone());
    }
}

impl Future for Settled {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.core.state.visible() >= self.version {
            return Poll::Ready(Ok(()));
        }
        self.register(context.waker());
        // It may have become visible, or impossible, before the waker was there.
        if self.core.state.visible() >= self.version {
            return Poll::Ready(Ok(()));
        }
        let halted = self.core.state.sequencer().halted.clone();
        if let Some(halt) = halted {
            return Poll::Ready(Err(halt.error()));
        }
        self.core.journal.nudge();
        Poll::Pending
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(&self.core.state.watchers.waiting).wakers.remove(&(self.version, number));
        }
    }
}
