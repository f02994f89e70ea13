//! What is known of all producers without reading: how many results each keeps, and how old they
//! are. Derived, fed by apply events, rebuilt by recovery; it decides only what may be trimmed.
//!
//! Invariant: `order` holds each producer that keeps results once, at the place that its oldest
//! chunk gives it: first those with more than the last 1,024, then the others, both oldest first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use rekindle_database::{KeyspaceId, Observer, Operation};

use crate::keys::producer::{ProducerKey, parse};
use crate::limits::{
    PRODUCER_IDLE_MS_MAX, PRODUCER_RESULT_MS_MIN, PRODUCER_RESULTS_MAX, PRODUCER_RESULTS_MIN,
    PRODUCERS_MAX,
};
use crate::producers::chunk::{Chunk, Floor};
use crate::producers::kept;

/// A chunk of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) chunk: u64,
    pub(crate) newest_ms: u64,
    pub(crate) bytes: u32,
    pub(crate) count: u8,
}

impl Held {
    /// The chunk with this value; key and value together have so many bytes.
    pub(crate) fn of(chunk: u64, value: &[u8], bytes: usize) -> Option<Self> {
        let (newest_ms, count) = Chunk::parse_head(value)?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Some(Self { chunk, newest_ms, bytes, count })
    }
}

/// One producer.
#[derive(Debug, Default)]
struct Producer {
    chunks: VecDeque<Held>,
    results: u64,
    /// When it last had a result, trimmed ones included.
    newest_ms: u64,
    /// It has a row that cannot be read: nothing of it is trimmed, and it is not forgotten.
    set_aside: bool,
}

impl Producer {
    /// Its place in the order of trimming: whether the last 1,024 would be touched, and how old its
    /// oldest chunk is.
    fn rank(&self) -> Option<(bool, u64)> {
        let front = self.chunks.front().filter(|_| !self.set_aside)?;
        let left = self.results.saturating_sub(front.count.into());
        Some((left < PRODUCER_RESULTS_MIN, front.newest_ms))
    }
}

/// How full the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerFigures {
    /// Producers that are remembered.
    pub producers: u64,
    /// Results that are kept.
    pub results: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The most that the bytes may become.
    pub bytes_max: u64,
}

/// Chunks of a producer that go, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trim {
    pub(crate) producer: [u8; 16],
    pub(crate) chunks: Vec<Held>,
}

/// What the mutex guards.
#[derive(Debug, Default)]
struct Inner {
    producers: BTreeMap<[u8; 16], Producer>,
    order: BTreeSet<(bool, u64, [u8; 16])>,
    results: u64,
    bytes: u64,
    bytes_max: u64,
    /// Behind which the search for silent producers goes on; `None`: from the start.
    cursor: Option<[u8; 16]>,
    /// A row was written in this run that cannot be read: a start must look at all of them.
    unread: bool,
}

impl Inner {
    fn patience_ms(&self) -> u64 {
        let many = self.producers.len() > PRODUCERS_MAX / 2;
        if many { PRODUCER_RESULT_MS_MIN } else { PRODUCER_IDLE_MS_MAX }
    }

    /// Changes a producer, and its place in the order where that moves.
    fn change(&mut self, producer: [u8; 16], change: impl FnOnce(&mut Producer)) {
        let entry = self.producers.entry(producer).or_default();
        let before = entry.rank();
        change(entry);
        let after = entry.rank();
        if before != after {
            if let Some((few, oldest_ms)) = before {
                self.order.remove(&(few, oldest_ms, producer));
            }
            if let Some((few, oldest_ms)) = after {
                self.order.insert((few, oldest_ms, producer));
            }
        }
    }

    fn left(&self) -> Left {
        Left { results: self.results, bytes: self.bytes, bytes_max: self.bytes_max }
    }
}

/// What is left of all results when some go.
struct Left {
    results: u64,
    bytes: u64,
    bytes_max: u64,
}

