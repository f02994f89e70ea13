//! Those who wait for a line: woken by an event, one per unit that became ready, in the order in
//! which they came; and those who wait for the end of a job, or for what happens to an execution,
//! who are all woken by it.
//!
//! Invariant: a wake-up is never lost. A receiver that goes away after it was woken and before it
//! saw it hands the wake-up to the next one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::claims::Subject;
use crate::claims::index::Index;
use crate::loops::id::LoopId;

/// How one waiting receiver stands.
#[derive(Debug)]
enum State {
    /// Not polled yet.
    New,
    /// To be woken so.
    Waiting(Waker),
    /// Woken, and has not seen it yet.
    Woken,
    /// Saw it, or went away.
    Done,
}

/// One waiting receiver.
#[derive(Debug)]
pub(crate) struct Waiter {
    state: Mutex<State>,
}

impl Waiter {
    fn set(&self, state: State) -> State {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *guard, state)
    }

    fn is_done(&self) -> bool {
        let guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*guard, State::Done)
    }
}

/// Those who wait for one thing, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    line: VecDeque<Arc<Waiter>>,
}

impl Waiters {
    /// Adds one.
    pub(crate) fn add(&mut self) -> Arc<Waiter> {
        // Those that went away are swept once they are half of the line: O(1) amortised.
        let live = |waiter: &Arc<Waiter>| Arc::strong_count(waiter) > 1;
        if self.line.len() >= 16 && self.line.len().is_power_of_two() {
            self.line.retain(live);
        }
        let waiter = Arc::new(Waiter { state: Mutex::new(State::New) });
        self.line.push_back(Arc::clone(&waiter));
        waiter
    }

    /// Whether everybody went away.
    pub(crate) fn are_gone(&mut self) -> bool {
        self.line.retain(|waiter| !waiter.is_done());
        self.line.is_empty()
    }

    /// Whether somebody may be waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Wakes up to `count`; their wakers are to be called outside of every lock.
    pub(crate) fn wake(&mut self, count: u64, wakers: &mut Vec<Waker>) {
        let mut left = count;
        while left > 0 {
            let Some(waiter) = self.line.pop_front() else { break };
            let mut state = waiter.state.lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::replace(&mut *state, State::Woken) {
                State::Waiting(waker) => wakers.push(waker),
                State::New => {}
                State::Woken | State::Done => {
                    *state = State::Done;
                    continue;
                }
            }
            left -= 1;
        }
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum For {
    /// A line has ready work.
    Line(u64),
    /// A job is finished.
    End(Subject),
    /// Something happened to an execution of a loop.
    Change(LoopId),
}

/// Resolves when its waiter is woken.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) waiter: Arc<Waiter>,
    pub(crate) index: Weak<Index>,
    pub(crate) waits_for: For,
}

impl Future for Listener {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.waiter.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Woken | State::Done => {
                *state = State::Done;
                Poll::Ready(())
            }
            State::Waiting(waker) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            State::New => {
                *state = State::Waiting(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let unseen = matches!(self.waiter.set(State::Done), State::Woken);
        if let Some(index) = self.index.upgrade() {
            index.listener_gone(self.waits_for, unseen);
        }
    }
}
