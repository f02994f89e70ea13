//! A store whose only segment is gone, and that was never closed: nobody knows what it held.

use rekindle_database::{RepairOptions, repair, verify};
use rekindle_env::{SimulatedDisk, Survival};
use rekindle_recovery::{Verdict, exit};

use crate::support::{around, open, put, simulated};

/// A repair that gives it up gives no version and no position a second time.
///
/// fault: S13
#[test]
fn what_it_held_is_not_numbered_again() {
    let (disk, env, _) = simulated(21);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let written: Vec<_> = (0..5).map(|n| put(&database, keyspace, &format!("k{n}"), "1")).collect();
    let last = *written.last().unwrap();
    let position = database.stats().durable_position;
    let mut image = disk.crash(Survival::None, 1).image();
    drop(database);
    image.remove("/store/shards/0/journal/0000000000000001").unwrap();
    let disk = SimulatedDisk::from_image(image, 1);
    let (env, _) = around(&disk, 2);
    let found = verify("/store", &env).unwrap();
    assert_eq!(found.code, exit::CORRUPT);
    let corrupt = found.findings().filter(|it| it.verdict == Some(Verdict::Corrupt));
    let accept = corrupt.map(|it| it.place.from..it.place.to).collect();
    let options = RepairOptions { accept, ..RepairOptions::default() };
    let done = repair("/store", &options, &env).unwrap();
    assert!(done.losses.iter().any(|loss| !loss.exact), "{done:?}");
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    assert!(put(&database, keyspace, "after", "1") > last);
    assert!(database.stats().durable_position > position);
}
