//! The group commit under random schedules: `src/group.rs` itself, over the model's locks.
//!
//! Invariants checked: a ticket resolves only after its batch was synced and applied; batches are
//! applied in order, each once; exactly one sync at a time; after a failed sync nothing that was
//! not resolved is ever acknowledged; nobody waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use shuttle::thread;

use crate::api::{AppendError, Apply, Durability, Durable, Entry, Event, Outcome, Record};
use crate::batch::Batch;
use crate::group::{Group, GroupConfig, Work, Writer};
use rekindle_journal::RecordKind;
use rekindle_journal::codec::record::TxnsPrefix;

const SCHEDULES: usize = 2_000;

/// What the world outside the group saw.
#[derive(Default)]
struct World {
    writing: AtomicBool,
    synced_version: AtomicU64,
    written_version: AtomicU64,
    applied_version: AtomicU64,
    syncs: AtomicU64,
    fail_at_sync: u64,
}

struct ModelWriter(Arc<World>);

impl Writer for ModelWriter {
    fn write(&mut self, batch: &mut Batch) -> Result<(), String> {
        assert!(!self.0.writing.swap(true, Ordering::SeqCst), "two leaders write at once");
        thread::yield_now();
        let entries = u64::from(batch.entries);
        self.0.written_version.fetch_add(entries, Ordering::SeqCst);
        self.0.writing.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn sync(&mut self) -> Result<Durable, String> {
        assert!(!self.0.writing.swap(true, Ordering::SeqCst), "two leaders sync at once");
        thread::yield_now();
        let nth = self.0.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.writing.store(false, Ordering::SeqCst);
        if nth == self.0.fail_at_sync {
            return Err("the disk failed".to_owned());
        }
        assert!(self.0.fail_at_sync == 0 || nth < self.0.fail_at_sync, "a failed sync was retried");
        let version = self.0.written_version.load(Ordering::SeqCst);
        self.0.synced_version.store(version, Ordering::SeqCst);
        Ok(Durable { lsn: version, position: version })
    }
}

struct ModelApply(Arc<World>);

impl Apply for ModelApply {
    fn apply(&self, record: &Record<'_>) -> Result<(), String> {
        let (prefix, _) = TxnsPrefix::decode(record.payload).unwrap();
        let last = prefix.base_version + u64::from(prefix.count) - 1;
        let before = self.0.applied_version.swap(last, Ordering::SeqCst);
        assert_eq!(before + 1, prefix.base_version, "applied in order, each once");
        let synced = self.0.synced_version.load(Ordering::SeqCst);
        assert!(synced >= last, "applied {last} when {synced} was synced");
        thread::yield_now();
        Ok(())
    }

    fn event(&self, _: Event) {}
}

type ModelGroup = Group<ModelWriter>;

fn group(world: &Arc<World>, batch_bytes: usize) -> Arc<ModelGroup> {
    let config = GroupConfig { durability: Durability::Strict, batch_bytes };
    let time = AtomicU64::new(0);
    let nanos = Arc::new(move || time.fetch_add(1_000, Ordering::SeqCst));
    let (writer, apply) = (ModelWriter(world.clone()), Arc::new(ModelApply(world.clone())));
    Arc::new(Group::new(config, nanos, writer, Durable::default(), apply))
}

/// The sequencer's mutex and its version counter.
type Sequencer = Arc<shuttle::sync::Mutex<u64>>;

fn submit(
    group: &ModelGroup,
    sequencer: &Sequencer,
) -> Result<(u64, crate::api::Ticket), AppendError> {
    let mut version = sequencer.lock().unwrap();
    let entry =
        Entry { kind: RecordKind::Txns, version: *version + 1, log_time_ms: 0, bytes: b"x" };
    let ticket = group.append(entry)?;
    *version += 1;
    Ok((*version, ticket))
}

fn commit_blocking(world: &World, group: &ModelGroup, sequencer: &Sequencer) -> Outcome {
    loop {
        match submit(group, sequencer) {
            Ok((version, ticket)) => {
                let outcome = group.wait(ticket);
                if outcome == Outcome::Durable {
                    let applied = world.applied_version.load(Ordering::SeqCst);
                    assert!(applied >= version, "{version} was answered before it was applied");
                }
                return outcome;
            }
            Err(AppendError::Full) => {
                group.wait_room(1, std::time::Duration::from_secs(3_600));
            }
            Err(_) => return Outcome::Unknown,
        }
    }
}

/// An executor for one future-like ticket: polls, and sleeps on a condition until it is woken.
fn commit_awaited(world: &World, group: &ModelGroup, sequencer: &Sequencer) -> Outcome {
    let Ok((version, ticket)) = submit(group, sequencer) else { return Outcome::Unknown };
    shuttle::future::block_on(std::future::poll_fn(|context: &mut Context<'_>| {
        match group.poll(ticket, context.waker()) {
            Poll::Ready(outcome) => {
                if outcome == Outcome::Durable {
                    let applied = world.applied_version.load(Ordering::SeqCst);
                    assert!(applied >= version, "{version} was answered before it was applied");
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => Poll::Pending,
        }
    }))
}

fn run(fail_at_sync: u64, batch_bytes: usize, awaited: bool) {
    shuttle::check_random(
        move || {
            let world = Arc::new(World { fail_at_sync, ..World::default() });
            let (group, sequencer) = (group(&world, batch_bytes), Sequencer::default());
            let journal_thread = awaited.then(|| {
                let group = group.clone();
                thread::spawn(move || {
                    loop {
                        match group.wait_work(std::time::Duration::from_secs(3_600)) {
                            Work::Stop => return,
                            Work::Lead => group.lead_once(false),
                            Work::Idle => {}
                        }
                    }
                })
            });
            let threads: Vec<_> = (0..3)
                .map(|n| {
                    let (world, group) = (world.clone(), group.clone());
                    let sequencer = sequencer.clone();
                    thread::spawn(move || {
                        for round in 0..2 {
                            let awaits = awaited && (n + round) % 2 == 0;
                            let outcome = if awaits {
                                commit_awaited(&world, &group, &sequencer)
                            } else {
                                commit_blocking(&world, &group, &sequencer)
                            };
                            assert!(outcome == Outcome::Durable || fail_at_sync > 0);
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            group.close();
            if let Some(thread) = journal_thread {
                thread.join().unwrap();
            }
            if fail_at_sync == 0 {
                assert_eq!(world.applied_version.load(Ordering::SeqCst), 6);
            }
        },
        SCHEDULES,
    );
}

#[test]
fn blocking_commits() {
    run(0, 1 << 20, false);
}

#[test]
fn blocking_commits_with_a_full_batch() {
    run(0, 200, false);
}

#[test]
fn awaited_commits_are_led_by_the_thread() {
    run(0, 1 << 20, true);
}

/// fault: S15
#[test]
fn a_failed_sync_is_final_under_every_schedule() {
    run(2, 1 << 20, false);
    run(1, 1 << 20, true);
}
