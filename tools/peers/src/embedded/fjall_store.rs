//! fjall: one keyspace; durable by the batch's own durability.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Peer, Setup, Store, text};

pub(crate) const PEER: Peer =
    Peer { name: "fjall", version: "3.1", replay_transactions: 1_000_000, open };

/// More than any benchmark writes: nothing leaves the memtable, so the log keeps everything.
const WHOLE_LOG_BYTES: u64 = 4 << 30;

struct Fjall {
    database: Database,
    rows: Keyspace,
    synced: bool,
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>, String> {
    let keep = setup == Setup::KeepLog;
    let mut builder = Database::builder(dir);
    if keep {
        builder = builder.max_journaling_size(WHOLE_LOG_BYTES);
    }
    let database = builder.open().map_err(text)?;
    let options = || {
        let options = KeyspaceCreateOptions::default();
        if keep { options.max_memtable_size(WHOLE_LOG_BYTES) } else { options }
    };
    let rows = database.keyspace("rows", options).map_err(text)?;
    Ok(Box::new(Fjall { database, rows, synced: setup == Setup::Synced }))
}

impl Store for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if !self.synced {
            return self.rows.insert(key, value).map_err(text);
        }
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.rows, key, value);
        batch.commit().map_err(text)
    }

    fn has(&self, key: &[u8]) -> Result<bool, String> {
        self.rows.contains_key(key).map_err(text)
    }
}
