//! Reading memtables and RocksDB as one: the rows of a range in order, each key once.
//!
//! Invariant: of sources that have the same key the newest one counts, and a deletion there hides
//! the key; a source is never asked for more than a page ahead.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};

use rocksdb::Error;

use super::base::{Rows, bounded};
use super::memtable::{Memtable, Range, Shown, is_empty};
use super::view::View;
use crate::api::KeyspaceId;
use crate::files::split_value;

/// Rows of a memtable that are looked up at once.
const PAGE_ROWS: usize = 64;

/// A key and its stored value.
type Item<'a> = (&'a [u8], &'a [u8]);

/// Why a walk ended early.
pub(super) enum Unreadable {
    /// RocksDB refused.
    Refused(Error),
    /// A value has no version.
    NoValue,
}

/// What is read.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) keyspace: KeyspaceId,
    /// The family that the keyspace has in RocksDB, if any.
    pub(super) family: Option<&'a str>,
    pub(super) range: Range<'a>,
    pub(super) at: u64,
    pub(super) reverse: bool,
}

/// A row on its way: key, version, value.
pub(super) type Each<'a> = dyn FnMut(&[u8], u64, &[u8]) -> ControlFlow<()> + 'a;

/// The rows of a memtable, a page at a time.
struct Pages<'a> {
    table: &'a Memtable,
    walk: Walk<'a>,
    /// Behind it the next page begins.
    last: Option<Vec<u8>>,
    page: VecDeque<Shown>,
    is_last: bool,
}

impl Pages<'_> {
    fn peek(&mut self) -> Option<&Shown> {
        if self.page.is_empty() && !self.is_last {
            let Walk { keyspace, range: (start, end), at, reverse, .. } = self.walk;
            let edge = self.last.as_deref().map(Bound::Excluded);
            let range = match reverse {
                true => (start, edge.unwrap_or(end)),
                false => (edge.unwrap_or(start), end),
            };
            let page = self.table.page(keyspace, range, at, PAGE_ROWS, reverse);
            self.is_last = page.len() < PAGE_ROWS;
            self.last = page.last().map(|(key, _)| key.to_vec());
            self.page = page.into();
        }
        self.page.front()
    }
}

/// The rows of RocksDB.
struct Files<'a> {
    rows: Option<Rows<'a>>,
    reverse: bool,
}

impl<'a> Files<'a> {
    fn begin(view: &'a View, walk: Walk<'_>) -> Self {
        let rows = walk.family.and_then(|family| view.base.rows(family, bounded(walk.range)));
        let mut files = Self { rows, reverse: walk.reverse };
        if let Some(rows) = &mut files.rows {
            match walk.reverse {
                true => rows.seek_to_last(),
                false => rows.seek_to_first(),
            }
        }
        files
    }

    /// The row that it stands at; `None` at the end.
    fn peek(&self) -> Result<Option<Item<'_>>, Error> {
        let Some(rows) = &self.rows else { return Ok(None) };
        match rows.item() {
            Some(item) => Ok(Some(item)),
            None => rows.status().map(|()| None),
        }
    }

    fn advance(&mut self) {
        if let Some(rows) = &mut self.rows {
            match self.reverse {
                true => rows.prev(),
                false => rows.next(),
            }
        }
    }
}

impl Walk<'_> {
    /// Whether `key` comes before `other` on this way.
    fn is_before(&self, key: &[u8], other: &[u8]) -> bool {
        let order = if self.reverse { Ordering::Greater } else { Ordering::Less };
        key.cmp(other) == order
    }

    /// Hands over the rows of the view until `each` breaks.
    pub(super) fn each(self, view: &View, each: &mut Each<'_>) -> Result<(), Unreadable> {
        if is_empty(self.range) {
            return Ok(());
        }
        let new =
            |table| Pages { table, walk: self, last: None, page: VecDeque::new(), is_last: false };
        let mut pages: Vec<Pages<'_>> = view.tables.iter().map(|table| new(table)).collect();
        let mut files = Files::begin(view, self);
        loop {
            let mut next: Option<Shown> = None;
            for source in &mut pages {
                let Some(shown) = source.peek() else { continue };
                if next.as_ref().is_none_or(|(key, _)| self.is_before(&shown.0, key)) {
                    next = Some(shown.clone());
                }
            }
            let stored = files.peek().map_err(Unreadable::Refused)?;
            let Some((key, entry)) = next else {
                let Some((key, value)) = stored else { return Ok(()) };
                let (version, bytes) = split_value(value).ok_or(Unreadable::NoValue)?;
                if each(key, version, bytes).is_break() {
                    return Ok(());
                }
                files.advance();
                continue;
            };
            if let Some((stored, value)) = stored {
                if self.is_before(stored, &key) {
                    let (version, bytes) = split_value(value).ok_or(Unreadable::NoValue)?;
                    if each(stored, version, bytes).is_break() {
                        return Ok(());
                    }
                    files.advance();
                    continue;
                }
                if *stored == *key {
                    files.advance();
                }
            }
            for source in &mut pages {
                if source.peek().is_some_and(|(shown, _)| *shown == key) {
                    source.page.pop_front();
                }
            }
            if let Some(value) = &entry.value
                && each(&key, entry.version, value).is_break()
            {
                return Ok(());
            }
        }
    }
}
