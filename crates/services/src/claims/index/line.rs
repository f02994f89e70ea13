//! The derived state of one line: where each of its units stands.
//!
//! A unit that was never received is only a number in its lane; from its first reservation on it
//! has an entry in `touched`. Invariants: every unit that is not finished is in exactly one
//! place; `leased`, `delayed` and `scheduled` hold exactly the entries whose place says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::claims::Line;
use crate::claims::attempts::UNDER_REVIEW;
use crate::claims::index::finished::Finished;
use crate::claims::index::pace::Pace;
use crate::claims::index::ready::{LaneId, LaneKey, Ready};
use crate::claims::kept::{LaneOf, Writer};
use crate::claims::unclaimed::{Ended, Later, Unclaimed};
use crate::jobs::JobCounts;
use crate::queues::QueueStats;

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its lane.
    Ready,
    /// Taken out for a grant that is on its way.
    Reserved,
    /// Leased until then.
    Leased(u64),
    /// Not ready before then, log time.
    Delayed(u64),
    /// Not ready before then, wall time.
    Scheduled(u64),
}

/// When new work is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// At this log time, which may have passed.
    Log(u64),
    /// At this wall time: it is looked at by whoever knows that.
    Wall(u64),
}

/// A unit that is not just a number in a lane.
#[derive(Clone, Copy, Debug)]
struct Touched {
    lane: LaneId,
    place: Place,
    /// Whether it has a row in `attempts`.
    attempted: bool,
    /// What that row says.
    due_ms: u64,
}

/// What the row in `attempts` of a restored unit says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whether there is one.
    pub(crate) attempted: bool,
    /// When the unit is ready again.
    pub(crate) due_ms: u64,
}

/// A unit that waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// Since when, as far as this run knows; log time.
    pub(crate) since_ms: u64,
}

/// A unit that was taken out of its lane for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// Its number.
    pub(crate) number: u64,
    /// Whether it may have rows in `attempts` and `leases` that a grant must look at.
    pub(crate) attempted: bool,
}

/// One line's derived state.
#[derive(Debug)]
pub(crate) struct LineIndex {
    /// What the line is.
    pub(crate) line: Line,
    ready: Ready,
    touched: HashMap<u64, Touched>,
    leased: BTreeSet<(u64, u64)>,
    delayed: BTreeSet<(u64, u64)>,
    scheduled: BTreeSet<(u64, u64)>,
    reserved: u64,
    /// How many may be handed out.
    pub(crate) pace: Pace,
    /// Jobs that are finished and kept for a while.
    pub(crate) finished: Finished,
    /// Units that wait for a person, by number.
    pub(crate) aside: BTreeMap<u64, Aside>,
    /// The earliest time for which this line has a wake-up.
    pub(crate) wake_ms: Option<u64>,
}

impl LineIndex {
    /// An empty line.
    pub(crate) fn new(line: Line) -> Self {
        let pace = line.jobs().map_or_else(Pace::default, |kind| Pace::of(&kind.settings));
        Self {
            line,
            ready: Ready::default(),
            touched: HashMap::new(),
            leased: BTreeSet::new(),
            delayed: BTreeSet::new(),
            scheduled: BTreeSet::new(),
            reserved: 0,
            pace,
            finished: Finished::default(),
            aside: BTreeMap::new(),
            wake_ms: None,
        }
    }

    /// The line has new settings. Answers whether more may be handed out than before.
    pub(crate) fn redefined(&mut self, line: Line) -> u64 {
        debug_assert_eq!(line.id(), self.line.id(), "a line keeps its number");
        if let Some(kind) = line.jobs() {
            self.pace.set(&kind.settings);
        }
        self.line = line;
        self.ready.count()
    }

