//! All rows out of an engine, and all rows into a new one.
//!
//! Invariant: rows keep the versions that wrote them, so the state hash is the same on both sides.

use lsm_tree::{AbstractTree, Guard, IterGuardImpl};

use super::row::{self, STAND_KEY};
use super::{LsmEngine, lock};
use crate::api::{Engine, EngineError, KeyspaceId, Mark};
use crate::checkpoint::RowStream;
use crate::files::{Stand, split_value};
use crate::row::{EncodedRow, decode, encode};

/// Rows are taken over in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;

/// The rows of an engine at one mark. They hold the tables and the memtables that they are in, and
/// nothing that is written later: however long they are read, memory does not grow.
pub(super) struct Rows<'a> {
    engine: &'a LsmEngine,
    mark: Mark,
    rows: Box<dyn DoubleEndedIterator<Item = IterGuardImpl> + Send>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("mark", &self.mark).finish_non_exhaustive()
    }
}

impl RowStream for Rows<'_> {
    fn mark(&self) -> Mark {
        self.mark
    }

    fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<u32, EngineError> {
        let (full, mut count) = (out.len() + bytes, 0);
        while out.len() < full {
            let Some(guard) = self.rows.next() else { break };
            let (key, value) =
                guard.into_inner().map_err(|error| self.engine.unreadable(&error))?;
            let Some((keyspace, key)) = row::split(&key) else { continue };
            let (version, value) = split_value(&value).ok_or_else(|| self.engine.no_value())?;
            encode(out, &EncodedRow { keyspace: keyspace.0, version, key, value });
            count += 1;
        }
        Ok(count)
    }
}

impl LsmEngine {
    /// See [`crate::files::FileEngine::rows`].
    pub(super) fn all_rows(&self) -> Result<Rows<'_>, EngineError> {
        let writer = lock(&self.writer);
        let mark = *writer;
        self.pin(mark.version)?;
        drop(writer);
        let rows = self.tree.iter(row::below(mark.version), None);
        // A pin would keep every manifest from here on, each with its memtable.
        self.unpin(mark.version);
        Ok(Rows { engine: self, mark, rows })
    }

    /// See [`crate::files::FileEngine::fill`].
    pub(super) fn fill_with(
        &self,
        rows: &mut dyn RowStream,
        replay_from: u64,
    ) -> Result<u64, EngineError> {
        let mark = rows.mark();
        assert_eq!(self.mark(), Mark::default(), "only a new engine is filled");
        let (mut piece, mut count) = (Vec::with_capacity(2 * PIECE_BYTES), 0);
        let mut bytes = 0;
        loop {
            piece.clear();
            let read = rows.fill(&mut piece, PIECE_BYTES)?;
            let mut rest = piece.as_slice();
            while let Some((EncodedRow { keyspace, version, key, value }, behind)) = decode(rest) {
                bytes += self.put(KeyspaceId(keyspace), key, value, version);
                rest = behind;
            }
            count += u64::from(read);
            if read > 0 && bytes < self.options.memtable_bytes {
                continue;
            }
            if read == 0 && mark.version > 0 {
                let stand = Stand { mark, replay_from };
                self.tree.insert(STAND_KEY, stand.encode(), row::number(mark.version));
                self.memtables.filled(stand);
            }
            // A tag may be any number from the newest row on.
            self.visible.fetch_max(mark.version, std::sync::atomic::Ordering::AcqRel);
            if let Some(memtable) = self.tree.rotate_memtable() {
                self.flush_one(&memtable)?;
            }
            bytes = 0;
            if read == 0 {
                break;
            }
        }
        *lock(&self.writer) = mark;
        self.publish(mark);
        lock(&self.past).raise(mark.version);
        self.note_files();
        Ok(count)
    }
}
