//! What an answered request means for the state, version by version.
//!
//! Invariant: effects come from the request and its answer alone: the client knows no more.

use rekindle_services::queues::{QueueSettings, Settled, Token};

use crate::jobs::effect::JobEffect;
use crate::jobs::{self, Fired, Now};
use crate::request::{Answer, Change, Held, How, Outgoing, Request};

/// One change of what a client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Rows of the raw keyspace.
    Raw(Vec<Change>),
    /// Keys of the kv service.
    Kv(Vec<Change>),
    /// A queue is there.
    Created(String, QueueSettings),
    /// A queue is gone.
    Deleted(String),
    /// A queue is empty.
    Purged(String),
    /// A message is in a queue; ready at that log time.
    Sent {
        /// Which queue.
        queue: String,
        /// Which message.
        message: Outgoing,
        /// When it is ready; 0: at once.
        due_ms: u64,
    },
    /// A message is leased.
    Granted {
        /// Which queue.
        queue: String,
        /// The lease.
        held: Held,
        /// When it was granted.
        now_ms: u64,
    },
    /// A lease was settled, or moved.
    Settled {
        /// Which.
        token: Token,
        /// How it was asked for.
        how: How,
        /// What became of it; `None`: it was refused as fenced.
        result: Option<Settled>,
        /// When.
        now_ms: u64,
    },
    /// Time passed, and what was due was done: by a start, or (true) by a tick.
    Passed(Now, bool),
    /// Something about jobs.
    Job(JobEffect),
}

/// The effects of a request that was asked at this moment, each with its version.
#[must_use]
pub fn effects(request: &Request, answer: &Answer, now: Now) -> Vec<(u64, Effect)> {
    let now_ms = now.log_ms;
    match (request, answer) {
        (
            Request::Commit(changes) | Request::Conflict { winner: changes, .. },
            Answer::Done(version),
        )
        | (Request::Checkpoint(changes), Answer::Checkpointed(Some(version), _))
        | (Request::Backup(changes), Answer::BackedUp(Some(version), _)) => {
            vec![(*version, Effect::Raw(changes.clone()))]
        }
        (Request::Pipeline(all), Answer::Each(each)) => all
            .iter()
            .zip(each)
            .filter_map(|(changes, one)| Some((*one.as_ref().ok()?, Effect::Raw(changes.clone()))))
            .collect(),
        (Request::Kv { changes, .. }, Answer::Done(version)) => {
            vec![(*version, Effect::Kv(changes.clone()))]
        }
        (Request::Create(name, settings, _), Answer::Done(version)) => {
            vec![(*version, Effect::Created(name.clone(), settings.clone()))]
        }
        (Request::Delete(name, _), Answer::Done(version)) => {
            vec![(*version, Effect::Deleted(name.clone()))]
        }
        (Request::Purge(name, _), Answer::Done(version)) => {
            vec![(*version, Effect::Purged(name.clone()))]
        }
        (Request::Send(queue, messages, _), Answer::Sent(sent)) => {
            let sent = sent.iter().map(|one| one.as_ref().map(|(version, _)| *version).ok());
            let sent = messages.iter().zip(sent);
            sent.filter_map(|(message, version)| {
                Some((version?, sent_effect(queue, message, now_ms)))
            })
            .collect()
        }
        (Request::Receive { queue, .. }, Answer::Received(version, all)) => {
            let granted =
                |held: &Held| Effect::Granted { queue: queue.clone(), held: held.clone(), now_ms };
            all.iter().map(|held| (*version, granted(held))).collect()
        }
        (Request::Settle(tokens, how, _), Answer::Settled(version, results)) => {
            let one = |(token, result): (&Token, &Result<Settled, _>)| {
                let result = result.as_ref().ok().copied();
                (*version, Effect::Settled { token: *token, how: *how, result, now_ms })
            };
            tokens.iter().zip(results).map(one).collect()
        }
        (Request::Tick, Answer::Passed(version, now, fired)) => {
            let of = |fired: &Fired| (fired.version, Effect::Job(JobEffect::Fired(fired.clone())));
            let passed = (*version, Effect::Passed(*now, true));
            fired.iter().map(of).chain([passed]).collect()
        }
        (Request::Start, Answer::Led(version, now, lead)) => {
            let led = Effect::Job(JobEffect::Led(*lead));
            vec![(*version, led), (*version, Effect::Passed(*now, false))]
        }
        (Request::Job(request), answer) => jobs::effect::effects(request, answer, now),
        _ => vec![],
    }
}

/// A message is in a queue.
pub(crate) fn sent_effect(queue: &str, message: &Outgoing, now_ms: u64) -> Effect {
    let due_ms = if message.delay_ms == 0 { 0 } else { now_ms + message.delay_ms };
    Effect::Sent { queue: queue.to_owned(), message: message.clone(), due_ms }
}
