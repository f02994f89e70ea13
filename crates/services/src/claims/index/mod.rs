//! The index of all work, of queues and of types of jobs: derived, in memory, fed by apply events,
//! rebuilt by recovery.
//!
//! Invariants: it follows the applied transactions in their order, and nothing else changes what it
//! says about rows; a reservation is the only thing in it that is not in the database. It is
//! touched under one mutex for a bounded time, and nobody is woken under it.

mod finished;
mod jobs;
mod line;
mod observer;
mod pace;
mod ready;
mod runs;
mod waiters;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Waker;

pub(crate) use line::{Claim, Due, LineIndex, Place, Reserved};
pub(crate) use observer::IndexObserver;
pub(crate) use pace::Backpressure;
pub(crate) use ready::LaneKey;
pub(crate) use runs::{Run, Runs};
pub(crate) use waiters::{For, Listener};

use crate::alarm::Alarm;
use crate::claims::kept::Writer;
use crate::claims::{Line, Subject};
use crate::error::{Error, Kind};
use crate::jobs::kind::JobType;
use crate::keys::lease_expiry::LeaseExpiry;
use crate::limits::{OLDEST_KEYS_MAX, WAITERS_MAX};
use crate::queues::QueueInfo;
use crate::queues::definition::Definition;
use crate::review::ReviewId;
use crate::review::Unowned;
use waiters::Waiters;

/// No line has this number: who waits for it is woken when a type of jobs begins.
pub(crate) const ANY_LINE: u64 = 0;

/// Wake-ups beyond two for each line, before those that earlier ones overtook are dropped.
const STALE_WAKES_MAX: usize = 1_024;

/// What the mutex guards.
#[derive(Debug, Default)]
struct Inner {
    lines: HashMap<u64, LineIndex>,
    waiters: HashMap<u64, Waiters>,
    /// Who waits to be told of what.
    told: HashMap<For, Waiters>,
    /// When which line is to be looked at; at most one live entry per line, stale ones are skipped.
    wakes: BinaryHeap<Reverse<(u64, u64)>>,
    /// Rows of `lease_expiry` whose leases went with a whole range.
    orphans: Vec<LeaseExpiry>,
    /// A row was written in this run that cannot be read, or that belongs to no line: a start must
    /// look at all of them.
    unread: bool,
    /// Queues whose definition went, and whose messages did not yet.
    left_behind: BTreeSet<u64>,
    /// The journal failed: what is here is no longer true.
    lost: bool,
}

/// The ready index.
#[derive(Debug)]
pub(crate) struct Index {
    inner: Mutex<Inner>,
    names: RwLock<BTreeMap<String, Arc<Definition>>>,
    types: RwLock<BTreeMap<String, Arc<JobType>>>,
    waiting: AtomicUsize,
    alarm: Arc<Alarm>,
    /// What waits for a person and belongs to no queue.
    unowned: Mutex<Unowned>,
}

/// A unit whose lease ran out.
pub(crate) type Expired = Subject;

impl Index {
    /// An empty index, which rings `alarm` when something is due earlier than before.
    pub(crate) fn new(alarm: Arc<Alarm>) -> Self {
        Self {
            inner: Mutex::default(),
            names: RwLock::default(),
            types: RwLock::default(),
            waiting: AtomicUsize::new(0),
            alarm,
            unowned: Mutex::default(),
        }
    }

    /// Where all units stand, for a later run; `None` when it is not known any more.
    pub(crate) fn kept(&self) -> Option<Vec<u8>> {
        let inner = self.lock();
        // What belongs to no line is found among all rows only.
        let unread = inner.unread || !inner.left_behind.is_empty();
        if inner.lost || unread || self.unowned().iter().next().is_some() {
            return None;
        }
        let mut lines: Vec<_> = inner.lines.iter().collect();
        lines.sort_unstable_by_key(|(line, _)| **line);
        let mut writer = Writer::new();
        lines.into_iter().for_each(|(_, line)| line.write(&mut writer));
        Some(writer.finish())
    }

