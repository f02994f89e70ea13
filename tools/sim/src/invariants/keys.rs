//! What a client put under a key is what it gets, with the version that it was told.

use std::ops::Bound;

use rekindle_services::kv::{ScanRequest, Scope};

use super::Check;
use crate::model::{Keys, Model};
use crate::store::{ALL_ROWS, Store};

/// Holds the keys of the kv service and of the raw keyspace against the model.
///
/// # Errors
/// With the first key that differs.
pub fn check(model: &Model, store: &Store) -> Check {
    let request = ScanRequest::default();
    let page = store.services.kv().scan(&Scope::default(), &request);
    let page = page.map_err(|error| format!("scanning kv: {error}"))?;
    let kv = page.rows.into_iter().map(|row| (row.key, (row.version, row.value.to_vec())));
    same("kv", &model.kv, &kv.collect())?;
    let snapshot = store.database.snapshot().map_err(|error| error.to_string())?;
    let all = (Bound::Unbounded, Bound::Unbounded);
    let rows = snapshot.scan(store.raw, all, ALL_ROWS, false).map_err(|error| error.to_string())?;
    let raw = rows.into_iter().map(|row| (row.key.to_vec(), (row.version, row.value.to_vec())));
    same("raw", &model.raw, &raw.collect())
}

fn same(what: &str, expected: &Keys, found: &Keys) -> Check {
    if expected == found {
        return Ok(());
    }
    let keys = expected.keys().chain(found.keys());
    let key = keys.into_iter().find(|key| expected.get(*key) != found.get(*key));
    let key = key.cloned().unwrap_or_default();
    let (wanted, there) = (expected.get(&key), found.get(&key));
    Err(format!("{what} key \"{}\": expected {wanted:?}, found {there:?}", key.escape_ascii()))
}
