//! Calls on keys and values.

use bytes::Bytes;
use rekindle_wire::v1::{
    Check, CompareAndSetRequest, DeleteOperation, DeleteRangeOperation, DeleteRequest, Durability,
    GetRequest, Operation, PutOperation, PutRequest, Row, ScanRequest, Scope, TransactRequest,
    operation,
};

use crate::client::{Client, Effect};
use crate::error::Error;

/// A value and the version that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The version that wrote it.
    pub version: u64,
}

/// What a compare-and-set expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No such key.
    Absent,
    /// The key, last written by this version.
    Version(u64),
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Deletes the keys from `start`, itself included, to `end`, itself excluded.
    DeleteRange {
        /// The first.
        start: Bytes,
        /// Behind the last.
        end: Bytes,
    },
}

/// Which rows to scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// The first key, itself included; empty: the first of the scope.
    pub start: Bytes,
    /// The end, itself excluded; empty: the end of the scope.
    pub end: Bytes,
    /// The most rows of the page; 0: the server's page size.
    pub limit: u32,
    /// From the last row to the first.
    pub reverse: bool,
    /// As of this version.
    pub at_version: Option<u64>,
    /// Without values.
    pub keys_only: bool,
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// More rows follow.
    pub more: bool,
    /// The version that was read.
    pub version: u64,
}

impl ScanOptions {
    /// The page that follows `page`, read at the same version; `None` when it was the last.
    #[must_use]
    pub fn following(&self, page: &Page) -> Option<Self> {
        let last = page.rows.last().filter(|_| page.more)?;
        let mut next = Self { at_version: Some(page.version), ..self.clone() };
        if self.reverse {
            next.end = last.key.clone();
        } else {
            // The smallest key behind the last one.
            let mut start = Vec::with_capacity(last.key.len() + 1);
            start.extend_from_slice(&last.key);
            start.push(0);
            next.start = start.into();
        }
        Some(next)
    }
}

impl From<Write> for Operation {
    fn from(write: Write) -> Self {
        let operation = match write {
            Write::Put { key, value } => operation::Operation::Put(PutOperation { key, value }),
            Write::Delete { key } => operation::Operation::Delete(DeleteOperation { key }),
            Write::DeleteRange { start, end } => {
                operation::Operation::DeleteRange(DeleteRangeOperation { start, end })
            }
        };
        Self { operation: Some(operation) }
    }
}

impl Client {
    /// A value, now or as of an older version.
    pub async fn kv_get(
        &self,
        scope: &Scope,
        key: impl Into<Bytes>,
        at_version: Option<u64>,
    ) -> Result<Option<Versioned>, Error> {
        let request = GetRequest { scope: Some(scope.clone()), key: key.into(), at_version };
        let call = || {
            let (mut kv, request) = (self.kv(), request.clone());
            async move { kv.get(request).await }
        };
        let answer = self.call(Effect::Reads, call).await?;
        Ok(answer.value.map(|value| Versioned { value, version: answer.version }))
    }

    /// Sets a key; gives the version that wrote it.
    pub async fn kv_put(
        &self,
        scope: &Scope,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(u64, Durability), Error> {
        let numbers = self.producer().reserve(1).await;
        let request = PutRequest {
            scope: Some(scope.clone()),
            key: key.into(),
            value: value.into(),
            identity: Some(numbers.identity()),
        };
        let call = || {
            let (mut kv, request) = (self.kv(), request.clone());
            async move { kv.put(request).await }
        };
        let answer = self.call(Effect::Once, call).await?;
        Ok((answer.version, answer.durability()))
    }

    /// Deletes a key; says whether it existed.
    pub async fn kv_delete(
        &self,
        scope: &Scope,
        key: impl Into<Bytes>,
    ) -> Result<(bool, Durability), Error> {
        let numbers = self.producer().reserve(1).await;
        let request = DeleteRequest {
            scope: Some(scope.clone()),
            key: key.into(),
            identity: Some(numbers.identity()),
        };
        let call = || {
            let (mut kv, request) = (self.kv(), request.clone());
            async move { kv.delete(request).await }
        };
        let answer = self.call(Effect::Once, call).await?;
        Ok((answer.existed, answer.durability()))
    }

    /// One page of rows; [`ScanOptions::following`] asks for the next.
    pub async fn kv_scan(&self, scope: &Scope, options: &ScanOptions) -> Result<Page, Error> {
        let request = ScanRequest {
            scope: Some(scope.clone()),
            start: options.start.clone(),
            end: options.end.clone(),
            limit: options.limit,
            reverse: options.reverse,
            at_version: options.at_version,
            keys_only: options.keys_only,
        };
        let call = || {
            let (mut kv, request) = (self.kv(), request.clone());
            async move { kv.scan(request).await }
        };
        let answer = self.call(Effect::Reads, call).await?;
        Ok(Page { rows: answer.rows, more: answer.more, version: answer.version })
    }

    /// Writes (or, without a value, deletes) a key only when it is as expected.
    pub async fn kv_compare_and_set(
        &self,
        scope: &Scope,
        key: impl Into<Bytes>,
        expected: Expected,
        value: Option<Bytes>,
    ) -> Result<(u64, Durability), Error> {
        let expected_version = match expected {
            Expected::Absent => 0,
            Expected::Version(version) => version,
        };
        let numbers = self.producer().reserve(1).await;
        let request = CompareAndSetRequest {
            scope: Some(scope.clone()),
            key: key.into(),
            expected_version,
            value,
            identity: Some(numbers.identity()),
        };
        let call = || {
            let (mut kv, request) = (self.kv(), request.clone());
            async move { kv.compare_and_set(request).await }
        };
        let answer = self.call(Effect::Once, call).await?;
        Ok((answer.version, answer.durability()))
    }

    /// All writes, if all checks hold; [`Error::Conflict`] and nothing otherwise.
    pub async fn kv_transact(
        &self,
        scope: &Scope,
        checks: Vec<Check>,
        writes: Vec<Write>,
    ) -> Result<(u64, Durability), Error> {
        let numbers = self.producer().reserve(1).await;
        let request = TransactRequest {
            scope: Some(scope.clone()),
            checks,
            operations: writes.into_iter().map(Operation::from).collect(),
            identity: Some(numbers.identity()),
        };
        let call = || {
            let (mut kv, request) = (self.kv(), request.clone());
            async move { kv.transact(request).await }
        };
        let answer = self.call(Effect::Once, call).await?;
        Ok((answer.version, answer.durability()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(key: &'static [u8], more: bool) -> Page {
        let row = Row { key: Bytes::from_static(key), ..Row::default() };
        Page { rows: vec![row], more, version: 7 }
    }

    #[test]
    fn the_next_page_begins_behind_the_last_row_at_the_same_version() {
        let options = ScanOptions { end: "z".into(), ..ScanOptions::default() };
        let next = options.following(&page(b"k", true)).expect("more rows");
        assert_eq!((next.start.as_ref(), next.end.as_ref()), (&b"k\0"[..], &b"z"[..]));
        assert_eq!(next.at_version, Some(7));
        assert_eq!(options.following(&page(b"k", false)), None);
    }

    #[test]
    fn a_reversed_page_goes_on_below_the_last_row() {
        let options = ScanOptions { reverse: true, ..ScanOptions::default() };
        let next = options.following(&page(b"k", true)).expect("more rows");
        assert_eq!((next.start.as_ref(), next.end.as_ref()), (&b""[..], &b"k"[..]));
    }
}
