//! Reading `latest`: the engine's rows under the pending overlay's, at one version.
//!
//! Invariant: the overlay is asked first. An entry leaves it only after the engine has it, so what
//! the overlay does not show any more the engine shows already. Scans work in steps of bounded size
//! and hold the sequencer's mutex only while they copy one step's pending entries.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, MutexGuard};

use rekindle_engine::{KeyspaceId, Row};

use crate::core::Core;
use crate::encode::EntryBuffer;
use crate::error::Error;
use crate::overlay::{KeyRange, Overlay};
use crate::own::{OwnWrites, covers};
use crate::sequencer::{ReadView, Sequencer};
use crate::transaction::Value;

/// Pending entries that one step of a scan looks at beyond the rows that it wants.
const STEP_ENTRIES: usize = 64;

/// Transactions that are put into order under one hold of the sequencer's mutex: about 2 ms.
const ORDERED_AT_ONCE: usize = 4_096;

/// Most rows of one step.
const STEP_ROWS_MAX: usize = 1_024;

/// What a key is in a scan: the version, and the value or that it is gone.
type Cell = (u64, Option<Arc<[u8]>>);

/// An owned key range.
type Span = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// What is pending in a part of a range.
#[derive(Debug, Default)]
struct Step {
    /// What was written, by key.
    written: BTreeMap<Vec<u8>, Cell>,
    /// Removed ranges: version, first key, key behind the last.
    removed: Vec<(u64, Vec<u8>, Vec<u8>)>,
    /// The last key that was looked at; `None`: all of the range was.
    until: Option<Vec<u8>>,
}

impl Step {
    /// Copies what is pending at version `at`.
    fn of(
        overlay: &Overlay,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        at: u64,
        entries: usize,
        reverse: bool,
    ) -> Self {
        let mut step = Self::default();
        let mut add = |key: &[u8], version: u64, value: Option<&[u8]>| {
            if step.written.len() == entries && !step.written.contains_key(key) {
                return false;
            }
            step.until = Some(key.to_vec());
            step.written.insert(key.to_vec(), (version, value.map(Arc::from)));
            true
        };
        let whole = if reverse {
            let mut slots = overlay.entries_in_reverse(keyspace, range, at);
            slots.all(|(key, found)| add(key, found.version, found.value))
        } else {
            let mut slots = overlay.entries_in(keyspace, range, at);
            slots.all(|(key, found)| add(key, found.version, found.value))
        };
        if whole {
            step.until = None;
        }
        debug_assert!(step.written.len() <= entries, "a step is bounded");
        debug_assert!(step.written.values().all(|(version, _)| *version <= at));
        step.removed = overlay.ranges_meeting(keyspace, range, at);
        step
    }

    /// Whether nothing is pending here.
    fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }

    /// The newest version in it.
    fn newest(&self) -> u64 {
        let written = self.written.values().map(|(version, _)| *version);
        written.chain(self.removed.iter().map(|(version, ..)| *version)).max().unwrap_or(0)
    }

    /// Whether a row of this version is under a newer removed range.
    fn removes(&self, key: &[u8], version: u64) -> bool {
        self.removed
            .iter()
            .any(|(removed, start, end)| *removed > version && covers(start, end, key))
    }
}

impl Core {
    /// A key's newest value at a view, and the newest pending version that the answer shows.
    pub(crate) fn read_latest(
        &self,
        view: ReadView,
        keyspace: KeyspaceId,
        key: &[u8],
    ) -> Result<(Option<Value>, u64), Error> {
        {
            let mut sequencer = self.state.sequencer();
            sequencer.check_view(view)?;
            if let Some(found) = sequencer.overlay.get(keyspace, key, view.at) {
                let version = found.version;
                let value = found.value.map(|bytes| Value { version, bytes: bytes.into() });
                return Ok((value, version));
            }
        }
        let found = self.state.engine.get(keyspace, key, view.at)?;
        let value = found.and_then(|found| {
            let version = found.version;
            found.value.map(|bytes| Value { version, bytes })
        });
        Ok((value, 0))
    }

