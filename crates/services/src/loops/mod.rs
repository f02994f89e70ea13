//! Loops: long executions of iterations that go on until their checks pass.
//!
//! A *plan* has *specs* with dependencies between them; what a spec asks for is done by iterations:
//! its run step, then its check steps. An *execution* is the fold of its events, and its steps are
//! jobs (docs/decisions/0036).
//!
//! ```text
//! start ─▶ life: next ─▶ step_started + job ─▶ claim ─▶ … ─▶ end of the job ─▶ step_ended ─▶ next
//!            ▲                                                                           │
//!            └── alter (a person), wake (time), over (a spec that was needed) ◀──────────┘
//! ```

mod alter;
pub mod calls;
pub mod event;
mod fork;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fork_tests;
pub mod id;
pub(crate) mod index;
pub(crate) mod life;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod lives_tests;
mod look;
pub mod next;
mod order;
pub mod plan;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod plan_tests;
mod recorded;
pub mod recovery;
mod replay;
pub(crate) mod row;
mod start;
pub mod state;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod state_tests;
mod status;
pub mod step;
pub mod transcript;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use rekindle_database::Snapshot;

pub(crate) use alter::{Alive, Wake};
pub use calls::{
    Altered, Ask, EventPage, ExecutionDetail, ExecutionInfo, Forked, ForkedFrom, LoopCounts,
    LoopFilter, LoopPage, PlanInfo, PlanSpecInfo, Shown, Started,
};
pub use event::{Event, Outcome, StepRef, What};
pub use id::LoopId;
pub use plan::{Budget, Checked, Directory, Plan, Spec, Step};
pub use state::{ForkPoint, Status, Used};
pub use step::{STEPS, Task, Told};
pub use transcript::CorruptedRecord;
pub use transcript::rebuild::Rebuilt;
pub use transcript::rebuild::write::{rebuild, state_hash};
pub use transcript::writer::TranscriptFigures;

use crate::claims::index::For;
use crate::error::Error;
use crate::exec::Core;
use crate::identity::Identity;
use crate::ticket::{Acknowledged, Ticket};
use alter::Alter;
use fork::turn;
use start::Start;

/// The loops of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Loops {
    core: Arc<Core>,
}

/// A plan or an execution.
pub(crate) fn shown(core: &Core, id: LoopId) -> Result<Shown, Error> {
    look::show(core, id)
}

/// What a list says of an execution, without the name of its plan; `None`: it is gone.
pub(crate) fn glance(
    core: &Core,
    snapshot: &Snapshot,
    id: LoopId,
) -> Result<Option<ExecutionInfo>, Error> {
    look::glance(core, snapshot, id)
}

