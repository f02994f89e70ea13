//! What callers of the queue service hand in and get back.

use std::sync::Arc;

use crate::claims::{Subject, Token};

/// What is chosen when a queue is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long a received message stays leased, milliseconds (default: 30 s).
    pub visibility_ms: u64,
    /// Charged attempts (failed, lease expired) after which a message goes to the dead-letter
    /// queue; 0: no limit, the default.
    pub max_attempts: u32,
    /// That queue; `None` with limited attempts means `NAME.dead`.
    pub dead_letter: Option<String>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { visibility_ms: 30_000, max_attempts: 0, dead_letter: None }
    }
}

/// A queue: what it is and how full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// Its settings, `dead_letter` resolved.
    pub settings: QueueSettings,
    /// When it was created, log time in milliseconds.
    pub created_ms: u64,
    /// How full it is.
    pub stats: QueueStats,
}

/// How full a queue is, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Messages that can be received now.
    pub ready: u64,
    /// Messages under a lease (those being granted at this moment included).
    pub leased: u64,
    /// Messages that become ready later.
    pub delayed: u64,
    /// Messages that wait for a person: damaged ones, and what killed the server too often.
    pub review: u64,
    /// Distinct fairness keys among the ready messages.
    pub keys: u64,
    /// Milliseconds until the first lease runs out.
    pub next_expiry_ms: Option<u64>,
    /// Milliseconds until the first delayed message becomes ready.
    pub next_ready_ms: Option<u64>,
}

/// A message as it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// The payload.
    pub body: &'a [u8],
    /// Names and values, order and repetitions kept.
    pub headers: &'a [(&'a str, &'a str)],
    /// Messages of one key are first in, first out; keys take turns.
    pub fairness_key: &'a str,
    /// How long it stays away before it is ready, milliseconds of log time.
    pub delay_ms: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveRequest<'a> {
    /// From which queue.
    pub queue: &'a str,
    /// The most messages; the limits may make it fewer.
    pub max: usize,
    /// How long the leases last; `None`: the visibility of the queue.
    pub visibility_ms: Option<u64>,
    /// Who receives, for people who look at leases.
    pub owner: &'a str,
}

/// A message under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names the message.
    pub id: Subject,
    /// Names the message and this grant.
    pub token: Token,
    /// 1 for the first grant.
    pub attempt: u32,
    /// When the lease runs out, log time in milliseconds.
    pub deadline_ms: u64,
    /// How long the lease lasts from the grant, milliseconds.
    pub visibility_ms: u64,
    /// When it was sent, log time in milliseconds.
    pub sent_ms: u64,
    /// Its fairness key.
    pub fairness_key: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    pub(crate) row: Arc<[u8]>,
    pub(crate) body_at: usize,
}

impl Delivery {
    /// The payload.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.row.get(self.body_at..).unwrap_or_default()
    }
}

/// How messages are given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nack<'a> {
    /// How long they stay away, milliseconds of log time.
    pub delay_ms: u64,
    /// Kept with the attempt.
    pub reason: &'a str,
    /// Given back unstarted: the cause is `released`, which is never charged.
    pub release: bool,
}

/// What creating did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// False: it was there already, with equal settings.
    pub new: bool,
}

/// What deleting did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Messages that went with it.
    pub messages: u64,
}

/// What purging did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Messages that went.
    pub messages: u64,
}

/// What became of one token's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is finished and gone.
    Acked,
    /// It is ready again, or will be after its delay.
    Returned,
    /// Its attempts are used up: it is in the dead-letter queue.
    DeadLettered,
    /// A person decides about it; until then nobody receives it.
    UnderReview,
    /// Its lease runs out then, log time in milliseconds.
    Extended {
        /// The new deadline.
        deadline_ms: u64,
    },
}
