//! Sealing a memtable, and moving it into RocksDB.
//!
//! One flush is one write batch: of each key the newest version, deletions only of keys that
//! RocksDB may have, the names of the families, and where the state stands with it. Work that came
//! and went within one memtable costs no writes beyond the journal.
//!
//! Invariants: memtables are flushed in the order in which they were sealed; a batch is whole in
//! the files or not there; nothing is written before the caller made it durable in the journal.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rocksdb::{WriteBatch, properties};

use super::base::Base;
use super::families::{self, DEFAULT, REGISTRY};
use super::memtable::{Entry, Memtable};
use super::read::EVERYTHING;
use super::settings::{flush_and_wait, without_log};
use super::{RocksEngine, STAND_KEY, lock};
use crate::api::{EngineError, KeyspaceId, Mark};
use crate::files::{Flush, Stand, with_version};

/// What the registry calls keyspaces.
pub(super) type Registered = BTreeMap<KeyspaceId, Vec<u8>>;

impl RocksEngine {
    /// See [`crate::files::FileEngine::seal`].
    pub(super) fn seal_memtable(&self, replay_from: u64) -> Option<Mark> {
        let mut writer = lock(&self.writer);
        if self.failed.get().is_some() {
            return None;
        }
        self.memtables.seal(writer.mark, replay_from, |_| {
            let active = Arc::new(Memtable::default());
            let table = std::mem::replace(&mut writer.active, Arc::clone(&active));
            lock(&self.views).write_to(active);
            table
        })
    }

    /// See [`crate::files::FileEngine::flush`].
    pub(super) fn flush_sealed(&self) -> Result<Option<Flush>, EngineError> {
        let shown = |stand: Stand| {
            let base = Arc::new(Base::of(Arc::clone(&self.db)));
            let gone = lock(&self.views).flushed(base, stand.mark.version);
            drop(gone);
            self.note_files();
        };
        self.memtables.flush(|table, stand| self.flush_one(table, stand), shown)
    }

    /// Writes a memtable out; bytes of the rows that were written.
    fn flush_one(&self, table: &Memtable, stand: Stand) -> Result<u64, EngineError> {
        let keyspaces = table.keyspaces();
        if keyspaces.iter().any(|keyspace| self.families.name(*keyspace).is_none()) {
            let registered = self.registered(stand.mark.version)?;
            self.make_families(&keyspaces, &registered)?;
        }
        let mut batch = WriteBatch::default();
        let mut written = 0;
        table.each_newest(|keyspace, key, entry| {
            written += self.add_row(&mut batch, keyspace, key, entry);
        });
        self.write_batch(batch, &keyspaces, Some(stand))?;
        Ok(written)
    }

    /// Adds the newest version of a key; the bytes of its row.
    fn add_row(
        &self,
        batch: &mut WriteBatch,
        keyspace: KeyspaceId,
        key: &[u8],
        entry: &Entry,
    ) -> u64 {
        let name = self.families.name(keyspace).expect("it was made");
        let family = self.db.cf_handle(&name).expect("it was made");
        match &entry.value {
            Some(bytes) => {
                batch.put_cf(&family, key, with_version(entry.version, bytes));
                (key.len() + bytes.len()) as u64
            }
            None if self.db.key_may_exist_cf(&family, key) => {
                batch.delete_cf(&family, key);
                key.len() as u64
            }
            None => 0,
        }
    }

    /// The names that the registry gives at this version.
    fn registered(&self, at: u64) -> Result<Registered, EngineError> {
        let view = lock(&self.views).current();
        let mut names = Registered::new();
        self.walk(&view, (REGISTRY, EVERYTHING), (at, false), &mut |name, _, number| {
            if let Some(number) = families::registered(number) {
                names.insert(number, name.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    /// Makes the families that these keyspaces lack. One that a crash left is used again.
    pub(super) fn make_families(
        &self,
        keyspaces: &[KeyspaceId],
        registered: &Registered,
    ) -> Result<(), EngineError> {
        self.check_writing()?;
        for keyspace in keyspaces {
            if self.families.name(*keyspace).is_some() {
                continue;
            }
            let name = self.families.choose(*keyspace, registered.get(keyspace).map(Vec::as_slice));
            if self.db.cf_handle(&name).is_none() {
                let made = self.db.create_cf(&name, &self.settings.of_family());
                made.map_err(|error| self.doubt("make a family", &error))?;
            }
            self.families.add(*keyspace, name);
        }
        Ok(())
    }

    /// Writes a batch with the names of the families and, if any, the stand, and has RocksDB write
    /// all of it to files.
    pub(super) fn write_batch(
        &self,
        mut batch: WriteBatch,
        keyspaces: &[KeyspaceId],
        stand: Option<Stand>,
    ) -> Result<(), EngineError> {
        self.check_writing()?;
        for keyspace in keyspaces {
            let name = self.families.name(*keyspace).expect("it was made");
            batch.put(families::row_key(*keyspace), name);
        }
        if let Some(stand) = stand {
            batch.put(STAND_KEY, stand.encode());
        }
        let wrote = self.db.write_opt(batch, &without_log());
        wrote.map_err(|error| self.doubt("write", &error))?;
        let names = keyspaces.iter().filter_map(|keyspace| self.families.name(*keyspace));
        let names = names.chain([DEFAULT.to_owned()]);
        let handles: Vec<_> = names.filter_map(|name| self.db.cf_handle(&name)).collect();
        let handles: Vec<_> = handles.iter().collect();
        let flushed = self.db.flush_cfs_opt(&handles, &flush_and_wait());
        flushed.map_err(|error| self.doubt("flush", &error))
    }

    /// Reads what RocksDB says of its files.
    pub(super) fn note_files(&self) {
        let names = self.families.keyspaces().into_iter();
        let names = names.filter_map(|keyspace| self.families.name(keyspace));
        let bytes = names.chain([DEFAULT.to_owned()]).filter_map(|name| {
            let family = self.db.cf_handle(&name)?;
            self.db.property_int_value_cf(&family, properties::TOTAL_SST_FILES_SIZE).ok()?
        });
        self.disk_bytes.store(bytes.sum(), Ordering::Relaxed);
    }

    fn check_writing(&self) -> Result<(), EngineError> {
        if self.is_view {
            let text = "the files of the engine are only looked at: nothing is written to them";
            return Err(EngineError::Io(text.to_owned()));
        }
        match self.failed.get() {
            Some(reason) => Err(EngineError::Io(reason.clone())),
            None => Ok(()),
        }
    }

    /// An error of writing. A full disk may be tried again: RocksDB goes on when there is room.
    /// After any other one nobody knows what lies on the disk, and a failed sync is never retried.
    fn doubt(&self, what: &str, error: &rocksdb::Error) -> EngineError {
        let refused = self.refused(what, error);
        if matches!(refused, EngineError::Full(_)) {
            return refused;
        }
        self.fail(format!("{refused}; the store has to be started again"))
    }
}
