//! Where an execution begins that was forked from another one. Pure.
//!
//! Invariants: what was used, how far it came and what went wrong in a row are taken over as they
//! stood; that somebody paused, asked about, or ended the original is not. So a fork begins its
//! iteration as the original would have, and what was used is never less than it was there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::loops::event::StepRef;
use crate::loops::id::LoopId;
use crate::loops::plan::{BRANCH_BYTES_MAX, Directory};
use crate::loops::state::Execution;

/// What stands between a branch and the name of the fork that its own branch is made for.
const FORK: &str = "-fork-";

/// What an execution was forked from, and how that stood there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The original.
    pub execution: LoopId,
    /// The iteration that it begins with.
    pub at: u32,
    /// The number of the last event of the original that was taken over.
    pub events: u64,
    /// How the fork begins: the fold of these events, without its spec.
    pub state: Execution,
}

impl ForkPoint {
    /// How it begins; `None`: no fork begins so.
    pub(super) fn begins(&self) -> Option<Execution> {
        let state = &self.state;
        let is_free = !state.draft
            && !state.blocked
            && !state.paused
            && !state.passed
            && state.ended.is_none()
            && state.review.is_none()
            && state.in_flight.is_none();
        let is_next =
            state.next == first(self.at) && state.used.iterations.checked_add(1) == Some(self.at);
        (is_free && is_next).then(|| state.clone())
    }
}

/// The step that an iteration begins with.
fn first(iteration: u32) -> StepRef {
    StepRef { iteration, step: 0, attempt: 1 }
}

impl Execution {
    /// How a fork begins with iteration `at` of one that stands so. Its wall time is that of the
    /// original up to `then_ms`, and its own from `now_ms` on; both are log time.
    #[must_use]
    pub(crate) fn forked(&self, at: u32, then_ms: u64, now_ms: u64) -> Self {
        let mut then = self.clone();
        then.count(then_ms);
        Self {
            spec: Arc::default(),
            draft: false,
            blocked: false,
            ended: None,
            review: None,
            paused: false,
            in_flight: None,
            next: first(at),
            passed: false,
            counted_ms: then.counted_ms.map(|_| now_ms),
            ..then
        }
    }
}

impl Directory {
    /// Where a fork of this name works: a branch belongs to one worktree, so it has its own, which
    /// begins at that of the original.
    #[must_use]
    pub(crate) fn forked(&self, fork: LoopId) -> Self {
        let Self::Worktree { repository, branch, .. } = self else { return self.clone() };
        // The branch of a fork of a fork does not grow.
        let base = match branch.rsplit_once(FORK) {
            Some((base, id)) if !base.is_empty() && id.parse::<LoopId>().is_ok() => base,
            _ => branch,
        };
        let end = format!("{FORK}{fork}");
        let room = base.floor_char_boundary(BRANCH_BYTES_MAX.saturating_sub(end.len()));
        let base = base.get(..room).unwrap_or_default().trim_end_matches(['.', '/']);
        Self::Worktree {
            repository: repository.clone(),
            branch: format!("{base}{end}"),
            from: Some(branch.clone()),
        }
    }
}
