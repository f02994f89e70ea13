//! The other way round: plans and executions are made again from their transcripts alone.
//!
//! ```text
//! files of an execution ─▶ lines that can be trusted ─▶ fold ─▶ its rows
//! first events of all executions ─▶ their plans, and how far these are
//! ```
//! Invariants: what is made is what the events say, so a whole transcript gives the rows that it
//! was written from; of a damaged one everything before the damage; whatever cannot be trusted is
//! told. This half is pure.

pub(crate) mod write;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::keys::loops as key;
use crate::limits::LOOP_SPECS_MAX;
use crate::loops::event::{Event, PlanRef, What};
use crate::loops::id::LoopId;
use crate::loops::plan::{Spec, Step};
use crate::loops::row::{
    Far, PlanRow, PlanSpec, Progress, Stored, chain, encode_event, parse_event,
};
use crate::loops::state::{Execution, Status};
use crate::loops::transcript::CorruptedRecord;
use crate::loops::transcript::read::Gathered;

/// What was made again from transcripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Plans that were made again.
    pub plans: u64,
    /// Executions that were made again.
    pub executions: u64,
    /// Their events.
    pub events: u64,
    /// Of these executions: they would go on by themselves, and wait for a person instead.
    pub set_aside: u64,
    /// Executions that the store has already, as far as their transcripts go or further.
    pub kept: u64,
    /// The sum of everything that the transcripts say, as [`write::state_hash`] has it of a
    /// store.
    pub state_hash: String,
    /// What could not be trusted.
    pub corrupted_records: Vec<CorruptedRecord>,
}

/// An execution as its transcript has it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: LoopId,
    pub(crate) plan: PlanRef,
    /// The names of the specs that it needs.
    pub(crate) needs: Vec<String>,
    pub(crate) draft: bool,
    pub(crate) stored: Stored,
    /// Events behind the damage that ends it, which are lost.
    pub(crate) lost: u64,
}

/// A plan that was made again.
#[derive(Debug)]
pub(crate) struct PlanOf {
    pub(crate) row: PlanRow,
    pub(crate) progress: Progress,
    /// Executions that stand for those of which there is no transcript, and which specs of it.
    pub(crate) stand_ins: Vec<(LoopId, u32)>,
}

/// A sum over rows that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(u128);