impl Left {
    /// It is too much.
    fn is_over(&self) -> bool {
        self.results > PRODUCER_RESULTS_MAX || self.bytes > self.bytes_max
    }

    fn without(&mut self, held: &Held) {
        self.results = self.results.saturating_sub(held.count.into());
        self.bytes = self.bytes.saturating_sub(held.bytes.into());
    }
}

/// All producers.
#[derive(Debug)]
pub(crate) struct ProducerTable {
    inner: Mutex<Inner>,
}

impl ProducerTable {
    /// An empty one; the results may have so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { inner: Mutex::new(Inner { bytes_max, ..Inner::default() }) }
    }

    /// Appends all that is known, for a later run.
    /// Answers whether that is all that there is.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) -> bool {
        kept::begin(bytes);
        let inner = self.lock();
        for (id, producer) in &inner.producers {
            let Producer { chunks, newest_ms, set_aside, .. } = producer;
            if !chunks.is_empty() || *newest_ms > 0 || *set_aside {
                kept::put(bytes, id, (*newest_ms, *set_aside), chunks.iter());
            }
        }
        !inner.unread
    }

    /// Notes that this chunk was written.
    pub(crate) fn written(&self, producer: [u8; 16], held: Held) {
        let mut inner = self.lock();
        let mut before = None;
        inner.change(producer, |entry| {
            // Sequences rise: nearly always it is the last chunk or the next one.
            let at = match entry.chunks.back() {
                Some(last) if last.chunk == held.chunk => entry.chunks.len() - 1,
                Some(last) if last.chunk < held.chunk => entry.chunks.len(),
                _ => entry.chunks.partition_point(|other| other.chunk < held.chunk),
            };
            match entry.chunks.get_mut(at).filter(|other| other.chunk == held.chunk) {
                Some(other) => before = Some(std::mem::replace(other, held)),
                None => entry.chunks.insert(at, held),
            }
            let removed = before.map_or(0, |before| u64::from(before.count));
            entry.results = (entry.results + u64::from(held.count)).saturating_sub(removed);
            entry.newest_ms = entry.newest_ms.max(held.newest_ms);
        });
        let (count, bytes) = before.map_or((0, 0), |before| (before.count, before.bytes));
        inner.results = (inner.results + u64::from(held.count)).saturating_sub(count.into());
        inner.bytes = (inner.bytes + u64::from(held.bytes)).saturating_sub(bytes.into());
    }

    /// Notes that results of this producer were trimmed, the newest of which came then.
    pub(crate) fn floored(&self, producer: [u8; 16], newest_ms: u64) {
        let change = |entry: &mut Producer| entry.newest_ms = entry.newest_ms.max(newest_ms);
        self.lock().change(producer, change);
    }

    /// Notes that this chunk is gone.
    fn removed(&self, producer: &[u8; 16], chunk: u64) {
        let mut inner = self.lock();
        if !inner.producers.contains_key(producer) {
            return;
        }
        let mut gone = None;
        inner.change(*producer, |entry| {
            if let Ok(at) = entry.chunks.binary_search_by_key(&chunk, |held| held.chunk) {
                gone = entry.chunks.remove(at);
            }
            let count = gone.map_or(0, |held| u64::from(held.count));
            entry.results = entry.results.saturating_sub(count);
        });
        let (count, bytes) = gone.map_or((0, 0), |gone| (gone.count, gone.bytes));
        inner.results = inner.results.saturating_sub(count.into());
        inner.bytes = inner.bytes.saturating_sub(bytes.into());
    }

    /// Notes that a producer is gone.
    fn forgotten(&self, producer: &[u8; 16]) {
        let mut inner = self.lock();
        let Some(gone) = inner.producers.remove(producer) else { return };
        if let Some((few, oldest_ms)) = gone.rank() {
            inner.order.remove(&(few, oldest_ms, *producer));
        }
        let bytes: u64 = gone.chunks.iter().map(|held| u64::from(held.bytes)).sum();
        inner.results = inner.results.saturating_sub(gone.results);
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Trims nothing of this producer any more, nor forgets it: it has a row that cannot be read.
    pub(crate) fn set_aside(&self, producer: [u8; 16]) {
        self.lock().change(producer, |entry| entry.set_aside = true);
    }

    /// Up to `max` chunks of a producer that need not be kept any longer, oldest first.
    pub(crate) fn trimmable(&self, producer: &[u8; 16], now: u64, max: usize) -> Vec<Held> {
        let inner = self.lock();
        let Some(entry) = inner.producers.get(producer) else { return vec![] };
        spare(entry, now, &mut inner.left(), max, false)
    }

    /// The next chunks that go, `max` at most: results that are older than a day beyond the last
    /// 1,024 of their producer; and while all together are too many, results beyond the last 1,024
    /// of any producer, and then the oldest of all.
    pub(crate) fn due(&self, now: u64, max: usize) -> Vec<Trim> {
        let inner = self.lock();
        let mut left = inner.left();
        let (mut room, mut trims) = (max, vec![]);
        for &(few, oldest_ms, producer) in &inner.order {
            let old = !few && is_old(oldest_ms, now);
            if room == 0 || !(old || left.is_over()) {
                break;
            }
            let Some(entry) = inner.producers.get(&producer) else { continue };
            let chunks = spare(entry, now, &mut left, room, few);
            room -= chunks.len();
            trims.push(Trim { producer, chunks });
        }
        trims
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
            if !entry.set_aside && entry.newest_ms.saturating_add(patience_ms) <= now {
                silent.push(*producer);
            }
        }
        inner.cursor = last.filter(|_| looked == look);
        silent
    }

    /// How full it is.
    pub(crate) fn figures(&self) -> ProducerFigures {
        let inner = self.lock();
        ProducerFigures {
            producers: inner.producers.len() as u64,
            results: inner.results,
            bytes: inner.bytes,
            bytes_max: inner.bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chunks of a producer that go, oldest first; `few`: also of its last 1,024.
fn spare(entry: &Producer, now: u64, left: &mut Left, max: usize, few: bool) -> Vec<Held> {
    let mut results = entry.results;
    let mut chunks = vec![];
    for held in entry.chunks.iter().take(max) {
        results = results.saturating_sub(held.count.into());
        let enough = few || results >= PRODUCER_RESULTS_MIN;
        if !enough || !((is_old(held.newest_ms, now) && !few) || left.is_over()) {
            break;
        }
        left.without(held);
        chunks.push(*held);
    }
    chunks
}

fn is_old(newest_ms: u64, now: u64) -> bool {
    newest_ms.saturating_add(PRODUCER_RESULT_MS_MIN) <= now
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
            match (parse(key), value) {
                (Ok(ProducerKey::Chunk(producer, chunk)), Some(value)) => {
                    let held = Held::of(chunk, value, key.len() + value.len());
                    match held.filter(|_| Chunk::is_whole(value)) {
                        Some(held) => table.written(producer, held),
                        None => {
                            table.removed(&producer, chunk);
                            table.lock().unread = true;
                        }
                    }
                }
                (Ok(ProducerKey::Chunk(producer, chunk)), None) => table.removed(&producer, chunk),
                (Ok(ProducerKey::Floor(producer)), Some(value)) => {
                    let floor = Floor::parse(value);
                    if floor.is_err() {
                        table.lock().unread = true;
                    }
                    table.floored(producer, floor.unwrap_or_default().newest_ms);
                }
                (Ok(ProducerKey::Floor(producer)), None) => table.forgotten(&producer),
                (Ok(ProducerKey::Era), _) => {}
                (Err(_), _) => table.lock().unread = true,
            }
        }
    }

    fn lost(&self) {}
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
