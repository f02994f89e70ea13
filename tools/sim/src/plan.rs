//! Which request comes next: drawn from the seed and from what the client believes.
//!
//! Invariant: what is asked is legal for a client that knows only its own answers; wrong requests
//! (old tokens, stale expectations) are asked on purpose and must be refused.

use rekindle_database::DurabilityMode;
use rekindle_services::Identity;
use rekindle_services::kv::Expect;
use rekindle_services::queues::{QueueSettings, Token};

use crate::jobs::plan::SETUP;
use crate::model::{Keys, Model};
use crate::request::{Change, How, Outgoing, Request};
use crate::workload::Length;

/// Queues and how they are made: visibility, most attempts.
const QUEUES: [(&str, u64, u32); 3] =
    [("orders", 5_000, 0), ("mail", 3_000, 2), ("slow", 30_000, 3)];

/// Fairness keys.
const KEYS: [&str; 4] = ["", "a", "b", "c"];

/// Messages of one queue above which nothing more is sent.
const MESSAGES_MAX: usize = 12;

/// Keys of each key space.
const NAMES: u64 = 24;

/// Of a hundred requests so many are about jobs.
const JOBS_PERCENT: u8 = 45;

/// Sequences of a producer before the client takes another identity.
const SEQUENCES: u64 = 60;

/// Chooses requests.
#[derive(Debug)]
pub struct Planner {
    pub(crate) random: fastrand::Rng,
    pub(crate) length: Length,
    pub(crate) asked: usize,
    running: bool,
    pub(crate) serial: u64,
    pub(crate) mark: u64,
    identity: Identity,
}

