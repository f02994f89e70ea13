//! The derived state of one queue: where each of its messages stands.
//!
//! A message that was never received is only a number in its lane; from its first reservation on it
//! has an entry in `touched`. Invariants: every message is in exactly one place; `leased` and
//! `delayed` hold exactly the entries whose place says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::queues::QueueStats;
use crate::queues::attempts::UNDER_REVIEW;
use crate::queues::definition::Definition;
use crate::queues::index::ready::{LaneId, Ready};

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its lane.
    Ready,
    /// Taken out for a grant that is on its way.
    Reserved,
    /// Leased until then.
    Leased(u64),
    /// Not ready before then.
    Delayed(u64),
}

/// A message that is not just a number in a lane.
#[derive(Clone, Copy, Debug)]
struct Touched {
    lane: LaneId,
    place: Place,
    /// Whether it has a row in `attempts`.
    attempted: bool,
    /// What that row says.
    due_ms: u64,
}

/// What the row in `attempts` of a restored message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whether there is one.
    pub(crate) attempted: bool,
    /// When the message is ready again.
    pub(crate) due_ms: u64,
}

/// A message that waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// Since when, as far as this run knows; log time.
    pub(crate) since_ms: u64,
}

/// A message that was taken out of its lane for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// Its number.
    pub(crate) number: u64,
    /// Whether it may have rows in `attempts` and `leases` that a grant must look at.
    pub(crate) attempted: bool,
}

/// One queue's derived state.
#[derive(Debug)]
pub(crate) struct QueueIndex {
    /// What the queue is.
    pub(crate) definition: Arc<Definition>,
    ready: Ready,
    touched: HashMap<u64, Touched>,
    leased: BTreeSet<(u64, u64)>,
    delayed: BTreeSet<(u64, u64)>,
    reserved: u64,
    /// Messages that wait for a person, by number.
    pub(crate) aside: BTreeMap<u64, Aside>,
    /// The earliest time for which this queue has a wake-up.
    pub(crate) wake_ms: Option<u64>,
}

impl QueueIndex {
    /// An empty queue.
    pub(crate) fn new(definition: Arc<Definition>) -> Self {
        Self {
            definition,
            ready: Ready::default(),
            touched: HashMap::new(),
            leased: BTreeSet::new(),
            delayed: BTreeSet::new(),
            reserved: 0,
            aside: BTreeMap::new(),
            wake_ms: None,
        }
    }

    /// A message was sent. Answers how many became ready.
    pub(crate) fn sent(&mut self, number: u64, fairness_key: &str, due_ms: u64, now: u64) -> u64 {
        if self.touched.contains_key(&number) {
            debug_assert!(false, "a number is used once");
            return 0;
        }
        let lane = self.ready.join(fairness_key);
        // One that a person gave back: a grant must look at its history.
        let attempted = self.aside.remove(&number).is_some();
        let ready = due_ms <= now;
        if ready && !attempted {
            self.ready.push(lane, number);
            return 1;
        }
        let place = if ready { Place::Ready } else { Place::Delayed(due_ms) };
        self.place(number, Touched { lane, place, attempted, due_ms: 0 });
        u64::from(ready)
    }

    /// A message that was there before this run; `place` is not `Reserved`. Messages come in the
    /// order of their numbers.
    pub(crate) fn restored(&mut self, number: u64, fairness_key: &str, place: Place, claim: Claim) {
        let lane = self.ready.join(fairness_key);
        if place == Place::Ready && !claim.attempted {
            self.ready.push(lane, number);
            return;
        }
        let Claim { attempted, due_ms } = claim;
        self.place(number, Touched { lane, place, attempted, due_ms });
    }

    /// A lease was granted, extended or taken up again.
    pub(crate) fn leased(&mut self, number: u64, deadline_ms: u64) {
        let Some(mut touched) = self.unplace(number) else { return };
        touched.place = Place::Leased(deadline_ms);
        self.place(number, touched);
    }

    /// The attempts of a message were written.
    pub(crate) fn attempted(&mut self, number: u64, due_ms: u64) {
        if let Some(touched) = self.touched.get_mut(&number) {
            touched.attempted = true;
            touched.due_ms = due_ms;
        }
    }

    /// A lease ended. Answers how many messages became ready.
    pub(crate) fn unleased(&mut self, number: u64, now: u64) -> u64 {
        let held = self.touched.get(&number).map(|touched| touched.place);
        if !matches!(held, Some(Place::Leased(_))) {
            return 0;
        }
        let Some(mut touched) = self.unplace(number) else { return 0 };
        if touched.due_ms == UNDER_REVIEW {
            self.ready.leave(touched.lane);
            self.aside.insert(number, Aside { since_ms: now });
            return 0;
        }
        let ready = touched.due_ms <= now;
        touched.place = if ready { Place::Ready } else { Place::Delayed(touched.due_ms) };
        self.place(number, touched);
        u64::from(ready)
    }

    /// A message is gone.
    pub(crate) fn gone(&mut self, number: u64) {
        self.aside.remove(&number);
        if let Some(touched) = self.unplace(number) {
            self.ready.leave(touched.lane);
        }
    }

