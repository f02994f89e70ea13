//! Numbers at the end of their range, in names and under right checksums: unknown or damaged, never
//! a panic, and `verify`, the dry run and a start agree.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rekindle_database::{Database, Error, Report, dry_run, store_info, verify};
use rekindle_env::{Env, Image, SimulatedDisk, Survival};
use rekindle_journal::RecordKind;
use rekindle_recovery::exit;
use rekindle_recovery::numbers::RUN_MAX;

use crate::support::raw::{self, Op};
use crate::support::{around, get, open, put, quiet, simulated};

/// Two checkpoints, and records behind them.
fn specimen() -> Image {
    let (disk, env, _) = simulated(1);
    for round in 0..3 {
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..4 {
            put(&database, keyspace, &format!("{round} {n}"), "1");
        }
        if round > 0 {
            database.checkpoint().unwrap();
        }
        put(&database, keyspace, &format!("{round} last"), "1");
        database.close().unwrap();
    }
    disk.crash(Survival::All, 1).image()
}

fn code(seen: Result<Report, Error>) -> i32 {
    seen.map_or_else(|error| error.exit_code(), |report| report.code)
}

fn machine(image: &Image) -> (SimulatedDisk, Env) {
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    let (env, _) = around(&disk, 1);
    (disk, env)
}

/// What a start answers; opened, the store rotates, writes checkpoints, and starts again.
fn live(env: &Env) -> i32 {
    let database = match Database::open_with("/store", quiet(), env.clone()) {
        Ok(database) => database,
        Err(error) => return error.exit_code(),
    };
    let code = database.report().code;
    let keyspace = database.keyspace("things").unwrap();
    assert_eq!(get(&database, keyspace, "2 last").as_deref(), Some("1"), "nothing is lost");
    let long = "x".repeat(40_000);
    for n in 0..4 {
        put(&database, keyspace, &format!("after {n}"), &long);
        database.checkpoint().unwrap();
    }
    database.close().unwrap();
    drop(database);
    for _ in 0..2 {
        let database = open(env);
        assert_eq!(get(&database, keyspace, "after 3").as_deref(), Some(&*long));
        put(&database, keyspace, "again", "1");
        drop(database);
    }
    code
}

/// Judges an image: all agree, nothing panics; answers the code.
fn judge(image: &Image, what: &str) -> i32 {
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let verified = code(verify("/store", &machine(image).1));
        let told = store_info("/store", &machine(image).1).unwrap().code();
        let refuses = [exit::CORRUPT, exit::CONFIG].contains(&told);
        assert!(!refuses || told == verified, "{what}: info says {told}, not {verified}");
        let planned = code(dry_run("/store", &quiet(), &machine(image).1));
        (verified, planned, live(&machine(image).1))
    }));
    let (verified, planned, opened) = judged.unwrap_or_else(|_| panic!("{what}: it panicked"));
    assert_eq!(verified, opened, "{what}: verify and a start");
    let refuses = |code: i32| [exit::CORRUPT, exit::CONFIG].contains(&code);
    assert_eq!(refuses(planned), refuses(opened), "{what}: the plan says {planned}, not {opened}");
    assert!(refuses(opened) || [0, 3, 4].contains(&opened), "{what}: {opened}");
    opened
}

fn in_store(path: &str) -> PathBuf {
    Path::new("/store").join(path)
}

/// The files of one of the shard's directories.
fn below(image: &Image, directory: &str) -> Vec<PathBuf> {
    let files = image.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.parent().unwrap().ends_with(directory)).collect()
}

/// A file whose name is a number that no program of ours gave is unknown: a note, left alone, and
/// never counted on from.
///
/// fault: S13
#[test]
fn names_at_the_end_of_their_range_are_unknown() {
    let whole = specimen();
    let numbers = [u64::MAX, u64::MAX - 1, u64::MAX - 2, (1 << 62) + 1, 1 << 62, 1 << 40];
    let segment = whole.read(in_store("shards/0/journal/0000000000000001")).unwrap_or_default();
    for number in numbers {
        let names = [
            format!("shards/0/journal/{number:016x}"),
            format!("shards/0/checkpoints/{number:016x}.ckpt"),
            format!("shards/0/checkpoints/{number:016x}.tmp"),
            format!("quarantine/{number:016x}-meta.b"),
            format!("reports/{number}.json"),
        ];
        for name in names {
            for content in [&b""[..], b"anything", &segment] {
                let mut image = whole.clone();
                image.write_file(in_store(&name), content).unwrap();
                assert_eq!(judge(&image, &name), exit::CLEAN, "{name}");
                let (disk, env) = machine(&image);
                live(&env);
                assert_eq!(disk.image().read(in_store(&name)).unwrap(), content, "{name} stays");
            }
        }
    }
    // What must be set aside finds a name beside a hostile one.
    for number in [u64::MAX, (1 << 62) - 1, 1 << 62] {
        let mut image = whole.clone();
        let name = format!("quarantine/{number:016x}-meta.b");
        image.write_file(in_store(&name), b"x").unwrap();
        image.remove(in_store("shards/0/meta.b")).unwrap();
        image.create_dir_all(in_store("shards/0/meta.b/inside")).unwrap();
        assert_eq!(judge(&image, &name), exit::HEALED);
    }
}

/// Writes a number into a structure and makes its checksum, at `crc_at`, right again.
fn forge(image: &mut Image, path: &Path, at: usize, number: u64, crc_at: usize) {
    let mut bytes = image.read(path).unwrap();
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..crc_at]).to_le_bytes();
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc);
    image.write_file(path, &bytes).unwrap();
}

