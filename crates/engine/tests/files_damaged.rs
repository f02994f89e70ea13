//! Files of engines that are bent, cut or missing: each is told, or every row is there.
#![allow(clippy::disallowed_methods)]

use std::ops::Bound;
use std::path::{Path, PathBuf};

use rekindle_engine::files::Files;
use rekindle_engine::{EngineError, FilesKind, KeyspaceId};
use rekindle_env::RealDisk;

use crate::files::{Form, KINDS, open, put};

#[test]
fn damage_is_told_and_never_an_empty_store() {
    for kind in KINDS {
        damage_is_told(*kind);
    }
}

fn damage_is_told(kind: Form) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(kind, dir.path()).unwrap();
    for version in 1..=500 {
        put(&*engine, version, &version.to_be_bytes(), &[1; 200]);
    }
    engine.seal(1).unwrap();
    engine.flush().unwrap();
    drop(engine);
    let folder = dir.path().join(kind.folder());
    let kept = dir.path().join("kept");
    copy(&folder, &kept);
    let mut files = names(&folder);
    files.extend(kind.inner_folders().iter().flat_map(|inner| names(&folder.join(inner))));
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by((whole.len() / 40).max(1)) {
            let mut bent = whole.clone();
            bent[at] ^= 0x10;
            std::fs::write(&path, &bent).unwrap();
            judge(kind, dir.path(), &format!("{} bent at {at}", path.display()));
            std::fs::remove_dir_all(&folder).unwrap();
            copy(&kept, &folder);
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        judge(kind, dir.path(), &format!("{} cut", path.display()));
        std::fs::remove_dir_all(&folder).unwrap();
        copy(&kept, &folder);
    }
    judge(kind, dir.path(), "mended");
    assert_eq!(open(kind, dir.path()).unwrap().len(KeyspaceId(3)), 500);
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let entries = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Whether every byte of the rows' files is looked at: one that is bent is found by a check, or is
/// of no row. RocksDB does without a filter that is damaged.
#[test]
fn a_check_finds_every_bent_byte_that_counts() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(*kind, dir.path()).unwrap();
        for version in 1..=300 {
            put(&*engine, version, &version.to_be_bytes(), &[3; 100]);
        }
        engine.seal(1).unwrap();
        engine.flush().unwrap();
        drop(engine);
        let folder = dir.path().join(kind.folder());
        let disk = RealDisk::new();
        let hash = open(*kind, dir.path()).unwrap().state_hash();
        let (files, wrong) = kind.check(&disk, &folder).unwrap();
        assert_eq!((files, wrong), (Files::There, vec![]), "{kind:?}");
        let mut tables = names(&folder);
        tables.retain(|path| path.extension().is_some_and(|end| end == "sst"));
        let inner = kind.inner_folders().iter().map(|inner| folder.join(inner));
        tables.extend(inner.flat_map(|inner| names(&inner)));
        assert!(!tables.is_empty());
        for path in tables {
            let whole = std::fs::read(&path).unwrap();
            for at in (0..whole.len()).step_by((whole.len() / 60).max(1)) {
                let mut bent = whole.clone();
                bent[at] ^= 0x10;
                std::fs::write(&path, &bent).unwrap();
                match kind.check(&disk, &folder) {
                    Err(EngineError::Corrupt { .. }) => {}
                    Ok((_, wrong)) if !wrong.is_empty() => {}
                    other => {
                        let what = format!("{} bent at {at}: {other:?}", path.display());
                        assert!(kind.0 != FilesKind::Lsm, "{what}");
                        let copied = tempfile::tempdir().unwrap();
                        copy(&folder, &copied.path().join(kind.folder()));
                        let engine = open(*kind, copied.path()).unwrap();
                        assert_eq!(engine.state_hash(), hash, "{what}");
                    }
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

/// Either it is refused, or every row is there, or the files say that they stand lower: then the
/// checkpoint beside them refuses the start (database/tests/files.rs).
fn judge(kind: Form, dir: &Path, what: &str) {
    let engine = match open(kind, dir) {
        Err(EngineError::Corrupt { .. }) => return,
        Err(other) => panic!("{what}: {other}"),
        Ok(engine) => engine,
    };
    if engine.mark().version < 500 {
        assert!(kind.0 != FilesKind::Lsm, "{what}: the lsm engine knows its newest manifest");
        return;
    }
    let everything = (Bound::Unbounded, Bound::Unbounded);
    match engine.scan(KeyspaceId(3), everything, u64::MAX, usize::MAX, false) {
        Err(EngineError::Corrupt { .. }) => {}
        Err(other) => panic!("{what}: {other}"),
        Ok(rows) => {
            assert_eq!(rows.len(), 500, "{what}: rows are missing and nothing was told");
            assert!(rows.iter().all(|row| *row.value == [1; 200]), "{what}: another value");
        }
    }
}
