//! The ready units of one line: higher priorities first; among equal ones keys take turns; of one
//! key, first in, first out.
//!
//! A lane is one key's line. New units have rising numbers and go to the back of `fresh` in O(1),
//! where neighbours are one run; one that comes back (its lease ran out, it was given back) takes
//! its old place through `returned`. Invariants: a number is in at most one of the two; a lane is
//! in the ring of its priority exactly when it has ready units; a lane goes when the line has no
//! unit of its key any more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::claims::index::runs::Runs;

/// Which lane; reused after its lane went.
pub(crate) type LaneId = u32;

/// Which lane a unit belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneKey<'a> {
    /// Lanes of higher priority come first.
    pub(crate) priority: i16,
    /// Its fairness key.
    pub(crate) fairness: &'a str,
}

/// Empty rings that are kept for the next unit of their priority.
const EMPTY_RINGS_MAX: usize = 8;

/// One key's line.
#[derive(Debug, Default)]
struct Lane {
    key: Arc<str>,
    priority: i16,
    fresh: Runs,
    returned: BTreeSet<u64>,
    /// Units of this key in the line, ready or not.
    members: u64,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.returned.is_empty()
    }

    /// The smallest number.
    fn first(&self) -> Option<u64> {
        self.fresh.first().into_iter().chain(self.returned.first().copied()).min()
    }

    /// Takes the smallest number.
    fn pop(&mut self) -> Option<u64> {
        match (self.fresh.first(), self.returned.first()) {
            (Some(fresh), Some(&returned)) if returned < fresh => self.returned.pop_first(),
            (Some(_), _) => self.fresh.pop(),
            (None, _) => self.returned.pop_first(),
        }
    }
}

/// The ready units of one line.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    lanes: Vec<Lane>,
    free: Vec<LaneId>,
    by_key: HashMap<(Arc<str>, i16), LaneId>,
    rings: BTreeMap<Reverse<i16>, VecDeque<LaneId>>,
    ringed: u64,
    count: u64,
}

impl Ready {
    /// Ready units.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Keys among the ready units.
    pub(crate) fn keys(&self) -> u64 {
        self.ringed
    }

    /// A unit of this key joins the line, not ready yet.
    pub(crate) fn join(&mut self, key: LaneKey<'_>) -> LaneId {
        let id = match self.lane_of(key) {
            Some(id) => id,
            None => self.add_lane(key),
        };
        self.lane(id).members += 1;
        id
    }

    /// A message that is not ready leaves the queue.
    pub(crate) fn leave(&mut self, id: LaneId) {
        let lane = self.lane(id);
        debug_assert!(lane.members > 0, "a message leaves once");
        lane.members = lane.members.saturating_sub(1);
        if lane.members == 0 {
            debug_assert!(lane.is_empty(), "no ready message without a member");
            let gone = std::mem::take(lane);
            self.by_key.remove(&(gone.key, gone.priority));
            self.free.push(id);
        }
    }

    /// A message becomes ready.
    pub(crate) fn push(&mut self, id: LaneId, number: u64) {
        let lane = self.lane(id);
        let was_empty = lane.is_empty();
        match lane.fresh.last() {
            Some(last) if last >= number => {
                debug_assert!(last != number, "a message becomes ready once");
                lane.returned.insert(number);
            }
            _ => lane.fresh.push(number),
        }
        if was_empty {
            let priority = lane.priority;
            self.rings.entry(Reverse(priority)).or_default().push_back(id);
            self.ringed += 1;
        }
        self.count += 1;
    }

    /// The smallest number among the first messages of up to `keys` keys, those first whose turn is
    /// next.
    pub(crate) fn oldest(&self, keys: usize) -> Option<u64> {
        let lane = |id: &LaneId| self.lanes.get(usize::try_from(*id).ok()?)?.first();
        self.rings.values().flatten().take(keys).filter_map(lane).min()
    }

