//! Serializability: random transactions, interleaved on one thread, checked against running them
//! one after the other in version order.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use rekindle_database::{Database, KeyspaceId, Pending, Transaction};

use crate::support::journal::database;
use crate::support::quiet;

const LANES: usize = 4;

/// A step of one of the concurrent transactions, or of the journal.
#[derive(Clone, Debug)]
enum Step {
    Get(usize, u8, u8),
    Scan { lane: usize, keyspace: u8, range: (Edge, Edge), limit: usize, reverse: bool },
    Put(usize, u8, u8, u8),
    Delete(usize, u8, u8),
    DeleteRange(usize, u8, u8, u8),
    Submit(usize),
    Resolve,
}

#[derive(Clone, Copy, Debug)]
enum Edge {
    None,
    Included(u8),
    Excluded(u8),
}

/// What a transaction did, with what it saw.
#[derive(Clone, Debug)]
enum Did {
    Got(u8, u8, Option<u8>),
    Scanned { keyspace: u8, range: (Edge, Edge), limit: usize, reverse: bool, rows: Vec<(u8, u8)> },
    Put(u8, u8, u8),
    Deleted(u8, u8),
    DeletedRange(u8, u8, u8),
}

type Model = BTreeMap<(u8, u8), u8>;

fn edge() -> impl Strategy<Value = Edge> {
    prop_oneof![
        Just(Edge::None),
        (0_u8..6).prop_map(Edge::Included),
        (0_u8..6).prop_map(Edge::Excluded),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lane = 0..LANES;
    let ks = 1_u8..3;
    let key = 0_u8..6;
    prop_oneof![
        4 => (lane.clone(), ks.clone(), key.clone()).prop_map(|(l, s, k)| Step::Get(l, s, k)),
        3 => (lane.clone(), ks.clone(), edge(), edge(), 0_usize..5, any::<bool>()).prop_map(
            |(lane, keyspace, from, to, limit, reverse)| Step::Scan {
                lane, keyspace, range: (from, to), limit, reverse
            }
        ),
        4 => (lane.clone(), ks.clone(), key.clone(), any::<u8>())
            .prop_map(|(l, s, k, v)| Step::Put(l, s, k, v)),
        2 => (lane.clone(), ks.clone(), key.clone()).prop_map(|(l, s, k)| Step::Delete(l, s, k)),
        1 => (lane.clone(), ks, key.clone(), key)
            .prop_map(|(l, s, a, b)| Step::DeleteRange(l, s, a, b)),
        4 => lane.prop_map(Step::Submit),
        2 => Just(Step::Resolve),
    ]
}

fn bound(edge: &Edge) -> Bound<[u8; 1]> {
    match edge {
        Edge::None => Bound::Unbounded,
        Edge::Included(key) => Bound::Included([*key]),
        Edge::Excluded(key) => Bound::Excluded([*key]),
    }
}

fn inside((from, to): &(Edge, Edge), key: u8) -> bool {
    let behind = match from {
        Edge::None => true,
        Edge::Included(first) => key >= *first,
        Edge::Excluded(before) => key > *before,
    };
    behind
        && match to {
            Edge::None => true,
            Edge::Included(last) => key <= *last,
            Edge::Excluded(end) => key < *end,
        }
}

fn model_scan(
    model: &Model,
    keyspace: u8,
    range: &(Edge, Edge),
    limit: usize,
    reverse: bool,
) -> Vec<(u8, u8)> {
    let mut rows: Vec<(u8, u8)> = model
        .iter()
        .filter(|((at, key), _)| *at == keyspace && inside(range, *key))
        .map(|((_, key), value)| (*key, *value))
        .collect();
    if reverse {
        rows.reverse();
    }
    rows.truncate(limit);
    rows
}

/// Runs what a transaction did on the model; checks everything that it saw.
fn run_alone(model: &mut Model, did: &[Did]) -> Result<(), TestCaseError> {
    for step in did {
        match step {
            Did::Got(ks, key, seen) => {
                prop_assert_eq!(model.get(&(*ks, *key)), seen.as_ref(), "{:?}", did);
            }
            Did::Scanned { keyspace, range, limit, reverse, rows } => {
                let expected = model_scan(model, *keyspace, range, *limit, *reverse);
                prop_assert_eq!(&expected, rows, "{:?}", did);
            }
            Did::Put(ks, key, value) => {
                model.insert((*ks, *key), *value);
            }
            Did::Deleted(ks, key) => {
                model.remove(&(*ks, *key));
            }
            Did::DeletedRange(ks, a, b) => {
                model.retain(|(at, key), _| at != ks || key < a || key >= b);
            }
        }
    }
    Ok(())
}

struct Lane {
    transaction: Transaction,
    did: Vec<Did>,
}

#[derive(Default)]
struct Run {
    lanes: [Option<Lane>; LANES],
    /// Committed, by version.
    committed: BTreeMap<u64, Vec<Did>>,
    /// Read-only answers: pending, and what they saw.
    answers: Vec<(Pending, Vec<Did>)>,
    conflicts: u64,
}

impl Run {
    fn lane(&mut self, database: &Database, lane: usize) -> &mut Lane {
        self.lanes[lane]
            .get_or_insert_with(|| Lane { transaction: database.begin(), did: Vec::new() })
    }

    fn step(&mut self, database: &Database, step: &Step) {
        match step {
            Step::Get(lane, ks, key) => {
                let lane = self.lane(database, *lane);
                let found = lane.transaction.get(id(*ks), &[*key]).unwrap();
                lane.did.push(Did::Got(*ks, *key, found.map(|value| value.bytes[0])));
            }
            Step::Scan { lane, keyspace, range, limit, reverse } => {
                let lane = self.lane(database, *lane);
                let (from, to) = (bound(&range.0), bound(&range.1));
                let bounds = (from.as_ref().map(|k| &k[..]), to.as_ref().map(|k| &k[..]));
                let rows = lane.transaction.scan(id(*keyspace), bounds, *limit, *reverse).unwrap();
                let rows = rows.iter().map(|row| (row.key[0], row.value[0])).collect();
                let (keyspace, range, limit, reverse) = (*keyspace, *range, *limit, *reverse);
                lane.did.push(Did::Scanned { keyspace, range, limit, reverse, rows });
            }
            Step::Put(lane, ks, key, value) => {
                let lane = self.lane(database, *lane);
                lane.transaction.put(id(*ks), &[*key], &[*value]);
                lane.did.push(Did::Put(*ks, *key, *value));
            }
            Step::Delete(lane, ks, key) => {
                let lane = self.lane(database, *lane);
                lane.transaction.delete(id(*ks), &[*key]);
                lane.did.push(Did::Deleted(*ks, *key));
            }
            Step::DeleteRange(lane, ks, a, b) => {
                let lane = self.lane(database, *lane);
                lane.transaction.delete_range(id(*ks), &[*a], &[*b]);
                if a < b {
                    lane.did.push(Did::DeletedRange(*ks, *a, *b));
                }
            }
            Step::Submit(lane) => self.submit(*lane),
            Step::Resolve => unreachable!("the caller resolves"),
        }
    }

    fn submit(&mut self, lane: usize) {
        let Some(Lane { transaction, did }) = self.lanes[lane].take() else { return };
        let writes = did.iter().any(|did| !matches!(did, Did::Got(..) | Did::Scanned { .. }));
        match transaction.submit() {
            Ok(pending) if writes => {
                let taken = self.committed.insert(pending.version(), did);
                assert!(taken.is_none(), "a version is given out once");
            }
            Ok(pending) => self.answers.push((pending, did)),
            Err(rekindle_database::Error::Conflict { .. }) => self.conflicts += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

fn id(keyspace: u8) -> KeyspaceId {
    KeyspaceId(u16::from(keyspace))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Every transaction saw exactly the state before its version, and so did every read-only
    /// answer at the version that it names.
    ///
    /// proves: D12
    #[test]
    fn histories_are_serializable(steps in proptest::collection::vec(step(), 1..120)) {
        let (database, journal, _) = database(quiet());
        prop_assert_eq!(database.keyspace("one").unwrap(), id(1));
        prop_assert_eq!(database.keyspace("two").unwrap(), id(2));
        let before = database.current_version();
        journal.hold();
        let mut run = Run::default();
        for step in &steps {
            match step {
                Step::Resolve => journal.step(),
                step => run.step(&database, step),
            }
        }
        (0..LANES).for_each(|lane| run.submit(lane));
        journal.step();

        let mut model = Model::new();
        let mut states = BTreeMap::from([(before, model.clone())]);
        for (version, did) in &run.committed {
            prop_assert_eq!(*version, states.last_key_value().unwrap().0 + 1, "dense");
            run_alone(&mut model, did)?;
            states.insert(*version, model.clone());
        }
        for (pending, did) in run.answers {
            let version = pending.wait().unwrap().version;
            let state = states.range(..=version).next_back();
            let mut state = state.map(|(_, state)| state.clone()).unwrap_or_default();
            run_alone(&mut state, &did)?;
        }
        for keyspace in [1, 2] {
            let rows = database.snapshot().unwrap();
            let rows = rows.scan(id(keyspace), crate::support::ALL, 99, false).unwrap();
            let rows: Vec<(u8, u8)> =
                rows.iter().map(|row| (row.key[0], row.value[0])).collect();
            let expected = model_scan(&model, keyspace, &(Edge::None, Edge::None), 99, false);
            prop_assert_eq!(rows, expected);
        }
        let stats = database.stats();
        prop_assert_eq!((stats.window_bytes, stats.readers), (0, 0), "nothing is left behind");
        prop_assert_eq!(stats.conflicts, run.conflicts);
    }
}
