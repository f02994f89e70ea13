//! Looking at plans and executions: one, a page of many, and what happened to one.
//!
//! Invariant: what is told of an execution is read from one snapshot.

use std::collections::HashMap;
use std::ops::Bound;

use rekindle_database::{Snapshot, Transaction};

use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::keys::loops as key;
use crate::limits::{LIST_LOOPS_MAX, LOOP_EVENTS_MAX};
use crate::loops::calls::{
    EventPage, ExecutionDetail, ExecutionInfo, ForkedFrom, LoopFilter, LoopPage, PlanInfo,
    PlanSpecInfo, Shown,
};
use crate::loops::event::{Event, What};
use crate::loops::id::LoopId;
use crate::loops::life::no_loop;
use crate::loops::row::{PlanRow, Stored, parse_event};

/// Events that are shown beside an execution.
const LAST_EVENTS: usize = 20;

fn unread(what: &str, id: LoopId, why: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("{what} {id}: {why}"))
}

fn stored(core: &Core, snapshot: &Snapshot, id: LoopId) -> Result<Option<Stored>, Error> {
    let row = snapshot.get(core.keyspaces.loop_executions, &key::encode(id))?;
    let stored = row.map(|row| Stored::parse(&row.bytes)).transpose();
    stored.map_err(|bad| unread("execution", id, bad))
}

fn plan(core: &Core, snapshot: &Snapshot, id: LoopId) -> Result<Option<PlanRow>, Error> {
    let row = snapshot.get(core.keyspaces.loop_plans, &key::encode(id))?;
    let plan = row.map(|row| PlanRow::parse(&row.bytes)).transpose();
    plan.map_err(|bad| unread("plan", id, bad))
}

fn info(id: LoopId, stored: &Stored, plan_name: String, now_ms: u64) -> ExecutionInfo {
    let state = &stored.state;
    // Without its spec: none of this asks for that.
    ExecutionInfo {
        id,
        plan: stored.plan,
        plan_name,
        spec: stored.name.clone(),
        status: state.status(now_ms.max(stored.updated_ms)),
        draft: state.is_draft(),
        paused: state.is_paused(),
        used: state.used(now_ms.max(stored.updated_ms)),
        charged: state.charged(now_ms.max(stored.updated_ms)),
        step: state.in_flight(),
        job: stored.job().map(|job| job.to_string()),
        review: state.review().cloned(),
        resume_at_ms: stored.wake_ms,
        best_micros: state.best_micros(),
        created_ms: stored.created_ms,
        updated_ms: stored.updated_ms,
        events: stored.events,
    }
}

/// What a list says of an execution, without the name of its plan.
pub(super) fn glance(
    core: &Core,
    snapshot: &Snapshot,
    id: LoopId,
) -> Result<Option<ExecutionInfo>, Error> {
    let now_ms = core.database.log_time_ms();
    let stored = stored(core, snapshot, id)?;
    Ok(stored.map(|stored| info(id, &stored, String::new(), now_ms)))
}

/// A plan or an execution.
pub(super) fn show(core: &Core, id: LoopId) -> Result<Shown, Error> {
    let snapshot = core.database.snapshot()?;
    let now_ms = core.database.log_time_ms();
    if let Some(stored) = stored(core, &snapshot, id)? {
        let named = plan(core, &snapshot, stored.plan)?.map(|plan| plan.name);
        let info = info(id, &stored, named.unwrap_or_default(), now_ms);
        let first = events(core, &snapshot, id, 0, 1)?.0;
        let Some((_, Event { what: What::Created { spec, fork, .. }, .. })) =
            first.into_iter().next()
        else {
            return Err(unread("execution", id, "its first event is missing, or another one"));
        };
        let after = stored.events.saturating_sub(LAST_EVENTS as u64);
        let last = events(core, &snapshot, id, after, LAST_EVENTS)?.0;
        let forked_from = fork.map(|fork| ForkedFrom { execution: fork.execution, at: fork.at });
        let detail = ExecutionDetail { info, spec: *spec, forked_from, last };
        return Ok(Shown::Execution(Box::new(detail)));
    }
    let plan = plan(core, &snapshot, id)?.ok_or_else(|| no_loop(id))?;
    let mut specs = Vec::with_capacity(plan.specs.len());
    for spec in &plan.specs {
        let stored = stored(core, &snapshot, spec.execution)?;
        let stored = stored.ok_or_else(|| unread("execution", spec.execution, "it is missing"))?;
        let name = |index: &u32| {
            let spec = plan.specs.get(usize::try_from(*index).ok()?)?;
            Some(spec.name.clone())
        };
        let needs = spec.needs.iter().filter_map(name).collect();
        let execution = info(spec.execution, &stored, plan.name.clone(), now_ms);
        specs.push(PlanSpecInfo { needs, execution });
    }
    let PlanRow { name, description, parallel, who, created_ms, .. } = plan;
    let plan = PlanInfo { id, name, description, parallel, who, created_ms, specs };
    Ok(Shown::Plan(Box::new(plan)))
}

