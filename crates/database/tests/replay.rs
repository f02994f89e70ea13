//! Replay: what becomes of every kind of record, written below the database as raw bytes.

use std::path::Path;

use rekindle_database::{Database, Error, KeyspaceId, Kind, Report};
use rekindle_env::Env;
use rekindle_journal::RecordKind;

use crate::support::raw::{self, Op, RawJournal};
use crate::support::{ALL, get, open, put, quiet, rows, simulated};

const STORE: &str = "/store";
const KS: KeyspaceId = KeyspaceId(1);

fn filled(fill: impl FnOnce(&RawJournal)) -> Env {
    let (_, env, _) = simulated(7);
    raw::store(Path::new(STORE), &env, fill);
    env
}

fn all(database: &Database) -> Vec<String> {
    rows(&database.snapshot().unwrap().scan(KS, ALL, 100, false).unwrap())
}

fn labels(report: &Report) -> Vec<&'static str> {
    report.findings().map(|finding| finding.label.0).collect()
}

/// A start on this journal is refused as corrupt for this reason, and changes no byte.
fn refused(env: &Env, label: &str) {
    let error = Database::open_with(STORE, quiet(), env.clone()).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Corrupt, 65), "{error}");
    let Error::Corrupt(report) = &error else { panic!("{error}") };
    assert_eq!(labels(report), vec![label], "{error}");
    assert!(error.to_string().contains(label), "{error}");
    assert_eq!(rekindle_database::verify(STORE, env).unwrap().code, 65);
}

/// proves: D2, D13
/// produces: database-1
#[test]
fn test_replay_single_transaction() {
    let env = filled(|journal| journal.commit(1, &[Op::Put("a", "1"), Op::Delete("b")]));
    let database = open(&env);
    assert_eq!(all(&database), vec!["a=1"]);
    let stats = database.replay_stats();
    assert_eq!((stats.txns_applied, stats.writes_applied, stats.deletes_applied), (1, 1, 1));
    assert_eq!((stats.final_version, database.current_version()), (1, 1));
    assert_eq!(stats.discarded_txns + stats.orphaned_entries, 0);
    assert_eq!(database.report().figure("txns_applied"), 1);
}

/// Several in one record, several records, later ones win.
///
/// proves: D2, D13
#[test]
fn test_replay_multiple_transactions() {
    let env = filled(|journal| {
        journal.commit(1, &[Op::Put("a", "1")]);
        journal.commit(2, &[Op::Put("b", "2")]);
        journal.sync();
        journal.commit(3, &[Op::Put("a", "3")]);
        journal.append(RecordKind::Noop, b"");
        journal.commit(4, &[Op::Delete("b"), Op::Put("c", "4")]);
    });
    let database = open(&env);
    assert_eq!(all(&database), vec!["a=3", "c=4"]);
    assert_eq!(database.replay_stats().txns_applied, 4);
}

/// Rows carry the version that wrote them, the next commit gets the next one.
///
/// proves: D2, D6, D13
#[test]
fn test_replay_preserves_versions() {
    let env = filled(|journal| {
        for version in 1..=9 {
            journal.commit(version, &[Op::Put("a", "x"), Op::Put(&format!("k{version}"), "y")]);
        }
    });
    let database = open(&env);
    let snapshot = database.snapshot().unwrap();
    assert_eq!(snapshot.get(KS, b"a").unwrap().unwrap().version, 9);
    for version in 1..=9_u64 {
        let key = format!("k{version}");
        assert_eq!(snapshot.get(KS, key.as_bytes()).unwrap().unwrap().version, version);
    }
    assert_eq!(database.keyspace("first").unwrap(), KS);
    assert_eq!(database.current_version(), 10);
}

/// proves: D3, D13
/// produces: database-3, database-14, database-15
#[test]
fn test_discard_incomplete_transaction() {
    let env = filled(|journal| {
        journal.append(RecordKind::Begin, &raw::id(77));
        journal.append(RecordKind::Part, &raw::part(77, &[Op::Put("a", "1")]));
    });
    let database = open(&env);
    assert_eq!(all(&database), Vec::<String>::new());
    let stats = database.replay_stats();
    assert_eq!((stats.incomplete_txns, stats.discarded_txns, stats.txns_applied), (1, 1, 0));
    let finding = database.report().findings().next().unwrap().clone();
    assert_eq!(finding.label.0, "database-3");
    assert!(finding.found.contains("transaction 77"), "{finding}");
    assert!(finding.place.file.contains("journal/"), "{finding}");
    assert_eq!(database.report().code, 0, "a note does not change the code");
}

