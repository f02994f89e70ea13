//! SQLite: WAL, one connection behind a mutex (several connections would only wait for each other).

use std::path::Path;
use std::sync::Mutex;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{Peer, Setup, Store, text};

pub(crate) const PEER: Peer =
    Peer { name: "SQLite", version: "WAL", replay_transactions: 100_000, open };

struct Sqlite {
    connection: Mutex<Connection>,
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>, String> {
    let connection = Connection::open(dir.join("rows.sqlite")).map_err(text)?;
    let synchronous = if setup == Setup::Synced { "FULL" } else { "NORMAL" };
    let set = |name: &str, value: &str| connection.pragma_update(None, name, value).map_err(text);
    set("journal_mode", "WAL")?;
    set("synchronous", synchronous)?;
    if setup == Setup::KeepLog {
        set("wal_autocheckpoint", "0")?;
        let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        connection.set_db_config(no_checkpoint, true).map_err(text)?;
    }
    let table = "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID";
    connection.execute(table, ()).map_err(text)?;
    Ok(Box::new(Sqlite { connection: Mutex::new(connection) }))
}

impl Sqlite {
    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Connection>, String> {
        self.connection.lock().map_err(text)
    }
}

impl Store for Sqlite {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let connection = self.lock()?;
        let insert = "INSERT OR REPLACE INTO rows (key, value) VALUES (?1, ?2)";
        let mut insert = connection.prepare_cached(insert).map_err(text)?;
        insert.execute((key, value)).map_err(text)?;
        Ok(())
    }

    fn has(&self, key: &[u8]) -> Result<bool, String> {
        let connection = self.lock()?;
        let mut find =
            connection.prepare_cached("SELECT 1 FROM rows WHERE key = ?1").map_err(text)?;
        find.exists((key,)).map_err(text)
    }
}
