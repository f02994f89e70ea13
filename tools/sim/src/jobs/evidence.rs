//! Executors inside the server and its starts: what the dead ones left, and what that means.
//!
//! The real evidence lies in the directories of commands. Here it is a function of the seed, the
//! token and the run that looks, so that the client knows it, too. Invariant: evidence only fades:
//! what survives may be gone for a later run, and nothing comes back.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rekindle_database::{Database, Error, KeyspaceId};
use rekindle_recovery::Ended;
use rekindle_services::claims::{Cause, Trace, Traces};
use rekindle_services::jobs::JobId;
use rekindle_services::keys::subject;
use rekindle_services::queues::Token;

use crate::jobs::JobAnswer;
use crate::jobs::job::Span;
use crate::oracle::{Asked, Oracle};
use crate::request::{Answer, Request};
use crate::seed::mix;
use crate::store::ALL_ROWS;

/// Runs after which nothing that survives goes on any more; some of it fades at each before.
const RUNS: u64 = 24;

/// The keyspace that names all others.
const REGISTRY: KeyspaceId = KeyspaceId(0);

/// The evidence of a machine.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    seed: u64,
    /// Every claim of each job; those of workers outside too, of whom it must say nothing.
    tokens: Arc<BTreeMap<JobId, Vec<Token>>>,
}

impl Evidence {
    /// Of all claims that were answered.
    #[must_use]
    pub fn of(seed: u64, oracle: &Oracle) -> Self {
        let mut tokens: BTreeMap<JobId, Vec<Token>> = BTreeMap::new();
        for asked in &oracle.asked {
            let Some(Answer::Job(JobAnswer::Claimed(_, all))) = &asked.answer else { continue };
            for picked in all {
                tokens.entry(picked.id).or_default().push(picked.token);
            }
        }
        Self { seed, tokens: Arc::new(tokens) }
    }

    /// What a start of this database is told: about the jobs that have leases.
    ///
    /// # Errors
    /// What the database answers.
    pub fn traces(&self, database: &Database) -> Result<Traces, Error> {
        let snapshot = database.snapshot()?;
        // Looking must make nothing.
        if self.tokens.is_empty() || snapshot.get(REGISTRY, b"leases")?.is_none() {
            return Ok(Traces::new());
        }
        let all = (Bound::Unbounded, Bound::Unbounded);
        let leases = snapshot.scan(database.keyspace("leases")?, all, ALL_ROWS, false)?;
        let jobs = leases.iter().filter_map(|row| subject::parse(&row.key).ok());
        let tokens = jobs.filter_map(|job| self.tokens.get(&job)).flatten();
        let run = database.incarnation();
        Ok(tokens.filter_map(|token| Some((*token, left(self.seed, *token, run)?))).collect())
    }
}

/// What this run finds of a claim whose executor is dead.
#[must_use]
pub fn left(seed: u64, token: Token, run: u64) -> Option<Trace> {
    let drawn = token.to_string().bytes().fold(seed, |sum, byte| mix(sum, u64::from(byte)));
    match drawn % 4 {
        0 => Some(Trace::Unbegun),
        1 => None,
        _ => (run < drawn / 4 % RUNS).then_some(Trace::Survives),
    }
}

/// A start, as far as claims are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The run that began.
    pub run: u64,
    /// Of the evidence.
    pub seed: u64,
    /// The store says that the run before ended in order.
    pub clean: bool,
    /// It was asked to, and nothing but starts came since.
    pub stopped: bool,
    /// Up to this log time a tick that was never answered may have ended claims; 0: there is none.
    pub ticked_ms: u64,
    /// Between which moments of log time claims were settled.
    pub when: Span,
}

impl Lead {
    /// The start that made `database` what it is, behind a run of which nothing is unknown.
    #[must_use]
    pub fn of(database: &Database, seed: u64, stopped: bool) -> Self {
        let before = database.report().before.as_ref();
        let clean = before.is_some_and(|before| before.ended == Ended::Clean);
        let when = Span::at(database.log_time_ms());
        Self { run: database.incarnation(), seed, clean, stopped, ticked_ms: 0, when }
    }

    /// The same behind a run that was crashed while this was in flight.
    #[must_use]
    pub fn behind(mut self, in_flight: Option<&Asked>) -> Self {
        let begun_ms = in_flight.map_or(0, |asked| asked.begun.log_ms);
        match in_flight.map(|asked| &asked.request) {
            // It may have settled some claims before it was crashed.
            Some(Request::Start) => self.when.from_ms = begun_ms.min(self.when.to_ms),
            Some(Request::Tick) => self.ticked_ms = begun_ms,
            _ => {}
        }
        self
    }

    /// Why the claim of an executor of run `own`, which lasted until `until_ms`, is over; `None`:
    /// it goes on.
    ///
    /// `told`: why, as the store says, for what only the store knows. What was in flight when the
    /// run before crashed may have ended the claim: a tick, or a start behind an end in order.
    #[must_use]
    pub fn cause(
        &self,
        own: u64,
        token: Token,
        until_ms: u64,
        told: impl Fn() -> Option<Cause>,
    ) -> Option<Cause> {
        if until_ms <= self.ticked_ms && told() == Some(Cause::LeaseExpired) {
            return Some(Cause::LeaseExpired);
        }
        let cause = match left(self.seed, token, self.run) {
            Some(Trace::Survives) => return None,
            Some(Trace::Unbegun) => Cause::Released,
            None if self.clean && own + 1 == self.run => Cause::Shutdown,
            // The start that crashed knew how `own` had ended; the next one cannot.
            None if self.stopped && own + 1 < self.run && told() == Some(Cause::Shutdown) => {
                Cause::Shutdown
            }
            None => Cause::ServerCrash,
        };
        Some(cause)
    }
}
