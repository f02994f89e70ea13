//! Waiting, without blocking a thread, until what was acknowledged is visible.
//!
//! Only where a commit is acknowledged from memory is that not so at once. Invariant: whoever waits
//! is woken by the record that shows its version, or by the loss of everything pending.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::core::Handle;
use crate::error::Error;
use crate::wakers::Wait;

/// Resolves when everything that was acknowledged before is visible. Dropping it ends the waiting.
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Settled {
    core: Arc<Handle>,
    version: u64,
    /// Once it had to wait.
    wait: Option<Wait>,
}

impl Settled {
    pub(crate) fn new(core: Arc<Handle>) -> Self {
        let version = core.acknowledged_version();
        Self { core, version, wait: None }
    }
}

impl Future for Settled {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { core, version, wait } = &mut *self;
        if core.state.visible() >= *version {
            return Poll::Ready(Ok(()));
        }
        wait.get_or_insert_with(|| Wait::new(&core.state.watchers, *version))
            .leave(context.waker());
        // It may have become visible, or impossible, before the waker was there.
        if core.state.visible() >= *version {
            return Poll::Ready(Ok(()));
        }
        let halted = core.state.sequencer().halted.clone();
        if let Some(halt) = halted {
            return Poll::Ready(Err(halt.error()));
        }
        core.journal.nudge();
        Poll::Pending
    }
}
