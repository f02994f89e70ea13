//! One transaction over everything: complete or fail jobs, ack and send messages, submit jobs,
//! check and change keys; all of it happens, or none.
//!
//! Invariants: tokens are checked inside the transaction, as everything else is; a refused
//! operation refuses the whole, names its place, and nothing was written.

mod recorded;

use std::sync::Arc;

use rekindle_database::Transaction;

use crate::claims::{Subject, Token};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::submit::{Submit, fingerprint as submit_fingerprint};
use crate::jobs::work::{self, Action as JobAction};
use crate::jobs::{Changed, Done, NewJob, Submitted};
use crate::kv::write::{apply, check_expected, check_scope, check_write};
use crate::kv::{Expect, Scope, Write};
use crate::limits::{TRANSACT_BYTES_MAX, TRANSACT_OPERATIONS_MAX};
use crate::producers::{Fingerprint, once};
use crate::queues::send::{Send, fingerprint as send_fingerprint};
use crate::queues::tokens::{self, Action as QueueAction};
use crate::queues::{Nack, NewMessage, Settled};
use crate::ticket::{Acknowledged, Ticket};

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub enum Operation<'a> {
    /// A key must be so.
    Check {
        /// Where it lives.
        scope: &'a Scope,
        /// The key.
        key: &'a [u8],
        /// What it must be.
        expect: Expect,
    },
    /// A key is changed.
    Write {
        /// Where it lives.
        scope: &'a Scope,
        /// The change.
        write: Write<'a>,
    },
    /// A message is sent.
    Send {
        /// Into which queue.
        queue: &'a str,
        /// The message.
        message: NewMessage<'a>,
    },
    /// A leased message is finished.
    Ack(Token),
    /// A leased message is given back.
    Nack(Token, Nack<'a>),
    /// A job is submitted.
    Submit {
        /// Of which type.
        kind: &'a str,
        /// The job.
        job: NewJob<'a>,
    },
    /// What its worker asks for with a job.
    Job(Token, Done<'a>),
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is so, or it is done.
    Done,
    /// The message that was sent.
    Sent(Subject),
    /// What became of a leased message.
    Settled(Settled),
    /// The job that was submitted.
    Submitted(Submitted),
    /// What became of a job.
    Changed(Changed),
}

/// Transactions over everything in a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Transactions {
    core: Arc<Core>,
}

