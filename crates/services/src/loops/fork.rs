//! `fork`: a new plan with one execution, which begins as another one stood before an iteration.
//!
//! Invariants: the original is only read. Where the iteration was begun, what is in front of it
//! never changes, so it is read beside the transaction; where it was not, the transaction reads the
//! original's row, so nothing happens to that unnoticed.

use rekindle_database::Transaction;

use crate::audit::{self, NewAudit};
use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::submit::ensure;
use crate::keys::loops as key;
use crate::loops::alter::check_reason;
use crate::loops::calls::Forked;
use crate::loops::event::{Event, PlanRef, What};
use crate::loops::id::LoopId;
use crate::loops::life::{Life, damaged, load_plan, no_loop};
use crate::loops::plan::Spec;
use crate::loops::replay::{First, Replay};
use crate::loops::row::{Far, PlanRow, PlanSpec, Progress};
use crate::loops::start::{new_id, room_for};
use crate::loops::state::{Execution, ForkPoint};
use crate::loops::step::STEPS;
use crate::producers::{Fingerprint, once};

/// Forks an execution.
pub(crate) struct Fork<'a> {
    original: LoopId,
    at: u32,
    why: &'a str,
    who: &'a str,
    new: Forked,
    identity: Option<(Identity, u32)>,
    replay: Replay,
}

/// Where the fork begins.
struct Begins {
    state: Execution,
    spec: Spec,
    first: First,
    /// The last event that was taken over: its number, and when it was, log time.
    last: (u64, u64),
}

