//! Checkpoints are exactly the frozen state, whatever happens beside them.

use std::sync::atomic::{AtomicBool, Ordering};

use rekindle_engine::checkpoint::{self, ReadError, WriteError};
use rekindle_engine::{Engine, KeyspaceId, MemoryEngine};
use rekindle_env::{Disk, EntryKind, Fault, FaultError, OperationKind, ReadDisk};

use crate::support::{
    STORE, delete, folder, load, new_disk, path, put, small_engine, stamp, value_of, write,
};

/// What was written is what is loaded: rows, versions, marks, hashes and sizes.
#[test]
fn a_checkpoint_round_trips() {
    for rows in [0_u64, 1, 63, 64, 65, 3_000] {
        let disk = new_disk();
        let engine = MemoryEngine::new();
        for number in 0..rows {
            let value = vec![7; usize::try_from(number % 300).unwrap()];
            put(&engine, (number / 1_000) as u16 * 300, &[(&number.to_be_bytes(), &value)]);
        }
        let written = write(&disk, &engine, 4);
        assert_eq!(written.footer.rows, rows);
        assert_eq!(written.footer.state_hash, engine.state_hash());
        let loaded = load(&disk, 4);
        loaded.check_invariants();
        assert_eq!(loaded.mark(), engine.mark());
        assert_eq!(loaded.state_hash(), engine.state_hash());
        assert_eq!(loaded.state_bytes(), engine.state_bytes());
        assert_eq!(loaded.floor(), engine.mark().version, "the past begins at the checkpoint");
        put(&loaded, 1, &[(b"goes", b"on")]);
        loaded.check_invariants();
    }
}

/// A row of megabytes makes a block of its own and is read back.
#[test]
fn rows_larger_than_a_block_round_trip() {
    let disk = new_disk();
    let engine = MemoryEngine::new();
    for len in [70_000, 3_000_000, 1, (16 << 20) - 4] {
        put(&engine, 1, &[(&u32::try_from(len).unwrap().to_be_bytes(), &vec![3; len])]);
    }
    let written = write(&disk, &engine, 1);
    assert!(written.footer.blocks >= 3);
    assert_eq!(load(&disk, 1).state_hash(), engine.state_hash());
}

/// Old versions and deletions are not in the file, and after a start the past is compacted.
#[test]
fn only_the_newest_version_is_stored() {
    let disk = new_disk();
    let engine = MemoryEngine::new();
    for round in 0..5_u8 {
        put(&engine, 1, &[(b"k", &[round]), (b"gone", b"x")]);
    }
    delete(&engine, 1, b"gone");
    assert!(engine.state_bytes().1 > 0);
    assert_eq!(write(&disk, &engine, 1).footer.rows, 1);
    let loaded = load(&disk, 1);
    assert_eq!(loaded.state_bytes().1, 0);
    assert_eq!(value_of(&loaded, 1, b"k"), Some(vec![4]));
    assert!(loaded.get(KeyspaceId(1), b"k", 5).is_err(), "version 5 is below the checkpoint");
    assert!(loaded.get(KeyspaceId(1), b"k", 6).is_ok());
}

/// Writers change and delete rows all the time; the file holds the frozen version alone.
#[test]
fn writers_do_not_disturb_a_checkpoint() {
    let disk = new_disk();
    let engine = MemoryEngine::new();
    let rows: Vec<Vec<u8>> = (0..30_000_u32).map(|key| key.to_be_bytes().to_vec()).collect();
    for chunk in rows.chunks(500) {
        let puts: Vec<(&[u8], &[u8])> = chunk.iter().map(|key| (&key[..], &b"old"[..])).collect();
        put(&engine, 1, &puts);
    }
    let frozen = engine.freeze();
    let hash = engine.state_hash();
    let done = AtomicBool::new(false);
    let mut asked = 0_u32;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_usize;
            while !done.load(Ordering::Acquire) {
                delete(&engine, 1, &rows[round % rows.len()]);
                put(&engine, 1, &[(&rows[(round * 7_919) % rows.len()], b"new"), (b"x", b"y")]);
                engine.set_floor(u64::MAX);
                round += 1;
            }
        });
        let position = frozen.mark().position;
        let stamp = stamp(1, position + 1);
        let written = checkpoint::write(&disk, &folder(), &frozen, &stamp, position, &mut |_| {
            asked += 1;
            true
        });
        done.store(true, Ordering::Release);
        assert_eq!(written.unwrap().footer.state_hash, hash);
    });
    let loaded = load(&disk, 1);
    assert_eq!(loaded.state_hash(), hash);
    assert_eq!(loaded.mark(), frozen.mark());
    drop(frozen);
    engine.set_floor(u64::MAX);
    engine.check_invariants();
}

