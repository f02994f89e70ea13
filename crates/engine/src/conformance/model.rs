//! The naive model: every version of every key, for ever.
//!
//! Invariant: it forgets nothing; what may be forgotten is decided by its floor and pins alone.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;
use crate::api::{EngineError, Mark, Row};
use crate::row::{self, EncodedRow, StateHash};

/// What a key was at a version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Past<'a> {
    /// It had this value since this version.
    Value(u64, &'a [u8]),
    /// It was deleted at this version.
    Deleted(u64),
    /// It was not there yet.
    Never,
}

type Versions = Vec<(u64, Option<Vec<u8>>)>;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) mark: Mark,
    pub(super) floor: u64,
    pub(super) pins: Vec<u64>,
    rows: BTreeMap<(u16, Vec<u8>), Versions>,
}

impl Model {
    pub(super) fn apply(&mut self, mark: Mark, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(id, key, value) => {
                    self.set(*id, key, mark.version, Some(value.clone()));
                }
                Change::Delete(id, key) => self.set(*id, key, mark.version, None),
                Change::DeleteRange(id, start, end) => {
                    let inside = self.rows.keys().filter(|(keyspace, key)| {
                        keyspace == id && key >= start && (end.is_empty() || key < end)
                    });
                    for (id, key) in inside.cloned().collect::<Vec<_>>() {
                        self.set(id, &key, mark.version, None);
                    }
                }
            }
        }
        self.mark = mark;
    }

    fn set(&mut self, id: u16, key: &[u8], version: u64, value: Option<Vec<u8>>) {
        let versions = self.rows.entry((id, key.to_vec())).or_default();
        let is_live = versions.last().is_some_and(|(_, value)| value.is_some());
        if value.is_none() && !is_live {
            return;
        }
        if versions.last().is_some_and(|(last, _)| *last == version) {
            versions.pop();
        }
        versions.push((version, value));
    }

    pub(super) fn readable(&self, at: u64) -> Result<(), EngineError> {
        if at >= self.floor || self.pins.contains(&at) {
            return Ok(());
        }
        Err(EngineError::Compacted { asked: at, oldest: self.floor })
    }

    pub(super) fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor.min(self.mark.version));
    }

    pub(super) fn unpin(&mut self, nth: usize) -> Option<u64> {
        let index = nth.checked_rem(self.pins.len())?;
        Some(self.pins.swap_remove(index))
    }

    pub(super) fn at(&self, id: u16, key: &[u8], at: u64) -> Past<'_> {
        let versions = self.rows.get(&(id, key.to_vec()));
        let newest = versions.and_then(|all| all.iter().rfind(|(version, _)| *version <= at));
        match newest {
            None => Past::Never,
            Some((version, None)) => Past::Deleted(*version),
            Some((version, Some(value))) => Past::Value(*version, value),
        }
    }

    pub(super) fn rows(&self, id: u16, at: u64) -> Vec<Row> {
        let keys = self.rows.keys().filter(|(keyspace, _)| *keyspace == id);
        let rows = keys.filter_map(|(id, key)| match self.at(*id, key, at) {
            Past::Value(version, value) => {
                Some(Row { key: key.as_slice().into(), version, value: value.into() })
            }
            _ => None,
        });
        rows.collect()
    }

    pub(super) fn keyspaces(&self) -> BTreeSet<u16> {
        self.rows.keys().map(|(id, _)| *id).collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.rows.keys().map(|(id, key)| (*id, key.as_slice()))
    }

    pub(super) fn len(&self, id: u16) -> u64 {
        self.rows(id, u64::MAX).len() as u64
    }

    pub(super) fn state_hash(&self) -> u128 {
        let mut bytes = vec![];
        for id in self.keyspaces() {
            for Row { key, version, value } in self.rows(id, u64::MAX) {
                let row = EncodedRow { keyspace: id, version, key: &key, value: &value };
                row::encode(&mut bytes, &row);
            }
        }
        let mut hash = StateHash::default();
        hash.update(&bytes);
        hash.digest()
    }
}
