//! `ack`, `nack`, `extend`: what the owner of leases asks for, one transaction for all its tokens.
//!
//! Invariant: a token is checked inside the transaction that uses it, and reading it makes the
//! transaction conflict with whoever changes the lease first.

use std::sync::Arc;

use rekindle_database::Transaction;

use crate::claims::grant::check_count;
use crate::claims::settle::{
    fenced, finish, hold, load_attempts, load_lease, remove_lease, settle,
};
use crate::claims::state::{self, Ending, Standing};
use crate::claims::{self, Decision, Event, Owner, Situation};
use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::limits::{DELAY_MS_MAX, REASON_BYTES_MAX, TOKENS_MAX, VISIBILITY_MS_MAX};
use crate::producers::{Fingerprint, Session};
use crate::queues::definition::{Definition, check_name};
use crate::queues::{Nack, PerToken, Settled, Token};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    /// The message is done with.
    Ack,
    /// It is given back.
    Return {
        /// Why.
        event: Event,
        /// In the owner's words.
        reason: &'a str,
        /// How long it stays away.
        delay_ms: u64,
    },
    /// The lease goes on from now for so long; `None`: the visibility of the queue.
    Extend(Option<u64>),
}

impl<'a> Action<'a> {
    /// What a nack asks for.
    pub(crate) fn nack(nack: &Nack<'a>) -> Result<Self, Error> {
        let Nack { delay_ms, reason, release } = *nack;
        if delay_ms > DELAY_MS_MAX {
            return Err(Error::invalid(format!(
                "a delay of {delay_ms} ms is above the limit of {DELAY_MS_MAX} ms (366 days)"
            )));
        }
        if reason.len() > REASON_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a reason of {} bytes; at most {REASON_BYTES_MAX} are kept",
                reason.len()
            )));
        }
        let event = if release { Event::Released } else { Event::Failed };
        Ok(Self::Return { event, reason, delay_ms })
    }

    /// What an extend asks for.
    pub(crate) fn extend(by_ms: Option<u64>) -> Result<Self, Error> {
        match by_ms {
            Some(by_ms) if !(1..=VISIBILITY_MS_MAX).contains(&by_ms) => Err(Error::invalid(
                format!("an extension by {by_ms} ms; choose 1 ms to {VISIBILITY_MS_MAX} ms (12 h)"),
            )),
            by_ms => Ok(Self::Extend(by_ms)),
        }
    }

    pub(crate) fn fingerprint(&self, token: Token) -> u32 {
        let fingerprint = match self {
            Self::Ack => Fingerprint::of("ack"),
            Self::Return { event, reason, delay_ms } => {
                let cause = match claims::decide(Situation::external(*event, false)) {
                    Decision::Settle(cause) => cause.as_str(),
                    Decision::Keep | Decision::Resume => "",
                };
                let kind = Fingerprint::of("nack").bytes(cause.as_bytes());
                kind.bytes(reason.as_bytes()).number(*delay_ms)
            }
            Self::Extend(by_ms) => Fingerprint::of("extend").number(by_ms.unwrap_or(0)),
        };
        let Token { subject, grant } = token;
        fingerprint.number(subject.line).number(subject.number).number(grant).finish()
    }
}

/// Does the same with several tokens.
pub(crate) struct Tokens<'a> {
    /// The queue that was named; why there is none, which a known request is not told.
    queue: Result<Option<Arc<Definition>>, Error>,
    tokens: &'a [Token],
    action: Action<'a>,
    identity: Option<Identity>,
}