#[test]
#[should_panic(expected = "above the durable position")]
fn nothing_above_durable_is_written() {
    let disk = new_disk();
    let engine = small_engine();
    let frozen = engine.freeze();
    let position = frozen.mark().position;
    let _ = checkpoint::write(&disk, &folder(), &frozen, &stamp(1, 1), position - 1, &mut |_| true);
}

/// A disk that refuses leaves the checkpoints before it as they were, and no temporary file.
///
/// fault: S17
#[test]
fn a_refused_write_leaves_nothing_behind() {
    let kinds = [
        OperationKind::Create,
        OperationKind::Write,
        OperationKind::SyncData,
        OperationKind::Rename,
    ];
    for kind in kinds {
        let disk = new_disk();
        let engine = small_engine();
        write(&disk, &engine, 1);
        disk.inject(Fault::error(kind, FaultError::ENOSPC).on("0002"));
        let frozen = engine.freeze();
        let position = frozen.mark().position;
        let stamp = stamp(2, position + 1);
        let failed = checkpoint::write(&disk, &folder(), &frozen, &stamp, position, &mut |_| true);
        let failed = failed.unwrap_err();
        assert!(matches!(failed, WriteError::Io { .. }), "{kind:?}");
        assert!(failed.to_string().contains("0000000000000002.tmp"), "{failed}");
        assert_eq!(load(&disk, 1).state_hash(), engine.state_hash());
        assert!(disk.stat(&path(2)).unwrap().is_none(), "{kind:?}");
        drop(frozen);
        write(&disk, &engine, 3);
        assert_eq!(load(&disk, 3).state_hash(), engine.state_hash());
    }
}

#[test]
fn a_checkpoint_can_be_stopped() {
    let disk = new_disk();
    let engine = MemoryEngine::new();
    for number in 0..40_u8 {
        put(&engine, 1, &[(&[number], &[0; 60_000])]);
    }
    let frozen = engine.freeze();
    let position = frozen.mark().position;
    let stamp = stamp(1, position + 1);
    let mut seen = vec![];
    let stopped = checkpoint::write(&disk, &folder(), &frozen, &stamp, position, &mut |bytes| {
        seen.push(bytes);
        seen.len() < 2
    });
    assert!(matches!(stopped, Err(WriteError::Stopped)));
    assert!(seen[0] >= 1 << 20 && seen[1] >= 2 << 20, "{seen:?}");
    assert!(disk.list(&folder()).unwrap().is_empty());
}

#[test]
fn retiring_keeps_what_is_named_and_what_is_not_ours() {
    let disk = new_disk();
    let engine = small_engine();
    for id in 1..=4 {
        write(&disk, &engine, id);
    }
    disk.create(&folder().join("0000000000000009.tmp")).unwrap();
    disk.create(&folder().join("notes.txt")).unwrap();
    disk.create_dir(&folder().join("0000000000000007.ckpt")).unwrap();
    assert_eq!(checkpoint::retire(&disk, &folder(), &[4, 3]).unwrap(), 3);
    assert_eq!(checkpoint::retire(&disk, &folder(), &[4, 3]).unwrap(), 0);
    let names: Vec<_> = disk.list(&folder()).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(
        names,
        ["0000000000000003.ckpt", "0000000000000004.ckpt", "0000000000000007.ckpt", "notes.txt"]
    );
    let kind = disk.list(&folder()).unwrap()[2].kind;
    assert_eq!(kind, EntryKind::Directory);
}

/// Membership travels in the header, whatever its size.
#[test]
fn membership_is_kept() {
    let disk = new_disk();
    let engine = small_engine();
    let frozen = engine.freeze();
    let position = frozen.mark().position;
    let members = vec![0xAB; 5_000];
    let stamp = checkpoint::Stamp { membership: members.clone(), ..stamp(1, 2) };
    checkpoint::write(&disk, &folder(), &frozen, &stamp, position + 9, &mut |_| true).unwrap();
    let file = disk.open_read(&path(1)).unwrap();
    let summary = checkpoint::check(&*file, &STORE, 1).unwrap();
    assert_eq!(summary.header.membership, members);
    assert_eq!((summary.header.replay_from, summary.header.feature_level), (2, 1));
    let other = checkpoint::check(&*file, &[1; 16], 1).unwrap_err();
    assert!(matches!(&other, ReadError::Damaged(damage) if damage.found.contains("store")));
    let other = checkpoint::check(&*file, &STORE, 2).unwrap_err();
    assert!(other.to_string().contains("0000000000000002"), "{other}");
}
