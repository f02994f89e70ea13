//! What each durability mode promises, and how tickets resolve.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rekindle_env::{Disk, Env, RealDisk, SimulatedDisk, Survival, SystemClock};
use rekindle_journal::{AppendError, Durability, Entry, Event, Journal, Outcome, RecordKind};

use crate::support::{DIR, ENTRY_LEN, Setup, append, content, dense};

fn simulated() -> (SimulatedDisk, Setup) {
    let disk = SimulatedDisk::new(3);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new(".")).unwrap();
    let setup = Setup::new(Arc::new(disk.clone()));
    (disk, setup)
}

fn survivors(disk: &SimulatedDisk) -> u64 {
    let crashed = disk.crash(Survival::None, 1);
    dense(&Setup::new(Arc::new(crashed)).open().unwrap().replayed)
}

#[test]
fn strict_is_durable_when_it_answers() {
    let (disk, setup) = simulated();
    let opened = setup.open().unwrap();
    for version in 1..=5 {
        let ticket = append(&opened.journal, version);
        assert_eq!(opened.journal.wait(ticket), Outcome::Durable);
        assert_eq!(survivors(&disk), version);
    }
    assert_eq!(dense(&opened.applied.entries.lock().unwrap()), 5, "applied before it resolved");
    let events = opened.applied.events.lock().unwrap();
    assert_eq!(events[0], Event::Leading { term: 0 });
    assert_eq!(events.last(), Some(&Event::Applied { position: 5 }));
}

#[test]
fn batched_is_written_when_it_answers_and_durable_after_the_interval() {
    let (disk, mut setup) = simulated();
    setup.options.durability = Durability::Batched;
    let opened = setup.open().unwrap();
    let ticket = append(&opened.journal, 1);
    assert_eq!(opened.journal.wait(ticket), Outcome::Written);
    assert_eq!(survivors(&disk), 0);
    let killed = disk.crash(Survival::All, 1);
    assert_eq!(dense(&Setup::new(Arc::new(killed)).open().unwrap().replayed), 1);
    setup.clock.advance_ms(100);
    opened.journal.tick();
    assert_eq!(survivors(&disk), 1);
}

#[test]
fn relaxed_answers_from_memory_and_is_durable_after_the_interval_or_a_sync() {
    let (disk, mut setup) = simulated();
    setup.options.durability = Durability::Relaxed;
    let opened = setup.open().unwrap();
    let before = disk.operations();
    let ticket = append(&opened.journal, 1);
    assert_eq!(opened.journal.wait(ticket), Outcome::Memory);
    assert_eq!(disk.operations(), before, "no disk was touched");
    setup.clock.advance_ms(100);
    opened.journal.tick();
    assert_eq!(survivors(&disk), 1);
    append(&opened.journal, 2);
    opened.journal.sync().unwrap();
    assert_eq!(survivors(&disk), 2);
}

/// The loss window is what it says: whatever is written when, it is durable an interval later.
///
/// proves: D7
#[test]
fn the_window_of_the_lazy_modes_is_never_longer_than_the_interval() {
    for mode in [Durability::Batched, Durability::Relaxed] {
        for offset in 0..60 {
            let (disk, mut setup) = simulated();
            setup.options.durability = mode;
            let opened = setup.open().unwrap();
            let tick = setup.options.tick_every().as_millis() as u64;
            let mut written_at = None;
            for ms in 0..400_u64 {
                if ms == 100 + offset {
                    let ticket = append(&opened.journal, 1);
                    opened.journal.wait(ticket);
                    written_at = Some(ms);
                }
                if ms % tick == 0 {
                    opened.journal.tick();
                }
                if written_at.is_some_and(|at| ms == at + 100) {
                    assert_eq!(survivors(&disk), 1, "{mode:?}, written at {offset}");
                    break;
                }
                setup.clock.advance_ms(1);
            }
        }
    }
}

#[test]
fn an_idle_journal_proves_its_last_frame_by_tip() {
    let (disk, setup) = simulated();
    let opened = setup.open().unwrap();
    let ticket = append(&opened.journal, 1);
    opened.journal.wait(ticket);
    opened.journal.tick();
    opened.journal.tick();
    // The frame is now lost by the medium: the store must say so, not start without it.
    let mut image = disk.crash(Survival::None, 1).image();
    let segment = "store/shards/0/journal/0000000000000001";
    image.zero(segment, 4096..5000).unwrap();
    let damaged = Setup::new(Arc::new(SimulatedDisk::from_image(image, 1)));
    assert!(damaged.open().is_err());
}