const NUMBERS: [u64; 8] = [
    u64::MAX,
    u64::MAX - 1,
    u64::MAX - 2,
    u64::MAX - 4096,
    1 << 63,
    (1 << 62) + 1,
    (1 << 61) + 1,
    0,
];

/// fault: S13
#[test]
fn forged_identities_and_metadata_are_judged_alike() {
    let whole = specimen();
    let copies = |name: &str| [in_store(&format!("{name}.a")), in_store(&format!("{name}.b"))];
    let fields = [
        (copies("store"), &[16, 56][..]),
        (copies("shards/0/meta"), &[16, 40, 48, 56, 64, 72, 80, 88, 112, 120]),
    ];
    let mut codes = Vec::new();
    for (paths, offsets) in fields {
        for at in offsets {
            for number in NUMBERS {
                for damaged in [&paths[..1], &paths[1..], &paths[..]] {
                    let mut image = whole.clone();
                    for path in damaged {
                        forge(&mut image, path, *at, number, 4092);
                    }
                    codes.push(judge(&image, &format!("{damaged:?} at {at}: {number:#x}")));
                }
            }
        }
    }
    assert!(codes.contains(&exit::HEALED) && codes.contains(&exit::CORRUPT), "{codes:?}");
}

/// The last run that a store can have works; behind it the start is refused, as `verify` says.
#[test]
fn a_store_ends_with_its_last_run() {
    let mut image = specimen();
    for name in ["shards/0/meta.a", "shards/0/meta.b"] {
        forge(&mut image, &in_store(name), 48, RUN_MAX, 4092);
    }
    let (disk, env) = machine(&image);
    let database = open(&env);
    assert_eq!(database.incarnation(), RUN_MAX + 1);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "acknowledged", "1");
    database.close().unwrap();
    drop(database);
    assert_eq!(judge(&disk.image(), "behind the last run"), exit::CORRUPT);
}

/// fault: S13
#[test]
fn forged_segments_are_judged_alike() {
    let whole = specimen();
    let segments = below(&whole, "journal");
    assert!(segments.len() >= 2, "{segments:?}");
    for path in &segments {
        for at in [32, 48, 56, 64, 80, 88, 96, 120, 128] {
            for number in NUMBERS {
                let mut image = whole.clone();
                forge(&mut image, path, at, number, 4092);
                judge(&image, &format!("{} at {at}: {number:#x}", path.display()));
            }
        }
    }
}

/// fault: S13
#[test]
fn forged_checkpoints_are_judged_alike() {
    let whole = specimen();
    let checkpoints = below(&whole, "checkpoints");
    assert_eq!(checkpoints.len(), 2);
    // Offsets in the header, and in the footer what must say the same.
    let fields: [(&[usize], Option<usize>); 6] = [
        (&[40], None),
        (&[48], Some(56)),
        (&[56], None),
        (&[64], None),
        (&[72, 88], Some(48)),
        (&[80], None),
    ];
    for damaged in [&checkpoints[..1], &checkpoints[1..], &checkpoints[..]] {
        for (header, footer) in fields {
            for number in NUMBERS.into_iter().filter(|number| *number > 1 << 61) {
                let mut image = whole.clone();
                for path in damaged {
                    for at in header {
                        forge(&mut image, path, *at, number, 508);
                    }
                    if let Some(at) = footer {
                        forge_footer(&mut image, path, at, number);
                    }
                }
                judge(&image, &format!("{damaged:?} at {header:?}: {number:#x}"));
            }
        }
    }
}

fn forge_footer(image: &mut Image, path: &Path, at: usize, number: u64) {
    let mut bytes = image.read(path).unwrap();
    let footer = bytes.len() - 80;
    bytes[footer + at..footer + at + 8].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[24..48]);
    let crc = crc32c::crc32c_append(crc, &bytes[footer + 8..footer + 16]);
    let crc = crc32c::crc32c_append(crc, &bytes[footer + 8..]).to_le_bytes();
    bytes[footer + 4..footer + 8].copy_from_slice(&crc);
    image.write_file(path, &bytes).unwrap();
}

/// Records whose versions, positions or times leave no room for the next: refused.
///
/// fault: S13
#[test]
fn forged_records_are_refused() {
    let largest = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 62) + 1];
    let records = |number: u64| {
        let commit = raw::commit(9, number, 1);
        let mut late = raw::commit(9, 1, 1);
        late[16..24].copy_from_slice(&number.to_le_bytes());
        [
            (RecordKind::Commit, commit),
            (RecordKind::Commit, late),
            (RecordKind::Loss, raw::loss(3, number, 1)),
            (RecordKind::Loss, raw::loss(3, 3, number)),
        ]
    };
    let judge = |fill: &dyn Fn(&raw::RawJournal), what: &str| {
        let (disk, env, _) = simulated(1);
        raw::store(Path::new("/store"), &env, fill);
        let image = disk.image();
        let verified = code(verify("/store", &env));
        let opened = Database::open_with("/store", quiet(), machine(&image).1).unwrap_err();
        assert_eq!((verified, opened.exit_code()), (65, 65), "{what}: {opened}");
    };
    for number in largest {
        let txns = |journal: &raw::RawJournal| {
            journal.commit(number, &[Op::Put("a", "1")]);
        };
        judge(&txns, &format!("version {number:#x}"));
        for (kind, payload) in records(number) {
            let streamed = |journal: &raw::RawJournal| {
                journal.append(RecordKind::Begin, &raw::id(9));
                journal.append(RecordKind::Part, &raw::part(9, &[Op::Put("a", "1")]));
                journal.append(kind, &payload);
            };
            judge(&streamed, &format!("{kind:?} of {number:#x}"));
        }
    }
}
