//! What a leader does: gather, take, write, sync, hand on, apply, resolve, or fail.
//!
//! Invariants: leadership passes on before the batch is applied, and the right to apply is taken
//! before leadership passes on; it is given back only after the batch is resolved.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::bench::Bench;
use super::{Group, Guard, SPIN_NANOS, State, Writer};
use crate::api::{Apply, Durability, Durable, Event};
use crate::batch::Batch;
use crate::codec::record::decode_record;
use crate::sync::MutexGuard;

impl<W: Writer> Group<W> {
    /// Steps 6 to 10. The guard is given up while the leader writes, syncs and applies.
    pub(super) fn lead<'a>(&'a self, mut state: Guard<'a>, force_sync: bool) {
        assert!(!state.leading, "at most one leader");
        assert!(state.failed.is_none(), "a failed journal is never led again");
        state.validate(self.config.durability);
        state.leading = true;
        let mut state = self.gather(state);
        if state.failed.is_some() {
            // Poisoned from outside while it gathered: nothing is written any more.
            state.leading = false;
            return;
        }
        let mut batch = take(&mut state);
        let asked = std::mem::take(&mut state.sync_due) || force_sync;
        let sync = asked || self.config.durability == Durability::Strict;
        let room = std::mem::take(&mut state.room_wakers);
        let room_waited = state.room_waits > 0;
        drop(state);
        if room_waited {
            self.room.notify_all();
        }
        room.into_iter().for_each(Waker::wake);

        let before = (self.nanos)();
        let written = self.write(&mut batch, sync);
        let spent = (self.nanos)().saturating_sub(before);
        let durable = match written {
            Ok(durable) => durable,
            Err(reason) => return self.fail(reason),
        };

        let apply = self.apply.lock().expect("a panic while applying ends the process");
        if !self.hand_on(&batch, durable, spent) {
            return;
        }
        if let Err(reason) = apply_batch(&**apply, &batch) {
            drop(apply);
            return self.fail(reason);
        }
        self.resolve(batch, apply);
    }

    /// A leader of a busy journal waits for the clients that were just acknowledged, at most a
    /// quarter of the mean sync, and never when the last group was one.
    fn gather<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let target = state.population;
        let budget = state.mean_sync_nanos / 4;
        if state.last_group <= 1 || state.filling.entries >= target || state.filling.is_empty() {
            return state;
        }
        let deadline = (self.nanos)() + budget;
        state.gather_target = target;
        loop {
            let now = (self.nanos)();
            let full = !state.filling.has_room(0, self.config.batch_bytes);
            if now >= deadline || state.filling.entries >= target || full || state.closed {
                break;
            }
            if budget < SPIN_NANOS {
                state = self.gathered_or_yield(state);
            } else {
                let left = Duration::from_nanos(deadline - now);
                state = self.gathered.wait_timeout(state, left).expect("see lock").0;
            }
        }
        state.gather_target = u32::MAX;
        state
    }

    /// Writes the batch and, where the mode or the caller asks for it, syncs.
    fn write(&self, batch: &mut Batch, sync: bool) -> Result<Option<Durable>, String> {
        let mut writer = self.writer.lock().expect("a panic of a writer ends the process");
        if !batch.is_empty() {
            batch.seal();
            writer.write(batch)?;
        }
        sync.then(|| writer.sync()).transpose()
    }

    /// Step 7: durable moves, leadership goes to a waiter of the filling batch, before applying.
    /// False when the journal was poisoned meanwhile.
    fn hand_on(&self, batch: &Batch, durable: Option<Durable>, spent: u64) -> bool {
        let mut state = self.lock();
        state.leading = false;
        if state.failed.is_some() {
            return false;
        }
        if !batch.is_empty() {
            assert_eq!(state.written + 1, batch.number, "batches are written in order");
            state.written = batch.number;
            state.last_group = batch.entries;
            state.population = batch.entries + state.filling.entries;
        }
        if let Some(durable) = durable {
            debug_assert!(durable.lsn >= state.durable.lsn);
            state.durable = durable;
            state.synced = state.written;
            state.mean_sync_nanos = match state.mean_sync_nanos {
                0 => spent,
                mean => mean - mean / 8 + spent / 8,
            };
        }
        if state.blocked > 0 {
            self.bench(state.filling.number).call_leader();
        } else if state.awaited {
            self.work.notify_one();
        }
        true
    }

    /// Step 9: one wake for the batch's threads, wakers drained outside the locks. The right to
    /// apply is held until the batch is resolved, so that the next one cannot overtake it.
    fn resolve(&self, batch: Batch, applying: MutexGuard<'_, Arc<dyn Apply>>) {
        let number = batch.number;
        let mut state = self.lock();
        let empty = batch.is_empty();
        state.spare.push(batch.into_buffer());
        if empty || state.failed.is_some() {
            return;
        }
        assert_eq!(state.resolved + 1, number, "batches resolve in order");
        state.resolved = number;
        let due = drain_wakers(&mut state.wakers, number);
        drop(state);
        let waited = self.bench(number).resolve(number);
        drop(applying);
        if waited {
            self.bench(number).wake();
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// Step 10: what is written and what is filling is unknown; nothing later is taken.
    pub(super) fn fail(&self, reason: String) {
        let mut state = self.lock();
        state.leading = false;
        state.failed.get_or_insert(reason);
        let due = drain_wakers(&mut state.wakers, u64::MAX);
        let room = std::mem::take(&mut state.room_wakers);
        drop(state);
        self.apply.lock().expect("see lead").event(Event::Lost { term: 0 });
        self.benches.iter().for_each(Bench::fail);
        for condvar in [&self.room, &self.work, &self.gathered] {
            condvar.notify_all();
        }
        due.into_iter().chain(room).for_each(Waker::wake);
    }
}

/// Swaps the filling batch for an empty one; what is empty stays where it is.
fn take(state: &mut State) -> Batch {
    let buffer = state.spare.pop().unwrap_or_default();
    if state.filling.is_empty() {
        return Batch::new(0, 0, buffer);
    }
    let next = Batch::new(state.filling.number + 1, state.filling.next_position(), buffer);
    state.awaited = false;
    state.blocked = 0;
    std::mem::replace(&mut state.filling, next)
}

/// Step 8: the records of a batch, in order, and then that they were applied.
fn apply_batch(apply: &dyn Apply, batch: &Batch) -> Result<(), String> {
    let mut rest = batch.body();
    while !rest.is_empty() {
        let decoded = decode_record(rest);
        let (record, taken) = decoded.map_err(|bad| format!("own record: {}", bad.found))?;
        apply.apply(&record)?;
        rest = rest.get(taken..).unwrap_or_default();
    }
    if !batch.is_empty() {
        apply.event(Event::Applied { position: batch.next_position() - 1 });
    }
    Ok(())
}

/// Takes out the wakers of batches up to `number`.
fn drain_wakers(wakers: &mut Vec<(u64, Waker)>, number: u64) -> Vec<Waker> {
    let mut due = Vec::new();
    let mut at = 0;
    while let Some((batch, _)) = wakers.get(at) {
        if *batch <= number {
            due.push(wakers.swap_remove(at).1);
        } else {
            at += 1;
        }
    }
    due
}
