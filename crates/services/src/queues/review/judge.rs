//! What a review is about, judged from its rows, and which decisions it allows.
//!
//! Invariant: the same rows are judged alike by recovery, by who looks and by who decides.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rekindle_database::{Snapshot, Transaction, Value};
use rekindle_recovery::{Label, Meter};

use crate::bytes::Malformed;
use crate::claims;
use crate::error::{Error, Kind};
use crate::exec::{Core, Stop};
use crate::keys::message as key;
use crate::queues::MessageId;
use crate::queues::attempts::{Attempts, UNDER_REVIEW};
use crate::queues::definition::Definition;
use crate::queues::lease::Lease;
use crate::queues::message::parse;
use crate::queues::recovery::{BadKey, scan_all};
use crate::queues::review::{ReviewItem, UnreadRow};

/// A message whose rows are whole and whose lease could not be ended.
const UNSETTLED: Label = Label("queue-14");

/// Names a review; one opaque word, safe in URLs and shells. That of a message is the message's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReviewId {
    /// A message.
    Message(MessageId),
    /// A row that cannot be read.
    Row(u64),
}

/// What a person can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// What was proposed is done.
    Approve,
    /// It is served again, its attempts kept.
    Retry,
    /// It is given up: into the dead-letter queue.
    Fail,
}

impl Decision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Approve, Self::Retry, Self::Fail];

    /// The word used in commands and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Retry => "retry",
            Self::Fail => "fail",
        }
    }

    /// Its action in the audit log.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Approve => "review.approve",
            Self::Retry => "review.retry",
            Self::Fail => "review.fail",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Decision {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|decision| decision.as_str() == word);
        found.ok_or_else(|| Error::invalid(format!("{word:?} is none of approve, retry, fail")))
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Trouble {
    /// A lease or attempts of no message.
    NoMessage,
    /// The message cannot be read.
    BadMessage,
    /// Its lease or attempts cannot be read.
    BadClaim,
    /// Its queue does not exist.
    NoQueue,
    /// The server died with it too often.
    Crashes,
    /// Whole, but its lease could not be ended.
    Unsettled,
    /// A key of the index of leases by time.
    BadExpiryKey,
    /// A key of `messages`, `leases` or `attempts`.
    BadKey,
    /// A queue's definition.
    BadDefinition,
}

/// What can be decided about it, what that does, and why the rest cannot be.
struct Terms {
    label: Label,
    found: &'static str,
    /// Why approving is refused; `None`: it is not.
    approve: Option<&'static str>,
    /// The same for retrying.
    retry: Option<&'static str>,
    /// The same for failing.
    fail: Option<&'static str>,
}

const NOTHING_TO_SERVE: Option<&str> = Some("there is no message to serve");
const NOTHING_TO_BURY: Option<&str> =
    Some("there is no message for a dead-letter queue; approve removes what is left");
const NOTHING_PROPOSED: Option<&str> = Some("nothing is proposed; choose retry or fail");

