//! The phrases that recovery logs; scripts and people look for them.

use std::path::Path;

use rekindle_database::{Database, Error};
use rekindle_journal::RecordKind;
use tracing::Level;

use crate::support::logs::collect;
use crate::support::raw::{self, Op};
use crate::support::{open, quiet, simulated};

/// proves: D3
#[test]
fn recovery_says_what_it_discards() {
    let (_, env, _) = simulated(7);
    raw::store(Path::new("/store"), &env, |journal| {
        journal.commit(1, &[Op::Put("a", "1")]);
        journal.append(RecordKind::Begin, &raw::id(77));
        journal.append(RecordKind::Part, &raw::part(78, &[Op::Put("a", "1")]));
        journal.append(RecordKind::Begin, &raw::id(79));
        journal.append(RecordKind::Begin, &raw::id(80));
        journal.append(RecordKind::Abort, &raw::id(80));
    });
    let (database, lines) = collect(|| open(&env));
    let has =
        |level: Level, text: &str| lines.iter().any(|(at, line)| *at == level && line == text);
    let starts = |level: Level, text: &str| {
        lines.iter().any(|(at, line)| *at == level && line.starts_with(text))
    };
    assert!(starts(Level::INFO, "Replaying WAL from "), "{lines:?}");
    assert!(has(Level::WARN, "Discarding incomplete transaction: 77"), "{lines:?}");
    assert!(has(Level::WARN, "Discarding incomplete transaction: 79"), "{lines:?}");
    assert!(starts(Level::WARN, "Discarding orphaned entry: "), "{lines:?}");
    assert!(has(Level::WARN, "Discarding aborted transaction: 80"), "{lines:?}");
    let summary = "Discarded 2 incomplete transactions during recovery";
    assert!(has(Level::WARN, summary), "{lines:?}");
    let complete = format!("Recovery complete: {}", database.replay_stats());
    assert!(has(Level::INFO, &complete), "{lines:?}");
}

/// proves: D3
#[test]
fn a_clean_recovery_warns_of_nothing() {
    let (_, env, _) = simulated(7);
    open(&env).close().unwrap();
    let (_, lines) = collect(|| open(&env));
    let warnings: Vec<_> = lines.iter().filter(|(level, _)| *level == Level::WARN).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// A wall clock behind log time is told, and log time goes on from where it was.
///
/// produces: database-18
/// fault: T2
#[test]
fn a_wall_clock_behind_log_time_is_a_finding() {
    let (disk, env, clock) = simulated(7);
    let before = {
        let database = open(&env);
        clock.advance_ms(50_000);
        database.keyspace("any").unwrap();
        database.close().unwrap();
        database.log_time_ms()
    };
    let (env, clock) = crate::support::around(&disk, 8);
    clock.set_wall_ms(1_000);
    let database = open(&env);
    let finding = database.report().findings().next().unwrap();
    assert_eq!(finding.label.0, "database-18");
    assert!(database.log_time_ms() >= before);
    assert_eq!(database.report().code, 0);
}

/// An error names the cause and the next step.
#[test]
fn a_missing_store_says_how_to_make_one() {
    let (_, env, _) = simulated(7);
    let options = rekindle_database::Options { create: false, ..quiet() };
    let error = Database::open_with("/nowhere", options, env).unwrap_err();
    assert!(matches!(error, Error::NotAStore(_)), "{error}");
    assert!(error.to_string().contains("create a store"), "{error}");
    assert_eq!(error.exit_code(), 78);
}
