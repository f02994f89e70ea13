//! What the index knows of types of jobs: their names, how many jobs stand where, what waits for
//! wall time, what is finished for long enough, and what a start made wait.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::task::Waker;

use crate::claims::Subject;
use crate::claims::index::{Backpressure, Index};
use crate::jobs::JobCounts;
use crate::jobs::kind::JobType;

type Types = BTreeMap<String, Arc<JobType>>;

impl Index {
    fn types(&self) -> RwLockReadGuard<'_, Types> {
        self.types.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The type of jobs with this name.
    pub(crate) fn job_type(&self, name: &str) -> Option<Arc<JobType>> {
        self.types().get(name).map(Arc::clone)
    }

    /// Number of types of jobs.
    pub(crate) fn job_type_count(&self) -> usize {
        self.types().len()
    }

    /// All types of jobs, in the order of their names.
    pub(crate) fn job_types(&self) -> Vec<Arc<JobType>> {
        self.types().values().map(Arc::clone).collect()
    }

    /// Up to `limit` types behind `after`, how many of their jobs stand where, and whether more
    /// types follow.
    pub(crate) fn list_job_types(
        &self,
        after: &str,
        limit: usize,
    ) -> (Vec<(Arc<JobType>, JobCounts)>, bool) {
        let mut found: Vec<Arc<JobType>> = {
            let types = self.types();
            let behind = types.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
            behind.take(limit.saturating_add(1)).map(|(_, kind)| Arc::clone(kind)).collect()
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let inner = self.lock();
        let counts = |kind: &JobType| inner.lines.get(&kind.id).map(|line| line.job_counts());
        let listed = found.into_iter().map(|kind| {
            let counts = counts(&kind).unwrap_or_default();
            (kind, counts)
        });
        (listed.collect(), more)
    }

    /// How many jobs of a type stand where.
    pub(crate) fn job_counts(&self, line: u64) -> JobCounts {
        self.lock().lines.get(&line).map(|line| line.job_counts()).unwrap_or_default()
    }

    /// Up to `max` jobs with a claim, type by type, of each those whose claims end first, and
    /// whether there are more.
    pub(crate) fn claimed_jobs(&self, max: usize) -> (Vec<(Arc<JobType>, u64)>, bool) {
        let kinds = self.job_types();
        let inner = self.lock();
        let mut found = Vec::new();
        for kind in kinds {
            let Some(line) = inner.lines.get(&kind.id) else { continue };
            // One beyond `max` tells that there are more.
            let left = max.saturating_add(1).saturating_sub(found.len());
            found.extend(line.claimed(left).map(|number| (Arc::clone(&kind), number)));
            if found.len() > max {
                break;
            }
        }
        let more = found.len() > max;
        found.truncate(max);
        (found, more)
    }

    /// Makes jobs ready whose wall time has come. Answers how many became ready, and when the next
    /// one is due.
    pub(crate) fn due_wall(&self, wall_ms: u64) -> (u64, Option<u64>) {
        let kinds = self.job_types();
        let mut wakers = Vec::new();
        let (mut became_ready, mut next) = (0, None::<u64>);
        let mut inner = self.lock();
        for kind in kinds {
            let Some(line) = inner.lines.get_mut(&kind.id) else { continue };
            let ready = line.advance_wall(wall_ms);
            next = line.next_wall_ms().into_iter().chain(next).min();
            inner.wake(kind.id, ready, &mut wakers);
            became_ready += ready;
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        (became_ready, next)
    }

    /// Up to `max` jobs that were kept for long enough after they were finished.
    pub(crate) fn retired(&self, now: u64, max: usize) -> Vec<Subject> {
        let kinds = self.job_types();
        let mut inner = self.lock();
        let mut retired = Vec::new();
        for kind in kinds {
            let Some(line) = inner.lines.get_mut(&kind.id) else { continue };
            let left = max.saturating_sub(retired.len());
            let due = line.finished.due(now, kind.settings.kept_ms(), left);
            retired.extend(due.into_iter().map(|number| Subject { line: kind.id, number }));
        }
        retired
    }

    /// Gives jobs back whose rows could not be removed now.
    pub(crate) fn keep(&self, jobs: &[Subject]) {
        let mut inner = self.lock();
        for job in jobs {
            if let Some(line) = inner.lines.get_mut(&job.line) {
                line.finished.keep(job.number);
            }
        }
    }

    /// What is ready of each type goes through a window of this size from now on. Answers how much
    /// is ready in all.
    pub(crate) fn open_windows(&self, now: u64, capacity: u64) -> u64 {
        let mut ready = 0;
        for kind in self.job_types() {
            let mut inner = self.lock();
            let Some(line) = inner.lines.get_mut(&kind.id) else { continue };
            let pending = line.job_counts().pending;
            let admitted = line.pace.restored(now, pending, capacity);
            drop(inner);
            if admitted > 0 {
                kind.re_enqueued(admitted);
            }
            ready += pending;
        }
        ready
    }

    /// Windows that stay full, and when the next report of one is due.
    pub(crate) fn backpressure(
        &self,
        now: u64,
    ) -> (Vec<(Arc<JobType>, Backpressure)>, Option<u64>) {
        let kinds = self.job_types();
        let mut inner = self.lock();
        let (mut told, mut next) = (Vec::new(), None::<u64>);
        for kind in kinds {
            let Some(line) = inner.lines.get_mut(&kind.id) else { continue };
            let due = line.pace.backpressure(now);
            next = line.pace.report_ms().into_iter().chain(next).min();
            told.extend(due.map(|one| (kind, one)));
        }
        (told, next)
    }
}
