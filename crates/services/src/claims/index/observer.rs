//! How the index follows the transactions: operations in, places out.
//!
//! It reads nothing but the operations. Services write the operations of one transaction in the
//! order that this needs: a message goes before its lease goes, attempts are written before the
//! lease goes.

use std::sync::{Arc, PoisonError, Weak};
use std::task::Waker;

use rekindle_database::{KeyspaceId, Observer, Operation};

use crate::claims::attempts::Attempts;
use crate::claims::index::waiters::For;
use crate::claims::index::{ANY_LINE, Due, Index, Inner, LaneKey, LineIndex};
use crate::claims::lease::Lease;
use crate::claims::{Line, Subject};
use crate::jobs::kind::JobType;
use crate::jobs::{job, outcome};
use crate::keys::lease_expiry::LeaseExpiry;
use crate::keys::{Keyspaces, loops as loop_key, queue as name_key, subject};
use crate::loops::index::LoopIndex;
use crate::loops::row::Stored;
use crate::queues::definition::Definition;
use crate::queues::message;
use crate::schedules::calendar::Calendar;
use crate::schedules::row::Stored as Schedule;

/// Feeds the index. Holds it weakly: when the services are gone, nothing is left to feed.
#[derive(Debug)]
pub(crate) struct IndexObserver {
    pub(crate) index: Weak<Index>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) loops: Arc<LoopIndex>,
    pub(crate) keyspaces: Keyspaces,
}

/// What one transaction leaves to be done outside of the lock.
#[derive(Default)]
struct After {
    wakers: Vec<Waker>,
    due_ms: Option<u64>,
}

impl Observer for IndexObserver {
    fn applied(
        &self,
        _version: u64,
        log_time_ms: u64,
        operations: &mut dyn Iterator<Item = Operation<'_>>,
    ) {
        let Some(index) = self.index.upgrade() else { return };
        let mut after = After::default();
        let mut inner = index.lock();
        for operation in operations {
            self.follow(&index, &mut inner, log_time_ms, &operation, &mut after);
        }
        drop(inner);
        after.wakers.into_iter().for_each(Waker::wake);
        if let Some(due_ms) = after.due_ms {
            index.alarm.ring(due_ms);
        }
    }

    fn lost(&self) {
        let Some(index) = self.index.upgrade() else { return };
        let mut inner = index.lock();
        inner.lost = true;
        inner.lines.clear();
        inner.wakes.clear();
        inner.orphans.clear();
        drop(inner);
        self.calendar.clear();
        self.loops.clear();
        index.names.write().unwrap_or_else(PoisonError::into_inner).clear();
        index.types.write().unwrap_or_else(PoisonError::into_inner).clear();
        index.wake_all();
    }
}

impl IndexObserver {
    fn follow(
        &self,
        index: &Index,
        inner: &mut Inner,
        now: u64,
        operation: &Operation<'_>,
        after: &mut After,
    ) {
        let keyspaces = &self.keyspaces;
        match *operation {
            Operation::Put { keyspace, key, value } if keyspace == keyspaces.queues => {
                created(index, inner, key, value);
            }
            Operation::Delete { keyspace, key } if keyspace == keyspaces.queues => {
                deleted(index, inner, key, after);
            }
            Operation::Put { keyspace, key, value } if keyspace == keyspaces.job_types => {
                defined(index, inner, key, value, after);
            }
            Operation::Put { keyspace, key, value } if keyspace == keyspaces.schedules => {
                if scheduled(&self.calendar, key, value) {
                    after.due(0);
                }
            }
            Operation::Delete { keyspace, key } if keyspace == keyspaces.schedules => {
                if let Ok(name) = name_key::parse(key) {
                    self.calendar.remove(name);
                }
            }
            Operation::Put { keyspace, key, value } if keyspace == keyspaces.loop_executions => {
                let Ok(id) = loop_key::parse(key) else { return };
                inner.tell(For::Change(id), &mut after.wakers);
                if let Ok(stored) = Stored::parse(value)
                    && let Some(wake_ms) = self.loops.put(id, &stored)
                {
                    after.due(wake_ms);
                }
            }
            Operation::Delete { keyspace, key } if keyspace == keyspaces.loop_executions => {
                if let Ok(id) = loop_key::parse(key) {
                    self.loops.remove(id);
                }
            }
            Operation::Put { keyspace, key, value } => {
                self.put(inner, keyspace, key, value, now, after);
            }
            Operation::Delete { keyspace, key } => self.delete(inner, keyspace, key, now, after),
            Operation::DeleteRange { keyspace, start, .. } if keyspace == keyspaces.messages => {
                purged(inner, start, after);
            }
            Operation::DeleteRange { .. } => {}
        }
    }

    fn put(
        &self,
        inner: &mut Inner,
        keyspace: KeyspaceId,
        key: &[u8],
        value: &[u8],
        now: u64,
        after: &mut After,
    ) {
        let keyspaces = &self.keyspaces;
        if !keyspaces.is_of_work(keyspace) {
            return;
        }
        let Ok(id) = subject::parse(key) else {
            inner.unread = true;
            return;
        };
        inner.unread |= !inner.lines.contains_key(&id.line) || !self.is_whole(keyspace, value);
        let Some(line) = inner.lines.get_mut(&id.line) else { return };
        let mut ready = 0;
        if keyspace == keyspaces.messages {
            ready = sent(line, id, value, now);
        } else if keyspace == keyspaces.jobs {
            ready = submitted(line, id, value, now, after);
        } else if keyspace == keyspaces.leases {
            if let Some(deadline_ms) = Lease::parse_deadline(value) {
                line.leased(id.number, deadline_ms);
            }
        } else if keyspace == keyspaces.job_outcomes {
            if let Some((status, finished_ms)) = outcome::parse_end(value) {
                ready = line.finished(id.number, status, finished_ms);
                inner.tell(For::End(id), &mut after.wakers);
            }
        } else if let Some(due_ms) = Attempts::parse_due(value) {
            line.attempted(id.number, due_ms);
        }
        after.settled(inner, id.line, ready);
    }

