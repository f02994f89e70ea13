//! Stores whose checksums are right and whose parts contradict each other: names of keyspaces that
//! cannot be read, checkpoints that the journal does not reach. All are refused, none is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rekindle_database::{Database, Error, Report, verify};
use rekindle_engine::checkpoint::{self, Stamp, file_name};
use rekindle_engine::{Engine, KeyspaceId, MemoryEngine, Operation};
use rekindle_env::{Env, Image, SimulatedDisk};

use crate::support::raw::{self, Op};
use crate::support::{around, open, put, quiet, simulated};

const STORE: &str = "/store";
const CHECKPOINTS: &str = "/store/shards/0/checkpoints";
const REGISTRY: KeyspaceId = KeyspaceId(0);

fn bytes(disk: &SimulatedDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let image = disk.image();
    let read = |path: PathBuf| {
        let bytes = image.read(&path).unwrap();
        (path, bytes)
    };
    image.files().into_iter().map(|(path, _)| read(path)).collect()
}

/// A start is refused as corrupt for this reason, `verify` and the dry run say the same, and no
/// byte changes; answers the report.
fn refused(disk: &SimulatedDisk, label: &str) -> Report {
    let (env, _) = around(disk, 9);
    let before = bytes(disk);
    let error = Database::open_with(STORE, quiet(), env.clone()).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    let Error::Corrupt(report) = error else { panic!("{error}") };
    let labels: Vec<_> = report.findings().filter(|it| it.verdict.is_some()).collect();
    assert_eq!(labels.iter().map(|it| it.label.0).collect::<Vec<_>>(), [label], "{labels:?}");
    let verified = verify(STORE, &env).unwrap();
    assert_eq!((verified.code, verified.refusal().is_some()), (65, true), "{verified:?}");
    assert_eq!(rekindle_database::dry_run(STORE, &quiet(), &env).unwrap().code, 65);
    assert_eq!(bytes(disk), before, "a refused start changes nothing");
    *report
}

/// A row of the registry that is no name and number of its own: passed over, its number would be
/// given to another keyspace, and two would become one.
///
/// produces: database-20
#[test]
fn a_name_of_a_keyspace_that_cannot_be_read_is_refused() {
    let long = [b'n'; 250];
    let rows: [(&[u8], &[u8], &str); 6] = [
        (b"orders", &[1], "1 bytes, [01]"),
        (b"orders", &[1, 0, 0], "3 bytes"),
        (b"orders", &[0, 0], "2 bytes, [00, 00]"),
        (&[0xFF, 0xFE], &[2, 0], "2 other bytes"),
        (&long, &[2, 0], "250 other bytes"),
        (b"orders", &[1, 0], "that of \"fine\""),
    ];
    for (name, number, found) in rows {
        let (disk, env, _) = simulated(7);
        raw::store(Path::new(STORE), &env, |journal| {
            journal.commit(1, &[Op::Name(b"fine", &[1, 0])]);
            journal.sync();
            journal.commit(2, &[Op::Put("a", "1"), Op::Name(name, number)]);
            journal.sync();
            journal.commit(3, &[Op::Put("b", "1")]);
        });
        let report = refused(&disk, "database-20");
        let finding = report.findings().next().unwrap();
        assert!(finding.found.contains(found), "{finding}");
        assert!(finding.place.file.contains("journal/"), "the record is named: {finding}");
        assert!(finding.place.offset > 4_096, "{finding}");
        // What can be read is written out all the same.
        let salvaged = rekindle_database::salvage(STORE, "/out", &env).unwrap();
        assert!(salvaged.files.iter().any(|file| file.rows == 2), "{salvaged:?}");
    }
}

/// Writes another checkpoint over the newest one of the store: what `change` makes of its state.
fn rewrite_checkpoint(env: &Env, id: u64, change: impl FnOnce(&MemoryEngine)) {
    let path = Path::new(CHECKPOINTS).join(file_name(id));
    let info = rekindle_database::store_info(STORE, env).unwrap();
    let store_id = info.store_id.unwrap();
    let (header, engine) =
        checkpoint::load(&*env.disk.open_read(&path).unwrap(), &store_id, id).unwrap();
    let (mark, engine) = (engine.mark(), engine);
    env.disk.remove_file(&path).unwrap();
    change(&engine);
    let stamp = Stamp {
        id,
        store_id,
        replay_from: header.header.replay_from,
        feature_level: 1,
        membership: vec![],
    };
    let frozen = engine.freeze();
    let at = mark.position.max(frozen.mark().position);
    checkpoint::write(&*env.disk, Path::new(CHECKPOINTS), &frozen, &stamp, at, &mut |_| true)
        .unwrap();
}

