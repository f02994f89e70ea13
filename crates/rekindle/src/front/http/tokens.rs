//! Tokens over HTTP: ack, nack and extend, of one message or many.
//!
//! Invariants: each token has exactly one result, at its place; where one token alone is asked
//! about, its refusal is that of the request.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rekindle_services::limits::{DELAY_MS_MAX, REASON_BYTES_MAX, TOKENS_MAX, VISIBILITY_MS_MAX};
use rekindle_services::queues::{Nack, PerToken, Queues, Settled, Token};
use rekindle_services::{Acknowledged, Error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::serving;
use super::messages::RefusedItem;
use super::operation::{Given, Operation, Taken, of};
use super::problem::Code;
use super::queues::{DURABILITIES, NAME};
use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use super::route::Working;
use crate::metrics::Counters;
use crate::state::Server;

/// Messages that are finished.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AckMessages {
    /// As they were received.
    #[schemars(length(min = 1, max = TOKENS_MAX))]
    tokens: Vec<String>,
}

/// Messages that are given back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NackMessages {
    /// As they were received.
    #[schemars(length(min = 1, max = TOKENS_MAX))]
    tokens: Vec<String>,
    /// How long they stay away; 0, the default: not at all.
    #[schemars(range(max = DELAY_MS_MAX))]
    delay_ms: Option<u64>,
    /// Kept with the attempt.
    #[schemars(length(max = REASON_BYTES_MAX))]
    reason: Option<String>,
    /// Given back unstarted: the attempt is not charged.
    release: Option<bool>,
}

/// Leases that go on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendLeases {
    /// As they were received.
    #[schemars(length(min = 1, max = TOKENS_MAX))]
    tokens: Vec<String>,
    /// How long they last from now; the visibility of the queue unless it is given.
    #[schemars(range(min = 1, max = VISIBILITY_MS_MAX))]
    by_ms: Option<u64>,
}

/// A token whose message is settled, or whose lease goes on.
#[derive(Debug, Serialize, JsonSchema)]
struct SettledToken {
    /// What became of the message.
    #[schemars(extend("enum" = OUTCOMES))]
    outcome: &'static str,
    /// When its lease runs out, log time, where it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
}

/// The words of `outcome`.
pub(super) const OUTCOMES: [&str; 5] =
    ["acked", "returned", "dead_lettered", "under_review", "extended"];

/// What became of one token.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum TokenResult {
    Settled(SettledToken),
    Refused(RefusedItem),
}

/// What became of tokens.
#[derive(Debug, Serialize, JsonSchema)]
struct TokenResults {
    /// One for each token, in their order.
    results: Vec<TokenResult>,
    /// The transaction that did it; left out where no token could be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// What is promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = DURABILITIES))]
    durability: Option<&'static str>,
}

pub(super) const ACK: Operation = Operation {
    id: "ackMessages",
    tag: "messages",
    summary: "Finishes messages.",
    about: ABOUT,
    parameters: &[NAME],
    takes: Some(Taken { shape: of::<AckMessages>(), example: r#"{"tokens":["TOKEN"]}"# }),
    answers: &[Given::ok("The results.", of::<TokenResults>())],
    refuses: &[Code::NotFound, Code::Fenced, Code::NoSpace],
    once: true,
};

/// What is so for all three.
const ABOUT: &str = "One transaction for all tokens, with one result or problem for each. Where \
                     only one token is asked about, its refusal is that of the request, so a token \
                     that is not the current one any more is 409, `fenced`.";

/// POST `/v1/queues/{name}/ack`.
pub(super) fn ack(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let AckMessages { tokens } = asked.json()?;
        let words = Words::of(&tokens)?;
        let queues = serving(&server)?.services.queues();
        let queue = asked.text("name");
        let done = match words.tokens.is_empty() {
            true => nothing_to_do(queues, queue)?,
            false => {
                let ticket = queues.submit_ack(queue, &words.tokens, asked.identity()).await?;
                Some(ticket.await?)
            }
        };
        words.answer(&server, done)
    })
}

pub(super) const NACK: Operation = Operation {
    id: "nackMessages",
    tag: "messages",
    summary: "Gives messages back.",
    about: ABOUT,
    parameters: &[NAME],
    takes: Some(Taken {
        shape: of::<NackMessages>(),
        example: r#"{"tokens":["TOKEN"],"delay_ms":1000,"reason":"no answer"}"#,
    }),
    answers: &[Given::ok("The results.", of::<TokenResults>())],
    refuses: &[Code::NotFound, Code::Fenced, Code::NoSpace],
    once: true,
};

