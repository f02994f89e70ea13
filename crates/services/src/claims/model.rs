//! The protocol of claims, searched exhaustively: everything that can happen to one unit of work,
//! in every order, up to a bound, with the pure functions that commands and recovery use.
//!
//! Breadth first over all states, as a model checker does it (Holzmann, *The SPIN Model Checker*,
//! 2003); a state that was met is not looked at again.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::claims::attempts::{Attempts, UNDER_REVIEW};
use crate::claims::lease::Lease;
use crate::claims::state::{self, Ending, Next, Retry, Standing, standing};
use crate::claims::{
    CRASHES_MAX, Cause, Decision, Event, Executor, Owner, Run, Subject, Token, Trace,
};

/// How long a claim lasts, in the model's time.
const LEASE_MS: u64 = 1;
/// The last moment, run and grant of the model: three crashes in a row need three grants.
const LAST_MS: u64 = 1;
const LAST_RUN: u64 = 4;
const LAST_GRANT: u64 = 3;
/// Settlements above which nobody takes the work up again: a late owner could for ever.
const SETTLED_MAX: usize = 3;
const UNIT: Subject = Subject { line: 1, number: 1 };

/// What becomes of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is there.
    Open,
    /// Somebody did it.
    Done,
    /// Its attempts are used up.
    GivenUp,
}

/// One unit of work and its world.
#[derive(Clone, Debug)]
struct World {
    fate: Fate,
    lease: Option<Lease>,
    attempts: Option<Attempts>,
    now_ms: u64,
    run: u64,
    /// The grants so far are `1..=grants`.
    grants: u64,
    /// Those of them that executors had.
    inside: Vec<u64>,
    /// A person approved it; once in the model, or its crashes could be forgotten for ever.
    approved: bool,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Act {
    Grant {
        inside: bool,
    },
    Pass,
    Extend(u64),
    Finish(u64),
    /// Whoever has this token says so.
    Say(u64, Event),
    Expire,
    Crash {
        clean: bool,
        left: Option<Trace>,
    },
    Approve,
}

impl World {
    fn new() -> Self {
        Self {
            fate: Fate::Open,
            lease: None,
            attempts: None,
            now_ms: 0,
            run: 1,
            grants: 0,
            inside: vec![],
            approved: false,
        }
    }

    /// All that decides what can become of it: two worlds that differ in nothing of this have the
    /// same future.
    fn key(&self) -> String {
        let lease = self.lease.as_ref().map(|it| (it.grant, it.deadline_ms, it.attempt, it.holder));
        let attempts = self.attempts.as_ref();
        let attempts = attempts.map(|it| (it.attempt, it.charged, it.grant, it.due_ms));
        let late = attempts.is_some_and(|it| self.inside.contains(&it.2));
        let now = (self.now_ms, self.run, self.grants, late, self.approved);
        let history: Vec<u8> = self.history().iter().map(|cause| *cause as u8).collect();
        format!("{:?} {lease:?} {attempts:?} {now:?} {history:?}", self.fate)
    }

    fn standing(&self, grant: u64) -> Standing {
        standing(grant, self.lease.as_ref(), self.attempts.as_ref())
    }

    fn attempt(&self) -> u32 {
        let settled = self.attempts.as_ref().map_or(0, |attempts| attempts.attempt);
        self.lease.as_ref().map_or(settled, |lease| lease.attempt)
    }

    /// The bounds of the model are reached.
    fn is_spent(&self) -> bool {
        self.grants == LAST_GRANT || self.history().len() >= SETTLED_MAX
    }

    fn history(&self) -> Vec<Cause> {
        let attempts = self.attempts.iter().flat_map(|attempts| &attempts.history);
        attempts.map(|settled| settled.cause).collect()
    }

    fn due_ms(&self) -> u64 {
        self.attempts.as_ref().map_or(0, |attempts| attempts.due_ms)
    }