impl Transactions {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Does all operations in their order, or none. Blocks until it is acknowledged.
    ///
    /// # Errors
    /// The first operation that is refused, its place in front: `operation 2: …`.
    pub fn run(
        &self,
        operations: &[Operation<'_>],
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Vec<Effect>>, Error> {
        self.core.submit(&mut Run::new(&self.core, operations, identity)?)?.wait()
    }

    /// See [`Transactions::run`].
    ///
    /// # Errors
    /// As [`Transactions::run`].
    pub async fn submit_run(
        &self,
        operations: &[Operation<'_>],
        identity: Option<Identity>,
    ) -> Result<Ticket<Vec<Effect>>, Error> {
        self.core.submit_async(&mut Run::new(&self.core, operations, identity)?).await
    }
}

/// An operation that was checked.
enum Step<'a> {
    Check { scope: Vec<u8>, key: &'a [u8], expect: Expect },
    Write { scope: Vec<u8>, write: Write<'a> },
    Send(Send<'a>),
    Message(Token, QueueAction<'a>),
    Submit(Submit<'a>),
    Job(Token, JobAction<'a>),
}

/// Runs a transaction.
struct Run<'a> {
    steps: Vec<Step<'a>>,
    identity: Option<(Identity, u32)>,
    now_ms: u64,
}

/// An error of the operation at this place.
fn of(at: usize, error: &Error) -> Error {
    Error::new(error.kind(), format!("operation {at}: {}", error.message()))
}

impl<'a> Run<'a> {
    /// Checks what is asked for.
    fn new(
        core: &Core,
        operations: &[Operation<'a>],
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        if operations.len() > TRANSACT_OPERATIONS_MAX {
            return Err(Error::invalid(format!(
                "{} operations; a transaction has at most {TRANSACT_OPERATIONS_MAX}",
                operations.len()
            )));
        }
        let bytes: usize = operations.iter().map(Operation::bytes).sum();
        if bytes > TRANSACT_BYTES_MAX {
            let message = format!("{bytes} bytes; a transaction has at most {TRANSACT_BYTES_MAX}");
            return Err(Error::new(Kind::Full, message));
        }
        let mut steps = Vec::with_capacity(operations.len());
        for (at, operation) in operations.iter().enumerate() {
            steps.push(operation.step(core).map_err(|error| of(at, &error))?);
        }
        let identity = identity.map(|identity| {
            let mut all = Fingerprint::of("transaction");
            for operation in operations {
                all = all.number(u64::from(operation.fingerprint()));
            }
            (identity, all.finish())
        });
        Ok(Self { steps, identity, now_ms: core.database.log_time_ms() })
    }
}

impl Command for Run<'_> {
    type Value = Vec<Effect>;

    /// What only ends work goes on when the store is full.
    fn frees_work(&self) -> bool {
        let ends = |step: &Step<'_>| {
            matches!(step, Step::Message(..) | Step::Job(..) | Step::Check { .. })
        };
        self.steps.iter().all(ends)
    }

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Vec<Effect>>, Stop> {
        let run = &*self;
        once(core, txn, run.identity, run.now_ms, |txn| {
            let mut effects = Vec::with_capacity(run.steps.len());
            for (at, step) in run.steps.iter().enumerate() {
                let effect = step.perform(core, txn, run.now_ms);
                effects.push(effect.map_err(|stop| match stop {
                    Stop::Refused(error) => Stop::Refused(of(at, &error)),
                    failed => failed,
                })?);
            }
            Ok(effects)
        })
    }
}

impl<'a> Operation<'a> {
    fn step(&self, core: &Core) -> Result<Step<'a>, Error> {
        Ok(match self {
            Self::Check { scope, key, expect } => {
                crate::kv::write::check_key(key)?;
                Step::Check { scope: check_scope(scope)?, key, expect: *expect }
            }
            Self::Write { scope, write } => {
                check_write(write)?;
                Step::Write { scope: check_scope(scope)?, write: *write }
            }
            Self::Send { queue, message } => Step::Send(Send::new(core, queue, message, None)?),
            Self::Ack(token) => Step::Message(*token, QueueAction::Ack),
            Self::Nack(token, nack) => Step::Message(*token, QueueAction::nack(nack)?),
            Self::Submit { kind, job } => Step::Submit(Submit::new(core, kind, job, None)?),
            Self::Job(token, done) => {
                let action = done.action();
                action.check()?;
                Step::Job(*token, action)
            }
        })
    }

    /// Bytes that it brings.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Check { key, .. } => key.len(),
            Self::Write { write, .. } => match write {
                Write::Put { key, value } => key.len() + value.len(),
                Write::Delete { key } => key.len(),
                Write::DeleteRange { start, end } => start.len() + end.len(),
            },
            Self::Send { message, .. } => message.body.len(),
            Self::Submit { job, .. } => job.payload.len(),
            Self::Job(_, Done::Complete(result)) => result.len(),
            Self::Ack(_) | Self::Nack(..) | Self::Job(..) => 0,
        }
    }

    fn fingerprint(&self) -> u32 {
        let expected = |expect: &Expect| match expect {
            Expect::Any => u64::MAX,
            Expect::Absent => 0,
            Expect::Version(version) => *version,
        };
        match self {
            Self::Check { scope, key, expect } => Fingerprint::of("check")
                .bytes(&check_scope(scope).unwrap_or_default())
                .bytes(key)
                .number(expected(expect))
                .finish(),
            Self::Write { scope, write } => {
                let all = Fingerprint::of("write").bytes(&check_scope(scope).unwrap_or_default());
                match write {
                    Write::Put { key, value } => all.bytes(b"put").bytes(key).bytes(value),
                    Write::Delete { key } => all.bytes(b"delete").bytes(key),
                    Write::DeleteRange { start, end } => {
                        all.bytes(b"range").bytes(start).bytes(end)
                    }
                }
                .finish()
            }
            Self::Send { queue, message } => send_fingerprint(queue, message),
            Self::Ack(token) => QueueAction::Ack.fingerprint(*token),
            Self::Nack(token, nack) => {
                QueueAction::nack(nack).map_or(0, |action| action.fingerprint(*token))
            }
            Self::Submit { kind, job } => submit_fingerprint(kind, job),
            Self::Job(token, done) => done.action().fingerprint(*token),
        }
    }
}

impl Step<'_> {
    /// Reads, decides, writes.
    fn perform(&self, core: &Core, txn: &mut Transaction, now_ms: u64) -> Result<Effect, Stop> {
        match self {
            Self::Check { scope, key, expect } => {
                check_expected(core, txn, &[scope, *key].concat(), key, *expect)?;
                Ok(Effect::Done)
            }
            Self::Write { scope, write } => {
                apply(core, txn, scope, write);
                Ok(Effect::Done)
            }
            Self::Send(send) => Ok(Effect::Sent(send.write(core, txn)?)),
            Self::Message(token, action) => {
                let settled = tokens::act(core, txn, None, *token, *action, now_ms)?;
                Ok(Effect::Settled(settled?))
            }
            Self::Submit(submit) => Ok(Effect::Submitted(submit.write(core, txn)?)),
            Self::Job(token, action) => {
                Ok(Effect::Changed(work::act(core, txn, *token, *action, now_ms)?))
            }
        }
    }
}
