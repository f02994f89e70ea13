//! An execution once more, from its events: up to where an iteration begins, or to its end.
//!
//! Invariants: events are taken in the order of their numbers, without gaps, and what is taken once
//! stays taken: an event never changes. The first one that is missing, cannot be read or cannot be
//! is named, and nothing is taken behind it.

use rekindle_database::Transaction;

use crate::error::Error;
use crate::exec::{Core, Stop};
use crate::keys::loops as key;
use crate::limits::LOOP_EVENTS_MAX;
use crate::loops::event::{Event, PlanRef, StepRef, What};
use crate::loops::id::LoopId;
use crate::loops::row::{chain, parse_event};
use crate::loops::state::Execution;

/// What the first event says beside the spec.
#[derive(Clone, Debug)]
pub(super) struct First {
    /// The plan.
    pub(super) plan: Box<PlanRef>,
    /// What it was forked from, and at which iteration.
    pub(super) fork: Option<(LoopId, u32)>,
}

/// The fold of the events of an execution that were taken.
#[derive(Debug)]
pub(super) struct Replay {
    id: LoopId,
    at: u32,
    first: Option<First>,
    execution: Option<Execution>,
    number: u64,
    chain: u64,
    at_ms: u64,
    begins_ms: Option<u64>,
    damage: Option<Error>,
}

impl Replay {
    /// Of this execution, up to the first step of this iteration.
    pub(super) fn new(id: LoopId, at: u32) -> Self {
        Self {
            id,
            at,
            first: None,
            execution: None,
            number: 0,
            chain: 0,
            at_ms: 0,
            begins_ms: None,
            damage: None,
        }
    }

    /// Takes a page of what is applied; whether there may be more to take.
    pub(super) fn page(&mut self, core: &Core) -> Result<bool, Error> {
        use std::ops::Bound::{Excluded, Included};
        let snapshot = core.database.snapshot()?;
        let (start, end) = (key::event(self.id, self.number), key::event(self.id, u64::MAX));
        let range = (Excluded(&start[..]), Included(&end[..]));
        let rows = snapshot.scan(core.keyspaces.loop_events, range, LOOP_EVENTS_MAX, false)?;
        for row in &rows {
            match key::parse_event(&row.key) {
                Ok((_, number)) => self.take(number, &row.value),
                Err(bad) => self.damaged(format!("a key behind event {}: {bad}", self.number)),
            }
        }
        Ok(!self.is_done() && rows.len() == LOOP_EVENTS_MAX)
    }

    /// Takes what is missing up to the event with this number, as a transaction sees it.
    pub(super) fn up_to(
        &mut self,
        core: &Core,
        txn: &mut Transaction,
        last: u64,
    ) -> Result<(), Stop> {
        while !self.is_done() && self.number < last {
            let number = self.number.saturating_add(1);
            match txn.get(core.keyspaces.loop_events, &key::event(self.id, number))? {
                Some(row) => self.take(number, &row.bytes),
                None => self.damaged(format!("event {number} is missing")),
            }
        }
        Ok(())
    }

    /// Takes an event, unless it is behind where the iteration begins.
    pub(super) fn take(&mut self, number: u64, bytes: &[u8]) {
        if self.is_done() {
            return;
        }
        let expected = self.number.saturating_add(1);
        if number != expected {
            return self.damaged(format!("event {expected} is missing"));
        }
        let event = match parse_event(bytes) {
            Ok(event) => event,
            Err(bad) => return self.damaged(format!("event {number}: {bad}")),
        };
        let begins = |step: &StepRef| step.iteration == self.at;
        if matches!(&event.what, What::StepStarted(step) if begins(step)) && self.number > 0 {
            self.begins_ms = Some(event.at_ms);
            return;
        }
        if let Err(why) = self.fold(&event) {
            return self.damaged(format!("event {number}: {why}"));
        }
        self.number = number;
        self.chain = chain(self.chain, number, bytes);
        self.at_ms = self.at_ms.max(event.at_ms);
    }

    fn fold(&mut self, event: &Event) -> Result<(), String> {
        if let Some(execution) = &mut self.execution {
            return execution.apply(event).map_err(|refused| refused.to_string());
        }
        let begun = Execution::begin(event).ok_or("no execution begins so")?;
        if let What::Created { plan, fork, .. } = &event.what {
            let fork = fork.as_ref().map(|fork| (fork.execution, fork.at));
            self.first = Some(First { plan: plan.clone(), fork });
        }
        self.execution = Some(begun);
        Ok(())
    }

    /// What is wrong with its events.
    pub(super) fn damaged(&mut self, why: impl std::fmt::Display) {
        self.damage = Some(Error::corrupt(format!("execution {}: {why}", self.id)));
    }

    /// Nothing more is taken.
    fn is_done(&self) -> bool {
        self.begins_ms.is_some() || self.damage.is_some()
    }

    /// How it stood behind what was taken, and what its first event says; `None`: nothing was.
    ///
    /// # Errors
    /// `Corrupt`: what is wrong with its events.
    pub(super) fn taken(&self) -> Result<Option<(&Execution, &First)>, Error> {
        match &self.damage {
            Some(damage) => Err(damage.clone()),
            None => Ok(self.execution.as_ref().zip(self.first.as_ref())),
        }
    }

    /// When the iteration began, log time; `None`: it did not, as far as events were taken.
    pub(super) fn begins_ms(&self) -> Option<u64> {
        self.begins_ms
    }

    /// The number of the last event that was taken, their checksum, and when it was, log time.
    pub(super) fn last(&self) -> (u64, u64, u64) {
        (self.number, self.chain, self.at_ms)
    }
}