    /// Adds a line that was there before this run, and its units.
    pub(crate) fn restore(&self, index: LineIndex) {
        let line = index.line.clone();
        let mut inner = self.lock();
        inner.lines.insert(line.id(), index);
        inner.schedule(line.id());
        drop(inner);
        self.name(&line);
    }

    /// A line can be found by its name.
    fn name(&self, line: &Line) {
        match line {
            Line::Queue(queue) => {
                let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
                names.insert(queue.name.clone(), Arc::clone(queue));
            }
            Line::Jobs(kind) => {
                let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
                types.insert(kind.name.clone(), Arc::clone(kind));
            }
        }
    }

    /// The queue with this name.
    pub(crate) fn definition(&self, name: &str) -> Option<Arc<Definition>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(name).map(Arc::clone)
    }

    /// The line with this number.
    pub(crate) fn line_of(&self, line: u64) -> Option<Line> {
        self.lock().lines.get(&line).map(|index| index.line.clone())
    }

    /// Number of queues.
    pub(crate) fn queue_count(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A queue whose dead-letter queue is `name`.
    pub(crate) fn source_of(&self, name: &str) -> Option<String> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut sources = names.values();
        let source = sources.find(|queue| queue.settings.dead_letter.as_deref() == Some(name));
        source.map(|definition| definition.name.clone())
    }

    /// Up to `limit` queues behind `after`, and whether more follow.
    pub(crate) fn list(&self, after: &str, limit: usize, now: u64) -> (Vec<QueueInfo>, bool) {
        let mut found: Vec<Arc<Definition>> = {
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            let range = (Bound::Excluded(after), Bound::Unbounded);
            let behind = names.range::<str, _>(range);
            behind.take(limit.saturating_add(1)).map(|(_, queue)| Arc::clone(queue)).collect()
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let inner = self.lock();
        (found.iter().map(|definition| info(&inner, definition, now)).collect(), more)
    }

    /// One queue.
    pub(crate) fn info(&self, definition: &Definition, now: u64) -> QueueInfo {
        info(&self.lock(), definition, now)
    }

    /// All messages of a queue.
    pub(crate) fn messages(&self, queue: u64) -> u64 {
        self.lock().lines.get(&queue).map_or(0, LineIndex::units)
    }

    /// Takes up to `max` ready units out for a grant.
    pub(crate) fn reserve(&self, line: u64, max: usize, now: u64, into: &mut Vec<Reserved>) {
        let mut inner = self.lock();
        let Some(index) = inner.lines.get_mut(&line) else { return };
        index.advance(now);
        let admitted = index.reserve(max, now, into);
        let kind = index.line.jobs().map(Arc::clone);
        let due = if kind.is_some() { inner.schedule(line) } else { None };
        drop(inner);
        if let Some(due_ms) = due {
            self.alarm.ring(due_ms);
        }
        if let Some(kind) = kind.filter(|_| admitted > 0) {
            kind.re_enqueued(admitted);
        }
    }

    /// Puts reserved units back to their places.
    pub(crate) fn unreserve(&self, line: u64, numbers: impl Iterator<Item = u64>) {
        let mut numbers = numbers.peekable();
        if numbers.peek().is_none() {
            return;
        }
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        if let Some(index) = inner.lines.get_mut(&line) {
            let ready = numbers.map(|number| index.unreserve(number)).sum();
            inner.wake(line, ready, &mut wakers);
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Sets damaged work aside for a person: it is not served.
    pub(crate) fn set_aside(&self, id: Subject, now: u64) {
        if let Some(index) = self.lock().lines.get_mut(&id.line) {
            index.set_aside(id.number, now);
        }
    }

    /// What waits for a person and belongs to no queue.
    pub(crate) fn unowned(&self) -> MutexGuard<'_, Unowned> {
        self.unowned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when this waits for a person.
    pub(crate) fn waits(&self, id: ReviewId) -> Option<u64> {
        if let ReviewId::Work(subject) = id {
            let inner = self.lock();
            let line = inner.lines.get(&subject.line);
            if let Some(aside) = line.and_then(|line| line.aside.get(&subject.number)) {
                return Some(aside.since_ms);
            }
        }
        self.unowned().since(id)
    }

    /// How many wait for a person, and since when the oldest.
    pub(crate) fn reviews(&self) -> (u64, Option<u64>) {
        let inner = self.lock();
        let owned = inner.lines.values().flat_map(|line| line.aside.values());
        let (mut count, mut oldest) = (0, None::<u64>);
        let mut add = |since: u64| {
            count += 1;
            oldest = Some(oldest.map_or(since, |before| before.min(since)));
        };
        owned.for_each(|aside| add(aside.since_ms));
        drop(inner);
        self.unowned().iter().for_each(|(_, since)| add(since));
        (count, oldest)
    }

    /// Up to `limit` of them behind `after`, in the order of their ids.
    pub(crate) fn waiting(&self, after: Option<ReviewId>, limit: usize) -> Vec<(ReviewId, u64)> {
        let inner = self.lock();
        let mut found = Vec::new();
        for (&line, index) in &inner.lines {
            let ids = index
                .aside
                .iter()
                .map(|(&number, aside)| (ReviewId::Work(Subject { line, number }), aside.since_ms));
            found.extend(ids.filter(|(id, _)| after.is_none_or(|after| *id > after)).take(limit));
        }
        drop(inner);
        found.extend(self.unowned().iter().filter(|(id, _)| after.is_none_or(|it| *id > it)));
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// A ready message of this queue that was sent before most others.
    pub(crate) fn oldest_ready(&self, queue: u64) -> Option<u64> {
        self.lock().lines.get(&queue)?.oldest_ready(OLDEST_KEYS_MAX)
    }

    /// Adds somebody who waits for ready work of this line.
    pub(crate) fn listen(self: &Arc<Self>, line: u64) -> Result<Listener, Error> {
        self.listen_for(For::Line(line))
    }

    /// Adds somebody who waits for something.
    pub(crate) fn listen_for(self: &Arc<Self>, waits_for: For) -> Result<Listener, Error> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITERS_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new(
                Kind::Full,
                format!("{WAITERS_MAX} receivers wait already; try again without waiting"),
            ));
        }
        let mut inner = self.lock();
        let waiter = match waits_for {
            For::Line(line) => inner.waiters.entry(line).or_default().add(),
            For::End(_) | For::Change(_) => inner.told.entry(waits_for).or_default().add(),
        };
        drop(inner);
        Ok(Listener { waiter, index: Arc::downgrade(self), waits_for })
    }

    /// A listener was dropped; `unseen`: it was woken and did not see it.
    fn listener_gone(&self, waits_for: For, unseen: bool) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut wakers = Vec::new();
        match waits_for {
            For::Line(line) if unseen => self.lock().wake(line, 1, &mut wakers),
            For::Line(_) => {}
            For::End(_) | For::Change(_) => self.lock().forget_gone(waits_for),
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes everybody who waits.
    pub(crate) fn wake_all(&self) {
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        for waiters in inner.waiters.values_mut() {
            waiters.wake(u64::MAX, &mut wakers);
        }
        for waiters in inner.told.values_mut() {
            waiters.wake(u64::MAX, &mut wakers);
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Makes delayed units ready whose time has come, and names up to `max` units whose lease ran
    /// out. Answers how many became ready.
    pub(crate) fn due(&self, now: u64, max: usize, expired: &mut Vec<Expired>) -> u64 {
        let mut wakers = Vec::new();
        let mut became_ready = 0;
        let mut inner = self.lock();
        let mut looked_at = Vec::new();
        while expired.len() < max {
            let Some(&Reverse((at, line))) = inner.wakes.peek() else { break };
            if at > now {
                break;
            }
            inner.wakes.pop();
            let Some(index) = inner.lines.get_mut(&line) else { continue };
            if index.wake_ms != Some(at) {
                continue;
            }
            index.wake_ms = None;
            let ready = index.advance(now);
            let left = max - expired.len();
            expired.extend(index.expired(now, left).map(|number| Subject { line, number }));
            inner.wake(line, ready, &mut wakers);
            became_ready += ready;
            looked_at.push(line);
        }
        // Only now, so that a line whose leases are still to be settled is not looked at twice.
        for line in looked_at {
            inner.schedule(line);
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        became_ready
    }

    /// When something is due next.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let inner = self.lock();
        if inner.orphans.is_empty() {
            inner.wakes.peek().map(|Reverse((at, _))| *at)
        } else {
            Some(0)
        }
    }

    /// Takes up to `max` rows of `lease_expiry` that have no lease any more.
    pub(crate) fn take_orphans(&self, max: usize) -> Vec<LeaseExpiry> {
        let mut inner = self.lock();
        let from = inner.orphans.len().saturating_sub(max);
        inner.orphans.split_off(from)
    }

    /// Gives them back: they could not be removed now.
    pub(crate) fn return_orphans(&self, orphans: Vec<LeaseExpiry>) {
        self.lock().orphans.extend(orphans);
    }

    /// Whether the journal failed.
    pub(crate) fn is_lost(&self) -> bool {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under this lock is a bug that the debug assertions name; the state is still whole
        // enough to answer, and the journal has the truth.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Wakes up to `count` of those who wait for a line.
    fn wake(&mut self, line: u64, count: u64, wakers: &mut Vec<Waker>) {
        if count == 0 {
            return;
        }
        if let Some(waiters) = self.waiters.get_mut(&line) {
            waiters.wake(count, wakers);
            if waiters.is_empty() {
                self.waiters.remove(&line);
            }
        }
    }

    /// It is so: wakes everybody who waits for that.
    fn tell(&mut self, what: For, wakers: &mut Vec<Waker>) {
        if !self.told.is_empty()
            && let Some(mut waiters) = self.told.remove(&what)
        {
            waiters.wake(u64::MAX, wakers);
        }
    }

    /// Nobody may be waiting for this any more.
    fn forget_gone(&mut self, what: For) {
        if self.told.get_mut(&what).is_some_and(Waiters::are_gone) {
            self.told.remove(&what);
        }
    }

    /// Sees to it that the line is looked at when something of it is due; answers the time when
    /// that is earlier than before.
    fn schedule(&mut self, line: u64) -> Option<u64> {
        let index = self.lines.get_mut(&line)?;
        let next = index.next_ms()?;
        if index.wake_ms.is_some_and(|at| at <= next) {
            return None;
        }
        index.wake_ms = Some(next);
        self.wakes.push(Reverse((next, line)));
        if self.wakes.len() > 2 * self.lines.len() + STALE_WAKES_MAX {
            self.drop_stale_wakes();
        }
        Some(next)
    }

    /// Leaves one wake-up for each line that has one.
    fn drop_stale_wakes(&mut self) {
        let live = self.lines.iter().filter_map(|(line, index)| Some((index.wake_ms?, *line)));
        self.wakes = live.map(Reverse).collect();
        debug_assert!(self.wakes.len() <= self.lines.len(), "one for each line");
    }
}

/// What is told about a queue.
fn info(inner: &Inner, definition: &Definition, now: u64) -> QueueInfo {
    let stats = inner.lines.get(&definition.id).map(|index| index.stats(now));
    QueueInfo {
        name: definition.name.clone(),
        settings: definition.settings.clone(),
        created_ms: definition.created_ms,
        stats: stats.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues::QueueSettings;

    /// Each message is due before all others, so each overtakes the wake-up of the one before.
    ///
    /// fault: S22
    #[test]
    fn overtaken_wake_ups_do_not_pile_up() {
        let mut inner = Inner::default();
        let settings = QueueSettings::default();
        let definition = Definition { id: 1, name: "q".to_owned(), settings, created_ms: 0 };
        inner.lines.insert(1, LineIndex::new(Line::Queue(Arc::new(definition))));
        for number in 1..=10_000_u64 {
            let line = inner.lines.get_mut(&1).expect("it was put in");
            line.sent(number, LaneKey::default(), Due::Log(1_000_000 - number), 0);
            assert_eq!(inner.schedule(1), Some(1_000_000 - number));
            assert!(inner.wakes.len() <= 2 + STALE_WAKES_MAX);
            assert_eq!(inner.wakes.peek(), Some(&Reverse((1_000_000 - number, 1))));
        }
    }
}
