//! Each label of the engine's decision tables, produced by real files.

use rekindle_engine::recovery::{Depth, EngineLayer, Kind, Recovered};
use rekindle_engine::{Engine, FilesKind, KeyspaceId, Mark, MemoryEngine, checkpoint};
use rekindle_env::{
    Disk, Fault, FaultError, Image, OperationKind, ReadDisk, SimulatedDisk, durable,
};
use rekindle_recovery::report::exit_code;
use rekindle_recovery::{Acked, ActionKind, Failure, LayerReport, Verdict, exit};

use crate::support::{
    STORE, folder, layer, look, new_disk, path, put, read_bytes, recover, rewrite, small_engine,
    stamp, store_dir, write,
};

/// Checkpoints 1 and 2; the hash of each.
fn two() -> (SimulatedDisk, u128, u128) {
    let disk = new_disk();
    let engine = small_engine();
    write(&disk, &engine, 1);
    let older = engine.state_hash();
    put(&engine, 1, &[(b"more", b"rows")]);
    write(&disk, &engine, 2);
    (disk, older, engine.state_hash())
}

fn flip(disk: &SimulatedDisk, id: u64, offset: usize) {
    let mut bytes = read_bytes(disk, &path(id));
    bytes[offset] ^= 8;
    rewrite(disk, &path(id), &bytes);
}

/// Both depths must agree on what decides.
fn both(make: impl Fn(Depth) -> EngineLayer, disk: &SimulatedDisk) -> (Recovered, LayerReport) {
    let copy = SimulatedDisk::from_image(disk.image(), 1);
    let thorough = recover(&make(Depth::Everything), &copy).unwrap();
    let open = recover(&make(Depth::Open), disk).unwrap();
    assert_eq!(thorough.1.actions, open.1.actions);
    assert_eq!(thorough.1.findings, open.1.findings);
    assert_eq!(thorough.0.checkpoints, open.0.checkpoints);
    open
}

fn hash_of(recovered: &Recovered) -> u128 {
    recovered.engine.as_ref().unwrap().state_hash()
}

fn labels(report: &LayerReport) -> Vec<&'static str> {
    let decided = report.actions.iter().filter(|action| action.kind != ActionKind::Quarantine);
    decided.map(|action| action.label.0).collect()
}

