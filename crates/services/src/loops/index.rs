//! The executions by what is due and what waits for a person: derived, in memory, fed by apply
//! events, rebuilt by recovery.
//!
//! Invariant: it follows the rows of executions, and nothing else changes what it says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::loops::id::LoopId;
use crate::loops::plan::Spec;
use crate::loops::row::Stored;
use crate::loops::state::Status;

/// Bytes of specs that are remembered; above it all are forgotten, and read again.
const SPEC_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How often it is said that executions are alive, milliseconds.
const ALIVE_EVERY_MS: u64 = 60_000;

/// What is known of an execution without its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its plan.
    pub(crate) plan: LoopId,
    /// How it stands, for good or until its time comes.
    pub(crate) status: Status,
    /// When it goes on by itself, log time.
    wake_ms: Option<u64>,
    /// Since when it waits for a person, log time.
    pub(crate) review_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    executions: BTreeMap<LoopId, Entry>,
    wakes: BTreeSet<(u64, LoopId)>,
    reviews: BTreeSet<LoopId>,
    counts: BTreeMap<Status, u64>,
    /// Specs that were read; they never change.
    specs: HashMap<LoopId, Arc<Spec>>,
    spec_bytes: usize,
    /// When it was last said that executions are alive, log time.
    told_alive_ms: u64,
}

/// All executions.
#[derive(Debug, Default)]
pub(crate) struct LoopIndex {
    inner: Mutex<Inner>,
}

impl LoopIndex {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An execution is as its row says. When it goes on by itself, if that is before all others.
    pub(crate) fn put(&self, id: LoopId, stored: &Stored) -> Option<u64> {
        // One whose time comes is woken; until then it waits.
        let status = stored.state.status(stored.updated_ms);
        let wake_ms = stored.wake_ms;
        let mut inner = self.lock();
        let before = inner.remove(id);
        let review_ms = (status == Status::NeedsReview)
            .then(|| before.and_then(|entry| entry.review_ms).unwrap_or(stored.updated_ms));
        let first = wake_ms.filter(|at| inner.wakes.first().is_none_or(|(first, _)| at < first));
        if status.is_finished() {
            inner.forget_spec(id);
        }
        let entry = Entry { plan: stored.plan, status, wake_ms, review_ms };
        inner.executions.insert(id, entry);
        inner.wakes.extend(wake_ms.map(|at| (at, id)));
        inner.reviews.extend(review_ms.map(|_| id));
        *inner.counts.entry(status).or_default() += 1;
        first
    }

    /// It is gone.
    pub(crate) fn remove(&self, id: LoopId) {
        let mut inner = self.lock();
        inner.remove(id);
        inner.forget_spec(id);
    }

    /// What an execution is to do, if that was read.
    pub(crate) fn spec(&self, id: LoopId) -> Option<Arc<Spec>> {
        self.lock().specs.get(&id).map(Arc::clone)
    }

    /// Remembers what was read.
    pub(crate) fn keep_spec(&self, id: LoopId, spec: &Arc<Spec>) {
        let mut inner = self.lock();
        if inner.spec_bytes > SPEC_BYTES_MAX {
            inner.specs.clear();
            inner.spec_bytes = 0;
        }
        if inner.specs.insert(id, Arc::clone(spec)).is_none() {
            inner.spec_bytes += spec.bytes();
        }
    }

    /// The journal failed: what is here is no longer true.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// What is known of one.
    pub(crate) fn get(&self, id: LoopId) -> Option<Entry> {
        self.lock().executions.get(&id).copied()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().executions.len()
    }

    /// How many stand where.
    pub(crate) fn counts(&self) -> BTreeMap<Status, u64> {
        self.lock().counts.clone()
    }

    /// Whether it is time to say that executions are alive; then it was said.
    pub(crate) fn tell_alive(&self, now_ms: u64) -> bool {
        let mut inner = self.lock();
        let is_active = |status: &Status| matches!(status, Status::Pending | Status::Running);
        let mut counts = inner.counts.iter();
        let active = counts.any(|(status, count)| is_active(status) && *count > 0);
        let due = active && now_ms.saturating_sub(inner.told_alive_ms) >= ALIVE_EVERY_MS;
        if due {
            inner.told_alive_ms = now_ms;
        }
        due
    }

    /// Takes up to `max` out whose time has come. When the next one is due, and whether there are
    /// more.
    pub(crate) fn due(&self, now_ms: u64, max: usize) -> (Vec<LoopId>, Option<u64>) {
        let mut inner = self.lock();
        let mut due = Vec::new();
        while let Some(&(at_ms, id)) = inner.wakes.first() {
            if at_ms > now_ms || due.len() >= max {
                break;
            }
            inner.wakes.pop_first();
            due.push(id);
        }
        let next = inner.wakes.first().map(|(at_ms, _)| *at_ms);
        (due, next)
    }

    /// Gives one back that could not be woken.
    pub(crate) fn wake_at(&self, id: LoopId, at_ms: u64) {
        let mut inner = self.lock();
        if let Some(entry) = inner.executions.get_mut(&id) {
            let before = entry.wake_ms.replace(at_ms);
            if let Some(before) = before {
                inner.wakes.remove(&(before, id));
            }
            inner.wakes.insert((at_ms, id));
        }
    }

    /// Up to `limit` executions behind `after` (before it, where the newest come first) that
    /// `wanted` takes, and whether more may follow.
    pub(crate) fn list(
        &self,
        after: Option<LoopId>,
        newest_first: bool,
        limit: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> (Vec<LoopId>, bool) {
        let inner = self.lock();
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found: Vec<LoopId> = {
            let take = |(id, entry): (&LoopId, &Entry)| wanted(entry).then_some(*id);
            let most = limit.saturating_add(1);
            if newest_first {
                let range = inner.executions.range((Bound::Unbounded, behind));
                range.rev().filter_map(take).take(most).collect()
            } else {
                inner
                    .executions
                    .range((behind, Bound::Unbounded))
                    .filter_map(take)
                    .take(most)
                    .collect()
            }
        };
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }

    /// Those that wait for a person, and since when.
    pub(crate) fn reviews(&self) -> Vec<(LoopId, u64)> {
        let inner = self.lock();
        let since = |id: &LoopId| inner.executions.get(id).and_then(|entry| entry.review_ms);
        inner.reviews.iter().filter_map(|id| Some((*id, since(id)?))).collect()
    }
}

impl Inner {
    fn forget_spec(&mut self, id: LoopId) {
        if let Some(spec) = self.specs.remove(&id) {
            self.spec_bytes = self.spec_bytes.saturating_sub(spec.bytes());
        }
    }

    fn remove(&mut self, id: LoopId) -> Option<Entry> {
        let entry = self.executions.remove(&id)?;
        if let Some(at_ms) = entry.wake_ms {
            self.wakes.remove(&(at_ms, id));
        }
        self.reviews.remove(&id);
        if let Some(count) = self.counts.get_mut(&entry.status) {
            *count -= 1;
        }
        Some(entry)
    }
}
