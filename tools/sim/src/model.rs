//! What a client may believe: keys, and for every message the one place where it must be.
//!
//! A model of its own, made of requests and answers only, so that it cannot share a mistake with
//! the store. Invariant: every message that was sent is in exactly one place, or was finished.

use std::collections::{BTreeMap, VecDeque};

use rekindle_services::queues::{QueueSettings, Settled, Token};

use crate::effect::Effect;
use crate::jobs::Now;
use crate::jobs::model::Jobs;
use crate::request::{Change, Held, How, Outgoing};

/// How many tokens of finished work are remembered, to be refused.
const FENCED_MAX: usize = 6;

/// Keys to the version that wrote them and their value.
pub type Keys = BTreeMap<Vec<u8>, (u64, Vec<u8>)>;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It can be received from this log time on.
    Waiting(u64),
    /// It is leased until then.
    Leased(u64),
}

/// A message that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which message.
    pub serial: u64,
    /// Its fairness key.
    pub key: String,
    /// Where it is.
    pub place: Place,
    /// How often it was granted.
    pub attempt: u32,
    /// How many of its attempts count.
    pub charged: u32,
    /// The last grant.
    pub token: Option<Token>,
    /// It came by dead-lettering, whose order is that of the deadlines, not of sending.
    pub dead: bool,
}

impl Message {
    /// Whether it can be received at this log time.
    #[must_use]
    pub fn is_ready(&self, now_ms: u64) -> bool {
        matches!(self.place, Place::Waiting(due_ms) if due_ms <= now_ms)
    }

    /// Until when it is leased, if it is.
    #[must_use]
    pub fn leased(&self) -> Option<u64> {
        match self.place {
            Place::Leased(deadline_ms) => Some(deadline_ms),
            Place::Waiting(_) => None,
        }
    }
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How it was created.
    pub settings: QueueSettings,
    /// Its messages in the order of sending.
    pub messages: BTreeMap<u64, Message>,
}

impl Queue {
    /// Ready, leased and delayed messages, and keys among the ready ones.
    #[must_use]
    pub fn counts(&self, now_ms: u64) -> [u64; 4] {
        let ready = self.messages.values().filter(|message| message.is_ready(now_ms));
        let mut keys: Vec<&str> = ready.map(|message| message.key.as_str()).collect();
        let ready = keys.len() as u64;
        keys.sort_unstable();
        keys.dedup();
        let leased = self.messages.values().filter(|one| one.leased().is_some()).count() as u64;
        [ready, leased, self.messages.len() as u64 - ready - leased, keys.len() as u64]
    }
}

/// Everything that a client may believe.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Queues by name.
    pub queues: BTreeMap<String, Queue>,
    /// Keys of the kv service.
    pub kv: Keys,
    /// Keys of the raw keyspace.
    pub raw: Keys,
    /// Jobs and schedules.
    pub jobs: Jobs,
    /// Tokens of work that was granted again or is finished.
    pub fenced: VecDeque<Token>,
    order: u64,
}

