//! The hash index of the overlay: which recent transaction wrote a key last.
//!
//! A table leads from the hash of a key to the newest operation with that hash, and each operation
//! to the next older one. What is older than the floor is no longer there, so a chain ends where it
//! points below the floor, and pruning takes only heads out.
//!
//! Invariant: a chain descends: by version, and within a transaction by operation.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rekindle_engine::KeyspaceId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::encode::Span;

/// An operation: the transaction, and which of its operations on single keys. Version 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The transaction.
    pub(super) version: u64,
    /// Which of its links.
    pub(super) nth: u32,
}

/// An operation on one key, in its chain.
#[derive(Debug)]
pub(super) struct Link {
    /// Of keyspace and key.
    pub(super) hash: u64,
    /// The keyspace.
    pub(super) keyspace: KeyspaceId,
    /// The key.
    pub(super) key: Span,
    /// The value; `None`: removed.
    pub(super) value: Option<Span>,
    /// The next older operation with this hash.
    pub(super) older: Place,
    /// The same transaction removed a range with it later.
    pub(super) hidden: bool,
}

/// The newest operation of each hash.
#[derive(Debug)]
pub(super) struct Heads {
    heads: HashMap<u64, Place, BuildHasherDefault<Hashed>>,
    seed: u64,
}

impl Heads {
    /// No operations. The seed is random, so that nobody can choose keys that collide.
    pub(super) fn new(seed: u64) -> Self {
        Self { heads: HashMap::default(), seed }
    }

    /// The seed.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The hash of a key.
    pub(super) fn hash(&self, keyspace: KeyspaceId, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed ^ (u64::from(keyspace.0) << 48))
    }

    /// The newest operation with this hash.
    pub(super) fn newest(&self, hash: u64) -> Place {
        self.heads.get(&hash).copied().unwrap_or_default()
    }

    /// Puts an operation in front of its chain; answers the one that was there.
    pub(super) fn lead(&mut self, hash: u64, place: Place) -> Place {
        let older = self.heads.insert(hash, place).unwrap_or_default();
        debug_assert!(older < place, "a chain descends");
        older
    }

    /// Forgets the oldest operation; where it is the head, the chain ends.
    pub(super) fn forget(&mut self, hash: u64, place: Place) {
        debug_assert!(self.newest(hash) >= place, "a chain ends with its oldest operation");
        if self.heads.get(&hash) == Some(&place) {
            self.heads.remove(&hash);
        }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

/// Hands a number that is a hash already through.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only whole numbers are hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
