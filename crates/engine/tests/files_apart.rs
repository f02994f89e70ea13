//! Values apart from their keys: they come back, their files go when nothing needs them, and what
//! still is needed moves out of files that are mostly stale.
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use rekindle_engine::{EngineError, FileEngine, FilesKind, KeyspaceId, Operation};

use crate::files::{Form, delete, mark, open, put};

const APART: Form = Form(FilesKind::Lsm, Some(64));

/// Numbers and sizes of the blob files.
fn blobs(dir: &Path) -> Vec<(u64, u64)> {
    let folder = dir.join(APART.folder()).join("blobs");
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let sized = entries.map(Result::unwrap).map(|entry| {
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        (number, entry.metadata().unwrap().len())
    });
    let mut found: Vec<_> = sized.collect();
    found.sort_unstable();
    found
}

fn write_out(engine: &dyn FileEngine) {
    flush(engine);
    engine.set_floor(u64::MAX);
    while engine.compact(false).unwrap() {}
}

fn flush(engine: &dyn FileEngine) {
    engine.seal(1).unwrap();
    engine.flush().unwrap();
}

/// Twenty values that lie apart are written out, and deleted at once by version 21.
fn put_and_deleted(engine: &dyn FileEngine) {
    for number in 0..20_u64 {
        put(engine, number + 1, &number.to_be_bytes(), &value(number));
    }
    flush(engine);
    let everything = Operation::DeleteRange { keyspace: KeyspaceId(3), start: b"", end: b"" };
    engine.apply(mark(21), &mut std::iter::once(everything));
}

fn value(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(100)
}

/// Fills some files with values, and deletes all but each 16th; small rows go on coming, so that
/// there is something to merge.
fn thinned(dir: &Path, form: Form) -> std::sync::Arc<dyn FileEngine> {
    let engine = open(form, dir).unwrap();
    let mut version = 0;
    for round in 0..40_u64 {
        for number in round * 20..(round + 1) * 20 {
            version += 1;
            put(&*engine, version, &number.to_be_bytes(), &value(number));
        }
        write_out(&*engine);
    }
    for round in 0..40_u64 {
        for number in (round * 20..(round + 1) * 20).filter(|number| number % 16 != 0) {
            version += 1;
            delete(&*engine, version, &number.to_be_bytes());
        }
        write_out(&*engine);
    }
    for number in 0..800_u64 {
        version += 1;
        put(&*engine, version, &(number % 800).to_be_bytes()[5..], b"small");
        if number % 8 == 7 {
            write_out(&*engine);
        }
    }
    engine
}

#[test]
fn what_nothing_needs_is_given_back_and_the_rest_moves() {
    let (dir, with_keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = thinned(dir.path(), APART);
    let expected = thinned(with_keys.path(), Form(FilesKind::Lsm, None));
    assert!(blobs(with_keys.path()).is_empty());
    assert_eq!(engine.state_hash(), expected.state_hash());
    let found = blobs(dir.path());
    let bytes: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    // 50 values of 800 bytes are left of 800.
    assert!((50 * 800..3 * 50 * 800).contains(&bytes), "{bytes} bytes: {found:?}");
    assert!(found.iter().any(|(number, _)| *number >= 40), "some were moved: {found:?}");
    drop(engine);
    let again = open(APART, dir.path()).unwrap();
    assert_eq!(again.state_hash(), expected.state_hash());
    assert_eq!(again.failed(), None);
}

#[test]
fn a_tree_stays_what_it_was_made_as() {
    for (made, opened) in [(None, Some(16)), (Some(16), None)] {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(Form(FilesKind::Lsm, made), dir.path()).unwrap();
        put(&*engine, 1, b"first", &[1; 100]);
        write_out(&*engine);
        drop(engine);
        let engine = open(Form(FilesKind::Lsm, opened), dir.path()).unwrap();
        put(&*engine, 2, b"second", &[2; 100]);
        write_out(&*engine);
        let hash = engine.state_hash();
        drop(engine);
        let again = open(Form(FilesKind::Lsm, made), dir.path()).unwrap();
        assert_eq!((again.len(KeyspaceId(3)), again.state_hash()), (2, hash));
        assert_eq!(blobs(dir.path()).is_empty(), made.is_none());
    }
}

/// The crate would open without it, and panic when a value is asked for.
#[test]
fn a_missing_blob_file_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(APART, dir.path()).unwrap();
    put(&*engine, 1, b"key", &[1; 100]);
    write_out(&*engine);
    drop(engine);
    let folder = dir.path().join(APART.folder()).join("blobs");
    for gone in [folder.join("0"), folder] {
        std::fs::rename(&gone, dir.path().join("aside")).unwrap();
        let Err(EngineError::Corrupt { place, .. }) = open(APART, dir.path()) else {
            panic!("{} is missing and nothing was told", gone.display());
        };
        assert!(place.ends_with("blobs/0"), "{place}");
        let _ = std::fs::remove_dir_all(&gone);
        std::fs::rename(dir.path().join("aside"), &gone).unwrap();
    }
    assert!(open(APART, dir.path()).is_ok());
}

/// A merge that moves values reads their file whole before: a bent byte in front of a value, which
/// the crate does not look at, would lead it astray.
#[test]
fn nothing_is_moved_out_of_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(APART, dir.path()).unwrap();
    for number in 0..20_u64 {
        put(&*engine, number + 1, &number.to_be_bytes(), &value(number));
    }
    write_out(&*engine);
    // The sequence number of the first value.
    let path = dir.path().join(APART.folder()).join("blobs/0");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[24] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    let mut version = 20;
    let refused = (1..200_u64).find_map(|turn| {
        version += 1;
        delete(&*engine, version, &(turn % 19 + 1).to_be_bytes());
        engine.seal(1);
        engine.flush().unwrap();
        engine.set_floor(u64::MAX);
        engine.compact(false).err()
    });
    let Some(EngineError::Corrupt { place, found }) = refused else { panic!("{refused:?}") };
    assert!(place.ends_with("blobs/0") && found.contains("checksum"), "{place}: {found}");
    assert!(engine.get(KeyspaceId(3), &0_u64.to_be_bytes(), u64::MAX).unwrap().is_some());
}

