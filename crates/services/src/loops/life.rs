//! An execution inside a transaction: its events happen, and what follows from them is begun.
//!
//! Invariants: what happens, the fold of it and what it begins (a job, an end, the specs behind it)
//! are one transaction; nothing is begun that [`next`] does not say.

use std::sync::Arc;

use rekindle_database::Transaction;

use crate::claims::Subject;
use crate::error::{Error, Kind};
use crate::exec::{Core, Stop};
use crate::keys::loops as key;
use crate::loops::event::{Event, StepRef, What};
use crate::loops::id::LoopId;
use crate::loops::next::{Next, next};
use crate::loops::plan::Spec;
use crate::loops::row::{self, Far, PlanRow, Progress, Stored, chain};
use crate::loops::state::{Execution, Status};
use crate::loops::step;

/// An execution that a transaction reads, and may change.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) id: LoopId,
    pub(crate) row: Stored,
    /// Something happened that is not written yet.
    changed: bool,
}

/// There is no such plan or execution.
pub(crate) fn no_loop(id: LoopId) -> Error {
    let message = format!("there is no plan or execution {id}; see 'rekindle loop list'");
    Error::new(Kind::NotFound, message)
}

/// A row that cannot be read.
pub(crate) fn damaged(what: &str, id: LoopId, why: impl std::fmt::Display) -> Stop {
    Stop::Refused(Error::corrupt(format!("{what} {id}: {why}")))
}

impl Life {
    /// A new one: its first event happens.
    pub(crate) fn begin(
        core: &Core,
        txn: &mut Transaction,
        id: LoopId,
        (plan, index, name): (LoopId, u32, &str),
        created: &Event,
    ) -> Result<Self, Stop> {
        let state = Execution::begin(created).expect("the first event makes an execution");
        let bytes = row::encode_event(created);
        txn.put(core.keyspaces.loop_events, &key::event(id, 1), &bytes);
        let row = Stored {
            plan,
            index,
            name: name.to_owned(),
            events: 1,
            chain: chain(0, 1, &bytes),
            created_ms: created.at_ms,
            updated_ms: created.at_ms,
            wake_ms: None,
            job: None,
            state,
        };
        Ok(Self { id, row, changed: true })
    }

    /// One that is there; `None`: it is not.
    pub(crate) fn load(
        core: &Core,
        txn: &mut Transaction,
        id: LoopId,
    ) -> Result<Option<Self>, Stop> {
        let Some(row) = txn.get(core.keyspaces.loop_executions, &key::encode(id))? else {
            return Ok(None);
        };
        let mut row = Stored::parse(&row.bytes).map_err(|bad| damaged("execution", id, bad))?;
        let spec = spec(core, txn, id)?;
        row.state = row.state.with_spec(spec);
        Ok(Some(Self { id, row, changed: false }))
    }

    /// How it stands.
    pub(crate) fn status(&self, now_ms: u64) -> Status {
        self.row.state.status(now_ms)
    }

    /// This happens to it.
    pub(crate) fn happens(
        &mut self,
        core: &Core,
        txn: &mut Transaction,
        what: What,
        now_ms: u64,
    ) -> Result<(), Stop> {
        // Log time does not go back, but a row may have been written by a later one that was lost.
        let at_ms = now_ms.max(self.row.updated_ms);
        let event = Event { at_ms, what };
        self.row.state.apply(&event).map_err(|refused| {
            let message = format!("execution {}: {refused}", self.id);
            Stop::Refused(Error::new(Kind::Conflict, message))
        })?;
        let number = self.row.events + 1;
        let bytes = row::encode_event(&event);
        txn.put(core.keyspaces.loop_events, &key::event(self.id, number), &bytes);
        self.row.chain = chain(self.row.chain, number, &bytes);
        self.row.events = number;
        self.row.updated_ms = at_ms;
        self.changed = true;
        Ok(())
    }

    /// Begins what is to be done now, and writes it all. What its end lets begin is begun, too.
    pub(crate) fn go_on(
        mut self,
        core: &Core,
        txn: &mut Transaction,
        now_ms: u64,
    ) -> Result<Status, Stop> {
        let before = self.status(now_ms);
        self.begin_next(core, txn, now_ms)?;
        let status = self.status(now_ms);
        let end = (status.is_finished()).then_some((self.row.plan, self.row.index));
        self.write(core, txn);
        if let Some((plan, index)) = end {
            let far = if status == Status::Completed { Far::Completed } else { Far::Ended };
            debug_assert!(before == status || !before.is_finished());
            over(core, txn, (plan, index), far, now_ms)?;
        }
        Ok(status)
    }

