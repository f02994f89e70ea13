//! `start`: a plan, its executions and their first steps, in one transaction.

use rekindle_database::{Database, Transaction};

use crate::audit::{self, NewAudit};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::submit::ensure;
use crate::keys::loops as key;
use crate::limits::{LOOP_EXECUTIONS_MAX, LOOP_PLAN_JSON_BYTES_MAX};
use crate::loops::calls::Started;
use crate::loops::event::{Event, PlanRef, What};
use crate::loops::id::LoopId;
use crate::loops::life::Life;
use crate::loops::plan::Plan;
use crate::loops::row::{Far, PlanRow, PlanSpec, Progress};
use crate::loops::step::STEPS;
use crate::producers::{Fingerprint, once};

/// Starts a plan.
pub(crate) struct Start<'a> {
    plan: &'a Plan,
    draft: bool,
    who: &'a str,
    id: LoopId,
    row: PlanRow,
    identity: Option<(Identity, u32)>,
}

impl<'a> Start<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        core: &Core,
        plan: &'a Plan,
        draft: bool,
        who: &'a str,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        NewAudit { who, ..NewAudit::default() }.check()?;
        plan.check().map_err(|wrong| Error::invalid(wrong.join("; ")))?;
        let json = serde_json::to_vec(plan).expect("a plan is text and numbers");
        if json.len() > LOOP_PLAN_JSON_BYTES_MAX {
            let message = format!(
                "the plan has {} bytes as JSON; more than {LOOP_PLAN_JSON_BYTES_MAX} are not taken",
                json.len()
            );
            return Err(Error::invalid(message));
        }
        let identity = identity.map(|identity| {
            let fingerprint = Fingerprint::of("loop").bytes(&json).number(u64::from(draft));
            (identity, fingerprint.finish())
        });
        let index = |name: &String| {
            let found = plan.specs.iter().position(|spec| spec.name == *name);
            found.and_then(|at| u32::try_from(at).ok())
        };
        let mut ids: Vec<LoopId> = plan.specs.iter().map(|_| new_id(&core.database)).collect();
        ids.sort_unstable();
        let specs = plan.specs.iter().zip(ids).map(|(spec, execution)| PlanSpec {
            name: spec.name.clone(),
            needs: spec.needs.iter().filter_map(index).collect(),
            execution,
        });
        let row = PlanRow {
            name: plan.name.clone(),
            description: plan.description.clone(),
            parallel: plan.parallel,
            who: who.to_owned(),
            created_ms: core.database.log_time_ms(),
            draft,
            specs: specs.collect(),
        };
        Ok(Self { plan, draft, who, id: new_id(&core.database), row, identity })
    }

    fn write(&self, core: &Core, txn: &mut Transaction) -> Result<Started, Stop> {
        let Self { plan, draft, who, id, row, .. } = self;
        room_for(core, plan.specs.len())?;
        let now_ms = row.created_ms;
        for kind in plan.specs.iter().map(|spec| spec.worker.as_deref().unwrap_or(STEPS)) {
            // Now, where it can be refused: the end of a step cannot.
            ensure(core, txn, kind, now_ms)?;
        }
        let mut progress = Progress(vec![Far::Waits; plan.specs.len()]);
        let first = progress.can_begin(row);
        for index in &first {
            if let Some(far) = progress.0.get_mut(*index) {
                *far = Far::Begun;
            }
        }
        txn.put(core.keyspaces.loop_plans, &key::encode(*id), &row.encode());
        txn.put(core.keyspaces.loop_progress, &key::encode(*id), &progress.encode());
        for (at, (spec, of)) in plan.specs.iter().zip(&row.specs).enumerate() {
            let index = u32::try_from(at).expect("a plan has few specs");
            let plan = PlanRef {
                id: *id,
                name: plan.name.clone(),
                // Once is enough: a plan may have a thousand specs.
                description: if index == 0 { plan.description.clone() } else { String::new() },
                parallel: plan.parallel,
                specs: u32::try_from(row.specs.len()).expect("a plan has few specs"),
                index,
                who: (*who).to_owned(),
            };
            let created = What::Created {
                plan: Box::new(plan),
                spec: Box::new(spec.clone()),
                draft: *draft,
                blocked: !first.contains(&at),
                fork: None,
            };
            let created = Event { at_ms: now_ms, what: created };
            let of_plan = (*id, index, spec.name.as_str());
            Life::begin(core, txn, of.execution, of_plan, &created)?.go_on(core, txn, now_ms)?;
        }
        let (target, result) = (id.to_string(), format!("{} specs", plan.specs.len()));
        let action = if *draft { "loop.draft" } else { "loop.start" };
        let entry = NewAudit { who, action, target: &target, why: &plan.name, result: &result };
        audit::add(core, txn, &entry)?;
        Ok(Started { plan: *id })
    }
}

impl Command for Start<'_> {
    type Value = Started;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Started>, Stop> {
        let start = &*self;
        once(core, txn, start.identity, start.row.created_ms, |txn| start.write(core, txn))
    }
}

/// Refuses where there is no room for so many more executions.
pub(super) fn room_for(core: &Core, more: usize) -> Result<(), Error> {
    if core.loops.count().saturating_add(more) > LOOP_EXECUTIONS_MAX {
        let message = format!("there are {LOOP_EXECUTIONS_MAX} executions already");
        return Err(Error::new(Kind::Full, message));
    }
    Ok(())
}

/// A new name.
pub(crate) fn new_id(database: &Database) -> LoopId {
    let env = database.env();
    let mut random = [0; 10];
    let words = [env.random.next_u64(), env.random.next_u64()];
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    random.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    LoopId::new(env.clock.wall_ms(), random)
}