/// POST `/v1/queues/{name}/nack`.
pub(super) fn nack(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let NackMessages { tokens, delay_ms, reason, release } = asked.json()?;
        let words = Words::of(&tokens)?;
        let reason = reason.unwrap_or_default();
        within("delay_ms", delay_ms, 0..=DELAY_MS_MAX)?;
        if reason.len() > REASON_BYTES_MAX {
            let message = format!("a reason of {} bytes; {REASON_BYTES_MAX} may be", reason.len());
            return Err(Refusal::invalid(message));
        }
        let nack = Nack {
            delay_ms: delay_ms.unwrap_or(0),
            reason: &reason,
            release: release.unwrap_or(false),
        };
        let queues = serving(&server)?.services.queues();
        let queue = asked.text("name");
        let done = match words.tokens.is_empty() {
            true => nothing_to_do(queues, queue)?,
            false => {
                let identity = asked.identity();
                let ticket = queues.submit_nack(queue, &words.tokens, &nack, identity).await?;
                Some(ticket.await?)
            }
        };
        words.answer(&server, done)
    })
}

pub(super) const EXTEND: Operation = Operation {
    id: "extendLeases",
    tag: "messages",
    summary: "Moves the end of leases.",
    about: ABOUT,
    parameters: &[NAME],
    takes: Some(Taken {
        shape: of::<ExtendLeases>(),
        example: r#"{"tokens":["TOKEN"],"by_ms":60000}"#,
    }),
    answers: &[Given::ok("The results.", of::<TokenResults>())],
    refuses: &[Code::NotFound, Code::Fenced, Code::NoSpace],
    once: true,
};

/// POST `/v1/queues/{name}/extend`.
pub(super) fn extend(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let ExtendLeases { tokens, by_ms } = asked.json()?;
        within("by_ms", by_ms, 1..=VISIBILITY_MS_MAX)?;
        let words = Words::of(&tokens)?;
        let queues = serving(&server)?.services.queues();
        let queue = asked.text("name");
        let done = match words.tokens.is_empty() {
            true => nothing_to_do(queues, queue)?,
            false => {
                let identity = asked.identity();
                let ticket = queues.submit_extend(queue, &words.tokens, by_ms, identity).await?;
                Some(ticket.await?)
            }
        };
        words.answer(&server, done)
    })
}

/// Where no word is a token the service is not asked; the queue is checked all the same.
fn nothing_to_do(
    queues: &Queues,
    queue: Option<&str>,
) -> Result<Option<Acknowledged<PerToken>>, Refusal> {
    queues.show(queue.unwrap_or_default())?;
    Ok(None)
}

/// Refuses a number that is out of its range, also where no word is a token and the service would
/// not be asked.
fn within(name: &str, number: Option<u64>, range: RangeInclusive<u64>) -> Result<(), Refusal> {
    if number.is_none_or(|number| range.contains(&number)) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(Refusal::invalid(format!("{name} is not from {least} to {most}")))
}

/// The words of a request: those that are tokens, and why the others are none.
struct Words {
    /// For each word, why it is no token.
    wrong: Vec<Option<Error>>,
    tokens: Vec<Token>,
}

impl Words {
    fn of(words: &[String]) -> Result<Self, Refusal> {
        if !(1..=TOKENS_MAX).contains(&words.len()) {
            let count = words.len();
            let message = format!("{count} tokens in one request; 1 to {TOKENS_MAX} may be");
            return Err(Refusal::invalid(message));
        }
        let (mut wrong, mut tokens) = (Vec::with_capacity(words.len()), vec![]);
        for word in words {
            match word.parse::<Token>() {
                Ok(token) => {
                    tokens.push(token);
                    wrong.push(None);
                }
                Err(error) => wrong.push(Some(error)),
            }
        }
        Ok(Self { wrong, tokens })
    }

    /// Each result at its place.
    fn answer(self, server: &Server, done: Option<Acknowledged<PerToken>>) -> Answered {
        let version = done.as_ref().map(|done| done.version);
        let durability = done.as_ref().map(|done| done.durability.as_str());
        let mut settled = done.map(|done| done.value).unwrap_or_default().into_iter();
        let mut results = Vec::with_capacity(self.wrong.len());
        let alone = self.wrong.len() == 1;
        for wrong in self.wrong {
            let outcome = match wrong {
                Some(error) => Err(error),
                None => settled.next().expect("the service answers each token"),
            };
            results.push(match outcome {
                Ok(settled) => TokenResult::Settled(told(server, settled)),
                Err(error) if alone => return Err(error.into()),
                Err(error) => {
                    TokenResult::Refused(RefusedItem { problem: Refusal::from(error).into_item() })
                }
            });
        }
        ok(&TokenResults { results, version, durability })
    }
}

/// What became of a message, counted.
fn told(server: &Server, settled: Settled) -> SettledToken {
    let counters = &server.counters;
    let add = |counter| Counters::add(counter, 1);
    let (outcome, deadline_ms) = match settled {
        Settled::Acked => {
            add(&counters.acked);
            ("acked", None)
        }
        Settled::Returned => {
            add(&counters.nacked);
            ("returned", None)
        }
        Settled::DeadLettered => {
            add(&counters.nacked);
            add(&counters.dead_lettered);
            ("dead_lettered", None)
        }
        Settled::UnderReview => {
            add(&counters.nacked);
            ("under_review", None)
        }
        Settled::Extended { deadline_ms } => {
            add(&counters.extended);
            ("extended", Some(deadline_ms))
        }
    };
    SettledToken { outcome, deadline_ms }
}
