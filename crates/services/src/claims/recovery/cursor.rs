//! The rows of a range, a page at a time.

use std::ops::Bound;
use std::sync::Arc;
use std::vec::IntoIter;

use rekindle_database::{KeyspaceId, Row, Snapshot, Value};
use rekindle_recovery::{Failure, Meter};

/// Most rows, and about how many bytes, that one read brings.
const PAGE_ROWS: usize = 8_192;
const PAGE_BYTES: usize = 16 << 20;

/// Reads a range in the order of its keys. Invariant: no more than a page is in memory.
pub(crate) struct Cursor<'a> {
    snapshot: &'a Snapshot,
    keyspace: (KeyspaceId, &'a str),
    range: (Bound<Arc<[u8]>>, Bound<&'a [u8]>),
    meter: &'a Meter,
    page: IntoIter<Row>,
    rows: usize,
    is_last: bool,
}

impl<'a> Cursor<'a> {
    /// At the first row of a range.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        keyspace: (KeyspaceId, &'a str),
        (first, end): (Bound<&[u8]>, Bound<&'a [u8]>),
        meter: &'a Meter,
    ) -> Self {
        let range = (first.map(Arc::from), end);
        let page = Vec::new().into_iter();
        Self { snapshot, keyspace, range, meter, page, rows: 256, is_last: false }
    }

    /// No more than so many rows are there: none beyond them is asked for.
    pub(super) fn expecting(mut self, rows: u64) -> Self {
        // One more tells that it was the last.
        self.rows = usize::try_from(rows.saturating_add(1)).map_or(PAGE_ROWS, |rows| rows.min(256));
        self
    }

    /// The next row without taking it.
    pub(super) fn peek(&mut self) -> Result<Option<&Row>, Failure> {
        self.fill()?;
        Ok(self.page.as_slice().first())
    }

    /// The next row.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        self.fill()?;
        Ok(self.page.next())
    }

    fn fill(&mut self) -> Result<(), Failure> {
        if self.page.len() > 0 || self.is_last {
            return Ok(());
        }
        let (keyspace, name) = self.keyspace;
        let start = self.range.0.as_ref().map(|key| &key[..]);
        let page = self
            .snapshot
            .scan(keyspace, (start, self.range.1), self.rows, false)
            .map_err(|error| Failure::io(format!("scan {name}"), std::io::Error::other(error)))?;
        self.is_last = page.len() < self.rows;
        self.meter.advance(0, page.len() as u64);
        if let Some(last) = page.last() {
            self.range.0 = Bound::Excluded(Arc::clone(&last.key));
        }
        let bytes: usize = page.iter().map(|row| row.key.len() + row.value.len()).sum();
        let each = (bytes / page.len().max(1)).max(1);
        self.rows = (PAGE_BYTES / each).clamp(1, PAGE_ROWS);
        self.page = page.into_iter();
        Ok(())
    }
}

/// The row with this key, if it is there. A scan of one row looks into every file of an engine that
/// has any; this asks their filters.
pub(crate) fn one(
    snapshot: &Snapshot,
    (keyspace, name): (KeyspaceId, &str),
    key: &[u8],
    meter: &Meter,
) -> Result<Option<Row>, Failure> {
    let found = snapshot.get(keyspace, key);
    let found =
        found.map_err(|error| Failure::io(format!("read {name}"), std::io::Error::other(error)))?;
    meter.advance(0, 1);
    let row = |Value { version, bytes }| Row { key: Arc::from(key), version, value: bytes };
    Ok(found.map(row))
}

impl Iterator for Cursor<'_> {
    type Item = Result<Row, Failure>;

    fn next(&mut self) -> Option<Result<Row, Failure>> {
        self.next_row().transpose()
    }
}
