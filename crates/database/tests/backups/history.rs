//! Random histories with backups, checkpoints, restarts and lost gaps against a model: whatever
//! moment is asked for comes back as it was, or is refused for a reason.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use rekindle_database::{Backup, Database, Kind, Moment, Past, list_backups, verify_backup};
use rekindle_env::{Env, ManualClock, Survival};

use super::{BACKUPS, bring_back};
use crate::support::{ALL, around, open, simulated, text};

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    Delete(u8),
    Advance(u64),
    Backup,
    Checkpoint,
    /// Ends the run: cleanly, by dropping it, or by a power loss.
    Restart(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8_u8, prop::sample::select(vec![1_usize, 100, 9_000]))
            .prop_map(|(key, len)| Step::Put(key, len)),
        2 => (0..8_u8).prop_map(Step::Delete),
        4 => (1..50_u64).prop_map(Step::Advance),
        3 => Just(Step::Backup),
        2 => Just(Step::Checkpoint),
        1 => (0..3_u8).prop_map(Step::Restart),
    ]
}

type State = BTreeMap<String, String>;

/// What was: the state behind each version, and when.
#[derive(Default)]
struct Model {
    now: State,
    /// By version: position, log time, state.
    past: BTreeMap<u64, (u64, u64, State)>,
}

impl Model {
    fn note(&mut self, database: &Database) {
        let position = database.stats().durable_position;
        let entry = (position, database.log_time_ms(), self.now.clone());
        self.past.insert(database.current_version(), entry);
    }

    /// The last version whose log time is at or before this one.
    fn at_time(&self, ms: u64) -> Option<u64> {
        let before = self.past.iter().filter(|(_, (_, time, _))| *time <= ms);
        before.map(|(version, _)| *version).next_back()
    }
}

fn shown(view: &Past) -> State {
    let Some(keyspace) = view.keyspace("things").unwrap() else { return State::new() };
    let rows = view.scan(keyspace, ALL, usize::MAX).unwrap();
    rows.iter().map(|row| (text(&row.key), text(&row.value))).collect()
}

/// Runs the steps; answers the model and the backups.
fn run(env: &Env, clock: &ManualClock, steps: &[Step]) -> (Model, Vec<Backup>) {
    let (mut model, mut backups) = (Model::default(), Vec::new());
    let mut database = open(env);
    let mut keyspace = database.keyspace("things").unwrap();
    model.note(&database);
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Put(key, len) => {
                let (key, value) = (format!("k{key}"), format!("{number}{}", "x".repeat(*len)));
                database
                    .transact(|transaction| {
                        transaction.put(keyspace, key.as_bytes(), value.as_bytes());
                        Ok(())
                    })
                    .unwrap();
                model.now.insert(key, value);
                model.note(&database);
            }
            Step::Delete(key) => {
                let key = format!("k{key}");
                database
                    .transact(|transaction| {
                        transaction.delete(keyspace, key.as_bytes());
                        Ok(())
                    })
                    .unwrap();
                model.now.remove(&key);
                model.note(&database);
            }
            Step::Advance(ms) => clock.advance_ms(*ms),
            Step::Backup => backups.push(database.backup(Path::new(BACKUPS)).unwrap()),
            Step::Checkpoint => database.checkpoint().unwrap(),
            Step::Restart(how) => {
                // Each backup may have ended a millisecond that the wall clock had not reached.
                // Only transactions outlive a run, so a clock behind that is one set back.
                clock.advance_ms(2 + backups.len() as u64);
                if *how == 0 {
                    database.close().unwrap();
                }
                drop(database);
                database = open(env);
                keyspace = database.keyspace("things").unwrap();
            }
        }
    }
    (model, backups)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn every_moment_is_as_it_was_or_refused(steps in prop::collection::vec(step(), 1..60)) {
        let (disk, env, clock) = simulated(9);
        let (model, backups) = run(&env, &clock, &steps);
        let Some(last) = backups.last() else { return Ok(()) };
        // A power loss takes nothing from the backups.
        let after = disk.crash(Survival::None, 1);
        let (env, _) = around(&after, 2);
        prop_assert_eq!(list_backups(Path::new(BACKUPS), &env).unwrap().len(), backups.len());
        prop_assert_eq!(verify_backup(Path::new(BACKUPS), &env).unwrap().findings, []);

        let whole = backups.iter().all(|backup| backup.continuous);
        let first = &backups[0].manifest;
        let (lowest, highest) = (first.checkpoint.version, last.manifest.version);
        let mut count = 0;
        let mut restore = |moment: Moment, version: u64| {
            count += 1;
            let inside = (lowest..=highest).contains(&version);
            match bring_back(&env, &format!("/r{count}"), moment) {
                Ok(restored) => {
                    assert!(inside, "{moment} lies outside of {lowest}..={highest}");
                    assert_eq!(restored.version, version, "{moment}");
                    assert_eq!(shown(&restored.view), model.past[&version].2, "{moment}");
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Invalid, "{moment}: {error}");
                    assert!(!inside || !whole, "{moment}: {error}");
                }
            }
        };
        for (version, (position, time, _)) in &model.past {
            restore(Moment::Version(*version), *version);
            restore(Moment::Position(*position), *version);
            if let Some(version) = model.at_time(*time) {
                restore(Moment::Time(*time), version);
            }
        }
        for backup in &backups {
            let manifest = &backup.manifest;
            let to = format!("/end{}", manifest.number);
            let restored = bring_back(&env, &to, Moment::Version(manifest.version)).unwrap();
            assert_eq!(shown(&restored.view), model.past[&manifest.version].2);
        }
        let restored = bring_back(&env, "/newest", Moment::Newest).unwrap();
        prop_assert_eq!(restored.version, highest);
        prop_assert_eq!(restored.next_version, highest + 1);
    }
}
