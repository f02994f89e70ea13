//! What was derived from the rows of a state, kept beside a checkpoint whose rows are elsewhere.
//!
//! A start takes it up instead of reading all rows. It is stored in the blocks of the checkpoint,
//! as rows of keyspace 0 whose keys are numbers, 4 bytes big-endian: row 0 has the keyspaces that
//! it was derived from, 2 bytes little-endian each, and the others are the pieces of it in order.
//! Invariant: what is read is what was written, or an error; how it is made of the rows is the
//! business of those who made it.

use rekindle_env::ReadFile;

use super::read::{Damage, ReadError, visit_rows};
use super::write::RowStream;
use crate::api::{EngineError, KeyspaceId, Mark};
use crate::row::{EncodedRow, encode};

/// Bytes of a piece.
const PIECE_BYTES: usize = 64 << 10;

/// What was derived from rows, as it was at one mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derived {
    /// Which rows it follows from: changes in other keyspaces do not touch it.
    pub keyspaces: Vec<KeyspaceId>,
    /// The bytes, which nobody here understands.
    pub bytes: Vec<u8>,
}

/// The rows that stand for it.
pub(super) struct DerivedRows<'a> {
    mark: Mark,
    derived: Option<&'a Derived>,
    next: u32,
}

impl<'a> DerivedRows<'a> {
    /// Those of this state; `None` has no rows.
    pub(super) fn new(mark: Mark, derived: Option<&'a Derived>) -> Self {
        Self { mark, derived, next: 0 }
    }

    fn value(&self, derived: &Derived) -> Option<Vec<u8>> {
        let Some(piece) = self.next.checked_sub(1) else {
            return Some(derived.keyspaces.iter().flat_map(|id| id.0.to_le_bytes()).collect());
        };
        let piece = usize::try_from(piece).expect("usize has at least 32 bits");
        derived.bytes.chunks(PIECE_BYTES).nth(piece).map(<[u8]>::to_vec)
    }
}

impl RowStream for DerivedRows<'_> {
    fn mark(&self) -> Mark {
        self.mark
    }

    fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<u32, EngineError> {
        let (before, mut rows) = (out.len(), 0);
        while out.len() - before < bytes
            && let Some(value) = self.derived.and_then(|derived| self.value(derived))
        {
            let key = self.next.to_be_bytes();
            let version = self.mark.version;
            encode(out, &EncodedRow { keyspace: 0, version, key: &key, value: &value });
            self.next += 1;
            rows += 1;
        }
        Ok(rows)
    }
}

/// What is kept in checkpoint `id` of a store, every byte verified; `None` where nothing is.
///
/// # Errors
/// As [`super::check`].
pub fn derived(
    file: &dyn ReadFile,
    store_id: &[u8; 16],
    id: u64,
) -> Result<Option<Derived>, ReadError> {
    let mut derived = Derived::default();
    let mut next = 0_u32;
    let mut wrong = None;
    let summary = visit_rows(file, store_id, id, |row| {
        if row.keyspace != 0 || row.key != next.to_be_bytes() {
            wrong.get_or_insert_with(|| format!("row {next} under another key"));
        } else if next == 0 {
            let ids = row.value.chunks_exact(2).filter_map(|id| id.try_into().ok());
            derived.keyspaces = ids.map(|id| KeyspaceId(u16::from_le_bytes(id))).collect();
        } else {
            derived.bytes.extend_from_slice(row.value);
        }
        next = next.saturating_add(1);
    })?;
    if !summary.header.derived {
        return Ok(None);
    }
    let found = if next == 0 { Some("no row".to_owned()) } else { wrong };
    match found {
        None => Ok(Some(derived)),
        Some(found) => {
            let expected = "the pieces of what was derived, in order".to_owned();
            Err(ReadError::Damaged(Damage { offset: 0, expected, found }))
        }
    }
}
