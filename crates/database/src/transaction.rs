//! A read-write transaction.
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rekindle_engine::{KeyspaceId, Row};
use rekindle_journal::Outcome;

use crate::error::Error;

/// A value and the version that wrote it (0: this transaction's own write).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The transaction that wrote it.
    pub version: u64,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

/// An acknowledged transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its version; for one that wrote nothing, the newest version that it read.
    pub version: u64,
    /// What the acknowledgement promises.
    pub outcome: Outcome,
}

/// A read-write transaction.
#[derive(Debug)]
pub struct Transaction {}

impl Transaction {
    /// The newest value of a key, this transaction's own writes included.
    pub fn get(&mut self, _keyspace: KeyspaceId, _key: &[u8]) -> Result<Option<Value>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Up to `limit` rows of a range, own writes included.
    pub fn scan(
        &mut self,
        _keyspace: KeyspaceId,
        _range: (Bound<&[u8]>, Bound<&[u8]>),
        _limit: usize,
        _reverse: bool,
    ) -> Result<Vec<Row>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Sets a key.
    pub fn put(&mut self, _keyspace: KeyspaceId, _key: &[u8], _value: &[u8]) {
        unimplemented!("lands with the next commit")
    }

    /// Removes a key.
    pub fn delete(&mut self, _keyspace: KeyspaceId, _key: &[u8]) {
        unimplemented!("lands with the next commit")
    }

    /// Removes all keys from `start` up to, not including, `end`; an empty `end` has no bound.
    pub fn delete_range(&mut self, _keyspace: KeyspaceId, _start: &[u8], _end: &[u8]) {
        unimplemented!("lands with the next commit")
    }

    /// Commits and blocks until it is acknowledged.
    pub fn commit(self) -> Result<Commit, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Orders and appends; blocks only for room in the journal.
    pub fn submit(self) -> Result<Pending, Error> {
        unimplemented!("lands with the next commit")
    }

    /// The same; awaits room.
    pub async fn submit_async(self) -> Result<Pending, Error> {
        unimplemented!("lands with the next commit")
    }
}

/// A transaction that is ordered and appended, and not yet acknowledged.
#[derive(Debug)]
pub struct Pending {
    version: u64,
}

impl Pending {
    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Blocks until it is acknowledged.
    pub fn wait(self) -> Result<Commit, Error> {
        unimplemented!("lands with the next commit")
    }
}

impl Future for Pending {
    type Output = Result<Commit, Error>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!("lands with the next commit")
    }
}