    /// Whether a start could read a unit of work, or how it ended, from this.
    fn is_whole(&self, keyspace: KeyspaceId, value: &[u8]) -> bool {
        if keyspace == self.keyspaces.messages {
            message::is_whole(value)
        } else if keyspace == self.keyspaces.jobs {
            job::parse_head(value).is_ok()
        } else if keyspace == self.keyspaces.job_outcomes {
            outcome::Outcome::parse(value).is_ok()
        } else {
            // The rows of claims are always read.
            true
        }
    }

    fn delete(
        &self,
        inner: &mut Inner,
        keyspace: KeyspaceId,
        key: &[u8],
        now: u64,
        after: &mut After,
    ) {
        let keyspaces = &self.keyspaces;
        let (units, leases) = ([keyspaces.messages, keyspaces.jobs], keyspaces.leases);
        if !units.contains(&keyspace) && keyspace != leases {
            return;
        }
        let Ok(id) = subject::parse(key) else { return };
        let Some(line) = inner.lines.get_mut(&id.line) else { return };
        let ready = if keyspace == leases {
            line.unleased(id.number, now)
        } else {
            line.finished.remove(id.number);
            line.gone(id.number)
        };
        after.settled(inner, id.line, ready);
    }
}

impl After {
    fn settled(&mut self, inner: &mut Inner, line: u64, became_ready: u64) {
        inner.wake(line, became_ready, &mut self.wakers);
        if let Some(due_ms) = inner.schedule(line) {
            self.due(due_ms);
        }
    }

    fn due(&mut self, due_ms: u64) {
        self.due_ms = Some(self.due_ms.map_or(due_ms, |before| before.min(due_ms)));
    }
}

fn created(index: &Index, inner: &mut Inner, key: &[u8], value: &[u8]) {
    let definition = name_key::parse(key).and_then(|name| Definition::parse(name, value));
    let Ok(definition) = definition else {
        inner.unread = true;
        return;
    };
    let line = Line::Queue(Arc::new(definition));
    index.name(&line);
    inner.lines.insert(line.id(), LineIndex::new(line));
}

/// A type of jobs is new, or has new settings.
fn defined(index: &Index, inner: &mut Inner, key: &[u8], value: &[u8], after: &mut After) {
    let Ok(kind) = name_key::parse(key).and_then(|name| JobType::parse(name, value)) else {
        inner.unread = true;
        return;
    };
    let line = Line::Jobs(Arc::new(kind));
    index.name(&line);
    let id = line.id();
    let ready = match inner.lines.get_mut(&id) {
        Some(known) => known.redefined(line),
        None => {
            inner.lines.insert(id, LineIndex::new(line));
            inner.wake(ANY_LINE, u64::MAX, &mut after.wakers);
            0
        }
    };
    after.settled(inner, id, ready);
}

fn deleted(index: &Index, inner: &mut Inner, key: &[u8], after: &mut After) {
    let Ok(name) = name_key::parse(key) else { return };
    let mut names = index.names.write().unwrap_or_else(PoisonError::into_inner);
    let Some(definition) = names.remove(name) else { return };
    inner.wake(definition.id, u64::MAX, &mut after.wakers);
    if let Some(mut queue) = inner.lines.remove(&definition.id) {
        inner.left_behind.insert(definition.id);
        orphan(inner, definition.id, &mut queue, after);
    }
}

fn sent(queue: &mut LineIndex, id: Subject, value: &[u8], now: u64) -> u64 {
    let Ok(head) = message::parse_head(value) else { return 0 };
    let lane = LaneKey { priority: 0, fairness: head.fairness_key };
    queue.sent(id.number, lane, Due::Log(head.due_ms), now)
}

/// A schedule is new, or was handled. Whether it is due before all others.
fn scheduled(calendar: &Calendar, key: &[u8], value: &[u8]) -> bool {
    let Ok(name) = name_key::parse(key) else { return false };
    let Ok((stored, pattern)) = Schedule::parse(value) else { return false };
    calendar.put(name, stored, &pattern)
}

/// A job is new, or tried again.
fn submitted(line: &mut LineIndex, id: Subject, value: &[u8], now: u64, after: &mut After) -> u64 {
    let Ok(head) = job::parse_head(value) else { return 0 };
    let due = head.due();
    let first_ms = line.next_wall_ms();
    let ready = line.sent(id.number, head.lane(), due, now);
    if let Due::Wall(at_ms) = due
        && first_ms.is_none_or(|first_ms| at_ms < first_ms)
    {
        // Whoever sleeps counts in log time: it looks again how long it may.
        after.due(0);
    }
    ready
}

fn purged(inner: &mut Inner, start: &[u8], after: &mut After) {
    let Some(id) = subject::line_of_range(start) else { return };
    inner.left_behind.remove(&id);
    if let Some(mut queue) = inner.lines.remove(&id) {
        orphan(inner, id, &mut queue, after);
        inner.lines.insert(id, queue);
    }
}

/// All messages of a queue go at once; the index rows of their leases are left to be removed.
fn orphan(inner: &mut Inner, id: u64, queue: &mut LineIndex, after: &mut After) {
    let leased = queue.clear();
    if leased.is_empty() {
        return;
    }
    inner.orphans.extend(leased.into_iter().map(|(deadline_ms, number)| LeaseExpiry {
        deadline_ms,
        subject: Subject { line: id, number },
    }));
    after.due(0);
}
