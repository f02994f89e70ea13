//! A restore is in the audit log of the store that it made: once, whatever happens in between.

use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Env, Moment, RestoredBy, restore_as};
use rekindle_env::{Disk, Image, ManualClock, SeededRandom, SimulatedDisk, Survival};

use crate::store::{START_MS, Store};

fn env(disk: &SimulatedDisk) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(START_MS + 1_000)),
        random: Arc::new(SeededRandom::new(5)),
    }
}

/// A store that was lost and restored and never started since, and its lineage.
fn restored() -> (Image, String) {
    // On the memory engine: an image holds no folders of libraries.
    let clock = Arc::new(ManualClock::new(START_MS));
    let store = Store::on(SimulatedDisk::new(1), clock);
    store.create("q");
    store.send("q", "message");
    store.database.backup(Path::new("/backups")).unwrap();
    let disk = store.disk.clone();
    drop(store);
    disk.rename(Path::new("store"), Path::new("lost")).unwrap();
    let by = RestoredBy { who: "ada".to_owned(), reason: "the disk\ndied".to_owned() };
    let back = restore_as("/backups".as_ref(), "store".as_ref(), Moment::Newest, &by, &env(&disk));
    (disk.image(), back.unwrap().lineage)
}

/// Where the record of the restore is in the log.
fn check(store: &Store, lineage: &str, what: &str) {
    let page = store.services.audit().list(Some(0), 100).unwrap();
    let restores: Vec<_> = page.records.iter().filter(|it| it.action == "store.restore").collect();
    let [record] = &restores[..] else { panic!("{what}: {restores:?}") };
    assert_eq!((record.who.as_str(), record.why.as_str()), ("ada (restore)", "the disk died"));
    assert_eq!(record.target, format!("lineage {lineage}"));
    for part in ["the newest backup restored", "backup 1 up to version", "from /backups"] {
        assert!(record.result.contains(part), "{what}: {record:?}");
    }
}

/// proves: L11
#[test]
fn a_restore_is_recorded_once() {
    let (image, lineage) = restored();
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    let mut store = Store::on(disk.clone(), Arc::new(ManualClock::new(START_MS + 2_000)));
    check(&store, &lineage, "the first start");
    assert_eq!(store.database.restored_by().unwrap(), None);
    store = store.crash(1_000);
    check(&store, &lineage, "the second start");
    drop(store);
    // Power loss at every operation of the first start.
    let operations = disk.operations();
    for stop in 0..operations {
        let disk = SimulatedDisk::from_image(image.clone(), 1);
        disk.stop_after(stop);
        let survival = Survival::EVERY[usize::try_from(stop % 5).unwrap()];
        let clock = Arc::new(ManualClock::new(START_MS + 2_000));
        drop(Store::try_on(disk.clone(), clock));
        let crashed = disk.crash(survival, stop);
        let store = Store::on(crashed, Arc::new(ManualClock::new(START_MS + 3_000)));
        check(&store, &lineage, &format!("stopped after {stop}, {survival:?}"));
    }
}
