//! What is known of all producers without reading: how many results each keeps, and how old they
//! are. Derived, fed by apply events, rebuilt by recovery; it decides only what may be trimmed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use rekindle_database::{KeyspaceId, Observer, Operation};

use crate::keys::producer::{ProducerKey, parse};
use crate::limits::{
    PRODUCER_IDLE_MS_MAX, PRODUCER_RESULT_MS_MIN, PRODUCER_RESULTS_MAX, PRODUCER_RESULTS_MIN,
    PRODUCERS_MAX,
};
use crate::producers::chunk::Chunk;

/// A chunk of a producer.
#[derive(Clone, Copy, Debug)]
struct Held {
    chunk: u64,
    newest_ms: u64,
    count: u8,
}

/// One producer.
#[derive(Debug, Default)]
struct Producer {
    chunks: VecDeque<Held>,
    results: u64,
}

/// What the mutex guards.
#[derive(Debug, Default)]
struct Inner {
    producers: BTreeMap<[u8; 16], Producer>,
    results: u64,
    /// Behind which the search for silent producers goes on; `None`: from the start.
    cursor: Option<[u8; 16]>,
}

impl Inner {
    fn patience_ms(&self) -> u64 {
        let many = self.producers.len() > PRODUCERS_MAX / 2;
        if many { PRODUCER_RESULT_MS_MIN } else { PRODUCER_IDLE_MS_MAX }
    }
}

/// All producers.
#[derive(Debug, Default)]
pub(crate) struct ProducerTable {
    inner: Mutex<Inner>,
}

impl ProducerTable {
    /// Notes that this chunk was written.
    pub(crate) fn written(&self, producer: [u8; 16], chunk: u64, newest_ms: u64, count: u8) {
        let mut inner = self.lock();
        let held = Held { chunk, newest_ms, count };
        let entry = inner.producers.entry(producer).or_default();
        let at = entry.chunks.partition_point(|other| other.chunk < chunk);
        let before = match entry.chunks.get_mut(at).filter(|other| other.chunk == chunk) {
            Some(other) => std::mem::replace(other, held).count,
            None => {
                entry.chunks.insert(at, held);
                0
            }
        };
        let (added, removed) = (u64::from(count), u64::from(before));
        entry.results = (entry.results + added).saturating_sub(removed);
        inner.results = (inner.results + added).saturating_sub(removed);
    }

    /// Notes that this chunk is gone.
    fn removed(&self, producer: &[u8; 16], chunk: u64) {
        let mut inner = self.lock();
        let Some(entry) = inner.producers.get_mut(producer) else { return };
        let Ok(at) = entry.chunks.binary_search_by_key(&chunk, |held| held.chunk) else { return };
        let count = entry.chunks.remove(at).map_or(0, |held| u64::from(held.count));
        entry.results = entry.results.saturating_sub(count);
        inner.results = inner.results.saturating_sub(count);
    }

    /// Notes that a producer is gone.
    fn forgotten(&self, producer: &[u8; 16]) {
        let mut inner = self.lock();
        if let Some(gone) = inner.producers.remove(producer) {
            inner.results = inner.results.saturating_sub(gone.results);
        }
    }

    /// Up to `max` chunks of a producer that need not be kept any longer, oldest first.
    pub(crate) fn trimmable(&self, producer: &[u8; 16], now: u64, max: usize) -> Vec<u64> {
        let inner = self.lock();
        let Some(entry) = inner.producers.get(producer) else { return vec![] };
        let mut left = entry.results;
        let mut total = inner.results;
        let mut trimmable = vec![];
        for held in entry.chunks.iter().take(max) {
            let count = u64::from(held.count);
            let old = held.newest_ms.saturating_add(PRODUCER_RESULT_MS_MIN) <= now;
            let enough = left.saturating_sub(count) >= PRODUCER_RESULTS_MIN;
            if !enough || !(old || total > PRODUCER_RESULTS_MAX) {
                break;
            }
            left = left.saturating_sub(count);
            total = total.saturating_sub(count);
            trimmable.push(held.chunk);
        }
        trimmable
    }

    /// Whether a producer that is not known yet can be added.
    pub(crate) fn has_room_for(&self, producer: &[u8; 16]) -> bool {
        let inner = self.lock();
        inner.producers.len() < PRODUCERS_MAX || inner.producers.contains_key(producer)
    }

    /// How long a silent producer is remembered: 7 days, or 24 hours when there are many.
    pub(crate) fn patience_ms(&self) -> u64 {
        self.lock().patience_ms()
    }