    /// Takes the first unit of the key whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(LaneId, u64)> {
        let ring = self.rings.values_mut().find(|ring| !ring.is_empty())?;
        let id = ring.pop_front()?;
        let lane = lane(&mut self.lanes, id);
        let number = lane.pop().expect("a lane in a ring has ready units");
        if lane.is_empty() {
            self.left_ring();
        } else {
            ring.push_back(id);
        }
        self.count -= 1;
        Some((id, number))
    }

    /// A lane went out of its ring.
    fn left_ring(&mut self) {
        self.ringed -= 1;
        if self.rings.len() > EMPTY_RINGS_MAX {
            self.rings.retain(|_, ring| !ring.is_empty());
        }
    }

    /// Takes this message out of its lane; false when it is not ready.
    pub(crate) fn take(&mut self, id: LaneId, number: u64) -> bool {
        let lane = self.lane(id);
        let found = lane.returned.remove(&number) || lane.fresh.remove(number);
        if found {
            self.count -= 1;
            let lane = self.lane(id);
            if lane.is_empty() {
                let priority = Reverse(lane.priority);
                if let Some(ring) = self.rings.get_mut(&priority) {
                    ring.retain(|&other| other != id);
                }
                self.left_ring();
            }
        }
        found
    }

    /// The lane in which this message is ready. Looks through all of them: only for what nobody who
    /// uses this index does.
    pub(crate) fn find(&self, number: u64) -> Option<LaneId> {
        self.by_key.values().copied().find(|&id| {
            let lane = usize::try_from(id).ok().and_then(|id| self.lanes.get(id));
            lane.is_some_and(|lane| lane.returned.contains(&number) || lane.fresh.contains(number))
        })
    }

    /// The lanes that have members: their ids, keys, and what is ready in them: runs, and numbers
    /// that stand apart, ascending.
    pub(crate) fn lanes(
        &self,
    ) -> impl Iterator<Item = (LaneId, LaneKey<'_>, &Runs, &BTreeSet<u64>)> {
        let ids = self.lanes.iter().zip(0..);
        ids.filter(|(lane, _)| lane.members > 0).map(|(lane, id)| {
            let key = LaneKey { priority: lane.priority, fairness: &lane.key };
            (id, key, &lane.fresh, &lane.returned)
        })
    }

    /// Ready units that were there before this run, ascending; those that come by themselves follow
    /// them.
    pub(crate) fn adopt(&mut self, key: LaneKey<'_>, numbers: Runs) {
        let Some(first) = numbers.first() else { return };
        let id = self.join(key);
        debug_assert!(self.lane(id).is_empty(), "they come first");
        self.push(id, first);
        let count = numbers.count();
        let lane = self.lane(id);
        lane.members += count - 1;
        lane.fresh = numbers;
        self.count += count - 1;
    }

    fn lane_of(&self, key: LaneKey<'_>) -> Option<LaneId> {
        // Almost every line has one lane: asking for it needs no key of its own.
        if let [only] = self.lanes.as_slice()
            && only.members > 0
        {
            let same = only.priority == key.priority && *only.key == *key.fairness;
            return same.then_some(0);
        }
        self.by_key.get(&(Arc::from(key.fairness), key.priority)).copied()
    }

    fn add_lane(&mut self, key: LaneKey<'_>) -> LaneId {
        let LaneKey { priority, fairness } = key;
        let key: Arc<str> = Arc::from(fairness);
        let id = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane::default());
            LaneId::try_from(self.lanes.len() - 1).expect("fewer than 2^32 keys fit in memory")
        });
        let lane = self.lane(id);
        (lane.key, lane.priority) = (Arc::clone(&key), priority);
        self.by_key.insert((key, priority), id);
        id
    }

    fn lane(&mut self, id: LaneId) -> &mut Lane {
        lane(&mut self.lanes, id)
    }
}

