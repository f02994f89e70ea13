//! Keyspaces by name: keyspace 0 holds name -> number, and hands the numbers out.
//!
//! Invariants: a number is never used for another name; numbers are dense from 1; a name that was
//! answered is durable.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rekindle_engine::{Engine, KeyspaceId};

use crate::core::Handle;
use crate::error::Error;
use crate::options::KEYSPACE_NAME_BYTES_MAX;
use crate::transaction::Transaction;

/// The keyspace of the names.
pub(crate) const REGISTRY: KeyspaceId = KeyspaceId(0);

/// The highest number in the registry.
pub(crate) fn highest(engine: &dyn Engine) -> Result<u16, Error> {
    let at = engine.mark().version;
    let names = (Bound::Unbounded, Bound::Unbounded);
    let rows = engine.scan(REGISTRY, names, at, usize::MAX, false)?;
    let mut highest = 0;
    for row in &rows {
        highest = highest.max(number(&row.value).ok_or_else(|| no_number(&row.key))?);
    }
    Ok(highest)
}

/// A stored number; 0 is the registry's own and never stored.
pub(crate) fn number(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_le_bytes).filter(|number| *number > 0)
}

/// A name without a number: recovery refuses such a store (database-20).
fn no_number(name: &[u8]) -> Error {
    let name = name.escape_ascii();
    Error::Damaged(format!("the registry holds no number for keyspace \"{name}\""))
}

impl Handle {
    /// The keyspace with this name; created durably when it is new.
    pub(crate) fn keyspace(self: &Arc<Self>, name: &str) -> Result<KeyspaceId, Error> {
        {
            let known = self.keyspaces.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(id) = known.get(name) {
                return Ok(*id);
            }
        }
        if name.is_empty() || name.len() > KEYSPACE_NAME_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "a keyspace has a name of 1 to {KEYSPACE_NAME_BYTES_MAX} bytes"
            )));
        }
        let id = loop {
            match self.find_or_create(name) {
                Err(Error::Conflict { .. }) => {}
                other => break other?,
            }
        };
        assert!(id != REGISTRY, "numbers begin at 1");
        self.highest_keyspace.fetch_max(id.0, Ordering::AcqRel);
        let mut known = self.keyspaces.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(name.to_owned(), id);
        assert!(before.is_none_or(|before| before == id), "a name keeps its number");
        Ok(id)
    }

    fn find_or_create(self: &Arc<Self>, name: &str) -> Result<KeyspaceId, Error> {
        let mut transaction = Transaction::new(self);
        transaction.privileged = true;
        if let Some(found) = transaction.get(REGISTRY, name.as_bytes())? {
            let id = number(&found.bytes).ok_or_else(|| no_number(name.as_bytes()))?;
            transaction.commit()?;
            return Ok(KeyspaceId(id));
        }
        // Reading all names makes two creators conflict, whatever their names.
        let names = (Bound::Unbounded, Bound::Unbounded);
        let rows = transaction.scan(REGISTRY, names, usize::MAX, false)?;
        let highest = rows.iter().filter_map(|row| number(&row.value)).max().unwrap_or(0);
        let next = highest
            .checked_add(1)
            .ok_or_else(|| Error::Full(format!("all {} keyspaces are in use", u16::MAX)))?;
        assert!(rows.len() <= usize::from(highest), "each name has a number of its own");
        assert_eq!(number(&next.to_le_bytes()), Some(next), "what is written can be read");
        transaction.put(REGISTRY, name.as_bytes(), &next.to_le_bytes());
        transaction.commit()?;
        Ok(KeyspaceId(next))
    }
}