    /// Looks at the next `look` producers and names those that were silent for too long.
    pub(crate) fn silent(&self, now: u64, look: usize) -> Vec<[u8; 16]> {
        let mut inner = self.lock();
        let patience_ms = inner.patience_ms();
        let start = inner.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut last, mut looked) = (None, 0);
        let mut silent = vec![];
        for (producer, entry) in inner.producers.range((start, Bound::Unbounded)).take(look) {
            (last, looked) = (Some(*producer), looked + 1);
            let newest_ms = entry.chunks.iter().map(|held| held.newest_ms).max().unwrap_or(0);
            if newest_ms.saturating_add(patience_ms) <= now {
                silent.push(*producer);
            }
        }
        inner.cursor = last.filter(|_| looked == look);
        silent
    }

    /// Producers and results.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.producers.len() as u64, inner.results)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Feeds the table.
#[derive(Debug)]
pub(crate) struct TableObserver {
    pub(crate) table: Weak<ProducerTable>,
    pub(crate) keyspace: KeyspaceId,
}

impl Observer for TableObserver {
    fn applied(
        &self,
        _version: u64,
        _log_time_ms: u64,
        operations: &mut dyn Iterator<Item = Operation<'_>>,
    ) {
        for operation in operations {
            let (key, value) = match operation {
                Operation::Put { keyspace, key, value } if keyspace == self.keyspace => {
                    (key, Some(value))
                }
                Operation::Delete { keyspace, key } if keyspace == self.keyspace => (key, None),
                _ => continue,
            };
            let Some(table) = self.table.upgrade() else { return };
            match (parse(key), value.and_then(Chunk::parse_head)) {
                (Ok(ProducerKey::Chunk(producer, chunk)), Some((newest_ms, count))) => {
                    table.written(producer, chunk, newest_ms, count);
                }
                (Ok(ProducerKey::Chunk(producer, chunk)), None) => table.removed(&producer, chunk),
                (Ok(ProducerKey::Floor(producer)), None) if value.is_none() => {
                    table.forgotten(&producer);
                }
                _ => {}
            }
        }
    }

    fn lost(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [u8; 16] = [7; 16];
    const DAY: u64 = PRODUCER_RESULT_MS_MIN;

    fn filled(chunks: u64) -> ProducerTable {
        let table = ProducerTable::default();
        for chunk in 0..chunks {
            table.written(P, chunk, chunk, 4);
            table.written(P, chunk, chunk, 8);
        }
        table
    }

    #[test]
    fn the_last_results_and_those_of_a_day_stay() {
        let least = PRODUCER_RESULTS_MIN / 8;
        let table = filled(least + 3);
        assert_eq!(table.counts(), (1, PRODUCER_RESULTS_MIN + 24));
        assert_eq!(table.trimmable(&P, DAY - 1, 9), [0_u64; 0], "younger than a day");
        assert_eq!(table.trimmable(&P, DAY + 1, 9), [0, 1]);
        assert_eq!(table.trimmable(&P, 2 * DAY, 2), [0, 1], "not more than asked for");
        assert_eq!(table.trimmable(&P, 2 * DAY, 9), [0, 1, 2], "the last 1,024 stay");
        table.removed(&P, 0);
        assert_eq!(table.trimmable(&P, 2 * DAY, 9), [1, 2]);
    }

    #[test]
    fn above_the_bound_the_busy_keep_less_than_a_day() {
        let table = filled(PRODUCER_RESULTS_MIN / 8 + 3);
        table.lock().results = PRODUCER_RESULTS_MAX + 9;
        assert_eq!(table.trimmable(&P, 5, 9), [0, 1]);
    }

    #[test]
    fn producers_stand_at_their_limit() {
        let table = ProducerTable::default();
        let id = |number: usize| (number as u128).to_be_bytes();
        for number in 0..PRODUCERS_MAX - 1 {
            table.written(id(number), 0, 5, 1);
        }
        assert!(table.has_room_for(&[0xFF; 16]));
        table.written(id(PRODUCERS_MAX), 0, 5, 1);
        assert!(!table.has_room_for(&[0xFF; 16]));
        assert!(table.has_room_for(&id(7)), "known already");
        assert_eq!(table.silent(5 + DAY, 3).len(), 3, "a day is enough now");
    }

    #[test]
    fn silent_producers_are_found_a_few_at_a_time() {
        let table = ProducerTable::default();
        for id in 1..=5 {
            table.written([id; 16], 0, u64::from(id), 1);
        }
        let now = PRODUCER_IDLE_MS_MAX + 3;
        assert_eq!(table.silent(now, 2), [[1; 16], [2; 16]]);
        assert_eq!(table.silent(now, 2), [[3; 16]], "the others spoke too recently");
        assert_eq!(table.silent(now, 2), [[0_u8; 16]; 0], "the last one, and then from the start");
        assert_eq!(table.silent(now, 2), [[1; 16], [2; 16]]);
    }
}