/// Where the disk is nearly full what nothing needs goes at once, although nothing else comes that
/// would make a merge due: one deletion of everything is one flush.
#[test]
fn space_is_given_back_where_it_presses() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(APART, dir.path()).unwrap();
    put_and_deleted(&*engine);
    engine.set_floor(21);
    flush(&*engine);
    while engine.compact(false).unwrap() {}
    assert_eq!(blobs(dir.path()).len(), 1, "nothing is due");
    while engine.compact(true).unwrap() {}
    assert_eq!(blobs(dir.path()), vec![]);
    assert!(!engine.compact(true).unwrap(), "it comes to an end");
    assert_eq!((engine.mark(), engine.flushed().0), (mark(21), mark(21)));
    drop(engine);
    let again = open(APART, dir.path()).unwrap();
    assert_eq!((again.mark(), again.len(KeyspaceId(3))), (mark(21), 0));
}

/// What a merge wrote that failed does not stay.
#[test]
fn a_merge_that_failed_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(APART, dir.path()).unwrap();
    for version in 1..=30_u64 {
        put(&*engine, version, &version.to_be_bytes(), &[1; 40]);
        engine.seal(1).unwrap();
        engine.flush().unwrap();
    }
    let tables = dir.path().join(APART.folder()).join("tables");
    let names = || {
        let entries = std::fs::read_dir(&tables).unwrap().map(|entry| entry.unwrap().file_name());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    // In the rows of the last one that is read.
    let path = tables.join("29");
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[50] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = names();
    for _ in 0..3 {
        assert!(matches!(engine.compact(false), Err(EngineError::Corrupt { .. })));
        assert_eq!(names(), before);
    }
    // Writers do not wait for a merge that cannot come.
    for version in 31..=60_u64 {
        put(&*engine, version, &(version % 30 + 1).to_be_bytes(), &[1; 40]);
        engine.seal(1).unwrap();
        engine.flush().unwrap();
    }
    assert!(!engine.is_behind());
    std::fs::write(&path, whole).unwrap();
    assert!(engine.compact(false).unwrap());
    assert_eq!(engine.len(KeyspaceId(3)), 30);
    assert!(!engine.is_behind());
}

/// What was merged while somebody still read goes once nobody does, although nothing is written
/// any more: a store on a full disk that waits for this space writes nothing.
#[test]
fn space_that_a_reader_kept_back_is_given_back_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(APART, dir.path()).unwrap();
    put_and_deleted(&*engine);
    engine.pin(21).unwrap();
    put(&*engine, 22, b"small", b"small");
    engine.set_floor(22);
    flush(&*engine);
    while engine.compact(true).unwrap() {}
    assert_eq!(blobs(dir.path()).len(), 1, "a reader holds it");
    let manifest = || std::fs::read(dir.path().join(APART.folder()).join("current")).unwrap();
    let held = manifest();
    engine.compact(true).unwrap();
    assert_eq!(manifest(), held, "nothing to be done, and nothing was");
    engine.unpin(21);
    engine.compact(true).unwrap();
    assert_eq!(blobs(dir.path()), []);
    let after = manifest();
    engine.compact(true).unwrap();
    engine.compact(false).unwrap();
    assert_eq!(manifest(), after, "once is enough");
    assert_eq!(engine.len(KeyspaceId(3)), 1);
    drop(engine);
    assert_eq!(open(APART, dir.path()).unwrap().len(KeyspaceId(3)), 1);
}

/// The same of rows: a merge that had to keep them is done again.
#[test]
fn rows_that_a_reader_kept_back_are_given_back_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(APART, dir.path()).unwrap();
    engine.pin(0).unwrap();
    put_and_deleted(&*engine);
    engine.set_floor(21);
    flush(&*engine);
    while engine.compact(true).unwrap() {}
    assert_eq!(blobs(dir.path()).len(), 1, "somebody may read below them");
    engine.unpin(0);
    while engine.compact(false).unwrap() {}
    assert_eq!(blobs(dir.path()).len(), 1, "nothing presses");
    while engine.compact(true).unwrap() {}
    assert_eq!(blobs(dir.path()), []);
}

/// A flush that comes between two looks is seen by the second, also where that one lets go of what
/// a reader kept back.
#[test]
fn what_is_due_is_merged_although_something_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(APART, dir.path()).unwrap();
    for number in 0..1_200_u64 {
        put(&*engine, number + 1, &number.to_be_bytes(), b"small");
    }
    flush(&*engine);
    engine.pin(1_200).unwrap();
    put(&*engine, 1_201, b"more", b"small");
    engine.set_floor(1_201);
    flush(&*engine);
    while engine.compact(true).unwrap() {}
    assert!(!engine.compact(false).unwrap(), "nothing is due");
    for number in 0..1_200_u64 {
        delete(&*engine, number + 1_202, &number.to_be_bytes());
    }
    flush(&*engine);
    engine.unpin(1_200);
    engine.set_floor(u64::MAX);
    assert!(engine.compact(false).unwrap(), "a drained store gives its space back");
    assert_eq!(engine.len(KeyspaceId(3)), 1);
}