#[test]
fn a_full_batch_answers_full_and_a_leader_makes_room() {
    let (_, mut setup) = simulated();
    setup.options.batch_bytes = 1_000;
    let opened = setup.open().unwrap();
    let (mut version, bytes) = (0, content(1));
    let full = loop {
        version += 1;
        let entry = Entry { kind: RecordKind::Txns, version, log_time_ms: 1, bytes: &bytes };
        match opened.journal.append(entry) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full, AppendError::Full);
    // However often somebody asks, one waker is kept, and it is woken once there is room.
    let counting = Arc::new(CountingWaker(AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&counting));
    for _ in 0..100 {
        assert!(opened.journal.poll_room(ENTRY_LEN, &waker).is_pending());
    }
    assert!(Arc::strong_count(&counting) <= 3, "{}", Arc::strong_count(&counting));
    assert!(opened.journal.wait_room(ENTRY_LEN, Duration::from_secs(1)));
    assert_eq!(counting.0.load(Ordering::SeqCst), 1);
    append(&opened.journal, version);
    let huge = vec![0; 17 << 20];
    let entry = Entry { kind: RecordKind::Part, version: 0, log_time_ms: 0, bytes: &huge };
    assert!(matches!(opened.journal.append(entry), Err(AppendError::TooLarge { .. })));
}

#[test]
fn an_entry_larger_than_a_segment_gets_a_segment_of_its_own() {
    let (disk, setup) = simulated();
    let opened = setup.open().unwrap();
    let bytes = vec![9; 1 << 20];
    let entry = Entry { kind: RecordKind::Part, version: 0, log_time_ms: 0, bytes: &bytes };
    let ticket = opened.journal.append(entry).unwrap();
    assert_eq!(opened.journal.wait(ticket), Outcome::Durable);
    let ticket = append(&opened.journal, 1);
    opened.journal.wait(ticket);
    assert_eq!(survivors(&disk), 1);
}

struct CountingWaker(AtomicU64);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_awaited_ticket_is_led_by_the_thread_and_wakes_once() {
    let dir = tempfile::tempdir().unwrap();
    std::env::set_current_dir(dir.path()).unwrap();
    let mut setup = Setup::new(Arc::new(RealDisk::new()));
    setup.env = Env { clock: Arc::new(SystemClock), ..setup.env };
    setup.env.disk.create_dir(Path::new(DIR)).unwrap();
    setup.options.background = true;
    let opened = setup.open().unwrap();
    let counter = Arc::new(CountingWaker(AtomicU64::new(0)));
    let waker = Waker::from(counter.clone());
    let mut context = Context::from_waker(&waker);
    let ticket = append(&opened.journal, 1);
    let first = opened.journal.poll(ticket, context.waker());
    if first == Poll::Pending {
        // A second ticket in a later batch resolves later: wait for it without a sleep.
        let later = append(&opened.journal, 2);
        assert_eq!(opened.journal.wait(later), Outcome::Durable);
    }
    assert_eq!(opened.journal.poll(ticket, context.waker()), Poll::Ready(Outcome::Durable));
    assert!(counter.0.load(Ordering::SeqCst) <= 1);
    let _ = &mut context;
    opened.journal.close().unwrap();
}

#[test]
fn many_threads_share_syncs_and_all_come_back() {
    let dir = tempfile::tempdir().unwrap();
    std::env::set_current_dir(dir.path()).unwrap();
    let mut setup = Setup::new(Arc::new(RealDisk::new()));
    setup.env = Env { clock: Arc::new(SystemClock), ..setup.env };
    setup.env.disk.create_dir(Path::new(DIR)).unwrap();
    setup.options.background = true;
    setup.segment_bytes = 1 << 20;
    let opened = setup.open().unwrap();
    let version = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let ticket = {
                        let mut version = version.lock().unwrap();
                        *version += 1;
                        append(&opened.journal, *version)
                    };
                    assert_eq!(opened.journal.wait(ticket), Outcome::Durable);
                }
            });
        }
    });
    assert_eq!(dense(&opened.applied.entries.lock().unwrap()), 3_200);
    let syncs = opened.journal.counters().syncs.load(Ordering::Relaxed);
    assert!(syncs < 3_200, "{syncs} syncs for 3200 transactions: nothing was grouped");
    drop(opened);
    assert_eq!(dense(&setup.open().unwrap().replayed), 3_200);
}
