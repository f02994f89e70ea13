//! The oracle: in the client's place, it knows what was asked, what was answered, and what a store
//! may therefore look like after a crash.
//!
//! A request that was begun and not answered is *unknown*: its effect may be there or not, but
//! never half. Invariant: marks in the disk's trace bind each operation of the disk to what was
//! known when it happened.

use rekindle_env::{Operation as DiskOperation, SimulatedDisk};

use crate::effect::Effect;
use crate::model::Model;
use crate::request::{Answer, Request};

/// The circumstances under which something was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall_ms: u64,
    /// Log time.
    pub log_ms: u64,
    /// A transaction id that is in use.
    pub txn_id: u64,
}

/// One thing that was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// When.
    pub begun: Moment,
    /// What was answered; `None` while it is unknown.
    pub answer: Option<Answer>,
    /// What that means.
    pub effects: Vec<(u64, Effect)>,
    /// The last version when it was answered.
    pub version: u64,
    /// The last position that was durable then; 0 while the store was closed.
    pub position: u64,
    /// The last version that was promised to last; in strict mode the same.
    pub durable: u64,
}

/// What is known at one moment of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How many requests were begun.
    pub begun: usize,
    /// How many of them were answered; at most one fewer.
    pub answered: usize,
}

/// What a store may be after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Everything up to this version was acknowledged.
    pub acknowledged: u64,
    /// Nothing behind this version was ever begun.
    pub begun: u64,
    /// The last transaction id that is known to be in use.
    pub txn_id: u64,
    /// The wall clock.
    pub wall_ms: u64,
}

/// Everything that was asked in one run.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// In order.
    pub asked: Vec<Asked>,
}

impl Oracle {
    /// A request begins.
    pub fn begin(&mut self, disk: &SimulatedDisk, request: Request, begun: Moment) {
        disk.mark(self.asked.len() as u64 * 2);
        let (answer, effects) = (None, vec![]);
        let (position, version, durable) = (0, 0, 0);
        let asked = Asked { request, begun, answer, effects, version, position, durable };
        self.asked.push(asked);
    }

    /// The last request is answered.
    ///
    /// # Panics
    /// When nothing was asked.
    pub fn end(
        &mut self,
        disk: &SimulatedDisk,
        answer: Answer,
        effects: Vec<(u64, Effect)>,
        (version, durable): (u64, u64),
    ) {
        let number = self.asked.len() as u64 - 1;
        disk.mark(number * 2 + 1);
        let asked = self.asked.last_mut().expect("an answer follows a request");
        (asked.answer, asked.effects) = (Some(answer), effects);
        (asked.version, asked.durable) = (version, durable);
    }

    /// What a store may be at this moment of the run.
    #[must_use]
    pub fn bounds(&self, known: Known) -> Bounds {
        let answered = known.answered.checked_sub(1).and_then(|last| self.asked.get(last));
        let acknowledged = answered.map_or(0, |asked| asked.durable);
        let answered = answered.map_or(0, |asked| asked.version);
        let begun = known.begun.checked_sub(1).and_then(|last| self.asked.get(last));
        let moment = begun.map(|asked| asked.begun).unwrap_or_default();
        let version = begun.map_or(0, |asked| asked.version);
        Bounds {
            acknowledged,
            begun: version.max(answered),
            txn_id: moment.txn_id,
            wall_ms: moment.wall_ms,
        }
    }

    /// The request that was begun and not answered at this moment.
    #[must_use]
    pub fn in_flight(&self, known: Known) -> Option<&Asked> {
        (known.begun > known.answered).then(|| self.asked.get(known.answered)).flatten()
    }

    /// Whether the run before the next start may have ended in order: it was asked to, and nothing
    /// but a start came since.
    #[must_use]
    pub fn stopped(&self, known: Known) -> bool {
        let starts = self.in_flight(known).is_some_and(|asked| asked.request == Request::Start);
        let before = known.begun - usize::from(starts);
        let last = before.checked_sub(1).and_then(|last| self.asked.get(last));
        last.is_some_and(|asked| asked.request == Request::Stop(true))
    }

    /// The last request that was answered at this moment, had an identity and was done.
    #[must_use]
    pub fn last_identified(&self, known: Known) -> Option<&Asked> {
        let answered = self.asked.get(..known.answered)?;
        answered.iter().rev().take(40).find(|asked| {
            asked.request.identity().is_some() && !matches!(asked.answer, Some(Answer::Refused(_)))
        })
    }
}

impl Known {
    /// Follows a mark of the trace; false when the operation is none.
    pub fn follow(&mut self, operation: &DiskOperation) -> bool {
        let Some(mark) = operation.mark() else { return false };
        let number = usize::try_from(mark / 2).expect("numbers of requests fit in memory");
        if mark.is_multiple_of(2) {
            self.begun = number + 1;
        } else {
            self.answered = number + 1;
        }
        true
    }
}

/// The model of what was answered, as far as a walk over the run has come.
#[derive(Clone, Debug, Default)]
pub struct Believed {
    model: Model,
    answered: usize,
}

impl Believed {
    /// What a client believes once a store came back at `version`: all that was answered, of the
    /// request in flight what is there, and nothing else.
    ///
    /// # Errors
    /// When the run itself was answered wrongly.
    pub fn after_crash(
        &mut self,
        oracle: &Oracle,
        known: Known,
        version: u64,
    ) -> Result<Model, String> {
        assert!(self.answered <= known.answered, "a walk goes forward");
        let newly = oracle.asked.get(self.answered..known.answered).unwrap_or_default();
        for (version, effect) in newly.iter().flat_map(|asked| &asked.effects) {
            self.model.apply(*version, effect)?;
        }
        self.answered = known.answered;
        let mut model = self.model.clone();
        if let Some(asked) = oracle.in_flight(known) {
            for (at, effect) in asked.effects.iter().filter(|(at, _)| *at <= version) {
                model.apply(*at, effect)?;
            }
        }
        Ok(model)
    }
}
