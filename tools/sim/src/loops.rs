//! Loops on a machine that crashes: what a client asks for, what it was told, and the disk crashed
//! at each of its operations ([`crash`]).
//!
//! Invariant: what is known at a moment is what had been answered by then; a run is a function of
//! its seed.

pub mod check;
pub mod crash;

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use rekindle_env::{Random, SeededRandom, SimulatedDisk};
use rekindle_services::Kind;
use rekindle_services::jobs::{ClaimRequest, Claimed, Done, Failure};
use rekindle_services::loops::{
    Ask, Budget, Event, LoopFilter, LoopId, Plan, STEPS, Spec, Step, StepRef, Task, Used,
};
use rekindle_services::queues::{Decision, ReviewId};

use crate::jobs::execute::finish;
use crate::store::{Machine, Store};

/// When the run begins, wall clock.
pub const START_MS: u64 = 1_700_000_000_000;

/// A step that was handed out and must not be done twice.
pub type Handed = (LoopId, u32, u32);

/// What a client knows of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many events it had.
    pub events: u64,
    /// What it had used.
    pub used: Used,
    /// A person had paused it.
    pub paused: bool,
}

/// What a client knows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The executions.
    pub executions: BTreeMap<LoopId, Seen>,
    /// Steps that were handed out, and must not be done twice.
    pub handed: BTreeSet<Handed>,
    /// Of these, those that a person has had done again.
    pub again: BTreeSet<Handed>,
}

/// A run: its disk, what was known at each mark, and what had happened in the end.
#[derive(Debug)]
pub struct Run {
    /// The disk, with a mark behind each answer.
    pub disk: SimulatedDisk,
    /// What was known at each mark.
    pub known: Vec<Known>,
    /// The wall clock at each mark.
    pub wall_ms: Vec<u64>,
    /// All events of each execution in the end.
    pub events: BTreeMap<LoopId, Vec<Event>>,
}

/// The steps that a plan here has.
fn specs(count: u64, idempotent: bool) -> Vec<Spec> {
    let step = |word: &str, idempotent| Step {
        argv: vec![word.to_owned()],
        idempotent,
        time_limit_ms: 60_000,
    };
    let spec = |at: u64| Spec {
        name: format!("s{at}"),
        needs: if at % 2 == 1 { vec![format!("s{}", at - 1)] } else { vec![] },
        run: step("run", idempotent),
        checks: vec![step("check", true)],
        budget: Budget { iterations: 9, ..Budget::default() },
        stuck_after: Some(4),
        ..Spec::default()
    };
    (0..count).map(spec).collect()
}

/// Claims the next step as the server's own executor does.
///
/// # Errors
/// A claim that is refused.
pub fn claim(store: &Store) -> Result<Option<(Claimed, Task)>, String> {
    let request = ClaimRequest { types: &[STEPS], max: 1, lease_ms: None, worker: "loop" };
    let claimed = finish(store, store.services.jobs().claim_inside(&request, ready(())))?;
    let Some(claimed) = claimed.map_err(text)?.value.pop() else { return Ok(None) };
    let task: Task = Task::read(claimed.payload()).ok_or("no task")?;
    Ok(Some((claimed, task)))
}

/// Says how a step ended.
///
/// # Errors
/// The end of a step that one has is refused.
pub fn tell(store: &Store, claimed: &Claimed, done: Done<'_>) -> Result<(), String> {
    let done = store.services.jobs().done(&[(claimed.token, done)], None).map_err(text)?;
    let Some(result) = done.value.into_iter().next() else { return Err("no answer".to_owned()) };
    result.map(drop).map_err(text)
}

/// All executions as a client sees them.
///
/// # Errors
/// They cannot be listed.
pub fn seen(store: &Store) -> Result<BTreeMap<LoopId, Seen>, String> {
    let page = store.services.loops().list(&LoopFilter::default()).map_err(text)?;
    let seen = page
        .executions
        .into_iter()
        .map(|it| (it.id, Seen { events: it.events, used: it.used, paused: it.paused }));
    Ok(seen.collect())
}