impl Model {
    /// Follows one effect.
    ///
    /// # Errors
    /// When a client must not have been answered so.
    pub fn apply(&mut self, version: u64, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::Raw(changes) => change(&mut self.raw, version, changes),
            Effect::Kv(changes) => change(&mut self.kv, version, changes),
            Effect::Created(name, settings) => self.create(name, settings),
            Effect::Deleted(name) => {
                let gone = self.queues.remove(name).ok_or("a queue was deleted twice")?;
                gone.messages.values().for_each(|message| self.fence(message.token));
            }
            Effect::Purged(name) => {
                let queue = self.queues.get_mut(name).ok_or("no queue to purge")?;
                let gone = std::mem::take(&mut queue.messages);
                gone.values().for_each(|message| self.fence(message.token));
            }
            Effect::Sent { queue, message, due_ms } => self.send(queue, message, *due_ms)?,
            Effect::Granted { queue, held, now_ms } => self.grant(queue, held, *now_ms)?,
            Effect::Settled { token, how, result, now_ms } => {
                self.settle(*token, *how, *result, *now_ms)?;
            }
            Effect::Passed(now, ticked) => self.pass(*now, *ticked)?,
            Effect::Job(effect) => self.jobs.apply(effect)?,
        }
        Ok(())
    }

    /// Time passed: every lease whose time is over ends.
    ///
    /// # Errors
    /// When something that was due cannot have been done.
    pub fn pass(&mut self, now: Now, ticked: bool) -> Result<(), String> {
        self.expire(now.log_ms);
        self.jobs.pass(now, ticked)
    }

    fn expire(&mut self, now_ms: u64) {
        let over: Vec<(String, u64)> = self
            .find(|message| message.leased().is_some_and(|deadline_ms| deadline_ms <= now_ms))
            .collect();
        for (queue, order) in over {
            self.give_back(&queue, order, true, 0);
        }
    }

    /// Every token whose lease still runs.
    #[must_use]
    pub fn live_tokens(&self) -> Vec<Token> {
        let messages = self.queues.values().flat_map(|queue| queue.messages.values());
        messages.filter(|message| message.leased().is_some()).filter_map(|one| one.token).collect()
    }

    /// Where the message is that this token was the last grant of.
    #[must_use]
    pub fn owner_of(&self, token: Token) -> Option<(String, u64)> {
        self.find(|message| message.token == Some(token)).next()
    }

    fn find(
        &self,
        wanted: impl Fn(&Message) -> bool + Copy,
    ) -> impl Iterator<Item = (String, u64)> {
        self.queues.iter().flat_map(move |(name, queue)| {
            let found = queue.messages.iter().filter(move |(_, message)| wanted(message));
            found.map(move |(order, _)| (name.clone(), *order))
        })
    }

    fn message(&mut self, queue: &str, order: u64) -> Option<&mut Message> {
        self.queues.get_mut(queue)?.messages.get_mut(&order)
    }

    fn fence(&mut self, token: Option<Token>) {
        self.fenced.extend(token);
        while self.fenced.len() > FENCED_MAX {
            self.fenced.pop_front();
        }
    }

    fn create(&mut self, name: &str, settings: &QueueSettings) {
        let mut settings = settings.clone();
        if settings.max_attempts > 0 {
            let dead = settings.dead_letter.get_or_insert_with(|| format!("{name}.dead"));
            self.queues.entry(dead.clone()).or_default();
        }
        let queue = self.queues.entry(name.to_owned()).or_default();
        queue.settings = settings;
    }

    fn add(&mut self, queue: &str, message: Message) -> Result<(), String> {
        self.order += 1;
        let order = self.order;
        let queue = self.queues.get_mut(queue).ok_or("a message for a queue that is not there")?;
        queue.messages.insert(order, message);
        Ok(())
    }

    fn send(&mut self, queue: &str, sent: &Outgoing, due_ms: u64) -> Result<(), String> {
        let serial = sent.serial;
        if self.find(|message| message.serial == serial).next().is_some() {
            return Err(format!("message {serial} is there twice"));
        }
        let (key, place) = (sent.key.clone(), Place::Waiting(due_ms));
        let fresh =
            Message { serial, key, place, attempt: 0, charged: 0, token: None, dead: false };
        self.add(queue, fresh)
    }

    /// The first ready message of its key, and no other, may be handed out.
    fn grant(&mut self, name: &str, held: &Held, now_ms: u64) -> Result<(), String> {
        let Held { serial, token, attempt, deadline_ms, ref key, .. } = *held;
        let queue = self.queues.get_mut(name).ok_or("a message of a queue that is not there")?;
        let first = queue
            .messages
            .values()
            .find(|message| message.key == *key && !message.dead && message.is_ready(now_ms));
        let first = first.map(|message| message.serial);
        let message = queue.messages.values_mut().find(|message| message.serial == serial);
        let message = message.ok_or_else(|| {
            format!("message {serial} was delivered from {name}, where it must not be")
        })?;
        if !message.is_ready(now_ms) {
            let place = message.place;
            return Err(format!("message {serial} was delivered while {place:?} at {now_ms}"));
        }
        if !message.dead && first != Some(serial) {
            return Err(format!("message {serial} came before {first:?} of the same key"));
        }
        if attempt != message.attempt + 1 {
            let before = message.attempt;
            return Err(format!("message {serial}: attempt {attempt} behind attempt {before}"));
        }
        message.attempt = attempt;
        message.place = Place::Leased(deadline_ms);
        let before = message.token.replace(token);
        self.fence(before);
        Ok(())
    }

    fn settle(
        &mut self,
        token: Token,
        how: How,
        result: Option<Settled>,
        now_ms: u64,
    ) -> Result<(), String> {
        let owner = self.owner_of(token);
        let (Some(result), Some((queue, order))) = (result, owner.clone()) else {
            return match (result, owner) {
                (Some(result), None) => {
                    Err(format!("a token of finished work was answered {result:?}"))
                }
                (None, Some((queue, _))) => {
                    Err(format!("the token of the last grant, in {queue}, was refused"))
                }
                _ => Ok(()),
            };
        };
        let leased = self.message(&queue, order).and_then(|message| message.leased()).is_some();
        match (how, result) {
            (How::Ack, Settled::Acked) => {
                let queue = self.queues.get_mut(&queue).ok_or("no queue to ack in")?;
                queue.messages.remove(&order);
                self.fence(Some(token));
            }
            (How::Nack { .. }, Settled::Returned) if !leased => {}
            (How::Nack { delay_ms, release }, Settled::Returned | Settled::DeadLettered) => {
                let due_ms = if delay_ms == 0 { 0 } else { now_ms + delay_ms };
                let dead = self.give_back(&queue, order, !release, due_ms);
                if dead != (result == Settled::DeadLettered) {
                    return Err(format!("a nack was answered {result:?}, dead-lettered: {dead}"));
                }
            }
            (How::Extend { .. }, Settled::Extended { deadline_ms }) => {
                if let Some(message) = self.message(&queue, order) {
                    message.place = Place::Leased(deadline_ms);
                }
            }
            _ => return Err(format!("{how:?} was answered {result:?}")),
        }
        Ok(())
    }

    /// A lease is over: the message waits again, or (true) its attempts are used up.
    fn give_back(&mut self, name: &str, order: u64, charged: bool, due_ms: u64) -> bool {
        let Some(queue) = self.queues.get_mut(name) else { return false };
        let (max, dead) = (queue.settings.max_attempts, queue.settings.dead_letter.clone());
        let Some(message) = queue.messages.get_mut(&order) else { return false };
        message.charged += u32::from(charged);
        message.place = Place::Waiting(due_ms);
        if !charged || max == 0 || message.charged < max {
            return false;
        }
        let token = message.token;
        if let Some(gone) = queue.messages.remove(&order) {
            let place = Place::Waiting(0);
            let moved = Message { place, attempt: 0, charged: 0, token: None, dead: true, ..gone };
            let target = dead.unwrap_or_else(|| format!("{name}.dead"));
            self.queues.entry(target.clone()).or_default();
            self.add(&target, moved).expect("the queue was made the line before");
        }
        self.fence(token);
        true
    }
}

fn change(keys: &mut Keys, version: u64, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(key, value) => drop(keys.insert(key.clone(), (version, value.clone()))),
            Change::Delete(key) => drop(keys.remove(key)),
            Change::DeleteRange(start, end) => {
                keys.retain(|key, _| key < start || (!end.is_empty() && key >= end));
            }
        }
    }
}