    /// It waits for a person.
    pub(crate) fn set_aside(&mut self, number: u64, now: u64) {
        let since_ms = self.aside.get(&number).map_or(now, |aside| aside.since_ms);
        self.gone(number);
        self.aside.insert(number, Aside { since_ms });
    }

    /// Takes up to `max` ready messages out, the first of each key in turn.
    pub(crate) fn reserve(&mut self, max: usize, into: &mut Vec<Reserved>) {
        while into.len() < max {
            let Some((lane, number)) = self.ready.pop() else { break };
            let touched = self.touched.entry(number).or_insert(Touched::new(lane, Place::Reserved));
            touched.place = Place::Reserved;
            let attempted = touched.attempted;
            self.reserved += 1;
            into.push(Reserved { number, attempted });
        }
    }

    /// Puts a reserved message back to its place. Answers how many became ready: none when it was
    /// finished or leased in the meantime.
    pub(crate) fn unreserve(&mut self, number: u64) -> u64 {
        let held = self.touched.get(&number).map(|touched| touched.place);
        if held != Some(Place::Reserved) {
            return 0;
        }
        let Some(mut touched) = self.unplace(number) else { return 0 };
        touched.place = Place::Ready;
        self.place(number, touched);
        1
    }

    /// Delayed messages whose time has come become ready; answers how many.
    pub(crate) fn advance(&mut self, now: u64) -> u64 {
        let mut ready = 0;
        while let Some(&(due_ms, number)) = self.delayed.first() {
            if due_ms > now {
                break;
            }
            let Some(mut touched) = self.unplace(number) else { break };
            touched.place = Place::Ready;
            self.place(number, touched);
            ready += 1;
        }
        ready
    }

    /// Messages whose lease ran out, up to `max`, first to run out first.
    pub(crate) fn expired(&self, now: u64, max: usize) -> impl Iterator<Item = u64> {
        let due = self.leased.iter().take_while(move |(deadline, _)| *deadline <= now);
        due.take(max).map(|(_, number)| *number)
    }

    /// Every message goes; answers the deadlines and numbers of those that were leased.
    pub(crate) fn clear(&mut self) -> BTreeSet<(u64, u64)> {
        self.ready = Ready::default();
        self.touched.clear();
        self.delayed.clear();
        self.reserved = 0;
        self.aside.clear();
        std::mem::take(&mut self.leased)
    }

    /// When something happens next without anybody's doing: a lease runs out, a delay is over.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let lease = self.leased.first().map(|(deadline, _)| *deadline);
        let delay = self.delayed.first().map(|(due, _)| *due);
        lease.into_iter().chain(delay).min()
    }

    /// A ready message that was sent before most others: the first of the keys that are looked at.
    pub(crate) fn oldest_ready(&self, keys: usize) -> Option<u64> {
        self.ready.oldest(keys)
    }

    /// All messages.
    pub(crate) fn messages(&self) -> u64 {
        let elsewhere = self.leased.len() + self.delayed.len();
        self.ready.count() + self.reserved + elsewhere as u64
    }

    /// How full it is.
    pub(crate) fn stats(&self, now: u64) -> QueueStats {
        let wait = |entry: Option<&(u64, u64)>| entry.map(|(at, _)| at.saturating_sub(now));
        QueueStats {
            ready: self.ready.count(),
            leased: self.leased.len() as u64 + self.reserved,
            delayed: self.delayed.len() as u64,
            review: self.aside.len() as u64,
            keys: self.ready.keys(),
            next_expiry_ms: wait(self.leased.first()),
            next_ready_ms: wait(self.delayed.first()),
        }
    }

    /// Takes a message out of its place. Its entry must be placed again or leave its lane.
    fn unplace(&mut self, number: u64) -> Option<Touched> {
        let Some(touched) = self.touched.remove(&number) else {
            let lane = self.ready.find(number)?;
            self.ready.take(lane, number);
            return Some(Touched::new(lane, Place::Ready));
        };
        let was_there = match touched.place {
            Place::Ready => self.ready.take(touched.lane, number),
            Place::Reserved => {
                self.reserved = self.reserved.saturating_sub(1);
                true
            }
            Place::Leased(deadline) => self.leased.remove(&(deadline, number)),
            Place::Delayed(due) => self.delayed.remove(&(due, number)),
        };
        debug_assert!(was_there, "{number} is not where its entry says: {touched:?}");
        Some(touched)
    }

    fn place(&mut self, number: u64, touched: Touched) {
        match touched.place {
            Place::Ready => self.ready.push(touched.lane, number),
            Place::Reserved => self.reserved += 1,
            Place::Leased(deadline) => {
                self.leased.insert((deadline, number));
            }
            Place::Delayed(due) => {
                self.delayed.insert((due, number));
            }
        }
        self.touched.insert(number, touched);
    }
}

impl Touched {
    fn new(lane: LaneId, place: Place) -> Self {
        Self { lane, place, attempted: false, due_ms: 0 }
    }
}
