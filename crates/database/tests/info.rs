//! `store_info`: what a store is, of whole, damaged, newer, hostile and open stores.

use std::path::Path;

use rekindle_database::{
    CopyState, Database, StoreInfo, store_info, store_info_while_held, verify,
};
use rekindle_env::{Env, Image, SimulatedDisk, Survival};

use crate::support::{around, open, put, quiet, simulated};

/// Two checkpoints, and records behind them; closed.
fn closed() -> Image {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..3 {
        put(&database, keyspace, &n.to_string(), "1");
        if n > 0 {
            database.checkpoint().unwrap();
        }
    }
    put(&database, keyspace, "last", "1");
    database.close().unwrap();
    disk.crash(Survival::All, 1).image()
}

fn machine(image: &Image) -> (SimulatedDisk, Env) {
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    let (env, _) = around(&disk, 1);
    (disk, env)
}

fn info(image: &Image) -> StoreInfo {
    store_info("/store", &machine(image).1).unwrap()
}

fn state(info: &StoreInfo, file: &str) -> CopyState {
    info.copies.iter().find(|copy| copy.file == file).unwrap().state
}

fn files(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    let image = disk.image();
    let read = |path: &Path| image.read(path).unwrap();
    let files = image.files().into_iter();
    files.map(|(path, _)| (path.display().to_string(), read(&path))).collect()
}

/// Writes two bytes into a header and makes its checksum right again.
fn forge(image: &mut Image, path: &str, at: usize, value: u16, crc_at: usize) {
    let mut bytes = image.read(path).unwrap();
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..crc_at]).to_le_bytes();
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc);
    image.write_file(path, &bytes).unwrap();
}

