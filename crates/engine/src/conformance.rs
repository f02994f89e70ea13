//! What every engine must do, checked against a naive model over random histories.
//!
//! An engine's tests call [`run`]. A property test that wants to shrink its own histories calls
//! [`check`] with them.
//!
//! Invariants of an engine that are checked: every readable version shows exactly what the model
//! holds, forwards and backwards, whole or page by page; a version below the floor that nobody
//! pinned is refused; repeating what was applied changes nothing; equal states have equal hashes;
//! readers beside a writer see whole transactions.

mod concurrent;
mod generate;
mod model;

use std::ops::Bound;

use crate::api::{Engine, EngineError, KeyspaceId, Mark, Operation};
use model::{Model, Past};

/// Random histories per run.
const HISTORIES: u64 = 24;

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(u16, Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(u16, Vec<u8>),
    /// Removes a range; an empty end has no bound.
    DeleteRange(u16, Vec<u8>, Vec<u8>),
}

/// One step of a history. Steps that are impossible where they stand (an unpin without a pin) do
/// nothing, so that any list of steps is a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new transaction; `same_record` puts it into the record of the one before.
    Apply {
        /// Its changes.
        changes: Vec<Change>,
        /// Whether its position is that of the one before.
        same_record: bool,
    },
    /// A replay repeats an old version, with changes that must not show.
    Repeat {
        /// How many versions back.
        back: u64,
        /// What it would change.
        changes: Vec<Change>,
    },
    /// A record without changes; `skipped` versions are lost.
    Advance {
        /// By how much the version rises.
        skipped: u64,
    },
    /// Pins a version.
    Pin {
        /// How many versions back.
        back: u64,
    },
    /// Ends a pin.
    Unpin {
        /// Which of the pins.
        nth: usize,
    },
    /// Moves the floor.
    Floor {
        /// How many versions back.
        back: u64,
    },
    /// Compares a version with the model, in pages of `page` rows.
    Compare {
        /// How many versions back.
        back: u64,
        /// Rows per page.
        page: usize,
    },
}

/// Runs the whole suite.
///
/// # Panics
/// When the engine does not conform; the message says in which history and where.
pub fn run(make: impl Fn() -> Box<dyn Engine>) {
    for seed in 0..HISTORIES {
        let steps = generate::history(seed);
        if let Err(wrong) = check(&*make(), &steps) {
            panic!("history {seed}: {wrong}");
        }
    }
    concurrent::whole_transactions(&*make());
}

/// Runs one history on a new engine; the error says which step went wrong, and how.
pub fn check(engine: &dyn Engine, steps: &[Step]) -> Result<(), String> {
    let mut run = Run { engine, model: Model::default() };
    for (number, step) in steps.iter().enumerate() {
        run.step(step).map_err(|wrong| format!("step {number}, {step:?}: {wrong}"))?;
    }
    run.finish()
}

