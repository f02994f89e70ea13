//! What a reader of a version reads: a snapshot of RocksDB, and the memtables on top of it.
//!
//! A flush moves rows from a memtable to RocksDB, of each key only the newest version. Readers of
//! versions before it go on with the view before, which holds the snapshot of that time and the
//! memtable. Invariant: a view stays for as long as a version that it alone shows is at or above
//! the floor or pinned; a reader holds the view that it reads.

use std::sync::Arc;

use super::base::Base;
use super::memtable::Memtable;
use crate::api::EngineError;
use crate::files::Past;

/// Shows the versions from `from` on.
#[derive(Clone)]
pub(super) struct View {
    /// The version that the snapshot stands at.
    pub(super) from: u64,
    pub(super) base: Arc<Base>,
    /// Newest first.
    pub(super) tables: Vec<Arc<Memtable>>,
}

/// All views, and which versions can be read.
pub(super) struct Views {
    pub(super) past: Past,
    current: Arc<View>,
    /// Those before it, oldest first: each shows the versions below where the next one begins.
    old: Vec<Arc<View>>,
}

impl Views {
    pub(super) fn new(view: View, past: Past) -> Self {
        Self { past, current: Arc::new(view), old: Vec::new() }
    }

    /// The view that shows a version, unless that is gone.
    pub(super) fn at(&self, at: u64) -> Result<Arc<View>, EngineError> {
        self.past.check(at)?;
        let views = std::iter::once(&self.current).chain(self.old.iter().rev());
        let shows = views.into_iter().find(|view| view.from <= at);
        Ok(Arc::clone(shows.expect("what may be read has a view")))
    }

    /// The newest.
    pub(super) fn current(&self) -> Arc<View> {
        Arc::clone(&self.current)
    }

    /// From here on `active` is written to.
    pub(super) fn write_to(&mut self, active: Arc<Memtable>) {
        let mut view = View::clone(&self.current);
        view.tables.insert(0, active);
        self.current = Arc::new(view);
    }

    /// RocksDB has what the oldest memtable holds, up to version `from`, and is now as in `base`.
    pub(super) fn flushed(&mut self, base: Arc<Base>, from: u64) -> Vec<Arc<View>> {
        let mut view = View::clone(&self.current);
        let table = view.tables.pop().expect("a memtable was flushed");
        assert!(!view.tables.is_empty(), "one is written to");
        let tables = vec![table];
        let before = View { from: view.from, base: view.base, tables };
        self.old.push(Arc::new(before));
        self.current = Arc::new(View { from, base, tables: view.tables });
        self.trim()
    }

    /// RocksDB was filled with a state at version `from`, and nothing was applied on top of it.
    pub(super) fn filled(&mut self, base: Arc<Base>, from: u64) {
        assert!(self.old.is_empty(), "only a new engine is filled");
        self.current = Arc::new(View { from, base, tables: self.current.tables.clone() });
        self.past.raise(from);
    }

    /// Takes out the views that nobody can ask for.
    pub(super) fn trim(&mut self) -> Vec<Arc<View>> {
        let ends = self.old.iter().skip(1).chain([&self.current]).map(|next| next.from);
        let ends: Vec<u64> = ends.collect();
        let past = &self.past;
        let views = std::mem::take(&mut self.old).into_iter().zip(ends);
        let (kept, gone): (Vec<_>, Vec<_>) =
            views.partition(|(view, end)| past.is_readable(view.from, *end));
        self.old = kept.into_iter().map(|(view, _)| view).collect();
        gone.into_iter().map(|(view, _)| view).collect()
    }
}
