//! RocksDB: its own group commit, default options.

use std::path::Path;

use rocksdb::{DB, Options, WriteOptions};

use super::{Peer, Setup, Store, text};

pub(crate) const PEER: Peer =
    Peer { name: "RocksDB", version: "11.8", replay_transactions: 1_000_000, open };

/// More than any benchmark writes: nothing leaves the memtable, so the log keeps everything.
const WHOLE_LOG_BYTES: usize = 4 << 30;

struct Rocks {
    db: DB,
    write: WriteOptions,
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>, String> {
    let mut options = Options::default();
    options.create_if_missing(true);
    if setup == Setup::KeepLog {
        options.set_write_buffer_size(WHOLE_LOG_BYTES);
    }
    let db = DB::open(&options, dir).map_err(text)?;
    let mut write = WriteOptions::default();
    write.set_sync(setup == Setup::Synced);
    Ok(Box::new(Rocks { db, write }))
}

impl Store for Rocks {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.db.put_opt(key, value, &self.write).map_err(text)
    }

    fn has(&self, key: &[u8]) -> Result<bool, String> {
        Ok(self.db.get_pinned(key).map_err(text)?.is_some())
    }
}
