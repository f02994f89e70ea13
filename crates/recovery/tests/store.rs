//! The store layer: each situation of its tables, produced on a disk.

use std::path::Path;

use rekindle_env::{Disk, EntryKind, LockMode, ReadDisk, SimulatedDisk};
use rekindle_recovery::identity::IDENTITY_LEN;
use rekindle_recovery::store::table::{
    Conditions, CopyState, ENTRIES, Entry, Pair, Rest, SITUATIONS,
};
use rekindle_recovery::store::{DIRECTORIES, make_directory};
use rekindle_recovery::{Acked, Failure, IdentityCopy, LayerReport, Store, Verdict, exit, lock};

use crate::{DIR, at, layer, look, open, situation};

fn created() -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new(1);
    let (store, _) = open(&disk, &layer(1)).unwrap();
    (disk, store)
}

/// A store whose shard has begun and holds a file.
fn begun() -> (SimulatedDisk, Store) {
    let (disk, store) = created();
    disk.create(&at("shards/0/meta.a")).unwrap();
    let store = store.begin(&disk, Path::new(DIR)).unwrap();
    (disk, store)
}

fn write(disk: &SimulatedDisk, name: &str, bytes: &[u8]) {
    let file = match disk.stat(&at(name)).unwrap() {
        Some(_) => disk.open_write(&at(name)).unwrap(),
        None => disk.create(&at(name)).unwrap(),
    };
    file.write_at(bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

fn bytes(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    disk.image().read(at(name)).unwrap()
}

/// Opening fails without a change; gives the report and the failure.
fn refused(disk: &SimulatedDisk) -> (LayerReport, Failure) {
    let before = disk.operations();
    let report = look(disk, &layer(2)).unwrap();
    let failure = open(disk, &layer(2)).unwrap_err();
    assert_eq!(disk.operations(), before, "a refusal changes nothing");
    assert_eq!(failure.exit_code(), report.exit_code());
    (report, failure)
}

/// Opening heals: afterwards both copies are equal, and opening again finds nothing.
fn opens_as(disk: &SimulatedDisk, label: &str) -> (Store, LayerReport) {
    let looked = look(disk, &layer(2)).unwrap();
    let (store, report) = open(disk, &layer(2)).unwrap();
    assert_eq!(situation(&report), label);
    assert_eq!(looked.findings, report.findings, "a look and an opening find the same");
    assert_eq!(bytes(disk, "store.a"), bytes(disk, "store.b"));
    let (again, second) = open(disk, &layer(3)).unwrap();
    assert_eq!(again, store);
    assert_eq!(situation(&second), "store-1");
    (store, report)
}

#[test]
fn every_combination_matches_exactly_one_row() {
    const COPIES: [CopyState; 4] =
        [CopyState::Absent, CopyState::Damaged, CopyState::Newer, CopyState::Whole];
    let mut all = vec![];
    for a in COPIES {
        for b in COPIES {
            for pair in [Pair::Equal, Pair::OneOlder, Pair::Contradict] {
                for rest in [Rest::Nothing, Rest::Data, Rest::Foreign] {
                    for bits in 0..16_u8 {
                        let [begun, journal, engine, create] =
                            [1, 2, 4, 8].map(|bit| bits & bit != 0);
                        all.push(Conditions { a, b, pair, rest, begun, journal, engine, create });
                    }
                }
            }
        }
    }
    assert_eq!(all.len(), 4 * 4 * 3 * 3 * 16);
    assert_eq!(SITUATIONS.check(all), Vec::<String>::new());
    assert_eq!(ENTRIES.check([Entry::Unknown, Entry::Missing]), Vec::<String>::new());
}

/// produces: store-2, store-1
#[test]
fn an_absent_or_empty_directory_becomes_a_store() {
    let disk = SimulatedDisk::new(1);
    let (store, report) = open(&disk, &layer(1)).unwrap();
    assert_eq!(situation(&report), "store-2");
    assert!(report.findings.is_empty());
    assert!(!store.begun());
    for name in DIRECTORIES {
        assert_eq!(disk.stat(&at(name)).unwrap().unwrap().kind, EntryKind::Directory);
    }
    assert_eq!(bytes(&disk, "store.a").len(), IDENTITY_LEN);
    let (again, report) = open(&disk, &layer(2)).unwrap();
    assert_eq!(again, store, "the identity is made once");
    assert_eq!(situation(&report), "store-1");

    let empty = SimulatedDisk::new(1);
    make_directory(&empty, &at("lost+found")).unwrap();
    let (_, report) = open(&empty, &layer(1)).unwrap();
    assert_eq!(situation(&report), "store-2", "a fresh volume is an empty directory");
}

/// produces: store-3
#[test]
fn a_creation_torn_in_its_first_write_begins_again() {
    let disk = SimulatedDisk::new(1);
    for name in DIRECTORIES {
        make_directory(&disk, &at(name)).unwrap();
    }
    write(&disk, "store.a", &[0; 512]);
    let (store, report) = opens_as(&disk, "store-3");
    assert_eq!(store.sequence, 1);
    assert!(report.findings.is_empty(), "nothing was there that could be damaged");
}

/// produces: store-4
#[test]
fn a_creation_stopped_between_the_copies_is_completed() {
    let (disk, store) = created();
    disk.remove_file(&at("store.b")).unwrap();
    let (finished, report) = opens_as(&disk, "store-4");
    assert_eq!(finished, store);
    assert_eq!(report.exit_code(), exit::CLEAN);
    write(&disk, "store.b", &[]);
    opens_as(&disk, "store-4");
}

/// produces: store-5
#[test]
fn one_damaged_or_missing_copy_is_rewritten() {
    for name in ["store.a", "store.b"] {
        for damage in [&b""[..], &[7; 100], &[0; IDENTITY_LEN], &[0; IDENTITY_LEN + 1]] {
            let (disk, store) = begun();
            write(&disk, name, damage);
            let (healed, report) = opens_as(&disk, "store-5");
            assert_eq!(healed, store);
            assert_eq!(report.exit_code(), exit::HEALED);
            assert_eq!(report.findings[0].place.file, name);
            assert_eq!(report.findings[0].verdict, Some(Verdict::Healed));
        }
        let (disk, store) = begun();
        disk.remove_file(&at(name)).unwrap();
        let (healed, report) = opens_as(&disk, "store-5");
        assert_eq!(healed, store);
        assert_eq!(report.findings[0].found, "no file");
    }
}

/// A second copy that rots while the shard holds data is damage, even before the shard has begun.
#[test]
fn a_first_copy_beside_data_is_no_creation() {
    let (disk, _) = created();
    disk.create(&at("shards/0/meta.a")).unwrap();
    write(&disk, "store.b", b"rot");
    opens_as(&disk, "store-5");
    disk.remove_file(&at("store.a")).unwrap();
    opens_as(&disk, "store-5");
}

/// produces: store-6
#[test]
fn an_interrupted_change_is_completed() {
    let (disk, store) = created();
    let older = bytes(&disk, "store.b");
    let store = store.begin(&disk, Path::new(DIR)).unwrap();
    write(&disk, "store.b", &older);
    let (opened, report) = opens_as(&disk, "store-6");
    assert_eq!(opened, store, "the newer copy decides");
    assert_eq!(report.exit_code(), exit::CLEAN, "a kill may do this");
    assert_eq!(report.findings[0].place.file, "store.b");
    assert_eq!(report.findings[0].expected, "sequence 2");
}

/// produces: store-7
#[test]
fn without_a_whole_copy_it_is_corrupt() {
    let damages: [fn(&SimulatedDisk); 4] = [
        |disk| {
            write(disk, "store.a", b"");
            write(disk, "store.b", &[9; IDENTITY_LEN]);
        },
        |disk| {
            write(disk, "store.a", b"");
            disk.remove_file(&at("store.b")).unwrap();
        },
        |disk| {
            disk.remove_file(&at("store.a")).unwrap();
            write(disk, "store.b", b"");
        },
        |disk| {
            disk.remove_file(&at("store.a")).unwrap();
            disk.remove_file(&at("store.b")).unwrap();
        },
    ];
    for damage in damages {
        let (disk, _) = begun();
        damage(&disk);
        let (report, failure) = refused(&disk);
        assert_eq!(situation(&report), "store-7");
        assert_eq!(failure.exit_code(), exit::CORRUPT);
        assert_eq!(report.findings.len(), 2, "both copies are named");
        assert!(report.findings.iter().all(|finding| finding.acked == Acked::Yes));
        assert!(failure.to_string().contains("store.a"), "{failure}");
    }
}

/// produces: store-8
#[test]
fn a_directory_of_something_else_is_left_alone() {
    let disk = SimulatedDisk::new(1);
    make_directory(&disk, Path::new(DIR)).unwrap();
    write(&disk, "photo.jpg", b"...");
    let (report, failure) = refused(&disk);
    assert_eq!(situation(&report), "store-8");
    assert_eq!(failure.exit_code(), exit::CONFIG);
    let text = failure.to_string();
    assert!(text.starts_with("/srv/data is not empty and no Rekindle store"), "{text}");
    assert_eq!(report.findings[0].place.file, "photo.jpg");
}

/// produces: store-9
#[test]
fn copies_that_contradict_each_other_are_corrupt() {
    let (other, _) = {
        let disk = SimulatedDisk::new(9);
        let (store, _) = open(&disk, &layer(9)).unwrap();
        (bytes(&disk, "store.a"), store)
    };
    let (disk, store) = begun();
    write(&disk, "store.b", &other);
    let (report, failure) = refused(&disk);
    assert_eq!(situation(&report), "store-9");
    assert_eq!(failure.exit_code(), exit::CORRUPT);

    let far = IdentityCopy { sequence: store.sequence + 2, identity: store.identity.clone() };
    write(&disk, "store.b", &far.encode());
    assert_eq!(situation(&refused(&disk).0), "store-9");

    let identity = rekindle_recovery::Identity { node: 2, ..store.identity };
    let fork = IdentityCopy { sequence: store.sequence, identity };
    write(&disk, "store.b", &fork.encode());
    assert_eq!(situation(&refused(&disk).0), "store-9");
}

/// produces: store-10
#[test]
fn a_newer_format_is_refused_with_both_versions() {
    for (offset, text) in [(8, "format 3"), (10, "format 3"), (12, "features 0x3"), (68, "level 3")]
    {
        let (disk, _) = begun();
        let mut copy = bytes(&disk, "store.b");
        copy[offset] = 3;
        let crc = crc32c::crc32c(&copy[..IDENTITY_LEN - 4]);
        copy[IDENTITY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        write(&disk, "store.b", &copy);
        let (report, failure) = refused(&disk);
        assert_eq!(situation(&report), "store-10");
        assert_eq!(failure.exit_code(), exit::CONFIG);
        assert_eq!(report.findings.len(), 1, "only the newer copy is named");
        let message = failure.to_string();
        assert!(message.contains(text) && message.contains("this program reads"), "{message}");
    }
}

/// produces: store-11
#[test]
fn another_engine_is_refused_by_name() {
    let (disk, _) = begun();
    let mut other = layer(1);
    other.engines = vec![2];
    let report = look(&disk, &other).unwrap();
    assert_eq!(situation(&report), "store-11");
    let failure = open(&disk, &other).unwrap_err();
    assert_eq!(failure.exit_code(), exit::CONFIG);
    let text = failure.to_string();
    assert!(text.contains("created with engine memory, but engine number 2"), "{text}");
}

/// produces: store-12
#[test]
fn nothing_is_created_for_who_only_looks() {
    let disk = SimulatedDisk::new(1);
    let mut reader = layer(1);
    reader.create = false;
    let failure = open(&disk, &reader).unwrap_err();
    assert_eq!(failure.exit_code(), exit::CONFIG);
    assert!(failure.to_string().contains("holds no Rekindle store"), "{failure}");
    make_directory(&disk, Path::new(DIR)).unwrap();
    write(&disk, "store.a", &[0; 12]);
    assert_eq!(situation(&look(&disk, &reader).unwrap()), "store-12");
}

/// produces: store-13
#[test]
fn a_store_that_lost_its_journal_is_corrupt() {
    let (disk, _) = begun();
    disk.remove_dir(&at("shards/0/journal")).unwrap();
    let (report, failure) = refused(&disk);
    assert_eq!(situation(&report), "store-13");
    assert_eq!(failure.exit_code(), exit::CORRUPT);
    assert_eq!(report.findings[0].place.file, "shards/0/journal");
}

/// produces: store-14, store-15
#[test]
fn unknown_entries_stay_and_missing_directories_come_back() {
    let (disk, _) = begun();
    write(&disk, "notes.txt", b"mine");
    disk.remove_dir(&at("shards/0/checkpoints")).unwrap();
    let (_, report) = open(&disk, &layer(2)).unwrap();
    let labels: Vec<_> = report.findings.iter().map(|finding| finding.label.0).collect();
    assert_eq!(labels, ["store-14", "store-15"]);
    assert_eq!(report.exit_code(), exit::CLEAN);
    assert_eq!(report.actions.len(), 3);
    assert_eq!(bytes(&disk, "notes.txt"), b"mine");
    assert!(disk.stat(&at("shards/0/checkpoints")).unwrap().is_some());
    let (_, report) = open(&disk, &layer(2)).unwrap();
    assert_eq!(report.findings.len(), 1, "the unknown entry is told each time");
}

#[test]
fn a_file_where_a_directory_should_be_is_never_an_empty_store() {
    let disk = SimulatedDisk::new(1);
    make_directory(&disk, Path::new(DIR)).unwrap();
    write(&disk, "shards", b"");
    let (report, _) = refused(&disk);
    assert_eq!(situation(&report), "store-7");
    for (directory, file) in [("loops", "loops/transcript"), ("executions", "executions/x")] {
        let disk = SimulatedDisk::new(1);
        make_directory(&disk, &at(directory)).unwrap();
        write(&disk, file, b"x");
        assert_eq!(situation(&refused(&disk).0), "store-7");
    }
}

#[test]
fn a_copy_that_is_no_file_is_damage() {
    let (disk, _) = begun();
    disk.remove_file(&at("store.b")).unwrap();
    disk.create_dir(&at("store.b")).unwrap();
    let report = look(&disk, &layer(2)).unwrap();
    assert_eq!(situation(&report), "store-5");
    assert_eq!(report.findings[0].expected, "a regular file");
    // A start moves it out of the way and writes the copy again.
    open(&disk, &layer(2)).unwrap();
    assert_eq!(situation(&look(&disk, &layer(2)).unwrap()), "store-1");
    assert_eq!(disk.list(&at("quarantine")).unwrap().len(), 1);
}

#[test]
fn a_path_that_is_no_directory_is_a_mistake_not_an_error() {
    let disk = SimulatedDisk::new(1);
    make_directory(&disk, Path::new("/srv")).unwrap();
    disk.create(Path::new(DIR)).unwrap();
    let failure = open(&disk, &layer(1)).unwrap_err();
    assert_eq!(failure.exit_code(), exit::CONFIG);
    assert_eq!(failure.to_string(), "/srv/data is no directory; name another one");
}

#[test]
fn beginning_is_noted_once() {
    let (disk, store) = begun();
    assert!(store.begun());
    let before = disk.operations();
    let again = store.clone().begin(&disk, Path::new(DIR)).unwrap();
    assert_eq!(again, store);
    assert_eq!(disk.operations(), before);
}

/// fault: S21
#[test]
fn a_lock_has_one_owner_and_changes_nothing() {
    let (disk, _) = created();
    let dir = Path::new(DIR);
    let before = disk.operations();
    let owner = lock(&disk, dir, LockMode::Exclusive).unwrap();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let failure = lock(&disk, dir, mode).unwrap_err();
        assert_eq!(failure.exit_code(), exit::LOCKED);
        assert_eq!(failure.to_string(), "/srv/data is locked by another process");
    }
    drop(owner);
    let readers = [lock(&disk, dir, LockMode::Shared), lock(&disk, dir, LockMode::Shared)];
    assert!(readers.iter().all(Result::is_ok));
    assert_eq!(disk.operations(), before);
    let failure = lock(&disk, &at("nowhere"), LockMode::Shared).unwrap_err();
    assert_eq!(failure.exit_code(), exit::CONFIG);
}