/// proves: D3, D13
/// produces: database-5
#[test]
fn test_discard_orphaned_entries() {
    let env = filled(|journal| {
        journal.append(RecordKind::Part, &raw::part(5, &[Op::Put("a", "1")]));
        journal.append(RecordKind::Part, &raw::part(5, &[Op::Put("b", "1")]));
        journal.append(RecordKind::Abort, &raw::id(6));
    });
    let database = open(&env);
    assert_eq!(all(&database), Vec::<String>::new());
    assert_eq!(database.replay_stats().orphaned_entries, 3);
    assert_eq!(labels(database.report()), vec!["database-5"; 3]);
}

/// proves: D3, D5, D13
#[test]
fn test_mixed_committed_and_incomplete() {
    let env = filled(|journal| {
        journal.append(RecordKind::Begin, &raw::id(1));
        journal.append(RecordKind::Begin, &raw::id(2));
        journal.append(RecordKind::Part, &raw::part(1, &[Op::Put("a", "one")]));
        journal.commit(1, &[Op::Put("a", "between"), Op::Put("b", "between")]);
        journal.append(RecordKind::Part, &raw::part(2, &[Op::Put("b", "two")]));
        journal.append(RecordKind::Part, &raw::part(1, &[Op::Put("c", "one")]));
        journal.append(RecordKind::Commit, &raw::commit(1, 2, 2));
        journal.commit(3, &[Op::Put("d", "last")]);
    });
    let database = open(&env);
    // Two interleaved transactions keep their own writes, and the commit decides the order.
    assert_eq!(all(&database), vec!["a=one", "b=between", "c=one", "d=last"]);
    let stats = database.replay_stats();
    assert_eq!((stats.txns_applied, stats.incomplete_txns, stats.final_version), (3, 1, 3));
    let snapshot = database.snapshot().unwrap();
    assert_eq!(snapshot.get(KS, b"c").unwrap().unwrap().version, 2);
}

/// proves: D3, D13
/// produces: database-4
#[test]
fn test_aborted_transactions_discarded() {
    let env = filled(|journal| {
        journal.append(RecordKind::Begin, &raw::id(9));
        journal.append(RecordKind::Part, &raw::part(9, &[Op::Put("a", "1")]));
        journal.append(RecordKind::Abort, &raw::id(9));
        journal.commit(1, &[Op::Put("b", "1")]);
    });
    let database = open(&env);
    assert_eq!(all(&database), vec!["b=1"]);
    let stats = database.replay_stats();
    assert_eq!((stats.aborted_txns, stats.discarded_txns, stats.incomplete_txns), (1, 1, 0));
    assert_eq!(labels(database.report()), vec!["database-4"]);
}

/// proves: D3, D13
#[test]
fn test_multiple_incomplete_transactions() {
    let env = filled(|journal| {
        for id in 1..=20 {
            journal.append(RecordKind::Begin, &raw::id(id));
            journal.append(RecordKind::Part, &raw::part(id, &[Op::Put("a", "1")]));
        }
    });
    let database = open(&env);
    assert_eq!(database.replay_stats().incomplete_txns, 20);
    assert_eq!(labels(database.report()), vec!["database-3"; 20]);
    assert_eq!(database.current_version(), 0);
    assert_eq!(database.state_hash(), rekindle_engine_hash());
}

fn rekindle_engine_hash() -> u128 {
    use rekindle_engine::Engine;
    rekindle_engine::MemoryEngine::new().state_hash()
}

/// A second Begin changes nothing: the commit's part count proves what belongs to it.
///
/// proves: D5
/// produces: database-6
#[test]
fn a_second_begin_is_ignored_and_noted() {
    let env = filled(|journal| {
        journal.append(RecordKind::Begin, &raw::id(4));
        journal.append(RecordKind::Part, &raw::part(4, &[Op::Put("a", "1")]));
        journal.append(RecordKind::Begin, &raw::id(4));
        journal.append(RecordKind::Part, &raw::part(4, &[Op::Put("b", "2")]));
        journal.append(RecordKind::Commit, &raw::commit(4, 1, 2));
    });
    let database = open(&env);
    assert_eq!(all(&database), vec!["a=1", "b=2"]);
    assert_eq!(labels(database.report()), vec!["database-6"]);
}

/// proves: D5
/// produces: database-7
#[test]
fn a_commit_without_a_begin_is_refused() {
    let env = filled(|journal| journal.append(RecordKind::Commit, &raw::commit(3, 1, 1)));
    refused(&env, "database-7");
}

/// proves: D3
/// produces: database-8
#[test]
fn a_commit_that_counts_other_parts_is_refused() {
    let env = filled(|journal| {
        journal.append(RecordKind::Begin, &raw::id(3));
        journal.append(RecordKind::Part, &raw::part(3, &[Op::Put("a", "1")]));
        journal.append(RecordKind::Commit, &raw::commit(3, 1, 2));
    });
    refused(&env, "database-8");
}

