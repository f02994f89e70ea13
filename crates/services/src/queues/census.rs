//! Queues and their messages in a view that nobody serves: what a restored store holds.
//!
//! Invariant: counts rows and changes nothing; it needs no index.

use std::ops::Bound;

use rekindle_database::{KeyspaceId, Past};

use crate::error::Error;
use crate::keys::{queue, subject};
use crate::queues::definition::Definition;

/// Most rows that are looked at at once.
const PAGE_ROWS: usize = 4_096;

/// A queue and its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCount {
    /// Its name.
    pub name: String,
    /// Its messages, leased and delayed ones among them.
    pub messages: u64,
}

/// The queues of a view, by name.
///
/// # Errors
/// `Corrupt` for a definition that is none, `Io` of the engine.
pub fn census(view: &Past) -> Result<Vec<QueueCount>, Error> {
    let Some(queues) = view.keyspace("queues")? else { return Ok(Vec::new()) };
    let messages = view.keyspace("messages")?;
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut counts = Vec::new();
    for row in view.scan(queues, all, usize::MAX)? {
        let name = queue::parse(&row.key).map_err(|bad| Error::corrupt(bad.to_string()))?;
        let definition = Definition::parse(name, &row.value);
        let definition = definition.map_err(|bad| Error::corrupt(bad.to_string()))?;
        let messages = messages.map_or(Ok(0), |at| count(view, at, definition.id))?;
        counts.push(QueueCount { name: name.to_owned(), messages });
    }
    Ok(counts)
}

/// How many rows of the keyspace belong to a queue.
fn count(view: &Past, messages: KeyspaceId, queue: u64) -> Result<u64, Error> {
    let (first, behind) = subject::range(queue);
    let (mut from, mut counted) = (Bound::Included(first.to_vec()), 0);
    loop {
        let range = (from.as_ref().map(Vec::as_slice), Bound::Excluded(&behind[..]));
        let rows = view.scan(messages, range, PAGE_ROWS)?;
        counted += rows.len() as u64;
        match rows.last() {
            Some(last) if rows.len() == PAGE_ROWS => from = Bound::Excluded(last.key.to_vec()),
            _ => return Ok(counted),
        }
    }
}