impl Planner {
    /// The plan of this seed.
    #[must_use]
    pub fn new(seed: u64, length: Length) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let identity = Identity { producer: random.u128(..).to_le_bytes(), sequence: 1 };
        Self { random, length, asked: 0, running: false, serial: 0, mark: 0, identity }
    }

    /// The next request and how long the client waits before it; `None` at the end.
    pub fn next(&mut self, model: &Model, now_ms: u64) -> Option<(u64, Request)> {
        if self.asked >= self.length.requests {
            return None;
        }
        if !self.running {
            self.running = true;
            return Some((self.pause(), Request::Start));
        }
        self.asked += 1;
        if let Some((name, visibility_ms, max_attempts)) = QUEUES.get(self.asked - 1) {
            let settings = self.settings(*visibility_ms, *max_attempts);
            return Some((5, Request::Create((*name).to_owned(), settings, self.identify(1))));
        }
        let setup = self.asked - 1 - QUEUES.len();
        if self.length.has_jobs() && setup < SETUP {
            return Some((5, self.job_setup(setup, model)));
        }
        if self.asked.is_multiple_of(self.length.stop_every) {
            self.running = false;
            // What a lazy mode loses with its process is not in the disk's trace.
            let lazy = self.length.durability != DurabilityMode::Strict;
            return Some((self.pause(), Request::Stop(self.random.bool() || lazy)));
        }
        if self.asked.is_multiple_of(self.length.backup_every) {
            return Some((self.pause(), Request::Backup(self.changes())));
        }
        if self.asked.is_multiple_of(self.length.checkpoint_every) {
            return Some((self.pause(), Request::Checkpoint(self.changes())));
        }
        Some((self.pause(), self.draw(model, now_ms)))
    }

    /// Mostly none to speak of, sometimes long enough for leases to run out.
    fn pause(&mut self) -> u64 {
        match self.random.u8(..40) {
            0 => 40_000,
            1 => 6_000,
            2..=5 => 1_500,
            _ => self.random.u64(1..80),
        }
    }

    fn draw(&mut self, model: &Model, now_ms: u64) -> Request {
        if self.length.has_jobs() && self.random.u8(..100) < JOBS_PERCENT {
            return self.draw_job(model);
        }
        let drawn = if self.length.durability == DurabilityMode::Strict {
            self.random.u8(..100)
        } else {
            // Queues deliver what is written, which in these modes is less than was acknowledged.
            *self.random.choice(&[0, 0, 0, 14, 19, 22, 23, 23, 95, 98]).unwrap_or(&0)
        };
        match drawn {
            0..=13 => Request::Commit(self.changes()),
            14..=18 => {
                let count = self.random.usize(2..=4);
                Request::Pipeline((0..count).map(|_| self.changes()).collect())
            }
            19..=21 => self.conflict(),
            22 => Request::Look(self.name()),
            23..=34 => self.kv(&model.kv),
            35..=52 => self.send(model),
            53..=65 => self.receive(),
            66..=84 => self.settle(model),
            85 => self.odd(model),
            86..=94 => Request::Tick,
            95..=97 => Request::Idle,
            98 => Request::Flush,
            _ => self.again(now_ms),
        }
    }

    pub(crate) fn name(&mut self) -> Vec<u8> {
        format!("key-{:02}", self.random.u64(..NAMES)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = if self.random.u8(..12) == 0 { 900 } else { self.random.usize(..90) };
        let first = self.random.u8(b'a'..=b'z');
        vec![first; len]
    }

    fn changes(&mut self) -> Vec<Change> {
        (0..self.random.usize(1..=3)).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change {
        match self.random.u8(..10) {
            0..=6 => Change::Put(self.name(), self.value()),
            7..=8 => Change::Delete(self.name()),
            _ => {
                let from = self.random.u64(..NAMES);
                let to = from + self.random.u64(1..=5);
                let name = |number| format!("key-{number:02}").into_bytes();
                Change::DeleteRange(name(from), name(to))
            }
        }
    }

    fn conflict(&mut self) -> Request {
        let key = self.name();
        let winner = vec![Change::Put(key.clone(), self.value())];
        let loser = vec![Change::Put(key.clone(), self.value()), self.change()];
        Request::Conflict { key, winner, loser }
    }

    fn kv(&mut self, known: &Keys) -> Request {
        let key = self.name();
        let found = known.get(&key).map(|(version, _)| *version);
        let right = found.map_or(Expect::Absent, Expect::Version);
        let checks = match self.random.u8(..6) {
            0 | 1 => vec![(key.clone(), right)],
            // Stale: to be refused.
            2 => vec![(key.clone(), Expect::Version(found.unwrap_or(0) + 1))],
            _ => vec![],
        };
        let mut changes = vec![Change::Put(key, self.value())];
        changes.extend((0..self.random.usize(..3)).map(|_| self.change()));
        let identity = self.identify(1).filter(|_| self.asked.is_multiple_of(2));
        Request::Kv { checks, changes, identity }
    }

    fn queue(&mut self) -> String {
        if self.random.u8(..16) == 0 {
            // Comes and goes.
            return "spare".to_owned();
        }
        let index = self.random.usize(..QUEUES.len());
        QUEUES.get(index).map_or("", |(name, ..)| name).to_owned()
    }

    fn settings(&mut self, visibility_ms: u64, max_attempts: u32) -> QueueSettings {
        QueueSettings { visibility_ms, max_attempts, dead_letter: None }
    }

    /// The identity of the next `count` items.
    pub(crate) fn identify(&mut self, count: u64) -> Option<Identity> {
        if self.identity.sequence > SEQUENCES {
            self.identity = Identity { producer: self.random.u128(..).to_le_bytes(), sequence: 1 };
        }
        let identity = self.identity;
        self.identity.sequence += count;
        Some(identity)
    }

    fn send(&mut self, model: &Model) -> Request {
        let queue = self.queue();
        let there = model.queues.get(&queue).map_or(0, |queue| queue.messages.len());
        if there > MESSAGES_MAX {
            return Request::Receive { queue, max: 4, visibility_ms: None };
        }
        let count = if self.random.u8(..3) == 0 { self.random.u64(2..=4) } else { 1 };
        let messages = (0..count)
            .map(|_| {
                self.serial += 1;
                let key = *self.random.choice(&KEYS).unwrap_or(&"");
                let delay_ms = if self.random.u8(..6) == 0 { 2_000 } else { 0 };
                Outgoing { serial: self.serial, key: key.to_owned(), delay_ms }
            })
            .collect();
        let identity = self.identify(count).filter(|_| !self.asked.is_multiple_of(3));
        Request::Send(queue, messages, identity)
    }

    fn receive(&mut self) -> Request {
        let mut queue = self.queue();
        if self.random.u8(..8) == 0 {
            queue = "mail.dead".to_owned();
        }
        let visibility_ms = (self.random.u8(..3) == 0).then_some(20_000);
        Request::Receive { queue, max: self.random.usize(1..=3), visibility_ms }
    }

    fn settle(&mut self, model: &Model) -> Request {
        let how = match self.random.u8(..10) {
            0..=5 => How::Ack,
            6 => How::Nack { delay_ms: 0, release: true },
            7 => How::Nack { delay_ms: 1_000, release: false },
            8 => How::Nack { delay_ms: 0, release: false },
            _ => How::Extend { by_ms: 8_000 },
        };
        let mut tokens: Vec<Token> = model.live_tokens();
        if self.random.u8(..5) == 0 {
            // Finished or granted again: to be refused, beside others that are not.
            tokens = model.fenced.iter().copied().collect();
            tokens.extend(model.live_tokens().first());
        } else if self.random.u8(..5) == 0 {
            // Late: given back, and not granted again yet.
            let messages = model.queues.values().flat_map(|queue| queue.messages.values());
            tokens = messages.filter_map(|message| message.token).collect();
        }
        self.random.shuffle(&mut tokens);
        tokens.truncate(self.random.usize(1..=3));
        if tokens.is_empty() {
            return self.receive();
        }
        let identity = self.identify(tokens.len() as u64).filter(|_| self.asked % 3 != 1);
        Request::Settle(tokens, how, identity)
    }

    fn odd(&mut self, model: &Model) -> Request {
        match self.random.u8(..3) {
            0 => Request::Purge(self.queue(), self.identify(1)),
            1 if model.queues.contains_key("spare") => {
                Request::Delete("spare".to_owned(), self.identify(1))
            }
            _ => Request::Create("spare".to_owned(), self.settings(1_000, 1), self.identify(1)),
        }
    }

    /// A queue that is there already, or was made for a moment.
    fn again(&mut self, now_ms: u64) -> Request {
        let (name, visibility_ms, max_attempts) = QUEUES
            .get(usize::try_from(now_ms % 3).unwrap_or(0))
            .copied()
            .unwrap_or(("orders", 5_000, 0));
        let settings = self.settings(visibility_ms, max_attempts);
        Request::Create(name.to_owned(), settings, self.identify(1))
    }
}