#[test]
fn a_closed_store_is_described_and_not_changed() {
    let image = closed();
    let (disk, env) = machine(&image);
    let before = files(&disk);
    let info = store_info("/store", &env).unwrap();
    assert!(files(&disk) == before, "a byte was changed");
    assert_eq!((info.code(), info.clean_end, info.incarnation), (0, Some(true), 1));
    let identity = info.identity.as_ref().unwrap();
    assert_eq!(info.store_id, Some(identity.store_id));
    assert_eq!((identity.node, identity.feature_level, identity.engine), (1, 1, 1));
    let versions = info.versions.unwrap();
    assert_eq!((versions.format, versions.min_reader, versions.features), (1, 1, 0));
    assert_eq!(info.created_wall_ms, Some(1_700_000_000_000));
    assert_eq!((info.segments.count, info.segments.bytes), (1, 64 * 1024));
    assert_eq!((info.segments.oldest, info.segments.from_position), (1, Some(1)));
    assert!(info.segments.durable_lsn > 0);
    // The keyspace is version 1; the checkpoints stand behind the second and the third put.
    let checkpoints: Vec<_> = info.checkpoints.iter().map(|it| it.holds.unwrap().version).collect();
    assert_eq!(checkpoints, [4, 3]);
    assert_eq!(info.known_versions(), (0, 4));
    assert_eq!(info.checkpoints.iter().map(|it| it.id).collect::<Vec<_>>(), [2, 1]);
    for file in ["store.a", "store.b", "shards/0/tip"] {
        assert_eq!(state(&info, file), CopyState::Whole, "{file}");
    }
    let metas = ["shards/0/meta.a", "shards/0/meta.b"].map(|file| state(&info, file));
    assert!(metas.contains(&CopyState::Whole) && metas.contains(&CopyState::Older), "{metas:?}");
    let text = info.text();
    for part in ["the last one was closed", "readers from 1", "checkpoint  2", "`verify`"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_killed_store_did_not_end_cleanly() {
    let (disk, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let info = info(&disk.crash(Survival::All, 1).image());
    assert_eq!((info.code(), info.clean_end), (0, Some(false)));
    assert!(info.checkpoints.is_empty());
}

/// What is damaged is told, with what can be read beside it.
///
/// fault: S8, S9, S13
#[test]
fn a_damaged_store_is_described_as_far_as_it_can_be_read() {
    let whole = closed();
    let (a, b) = ("/store/store.a", "/store/store.b");
    let mut one = whole.clone();
    one.flip(a, 8 * 30).unwrap();
    let seen = info(&one);
    assert_eq!((seen.code(), state(&seen, "store.a")), (4, CopyState::Damaged));
    assert!(seen.identity.is_some());
    let mut both = one;
    both.remove(b).unwrap();
    let seen = info(&both);
    assert_eq!((seen.code(), state(&seen, "store.b")), (65, CopyState::Missing));
    assert!(seen.identity.is_none() && seen.store_id.is_some(), "meta still has the id");
    assert_eq!((seen.checkpoints.len(), seen.segments.count), (2, 1));
    let copy = seen.copies.iter().find(|copy| copy.file == "store.a").unwrap();
    assert!(copy.wrong.as_ref().unwrap().1.contains("checksum"), "{copy:?}");

    let mut metas = whole.clone();
    for name in ["meta.a", "meta.b"] {
        metas.flip(format!("/store/shards/0/{name}"), 8 * 30).unwrap();
    }
    let seen = info(&metas);
    assert_eq!((seen.code(), seen.clean_end), (65, None));
    assert_eq!(seen.segments.count, 1);
    assert!(seen.text().contains("meta-4"), "{}", seen.text());

    let newest = "/store/shards/0/checkpoints/0000000000000002.ckpt";
    let mut checkpoint = whole.clone();
    checkpoint.flip(newest, 8 * 60).unwrap();
    let seen = info(&checkpoint);
    assert_eq!((seen.code(), seen.checkpoints[0].state()), (4, "damaged"));
    assert_eq!(seen.checkpoints[1].state(), "whole");

    let mut segment = whole.clone();
    segment.remove("/store/shards/0/journal/0000000000000001").unwrap();
    assert_eq!((info(&segment).code(), info(&segment).segments.count), (65, 0));
}

/// A newer format, or a feature that must be understood, is told with both versions (78).
///
/// fault: C11
#[test]
fn a_newer_store_is_described_with_both_versions() {
    let whole = closed();
    let copies = ["/store/store.a", "/store/store.b"];
    for (at, value) in [(8, 2), (10, 2), (12, 4)] {
        let mut newer = whole.clone();
        copies.iter().for_each(|copy| forge(&mut newer, copy, at, value, 4092));
        let seen = info(&newer);
        assert_eq!((seen.code(), state(&seen, "store.a")), (78, CopyState::Newer));
        let versions = seen.versions.unwrap();
        let found = [(8, versions.format), (10, versions.min_reader)];
        assert!(found.contains(&(at, value)) || versions.features == 4, "{versions:?}");
        assert_eq!((seen.segments.count, seen.checkpoints.len()), (1, 2));
        assert!(seen.text().contains("newer Rekindle"), "{}", seen.text());
        assert_eq!(verify("/store", &machine(&newer).1).unwrap().code, 78);
    }
    let mut segment = whole.clone();
    forge(&mut segment, "/store/shards/0/journal/0000000000000001", 10, 2, 4092);
    assert_eq!(info(&segment).code(), 78);
}

/// Bytes of any kind give an answer, and never a worse one than reading everything gives.
///
/// fault: S13
#[test]
fn any_bytes_give_an_answer() {
    let whole = closed();
    for (path, len) in whole.files() {
        let step = usize::try_from(len / 61 + 1).unwrap();
        for offset in (0..len).step_by(step) {
            let mut flipped = whole.clone();
            flipped.flip(&path, offset * 8 + offset % 8).unwrap();
            let mut cut = whole.clone();
            cut.truncate(&path, offset).unwrap();
            let mut filled = whole.clone();
            let mut bytes = filled.read(&path).unwrap();
            bytes[usize::try_from(offset).unwrap()..].fill(0xA5);
            filled.write_file(&path, &bytes).unwrap();
            for image in [&flipped, &cut, &filled] {
                let code = info(image).code();
                let full = verify("/store", &machine(image).1).unwrap().code;
                let agrees = code == full || code < full && code != 3;
                assert!(agrees, "{} at {offset}: {code}, verify says {full}", path.display());
                assert!(info(image).text().lines().count() > 8);
            }
        }
    }
}

/// fault: S21
#[test]
fn a_store_that_is_open_is_told_by_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let env = Env::real();
    assert_eq!(store_info(&path, &env).unwrap_err().exit_code(), 78, "nothing is there");
    let database = Database::open_with(&path, quiet(), env.clone()).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    assert_eq!(store_info(&path, &env).unwrap_err().exit_code(), 73);
    // Writers rotate and checkpoints come and go: no look takes that for damage.
    let long = "x".repeat(20_000);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..120 {
                put(&database, keyspace, &(n % 7).to_string(), &long);
                if n % 9 == 0 {
                    database.checkpoint().unwrap();
                }
            }
        });
        while !writer.is_finished() {
            let info = store_info_while_held(&path, &env, Some(&database)).unwrap();
            assert_eq!(info.code(), 0, "{}", info.text());
            assert_eq!(info.running.unwrap().incarnation, 1);
        }
    });
    let info = store_info_while_held(&path, &env, Some(&database)).unwrap();
    assert_eq!(info.known_versions().1, 121);
    assert!(info.text().contains("it runs now"));
    database.close().unwrap();
    assert_eq!(store_info(&path, &env).unwrap().clean_end, Some(true));
}

/// What is read does not grow with the length of a file.
#[test]
fn a_huge_segment_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    Database::open_with(&path, quiet(), Env::real()).unwrap().close().unwrap();
    let segment = path.join("shards/0/journal/0000000000000001");
    let file = Env::real().disk.open_write(&segment).unwrap();
    file.set_len(1 << 40).unwrap();
    let (info, ms) = crate::support::timed(|| store_info(&path, &Env::real()).unwrap());
    assert_eq!(info.code(), 65, "it has another length than its header says");
    assert!(ms < 2_000, "{ms} ms");
}