impl<'a> Fork<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        core: &Core,
        (original, at): (LoopId, u32),
        why: &'a str,
        who: &'a str,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        check_reason(why, who)?;
        let identity = identity.map(|identity| {
            let fingerprint = Fingerprint::of("loop.fork").bytes(&original.to_bytes());
            let fingerprint = fingerprint.number(u64::from(at)).bytes(why.as_bytes());
            (identity, fingerprint.finish())
        });
        let new = Forked { plan: new_id(&core.database), execution: new_id(&core.database) };
        Ok(Self { original, at, why, who, new, identity, replay: Replay::new(original, at) })
    }

    /// Reads a page of what happened to the original; whether there may be more to read. What is
    /// wrong there is told by the transaction, which may know the answer already.
    pub(crate) fn read(&mut self, core: &Core) -> Result<bool, Error> {
        self.replay.page(core)
    }

    /// How the original stood there.
    fn begins(&mut self, core: &Core, txn: &mut Transaction, now_ms: u64) -> Result<Begins, Stop> {
        let then_ms = match self.replay.begins_ms() {
            Some(then_ms) => then_ms,
            None => self.read_to_its_end(core, txn)?.unwrap_or(now_ms),
        };
        let (number, _, last_ms) = self.replay.last();
        let (execution, first) = self.replay.taken()?.ok_or_else(|| no_loop(self.original))?;
        let least = first.fork.map_or(1, |(_, at)| at);
        let begun = execution.used(then_ms).iterations;
        let most = begun.saturating_add(1);
        // Where it was begun, nothing in front of it has its number.
        if !(least..=most).contains(&self.at) {
            return Err(Stop::Refused(self.no_iteration(first, (least, most))));
        }
        let spec = Spec {
            needs: Vec::new(),
            directory: execution.spec().directory.forked(self.new.execution),
            ..execution.spec().clone()
        };
        let state = execution.forked(self.at, then_ms, now_ms.max(last_ms));
        Ok(Begins { state, spec, first: first.clone(), last: (number, last_ms) })
    }

    /// Takes all that happened to the original, as this transaction sees it. When the iteration
    /// began, if it did meanwhile.
    fn read_to_its_end(&mut self, core: &Core, txn: &mut Transaction) -> Result<Option<u64>, Stop> {
        let Some(life) = Life::load(core, txn, self.original)? else {
            if load_plan(core, txn, self.original)?.is_some() {
                let message = format!(
                    "{0} is a plan; fork one of its executions, see 'rekindle loop show {0}'",
                    self.original
                );
                return Err(Stop::Refused(Error::invalid(message)));
            }
            return Err(Stop::Refused(no_loop(self.original)));
        };
        self.replay.up_to(core, txn, life.row.events)?;
        self.replay.taken()?;
        let (number, chain, _) = self.replay.last();
        if self.replay.begins_ms().is_none() && (number, chain) != (life.row.events, life.row.chain)
        {
            let why = format!(
                "its events up to {number} are not those that its row tells of, up to {}",
                life.row.events
            );
            return Err(damaged("execution", self.original, why));
        }
        Ok(self.replay.begins_ms())
    }

    fn no_iteration(&self, first: &First, (least, most): (u32, u32)) -> Error {
        let (at, original) = (self.at, self.original);
        let before = match first.fork {
            Some((from, _)) if at < least => {
                format!("; it was forked from execution {from}, which has those before")
            }
            _ => String::new(),
        };
        Error::invalid(format!(
            "execution {original} cannot be forked at iteration {at}; use {least} to {most}{before}"
        ))
    }

    fn write(&mut self, core: &Core, txn: &mut Transaction, now_ms: u64) -> Result<Forked, Stop> {
        let Begins { state, spec, first, last: (events, last_ms) } =
            self.begins(core, txn, now_ms)?;
        room_for(core, 1)?;
        ensure(core, txn, spec.worker.as_deref().unwrap_or(STEPS), now_ms)?;
        let Forked { plan, execution } = self.new;
        let original = load_plan(core, txn, first.plan.id)?;
        let original = original.ok_or_else(|| damaged("plan", first.plan.id, "it is missing"))?;
        // A row may have been written by a later log time that was lost.
        let now_ms = now_ms.max(last_ms);
        let row = PlanRow {
            name: first.plan.name.clone(),
            description: original.description.clone(),
            parallel: 1,
            who: self.who.to_owned(),
            created_ms: now_ms,
            draft: false,
            specs: vec![PlanSpec { name: spec.name.clone(), needs: Vec::new(), execution }],
        };
        txn.put(core.keyspaces.loop_plans, &key::encode(plan), &row.encode());
        let progress = Progress(vec![Far::Begun]).encode();
        txn.put(core.keyspaces.loop_progress, &key::encode(plan), &progress);
        let name = spec.name.clone();
        let created = What::Created {
            plan: Box::new(PlanRef {
                id: plan,
                name: row.name,
                description: row.description,
                parallel: 1,
                specs: 1,
                index: 0,
                who: row.who,
            }),
            spec: Box::new(spec),
            draft: false,
            blocked: false,
            fork: Some(Box::new(ForkPoint {
                execution: self.original,
                at: self.at,
                events,
                state,
            })),
        };
        let created = Event { at_ms: now_ms, what: created };
        if Execution::begin(&created).is_none() {
            let why = format!("nothing can begin as it stood before iteration {}", self.at);
            return Err(damaged("execution", self.original, why));
        }
        let life = Life::begin(core, txn, execution, (plan, 0, &name), &created)?;
        life.go_on(core, txn, now_ms)?;
        self.audit(core, txn)?;
        Ok(self.new)
    }

    fn audit(&self, core: &Core, txn: &mut Transaction) -> Result<(), Stop> {
        let Forked { plan, execution } = self.new;
        let target = self.original.to_string();
        let result = format!("execution {execution} of plan {plan}, at iteration {}", self.at);
        let (who, why) = (self.who, self.why);
        let entry = NewAudit { who, action: "loop.fork", target: &target, why, result: &result };
        audit::add(core, txn, &entry)?;
        Ok(())
    }
}

impl Command for Fork<'_> {
    type Value = Forked;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Forked>, Stop> {
        let now_ms = core.database.log_time_ms();
        once(core, txn, self.identity, now_ms, |txn| self.write(core, txn, now_ms))
    }
}

/// What may be shorter goes first: everybody else who waits for this thread has a turn.
pub(crate) async fn turn() {
    let mut had = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut had, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