impl Sum {
    fn add(&mut self, keyspace: u8, key: &[u8], value: &[u8]) {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&[keyspace]);
        hash.update(&(key.len() as u64).to_le_bytes());
        hash.update(key);
        hash.update(value);
        self.0 = self.0.wrapping_add(hash.digest128());
    }

    pub(crate) fn plan(&mut self, id: LoopId, row: &PlanRow, progress: &Progress) {
        self.add(0, &key::encode(id), &row.encode());
        self.add(1, &key::encode(id), &progress.encode());
    }

    /// Without what only the store knows: the job of its step, and when it is looked at again.
    pub(crate) fn execution(&mut self, id: LoopId, stored: &Stored) {
        let stored = Stored { wake_ms: None, job: None, ..stored.clone() };
        self.add(2, &key::encode(id), &stored.encode());
    }

    pub(crate) fn event(&mut self, id: LoopId, number: u64, row: &[u8]) {
        self.add(3, &key::event(id, number), row);
    }

    pub(crate) fn text(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// Makes an execution from the lines of its transcript, up to the first damage. What is behind
/// that is taken out of `gathered`, and told in its records.
pub(crate) fn make(id: LoopId, file: &str, gathered: &mut Gathered) -> Option<Made> {
    let mut made: Option<Made> = None;
    let mut wrong = None;
    let all = gathered.events.len();
    for (at, (number, (row, told))) in (1_u64..).zip(&gathered.events) {
        if let Err(reason) = take(&mut made, id, at, (*number, row, *told)) {
            wrong = Some((at, reason));
            break;
        }
    }
    if let Some((at, reason)) = wrong {
        let behind = gathered.events.split_off(&at);
        let reason = match behind.len() {
            0 | 1 => reason,
            more => format!("{reason}; it and {} events behind it are lost", more - 1),
        };
        gathered.records.push(CorruptedRecord { file: file.to_owned(), line: 0, reason });
    }
    let lost = all.saturating_sub(gathered.events.len()) as u64;
    let mut made = made?;
    made.lost = lost;
    Some(made)
}

/// The event with this number happens.
fn take(
    made: &mut Option<Made>,
    id: LoopId,
    expected: u64,
    (number, row, told): (u64, &[u8], u64),
) -> Result<(), String> {
    if number != expected {
        return Err(format!("event {expected} is missing"));
    }
    let event = parse_event(row).map_err(|bad| format!("event {number}: {bad}"))?;
    let before = made.as_ref().map_or(0, |made| made.stored.chain);
    let chain = chain(before, number, row);
    if chain != told {
        return Err(format!("event {number} does not go on from the one before"));
    }
    let Some(made) = made else {
        *made = Some(first(id, &event, chain)?);
        return Ok(());
    };
    let applied = made.stored.state.apply(&event);
    applied.map_err(|refused| format!("event {number} cannot have happened: {refused}"))?;
    made.stored.events = number;
    made.stored.chain = chain;
    made.stored.updated_ms = event.at_ms;
    Ok(())
}

fn first(id: LoopId, event: &Event, chain: u64) -> Result<Made, String> {
    let state = Execution::begin(event).ok_or("event 1 is not how an execution begins")?;
    let What::Created { plan, spec, draft, .. } = &event.what else {
        return Err("event 1 is not how an execution begins".to_owned());
    };
    let specs = usize::try_from(plan.specs).unwrap_or(usize::MAX);
    if specs > LOOP_SPECS_MAX || plan.index >= plan.specs {
        return Err(format!("it is spec {} of {} of its plan", plan.index, plan.specs));
    }
    let stored = Stored {
        plan: plan.id,
        index: plan.index,
        name: spec.name.clone(),
        events: 1,
        chain,
        created_ms: event.at_ms,
        updated_ms: event.at_ms,
        wake_ms: None,
        job: None,
        state,
    };
    let (needs, draft) = (spec.needs.clone(), *draft);
    Ok(Made { id, plan: (**plan).clone(), needs, draft, stored, lost: 0 })
}

/// How far the spec of an execution is.
pub(crate) fn far(stored: &Stored) -> Far {
    match stored.state.status(stored.updated_ms) {
        Status::Completed => Far::Completed,
        status if status.is_finished() => Far::Ended,
        _ if stored.state.is_blocked() => Far::Waits,
        _ => Far::Begun,
    }
}

/// The plan of these executions, and how far it is; `lost` is asked for the names of executions
/// that stand for those of which there is no transcript.
pub(crate) fn plan(made: &[Made], mut lost: impl FnMut() -> LoopId) -> Option<PlanOf> {
    let any = made.first()?;
    let by_index: BTreeMap<u32, &Made> = made.iter().map(|made| (made.plan.index, made)).collect();
    let name = |index: u32| match by_index.get(&index) {
        Some(made) => made.stored.name.clone(),
        None => lost_name(index),
    };
    let names: Vec<String> = (0..any.plan.specs).map(name).collect();
    let index = |name: &String| {
        let at = names.iter().position(|it| it == name)?;
        u32::try_from(at).ok()
    };
    let mut specs = Vec::with_capacity(names.len());
    let (mut progress, mut stand_ins) = (Vec::with_capacity(names.len()), Vec::new());
    for (at, name) in (0_u32..).zip(&names) {
        let (needs, execution, far) = match by_index.get(&at) {
            Some(made) => {
                let needs = made.needs.iter().filter_map(index).collect();
                (needs, made.id, far(&made.stored))
            }
            None => {
                let id = lost();
                stand_ins.push((id, at));
                (Vec::new(), id, Far::Ended)
            }
        };
        specs.push(PlanSpec { name: name.clone(), needs, execution });
        progress.push(far);
    }
    let described = by_index.get(&0).map(|made| made.plan.description.clone());
    let row = PlanRow {
        name: any.plan.name.clone(),
        description: described.unwrap_or_default(),
        parallel: any.plan.parallel,
        who: any.plan.who.clone(),
        created_ms: any.stored.created_ms,
        draft: any.draft,
        specs,
    };
    Some(PlanOf { row, progress: Progress(progress), stand_ins })
}

fn lost_name(index: u32) -> String {
    format!("lost-{index}")
}

/// An execution that stands for one of which there is no transcript: it has failed, and says why.
/// Its row and those of its events.
pub(crate) fn stand_in(of: &Made, index: u32, now_ms: u64) -> (Stored, Vec<Vec<u8>>) {
    let why = "its transcript is lost; this stands in its place".to_owned();
    let run = Step { argv: vec!["false".to_owned()], idempotent: true, time_limit_ms: 1_000 };
    let spec = Spec { name: lost_name(index), run, ..Spec::default() };
    let plan = PlanRef { index, description: String::new(), ..of.plan.clone() };
    let (plan, name) = (Box::new(plan), spec.name.clone());
    let what =
        What::Created { plan, spec: Box::new(spec), draft: false, blocked: false, fork: None };
    let created = Event { at_ms: now_ms, what };
    let failed = Event { at_ms: now_ms, what: What::Failed { why } };
    let mut state = Execution::begin(&created).expect("the first event makes an execution");
    state.apply(&failed).expect("what has just begun can fail");
    let rows = [encode_event(&created), encode_event(&failed)];
    let chain = (1_u64..).zip(&rows).fold(0, |before, (number, row)| chain(before, number, row));
    let stored = Stored {
        plan: of.plan.id,
        index,
        name,
        events: 2,
        chain,
        created_ms: now_ms,
        updated_ms: now_ms,
        wake_ms: None,
        job: None,
        state,
    };
    (stored, rows.into())
}