    /// Begins what is to be done now.
    fn begin_next(&mut self, core: &Core, txn: &mut Transaction, now_ms: u64) -> Result<(), Stop> {
        self.row.wake_ms = None;
        let now_ms = now_ms.max(self.row.updated_ms);
        match next(&self.row.state, now_ms) {
            Next::Nothing => Ok(()),
            Next::Wait(at_ms) => {
                self.row.wake_ms = Some(at_ms);
                self.changed = true;
                Ok(())
            }
            Next::Step(step) => self.begin_step(core, txn, step, now_ms),
            Next::Complete => self.happens(core, txn, What::Completed, now_ms),
            Next::Fail(why) => self.happens(core, txn, What::Failed { why }, now_ms),
            Next::Ask(reason) => self.happens(core, txn, What::SetAside { reason }, now_ms),
        }
    }

    /// The intent, and the job that does it.
    fn begin_step(
        &mut self,
        core: &Core,
        txn: &mut Transaction,
        step: StepRef,
        now_ms: u64,
    ) -> Result<(), Stop> {
        self.happens(core, txn, What::StepStarted(step), now_ms)?;
        let job = step::submit(core, txn, self, step, now_ms)?;
        self.row.job = Some((job.line, job.number));
        Ok(())
    }

    /// The step that was begun is over: its job is none of its any more.
    pub(crate) fn forget_job(&mut self) -> Option<Subject> {
        let job = self.row.job();
        self.row.job = None;
        job
    }

    /// Writes it, where something happened.
    pub(crate) fn write(self, core: &Core, txn: &mut Transaction) {
        if self.changed {
            txn.put(core.keyspaces.loop_executions, &key::encode(self.id), &self.row.encode());
        }
    }
}

/// What an execution is to do, as its first event says; it never changes.
fn spec(core: &Core, txn: &mut Transaction, id: LoopId) -> Result<Arc<Spec>, Stop> {
    if let Some(spec) = core.loops.spec(id) {
        return Ok(spec);
    }
    let row = txn.get(core.keyspaces.loop_events, &key::event(id, 1))?;
    let row = row.ok_or_else(|| damaged("execution", id, "its first event is missing"))?;
    let event = row::parse_event(&row.bytes).map_err(|bad| damaged("execution", id, bad))?;
    let What::Created { spec, .. } = event.what else {
        return Err(damaged("execution", id, "its first event is another one"));
    };
    let spec = Arc::new(*spec);
    core.loops.keep_spec(id, &spec);
    Ok(spec)
}

/// A plan.
pub(crate) fn load_plan(
    core: &Core,
    txn: &mut Transaction,
    id: LoopId,
) -> Result<Option<PlanRow>, Stop> {
    let Some(row) = txn.get(core.keyspaces.loop_plans, &key::encode(id))? else { return Ok(None) };
    Ok(Some(PlanRow::parse(&row.bytes).map_err(|bad| damaged("plan", id, bad))?))
}

/// A plan, and how far it is.
fn of_plan(core: &Core, txn: &mut Transaction, id: LoopId) -> Result<(PlanRow, Progress), Stop> {
    let plan = load_plan(core, txn, id)?.ok_or_else(|| damaged("plan", id, "it is missing"))?;
    let row = txn.get(core.keyspaces.loop_progress, &key::encode(id))?;
    let row = row.ok_or_else(|| damaged("plan", id, "how far it is is missing"))?;
    let progress = Progress::parse(&row.bytes).map_err(|bad| damaged("plan", id, bad))?;
    Ok((plan, progress))
}

/// A spec of a plan is over, or begins again: what comes behind it begins.
pub(crate) fn over(
    core: &Core,
    txn: &mut Transaction,
    (plan_id, index): (LoopId, u32),
    far: Far,
    now_ms: u64,
) -> Result<(), Stop> {
    let key = key::encode(plan_id);
    let (plan, mut progress) = match of_plan(core, txn, plan_id) {
        Ok(both) => both,
        // What ends ends all the same; what is behind it waits for somebody to look.
        Err(Stop::Refused(error)) => {
            tracing::error!(plan = %plan_id, %error, "nothing more of a plan begins");
            return Ok(());
        }
        Err(failed) => return Err(failed),
    };
    let place = usize::try_from(index).ok().and_then(|index| progress.0.get_mut(index));
    match place {
        Some(place) if *place != far => *place = far,
        _ => return Ok(()),
    }
    let ready = progress.can_begin(&plan);
    for &index in &ready {
        if let Some(place) = progress.0.get_mut(index) {
            *place = Far::Begun;
        }
    }
    txn.put(core.keyspaces.loop_progress, &key, &progress.encode());
    let executions = ready.iter().filter_map(|index| plan.specs.get(*index));
    for execution in executions.map(|spec| spec.execution) {
        let mut life = match Life::load(core, txn, execution) {
            Ok(Some(life)) => life,
            Ok(None) => continue,
            Err(Stop::Refused(error)) => {
                tracing::error!(%execution, %error, "an execution does not begin");
                continue;
            }
            Err(failed) => return Err(failed),
        };
        if life.row.state.is_blocked() {
            life.happens(core, txn, What::Unblocked, now_ms)?;
        }
        life.begin_next(core, txn, now_ms)?;
        debug_assert!(!life.status(now_ms).is_finished(), "none is over before its first step");
        life.write(core, txn);
    }
    Ok(())
}
