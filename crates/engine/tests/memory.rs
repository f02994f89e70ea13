//! Reclaiming, limits and accounting of the memory engine.

use std::ops::Bound;

use rekindle_engine::{Engine, EngineError, KeyspaceId, Mark, MemoryEngine, Operation};

use crate::support::{delete, put, value_of};

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// One key is overwritten while a reader holds an old version: only that version stays.
#[test]
fn a_pin_holds_its_version_and_nothing_else() {
    let engine = MemoryEngine::new();
    for number in 0..100_u8 {
        put(&engine, 1, &[(b"hot", &[number])]);
    }
    engine.pin(40).unwrap();
    let all = engine.state_bytes().1;
    for _ in 0..20 {
        engine.set_floor(u64::MAX);
    }
    let held = engine.state_bytes().1;
    assert!(held > 0 && held * 50 < all, "{held} of {all} bytes");
    let at = |version| engine.get(KeyspaceId(1), b"hot", version);
    assert_eq!(at(40).unwrap().unwrap().version, 40);
    assert_eq!(at(41), Err(EngineError::Compacted { asked: 41, oldest: 100 }));
    assert_eq!(engine.pin(39), Err(EngineError::Compacted { asked: 39, oldest: 100 }));
    engine.pin(40).unwrap();
    engine.unpin(40);
    assert!(at(40).is_ok(), "two pins end twice");
    engine.unpin(40);
    assert_eq!(engine.state_bytes().1, 0);
    assert!(at(40).is_err());
    engine.check_invariants();
}

/// Sweeping goes on by itself with each apply, so that nobody ever waits for all of it.
#[test]
fn each_apply_sweeps_more_than_it_makes() {
    let engine = MemoryEngine::new();
    let rows: Vec<[u8; 4]> = (0..20_000_u32).map(u32::to_be_bytes).collect();
    let keyspace = KeyspaceId(1);
    let puts = rows.iter().map(|key| Operation::Put { keyspace, key, value: b"v" });
    engine.apply(Mark { position: 1, version: 1, ..Mark::default() }, &mut { puts });
    assert_eq!(engine.len(keyspace), 20_000);
    let live = engine.state_bytes().0;
    let range = Operation::DeleteRange { keyspace, start: &[], end: &[] };
    engine.apply(Mark { position: 2, version: 2, ..Mark::default() }, &mut [range].into_iter());
    assert_eq!(engine.len(keyspace), 0);
    assert_eq!(engine.scan(keyspace, ALL, 1, usize::MAX, true).unwrap().len(), 20_000);
    let (state, history) = engine.state_bytes();
    assert_eq!(state, 0);
    assert!(history > live, "what was deleted is history now");
    engine.set_floor(2);
    assert!(engine.state_bytes().1 > history / 2, "one call sweeps a bounded part");
    let mut applied = 0;
    while engine.state_bytes().1 > 0 {
        put(&engine, 1, &[(b"next", b"value")]);
        engine.set_floor(u64::MAX);
        engine.check_invariants();
        applied += 1;
        assert!(applied < 100, "sweeping keeps up");
    }
    assert!(engine.scan(keyspace, ALL, 1, 10, false).is_err());
    assert_eq!(engine.scan(keyspace, ALL, u64::MAX, 10, false).unwrap().len(), 1);
}

/// Rows that come and go in any order leave neither bytes nor leaves behind.
#[test]
fn random_rows_come_and_go() {
    let engine = MemoryEngine::new();
    let key = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    for number in 0..5_000 {
        put(&engine, 1, &[(&key(number), &number.to_le_bytes())]);
    }
    engine.check_invariants();
    for number in (0..5_000).filter(|number| number % 10 != 0) {
        delete(&engine, 1, &key(number));
        engine.set_floor(u64::MAX);
    }
    engine.check_invariants();
    assert_eq!(engine.len(KeyspaceId(1)), 500);
    assert_eq!(engine.state_bytes().1, 0);
    let rows = engine.scan(KeyspaceId(1), ALL, u64::MAX, usize::MAX, false).unwrap();
    assert!(rows.iter().is_sorted_by_key(|row| row.key.clone()));
    assert_eq!(rows.len(), 500);
    for number in (0..5_000).step_by(10) {
        delete(&engine, 1, &key(number));
    }
    engine.set_floor(u64::MAX);
    engine.check_invariants();
    assert_eq!(engine.state_bytes(), (0, 0));
}