    /// Everything that can happen now.
    fn acts(&self) -> Vec<Act> {
        if self.fate != Fate::Open {
            return vec![];
        }
        let mut acts = Vec::new();
        let open = self.lease.is_none() && !self.is_spent();
        if open && self.due_ms() <= self.now_ms {
            acts.extend([true, false].map(|inside| Act::Grant { inside }));
        }
        if self.now_ms < LAST_MS {
            acts.push(Act::Pass);
        }
        for token in 1..=self.grants {
            acts.push(Act::Finish(token));
            if self.history().len() < SETTLED_MAX {
                acts.push(Act::Extend(token));
            }
            for event in [
                Event::Failed,
                Event::Released,
                Event::WorkerDied,
                Event::ServerDied,
                Event::Withdrawn,
                Event::Stopping,
            ] {
                acts.push(Act::Say(token, event));
            }
        }
        if self.lease.is_some() {
            acts.push(Act::Expire);
        }
        if self.run < LAST_RUN {
            for left in [None, Some(Trace::Survives), Some(Trace::Unbegun)] {
                acts.push(Act::Crash { clean: false, left });
            }
            acts.push(Act::Crash { clean: true, left: None });
        }
        if self.due_ms() == UNDER_REVIEW && !self.approved {
            acts.push(Act::Approve);
        }
        acts
    }

    /// What it makes of one of them.
    fn after(&self, act: Act, retry: Retry, seen: &mut Seen) -> Self {
        let mut world = self.clone();
        match act {
            Act::Grant { inside } => {
                world.grants += 1;
                let executor = Executor { node: 1, incarnation: self.run };
                let holder = if inside { Owner::Inside(executor) } else { Owner::External };
                let attempts = self.attempts.as_ref();
                let lease = state::grant(attempts, self.now_ms, LEASE_MS, "", holder);
                world.lease = Some(Lease { grant: world.grants, ..lease });
                world.inside.extend(inside.then_some(world.grants));
            }
            Act::Pass => world.now_ms += 1,
            Act::Extend(token) => match (self.standing(token), &self.lease, &self.attempts) {
                (Standing::Current, Some(lease), _) => {
                    world.lease = Some(state::extended(lease, self.now_ms, LEASE_MS));
                }
                // What waits for a person cannot be taken up again (jobs/state.rs).
                (Standing::Late, None, Some(attempts)) if attempts.due_ms != UNDER_REVIEW => {
                    let executor = Executor { node: 1, incarnation: self.run };
                    let inside = self.inside.contains(&token);
                    let holder = if inside { Owner::Inside(executor) } else { Owner::External };
                    world.lease = Some(state::resumed(attempts, self.now_ms, LEASE_MS, holder));
                }
                _ => {}
            },
            Act::Finish(token) => {
                if self.standing(token) != Standing::Fenced {
                    world.fate = Fate::Done;
                    (world.lease, world.attempts) = (None, None);
                }
            }
            Act::Say(token, event) => {
                if self.standing(token) == Standing::Current {
                    world.look(event, false, None, retry, seen);
                }
            }
            Act::Expire => world.look(Event::Time, false, None, retry, seen),
            Act::Crash { clean, left } => {
                world.run += 1;
                world.look(Event::Lead, clean, left, retry, seen);
            }
            Act::Approve => {
                world.approved = true;
                if let Some(attempts) = &mut world.attempts {
                    attempts.forget_crashes();
                    attempts.due_ms = 0;
                }
            }
        }
        world
    }