impl Trouble {
    fn terms(self) -> Terms {
        let terms = |label, found, [approve, retry, fail]: [Option<&'static str>; 3]| Terms {
            label: Label(label),
            found,
            approve,
            retry,
            fail,
        };
        match self {
            Self::NoMessage => terms(
                "queue-7",
                "a lease or attempts without a message",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
            Self::BadMessage => terms(
                "queue-8",
                "a message that cannot be read",
                [
                    Some("nothing is proposed; choose fail"),
                    Some("it cannot be read, so it cannot be served; fail keeps its bytes"),
                    None,
                ],
            ),
            Self::BadClaim => terms(
                "queue-9",
                "a lease or attempts that cannot be read",
                [NOTHING_PROPOSED, None, None],
            ),
            Self::NoQueue => terms(
                "queue-10",
                "a message or its rows whose queue does not exist",
                [
                    None,
                    Some("its queue does not exist; approve removes it for good"),
                    Some("its queue, and so its dead-letter queue, is not known"),
                ],
            ),
            Self::Crashes => {
                terms("claim-8", "the server died with it three times in a row", [None, None, None])
            }
            Self::Unsettled => terms(
                UNSETTLED.0,
                "its lease ran out and could not be ended",
                [NOTHING_PROPOSED, None, None],
            ),
            Self::BadExpiryKey => terms(
                "queue-11",
                "a key of lease_expiry that cannot be read",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
            Self::BadKey => terms(
                "queue-12",
                "a key of messages, leases or attempts that cannot be read",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
            Self::BadDefinition => terms(
                "queue-13",
                "a queue's definition that cannot be read",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
        }
    }

    /// Why this decision is refused, if it is.
    pub(crate) fn refusal(self, decision: Decision) -> Option<&'static str> {
        let Terms { approve, retry, fail, .. } = self.terms();
        match decision {
            Decision::Approve => approve,
            Decision::Retry => retry,
            Decision::Fail => fail,
        }
    }
}

/// A row as it was read.
#[derive(Clone, Debug)]
pub(crate) enum Stored<T> {
    /// There is none.
    Absent,
    /// Whole.
    Good(T),
    /// It cannot be read: why.
    Bad(String),
}

impl<T> Stored<T> {
    /// What is in it.
    pub(crate) fn good(&self) -> Option<&T> {
        match self {
            Self::Good(value) => Some(value),
            Self::Absent | Self::Bad(_) => None,
        }
    }

    fn is_bad(&self) -> bool {
        matches!(self, Self::Bad(_))
    }

    fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// A row that cannot be read. Its bytes are not told: they may be what somebody sent.
fn unread<T>(malformed: &Malformed, bytes: &[u8]) -> Stored<T> {
    Stored::Bad(format!("expected {}, found {} other bytes", malformed.expected, bytes.len()))
}

/// Everything there is about one review.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What is wrong.
    pub(crate) trouble: Trouble,
    /// Its queue, where it exists.
    pub(crate) queue: Option<Arc<Definition>>,
    /// The bytes of the message, readable or not.
    pub(crate) bytes: Option<Arc<[u8]>>,
    /// Whether they are a message.
    pub(crate) message: Stored<()>,
    /// Its lease.
    pub(crate) lease: Stored<Lease>,
    /// Its attempts.
    pub(crate) attempts: Stored<Attempts>,
    /// The row, where it is about one.
    pub(crate) row: Option<UnreadRow>,
}

impl Case {
    /// As it stands in a snapshot; `None` when nothing of it is there any more.
    pub(crate) fn read(
        core: &Core,
        snapshot: &Snapshot,
        id: ReviewId,
    ) -> Result<Option<Self>, Error> {
        let read = |keyspace, key: &[u8]| snapshot.get(keyspace, key);
        Self::load(core, id, read).map_err(Error::from)
    }

    /// As it stands in a transaction that decides about it.
    pub(crate) fn in_txn(
        core: &Core,
        txn: &mut Transaction,
        id: ReviewId,
    ) -> Result<Option<Self>, Stop> {
        Self::load(core, id, |keyspace, key| txn.get(keyspace, key)).map_err(Stop::Failed)
    }

    fn load<E>(
        core: &Core,
        id: ReviewId,
        mut get: impl FnMut(rekindle_database::KeyspaceId, &[u8]) -> Result<Option<Value>, E>,
    ) -> Result<Option<Self>, E> {
        let message = match id {
            ReviewId::Message(message) => message,
            ReviewId::Row(number) => {
                let Some(row) = core.index.unowned().row(number).cloned() else { return Ok(None) };
                let value = get(row.keyspace(&core.keyspaces), &row.key)?;
                return Ok(value.map(|value| Self::of_row(row, value.bytes)));
            }
        };
        let keyspaces = &core.keyspaces;
        let key = key::encode(message);
        let bytes = get(keyspaces.messages, &key)?.map(|value| value.bytes);
        let parsed = match &bytes {
            None => Stored::Absent,
            Some(bytes) => match parse(bytes) {
                Ok(_) => Stored::Good(()),
                Err(malformed) => unread(&malformed, bytes),
            },
        };
        let lease = match get(keyspaces.leases, &key)? {
            None => Stored::Absent,
            Some(row) => match Lease::parse(&row.bytes, row.version) {
                Ok(lease) => Stored::Good(lease),
                Err(malformed) => unread(&malformed, &row.bytes),
            },
        };
        let attempts = match get(keyspaces.attempts, &key)? {
            None => Stored::Absent,
            Some(row) => match Attempts::parse(&row.bytes) {
                Ok(attempts) => Stored::Good(attempts),
                Err(malformed) => unread(&malformed, &row.bytes),
            },
        };
        let queue = core.index.definition_of(message.queue);
        Ok(Self::of_message(queue, bytes, parsed, lease, attempts))
    }

    fn of_message(
        queue: Option<Arc<Definition>>,
        bytes: Option<Arc<[u8]>>,
        message: Stored<()>,
        lease: Stored<Lease>,
        attempts: Stored<Attempts>,
    ) -> Option<Self> {
        let due_ms = attempts.good().map_or(0, |attempts| attempts.due_ms);
        let trouble = match () {
            () if !(message.is_there() || lease.is_there() || attempts.is_there()) => return None,
            () if queue.is_none() => Trouble::NoQueue,
            () if !message.is_there() => Trouble::NoMessage,
            () if message.is_bad() => Trouble::BadMessage,
            () if lease.is_bad() || attempts.is_bad() => Trouble::BadClaim,
            () if !lease.is_there() && due_ms == UNDER_REVIEW => Trouble::Crashes,
            () => Trouble::Unsettled,
        };
        Some(Self { trouble, queue, bytes, message, lease, attempts, row: None })
    }

    fn of_row(row: UnreadRow, bytes: Arc<[u8]>) -> Self {
        let trouble = match row.what {
            BadKey::LeaseExpiry => Trouble::BadExpiryKey,
            BadKey::Message => Trouble::BadKey,
            BadKey::Definition => Trouble::BadDefinition,
        };
        Self {
            trouble,
            queue: None,
            bytes: Some(bytes),
            message: Stored::Absent,
            lease: Stored::Absent,
            attempts: Stored::Absent,
            row: Some(row),
        }
    }

    /// What is told about it in a list.
    pub(crate) fn item(&self, id: ReviewId, since_ms: u64) -> ReviewItem {
        let Terms { label, found, .. } = self.trouble.terms();
        let allowed = |decision: &Decision| self.trouble.refusal(*decision).is_none();
        ReviewItem {
            id,
            label: label.0,
            queue: self.queue.as_ref().map(|queue| queue.name.clone()),
            found,
            since_ms,
            decisions: Decision::ALL.into_iter().filter(allowed).collect(),
        }
    }

    /// Refuses a decision that cannot mean anything here.
    pub(crate) fn check(&self, id: ReviewId, decision: Decision) -> Result<(), Error> {
        let Some(why) = self.trouble.refusal(decision) else { return Ok(()) };
        let found = self.trouble.terms().found;
        let message = format!("{decision} cannot be decided about {id} ({found}): {why}");
        Err(Error::new(Kind::Conflict, message))
    }
}

impl Core {
    /// Deadlines in the index of leases by time of what this review is about. Looks through all of
    /// them: a lease that cannot be read does not say its own.
    pub(crate) fn expiries_of(&self, id: ReviewId) -> Result<BTreeSet<u64>, Error> {
        let ReviewId::Message(message) = id else { return Ok(BTreeSet::new()) };
        let snapshot = self.database.snapshot()?;
        let keyspace = self.keyspaces.lease_expiry;
        let rows = scan_all(&snapshot, keyspace, "lease_expiry", &Meter::default())
            .map_err(|failure| Error::new(Kind::Io, failure.to_string()))?;
        let parsed = rows
            .iter()
            .filter_map(|row| crate::keys::lease_expiry::parse_lease_expiry_key(&row.key).ok());
        let own = parsed.filter(|expiry| expiry.message == message);
        Ok(own.map(|expiry| expiry.deadline_ms).collect())
    }
}

/// How many crashes in a row a history shows.
pub(crate) fn crashes(attempts: &Attempts) -> usize {
    let count = attempts.crashes_in_a_row();
    debug_assert!(attempts.due_ms != UNDER_REVIEW || count >= claims::CRASHES_MAX);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Trouble; 9] = [
        Trouble::NoMessage,
        Trouble::BadMessage,
        Trouble::BadClaim,
        Trouble::NoQueue,
        Trouble::Crashes,
        Trouble::Unsettled,
        Trouble::BadExpiryKey,
        Trouble::BadKey,
        Trouble::BadDefinition,
    ];

    /// Every trouble has a label of its own and a way out, and says why the other ways are none.
    ///
    /// proves: L10
    #[test]
    fn every_trouble_has_a_way_out() {
        let labels: BTreeSet<&str> = ALL.iter().map(|trouble| trouble.terms().label.0).collect();
        assert_eq!(labels.len(), ALL.len());
        for trouble in ALL {
            let refusals = Decision::ALL.map(|decision| trouble.refusal(decision));
            assert!(refusals.iter().any(Option::is_none), "{trouble:?}");
            assert!(refusals.iter().flatten().all(|why| !why.is_empty()), "{trouble:?}");
        }
        for decision in Decision::ALL {
            assert_eq!(decision.as_str().parse::<Decision>(), Ok(decision));
        }
        assert!("approved".parse::<Decision>().is_err());
    }
}
