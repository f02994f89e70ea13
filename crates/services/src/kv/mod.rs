//! Keys and values in scopes, with versions, scans and transactions.
//!
//! A value is the user's bytes as they are, and its version the one that the database keeps.
//! Nothing is derived and nothing is in flight, so there is nothing to recover beyond the database
//! itself.

mod read;
pub(crate) mod write;

use std::sync::Arc;

use rekindle_database::{Namespace, TypeTag};

use crate::error::Error;
use crate::exec::Core;
use crate::identity::Identity;
use crate::ticket::{Acknowledged, Ticket};
use write::{Delete, Put, Transact};

/// Where keys live.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Whose.
    pub namespace: Namespace,
    /// What kind of thing.
    pub tag: TypeTag,
}

impl Default for Scope {
    fn default() -> Self {
        Self { namespace: Namespace::default(), tag: TypeTag::Kv }
    }
}

/// A key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key inside its scope.
    pub key: Vec<u8>,
    /// The bytes; empty for a scan of keys only.
    pub value: Arc<[u8]>,
    /// The transaction that wrote it.
    pub version: u64,
}

/// What to scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanRequest<'a> {
    /// The first key, itself included.
    pub start: &'a [u8],
    /// The end, itself excluded; empty: the end of the scope.
    pub end: &'a [u8],
    /// The most rows of this page; 0: as many as a page may have.
    pub limit: usize,
    /// From the last row to the first.
    pub reverse: bool,
    /// The past as of this version; pages of one scan ask for the version of the first page.
    pub at_version: Option<u64>,
    /// Only keys.
    pub keys_only: bool,
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The rows in order.
    pub rows: Vec<Entry>,
    /// More rows follow the last one.
    pub more: bool,
    /// The version that was read.
    pub version: u64,
}

/// What a key must be for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    #[default]
    Any,
    /// Not there.
    Absent,
    /// Written by this version.
    Version(u64),
}

/// One write of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Sets a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Removes a key; removing what is not there is no error.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Removes all keys from `start` up to, not including, `end`; an empty `end`: to the end of the
    /// scope.
    DeleteRange {
        /// The first key.
        start: &'a [u8],
        /// Behind the last key.
        end: &'a [u8],
    },
}

/// All checks hold and all writes happen, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// What must be.
    pub checks: &'a [(&'a [u8], Expect)],
    /// What is done then.
    pub writes: &'a [Write<'a>],
}

/// Keys and values of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Kv {
    core: Arc<Core>,
}

impl Kv {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Waits until everything that was acknowledged before is known to [`Kv::get`] and
    /// [`Kv::scan`]: at once, but in the mode that acknowledges from memory, where they would block
    /// for a sync.
    pub async fn settled(&self) -> Result<(), Error> {
        self.core.settled().await
    }

    /// The newest value of a key, or the one at `at_version`.
    pub fn get(
        &self,
        scope: &Scope,
        key: &[u8],
        at_version: Option<u64>,
    ) -> Result<Option<Entry>, Error> {
        read::get(&self.core, scope, key, at_version)
    }

    /// A page of a range.
    pub fn scan(&self, scope: &Scope, request: &ScanRequest<'_>) -> Result<Page, Error> {
        read::scan(&self.core, scope, request)
    }

    /// Sets a key if it is as expected; [`Kind::Conflict`](crate::Kind::Conflict) otherwise. The
    /// version of the answer is the version of the value.
    pub fn put(
        &self,
        scope: &Scope,
        key: &[u8],
        value: &[u8],
        expect: Expect,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<()>, Error> {
        self.core.submit(&mut Put::new(scope, key, value, expect, identity)?)?.wait()
    }

    /// See [`Kv::put`].
    pub async fn submit_put(
        &self,
        scope: &Scope,
        key: &[u8],
        value: &[u8],
        expect: Expect,
        identity: Option<Identity>,
    ) -> Result<Ticket<()>, Error> {
        self.core.submit_async(&mut Put::new(scope, key, value, expect, identity)?).await
    }

    /// Removes a key if it is as expected; answers whether it was there.
    pub fn delete(
        &self,
        scope: &Scope,
        key: &[u8],
        expect: Expect,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<bool>, Error> {
        self.core.submit(&mut Delete::new(scope, key, expect, identity)?)?.wait()
    }

    /// See [`Kv::delete`].
    pub async fn submit_delete(
        &self,
        scope: &Scope,
        key: &[u8],
        expect: Expect,
        identity: Option<Identity>,
    ) -> Result<Ticket<bool>, Error> {
        self.core.submit_async(&mut Delete::new(scope, key, expect, identity)?).await
    }

    /// Does all of it, or nothing and answers [`Kind::Conflict`](crate::Kind::Conflict).
    pub fn transact(
        &self,
        scope: &Scope,
        changes: &Changes<'_>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<()>, Error> {
        self.core.submit(&mut Transact::new(scope, changes, identity)?)?.wait()
    }

    /// See [`Kv::transact`].
    pub async fn submit_transact(
        &self,
        scope: &Scope,
        changes: &Changes<'_>,
        identity: Option<Identity>,
    ) -> Result<Ticket<()>, Error> {
        self.core.submit_async(&mut Transact::new(scope, changes, identity)?).await
    }
}