/// The same row in a checkpoint; the finding names its file.
#[test]
fn a_name_in_a_checkpoint_that_cannot_be_read_is_refused() {
    let (disk, env, _) = simulated(8);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    database.checkpoint().unwrap();
    put(&database, keyspace, "b", "1");
    database.close().unwrap();
    drop(database);
    let id = checkpoint_ids(&disk).pop().unwrap();
    rewrite_checkpoint(&env, id, |engine| {
        let mut mark = engine.mark();
        mark.version += 1;
        let row = Operation::Put { keyspace: REGISTRY, key: b"other", value: &[7] };
        engine.apply(mark, &mut [row].into_iter());
    });
    let (env, _) = around(&disk, 9);
    let report = verify(STORE, &env).unwrap();
    let finding = report.findings().find(|it| it.label.0 == "database-20").unwrap();
    assert!(finding.place.file.ends_with(&file_name(id)), "{finding}");
    assert_eq!(report.code, 65);
}

fn checkpoint_ids(disk: &SimulatedDisk) -> Vec<u64> {
    let names = disk.image().files().into_iter().filter_map(|(path, _)| {
        let name = path.file_name()?.to_str()?.strip_suffix(".ckpt")?.to_owned();
        u64::from_str_radix(&name, 16).ok()
    });
    names.collect()
}

/// A store as it was, and as it is two checkpoints later, killed both times; the later one wrote
/// what `meta` had named already.
fn older_and_newer() -> (Image, Image) {
    let (disk, env, _) = simulated(11);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let older = disk.kill(1).image();
    for n in 0..20 {
        put(&database, keyspace, &format!("k{n}"), "1");
    }
    database.checkpoint().unwrap();
    put(&database, keyspace, "after", "1");
    (older, disk.kill(2).image())
}

/// Puts what `of` has under these paths in place of what is there.
fn replace(image: &mut Image, of: &Image, parts: &[&str]) {
    let is_part = |path: &Path| parts.iter().any(|part| path.to_string_lossy().contains(part));
    for (path, _) in image.files().into_iter().filter(|(path, _)| is_part(path)) {
        image.remove(&path).unwrap();
    }
    for (path, _) in of.files().into_iter().filter(|(path, _)| is_part(path)) {
        image.write_file(&path, &of.read(&path).unwrap()).unwrap();
    }
}

/// The journal was replaced by an older copy of itself: it ends before the checkpoint does. A start
/// would give positions out twice, and pass over what it acknowledged at the start after it.
///
/// produces: database-21
#[test]
fn a_journal_that_ends_before_its_checkpoint_is_refused() {
    let (older, newer) = older_and_newer();
    let mut image = newer.clone();
    replace(&mut image, &older, &["/journal/", "/tip"]);
    let report = refused(&SimulatedDisk::from_image(image, 1), "database-21");
    let finding = report.findings().find(|it| it.label.0 == "database-21").unwrap();
    assert!(finding.place.file.ends_with(".ckpt"), "{finding}");
    assert!(finding.expected.contains("position 22"), "{finding}");

    // Put back, everything is there.
    let (env, _) = around(&SimulatedDisk::from_image(newer, 1), 9);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    assert!(crate::support::get(&database, keyspace, "after").is_some());
}

/// The same with `meta` as old as the journal: nothing names the checkpoint, and it still says how
/// far the journal had come.
#[test]
fn a_journal_that_ends_before_a_checkpoint_that_nothing_names_is_refused() {
    let (older, newer) = older_and_newer();
    let mut image = newer.clone();
    replace(&mut image, &older, &["/journal/", "/tip", "/meta."]);
    let report = refused(&SimulatedDisk::from_image(image.clone(), 1), "database-21");
    let kept = report.layers.iter().flat_map(|layer| &layer.actions);
    assert!(kept.into_iter().any(|action| action.target.ends_with(".ckpt")), "{report:?}");

    // Without it nothing says so: that is a whole copy of an older store.
    for (path, _) in newer.files().into_iter().filter(|(path, _)| path.ends_with(".ckpt")) {
        image.remove(&path).unwrap();
    }
    replace(&mut image, &older, &["/checkpoints/"]);
    let (env, _) = around(&SimulatedDisk::from_image(image, 1), 9);
    assert_eq!(open(&env).report().code, 0);
}

/// Segments that `meta` names are gone with all that they held.
#[test]
fn vanished_segments_are_no_empty_store() {
    let (_, newer) = older_and_newer();
    let mut image = newer;
    replace(&mut image, &Image::new(), &["/journal/"]);
    refused(&SimulatedDisk::from_image(image, 1), "journal-8");
}
