//! What a transaction read, and whether it is still true.
//!
//! Invariant: a transaction commits only when nothing that it read, point or range, was written
//! above the version that it read at; then it could as well have run alone at its own version.

use std::ops::Bound;

use rekindle_engine::KeyspaceId;

use crate::error::Error;
use crate::overlay::{KeyRange, Overlay};

/// A range of bytes in the arena.
type Span = std::ops::Range<usize>;

/// The keys and ranges that a transaction read. The bytes of all of them lie in one buffer.
#[derive(Debug, Default)]
pub(crate) struct ReadSet {
    arena: Vec<u8>,
    points: Vec<(KeyspaceId, Span)>,
    ranges: Vec<(KeyspaceId, Bound<Span>, Bound<Span>)>,
}

impl ReadSet {
    /// Notes a key.
    pub(crate) fn point(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        let span = self.keep(key);
        self.points.push((keyspace, span));
    }

    /// Notes a range.
    pub(crate) fn range(&mut self, keyspace: KeyspaceId, range: KeyRange<'_>) {
        let start = range.0.map(|key| self.keep(key));
        let end = range.1.map(|key| self.keep(key));
        self.ranges.push((keyspace, start, end));
    }

    fn keep(&mut self, key: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(key);
        start..self.arena.len()
    }

    fn slice(&self, span: &Span) -> &[u8] {
        self.arena.get(span.clone()).expect("spans are made by keep")
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.len() + 24 * self.points.len() + 56 * self.ranges.len()
    }

    /// Refuses when something read at version `at` was written since.
    pub(crate) fn validate(&self, overlay: &mut Overlay, at: u64) -> Result<(), Error> {
        assert!(at >= overlay.floor(), "the overlay holds all writes above every reader");
        if at >= overlay.latest() {
            return Ok(());
        }
        overlay.index();
        for (keyspace, span) in &self.points {
            let key = self.slice(span);
            let newest = overlay.get(*keyspace, key, u64::MAX).map(|found| found.version);
            if let Some(version) = newest.filter(|&version| version > at) {
                return Err(Error::Conflict { keyspace: *keyspace, key: key.to_vec(), version });
            }
        }
        if !self.ranges.is_empty() {
            overlay.order();
        }
        for (keyspace, start, end) in &self.ranges {
            let bound = |bound: &Bound<Span>| match bound {
                Bound::Included(span) => Bound::Included(self.slice(span)),
                Bound::Excluded(span) => Bound::Excluded(self.slice(span)),
                Bound::Unbounded => Bound::Unbounded,
            };
            let change = overlay.change_in(*keyspace, (bound(start), bound(end)), at);
            if let Some((key, version)) = change {
                return Err(Error::Conflict { keyspace: *keyspace, key: key.to_vec(), version });
            }
        }
        Ok(())
    }
}
