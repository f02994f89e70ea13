//! The oldest backups of a directory go; what stays is whole, whatever happens in between.

use std::collections::BTreeSet;
use std::path::Path;

use rekindle_database::{
    Kind, Manifest, Moment, list_backups, plan_prune, prune_backups, verify_backup,
};
use rekindle_env::{
    Disk, Env, Fault, FaultError, Image, LockMode, OperationKind, SimulatedDisk, Survival,
};

use super::{BACKUPS, back_up, bring_back};
use crate::support::{around, open, put, simulated};

const FOLDER: &str = BACKUPS;

/// Five backups, some of which share segments and some a checkpoint, the states of each, and a
/// leftover of an interrupted one.
fn prepared() -> (Image, Vec<(u64, u128)>) {
    let (disk, env, _) = simulated(8);
    let error = FaultError::Kind(std::io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let mut states = Vec::new();
    for round in 0..5 {
        for n in 0..3 {
            put(&database, keyspace, &format!("{round}-{n}"), &"x".repeat(4_000));
        }
        if round % 2 == 1 {
            database.checkpoint().unwrap();
        }
        let backup = back_up(&database);
        states.push((backup.manifest.version, database.state_hash()));
    }
    drop(database);
    let mut image = disk.image();
    image.remove("/store").unwrap();
    image.write_file(format!("{FOLDER}/journal/00000000000000ff"), b"left").unwrap();
    image.write_file(format!("{FOLDER}/journal/00000000000000fe.tmp"), b"left").unwrap();
    image.write_file(format!("{FOLDER}/journal/mine.txt"), b"not ours").unwrap();
    (image, states)
}

fn at(image: &Image) -> (SimulatedDisk, Env) {
    let disk = SimulatedDisk::from_image(image.clone(), 3);
    let env = around(&disk, 3).0;
    (disk, env)
}

fn needed(manifests: &[Manifest]) -> BTreeSet<String> {
    let segments = manifests.iter().flat_map(|it| it.segments.iter().map(|it| it.file.clone()));
    segments.chain(manifests.iter().map(|it| it.checkpoint.file.clone())).collect()
}

/// The files of the directory, without manifests and what is not ours.
fn files(image: &Image) -> BTreeSet<String> {
    let names = image.files().into_iter().map(|(path, _)| path.to_string_lossy().into_owned());
    let names = names.filter_map(|name| name.split_once("backups/").map(|(_, it)| it.to_owned()));
    names.filter(|name| !name.ends_with(".json") && !name.ends_with(".txt")).collect()
}

/// Each backup that is there is whole and comes back.
fn all_whole(env: &Env, states: &[(u64, u128)], what: &str) -> Vec<Manifest> {
    let report = verify_backup(FOLDER.as_ref(), env).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(report.findings, [], "{what}");
    let manifests = list_backups(FOLDER.as_ref(), env).unwrap();
    for manifest in &manifests {
        let (version, hash) = states[manifest.number as usize - 1];
        let to = format!("/{what}, {}", manifest.number);
        let back = bring_back(env, &to, Moment::Version(version));
        let back = back.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((manifest.version, back.state_hash), (version, hash), "{what}");
    }
    manifests
}

#[test]
fn the_oldest_go_and_take_only_what_nobody_needs() {
    let (image, states) = prepared();
    for keep in 1..=6 {
        let (disk, env) = at(&image);
        let plan = plan_prune(FOLDER.as_ref(), keep, &env).unwrap();
        assert!(disk.trace().operations().is_empty(), "a plan changes nothing");
        let pruned = prune_backups(FOLDER.as_ref(), keep, &env).unwrap();
        assert_eq!(plan, pruned);
        let kept = keep.min(5) as usize;
        assert_eq!((pruned.kept.len(), pruned.removed.len()), (kept, 5 - kept));
        assert!(pruned.bytes >= 8 && pruned.files.len() >= 2, "the leftovers: {pruned:?}");
        assert_eq!(files(&disk.image()), needed(&pruned.kept));
        assert!(disk.image().read(format!("{FOLDER}/journal/mine.txt")).is_ok());
        assert_eq!(all_whole(&env, &states, "pruned"), pruned.kept);
        // Moments between what stays are still there, and those before are refused.
        let first = pruned.kept[0].checkpoint.version;
        for version in first..=states[4].0 {
            bring_back(&env, &format!("/v{version}"), Moment::Version(version)).unwrap();
        }
        let before = bring_back(&env, "/never", Moment::Version(first - 1)).unwrap_err();
        assert_eq!(before.kind(), Kind::Invalid, "{before}");
        let again = prune_backups(FOLDER.as_ref(), keep, &env).unwrap();
        assert_eq!((again.removed.len(), again.files.len(), again.bytes), (0, 0, 0));
    }
}

#[test]
fn nothing_goes_where_something_is_not_right() {
    let (image, _) = prepared();
    let refuse = |image: &Image, keep: u64| {
        let (disk, env) = at(image);
        let error = prune_backups(FOLDER.as_ref(), keep, &env).unwrap_err();
        assert!(disk.trace().operations().is_empty(), "nothing was removed: {error}");
        error
    };
    assert_eq!(refuse(&image, 0).kind(), Kind::Invalid);
    assert_eq!(refuse(&Image::new(), 1).exit_code(), 78);
    let (_, env) = at(&image);
    let manifests = list_backups(FOLDER.as_ref(), &env).unwrap();
    // What stays is damaged: the older ones may be all that there is.
    let last = manifests.last().unwrap();
    for file in [&last.checkpoint.file, &last.segments[0].file] {
        let mut damaged = image.clone();
        damaged.flip(format!("{FOLDER}/{file}"), 4_200 * 8).unwrap();
        let error = refuse(&damaged, 1);
        assert!(error.exit_code() == 65 && error.to_string().contains(file), "{error}");
    }
    // A manifest that cannot be read may name anything.
    let mut damaged = image.clone();
    damaged.flip(format!("{FOLDER}/backups/1.json"), 900).unwrap();
    assert_eq!(refuse(&damaged, 2).exit_code(), 65);
    // What goes may be damaged.
    let mut damaged = image.clone();
    let goes = &manifests[0].checkpoint.file;
    assert!(manifests[4].checkpoint.file != *goes);
    damaged.flip(format!("{FOLDER}/{goes}"), 4_200 * 8).unwrap();
    let (_, env) = at(&damaged);
    prune_backups(FOLDER.as_ref(), 1, &env).unwrap();
    assert_eq!(verify_backup(FOLDER.as_ref(), &env).unwrap().code(), 0);
    // Somebody is at it.
    let (disk, env) = at(&image);
    let held = disk.lock(Path::new(FOLDER), LockMode::Shared).unwrap();
    assert_eq!(prune_backups(FOLDER.as_ref(), 1, &env).unwrap_err().kind(), Kind::Conflict);
    drop(held);
}

/// Whatever survives, every backup that is still listed is whole, those to be kept are there, and
/// another run ends the work.
///
/// fault: S20
#[test]
fn a_crash_at_every_operation_of_a_removal_leaves_whole_backups() {
    let (image, states) = prepared();
    let (disk, env) = at(&image);
    let done = prune_backups(FOLDER.as_ref(), 2, &env).unwrap();
    let mut points = disk.trace().crash_points(image);
    let mut counts = BTreeSet::new();
    loop {
        for survival in Survival::EVERY {
            let what = format!("operation {}, {survival:?}", points.position());
            let (disk, env) = at(&points.survivors(survival, points.position() as u64));
            let there = all_whole(&env, &states, &what);
            assert!(there.ends_with(&done.kept), "{what}");
            counts.insert(there.len());
            let again = prune_backups(FOLDER.as_ref(), 2, &env).unwrap();
            assert_eq!(again.kept, done.kept, "{what}");
            assert_eq!(files(&disk.image()), needed(&done.kept), "{what}");
            let what = format!("{what}, again");
            assert_eq!(all_whole(&env, &states, &what), done.kept);
        }
        if points.advance().is_none() {
            break;
        }
    }
    assert_eq!(counts, BTreeSet::from([2, 3, 4, 5]));
}

/// The next backup goes on from what stayed.
#[test]
fn backups_go_on_behind_a_removal() {
    let (_, env, _) = simulated(9);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..4 {
        put(&database, keyspace, &format!("k{n}"), "1");
        back_up(&database);
    }
    prune_backups(FOLDER.as_ref(), 1, &env).unwrap();
    put(&database, keyspace, "more", "1");
    let next = back_up(&database);
    assert!(next.continuous, "{next:?}");
    assert_eq!((next.manifest.number, next.manifest.earlier), (5, Some(4)));
    assert_eq!(verify_backup(FOLDER.as_ref(), &env).unwrap().findings, []);
    let back = bring_back(&env, "/back", Moment::Newest).unwrap();
    assert_eq!(back.state_hash, database.state_hash());
}