impl<'a> Tokens<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        core: &Core,
        queue: Option<&str>,
        tokens: &'a [Token],
        action: Action<'a>,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        check_count("tokens", tokens.len(), TOKENS_MAX)?;
        queue.map(check_name).transpose()?;
        let queue = queue.map(|name| core.definition(name)).transpose();
        Ok(Self { queue, tokens, action, identity })
    }

    fn one(&self, core: &Core, txn: &mut Transaction, token: Token, now_ms: u64) -> Done {
        let named = self.queue.as_ref().map_err(|error| Stop::Refused(error.clone()))?;
        act(core, txn, named.as_deref(), token, self.action, now_ms)
    }

    /// One token, unless a request with this identity was run before.
    fn once(
        &self,
        core: &Core,
        txn: &mut Transaction,
        session: &mut Session<'_>,
        at: usize,
        token: Token,
        now_ms: u64,
    ) -> Done {
        let identity = self.identity.map(|it| (it.item(at), self.action.fingerprint(token)));
        let done = session.once(txn, identity, |txn| self.one(core, txn, token, now_ms))?;
        Ok(done.map(|answer| answer.value))
    }
}

/// Does what the owner of a lease asks for; a token that is not good is an answer of its own.
pub(crate) fn act(
    core: &Core,
    txn: &mut Transaction,
    named: Option<&Definition>,
    token: Token,
    action: Action<'_>,
    now_ms: u64,
) -> Done {
    let id = token.subject;
    if let Some(Definition { name, .. }) = named.filter(|it| it.id != id.line) {
        return Ok(Err(Error::invalid(format!(
            "token {token} is not of queue \"{name}\"; name the queue that it was received from"
        ))));
    }
    if id.is_job() {
        return Ok(Err(Error::invalid(format!(
            "token {token} is of a job; use 'rekindle job' for it"
        ))));
    }
    let Some(line) = core.index.line_of(id.line) else { return Ok(Err(fenced(id))) };
    let lease = load_lease(core, txn, id)?;
    let attempts = if lease.is_none() { load_attempts(core, txn, id)? } else { None };
    let standing = state::standing(token.grant, lease.as_ref(), attempts.as_ref());
    let settled = match (action, standing, lease, attempts) {
        (_, Standing::Fenced, ..) => return Ok(Err(fenced(id))),
        (Action::Ack, _, lease, _) => {
            finish(core, txn, id, lease.as_ref());
            Settled::Acked
        }
        (Action::Return { event, reason, delay_ms }, _, Some(lease), _) => {
            match claims::decide(core.run.situation(id, &lease, event, now_ms)) {
                Decision::Keep | Decision::Resume => {
                    Settled::Extended { deadline_ms: lease.deadline_ms }
                }
                Decision::Settle(cause) => {
                    let delay_ms = Some(delay_ms);
                    let (last, begun) = (false, true);
                    let ending = Ending { cause, reason, now_ms, delay_ms, last, begun };
                    settle(core, txn, &line, id, &lease, &ending)?.settled
                }
            }
        }
        // It is back already.
        (Action::Return { .. }, _, None, _) => Settled::Returned,
        (Action::Extend(by_ms), _, Some(lease), _) => {
            let by_ms = by_ms.unwrap_or(line.lease_ms());
            remove_lease(core, txn, id, &lease);
            hold(core, txn, token, &state::extended(&lease, now_ms, by_ms))
        }
        (Action::Extend(by_ms), _, None, Some(attempts)) => {
            let by_ms = by_ms.unwrap_or(line.lease_ms());
            hold(core, txn, token, &state::resumed(&attempts, now_ms, by_ms, Owner::External))
        }
        (Action::Extend(_), _, None, None) => return Ok(Err(fenced(id))),
    };
    Ok(Ok(settled))
}

/// What became of one token; the outer error stops the whole transaction.
pub(crate) type Done = Result<Result<Settled, Error>, Stop>;

impl Command for Tokens<'_> {
    type Value = PerToken;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<PerToken>, Stop> {
        let now_ms = core.database.log_time_ms();
        // A token has its effect once, with or without a kept result.
        let mut session = core.session(now_ms).lenient();
        let mut results = Vec::with_capacity(self.tokens.len());
        for (at, &token) in self.tokens.iter().enumerate() {
            results.push(self.once(core, txn, &mut session, at, token, now_ms)?);
        }
        session.write(txn)?;
        Ok(Answer::new(results))
    }
}