    /// Somebody looks at the claim, as commands and recovery do.
    fn look(
        &mut self,
        event: Event,
        clean: bool,
        left: Option<Trace>,
        retry: Retry,
        seen: &mut Seen,
    ) {
        let Some(lease) = self.lease.clone() else { return };
        let token = Token { subject: UNIT, grant: lease.grant };
        let run = Run::new(self.run, clean, left.map(|left| (token, left)).into_iter().collect());
        let decision = crate::claims::decide(run.situation(UNIT, &lease, event, self.now_ms));
        seen.decisions.insert(format!("{decision:?}"));
        let cause = match decision {
            Decision::Keep => return,
            Decision::Resume => {
                let taken = state::taken_over(&lease, self.now_ms, LEASE_MS, run.inside());
                self.lease = Some(taken);
                return;
            }
            Decision::Settle(cause) => cause,
        };
        seen.causes.insert(cause.as_str());
        if cause == Cause::ServerCrash {
            assert_ne!(lease.holder, Owner::External, "nobody outside is charged for a crash");
        }
        let (now_ms, reason) = (self.now_ms, "");
        // Failures wait, everything else is back at once.
        let delay_ms = Some(u64::from(cause == Cause::Failed));
        let ending = Ending { cause, reason, now_ms, delay_ms, last: false, begun: true };
        self.lease = None;
        match state::settle(&lease, self.attempts.take(), &ending, retry) {
            Next::Return(attempts) | Next::Review(attempts) => self.attempts = Some(attempts),
            Next::DeadLetter(_) => self.fate = Fate::GivenUp,
        }
    }
}

/// What the search met.
#[derive(Debug, Default)]
struct Seen {
    decisions: BTreeSet<String>,
    causes: BTreeSet<&'static str>,
    fates: BTreeSet<String>,
    states: usize,
}

/// What must hold between two states.
fn check(before: &World, act: Act, after: &World) {
    let granted = matches!(act, Act::Grant { .. });
    if after.fate == Fate::Open {
        assert_eq!(after.attempt(), before.attempt() + u32::from(granted), "only grants count");
    }
    for token in 1..=before.grants {
        let stands = (before.standing(token), after.standing(token));
        if stands.0 == Standing::Fenced {
            assert_eq!(stands.1, Standing::Fenced, "a token that is over stays over");
        }
    }
    let current = (1..=after.grants).filter(|token| after.standing(*token) == Standing::Current);
    assert_eq!(current.count(), usize::from(after.lease.is_some()), "one holder at most");
    let history = (before.history(), after.history());
    if after.fate == Fate::Open && !matches!(act, Act::Approve) {
        let added = history.1.strip_prefix(&*history.0).expect("history only grows");
        let settled = before.lease.is_some() && after.lease.is_none();
        assert_eq!(added.len(), usize::from(settled), "a settlement adds one cause");
        let count = |world: &World| world.attempts.as_ref().map_or(0, |it| it.charged);
        let charged = added.iter().filter(|cause| cause.charged()).count();
        assert_eq!(count(after) as usize, count(before) as usize + charged);
    }
    if after.due_ms() == UNDER_REVIEW {
        let crashes = after.attempts.as_ref().map_or(0, Attempts::crashes_in_a_row);
        assert!(crashes >= CRASHES_MAX && after.lease.is_none(), "only crashes ask a person");
    }
    if let Some(lease) = &after.lease {
        let inside = after.inside.contains(&lease.grant);
        assert_eq!(lease.holder != Owner::External, inside, "who holds it stays what it was");
    }
    if let Act::Crash { left: Some(Trace::Survives), .. } = act {
        let inside = before.lease.as_ref().is_some_and(|it| it.holder != Owner::External);
        assert!(!inside || after.lease.is_some(), "what goes on keeps its claim");
    }
}

/// No unit is stuck: something can still happen to it, unless the model's grants are used up.
fn is_free(world: &World) -> bool {
    let spent = world.is_spent() || world.now_ms == LAST_MS || world.approved;
    // Its owners, and crashes, are not needed for that.
    let moves =
        |act: &Act| matches!(act, Act::Grant { .. } | Act::Pass | Act::Expire | Act::Approve);
    world.fate != Fate::Open || spent || world.acts().iter().any(moves)
}

fn search(retry: Retry) -> Seen {
    let mut seen = Seen::default();
    let mut met = HashSet::new();
    let mut waiting = VecDeque::from([World::new()]);
    while let Some(world) = waiting.pop_front() {
        if !met.insert(world.key()) {
            continue;
        }
        seen.fates.insert(format!("{:?}", world.fate));
        assert!(is_free(&world), "{world:?} is stuck");
        for act in world.acts() {
            let after = world.after(act, retry, &mut seen);
            check(&world, act, &after);
            waiting.push_back(after);
        }
    }
    seen.states = met.len();
    seen
}

/// Every order of events, every cause and every decision, with a limit of attempts and without.
///
/// proves: J1, J2, J7
#[test]
fn the_protocol_of_claims_holds_in_every_order() {
    for max_attempts in [0, 2] {
        let seen = search(Retry { max_attempts, backoff: None });
        let causes: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(seen.causes, causes);
        // Keep, Resume, and a settlement for each cause.
        assert_eq!(seen.decisions.len(), Cause::ALL.len() + 2, "{seen:?}");
        assert_eq!(seen.fates.contains("GivenUp"), max_attempts > 0);
        assert!(seen.states > 5_000, "{}", seen.states);
    }
}