    /// A unit was sent, or given back by a person. Answers how many became ready.
    pub(crate) fn sent(&mut self, number: u64, key: LaneKey<'_>, due: Due, now: u64) -> u64 {
        // One that a person gave back: a grant must look at its history.
        let given_back = self.aside.remove(&number).is_some() | self.finished.remove(number);
        let before = if self.line.jobs().is_some() { self.unplace(number) } else { None };
        if self.touched.contains_key(&number) {
            debug_assert!(false, "a number is used once");
            return 0;
        }
        if let Some(before) = before {
            self.ready.leave(before.lane);
        }
        let lane = self.ready.join(key);
        let attempted = given_back || before.is_some_and(|before| before.attempted);
        let place = match due {
            Due::Log(at) if at > now => Place::Delayed(at),
            Due::Log(_) => Place::Ready,
            Due::Wall(at) => Place::Scheduled(at),
        };
        if place == Place::Ready && !attempted {
            self.ready.push(lane, number);
            return 1;
        }
        self.place(number, Touched { lane, place, attempted, due_ms: 0 });
        u64::from(place == Place::Ready)
    }

    /// A unit that was there before this run; `place` is not `Reserved`. Units come in the order of
    /// their numbers.
    pub(crate) fn restored(&mut self, number: u64, key: LaneKey<'_>, place: Place, claim: Claim) {
        let lane = self.ready.join(key);
        if place == Place::Ready && !claim.attempted {
            self.ready.push(lane, number);
            return;
        }
        let Claim { attempted, due_ms } = claim;
        self.place(number, Touched { lane, place, attempted, due_ms });
    }

    /// Units that were there before this run and that no claim touches; before all others. Answers
    /// how many wait.
    pub(crate) fn adopt(&mut self, unclaimed: Unclaimed, log_ms: u64, wall_ms: u64) -> u64 {
        let waiting = unclaimed.waiting();
        let Unclaimed { mut lanes, later, finished, .. } = unclaimed;
        for lane in &mut lanes {
            let ready = std::mem::take(&mut lane.ready);
            self.ready.adopt(lane.key(), ready);
        }
        for Later { number, lane, due } in later {
            let lane = lanes.get(lane).expect("each belongs to a lane");
            let place = match due {
                Due::Log(at_ms) if at_ms > log_ms => Place::Delayed(at_ms),
                Due::Wall(at_ms) if at_ms > wall_ms => Place::Scheduled(at_ms),
                Due::Log(_) | Due::Wall(_) => Place::Ready,
            };
            self.restored(number, lane.key(), place, Claim::default());
        }
        for Ended { number, status, finished_ms } in finished {
            self.finished.add(number, status, finished_ms);
        }
        waiting
    }

    /// Writes down where its units stand, for a later run.
    pub(crate) fn write(&self, writer: &mut Writer) {
        let mut places: HashMap<LaneId, usize> = HashMap::new();
        let mut apart: HashMap<LaneId, BTreeSet<u64>> = HashMap::new();
        let mut later = Vec::new();
        let mut others: BTreeSet<u64> = self.aside.keys().copied().collect();
        for (at, (id, ..)) in self.ready.lanes().enumerate() {
            places.insert(id, at);
        }
        for (&number, touched) in &self.touched {
            let lane = places.get(&touched.lane).copied();
            let lane = lane.expect("a lane has a member until its last unit leaves");
            match touched.place {
                // Its place follows from the rows of its claim.
                _ if touched.attempted => _ = others.insert(number),
                Place::Leased(_) => _ = others.insert(number),
                Place::Ready => {}
                Place::Reserved => _ = apart.entry(touched.lane).or_default().insert(number),
                Place::Delayed(at_ms) => later.push(Later { number, lane, due: Due::Log(at_ms) }),
                Place::Scheduled(at_ms) => {
                    later.push(Later { number, lane, due: Due::Wall(at_ms) });
                }
            }
        }
        let lanes: Vec<LaneOf<'_>> = self
            .ready
            .lanes()
            .map(|(id, key, runs, returned)| {
                let apart = apart.remove(&id).unwrap_or_default();
                let apart = returned.union(&apart).copied().collect();
                LaneOf { priority: key.priority, fairness: key.fairness, runs, apart }
            })
            .collect();
        later.sort_unstable_by_key(|later| later.number);
        let finished = self.finished.iter();
        writer.line(self.line.id(), lanes.into_iter(), &later, finished, &others);
    }