struct Run<'a> {
    engine: &'a dyn Engine,
    model: Model,
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Apply { changes, same_record } => {
                let before = self.model.mark;
                let mark = Mark {
                    position: before.position + u64::from(!same_record || before.position == 0),
                    term: before.term,
                    version: before.version + 1,
                    log_time_ms: before.log_time_ms + 7,
                };
                self.apply(mark, changes);
                self.model.apply(mark, changes);
            }
            Step::Repeat { back, changes } => {
                let mark = self.model.mark;
                let version = mark.version.saturating_sub(*back);
                let position = mark.position.saturating_sub(*back);
                self.apply(Mark { position, version, ..mark }, changes);
                self.engine.advance(Mark { position, version, ..mark });
            }
            Step::Advance { skipped } => {
                let before = self.model.mark;
                let mark = Mark {
                    position: before.position + 1,
                    version: before.version + skipped,
                    ..before
                };
                self.engine.advance(mark);
                self.model.mark = mark;
            }
            Step::Pin { back } => self.pin(self.back(*back))?,
            Step::Unpin { nth } => {
                if let Some(at) = self.model.unpin(*nth) {
                    self.engine.unpin(at);
                }
            }
            Step::Floor { back } => {
                let floor = self.back(*back);
                self.engine.set_floor(floor);
                self.model.raise_floor(floor);
            }
            Step::Compare { back, page } => self.compare(self.back(*back), (*page).max(1))?,
        }
        self.compare_figures()
    }

    fn back(&self, back: u64) -> u64 {
        self.model.mark.version.saturating_sub(back)
    }

    fn apply(&self, mark: Mark, changes: &[Change]) {
        let operations = changes.iter().map(|change| match change {
            Change::Put(id, key, value) => Operation::Put { keyspace: KeyspaceId(*id), key, value },
            Change::Delete(id, key) => Operation::Delete { keyspace: KeyspaceId(*id), key },
            Change::DeleteRange(id, start, end) => {
                Operation::DeleteRange { keyspace: KeyspaceId(*id), start, end }
            }
        });
        self.engine.apply(mark, &mut { operations });
    }

    fn pin(&mut self, at: u64) -> Result<(), String> {
        let expected = self.model.readable(at);
        same("pin", &expected, &self.engine.pin(at))?;
        if expected.is_ok() {
            self.model.pins.push(at);
        }
        Ok(())
    }

    /// What must agree after every step.
    fn compare_figures(&self) -> Result<(), String> {
        same("mark", &self.model.mark, &self.engine.mark())?;
        same("floor", &self.model.floor, &self.engine.floor())?;
        for id in self.model.keyspaces() {
            let found = self.engine.len(KeyspaceId(id));
            same(&format!("len of keyspace {id}"), &self.model.len(id), &found)?;
        }
        Ok(())
    }

    /// The end of a history: every pin still reads its version, and the state is the model's.
    fn finish(&mut self) -> Result<(), String> {
        for at in self.model.pins.clone() {
            self.compare(at, 3)?;
        }
        self.compare(self.model.mark.version, 1_000)?;
        same("state hash", &self.model.state_hash(), &self.engine.state_hash())?;
        while let Some(at) = self.model.unpin(0) {
            self.engine.unpin(at);
        }
        self.engine.set_floor(u64::MAX);
        self.model.raise_floor(u64::MAX);
        self.compare(self.model.mark.version, 1_000)?;
        same("state hash without a past", &self.model.state_hash(), &self.engine.state_hash())
    }

    /// One version, by key, by page, in both directions.
    fn compare(&self, at: u64, page: usize) -> Result<(), String> {
        for id in self.model.keyspaces() {
            let expected = self.model.readable(at).map(|()| self.model.rows(id, at));
            let everything = (Bound::Unbounded, Bound::Unbounded);
            let found = self.engine.scan(KeyspaceId(id), everything, at, usize::MAX, false);
            same(&format!("keyspace {id} at {at}"), &expected, &found)?;
            let Ok(rows) = expected else { continue };
            let mut reversed = rows.clone();
            reversed.reverse();
            same("pages", &rows, &self.pages(id, at, page, false)?)?;
            same("pages backwards", &reversed, &self.pages(id, at, page, true)?)?;
        }
        for (id, key) in self.model.keys() {
            self.compare_key(id, key, at)?;
        }
        self.compare_key(3, b"never written", at)
    }

    fn compare_key(&self, id: u16, key: &[u8], at: u64) -> Result<(), String> {
        let found = self.engine.get(KeyspaceId(id), key, at);
        let what = || format!("keyspace {id}, key {}, at {at}", key.escape_ascii());
        if let Err(refused) = self.model.readable(at) {
            return same(&what(), &Err(refused), &found);
        }
        let found = found.map_err(|error| format!("{}: {error}", what()))?;
        let found = found.map(|found| (found.version, found.value.map(|value| value.to_vec())));
        match (self.model.at(id, key, at), found) {
            (Past::Value(version, value), found) => {
                same(&what(), &Some((version, Some(value.to_vec()))), &found)
            }
            (Past::Deleted(version), Some((found, None))) if (version..=at).contains(&found) => {
                Ok(())
            }
            (Past::Deleted(_) | Past::Never, None) => Ok(()),
            (Past::Never, Some((found, None))) if found <= at => Ok(()),
            (expected, found) => Err(format!("{}: {expected:?}, not {found:?}", what())),
        }
    }

    /// The whole keyspace, a page at a time, each page behind the last key of the one before.
    fn pages(
        &self,
        id: u16,
        at: u64,
        page: usize,
        reverse: bool,
    ) -> Result<Vec<crate::Row>, String> {
        let mut rows: Vec<crate::Row> = vec![];
        loop {
            let last = rows.last().map(|row| row.key.clone());
            let edge = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let range = if reverse { (Bound::Unbounded, edge) } else { (edge, Bound::Unbounded) };
            let next = self.engine.scan(KeyspaceId(id), range, at, page, reverse);
            let next = next.map_err(|error: EngineError| error.to_string())?;
            if next.len() > page {
                return Err(format!("a page of {} rows, the limit was {page}", next.len()));
            }
            let is_last = next.len() < page;
            rows.extend(next);
            if is_last {
                return Ok(rows);
            }
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}"))
}
