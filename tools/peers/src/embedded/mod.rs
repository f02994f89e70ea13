//! Other embedded stores behind one small trait, to be measured beside ours.
//!
//! Invariants: every store does the same work, one put per transaction; each is opened as its own
//! documentation recommends for the setup, and nothing is tuned for or against anybody. Where a
//! store has no write of its own for many threads, a mutex is put before it.

mod fjall_store;
mod redb_store;
mod rocksdb_store;
mod sqlite_store;

use std::path::Path;

use crate::text;

/// What a put promises, and what becomes of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Durable before the put returns.
    Synced,
    /// Not synced: what the store does when it is not asked to.
    Unsynced,
    /// Not synced, and everything stays in the log, so that the next open must replay all of it.
    KeepLog,
}

/// An open store.
pub trait Store: Send + Sync {
    /// One transaction that sets one key.
    ///
    /// # Errors
    /// The store's own error, as text.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String>;

    /// Whether the key is there.
    ///
    /// # Errors
    /// The store's own error, as text.
    fn has(&self, key: &[u8]) -> Result<bool, String>;
}

type Open = fn(&Path, Setup) -> Result<Box<dyn Store>, String>;

/// One of the stores.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// How many transactions its log is asked to keep for a replay; 0: it has no log. SQLite writes
    /// a page per transaction, so it gets fewer: its rate is per transaction all the same.
    pub replay_transactions: u64,
    open: Open,
}

impl Peer {
    /// Opens it in this directory, which exists.
    ///
    /// # Errors
    /// The store's own error, as text.
    pub fn open(&self, dir: &Path, setup: Setup) -> Result<Box<dyn Store>, String> {
        (self.open)(dir, setup)
    }
}

/// All of them.
#[must_use]
pub fn all() -> [Peer; 4] {
    [rocksdb_store::PEER, fjall_store::PEER, redb_store::PEER, sqlite_store::PEER]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was put is there, also in the next life of the store, in every setup.
    #[test]
    fn every_store_keeps_what_it_was_given() {
        for peer in all() {
            for setup in [Setup::Synced, Setup::KeepLog] {
                if setup == Setup::KeepLog && peer.replay_transactions == 0 {
                    continue;
                }
                let name = format!("peers-{}-{}-{setup:?}", std::process::id(), peer.name);
                let dir = std::env::temp_dir().join(name);
                std::fs::create_dir_all(&dir).expect("a directory for the test");
                let store = peer.open(&dir, setup).expect("a new store opens");
                for number in 0..100_u64 {
                    store.put(&number.to_be_bytes(), b"value").expect("a put succeeds");
                }
                drop(store);
                let store = peer.open(&dir, setup).expect("an old store opens");
                assert!(store.has(&99_u64.to_be_bytes()).expect("a read succeeds"));
                assert!(!store.has(&100_u64.to_be_bytes()).expect("a read succeeds"));
                drop(store);
                std::fs::remove_dir_all(&dir).expect("the test's own directory");
            }
        }
    }
}
