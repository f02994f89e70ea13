//! A consistent read view of the past.
use std::ops::Bound;

use rekindle_engine::{KeyspaceId, Row};

use crate::error::Error;
use crate::transaction::Value;

/// A read view at one version; it does not change while the database goes on.
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
}

impl Snapshot {
    /// The version that it shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The value of a key.
    pub fn get(&self, _keyspace: KeyspaceId, _key: &[u8]) -> Result<Option<Value>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Up to `limit` rows of a range, ascending, or descending with `reverse`.
    pub fn scan(
        &self,
        _keyspace: KeyspaceId,
        _range: (Bound<&[u8]>, Bound<&[u8]>),
        _limit: usize,
        _reverse: bool,
    ) -> Result<Vec<Row>, Error> {
        unimplemented!("lands with the next commit")
    }
}
