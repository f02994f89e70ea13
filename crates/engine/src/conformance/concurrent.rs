//! Readers beside a writer: each sees some transaction whole, and never an older one than before.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::api::{Engine, KeyspaceId, Mark, Operation};

const TRANSACTIONS: u64 = 2_000;
const KEYS: u8 = 9;
const SPACES: [KeyspaceId; 2] = [KeyspaceId(5), KeyspaceId(6)];

/// Every transaction replaces all rows of two keyspaces by its version: first it deletes a range,
/// then it puts; a reader who sees two versions, or a hole, saw a part of one.
pub(super) fn whole_transactions(engine: &dyn Engine) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    last = read_once(engine, last);
                }
            });
        }
        for version in 1..=TRANSACTIONS {
            replace_all(engine, version);
            engine.set_floor(version.saturating_sub(3));
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(read_once(engine, 0), TRANSACTIONS);
}

fn replace_all(engine: &dyn Engine, version: u64) {
    let value = version.to_le_bytes();
    let keys: Vec<[u8; 1]> = (0..KEYS).map(|key| [key]).collect();
    let clear =
        SPACES.iter().map(|&keyspace| Operation::DeleteRange { keyspace, start: &[], end: &[] });
    let puts =
        SPACES.iter().flat_map(|&keyspace| keys.iter().map(move |key| (keyspace, key.as_slice())));
    let puts = puts.map(|(keyspace, key)| Operation::Put { keyspace, key, value: &value });
    let mark = Mark { position: version, term: 0, version, log_time_ms: version };
    engine.apply(mark, &mut clear.chain(puts));
}

/// Reads one pinned version whole; answers it.
fn read_once(engine: &dyn Engine, last: u64) -> u64 {
    let at = engine.mark().version;
    assert!(at >= last, "what is visible never goes back");
    if at == 0 {
        return 0;
    }
    if engine.pin(at).is_err() {
        // The floor passed it meanwhile, which needs newer transactions.
        assert!(engine.mark().version > at, "the applied version can be pinned");
        return at;
    }
    for keyspace in SPACES {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let rows = engine.scan(keyspace, all, at, usize::MAX, false);
        let rows = rows.expect("a pinned version is readable");
        assert_eq!(rows.len(), usize::from(KEYS), "a part of version {at}");
        assert!(rows.iter().all(|row| row.version == at), "two versions at {at}");
        let first = engine.get(keyspace, &[0], at).expect("a pinned version is readable");
        assert_eq!(first.map(|row| row.version), Some(at));
    }
    engine.unpin(at);
    at
}
