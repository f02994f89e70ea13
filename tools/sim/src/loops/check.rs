//! What must hold of loops behind a crash.

use rekindle_env::{Random, SeededRandom, SimulatedDisk};
use rekindle_services::jobs::Done;
use rekindle_services::loops::{LoopFilter, LoopId, Shown, Status, rebuild, state_hash};
use rekindle_services::queues::{Decision, ReviewId};

use crate::loops::{Known, Run, claim, events, seen, tell, text};
use crate::store::{DIR, Machine, Store};

/// The most rounds that it takes until everything is over.
const ROUNDS: usize = 500;

/// Whether the run step of an execution may be done twice.
///
/// # Errors
/// It cannot be read.
pub fn is_idempotent(store: &Store, id: LoopId) -> Result<bool, String> {
    match store.services.loops().show(id).map_err(text)? {
        Shown::Execution(detail) => Ok(detail.spec.run.idempotent),
        Shown::Plan(_) => Err(format!("{id} is a plan")),
    }
}

/// Nothing that was answered is lost: events, what was used, pauses (but for what `asked` may have
/// changed without an answer).
///
/// # Errors
/// What is broken.
pub fn nothing_lost(
    run: &Run,
    known: &Known,
    next: Option<&Known>,
    store: &Store,
) -> Result<(), String> {
    let found = seen(store)?;
    for (id, before) in &known.executions {
        let Some(now) = found.get(id) else { return Err(format!("execution {id} is gone")) };
        if now.events < before.events {
            return Err(format!(
                "execution {id} had {} events, and has {}",
                before.events, now.events
            ));
        }
        let (was, is) = (before.used, now.used);
        if is.iterations < was.iterations
            || is.attempts < was.attempts
            || is.cost_micros < was.cost_micros
        {
            return Err(format!("execution {id} had used {was:?}, and now {is:?}"));
        }
        let may_change = next.is_none_or(|next| next.executions.get(id) != Some(before));
        if now.paused != before.paused && !may_change {
            return Err(format!("execution {id}: paused was {}", before.paused));
        }
        let (then, now) = (run.events.get(id), events(store, *id)?);
        let count = usize::try_from(before.events).unwrap_or(usize::MAX);
        if then.and_then(|all| all.get(..count)) != now.get(..count) {
            return Err(format!("execution {id} has another history: {now:?}"));
        }
    }
    Ok(())
}

/// The transcripts agree with the journal, line by line: they alone give an equal state.
///
/// # Errors
/// What is broken.
pub fn transcripts_agree(store: &Store, disk: &SimulatedDisk, wall_ms: u64) -> Result<(), String> {
    for _ in 0..3 {
        store.services.tick().map_err(text)?;
    }
    let told = store.services.loops().transcripts();
    if told.behind + told.unchecked + told.failures > 0 {
        return Err(format!("transcripts are not written: {told:?}"));
    }
    if store.services.loops().counts().values().sum::<u64>() == 0 {
        return Ok(());
    }
    let other = SimulatedDisk::new(1);
    let machine = Machine::new(std::sync::Arc::new(other), wall_ms + 1, 77);
    let database = machine.open().map_err(text)?;
    let dir = std::path::Path::new(DIR).join("loops");
    let rebuilt = rebuild(&database, disk, &dir, "", "ada").map_err(text)?;
    let expected = state_hash(&store.database).map_err(text)?;
    if !rebuilt.corrupted_records.is_empty() || rebuilt.state_hash != expected {
        return Err(format!("transcripts say {rebuilt:?}, the journal {expected}"));
    }
    Ok(())
}

/// Everything goes on to its end, and nothing that was handed out and must not be done twice is
/// handed out again. What waits for a person is taken as done.
///
/// # Errors
/// What is broken.
pub fn goes_on(known: &Known, store: &Store, machine: &Machine, seed: u64) -> Result<(), String> {
    let random = SeededRandom::new(seed);
    let mut handed = known.handed.clone();
    let mut idle = 0;
    for _ in 0..ROUNDS {
        let mut done = 0;
        let items = store.services.reviews().list(None, 50).map_err(text)?.0;
        for item in items {
            let ReviewId::Execution(_) = item.id else { continue };
            let decided = store.services.reviews().decide(item.id, Decision::Approve, "on", "ada");
            decided.map_err(text)?;
            done += 1;
        }
        while let Some((claimed, task)) = claim(store)? {
            let step = (task.execution, task.step.iteration, task.step.step);
            let is_once = task.argv == ["run"] && !is_idempotent(store, task.execution)?;
            if is_once && !handed.insert(step) {
                return Err(format!("step {step:?}, attempt {}, is done twice", task.step.attempt));
            }
            let told: &[u8] = match random.next_u64() % 5 {
                0 => br#"{"exit_code":1}"#,
                _ => br#"{"exit_code":0}"#,
            };
            tell(store, &claimed, Done::Complete(told))?;
            done += 1;
        }
        machine.clock.advance_ms(70_000);
        store.services.tick().map_err(text)?;
        idle = if done == 0 { idle + 1 } else { 0 };
        if idle == 3 {
            return over(store);
        }
    }
    Err("it does not come to an end".to_owned())
}

fn over(store: &Store) -> Result<(), String> {
    let page = store.services.loops().list(&LoopFilter::default()).map_err(text)?;
    for it in page.executions {
        let waits = matches!(it.status, Status::Draft | Status::Blocked | Status::Paused);
        if !it.status.is_finished() && !waits {
            return Err(format!("execution {} is {} for ever", it.id, it.status));
        }
    }
    Ok(())
}
