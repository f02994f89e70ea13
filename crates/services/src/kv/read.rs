//! Reading keys and values: what is visible now, or the past.

use std::ops::Bound;

use rekindle_database::Snapshot;

use crate::error::Error;
use crate::exec::Core;
use crate::keys::user;
use crate::kv::write::{check_key, check_scope};
use crate::kv::{Entry, Page, ScanRequest, Scope};
use crate::limits::{KV_SCAN_BYTES_MAX, KV_SCAN_ROWS_MAX};

/// Rows that one read asks for, so that a page of large values does not gather what it cannot hold.
const READ: usize = 64;

fn snapshot(core: &Core, at_version: Option<u64>) -> Result<Snapshot, Error> {
    let snapshot = match at_version {
        Some(version) => core.database.snapshot_at(version),
        None => core.database.snapshot(),
    };
    Ok(snapshot?)
}

/// A value.
pub(crate) fn get(
    core: &Core,
    scope: &Scope,
    key: &[u8],
    at_version: Option<u64>,
) -> Result<Option<Entry>, Error> {
    let mut stored = check_scope(scope)?;
    check_key(key)?;
    stored.extend_from_slice(key);
    let found = snapshot(core, at_version)?.get(core.keyspaces.kv, &stored)?;
    Ok(found.map(|found| Entry { key: key.to_vec(), value: found.bytes, version: found.version }))
}

/// A page of a range, bounded in rows and bytes.
pub(crate) fn scan(core: &Core, scope: &Scope, request: &ScanRequest<'_>) -> Result<Page, Error> {
    let prefix = check_scope(scope)?;
    let (mut start, mut end) = range(&prefix, request.start, request.end);
    let limit = match request.limit {
        0 => KV_SCAN_ROWS_MAX,
        limit => limit.min(KV_SCAN_ROWS_MAX),
    };
    let snapshot = snapshot(core, request.at_version)?;
    let mut page = Page { rows: vec![], more: false, version: snapshot.version() };
    let mut bytes = 0;
    // An empty range is no error, and no range that an engine should see.
    while start < end {
        let range = (Bound::Included(start.as_slice()), Bound::Excluded(end.as_slice()));
        let rows = snapshot.scan(core.keyspaces.kv, range, READ, request.reverse)?;
        let last = rows.len() < READ;
        for row in rows {
            if page.rows.len() >= limit || (bytes >= KV_SCAN_BYTES_MAX && !page.rows.is_empty()) {
                page.more = true;
                return Ok(page);
            }
            let key = row.key.get(prefix.len()..).unwrap_or_default().to_vec();
            let value = if request.keys_only { Vec::new().into() } else { row.value };
            bytes += key.len() + value.len();
            page.rows.push(Entry { key, value, version: row.version });
            if request.reverse {
                end = row.key.to_vec();
            } else {
                start = row.key.to_vec();
                start.push(0);
            }
        }
        if last {
            break;
        }
    }
    Ok(page)
}

/// The stored range of a user's range; an empty end is the end of the scope.
pub(crate) fn range(prefix: &[u8], start: &[u8], end: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let stored_start = [prefix, start].concat();
    let stored_end = if end.is_empty() { user::behind(prefix) } else { [prefix, end].concat() };
    (stored_start, stored_end)
}
