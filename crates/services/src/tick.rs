//! What is due: leases run out, delays end, abandoned grants go back, old results are trimmed and
//! old producers forgotten.
//!
//! Invariants: leases are taken back in the order of their deadlines, each in a transaction of its
//! own, many on their way at once; one tick is bounded, and one tick runs at a time.

use std::sync::{Arc, PoisonError};

use rekindle_database::Transaction;

use crate::audit::tell_losses;
use crate::claims::expire::{DropOrphans, Expire};
use crate::claims::{Event, Token};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::jobs::retire::Retire;
use crate::jobs::work::{Action as JobAction, Item, Work};
use crate::limits::TOKENS_MAX;
use crate::loops::{Alive, LoopId, Wake};
use crate::producers::forget;
use crate::producers::table::Trim;
use crate::queues::Settled;
use crate::queues::tokens::{Action, Tokens};
use crate::schedules::fire::Fire;
use crate::ticket::Ticket;

/// Leases that are taken back at one time.
const BATCH: usize = 512;
/// Such batches of one tick.
const BATCHES: usize = 16;
/// Producers that one tick looks at.
const PRODUCERS: usize = 256;
/// Chunks of results that one tick trims.
const CHUNKS: usize = 4_096;
/// Those of one transaction.
const CHUNKS_AT_ONCE: usize = 256;
/// When a tick found nothing to wait for.
const IDLE_MS: u64 = 1_000;

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Leases whose deadline had passed and whose messages are ready again.
    pub reclaimed: u64,
    /// Messages that went to a dead-letter queue instead.
    pub dead_lettered: u64,
    /// Delayed messages that became ready.
    pub due: u64,
    /// Leases given back because their receiver went away before it had its answer.
    pub released: u64,
    /// Milliseconds of log time until there may be something to do again.
    pub next_in_ms: u64,
}

impl Ticked {
    /// Adds what a later tick did.
    fn add(&mut self, later: Self) {
        self.reclaimed += later.reclaimed;
        self.dead_lettered += later.dead_lettered;
        self.due += later.due;
        self.released += later.released;
        self.next_in_ms = later.next_in_ms;
    }
}

/// Does what is due now, each part of it whatever became of the others. Answers the first error.
pub(crate) fn tick(core: &Arc<Core>) -> Result<Ticked, Error> {
    let _alone = core.ticking.lock().unwrap_or_else(PoisonError::into_inner);
    tell_losses(core);
    let mut ticked = Ticked::default();
    let now_ms = core.database.log_time_ms();
    let expired = expire(core, now_ms, &mut ticked);
    let released = release_abandoned(core, Event::Abandoned);
    let dropped = drop_orphans(core);
    let trimmed = trim_results(core, now_ms);
    let forgotten = forget_producers(core, now_ms);
    let (scheduled, next_wall_ms) = look_at_jobs(core);
    let retired = retire(core, now_ms);
    let (fired, next_fire_ms) = fire_schedules(core);
    let (woken, next_loop_ms) = wake_loops(core, now_ms);
    ticked.released = *released.as_ref().unwrap_or(&0);
    let next_ms = core.index.next_ms().map(|at| at.saturating_sub(core.database.log_time_ms()));
    let more = *trimmed.as_ref().unwrap_or(&false);
    ticked.due += scheduled;
    let next_ms =
        next_ms.into_iter().chain(next_wall_ms).chain(next_fire_ms).chain(next_loop_ms).min();
    let next_ms = next_ms.unwrap_or(IDLE_MS);
    let more = more || *retired.as_ref().unwrap_or(&false);
    ticked.next_in_ms = if more { 0 } else { next_ms };
    core.ticked.lock().unwrap_or_else(PoisonError::into_inner).add(ticked);
    let done = expired.and(released.map(drop)).and(dropped).and(trimmed.map(drop));
    done.and(forgotten).and(retired.map(drop)).and(fired).and(woken)?;
    Ok(ticked)
}

