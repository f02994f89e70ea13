//! Decision tables: every situation is a row with a label, and each combination of conditions
//! matches exactly one.
//!
//! The idea is TigerBeetle's: recovery reads as a table, and a test walks all combinations.

use std::fmt::Debug;

use crate::finding::Label;

/// One row: the situation's name, when it holds, and what follows.
#[derive(Debug)]
pub struct Row<C, D> {
    /// The stable name.
    pub label: Label,
    /// Whether these conditions are this situation.
    pub when: fn(&C) -> bool,
    /// What follows.
    pub then: D,
}

/// A layer's decision table.
#[derive(Debug)]
pub struct Table<C: 'static, D: 'static> {
    /// The rows; their order carries no meaning, since exactly one matches.
    pub rows: &'static [Row<C, D>],
}

impl<C: Debug, D> Table<C, D> {
    /// The row that matches.
    ///
    /// # Panics
    /// When not exactly one row matches, which the table's own test excludes for every combination.
    #[must_use]
    pub fn decide(&self, conditions: &C) -> &Row<C, D> {
        let mut matching = self.rows.iter().filter(|row| (row.when)(conditions));
        let first = matching.next();
        let second = matching.next();
        match (first, second) {
            (Some(row), None) => row,
            (None, _) => panic!("no row matches {conditions:?}"),
            (Some(a), Some(b)) => panic!("{} and {} both match {conditions:?}", a.label, b.label),
        }
    }

    /// Checks that each of `all` matches exactly one row and that each row is matched by at least
    /// one; returns what is wrong, a line each.
    pub fn check(&self, all: impl IntoIterator<Item = C>) -> Vec<String> {
        let mut hits = vec![0_usize; self.rows.len()];
        let mut wrong = Vec::new();
        for conditions in all {
            let mut labels = Vec::new();
            for (row, hit) in self.rows.iter().zip(hits.iter_mut()) {
                if (row.when)(&conditions) {
                    labels.push(row.label.0);
                    *hit += 1;
                }
            }
            if labels.len() != 1 {
                wrong.push(format!("{conditions:?} matches {labels:?}"));
            }
        }
        let unused = self.rows.iter().zip(&hits).filter(|(_, hits)| **hits == 0);
        wrong.extend(unused.map(|(row, _)| format!("{} is matched by nothing", row.label)));
        wrong
    }
}