    /// A lease was granted, extended or taken up again.
    pub(crate) fn leased(&mut self, number: u64, deadline_ms: u64) {
        let Some(mut touched) = self.unplace(number) else { return };
        touched.place = Place::Leased(deadline_ms);
        self.place(number, touched);
    }

    /// The attempts of a unit were written.
    pub(crate) fn attempted(&mut self, number: u64, due_ms: u64) {
        if let Some(touched) = self.touched.get_mut(&number) {
            touched.attempted = true;
            touched.due_ms = due_ms;
        }
    }

    /// A lease ended. Answers how many units can be handed out now that could not be before.
    pub(crate) fn unleased(&mut self, number: u64, now: u64) -> u64 {
        let held = self.touched.get(&number).map(|touched| touched.place);
        if !matches!(held, Some(Place::Leased(_))) {
            return 0;
        }
        let Some(mut touched) = self.unplace(number) else { return 0 };
        if touched.due_ms == UNDER_REVIEW {
            self.ready.leave(touched.lane);
            self.aside.insert(number, Aside { since_ms: now });
            return self.place_of_another();
        }
        let ready = touched.due_ms <= now;
        touched.place = if ready { Place::Ready } else { Place::Delayed(touched.due_ms) };
        self.place(number, touched);
        if ready { 1 } else { self.place_of_another() }
    }

    /// A unit is gone. Answers how many others can be handed out for it.
    pub(crate) fn gone(&mut self, number: u64) -> u64 {
        self.aside.remove(&number);
        let Some(touched) = self.unplace(number) else { return 0 };
        self.ready.leave(touched.lane);
        if matches!(touched.place, Place::Leased(_)) { self.place_of_another() } else { 0 }
    }

    /// A job is finished, and kept for a while. Answers how many others can be handed out for it.
    pub(crate) fn finished(&mut self, number: u64, status: u8, finished_ms: u64) -> u64 {
        let freed = self.gone(number);
        self.finished.add(number, status, finished_ms);
        freed
    }

    /// Where the number in work is limited, one that ends makes place for another.
    fn place_of_another(&self) -> u64 {
        u64::from(self.pace.is_limited() && self.ready.count() > 0)
    }

    /// It waits for a person.
    pub(crate) fn set_aside(&mut self, number: u64, now: u64) {
        let since_ms = self.aside.get(&number).map_or(now, |aside| aside.since_ms);
        self.gone(number);
        self.aside.insert(number, Aside { since_ms });
    }

    /// Takes up to `max` ready units out, as many as may be handed out now: those of the highest
    /// priority first, the first of each key in turn. Answers how many of a start's backlog became
    /// deliverable for them.
    pub(crate) fn reserve(&mut self, max: usize, now: u64, into: &mut Vec<Reserved>) -> u64 {
        let in_work = self.in_work();
        let max = self.pace.allowed(max, in_work, now);
        while into.len() < max {
            let Some((lane, number)) = self.ready.pop() else { break };
            let touched = self.touched.entry(number).or_insert(Touched::new(lane, Place::Reserved));
            touched.place = Place::Reserved;
            let attempted = touched.attempted;
            self.reserved += 1;
            into.push(Reserved { number, attempted });
        }
        self.pace.took(into.len(), now)
    }

    /// Leased units, and those whose leases are on their way.
    fn in_work(&self) -> u64 {
        self.leased.len() as u64 + self.reserved
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
        self.pace.gave_back();
        1
    }

    /// Delayed units whose time has come become ready; answers how many can be handed out now that
    /// could not be before.
    pub(crate) fn advance(&mut self, now: u64) -> u64 {
        let mut ready = u64::from(self.pace.refills(now) && self.ready.count() > 0);
        while let Some(&(due_ms, number)) = self.delayed.first() {
            if due_ms > now {
                break;
            }
            ready += self.becomes_ready(number);
        }
        ready
    }