/// All events of an execution.
///
/// # Errors
/// They cannot be read.
pub fn events(store: &Store, id: LoopId) -> Result<Vec<Event>, String> {
    let page = store.services.loops().events(id, 0, 0).map_err(text)?;
    Ok(page.events.into_iter().map(|(_, event)| event).collect())
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Whether a step must not be done twice.
#[must_use]
pub fn is_once(step: StepRef, idempotent: bool) -> bool {
    step.step == 0 && !idempotent
}

/// A client at work.
struct Client {
    store: Store,
    machine: Machine,
    random: SeededRandom,
    known: Known,
    held: Vec<(Claimed, Task)>,
}

/// Runs so many requests.
///
/// # Errors
/// A request that must not be refused is.
pub fn run(seed: u64, requests: usize) -> Result<Run, String> {
    let disk = SimulatedDisk::new(seed);
    let machine = Machine::new(std::sync::Arc::new(disk.clone()), START_MS, seed);
    let store = machine.start(None)?;
    let random = SeededRandom::new(seed ^ 1);
    let (known, held) = (Known::default(), Vec::new());
    let mut client = Client { store, machine, random, known, held };
    let mut run = Run { disk, known: Vec::new(), wall_ms: Vec::new(), events: BTreeMap::new() };
    for _ in 0..requests {
        client.one()?;
        client.known.executions = seen(&client.store)?;
        run.disk.mark(run.known.len() as u64);
        run.known.push(client.known.clone());
        run.wall_ms.push(client.store.now().wall_ms);
    }
    for id in client.known.executions.keys() {
        run.events.insert(*id, events(&client.store, *id)?);
    }
    Ok(run)
}

impl Client {
    fn below(&self, max: usize) -> usize {
        usize::try_from(self.random.next_u64() % max.max(1) as u64).unwrap_or(0)
    }

    /// One request of any kind.
    fn one(&mut self) -> Result<(), String> {
        match self.below(20) {
            0 | 1 => self.start(),
            2..=6 => self.claim(),
            7..=13 => self.end(),
            14 => self.store.database.checkpoint().map_err(text),
            15 | 16 => {
                let ms = [1, 1_500, 70_000].get(self.below(3)).copied().unwrap_or(0);
                self.machine.clock.advance_ms(ms);
                self.store.services.tick().map(drop).map_err(text)
            }
            17 => self.decide(),
            _ => self.alter(),
        }
    }

    fn start(&mut self) -> Result<(), String> {
        let specs = specs(1 + self.below(3) as u64, self.below(3) == 0);
        let (name, description) = ("plan".to_owned(), "for the simulator".to_owned());
        let plan = Plan { name, description, parallel: 2, specs };
        let draft = self.below(5) == 0;
        self.store.services.loops().start(&plan, draft, "ada", None).map(drop).map_err(text)
    }

    fn claim(&mut self) -> Result<(), String> {
        if let Some((claimed, task)) = claim(&self.store)? {
            if task.argv == ["run"] && !check::is_idempotent(&self.store, task.execution)? {
                let step = (task.execution, task.step.iteration, task.step.step);
                if !self.known.handed.insert(step) && !self.known.again.contains(&step) {
                    return Err(format!("{step:?} is handed out twice"));
                }
            }
            self.held.push((claimed, task));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        if self.held.is_empty() {
            return self.claim();
        }
        let at = self.below(self.held.len());
        let (claimed, _) = self.held.swap_remove(at);
        let failure = Failure { error: "went wrong", ..Failure::default() };
        let done = match self.below(4) {
            0 => Done::Fail(failure),
            1 => Done::Complete(br#"{"exit_code":1,"output":"no"}"#),
            _ => Done::Complete(br#"{"exit_code":0,"progress":1}"#),
        };
        // It may have been called off meanwhile.
        let _fenced = tell(&self.store, &claimed, done);
        Ok(())
    }

    fn decide(&mut self) -> Result<(), String> {
        let items = self.store.services.reviews().list(None, 9).map_err(text)?.0;
        let Some(item) = items.first() else { return Ok(()) };
        let which = if self.below(2) == 0 { Decision::Approve } else { Decision::Fail };
        let ReviewId::Execution(_) = item.id else { return Ok(()) };
        let decided = self.store.services.reviews().decide(item.id, which, "so", "ada");
        decided.map(drop).map_err(text)
    }

    fn alter(&mut self) -> Result<(), String> {
        let ids: Vec<LoopId> = self.known.executions.keys().copied().collect();
        let Some(id) = ids.get(self.below(ids.len())) else { return Ok(()) };
        let Some(ask) = Ask::ALL.get(self.below(Ask::ALL.len())) else { return Ok(()) };
        match self.store.services.loops().alter(*id, *ask, "so", "ada", None) {
            Err(error) if error.kind() != Kind::Conflict => Err(text(error)),
            _ => Ok(()),
        }
    }
}