/// Ends delays, and takes back leases that ran out; one that cannot be read is set aside for a
/// person, or it would be due for ever. All that were begun are seen to their end.
fn expire(core: &Core, now_ms: u64, ticked: &mut Ticked) -> Result<(), Error> {
    for _ in 0..BATCHES {
        let mut expired = Vec::new();
        ticked.due += core.index.due(now_ms, BATCH, &mut expired);
        if expired.is_empty() {
            break;
        }
        let submit = |message| {
            let ticket = core.submit(&mut Expire {
                subject: message,
                event: Event::Time,
                now_ms,
                stale: &[],
            });
            (message, ticket)
        };
        let tickets: Vec<_> = expired.into_iter().map(submit).collect();
        let mut done = Ok(());
        for (message, ticket) in tickets {
            match ticket.and_then(Ticket::wait).map(|answer| answer.value) {
                Ok(Some(Settled::DeadLettered)) => ticked.dead_lettered += 1,
                Ok(Some(_)) => ticked.reclaimed += 1,
                Ok(None) => {}
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::error!(%message, %error, "a lease that ran out is set aside");
                    core.index.set_aside(message, now_ms);
                }
                Err(error) => done = done.and(Err(error)),
            }
        }
        done?;
    }
    Ok(())
}

/// Gives grants back whose receiver went away before it had its answer.
pub(crate) fn release_abandoned(core: &Core, event: Event) -> Result<u64, Error> {
    let mut released = 0;
    loop {
        let tokens: Vec<Token> = {
            let mut abandoned = core.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
            abandoned.take(TOKENS_MAX)
        };
        if tokens.is_empty() {
            return Ok(released);
        }
        let done = give_back(core, event, &tokens);
        match done {
            Ok(count) => released += count,
            Err(error) => {
                // Nothing is lost: the leases run out. But sooner is better.
                let mut abandoned = core.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
                abandoned.extend(tokens);
                return Err(error);
            }
        }
    }
}

/// Gives grants back; answers how many were still theirs.
fn give_back(core: &Core, event: Event, tokens: &[Token]) -> Result<u64, Error> {
    let reason = "the receiver went away before it had the work";
    let (jobs, messages): (Vec<Token>, Vec<Token>) =
        tokens.iter().partition(|token| token.subject.is_job());
    let action = Action::Return { event, reason, delay_ms: 0 };
    let mut messages = Tokens::new(core, None, &messages, action, None)?;
    let jobs: Vec<Item<'_>> =
        jobs.into_iter().map(|token| (token, JobAction::Return(event, reason))).collect();
    let mut jobs = Work::new(&jobs, None)?;
    let (messages, jobs) = (core.submit(&mut messages)?, core.submit(&mut jobs)?);
    let messages = messages.wait()?.value.iter().flatten().count();
    Ok((messages + jobs.wait()?.value.iter().flatten().count()) as u64)
}

/// Jobs whose wall time has come become deliverable, and windows that stay full are told. Answers
/// how many became deliverable, and in how long there is something to look at again.
fn look_at_jobs(core: &Core) -> (u64, Option<u64>) {
    let wall_ms = core.database.env().clock.wall_ms();
    let (due, next_wall_ms) = core.index.due_wall(wall_ms);
    let log_ms = core.database.log_time_ms();
    let (full, next_report_ms) = core.index.backpressure(log_ms);
    for (kind, told) in full {
        let (attempt, backoff_ms) = (told.attempt, told.backoff_ms);
        tracing::info!(r#type = %kind.name, attempt, backoff_ms, "recovery_backpressure");
    }
    let wall = next_wall_ms.map(|at| at.saturating_sub(wall_ms));
    let report = next_report_ms.map(|at| at.saturating_sub(log_ms));
    (due, wall.into_iter().chain(report).min())
}

/// Fires what is due of the schedules, one that cannot be does not hinder the others. Answers in
/// how long the next one is due.
fn fire_schedules(core: &Core) -> (Result<(), Error>, Option<u64>) {
    let wall_ms = core.database.env().clock.wall_ms();
    let (due, next_ms) = core.calendar.due(wall_ms);
    let mut done = Ok(());
    let mut more = false;
    for name in due {
        let fired = core.submit(&mut Fire { name: &name, wall_ms }).and_then(Ticket::wait);
        match fired {
            Ok(fired) => more |= fired.value.more,
            // It stays due: the next tick tries it again.
            Err(error) if matches!(error.kind(), Kind::Full | Kind::Corrupt) => {
                tracing::warn!(schedule = %name, %error, "a schedule is fired later");
            }
            Err(error) => done = done.and(Err(error)),
        }
    }
    let next_ms = next_ms.map(|at| at.saturating_sub(wall_ms));
    (done, if more { Some(0) } else { next_ms })
}

/// Executions of loops whose time has come go on. Answers in how long the next one's comes.
fn wake_loops(core: &Core, now_ms: u64) -> (Result<(), Error>, Option<u64>) {
    let (due, next_ms) = core.loops.due(now_ms, BATCH);
    let more = due.len() == BATCH;
    let wake = |id: LoopId| (id, core.submit(&mut Wake(id)));
    let tickets: Vec<_> = due.into_iter().map(wake).collect();
    let mut done = Ok(());
    for (id, ticket) in tickets {
        match ticket.and_then(Ticket::wait) {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::error!(execution = %id, %error, "an execution cannot go on");
            }
            Err(error) => {
                core.loops.wake_at(id, now_ms.saturating_add(IDLE_MS));
                if error.kind() == Kind::Full {
                    tracing::warn!(execution = %id, %error, "an execution goes on later");
                } else {
                    done = done.and(Err(error));
                }
            }
        }
    }
    if core.loops.tell_alive(now_ms) {
        done = done.and(core.submit(&mut Alive(now_ms)).and_then(Ticket::wait).map(drop));
    }
    let next_ms = next_ms.map(|at| at.saturating_sub(core.database.log_time_ms()));
    (done, if more { Some(0) } else { next_ms })
}

