//! Scanning and joining: the rows of four keyspaces become one item per message.
//!
//! `messages`, `leases` and `attempts` have equal keys and are joined in their order; the index by
//! time is gathered per message first, since there are only as many of its rows as there are
//! leases.

use std::collections::HashMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::vec::IntoIter;

use rekindle_database::{KeyspaceId, Row, Snapshot};
use rekindle_recovery::{Failure, Meter};

use crate::keys::lease_expiry::parse_lease_expiry_key;
use crate::keys::{Keyspaces, message};
use crate::queues::MessageId;
use crate::queues::recovery::table::BadKey;

/// Rows that one read asks for.
const PAGE: usize = 8_192;

/// Raw rows, in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) queues: Vec<Row>,
    pub(crate) messages: Vec<Row>,
    pub(crate) leases: Vec<Row>,
    pub(crate) attempts: Vec<Row>,
    pub(crate) lease_expiry: Vec<Row>,
}

impl Pieces {
    /// Reads them; changes nothing.
    pub(crate) fn scan(
        snapshot: &Snapshot,
        keyspaces: &Keyspaces,
        meter: &Meter,
    ) -> Result<Self, Failure> {
        let all = |keyspace, name| scan_all(snapshot, keyspace, name, meter);
        Ok(Self {
            queues: all(keyspaces.queues, "queues")?,
            messages: all(keyspaces.messages, "messages")?,
            leases: all(keyspaces.leases, "leases")?,
            attempts: all(keyspaces.attempts, "attempts")?,
            lease_expiry: all(keyspaces.lease_expiry, "lease_expiry")?,
        })
    }
}

/// All rows of a keyspace, a page at a time.
pub(crate) fn scan_all(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    name: &str,
    meter: &Meter,
) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let from = rows.last().map(|row| row.key.clone());
        let start = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let page = snapshot
            .scan(keyspace, (start, Bound::Unbounded), PAGE, false)
            .map_err(|error| Failure::io(format!("scan {name}"), std::io::Error::other(error)))?;
        let last = page.len() < PAGE;
        meter.advance(0, page.len() as u64);
        rows.extend(page);
        if last {
            return Ok(rows);
        }
    }
}

/// A row whose key cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) what: BadKey,
    pub(crate) keyspace: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) found: String,
}

/// Everything there is of one message.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) id: MessageId,
    pub(crate) message: Option<Row>,
    pub(crate) lease: Option<Row>,
    pub(crate) attempts: Option<Row>,
    /// Deadlines in the index by time.
    pub(crate) expiries: Vec<u64>,
}

/// Joins the rows of all messages, in the order of their keys.
pub(crate) struct Join {
    messages: Peekable<IntoIter<(MessageId, Row)>>,
    leases: Peekable<IntoIter<(MessageId, Row)>>,
    attempts: Peekable<IntoIter<(MessageId, Row)>>,
    expiries: HashMap<MessageId, Vec<u64>>,
    /// Ids that only the index by time knows, behind all others.
    alone: Option<IntoIter<(MessageId, Vec<u64>)>>,
}

impl Join {
    /// Parses the keys; those that cannot be read are set aside.
    pub(crate) fn new(
        messages: Vec<Row>,
        leases: Vec<Row>,
        attempts: Vec<Row>,
        lease_expiry: Vec<Row>,
        unreadable: &mut Vec<Unreadable>,
    ) -> Self {
        let mut keyed = |rows: Vec<Row>, keyspace: &'static str| {
            let mut good = Vec::with_capacity(rows.len());
            for row in rows {
                match message::parse(&row.key) {
                    Ok(id) => good.push((id, row)),
                    Err(malformed) => unreadable.push(Unreadable {
                        what: BadKey::Message,
                        keyspace,
                        key: row.key.to_vec(),
                        found: malformed.found,
                    }),
                }
            }
            good.into_iter().peekable()
        };
        let messages = keyed(messages, "messages");
        let leases = keyed(leases, "leases");
        let attempts = keyed(attempts, "attempts");
        let mut expiries: HashMap<MessageId, Vec<u64>> = HashMap::new();
        for row in lease_expiry {
            match parse_lease_expiry_key(&row.key) {
                Ok(expiry) => expiries.entry(expiry.message).or_default().push(expiry.deadline_ms),
                Err(malformed) => unreadable.push(Unreadable {
                    what: BadKey::LeaseExpiry,
                    keyspace: "lease_expiry",
                    key: row.key.to_vec(),
                    found: malformed.found,
                }),
            }
        }
        Self { messages, leases, attempts, expiries, alone: None }
    }
}

impl Iterator for Join {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let heads = [self.messages.peek(), self.leases.peek(), self.attempts.peek()];
        let first = heads.into_iter().flatten().map(|(id, _)| *id).min();
        let Some(id) = first else {
            // What is left was met by no message, lease or attempt; sorted, so that two recoveries
            // say the same in the same order.
            let alone = self.alone.get_or_insert_with(|| {
                let mut alone: Vec<_> = self.expiries.drain().collect();
                alone.sort_unstable();
                alone.into_iter()
            });
            let (id, expiries) = alone.next()?;
            return Some(Item { id, message: None, lease: None, attempts: None, expiries });
        };
        let take = |rows: &mut Peekable<IntoIter<(MessageId, Row)>>| {
            rows.next_if(|(other, _)| *other == id).map(|(_, row)| row)
        };
        let message = take(&mut self.messages);
        let lease = take(&mut self.leases);
        let attempts = take(&mut self.attempts);
        let expiries = self.expiries.remove(&id).unwrap_or_default();
        Some(Item { id, message, lease, attempts, expiries })
    }
}
