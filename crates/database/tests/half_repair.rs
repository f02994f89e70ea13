//! A repair that was interrupted, and a copy of the metadata that rots besides; what is kept of it.

use std::path::Path;

use rekindle_database::{Database, Error, RepairOptions, repair, verify};
use rekindle_env::{Image, ReadDisk, SimulatedDisk, Survival};
use rekindle_recovery::{Verdict, exit};

use crate::support::{around, open, put, quiet, simulated};

const META: [&str; 2] = ["/store/shards/0/meta.a", "/store/shards/0/meta.b"];

/// A store of several segments, with a hole of several records in its first: its repair is of two
/// segments.
fn damaged() -> Image {
    let (disk, env, _) = simulated(31);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..40 {
        put(&database, keyspace, &format!("k{n}"), &"x".repeat(5_000));
    }
    drop(database);
    let mut image = disk.crash(Survival::None, 1).image();
    image.zero("/store/shards/0/journal/0000000000000001", 20_000..40_000).unwrap();
    image
}

fn accepting(env: &rekindle_env::Env) -> RepairOptions {
    let report = verify("/store", env).unwrap();
    let corrupt = report.findings().filter(|it| it.verdict == Some(Verdict::Corrupt));
    let accept = corrupt.map(|it| it.place.from..it.place.to).collect();
    RepairOptions { accept, ..RepairOptions::default() }
}

/// The segments that a repair has written serve once the metadata names them. Until then the first
/// may be there and the second not, and with a rotten copy nothing says how many there were: a
/// person decides, and nothing is taken for the journal that is half of it.
///
/// fault: S13, S20
#[test]
fn half_a_repair_is_never_taken_for_the_journal() {
    let image = damaged();
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    let (env, _) = around(&disk, 2);
    let done = repair("/store", &accepting(&env), &env).unwrap();
    assert!(done.segments.len() > 1, "{done:?}");
    let mut points = disk.trace().crash_points(image);
    let hash = open(&env).state_hash();
    let (mut refused, mut repaired) = (0, 0);
    let mut judge = |mut image: Image, copy: &str, what: &str| {
        if image.flip(copy, 900).is_err() {
            return;
        }
        let (env, _) = around(&SimulatedDisk::from_image(image, 1), 2);
        match Database::open_with("/store", quiet(), env) {
            Ok(database) => {
                assert_eq!(database.state_hash(), hash, "{what}");
                repaired += 1;
            }
            Err(Error::Corrupt(_)) => refused += 1,
            Err(error) => panic!("{what}: {error}"),
        }
    };
    while points.advance().is_some() {
        let at = points.position();
        for copy in META {
            for survival in Survival::EVERY {
                let image = points.survivors(survival, at as u64);
                judge(image, copy, &format!("at {at}, {survival:?}, {copy}"));
            }
            judge(points.after_kill(1).image(), copy, &format!("killed at {at}, {copy}"));
        }
    }
    println!("{refused} refused, {repaired} repaired");
    assert!(refused > 20 && repaired > 20, "{refused} {repaired}");
}

/// The damaged copy is what is kept, not the one that healed it; also by the second attempt, when
/// the first had healed it and was interrupted.
///
/// fault: S20
#[test]
fn the_metadata_is_kept_as_it_was_found() {
    for copy in META {
        let mut image = damaged();
        image.flip(copy, 900).unwrap();
        let before = image.read(copy).unwrap();
        let kept = |disk: &SimulatedDisk, what: &str| {
            let folders = disk.list(Path::new("/store/quarantine")).unwrap();
            let folders: Vec<_> =
                folders.iter().filter(|it| it.name.ends_with("-repair")).collect();
            assert_eq!(folders.len(), 1, "{what}: {folders:?}");
            let folder = Path::new("/store/quarantine").join(&folders[0].name);
            let names: Vec<String> =
                disk.list(&folder).unwrap().into_iter().map(|it| it.name).collect();
            assert!(!names.iter().any(|name| name.ends_with(".half")), "{what}: {names:?}");
            let path = folder.join(Path::new(copy).file_name().unwrap());
            assert!(disk.image().read(path).unwrap() == before, "{what}: {names:?}");
        };
        let disk = SimulatedDisk::from_image(image.clone(), 1);
        let (env, _) = around(&disk, 2);
        let options = accepting(&env);
        repair("/store", &options, &env).unwrap();
        kept(&disk, "at once");
        let mut points = disk.trace().crash_points(image);
        while points.advance().is_some() {
            let at = points.position();
            for survival in Survival::EVERY {
                let disk = SimulatedDisk::from_image(points.survivors(survival, at as u64), 1);
                let (env, _) = around(&disk, 3);
                if verify("/store", &env).unwrap().code == exit::CORRUPT {
                    repair("/store", &options, &env).unwrap();
                }
                drop(open(&env));
                kept(&disk, &format!("at {at}, {survival:?}"));
            }
        }
    }
}