impl Loops {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Starts a plan: its executions are there, and what can begin has begun. A draft waits for
    /// [`Ask::Approve`].
    ///
    /// # Errors
    /// `Invalid`: everything that is wrong with the plan; `Full`.
    pub fn start(
        &self,
        plan: &Plan,
        draft: bool,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Started>, Error> {
        self.core.submit(&mut Start::new(&self.core, plan, draft, who, identity)?)?.wait()
    }

    /// See [`Loops::start`].
    ///
    /// # Errors
    /// As [`Loops::start`].
    pub async fn submit_start(
        &self,
        plan: &Plan,
        draft: bool,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Started>, Error> {
        let mut start = Start::new(&self.core, plan, draft, who, identity)?;
        self.core.submit_async(&mut start).await
    }

    /// Does what a person asks for about an execution, or about all executions of a plan to which
    /// it means anything; with an audit record.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`: it means nothing to any of them.
    pub fn alter(
        &self,
        id: LoopId,
        ask: Ask,
        why: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Altered>, Error> {
        self.core.submit(&mut Alter::new(id, ask, why, who, identity)?)?.wait()
    }

    /// See [`Loops::alter`].
    ///
    /// # Errors
    /// As [`Loops::alter`].
    pub async fn submit_alter(
        &self,
        id: LoopId,
        ask: Ask,
        why: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Altered>, Error> {
        self.core.submit_async(&mut Alter::new(id, ask, why, who, identity)?).await
    }

    /// Makes a new plan with one execution, which begins as execution `id`, in whatever status,
    /// stood before the first step of its iteration `at`: one that it has begun, or the next one.
    /// What was used stays used; that the original is paused, waits for a person, or is over does
    /// not count. Files are not taken back. With an audit record.
    ///
    /// # Errors
    /// `NotFound`; `Invalid`: there is no such iteration, or `id` is a plan; `Corrupt`: an event of
    /// it is missing or damaged; `Full`.
    pub fn fork(
        &self,
        id: LoopId,
        at: u32,
        why: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Forked>, Error> {
        let mut fork = fork::Fork::new(&self.core, (id, at), why, who, identity)?;
        while fork.read(&self.core)? {}
        self.core.submit(&mut fork)?.wait()
    }

    /// See [`Loops::fork`].
    ///
    /// # Errors
    /// As [`Loops::fork`].
    pub async fn submit_fork(
        &self,
        id: LoopId,
        at: u32,
        why: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Forked>, Error> {
        let mut fork = fork::Fork::new(&self.core, (id, at), why, who, identity)?;
        // Others have a turn between two pages.
        while fork.read(&self.core)? {
            turn().await;
        }
        self.core.submit_async(&mut fork).await
    }

    /// Waits until everything that was acknowledged before is known to the other calls.
    ///
    /// # Errors
    /// Of the store.
    pub async fn settled(&self) -> Result<(), Error> {
        self.core.settled().await
    }

    /// A plan or an execution.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`: rows of it cannot be read.
    pub fn show(&self, id: LoopId) -> Result<Shown, Error> {
        self.core.alive()?;
        look::show(&self.core, id)
    }

    /// A page of executions.
    ///
    /// # Errors
    /// `Corrupt`: one of them cannot be read.
    pub fn list(&self, filter: &LoopFilter<'_>) -> Result<LoopPage, Error> {
        self.core.alive()?;
        look::list(&self.core, filter)
    }

    /// Up to `limit` events (0: as many as a page may have) of an execution behind number `after`.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`: one of them cannot be read.
    pub fn events(&self, id: LoopId, after: u64, limit: usize) -> Result<EventPage, Error> {
        self.core.alive()?;
        look::page(&self.core, id, after, limit)
    }

    /// What transcripts did since the start; nothing where none are written.
    #[must_use]
    pub fn transcripts(&self) -> TranscriptFigures {
        self.core.transcripts.as_ref().map(|it| it.figures()).unwrap_or_default()
    }

    /// The same, once there is one, the execution is over, or `deadline` resolves.
    ///
    /// # Errors
    /// As [`Loops::events`]; `Full`: too many wait.
    pub async fn events_wait(
        &self,
        id: LoopId,
        after: u64,
        limit: usize,
        deadline: impl Future<Output = ()>,
    ) -> Result<EventPage, Error> {
        let mut deadline = pin!(deadline);
        loop {
            self.settled().await?;
            // Listen first, look, and only then wait: nothing in between is missed.
            let mut heard = pin!(self.core.index.listen_for(For::Change(id))?);
            let page = self.events(id, after, limit)?;
            let is_closing = || self.core.closing.load(Ordering::Acquire);
            if !page.events.is_empty() || page.is_over || is_closing() {
                return Ok(page);
            }
            let changed = poll_fn(|context| {
                if heard.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                deadline.as_mut().poll(context).map(|()| false)
            });
            if !changed.await || is_closing() {
                return self.events(id, after, limit);
            }
            // A change is told before reads see it: a look now might miss it, and the next wait.
            self.core.submit_async(&mut look::Change(id)).await?.await?;
        }
    }

    /// How many executions stand where.
    #[must_use]
    pub fn counts(&self) -> LoopCounts {
        self.core.loops.counts()
    }
}