/// proves: D2
/// produces: database-9
#[test]
fn payloads_that_cannot_be_decoded_are_refused() {
    let kinds = [
        RecordKind::Begin,
        RecordKind::Part,
        RecordKind::Commit,
        RecordKind::Abort,
        RecordKind::Loss,
        RecordKind::Feature,
    ];
    for kind in kinds {
        refused(&filled(|journal| journal.append(kind, b"?")), "database-9");
    }
}

/// proves: D2
/// produces: database-10
#[test]
fn a_gap_in_the_versions_is_refused() {
    let env = filled(|journal| {
        journal.commit(1, &[Op::Put("a", "1")]);
        journal.sync();
        journal.commit(3, &[Op::Put("b", "1")]);
    });
    refused(&env, "database-10");
    let env = filled(|journal| {
        journal.commit(1, &[Op::Put("a", "1")]);
        journal.sync();
        journal.commit(1, &[Op::Put("b", "1")]);
    });
    refused(&env, "database-10");
    let env = filled(|journal| {
        journal.append(RecordKind::Begin, &raw::id(3));
        journal.append(RecordKind::Commit, &raw::commit(3, 7, 0));
    });
    refused(&env, "database-10");
}

/// An accepted loss is the one exception to "last + 1"; what hung on the lost range is discarded.
///
/// proves: D3
/// produces: database-11, database-17
#[test]
fn an_accepted_loss_lets_versions_jump() {
    let env = filled(|journal| {
        journal.commit(1, &[Op::Put("a", "1")]);
        journal.append(RecordKind::Begin, &raw::id(8));
        journal.append(RecordKind::Loss, &raw::loss(3, 3, 50));
        journal.append(RecordKind::Commit, &raw::commit(8, 50, 3));
        journal.commit(51, &[Op::Put("b", "2")]);
    });
    let database = open(&env);
    assert_eq!(all(&database), vec!["a=1", "b=2"]);
    assert_eq!(labels(database.report()), vec!["database-11", "database-17"]);
    assert_eq!(
        (database.current_version(), put(&database, register(&database), "x", "y")),
        (51, 53)
    );
    let backwards = filled(|journal| {
        journal.commit(1, &[Op::Put("a", "1")]);
        journal.append(RecordKind::Loss, &raw::loss(2, 2, 1));
    });
    refused(&backwards, "database-10");
}

fn register(database: &Database) -> KeyspaceId {
    database.keyspace("any").unwrap()
}

/// A newer program's records are refused (78), naming both levels; nothing is damaged.
///
/// proves: D3
/// produces: database-12
#[test]
fn a_feature_level_above_ours_is_refused() {
    let env = filled(|journal| journal.append(RecordKind::Feature, &raw::feature(9)));
    let error = Database::open_with(STORE, quiet(), env.clone()).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Configuration, 78));
    let text = error.to_string();
    assert!(text.contains("feature level 9") && text.contains("feature level 1"), "{text}");
    let report = rekindle_database::verify(STORE, &env).unwrap();
    assert_eq!((labels(&report), report.code), (vec!["database-12"], 78));
    let ours = filled(|journal| journal.append(RecordKind::Feature, &raw::feature(1)));
    assert_eq!(open(&ours).current_version(), 0);
}

/// produces: database-16
#[test]
fn records_that_are_nothing_to_the_database_only_move_the_position() {
    let env = filled(|journal| {
        journal.append(RecordKind::Noop, b"");
        journal.append(RecordKind::Membership, b"whatever");
        journal.append(RecordKind::Barrier, b"whatever");
    });
    let database = open(&env);
    assert_eq!((database.current_version(), labels(database.report()).len()), (0, 0));
}

/// After everything was discarded the store is as empty as a new one, and it stays usable.
///
/// proves: D4, D6
#[test]
fn after_discarding_everything_the_version_is_zero() {
    let env = filled(|journal| {
        journal.append(RecordKind::Begin, &raw::id(1));
        journal.append(RecordKind::Part, &raw::part(2, &[Op::Put("a", "1")]));
        journal.append(RecordKind::Begin, &raw::id(3));
        journal.append(RecordKind::Abort, &raw::id(3));
    });
    let first = open(&env);
    assert_eq!(first.current_version(), 0);
    let stats = first.replay_stats();
    assert_eq!((stats.incomplete_txns, stats.aborted_txns, stats.orphaned_entries), (1, 1, 1));
    assert_eq!(stats.discarded_txns, 2, "the sum of both");
    first.close().unwrap();
    drop(first);
    let second = open(&env);
    assert_eq!(second.replay_stats(), stats, "recovering twice finds the same");
    let keyspace = register(&second);
    assert_eq!(put(&second, keyspace, "a", "1"), 2);
    assert_eq!(get(&second, keyspace, "a").as_deref(), Some("1"));
}