/// A page of executions.
pub(super) fn list(core: &Core, filter: &LoopFilter<'_>) -> Result<LoopPage, Error> {
    let limit = match filter.limit {
        0 => LIST_LOOPS_MAX,
        limit => limit.min(LIST_LOOPS_MAX),
    };
    let now_ms = core.database.log_time_ms();
    let (ids, more) = core.loops.list(filter.after, filter.newest_first, limit, |entry| {
        let plan = filter.plan.is_none_or(|plan| entry.plan == plan);
        plan && (filter.statuses.is_empty() || filter.statuses.contains(&entry.status))
    });
    let snapshot = core.database.snapshot()?;
    let mut names: HashMap<LoopId, String> = HashMap::new();
    let mut executions = Vec::with_capacity(ids.len());
    for id in ids {
        // One that went in between is in no list.
        let stored = match stored(core, &snapshot, id) {
            Ok(Some(stored)) => stored,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(execution = %id, %error, "an execution cannot be listed");
                continue;
            }
        };
        let name = match names.get(&stored.plan) {
            Some(name) => name.clone(),
            None => {
                let name = plan(core, &snapshot, stored.plan)?.map(|plan| plan.name);
                names.entry(stored.plan).or_insert(name.unwrap_or_default()).clone()
            }
        };
        executions.push(info(id, &stored, name, now_ms));
    }
    Ok(LoopPage { executions, more })
}

/// Events of an execution behind this number.
pub(super) fn page(core: &Core, id: LoopId, after: u64, limit: usize) -> Result<EventPage, Error> {
    let limit = match limit {
        0 => LOOP_EVENTS_MAX,
        limit => limit.min(LOOP_EVENTS_MAX),
    };
    let snapshot = core.database.snapshot()?;
    let stored = stored(core, &snapshot, id)?.ok_or_else(|| no_loop(id))?;
    let (events, more) = events(core, &snapshot, id, after, limit)?;
    let status = stored.state.status(core.database.log_time_ms().max(stored.updated_ms));
    Ok(EventPage { events, more, is_over: status.is_finished() })
}

/// Waits until reads see what was ordered before.
pub(super) struct Change(pub(super) LoopId);

impl Command for Change {
    type Value = ();
    // It adds nothing.
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        txn.get(core.keyspaces.loop_executions, &key::encode(self.0))?;
        Ok(Answer::new(()))
    }
}

type Numbered = Vec<(u64, Event)>;

fn events(
    core: &Core,
    snapshot: &Snapshot,
    id: LoopId,
    after: u64,
    limit: usize,
) -> Result<(Numbered, bool), Error> {
    let (start, end) = (key::event(id, after), key::event(id, u64::MAX));
    let range = (Bound::Excluded(&start[..]), Bound::Included(&end[..]));
    let rows = snapshot.scan(core.keyspaces.loop_events, range, limit + 1, false)?;
    let more = rows.len() > limit;
    let mut events = Vec::with_capacity(rows.len().min(limit));
    for row in rows.iter().take(limit) {
        let (_, number) = key::parse_event(&row.key).map_err(|bad| unread("execution", id, bad))?;
        let event = parse_event(&row.value);
        let event =
            event.map_err(|bad| unread("execution", id, format!("event {number}: {bad}")))?;
        events.push((number, event));
    }
    Ok((events, more))
}