    /// The sequencer, with everything that the view shows in order. Where much is to be put into
    /// order, commits get in between.
    fn ordered(&self, view: ReadView) -> Result<MutexGuard<'_, Sequencer>, Error> {
        loop {
            let mut sequencer = self.state.sequencer();
            sequencer.check_view(view)?;
            if sequencer.overlay.order_some(view.at, ORDERED_AT_ONCE) {
                return Ok(sequencer);
            }
        }
    }

    /// Rows at a view under a transaction's own writes, and the newest pending version shown.
    pub(crate) fn scan_latest(
        &self,
        view: ReadView,
        own: (&OwnWrites, &EntryBuffer),
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        limit: usize,
        reverse: bool,
    ) -> Result<(Vec<Row>, u64), Error> {
        let mut rows = Vec::new();
        let mut seen = 0;
        let mut left: Span = (range.0.map(<[u8]>::to_vec), range.1.map(<[u8]>::to_vec));
        loop {
            let wanted = (limit - rows.len()).min(STEP_ROWS_MAX);
            let here = borrow(&left);
            let mut step = {
                let sequencer = self.ordered(view)?;
                let entries = wanted + STEP_ENTRIES;
                Step::of(&sequencer.overlay, keyspace, here, view.at, entries, reverse)
            };
            seen = seen.max(step.newest());
            assert!(seen <= view.at, "a view shows nothing above its version");
            let part = narrow(&left, step.until.as_deref(), reverse);
            // Rows that a pending entry hides make room for as many more.
            let fetch = wanted + step.written.len();
            let found = self.state.engine.scan(keyspace, borrow(&part), view.at, fetch, reverse)?;
            let cut =
                if found.len() == fetch { found.last().map(|row| row.key.to_vec()) } else { None };
            let part = narrow(&part, cut.as_deref(), reverse);
            if step.is_empty() && own.0.is_empty() {
                rows.extend(found);
            } else {
                merge(&mut step, found, own, keyspace, borrow(&part));
                let inside = |key: &[u8]| contains(borrow(&part), key);
                take_rows(step, inside, limit, reverse, &mut rows);
            }
            let end = if reverse { part.0 } else { part.1 };
            let done = end == if reverse { left.0.clone() } else { left.1.clone() };
            debug_assert!(rows.len() <= limit, "a scan keeps its limit");
            if rows.len() >= limit || done {
                return Ok((rows, seen));
            }
            match (end, reverse) {
                (Bound::Included(key), false) => left.0 = Bound::Excluded(key),
                (Bound::Included(key), true) => left.1 = Bound::Excluded(key),
                _ => return Ok((rows, seen)),
            }
        }
    }
}

/// Puts the engine's rows and the transaction's own writes into a step.
fn merge(
    step: &mut Step,
    found: Vec<Row>,
    own: (&OwnWrites, &EntryBuffer),
    keyspace: KeyspaceId,
    part: KeyRange<'_>,
) {
    for row in found {
        if step.written.contains_key(&*row.key) || step.removes(&row.key, row.version) {
            continue;
        }
        step.written.insert(row.key.to_vec(), (row.version, Some(row.value)));
    }
    let hidden: Vec<Vec<u8>> = step
        .written
        .iter()
        .filter(|(key, (version, _))| step.removes(key, *version))
        .map(|(key, _)| key.clone())
        .collect();
    for key in hidden {
        step.written.remove(&key);
    }
    let (own, writes) = own;
    if own.is_empty() {
        return;
    }
    step.written.retain(|key, _| !own.removes(keyspace, key));
    for (key, value) in own.entries_in(writes, keyspace, part) {
        step.written.insert(key.to_vec(), (0, value.map(Arc::from)));
    }
}

/// Adds a step's rows in the scan's order, up to the limit.
fn take_rows(
    step: Step,
    inside: impl Fn(&[u8]) -> bool,
    limit: usize,
    reverse: bool,
    rows: &mut Vec<Row>,
) {
    let mut add = |(key, (version, value)): (Vec<u8>, Cell)| {
        if let Some(value) = value.filter(|_| rows.len() < limit && inside(&key)) {
            rows.push(Row { key: key.into(), version, value });
        }
    };
    if reverse {
        step.written.into_iter().rev().for_each(&mut add);
    } else {
        step.written.into_iter().for_each(&mut add);
    }
}

/// The part of a range up to `until`, in the scan's direction.
fn narrow(range: &Span, until: Option<&[u8]>, reverse: bool) -> Span {
    let (mut start, mut end) = range.clone();
    if let Some(until) = until {
        let edge = Bound::Included(until.to_vec());
        if reverse { start = edge } else { end = edge }
    }
    (start, end)
}

fn borrow(range: &Span) -> KeyRange<'_> {
    let start = range.0.as_ref().map(Vec::as_slice);
    (start, range.1.as_ref().map(Vec::as_slice))
}

/// Whether a range holds a key.
fn contains(range: KeyRange<'_>, key: &[u8]) -> bool {
    let behind_start = match range.0 {
        Bound::Unbounded => true,
        Bound::Included(first) => key >= first,
        Bound::Excluded(before) => key > before,
    };
    let before_end = match range.1 {
        Bound::Unbounded => true,
        Bound::Included(last) => key <= last,
        Bound::Excluded(behind) => key < behind,
    };
    behind_start && before_end
}
