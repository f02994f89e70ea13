//! A failed write or sync is final, and says so.

use std::path::Path;
use std::sync::Arc;

use rekindle_env::{Disk, Fault, SimulatedDisk, Survival};
use rekindle_journal::{AppendError, Entry, Event, Journal, Outcome, RecordKind};

use crate::support::{DIR, Opened, Setup, append, content, dense};

fn opened() -> (SimulatedDisk, Opened) {
    let disk = SimulatedDisk::new(3);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new(".")).unwrap();
    let opened = Setup::new(Arc::new(disk.clone())).open().unwrap();
    let ticket = append(&opened.journal, 1);
    assert_eq!(opened.journal.wait(ticket), Outcome::Durable);
    (disk, opened)
}

fn refused(opened: &Opened) {
    let bytes = content(9);
    let entry = Entry { kind: RecordKind::Txns, version: 9, log_time_ms: 99, bytes: &bytes };
    assert!(matches!(opened.journal.append(entry), Err(AppendError::Poisoned(_))));
    assert!(opened.journal.poisoned().is_some());
    assert!(opened.journal.sync().is_err());
    assert!(opened.journal.checkpointed([1, 0], 1).is_err());
    assert!(opened.applied.events.lock().unwrap().contains(&Event::Lost { term: 0 }));
}

/// A sync that drops the pages and then reports success must never be believed.
///
/// fault: R1, R7, S15
#[test]
fn a_failed_sync_poisons_and_is_never_retried() {
    let (disk, opened) = opened();
    disk.inject(Fault::failed_sync().on("journal"));
    let ticket = append(&opened.journal, 2);
    assert_eq!(opened.journal.wait(ticket), Outcome::Unknown);
    refused(&opened);
    assert_eq!(dense(&opened.applied.entries.lock().unwrap()), 1, "nothing unproved was applied");
    for survival in Survival::EVERY {
        let crashed = disk.crash(survival, 5);
        let again = Setup::new(Arc::new(crashed)).open().unwrap();
        assert!(dense(&again.replayed) >= 1);
    }
    // After a restart of the process alone the page cache still shows the frame. It must be
    // written again before it counts: then the power goes.
    drop(opened);
    let restarted = Setup::new(Arc::new(disk.clone())).open().unwrap();
    let found = dense(&restarted.replayed);
    let later = Setup::new(Arc::new(disk.crash(Survival::None, 7))).open().unwrap();
    assert_eq!(dense(&later.replayed), found, "what a start showed survives the next crash");
}

/// fault: S17, S18
#[test]
fn a_failed_write_poisons_and_leaves_nothing_to_append_behind() {
    for fault in [
        Fault::error(rekindle_env::OperationKind::Write, rekindle_env::FaultError::ENOSPC),
        Fault::short_write(rekindle_env::FaultError::ENOSPC),
    ] {
        let (disk, opened) = opened();
        disk.inject(fault.on("journal"));
        let ticket = append(&opened.journal, 2);
        assert_eq!(opened.journal.wait(ticket), Outcome::Unknown);
        refused(&opened);
        drop(opened);
        disk.clear_faults();
        let again = Setup::new(Arc::new(disk.clone())).open().unwrap();
        let found = dense(&again.replayed);
        assert!((1..=2).contains(&found));
        let ticket = append(&again.journal, found + 1);
        assert_eq!(again.journal.wait(ticket), Outcome::Durable);
        drop(again);
        let last = Setup::new(Arc::new(disk.crash(Survival::None, 1))).open().unwrap();
        assert_eq!(dense(&last.replayed), found + 1);
    }
}

/// fault: S15, S17
#[test]
fn an_error_at_any_operation_ends_in_poison_or_refusal_never_in_a_lost_acknowledgement() {
    let kinds = [
        rekindle_env::OperationKind::Write,
        rekindle_env::OperationKind::Allocate,
        rekindle_env::OperationKind::Create,
        rekindle_env::OperationKind::SyncData,
        rekindle_env::OperationKind::SyncDir,
        rekindle_env::OperationKind::PunchHole,
    ];
    for kind in kinds {
        for nth in 1..40 {
            let disk = SimulatedDisk::new(3);
            disk.create_dir(Path::new(DIR)).unwrap();
            disk.sync_dir(Path::new(".")).unwrap();
            disk.inject(Fault::error(kind, rekindle_env::FaultError::EIO).nth(nth));
            let mut acked = 0;
            if let Ok(opened) = Setup::new(Arc::new(disk.clone())).open() {
                for version in 1..=200 {
                    let bytes = content(version);
                    let kind = RecordKind::Txns;
                    let entry = Entry { kind, version, log_time_ms: version, bytes: &bytes };
                    let Ok(ticket) = opened.journal.append(entry) else { break };
                    if opened.journal.wait(ticket) != Outcome::Durable {
                        break;
                    }
                    acked = version;
                    opened.journal.tick();
                }
            }
            disk.clear_faults();
            for survival in Survival::EVERY {
                let crashed = disk.crash(survival, nth);
                let again = Setup::new(Arc::new(crashed)).open().unwrap();
                let found = dense(&again.replayed);
                assert!(found >= acked, "{kind:?} {nth} {survival:?}: {found} of {acked}");
            }
        }
    }
}

/// fault: S16
#[test]
fn a_read_error_stops_the_start_and_is_not_called_damage() {
    let (disk, opened) = opened();
    drop(opened);
    disk.read_error("store/shards/0/journal/0000000000000001", 4096..4100).unwrap();
    match Setup::new(Arc::new(disk)).open() {
        Err(failure) => assert_eq!(failure.exit_code(), 70),
        Ok(_) => panic!("a read error was ignored"),
    }
}
