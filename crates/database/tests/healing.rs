//! A crash at every disk operation of a start that heals: the next start finds the same rows.

use std::path::{Path, PathBuf};

use rekindle_database::verify;
use rekindle_env::{Image, SimulatedDisk, Survival};
use rekindle_recovery::exit;

use crate::support::{around, open, put, simulated};

/// A closed store with two checkpoints; the journal goes back to its first record where `whole`:
/// its checkpoints were then made within the first segment.
fn specimen(whole: bool) -> Image {
    let (disk, env, _) = simulated(1);
    let long = "x".repeat(if whole { 300 } else { 30_000 });
    for run in 0..3 {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        for round in 0..2 {
            for n in 0..3 {
                put(&database, keyspace, &format!("{run} {round} {n}"), &long);
            }
            if run == 0 || !whole && run == 1 {
                database.checkpoint().unwrap();
            }
        }
        put(&database, keyspace, &format!("{run} last"), "1");
        database.close().unwrap();
    }
    disk.crash(Survival::All, 1).image()
}

fn checkpoints(image: &Image) -> Vec<PathBuf> {
    let files = image.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.extension().is_some_and(|it| it == "ckpt")).collect()
}

fn at(image: &Image) -> SimulatedDisk {
    SimulatedDisk::from_image(image.clone(), 1)
}

/// What `verify` says, and the state after a start; with it that a whole start leaves nothing to
/// heal.
fn start(disk: &SimulatedDisk, what: &str) -> (i32, u128) {
    let (env, _) = around(disk, 2);
    let verified = verify("/store", &env).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        [exit::CLEAN, exit::TORN, exit::HEALED].contains(&verified.code),
        "{what}: {verified:?}"
    );
    let database = open(&env);
    assert_eq!(database.report().code, verified.code, "{what}");
    let hash = database.state_hash();
    drop(database);
    let after = verify("/store", &env).unwrap();
    assert_eq!(after.code, exit::CLEAN, "{what}, after a whole start: {after:?}");
    (verified.code, hash)
}

/// Crashes the healing start of a damaged store at each of its operations; answers how many
/// crashes there were.
fn crash_everywhere(damaged: &Image, hash: u128, what: &str) -> u64 {
    let first = at(damaged);
    let healed = start(&first, what);
    assert_eq!(healed, (exit::HEALED, hash), "{what}: {healed:?}");
    // The operations of the start alone: those of nothing else are in between.
    let disk = at(damaged);
    drop(open(&around(&disk, 2).0));
    let mut points = disk.trace().crash_points(damaged.clone());
    let mut crashes = 0;
    while points.advance().is_some() {
        for survival in Survival::EVERY {
            for seed in 0..2 {
                let at = points.position();
                let what = format!("{what}: operation {at}, {survival:?}, seed {seed}");
                let crashed = SimulatedDisk::from_image(points.survivors(survival, seed), seed);
                assert_eq!(start(&crashed, &what).1, hash, "{what}");
                crashes += 1;
            }
        }
        let killed = points.after_kill(1);
        assert_eq!(start(&killed, what).1, hash, "{what}: killed at {}", points.position());
    }
    crashes
}

/// The newest checkpoint, or both where the journal has everything, damaged, gone or no file; no
/// file in the place of a metadata copy; and nothing but files where things are set aside.
///
/// fault: S6, S13, S20
#[test]
fn a_crash_inside_a_healing_start_loses_nothing() {
    let meta = Path::new("/store/shards/0/meta.b");
    let mut crashes = 0;
    for whole in [false, true] {
        let specimen = specimen(whole);
        let named = checkpoints(&specimen);
        assert_eq!(named.len(), 2, "{named:?}");
        let (_, hash) = start(&at(&specimen), "the specimen");
        let mut run = |what: &str, damage: &dyn Fn(&mut Image, &Path), paths: &[&Path]| {
            let mut image = specimen.clone();
            for path in paths {
                damage(&mut image, path);
            }
            crashes += crash_everywhere(&image, hash, &format!("{what} (whole: {whole})"));
        };
        // In the header: of the checkpoint that is not loaded, a start reads no more.
        let flip: &dyn Fn(&mut Image, &Path) = &|image, path| image.flip(path, 300).unwrap();
        let remove: &dyn Fn(&mut Image, &Path) = &|image, path| image.remove(path).unwrap();
        let directory: &dyn Fn(&mut Image, &Path) = &|image, path| {
            image.remove(path).unwrap();
            image.create_dir_all(path.join("inside")).unwrap();
        };
        let (older, newest) = (named[0].as_path(), named[1].as_path());
        run("the newest damaged", flip, &[newest]);
        run("the newest gone", remove, &[newest]);
        run("the older damaged", flip, &[older]);
        run("a directory for meta.b", directory, &[meta]);
        if whole {
            run("both damaged", flip, &[older, newest]);
            run("a directory for meta.b, and both gone", directory, &[meta, older, newest]);
        }
        let quarantine = Path::new("/store/quarantine");
        let no_folder: &dyn Fn(&mut Image, &Path) = &|image, path| {
            flip(image, path);
            image.remove(quarantine).unwrap();
            image.write_file(quarantine, b"a file").unwrap();
        };
        run("the newest damaged, and a file for the quarantine", no_folder, &[newest]);
    }
    assert!(crashes >= 2_000, "{crashes} crashes");
}
