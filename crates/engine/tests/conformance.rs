//! The memory engine under the suite that every engine must pass, and under histories that shrink.

use proptest::prelude::*;
use rekindle_engine::conformance::{self, Change, Step};
use rekindle_engine::{Engine, MemoryEngine};

/// proves: D12
#[test]
fn the_memory_engine_conforms() {
    conformance::run(|| Box::new(MemoryEngine::new()));
}

pub(crate) fn keyspace() -> impl Strategy<Value = u16> {
    prop_oneof![9 => Just(1_u16), 1 => Just(0_u16), 1 => Just(u16::MAX)]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => proptest::collection::vec(0_u8..4, 0..3),
        1 => proptest::collection::vec(0_u8..2, 20..26),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let value = proptest::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        6 => (keyspace(), key(), value).prop_map(|(id, key, value)| Change::Put(id, key, value)),
        3 => (keyspace(), key()).prop_map(|(id, key)| Change::Delete(id, key)),
        1 => (keyspace(), key(), key()).prop_map(|(id, a, b)| Change::DeleteRange(id, a, b)),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let changes = || proptest::collection::vec(change(), 0..5);
    prop_oneof![
        10 => (changes(), any::<bool>())
            .prop_map(|(changes, same_record)| Step::Apply { changes, same_record }),
        1 => (0_u64..4, changes()).prop_map(|(back, changes)| Step::Repeat { back, changes }),
        1 => (0_u64..3).prop_map(|skipped| Step::Advance { skipped }),
        2 => (0_u64..8).prop_map(|back| Step::Pin { back }),
        2 => (0_usize..4).prop_map(|nth| Step::Unpin { nth }),
        2 => (0_u64..6).prop_map(|back| Step::Floor { back }),
        1 => (0_u64..9, 1_usize..5).prop_map(|(back, page)| Step::Compare { back, page }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// proves: D12
    #[test]
    fn any_history_matches_the_model(steps in proptest::collection::vec(step(), 0..60)) {
        let engine = MemoryEngine::new();
        let checked = conformance::check(&engine, &steps);
        prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
        engine.check_invariants();
        // The history ended without pins at the highest floor: sweeping forgets all of the past.
        engine.set_floor(u64::MAX);
        engine.check_invariants();
        prop_assert_eq!(engine.state_bytes().1, 0, "no history is left");
    }
}

/// An engine that shows deletions, and a suite that must notice.
#[test]
fn the_suite_notices_an_engine_that_forgets() {
    let engine = MemoryEngine::new();
    let put = Step::Apply {
        changes: vec![Change::Put(1, b"k".to_vec(), b"v".to_vec())],
        same_record: false,
    };
    engine.apply(
        rekindle_engine::Mark { position: 1, version: 1, ..Default::default() },
        &mut std::iter::empty(),
    );
    let wrong = conformance::check(&engine, &[put]).unwrap_err();
    assert!(wrong.contains("step 0"), "{wrong}");
}