/// The first leaf of a branch goes, and its range falls to the next leaf: the separator of that one
/// then lies above keys that it holds, and above the leaves that they fill.
#[test]
fn a_range_whose_leaf_went_fills_again() {
    let engine = MemoryEngine::new();
    let key = |number: u32, nth: u8| [&number.to_be_bytes()[..], &[nth]].concat();
    let rows: Vec<Vec<u8>> = (0..130 * 64).map(|number| key(number, 0)).collect();
    let rows: Vec<(&[u8], &[u8])> = rows.iter().map(|key| (key.as_slice(), &b"v"[..])).collect();
    put(&engine, 1, &rows);
    let remove = |from: u32, behind: u32| {
        let before = engine.mark();
        let mark = Mark { position: before.position + 1, version: before.version + 1, ..before };
        let (start, end) = (key(from, 0), key(behind, 0));
        let range = Operation::DeleteRange { keyspace: KeyspaceId(1), start: &start, end: &end };
        engine.apply(mark, &mut std::iter::once(range));
        engine.set_floor(u64::MAX);
        assert_eq!(engine.state_bytes().1, 0, "everything is swept");
    };
    remove(128 * 64, 129 * 64);
    put(&engine, 1, &[(&key(8_200, 0), b"low")]);
    remove(129 * 64, 130 * 64);
    for nth in 1..=200 {
        put(&engine, 1, &[(&key(8_200, nth), b"new")]);
    }
    engine.check_invariants();
    for nth in 1..=200 {
        assert_eq!(value_of(&engine, 1, &key(8_200, nth)), Some(b"new".to_vec()), "{nth}");
    }
    assert_eq!(engine.len(KeyspaceId(1)), 128 * 64 + 201);
}

/// The state's bytes are at least what is stored, and about what it costs.
#[test]
fn state_bytes_count_the_overhead() {
    let engine = MemoryEngine::new();
    for number in 0..1_000_u64 {
        put(&engine, 1, &[(&number.to_be_bytes(), &[0; 100])]);
    }
    let (state, history) = engine.state_bytes();
    assert_eq!(history, 0);
    assert!((150 * 1_000..300 * 1_000).contains(&state), "{state} bytes for 1,000 rows of 108");
    let before = state;
    put(&engine, 1, &[(&[5; 200], &[0; 10])]);
    assert!(engine.state_bytes().0 - before > 210, "a long key is counted");
}

#[test]
fn marks_never_go_back() {
    let engine = MemoryEngine::new();
    put(&engine, 1, &[(b"a", b"1")]);
    let mark = engine.mark();
    engine.advance(Mark { position: 5, term: 3, ..Mark::default() });
    assert_eq!(engine.mark(), Mark { position: 5, term: 3, ..mark });
    engine.advance(Mark { position: 4, term: 9, version: 77, log_time_ms: 1 });
    assert_eq!(engine.mark().position, 5);
    assert_eq!(engine.mark().version, 1);
    engine.advance(Mark { position: 6, version: 9, ..mark });
    assert_eq!(engine.mark().version, 9, "an accepted loss skips versions");
    engine.set_floor(100);
    assert_eq!(engine.floor(), 9, "the floor stays at or below what is applied");
    engine.set_floor(3);
    assert_eq!(engine.floor(), 9);
    assert_eq!(value_of(&engine, 1, b"a"), Some(b"1".to_vec()));
    assert_eq!(engine.keyspaces(), [KeyspaceId(1)]);
}

#[test]
#[should_panic(expected = "each unpin ends one pin")]
fn an_unpin_without_a_pin_is_a_bug() {
    MemoryEngine::default().unpin(3);
}

#[test]
#[should_panic(expected = "an older position")]
fn a_newer_version_at_an_older_position_is_a_bug() {
    let engine = MemoryEngine::new();
    let mark = Mark { position: 5, version: 1, ..Mark::default() };
    engine.apply(mark, &mut std::iter::empty());
    engine.apply(Mark { position: 4, version: 2, ..mark }, &mut std::iter::empty());
}
