//! How the index follows the transactions: operations in, places out.
//!
//! It reads nothing but the operations. Services write the operations of one transaction in the
//! order that this needs: a message goes before its lease goes, attempts are written before the
//! lease goes.

use std::sync::{Arc, PoisonError, Weak};
use std::task::Waker;

use rekindle_database::{KeyspaceId, Observer, Operation};

use crate::keys::lease_expiry::LeaseExpiry;
use crate::keys::{Keyspaces, message, queue as queue_key};
use crate::queues::MessageId;
use crate::queues::attempts::Attempts;
use crate::queues::definition::Definition;
use crate::queues::index::{Index, Inner, QueueIndex};
use crate::queues::lease::Lease;
use crate::queues::message::parse_head;

/// Feeds the index. Holds it weakly: when the services are gone, nothing is left to feed.
#[derive(Debug)]
pub(crate) struct IndexObserver {
    pub(crate) index: Weak<Index>,
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
        inner.queues.clear();
        inner.wakes.clear();
        inner.orphans.clear();
        drop(inner);
        index.names.write().unwrap_or_else(PoisonError::into_inner).clear();
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
        let ours = [keyspaces.messages, keyspaces.leases, keyspaces.attempts];
        if !ours.contains(&keyspace) {
            return;
        }
        let Ok(id) = message::parse(key) else { return };
        let Some(queue) = inner.queues.get_mut(&id.queue) else { return };
        let mut ready = 0;
        if keyspace == keyspaces.messages {
            ready = sent(queue, id, value, now);
        } else if keyspace == keyspaces.leases {
            if let Some(deadline_ms) = Lease::parse_deadline(value) {
                queue.leased(id.number, deadline_ms);
            }
        } else if let Some(due_ms) = Attempts::parse_due(value) {
            queue.attempted(id.number, due_ms);
        }
        after.settled(inner, id.queue, ready);
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
        if keyspace != keyspaces.messages && keyspace != keyspaces.leases {
            return;
        }
        let Ok(id) = message::parse(key) else { return };
        let Some(queue) = inner.queues.get_mut(&id.queue) else { return };
        let mut ready = 0;
        if keyspace == keyspaces.messages {
            queue.gone(id.number);
        } else {
            ready = queue.unleased(id.number, now);
        }
        after.settled(inner, id.queue, ready);
    }
}

impl After {
    fn settled(&mut self, inner: &mut Inner, queue: u64, became_ready: u64) {
        inner.wake(queue, became_ready, &mut self.wakers);
        if let Some(due_ms) = inner.schedule(queue) {
            self.due(due_ms);
        }
    }

    fn due(&mut self, due_ms: u64) {
        self.due_ms = Some(self.due_ms.map_or(due_ms, |before| before.min(due_ms)));
    }
}

fn created(index: &Index, inner: &mut Inner, key: &[u8], value: &[u8]) {
    let Ok(name) = queue_key::parse(key) else { return };
    let Ok(definition) = Definition::parse(name, value) else { return };
    let definition = Arc::new(definition);
    let mut names = index.names.write().unwrap_or_else(PoisonError::into_inner);
    names.insert(name.to_owned(), Arc::clone(&definition));
    inner.queues.insert(definition.id, QueueIndex::new(definition));
}

fn deleted(index: &Index, inner: &mut Inner, key: &[u8], after: &mut After) {
    let Ok(name) = queue_key::parse(key) else { return };
    let mut names = index.names.write().unwrap_or_else(PoisonError::into_inner);
    let Some(definition) = names.remove(name) else { return };
    inner.wake(definition.id, u64::MAX, &mut after.wakers);
    if let Some(mut queue) = inner.queues.remove(&definition.id) {
        orphan(inner, definition.id, &mut queue, after);
    }
}

fn sent(queue: &mut QueueIndex, id: MessageId, value: &[u8], now: u64) -> u64 {
    match parse_head(value) {
        Ok(head) => queue.sent(id.number, head.fairness_key, head.due_ms, now),
        Err(_) => 0,
    }
}

fn purged(inner: &mut Inner, start: &[u8], after: &mut After) {
    // Only whole queues are cleared by range; the range begins at number 0, which is no message.
    let Some(queue) = start.get(4..12).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) else {
        return;
    };
    let id = u64::from_be_bytes(queue);
    if let Some(mut queue) = inner.queues.remove(&id) {
        orphan(inner, id, &mut queue, after);
        inner.queues.insert(id, queue);
    }
}

/// All messages of a queue go at once; the index rows of their leases are left to be removed.
fn orphan(inner: &mut Inner, id: u64, queue: &mut QueueIndex, after: &mut After) {
    let leased = queue.clear();
    if leased.is_empty() {
        return;
    }
    inner.orphans.extend(leased.into_iter().map(|(deadline_ms, number)| LeaseExpiry {
        deadline_ms,
        message: MessageId { queue: id, number },
    }));
    after.due(0);
}
