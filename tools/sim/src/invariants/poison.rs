//! A failed write or sync is final: nothing is taken any more, and nothing is shown that was not
//! acknowledged.

use std::ops::Bound;

use super::Check;
use crate::history::History;
use crate::request::Change;
use crate::store::{ALL_ROWS, Store, rows};

/// Looks at a store whose journal failed; its disk works again.
///
/// # Errors
/// When it goes on, or shows what may not be there.
pub fn check(store: &Store, history: &History) -> Check {
    if store.database.poisoned().is_none() {
        return Err("an outcome was unknown, and the store goes on".to_owned());
    }
    let change = [Change::Put(b"after".to_vec(), b"the end".to_vec())];
    match crate::execute::commit(&store.database, store.raw, &change) {
        Err(refusal) if refusal.kind == "Unavailable" => {}
        other => return Err(format!("a poisoned store answered a commit with {other:?}")),
    }
    if !history.is_lost() {
        return Err("observers were not told that what was pending is unknown".to_owned());
    }
    let visible = store.database.current_version();
    let expected = history.state_at(visible).ok_or("more is visible than was applied")?;
    let found = rows(&store.database)?;
    if let Some(first) = crate::history::difference(&expected, &found) {
        return Err(format!("a poisoned store shows at version {visible}: {first}"));
    }
    // The latest state, where a transaction may still read it, has nothing pending either.
    let mut transaction = store.database.begin();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let Ok(latest) = transaction.scan(store.raw, all, ALL_ROWS, false) else { return Ok(()) };
    match latest.iter().find(|row| row.version > visible) {
        Some(row) => Err(format!(
            "key \"{}\" of version {} is shown, only {visible} was acknowledged",
            row.key.escape_ascii(),
            row.version
        )),
        None => Ok(()),
    }
}
