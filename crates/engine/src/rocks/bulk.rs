//! All rows out of an engine, and all rows into a new one.
//!
//! Invariant: rows keep the versions that wrote them, so the state hash is the same on both sides.

use std::collections::{BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use rocksdb::WriteBatch;

use super::base::Base;
use super::families::{self, REGISTRY};
use super::flush::Registered;
use super::view::View;
use super::{RocksEngine, lock};
use crate::api::{Engine, EngineError, KeyspaceId, Mark};
use crate::checkpoint::RowStream;
use crate::files::{Stand, with_version};
use crate::row::{EncodedRow, decode, encode};

/// Rows are taken over in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;

/// The rows of an engine at one mark, read a piece at a time. They hold a snapshot of RocksDB and
/// the memtables of that time.
pub(super) struct Rows<'a> {
    engine: &'a RocksEngine,
    mark: Mark,
    view: Arc<View>,
    keyspaces: VecDeque<KeyspaceId>,
    /// Of the first of these keyspaces: the last key that was read.
    last: Option<Vec<u8>>,
}

impl RowStream for Rows<'_> {
    fn mark(&self) -> Mark {
        self.mark
    }

    fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<u32, EngineError> {
        let (full, mut count) = (out.len() + bytes, 0);
        while let Some(keyspace) = self.keyspaces.front().copied()
            && out.len() < full
        {
            let after = self.last.take();
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let range = (keyspace, (from, Bound::Unbounded));
            let last = &mut self.last;
            let at = (self.mark.version, false);
            self.engine.walk(&self.view, range, at, &mut |key, version, value| {
                encode(out, &EncodedRow { keyspace: keyspace.0, version, key, value });
                count += 1;
                if out.len() < full {
                    return ControlFlow::Continue(());
                }
                *last = Some(key.to_vec());
                ControlFlow::Break(())
            })?;
            if self.last.is_none() {
                self.keyspaces.pop_front();
            }
        }
        Ok(count)
    }
}

impl RocksEngine {
    /// See [`crate::files::FileEngine::rows`].
    pub(super) fn all_rows(&self) -> Result<Rows<'_>, EngineError> {
        let writer = lock(&self.writer);
        let (mark, view) = (writer.mark, lock(&self.views).current());
        drop(writer);
        let keyspaces = self.keyspaces_of(&view).into();
        Ok(Rows { engine: self, mark, view, keyspaces, last: None })
    }

    /// See [`crate::files::FileEngine::fill`].
    pub(super) fn fill_with(
        &self,
        rows: &mut dyn RowStream,
        replay_from: u64,
    ) -> Result<u64, EngineError> {
        let mark = rows.mark();
        assert_eq!(self.mark(), Mark::default(), "only a new engine is filled");
        let full = usize::try_from(self.settings.options.memtable_bytes).unwrap_or(usize::MAX);
        let (mut piece, mut count) = (Vec::with_capacity(2 * PIECE_BYTES), 0);
        let mut filling = Filling::new(self);
        loop {
            piece.clear();
            let read = rows.fill(&mut piece, PIECE_BYTES)?;
            let mut rest = piece.as_slice();
            while let Some((row, behind)) = decode(rest) {
                filling.add(&row)?;
                rest = behind;
            }
            count += u64::from(read);
            if read == 0 {
                break;
            }
            if filling.batch.size_in_bytes() >= full {
                filling.write(None)?;
            }
        }
        // The stand comes last: without it the files are those of a new engine.
        let stand = (mark.version > 0).then_some(Stand { mark, replay_from });
        filling.write(stand)?;
        if let Some(stand) = stand {
            self.memtables.filled(stand);
        }
        lock(&self.writer).mark = mark;
        let base = Arc::new(Base::of(Arc::clone(&self.db)));
        self.publish(mark);
        lock(&self.views).filled(base, mark.version);
        self.note_files();
        Ok(count)
    }
}

/// An engine on its way to be filled.
struct Filling<'a> {
    engine: &'a RocksEngine,
    batch: WriteBatch,
    /// Those that the batch has rows of.
    keyspaces: BTreeSet<KeyspaceId>,
    registered: Registered,
}

impl<'a> Filling<'a> {
    fn new(engine: &'a RocksEngine) -> Self {
        Self {
            engine,
            batch: WriteBatch::default(),
            keyspaces: BTreeSet::new(),
            registered: Registered::new(),
        }
    }

    /// Takes a row. The registry's come first, so that all others have their names.
    fn add(&mut self, row: &EncodedRow<'_>) -> Result<(), EngineError> {
        let keyspace = KeyspaceId(row.keyspace);
        if keyspace == REGISTRY
            && let Some(number) = families::registered(row.value)
        {
            self.registered.insert(number, row.key.to_vec());
        }
        if self.keyspaces.insert(keyspace) {
            self.engine.make_families(&[keyspace], &self.registered)?;
        }
        let name = self.engine.families.name(keyspace).expect("it was made");
        let family = self.engine.db.cf_handle(&name).expect("it was made");
        self.batch.put_cf(&family, row.key, with_version(row.version, row.value));
        Ok(())
    }

    fn write(&mut self, stand: Option<Stand>) -> Result<(), EngineError> {
        let keyspaces: Vec<KeyspaceId> = std::mem::take(&mut self.keyspaces).into_iter().collect();
        self.engine.write_batch(std::mem::take(&mut self.batch), &keyspaces, stand)
    }
}