/// Removes finished jobs that were kept for long enough. Whether there may be more.
fn retire(core: &Core, now_ms: u64) -> Result<bool, Error> {
    for _ in 0..BATCHES {
        let jobs = core.index.retired(now_ms, BATCH);
        if jobs.is_empty() {
            return Ok(false);
        }
        let done = core.submit(&mut Retire { jobs: &jobs, now_ms }).and_then(Ticket::wait);
        if let Err(error) = done {
            core.index.keep(&jobs);
            return Err(error);
        }
    }
    Ok(true)
}

/// Removes rows of the index by time whose leases went with a whole range.
fn drop_orphans(core: &Core) -> Result<(), Error> {
    for _ in 0..BATCHES {
        let orphans = core.index.take_orphans(BATCH);
        if orphans.is_empty() {
            break;
        }
        let done = core.submit(&mut DropOrphans(&orphans)).and_then(|ticket| ticket.wait());
        if let Err(error) = done {
            core.index.return_orphans(orphans);
            return Err(error);
        }
    }
    Ok(())
}

/// Trims results that need not be kept, or for which there is no room; producers that say nothing
/// more cannot do it themselves. Whether there is more to do.
fn trim_results(core: &Core, now_ms: u64) -> Result<bool, Error> {
    let due = core.producers.due(now_ms, CHUNKS);
    let more = due.iter().map(|trim| trim.chunks.len()).sum::<usize>() >= CHUNKS;
    let mut tickets = Vec::with_capacity(due.len());
    for Trim { producer, chunks } in due {
        for chunks in chunks.chunks(CHUNKS_AT_ONCE) {
            let ticket = core.submit(&mut TrimChunks(Trim { producer, chunks: chunks.to_vec() }));
            tickets.push((producer, ticket));
        }
    }
    let mut done = Ok(more);
    for (producer, ticket) in tickets {
        match ticket.and_then(Ticket::wait) {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::error!(%error, "the results of a producer are set aside");
                core.producers.set_aside(producer);
            }
            Err(error) => done = done.and(Err(error)),
        }
    }
    done
}

/// Trims chunks of one producer.
struct TrimChunks(Trim);

impl Command for TrimChunks {
    type Value = ();
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        forget::trim(txn, core.keyspaces.producers, &self.0)?;
        Ok(Answer::new(()))
    }
}

/// Forgets producers that were silent for too long.
struct Forget {
    producer: [u8; 16],
    silent_since_ms: u64,
    now_ms: u64,
}

impl Command for Forget {
    type Value = ();
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        let Self { producer, silent_since_ms, now_ms } = self;
        forget::forget(txn, core.keyspaces.producers, producer, *silent_since_ms, *now_ms)?;
        Ok(Answer::new(()))
    }
}

fn forget_producers(core: &Core, now_ms: u64) -> Result<(), Error> {
    let silent_since_ms = now_ms.saturating_sub(core.producers.patience_ms());
    let forget =
        |producer| (producer, core.submit(&mut Forget { producer, silent_since_ms, now_ms }));
    let silent = core.producers.silent(now_ms, PRODUCERS);
    let tickets: Vec<_> = silent.into_iter().map(forget).collect();
    let mut done = Ok(());
    for (producer, ticket) in tickets {
        match ticket.and_then(Ticket::wait) {
            Ok(_) => {}
            // It is remembered: nothing runs twice, and nothing else is held up.
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::error!(%error, "a producer cannot be forgotten");
                core.producers.set_aside(producer);
            }
            Err(error) => done = done.and(Err(error)),
        }
    }
    done
}