fn lane(lanes: &mut [Lane], id: LaneId) -> &mut Lane {
    let id = usize::try_from(id).expect("usize has at least 32 bits");
    lanes.get_mut(id).expect("a lane id names a lane until its last unit leaves")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sent(ready: &mut Ready, key: &str, number: u64) -> LaneId {
        let lane = ready.join(LaneKey { priority: 0, fairness: key });
        ready.push(lane, number);
        lane
    }

    fn popped(ready: &mut Ready) -> Vec<u64> {
        std::iter::from_fn(|| ready.pop()).map(|(_, number)| number).collect()
    }

    #[test]
    fn keys_take_turns_and_each_is_first_in_first_out() {
        let mut ready = Ready::default();
        for number in 1..=4 {
            sent(&mut ready, "a", number);
        }
        sent(&mut ready, "b", 5);
        sent(&mut ready, "b", 6);
        sent(&mut ready, "", 7);
        assert_eq!((ready.count(), ready.keys()), (7, 3));
        assert_eq!(popped(&mut ready), [1, 5, 7, 2, 6, 3, 4]);
        assert_eq!((ready.count(), ready.keys()), (0, 0));
    }

    #[test]
    fn what_comes_back_takes_its_old_place() {
        let mut ready = Ready::default();
        for number in [10, 20, 30] {
            sent(&mut ready, "", number);
        }
        let (lane, first) = ready.pop().unwrap();
        let (_, second) = ready.pop().unwrap();
        ready.push(lane, second);
        ready.push(lane, first);
        assert_eq!(popped(&mut ready), [10, 20, 30]);
        // Also when everything behind it is gone.
        ready.push(lane, 30);
        ready.push(lane, 10);
        assert_eq!(popped(&mut ready), [10, 30]);
    }

    #[test]
    fn a_lane_goes_with_its_last_message_and_its_id_is_reused() {
        let mut ready = Ready::default();
        for number in 1..=1_000 {
            let lane = sent(&mut ready, &format!("key-{number}"), number);
            assert!(ready.take(lane, number));
            assert!(!ready.take(lane, number));
            ready.leave(lane);
        }
        assert_eq!(ready.lanes.len(), 1);
        assert!(ready.by_key.is_empty() && ready.ringed == 0);
    }

    #[test]
    fn a_message_is_found_wherever_it_stands() {
        let mut ready = Ready::default();
        sent(&mut ready, "a", 1);
        let b = sent(&mut ready, "b", 3);
        sent(&mut ready, "b", 2);
        assert_eq!(ready.find(3), Some(b));
        assert_eq!(ready.find(2), Some(b));
        assert_eq!(ready.find(4), None);
        assert_eq!((ready.oldest(1), ready.oldest(2)), (Some(1), Some(1)));
        assert!(ready.take(b, 3) && ready.take(b, 2));
        assert_eq!(popped(&mut ready), [1]);
    }

    /// Priorities go before turns, turns before age; what comes back stands in front of its own
    /// priority only.
    ///
    /// proves: J10
    #[test]
    fn higher_priorities_go_first() {
        let mut ready = Ready::default();
        let mut push = |priority, number| {
            let lane = ready.join(LaneKey { priority, fairness: "" });
            ready.push(lane, number);
        };
        for (priority, number) in [(0, 1), (5, 2), (-7, 3), (5, 4), (0, 5), (i16::MIN, 6)] {
            push(priority, number);
        }
        assert_eq!(ready.oldest(9), Some(1));
        assert_eq!(popped(&mut ready), [2, 4, 1, 5, 3, 6]);
        let mut push = |priority, number| {
            let lane = ready.join(LaneKey { priority, fairness: "" });
            ready.push(lane, number);
        };
        for priority in 0..100 {
            push(priority, u64::try_from(priority).unwrap() + 10);
        }
        push(3, 1);
        let order = popped(&mut ready);
        assert_eq!(order.first(), Some(&109));
        let at = |number| order.iter().position(|&one| one == number);
        assert_eq!(at(1).map(|place| place + 1), at(13));
        assert!(ready.rings.len() <= EMPTY_RINGS_MAX && ready.ringed == 0);
    }
}
