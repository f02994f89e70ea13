//! A loss that an operator accepted offline is in the audit log of the store that goes on.

use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Env, RepairOptions, repair, verify};
use rekindle_env::{Disk, ManualClock, ReadDisk, SeededRandom, SimulatedDisk, Survival, durable};
use rekindle_recovery::{Finding, Verdict};

use crate::store::{START_MS, Store};

const JOURNAL: &str = "store/shards/0/journal";

/// Flips a bit of this text, wherever it stands in the journal.
fn damage(disk: &SimulatedDisk, text: &[u8]) {
    for entry in disk.list(Path::new(JOURNAL)).unwrap() {
        let path = Path::new(JOURNAL).join(&entry.name);
        let bytes = durable::read_file(disk, &path, 1 << 30).unwrap();
        let Some(at) = bytes.windows(text.len()).position(|window| window == text) else {
            continue;
        };
        let file = disk.open_write(&path).unwrap();
        file.write_at(&[bytes[at] ^ 1], at as u64).unwrap();
        file.sync_all().unwrap();
    }
}

/// Who gave up what, and why, is recorded by the first start behind the repair, and by no later
/// one.
///
/// proves: L11
#[test]
fn an_accepted_loss_is_recorded_once() {
    let store = Store::new();
    store.create("q");
    for number in 0..8 {
        store.send("q", &format!("message {number}"));
    }
    let disk = store.disk.crash(Survival::None, 1);
    drop(store);
    damage(&disk, b"message 4");
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(START_MS + 1_000)),
        random: Arc::new(SeededRandom::new(5)),
    };
    let report = verify("store", &env).unwrap();
    let corrupt = |finding: &&Finding| finding.verdict == Some(Verdict::Corrupt);
    let place = report.findings().find(corrupt).unwrap().place.clone();
    let options = RepairOptions {
        accept: vec![std::ops::Range { start: place.from, end: place.to }],
        who: "ada".to_owned(),
        reason: "the disk\nwas replaced".to_owned(),
        program: "rekindle".to_owned(),
    };
    repair("store", &options, &env).unwrap();

    let mut store = Store::on(disk.clone(), Arc::new(ManualClock::new(START_MS + 2_000)));
    for _ in 0..2 {
        let records = store.services.audit().list(None, 9).unwrap().records;
        assert_eq!(records.len(), 1, "{records:?}");
        let record = &records[0];
        assert_eq!(
            (record.action.as_str(), record.who.as_str()),
            ("repair.accept_loss", "ada (repair)")
        );
        assert_eq!(record.target, format!("lsn {}..{}", place.from, place.to));
        assert_eq!(record.why, "the disk was replaced");
        assert!(record.result.contains(&format!("accepted at {}", START_MS + 1_000)));
        assert_eq!(store.ready("q").len(), 7);
        store = store.crash(1_000);
    }
}