    /// The same for those that wait for wall time.
    pub(crate) fn advance_wall(&mut self, wall_ms: u64) -> u64 {
        let mut ready = 0;
        while let Some(&(due_ms, number)) = self.scheduled.first() {
            if due_ms > wall_ms {
                break;
            }
            ready += self.becomes_ready(number);
        }
        ready
    }

    fn becomes_ready(&mut self, number: u64) -> u64 {
        let touched = self.unplace(number);
        let mut touched = touched.expect("what is delayed or scheduled has an entry");
        touched.place = Place::Ready;
        self.place(number, touched);
        1
    }

    /// When the first that waits for wall time is due.
    pub(crate) fn next_wall_ms(&self) -> Option<u64> {
        self.scheduled.first().map(|(due_ms, _)| *due_ms)
    }

    /// Units whose lease ran out, up to `max`, first to run out first.
    pub(crate) fn expired(&self, now: u64, max: usize) -> impl Iterator<Item = u64> {
        let due = self.leased.iter().take_while(move |(deadline, _)| *deadline <= now);
        due.take(max).map(|(_, number)| *number)
    }

    /// Up to `max` leased units, those whose leases end first.
    pub(crate) fn claimed(&self, max: usize) -> impl Iterator<Item = u64> {
        self.leased.iter().take(max).map(|(_, number)| *number)
    }

    /// Every unit goes; answers the deadlines and numbers of those that were leased.
    pub(crate) fn clear(&mut self) -> BTreeSet<(u64, u64)> {
        self.ready = Ready::default();
        self.touched.clear();
        self.delayed.clear();
        self.scheduled.clear();
        self.reserved = 0;
        self.aside.clear();
        std::mem::take(&mut self.leased)
    }

    /// When something happens next without anybody's doing: a lease runs out, a delay is over, more
    /// may be handed out.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let lease = self.leased.first().map(|(deadline, _)| *deadline);
        let delay = self.delayed.first().map(|(due, _)| *due);
        let pace = if self.ready.count() > 0 { self.pace.next_ms() } else { None };
        lease.into_iter().chain(delay).chain(pace).min()
    }

    /// A ready unit that was sent before most others: the first of the keys that are looked at.
    pub(crate) fn oldest_ready(&self, keys: usize) -> Option<u64> {
        self.ready.oldest(keys)
    }

    /// All units that are not finished.
    pub(crate) fn units(&self) -> u64 {
        let elsewhere = self.leased.len() + self.delayed.len() + self.scheduled.len();
        self.ready.count() + self.reserved + elsewhere as u64
    }

    /// How many jobs stand where.
    pub(crate) fn job_counts(&self) -> JobCounts {
        let [completed, failed, cancelled] = self.finished.counts();
        JobCounts {
            scheduled: (self.delayed.len() + self.scheduled.len()) as u64,
            pending: self.ready.count(),
            processing: self.in_work(),
            completed,
            failed,
            cancelled,
            needs_review: self.aside.len() as u64,
        }
    }

    /// How full a queue is.
    pub(crate) fn stats(&self, now: u64) -> QueueStats {
        let wait = |entry: Option<&(u64, u64)>| entry.map(|(at, _)| at.saturating_sub(now));
        QueueStats {
            ready: self.ready.count(),
            leased: self.in_work(),
            delayed: self.delayed.len() as u64,
            review: self.aside.len() as u64,
            keys: self.ready.keys(),
            next_expiry_ms: wait(self.leased.first()),
            next_ready_ms: wait(self.delayed.first()),
        }
    }

    /// Takes a unit out of its place. Its entry must be placed again or leave its lane.
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
            Place::Scheduled(due) => self.scheduled.remove(&(due, number)),
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
            Place::Scheduled(due) => {
                self.scheduled.insert((due, number));
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