fn image_names(disk: &SimulatedDisk) -> Vec<String> {
    disk.list(&folder()).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// produces: engine-1
#[test]
fn no_checkpoint_yet_begins_empty() {
    let disk = SimulatedDisk::new(0);
    let (recovered, report) = both(|depth| layer([0, 0], depth), &disk);
    assert_eq!(labels(&report), ["engine-1"]);
    assert!(report.findings.is_empty());
    assert_eq!(recovered.mark, Mark::default());
    assert_eq!((recovered.replay_from, recovered.next_id), (1, 1));
    assert_eq!(hash_of(&recovered), MemoryEngine::new().state_hash());
    let whole = recover(&layer([0, 0], Depth::Open).with_journal_from(1), &disk).unwrap();
    assert_eq!(labels(&whole.1), ["engine-1"]);
}

/// produces: engine-2
#[test]
fn the_newest_checkpoint_is_loaded() {
    let (disk, _, newest) = two();
    let (recovered, report) = both(|depth| layer([2, 1], depth), &disk);
    assert_eq!(labels(&report), ["engine-2"]);
    assert_eq!(exit_code(&report.findings), exit::CLEAN);
    assert_eq!(hash_of(&recovered), newest);
    let ids: Vec<u64> = recovered.checkpoints.iter().map(|usable| usable.id).collect();
    assert_eq!(ids, [2, 1]);
    assert_eq!(recovered.replay_from, recovered.mark.position + 1);
    assert_eq!(recovered.checkpoints[0].state_hash, newest);
    assert_eq!(recovered.next_id, 3);
    for odd in [[0, 2], [2, 2], [2, 0]] {
        let (recovered, report) = recover(&layer(odd, Depth::Open), &disk).unwrap();
        assert_eq!(report.actions[0].label.0, "engine-2");
        assert_eq!(hash_of(&recovered), newest, "named {odd:?}");
        write(&disk, &small_engine(), 1);
    }
}

/// produces: engine-3
#[test]
fn a_lost_older_checkpoint_is_reported() {
    for missing in [true, false] {
        let (disk, _, newest) = two();
        if missing {
            disk.remove_file(&path(1)).unwrap();
        } else {
            rewrite(&disk, &path(1), &[]);
        }
        let (recovered, report) = both(|depth| layer([2, 1], depth), &disk);
        assert_eq!(labels(&report), ["engine-3"]);
        assert_eq!(exit_code(&report.findings), exit::HEALED);
        assert_eq!(report.findings[0].place.file, "shards/0/checkpoints/0000000000000001.ckpt");
        assert_eq!(hash_of(&recovered), newest);
        assert_eq!(recovered.checkpoints.len(), 1);
    }
    // A flipped bit in the middle of the older one is seen where every byte is read.
    let (disk, _, _) = two();
    flip(&disk, 1, 600);
    let report = look(&layer([2, 1], Depth::Everything), &disk).unwrap().report;
    assert_eq!((labels(&report), exit_code(&report.findings)), (vec!["engine-3"], exit::HEALED));
    let report = look(&layer([2, 1], Depth::Open), &disk).unwrap().report;
    assert_eq!((labels(&report), exit_code(&report.findings)), (vec!["engine-2"], exit::CLEAN));
    // An older one that the journal does not reach cannot stand in either.
    let (disk, _, _) = two();
    let position = look(&layer([2, 1], Depth::Open), &disk).unwrap().trusted.mark().position;
    let near = layer([2, 1], Depth::Open).with_journal_from(position + 1);
    let (_, report) = recover(&near, &disk).unwrap();
    assert_eq!(labels(&report), ["engine-3"]);
    assert!(report.findings[0].found.contains("a journal from position"));
}

/// fault: S9
/// fault: S13
/// produces: engine-4
#[test]
fn a_bad_newest_checkpoint_falls_back_to_the_older() {
    type Spoil = fn(&SimulatedDisk);
    let spoils: [(&str, Spoil); 6] = [
        ("header", |disk| flip(disk, 2, 50)),
        ("block", |disk| flip(disk, 2, 700)),
        ("cut", |disk| {
            let bytes = read_bytes(disk, &path(2));
            rewrite(disk, &path(2), &bytes[..bytes.len() - 1]);
        }),
        ("empty", |disk| rewrite(disk, &path(2), &[])),
        ("missing", |disk| disk.remove_file(&path(2)).unwrap()),
        ("a directory", |disk| {
            disk.remove_file(&path(2)).unwrap();
            disk.create_dir(&path(2)).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let (disk, older, _) = two();
        spoil(&disk);
        let (recovered, report) = both(|depth| layer([2, 1], depth), &disk);
        assert_eq!(labels(&report), ["engine-4"], "{what}");
        assert_eq!(report.actions[0].kind, ActionKind::Rebuild);
        let finding = &report.findings[0];
        assert_eq!((finding.verdict, finding.acked), (Some(Verdict::Healed), Acked::Yes));
        assert_eq!(finding.place.file, "shards/0/checkpoints/0000000000000002.ckpt");
        assert_eq!(exit_code(&report.findings), exit::HEALED, "{what}");
        assert_eq!(hash_of(&recovered), older, "{what}");
        assert_eq!(recovered.checkpoints.len(), 1);
        assert_eq!(recovered.next_id, 3, "a lost id is not used again");
        // The bad file is out of the way and kept; what is no file, or not there, is left.
        let set_aside = !["missing", "a directory"].contains(&what);
        let quarantined = disk.list(&store_dir().join("quarantine")).unwrap_or_default();
        assert_eq!(quarantined.len(), usize::from(set_aside), "{what}");
        assert_eq!(image_names(&disk).len(), if what == "a directory" { 2 } else { 1 }, "{what}");
    }
}

/// A copy of a checkpoint of another store, or under another name, is not this store's state.
///
/// fault: S14
#[test]
fn a_foreign_checkpoint_is_not_used() {
    let (disk, older, _) = two();
    let foreign = new_disk();
    let engine = small_engine();
    let frozen = engine.freeze();
    let stamp = rekindle_engine::checkpoint::Stamp {
        store_id: [1; 16],
        ..crate::support::stamp(2, frozen.mark().position)
    };
    let position = frozen.mark().position;
    let target = folder();
    rekindle_engine::checkpoint::write(&foreign, &target, &frozen, &stamp, position, &mut |_| true)
        .unwrap();
    rewrite(&disk, &path(2), &read_bytes(&foreign, &path(2)));
    let (recovered, report) = both(|depth| layer([2, 1], depth), &disk);
    assert_eq!(labels(&report), ["engine-4"]);
    assert!(report.findings[0].found.contains("store 0101"), "{report:?}");
    assert_eq!(hash_of(&recovered), older);
    durable::create_file(&disk, &path(2), &read_bytes(&disk, &path(1))).unwrap();
    let (recovered, report) = both(|depth| layer([2, 1], depth), &disk);
    assert!(report.findings[0].found.contains("checkpoint 0000000000000001"));
    assert_eq!(hash_of(&recovered), older);
}

/// produces: engine-5
#[test]
fn a_whole_journal_heals_the_loss_of_all_checkpoints() {
    let (disk, _, _) = two();
    flip(&disk, 1, 600);
    flip(&disk, 2, 600);
    let whole = |depth| layer([2, 1], depth).with_journal_from(1);
    let (recovered, report) = both(whole, &disk);
    assert_eq!(labels(&report), ["engine-5"]);
    assert_eq!(report.findings.len(), 2);
    assert_eq!(exit_code(&report.findings), exit::HEALED);
    assert_eq!((recovered.replay_from, recovered.mark), (1, Mark::default()));
    assert!(recovered.checkpoints.is_empty());
    assert_eq!(recovered.next_id, 3);
}

/// produces: engine-6
/// produces: engine-12
#[test]
fn lost_state_is_refused_and_nothing_is_removed() {
    for from in [None, Some(5)] {
        let (disk, _, _) = two();
        flip(&disk, 1, 600);
        disk.remove_file(&path(2)).unwrap();
        write(&disk, &small_engine(), 3);
        disk.create(&folder().join("0000000000000004.tmp")).unwrap();
        let before = image_names(&disk);
        let layer = match from {
            None => layer([2, 1], Depth::Open),
            Some(from) => layer([2, 1], Depth::Open).with_journal_from(from),
        };
        let examined = look(&layer, &disk).unwrap();
        assert!(examined.plan.refuses());
        assert_eq!(labels(&examined.report), ["engine-6", "engine-12", "engine-12"]);
        assert_eq!(exit_code(&examined.report.findings), exit::CORRUPT);
        assert!(examined.report.actions[0].detail.contains("rekindle verify"));
        let refused = examined.trusted.load(&disk).unwrap_err();
        assert_eq!(refused.exit_code(), exit::CORRUPT);
        assert!(matches!(recover(&layer, &disk), Err(Failure::Refused(_))));
        assert_eq!(image_names(&disk), before);
    }
    // No checkpoint is named, and the journal does not begin at its beginning.
    let layer = layer([0, 0], Depth::Open).with_journal_from(9);
    let examined = look(&layer, &new_disk()).unwrap();
    assert_eq!(labels(&examined.report), ["engine-6"]);
    assert!(examined.report.findings[0].found.contains("position 9"));
}

/// produces: engine-7
#[test]
fn a_newer_format_is_refused_whichever_checkpoint_has_it() {
    for id in [1, 2] {
        let (disk, _, _) = two();
        let mut bytes = read_bytes(&disk, &path(id));
        bytes[8] = 2;
        bytes[10] = 2;
        let crc = crc32c::crc32c(&bytes[..508]);
        bytes[508..512].copy_from_slice(&crc.to_le_bytes());
        rewrite(&disk, &path(id), &bytes);
        for depth in [Depth::Open, Depth::Everything] {
            let examined = look(&layer([2, 1], depth), &disk).unwrap();
            assert_eq!(labels(&examined.report), ["engine-7"]);
            assert_eq!(examined.report.exit_code(), exit::CONFIG, "nothing is damaged");
            assert!(examined.report.findings.iter().all(|finding| finding.verdict.is_none()));
            let detail = &examined.report.actions[0].detail;
            assert!(detail.contains("format 2") && detail.contains("format 1"), "{detail}");
            assert!(examined.trusted.load(&disk).is_err());
        }
    }
}

/// A crash between the rename and meta, one between meta and the removal of what it no longer
/// names, and one in the middle of a file.
///
/// produces: engine-8
/// produces: engine-9
/// produces: engine-10
/// produces: engine-11
#[test]
fn leftovers_go_and_strangers_stay() {
    let (disk, _, newest) = two();
    write(&disk, &small_engine(), 3);
    write(&disk, &small_engine(), 7);
    disk.create(&folder().join("0000000000000008.tmp")).unwrap();
    disk.create(&folder().join("notes.txt")).unwrap();
    disk.create_dir(&folder().join("0000000000000009.ckpt")).unwrap();
    let (recovered, report) = both(|depth| layer([2, 0], depth), &disk);
    let mut found = labels(&report);
    found.sort_unstable();
    assert_eq!(
        found,
        ["engine-10", "engine-11", "engine-11", "engine-2", "engine-8", "engine-8", "engine-9"]
    );
    assert_eq!(exit_code(&report.findings), exit::CLEAN, "notes change no exit code");
    assert_eq!(report.findings.len(), 6);
    assert_eq!(hash_of(&recovered), newest);
    assert_eq!(recovered.next_id, 10, "no id is used twice");
    let names = image_names(&disk);
    assert_eq!(names, ["0000000000000002.ckpt", "0000000000000009.ckpt", "notes.txt"]);
    let (_, again) = recover(&layer([2, 0], Depth::Open), &disk).unwrap();
    assert_eq!(labels(&again), ["engine-2", "engine-11", "engine-11"]);
}

/// A name that an attacker chose must not exhaust the ids.
#[test]
fn a_hostile_name_does_not_exhaust_the_ids() {
    let ids = [u64::MAX, u64::MAX - 1, u64::MAX - 2, (1 << 62) + 1, 1 << 62, (1 << 32) + 3];
    for (id, end) in ids.into_iter().flat_map(|id| [(id, "ckpt"), (id, "tmp")]) {
        let (disk, _, _) = two();
        let path = folder().join(format!("{id:016x}.{end}"));
        disk.create(&path).unwrap();
        let (recovered, report) = recover(&layer([2, 1], Depth::Open), &disk).unwrap();
        assert_eq!(recovered.next_id, 3);
        assert_eq!(labels(&report), ["engine-2", "engine-11"]);
        checkpoint::retire(&disk, &folder(), &[2, 1]).unwrap();
        assert!(disk.stat(&path).unwrap().is_some(), "what is not ours stays");
    }
    // The next one of an attempt that failed is ours.
    let (disk, _, _) = two();
    disk.create(&folder().join("0000000000000007.tmp")).unwrap();
    let (recovered, _) = recover(&layer([2, 1], Depth::Open), &disk).unwrap();
    assert_eq!(recovered.next_id, 8);
}

/// A refused read stops the start and is never taken for damage.
///
/// fault: S16
#[test]
fn a_read_error_is_not_damage() {
    for offset in [0, 600, 100_000_000] {
        let (disk, _, _) = two();
        let len = disk.stat(&path(2)).unwrap().unwrap().len;
        let at = offset.min(len - 10);
        disk.read_error(path(2), at..at + 1).unwrap();
        for depth in [Depth::Open, Depth::Everything] {
            let failed = look(&layer([2, 1], depth), &disk).unwrap_err();
            assert_eq!(failed.exit_code(), exit::IO);
            assert!(failed.to_string().contains("0000000000000002.ckpt"), "{failed}");
        }
    }
    for kind in [OperationKind::List, OperationKind::Open] {
        let (disk, _, _) = two();
        disk.inject(Fault::error(kind, FaultError::EIO));
        assert_eq!(look(&layer([2, 1], Depth::Open), &disk).unwrap_err().exit_code(), exit::IO);
    }
}

/// An anchor whose files have a damaged name of their manifest, and no state without them; on the
/// memory engine it is no checkpoint at all.
///
/// produces: engine-6
/// fault: S9, S16
#[test]
fn an_anchor_is_worth_what_its_files_are() {
    let disk = new_disk();
    let mark = Mark { position: 5, version: 5, ..Mark::default() };
    let kept = checkpoint::Derived { keyspaces: vec![KeyspaceId(3)], bytes: vec![7; 200_000] };
    let stamp = stamp(1, 6);
    checkpoint::write_anchor(&disk, &folder(), mark, Some(&kept), &stamp, 5).unwrap();
    let lsm = layer([1, 0], Depth::Open).with_journal_from(2).of_kind(Kind::Files(FilesKind::Lsm));
    let refused = look(&lsm, &disk).unwrap();
    assert_eq!(labels(&refused.report), ["engine-6"]);
    assert!(refused.report.findings[0].found.contains("no manifest"), "{:?}", refused.report);
    let files = lsm.files().unwrap();
    durable::create_dir_all(&disk, &files).unwrap();
    disk.create(&files.join("current")).unwrap().write_at(&[1; 9], 0).unwrap();
    let refused = look(&lsm, &disk).unwrap();
    assert_eq!(labels(&refused.report), ["engine-6"]);
    assert!(refused.report.findings[0].found.contains("9 bytes that name no manifest"));
    disk.read_error(files.join("current"), 0..1).unwrap();
    assert_eq!(look(&lsm, &disk).unwrap_err().exit_code(), exit::IO);
    // What it keeps is there all the same, whole; a state to load is not.
    let file = disk.open_read(&path(1)).unwrap();
    assert_eq!(checkpoint::derived(&*file, &STORE, 1).unwrap(), Some(kept));
    let memory = look(&layer([1, 0], Depth::Open).with_journal_from(2), &disk).unwrap();
    assert_eq!(labels(&memory.report), ["engine-6"]);
}

/// The rows of an engine with files are not loaded into memory; what its anchor keeps is read again
/// when it is needed.
#[test]
fn what_an_anchor_keeps_is_read_and_no_rows_are() {
    let disk = new_disk();
    let mark = Mark { position: 5, version: 5, ..Mark::default() };
    let kept = checkpoint::Derived { keyspaces: vec![KeyspaceId(3)], bytes: vec![7; 100] };
    checkpoint::write_anchor(&disk, &folder(), mark, Some(&kept), &stamp(1, 6), 5).unwrap();
    checkpoint::write_anchor(&disk, &folder(), mark, None, &stamp(2, 6), 5).unwrap();
    let at = |id| checkpoint::derived(&*disk.open_read(&path(id)).unwrap(), &STORE, id);
    assert_eq!(at(1).unwrap(), Some(kept));
    assert_eq!(at(2).unwrap(), None);
    for offset in [700, 900] {
        let before = read_bytes(&disk, &path(1));
        flip(&disk, 1, offset.min(before.len() - 1));
        assert!(at(1).is_err(), "a flipped bit at {offset}");
        rewrite(&disk, &path(1), &before);
    }
    let lsm = layer([0, 0], Depth::Open).of_kind(Kind::Files(FilesKind::Lsm));
    let examined = look(&lsm, &disk).unwrap();
    assert_eq!(examined.trusted.derived(&disk).unwrap(), None);
    let error = examined.trusted.load(&disk).unwrap_err();
    assert!(error.to_string().contains("in the files of an engine"), "{error}");
}

/// What act cannot remove stops the start, and the next start does it.
#[test]
fn a_failed_act_is_repeated() {
    let (disk, _, _) = two();
    write(&disk, &small_engine(), 3);
    for kind in [OperationKind::RemoveFile, OperationKind::SyncDir] {
        disk.inject(Fault::error(kind, FaultError::EIO));
        let failed = recover(&layer([2, 1], Depth::Open), &disk).unwrap_err();
        assert_eq!(failed.exit_code(), exit::IO);
    }
    let (_, report) = recover(&layer([2, 1], Depth::Open), &disk).unwrap();
    assert_eq!(labels(&report), ["engine-2"]);
}

/// The state can be loaded before anything is written, once from the scan and again from the disk;
/// act then hands out none.
#[test]
fn loading_needs_no_writable_disk() {
    let (disk, _, newest) = two();
    let layer = layer([2, 1], Depth::Open);
    let examined = look(&layer, &disk).unwrap();
    let first = examined.trusted.load(&disk).unwrap();
    let second = examined.trusted.load(&disk).unwrap();
    assert_eq!((first.state_hash(), second.state_hash()), (newest, newest));
    assert_eq!(examined.trusted.chosen().unwrap().id, 2);
    assert_eq!(examined.trusted.replay_from(), first.mark().position + 1);
    flip(&disk, 2, 600);
    let changed = examined.trusted.load(&disk).unwrap_err();
    assert!(changed.to_string().contains("changed since"), "{changed}");
    assert_eq!(changed.exit_code(), exit::IO);
    disk.read_error(path(2), 0..1).unwrap();
    assert_eq!(examined.trusted.load(&disk).unwrap_err().exit_code(), exit::IO);
    disk.remove_file(&path(2)).unwrap();
    assert_eq!(examined.trusted.load(&disk).unwrap_err().exit_code(), exit::IO);
    let clock = rekindle_env::ManualClock::new(0);
    let (recovered, _) = rekindle_recovery::perform(&layer, examined, &disk, &clock).unwrap();
    assert!(recovered.engine.is_none());
    assert_eq!(layer.folder(), folder());
}

/// Damage anywhere in the newest checkpoint: each bit, both depths, the same answer.
#[test]
fn any_flipped_bit_of_the_newest_heals() {
    let (disk, older, _) = two();
    let image: Image = disk.image();
    let bits = read_bytes(&disk, &path(2)).len() as u64 * 8;
    for bit in (0..bits).step_by(37) {
        let mut damaged = image.clone();
        damaged.flip(path(2), bit).unwrap();
        let damaged = SimulatedDisk::from_image(damaged, 0);
        let (recovered, report) = recover(&layer([2, 1], Depth::Open), &damaged).unwrap();
        assert_eq!(labels(&report), ["engine-4"], "bit {bit}");
        assert_eq!(hash_of(&recovered), older);
    }
    assert_eq!(STORE.len(), 16);
}
