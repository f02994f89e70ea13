//! redb: one table; it has no log, so there is nothing to replay.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{Peer, Setup, Store, text};

pub(crate) const PEER: Peer = Peer { name: "redb", version: "4.4", replay_transactions: 0, open };

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");

struct Redb {
    database: Database,
    durability: Durability,
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>, String> {
    let database = Database::create(dir.join("rows.redb")).map_err(text)?;
    let durability = if setup == Setup::Synced { Durability::Immediate } else { Durability::None };
    Ok(Box::new(Redb { database, durability }))
}

impl Store for Redb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let mut transaction = self.database.begin_write().map_err(text)?;
        transaction.set_durability(self.durability).map_err(text)?;
        let mut rows = transaction.open_table(ROWS).map_err(text)?;
        rows.insert(key, value).map_err(text)?;
        drop(rows);
        transaction.commit().map_err(text)
    }

    fn has(&self, key: &[u8]) -> Result<bool, String> {
        let transaction = self.database.begin_read().map_err(text)?;
        let rows = transaction.open_table(ROWS).map_err(text)?;
        Ok(rows.get(key).map_err(text)?.is_some())
    }
}
