//! Runs that end in every way, on a real directory with a clock that stands still.

use rekindle_env::{ManualClock, SeededRandom, SimulatedDisk, Survival, durable};
use rekindle_recovery::report::Before;

use super::*;

const WAIT: Duration = Duration::from_secs(20);

struct Machine {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        durable::create_file(env.disk.as_ref(), &dir.path().join("store.a"), b"x").unwrap();
        Self { dir, clock: Arc::new(ManualClock::new(1_000)) }
    }

    fn start(&self) -> Arc<RunLog> {
        let clock = Arc::clone(&self.clock) as Arc<dyn rekindle_env::Clock>;
        let env = Env { clock, ..Env::real() };
        let log = Arc::new(RunLog::new(&env, self.dir.path().to_path_buf()));
        log.begin();
        log
    }

    fn report(incarnation: u64, clean: bool) -> Report {
        let ended = if clean { Ended::Clean } else { Ended::Unclean };
        let before = Before { incarnation: incarnation - 1, ended, ..Before::default() };
        Report { incarnation, before: Some(before), ..Report::default() }
    }

    fn ends(&self) -> Vec<End> {
        let (records, _) = files::last(&Env::real(), self.dir.path(), 100).unwrap();
        records.iter().map(|record| record.end).collect()
    }
}

/// Whoever ends in order says so; whoever cannot is closed by the next start, by what the journal
/// says.
///
/// proves: L11
#[test]
fn a_start_closes_the_run_before_it() {
    let machine = Machine::new();
    let first = machine.start();
    first.opened(&Machine::report(1, false));
    first.asked();
    first.end(0, "", WAIT);
    // Killed while it served; killed while it recovered; its last words were lost but the journal
    // was closed.
    machine.start().opened(&Machine::report(2, true));
    machine.clock.advance_ms(500);
    drop(machine.start());
    let fourth = machine.start();
    fourth.opened(&Machine::report(3, false));
    assert_eq!(machine.ends(), [End::Clean, End::Killed, End::Killed, End::Running]);
    let noticed: Vec<_> = fourth.all().iter().map(|run| run.noticed_wall_ms).collect();
    assert_eq!(noticed, [None, Some(1_500), Some(1_500), None], "newest first");
    assert_eq!(fourth.unclean_within(Duration::from_millis(100)), 2);
    machine.clock.advance_ms(101);
    assert_eq!(fourth.unclean_within(Duration::from_millis(100)), 0);
    let fifth = machine.start();
    fifth.opened(&Machine::report(4, true));
    assert_eq!(fifth.previous().unwrap().end, End::Clean);
}

/// The end that was noted first counts; a refused start says its code and its first line.
#[test]
fn ends_have_their_causes() {
    let machine = Machine::new();
    let poisoned = machine.start();
    poisoned.opened(&Machine::report(1, false));
    poisoned.note(End::Poisoned, "the store failed: EIO");
    poisoned.note(End::SecondSignal, "");
    poisoned.end(70, "something else", WAIT);
    poisoned.end(0, "", WAIT);
    let refused = machine.start();
    refused.end(65, "refused: a frame is damaged\n\nThe ways on: …", WAIT);
    machine.start().end(0, "", WAIT);
    assert_eq!(machine.ends(), [End::Poisoned, End::Refused, End::Stopped]);
    let (records, _) = files::last(&Env::real(), machine.dir.path(), 9).unwrap();
    let said: Vec<_> = records.iter().map(|run| (run.code, run.reason.as_str())).collect();
    assert_eq!(said[0], (Some(70), "the store failed: EIO"));
    assert_eq!(said[1], (Some(65), "refused: a frame is damaged"));
}

/// A directory that is no store, or that somebody else holds, is not written into.
#[test]
fn only_who_holds_a_store_writes_into_it() {
    let machine = Machine::new();
    let env = Env::real();
    let lock = env.disk.lock(machine.dir.path(), LockMode::Exclusive).unwrap().unwrap();
    machine.start().end(73, "locked", WAIT);
    assert_eq!(machine.ends(), []);
    drop(lock);
    machine.start();
    assert_eq!(machine.ends(), [End::Running]);
    let empty = tempfile::tempdir().unwrap();
    let log = Arc::new(RunLog::new(&env, empty.path().to_path_buf()));
    log.begin();
    log.end(78, "no store", WAIT);
    assert!(env.disk.list(empty.path()).unwrap().is_empty());
}

/// The machine goes down at each operation of the disk while a run is recorded: the next start
/// reads what is there, closes the run before, and nothing stops it.
///
/// fault: S20
#[test]
fn records_survive_a_crash_at_every_operation() {
    let log_on = |disk: &SimulatedDisk| {
        let env = Env {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(ManualClock::new(1_000)),
            random: Arc::new(SeededRandom::new(1)),
        };
        Arc::new(RunLog::new(&env, PathBuf::from("store")))
    };
    let live = |disk: &SimulatedDisk, incarnation| {
        let log = log_on(disk);
        log.begin();
        log.opened(&Machine::report(incarnation, true));
        log.asked();
        log.write_end(0, "");
    };
    let disk = SimulatedDisk::new(1);
    durable::create_dir_all(&disk, std::path::Path::new("store")).unwrap();
    durable::create_file(&disk, std::path::Path::new("store/store.a"), b"x").unwrap();
    live(&disk, 1);
    let prepared = disk.crash(Survival::None, 1);
    let whole = prepared.crash(Survival::None, 1);
    live(&whole, 2);
    let operations = whole.operations();
    assert!(operations > 10, "{operations}");
    for stop in 0..operations {
        for survival in Survival::EVERY {
            let disk = prepared.crash(Survival::None, 1);
            disk.stop_after(stop);
            live(&disk, 2);
            let disk = disk.crash(survival, stop);
            let log = log_on(&disk);
            log.begin();
            log.opened(&Machine::report(3, true));
            let runs = log.all();
            let at = format!("stopped after {stop}, {survival:?}: {runs:?}");
            assert_eq!((runs[0].end, runs[0].incarnation), (End::Running, Some(3)), "{at}");
            assert!(runs[1..].iter().all(|run| run.end != End::Running), "{at}");
            let first = runs.last().unwrap();
            assert_eq!((first.number, first.end), (1, End::Clean), "{at}");
            assert!(runs.len() <= 3, "{at}");
        }
    }
}
