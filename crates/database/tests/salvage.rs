//! Salvage: what can be read is written out, and the store is only read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rekindle_database::{Error, Salvage, salvage, verify};
use rekindle_env::{Env, Image, ReadDisk, SimulatedDisk, Survival, durable};
use rekindle_recovery::exit;

use crate::support::{around, open, simulated};

const STORE: &str = "/store";
const OUT: &str = "/out";

fn at(image: &Image) -> (SimulatedDisk, Env) {
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    let env = around(&disk, 2).0;
    (disk, env)
}

/// A history of texts and bytes in three keyspaces, with two checkpoints; and every row that it
/// ever committed, as lines.
fn specimen(seed: u64, closed: bool) -> (Image, BTreeSet<String>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (disk, env, _) = simulated(seed);
    let mut ever = BTreeSet::new();
    for run in 0..3 {
        let database = open(&env);
        let names = ["things", "odd/name", "THINGS"];
        let keyspaces = names.map(|name| database.keyspace(name).unwrap());
        for round in 0..20 {
            let (mut transaction, mut puts) = (database.begin(), Vec::new());
            for _ in 0..random.u8(1..4) {
                let keyspace = keyspaces[random.usize(0..3)];
                let key = format!("key\n{}", random.u8(0..30));
                if random.u8(0..5) == 0 {
                    transaction.delete(keyspace, key.as_bytes());
                } else {
                    let value = vec![random.u8(..); random.usize(1..6_000)];
                    transaction.put(keyspace, key.as_bytes(), &value);
                    puts.push((keyspace.0, key, value));
                }
            }
            let version = transaction.commit().unwrap().version;
            let lines =
                puts.iter().map(|(id, key, value)| line(*id, key.as_bytes(), value, version));
            ever.extend(lines);
            if run < 2 && round == 12 {
                database.checkpoint().unwrap();
            }
        }
        if run < 2 || closed {
            database.close().unwrap();
        }
    }
    (disk.crash(Survival::All, seed).image(), ever)
}

/// The lines of a finished salvage.
fn exported(disk: &SimulatedDisk) -> BTreeSet<String> {
    let read = |name: &str| {
        let bytes = durable::read_file(disk, &Path::new(OUT).join(name), 1 << 30).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let names: Vec<String> =
        disk.list(Path::new(OUT)).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(names.contains(&"salvage.json".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    let lines = names.iter().filter(|name| name.ends_with(".jsonl")).map(|name| read(name));
    lines.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn quoted(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if let Ok(text) = std::str::from_utf8(bytes) {
        let plain = |c: char| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            c if c < ' ' => format!("\\u{:04x}", c as u32),
            c => c.to_string(),
        };
        return format!("\"{}\"", text.chars().map(plain).collect::<String>());
    }
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let number = number << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { digit as char } else { '=' });
        }
    }
    format!("{{\"base64\":\"{text}\"}}")
}

fn line(keyspace: u16, key: &[u8], value: &[u8], version: u64) -> String {
    let name = ["", "things", "odd/name", "THINGS"][keyspace as usize];
    let (key, value) = (quoted(key), quoted(value));
    format!("{{\"keyspace\":\"{name}\",\"key\":{key},\"value\":{value},\"version\":{version}}}")
}

/// The rows of the state, as lines.
fn truth(image: &Image) -> BTreeSet<String> {
    let (_, env) = at(image);
    let database = open(&env);
    let snapshot = database.snapshot().unwrap();
    let mut now = BTreeSet::new();
    for keyspace in 1..4 {
        let id = rekindle_database::KeyspaceId(keyspace);
        let rows = snapshot.scan(id, crate::support::ALL, 10_000, false).unwrap();
        now.extend(rows.iter().map(|row| line(keyspace, &row.key, &row.value, row.version)));
    }
    now
}

/// Salvages, and checks that the store was only read.
fn salvaged(image: &Image) -> Result<(SimulatedDisk, Salvage), Error> {
    let (disk, env) = at(image);
    let done = salvage(STORE, OUT, &env);
    let after = disk.image();
    for (path, _) in image.files() {
        assert_eq!(after.read(&path).unwrap(), image.read(&path).unwrap(), "{}", path.display());
    }
    Ok((disk, done?))
}

fn in_store(path: &str) -> PathBuf {
    Path::new(STORE).join(path)
}

/// Exactly the rows of the state where nothing is damaged, however it ended; the names of files are
/// plain, and those of keyspaces exact.
#[test]
fn a_whole_store_is_exported_exactly() {
    for (seed, closed) in [(1, true), (2, false)] {
        let (image, _) = specimen(seed, closed);
        let (disk, done) = salvaged(&image).unwrap();
        assert!(done.whole && done.unreadable.is_empty(), "{done:?}");
        assert_eq!(exported(&disk), truth(&image));
        let files: Vec<&str> = done.files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(files, ["things.jsonl", "keyspace-2.jsonl", "keyspace-3.jsonl"]);
        assert!(
            done.json.contains("\"whole\":true") && done.json.contains("\"name\":\"odd/name\"")
        );
        let again = salvage(STORE, OUT, &at(&disk.image()).1).unwrap_err();
        assert!(again.to_string().contains("finished salvage"), "{again}");
    }
}

/// Whatever is damaged: what is written was committed, the newest rows that can be read are there,
/// and what is not whole is said.
///
/// fault: S7, S9, S12, S13
#[test]
fn a_damaged_store_gives_what_can_be_read() {
    let mut tally = BTreeMap::<&str, u32>::new();
    for seed in 0..40 {
        let (image, ever) = specimen(seed / 8, seed % 2 == 0);
        let now = truth(&image);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..8 {
            let mut damaged = image.clone();
            let files = damaged.files();
            let (path, len) = files[random.usize(0..files.len())].clone();
            match random.u8(0..4) {
                0 => damaged.remove(&path).unwrap(),
                1 => damaged.truncate(&path, random.u64(0..len)).unwrap(),
                2 => damaged.zero(&path, random.u64(0..len)..len).unwrap(),
                _ => damaged.flip(&path, random.u64(0..len * 8)).unwrap(),
            }
            let what = format!("seed {seed}, {}", path.display());
            let code = verify(STORE, &at(&damaged).1).map_or(0, |report| report.code);
            let (disk, done) = salvaged(&damaged).unwrap_or_else(|e| panic!("{what}: {e}"));
            let found = exported(&disk);
            let invented: Vec<&String> = found.difference(&ever).collect();
            assert!(invented.is_empty(), "{what}: {invented:?}");
            if code == exit::CORRUPT {
                *tally.entry("corrupt").or_default() += 1;
                assert!(!done.whole && !done.unreadable.is_empty(), "{what}: {done:?}");
                continue;
            }
            *tally.entry("not corrupt").or_default() += 1;
            if done.whole && code != exit::TORN {
                assert_eq!(found, now, "{what}");
            }
        }
    }
    println!("{tally:?}");
    assert!(tally["corrupt"] > 40 && tally["not corrupt"] > 40);
}

/// Without identity and metadata the segments and checkpoints speak for themselves; without
/// checkpoints the journal does; without a journal the checkpoint does.
///
/// fault: S8, S9, S13
#[test]
fn what_is_left_speaks_for_itself() {
    let (image, ever) = specimen(3, true);
    let now = truth(&image);
    let gone = |paths: &[&str]| {
        let mut image = image.clone();
        paths.iter().for_each(|path| image.remove(in_store(path)).unwrap());
        let (disk, done) = salvaged(&image).unwrap_or_else(|error| panic!("{paths:?}: {error}"));
        let found = exported(&disk);
        // Where the registry is lost, keyspaces have their numbers.
        let named = |line: &String| {
            let names = [(1, "things"), (2, "odd/name"), (3, "THINGS")];
            names.iter().fold(line.clone(), |line, (number, name)| {
                line.replacen(&format!("{{\"number\":{number}}}"), &format!("\"{name}\""), 1)
            })
        };
        let found: BTreeSet<String> = found.iter().map(named).collect();
        assert!(!done.whole || found == now, "{paths:?}: {}", done.json);
        assert!(found.is_subset(&ever), "{paths:?}");
        found
    };
    let copies = ["store.a", "store.b", "shards/0/meta.a", "shards/0/meta.b"];
    assert_eq!(gone(&copies), now, "all of it is in segments and checkpoints");
    let journal = gone(&["shards/0/checkpoints"]);
    assert!(!journal.is_empty());
    let checkpoint = gone(&["shards/0/journal"]);
    assert!(!checkpoint.is_empty());
    assert!(!gone(&[&copies[..], &["shards/0/journal", "shards/0/tip"]].concat()).is_empty());
    let mut nothing = image.clone();
    nothing.remove(in_store("shards")).unwrap();
    copies[..2].iter().for_each(|path| nothing.remove(in_store(path)).unwrap());
    assert_eq!(salvaged(&nothing).unwrap_err().exit_code(), exit::CONFIG);
}

/// A folder that holds anything else is not touched, and none inside of the store.
#[test]
fn only_an_empty_folder_is_written_to() {
    let (image, _) = specimen(4, true);
    let refused = |image: &Image, out: &str| {
        let (disk, env) = at(image);
        let error = salvage(STORE, out, &env).unwrap_err();
        assert!(disk.trace().operations().is_empty(), "nothing is written");
        assert_eq!(error.exit_code(), 1, "{error}");
    };
    refused(&image, "/store/out");
    let mut another = image.clone();
    another.create_dir_all("/another/shards").unwrap();
    another.write_file("/another/store.a", b"whatever").unwrap();
    refused(&another, "/another/shards/out");
    let mut used = image.clone();
    used.create_dir_all(OUT).unwrap();
    used.write_file(Path::new(OUT).join("mine.jsonl"), b"mine").unwrap();
    refused(&used, OUT);
    used.write_file(Path::new(OUT).join("salvage.json.tmp"), b"").unwrap();
    used.write_file(Path::new(OUT).join("notes.txt"), b"mine").unwrap();
    refused(&used, OUT);
    let mut file = image;
    file.write_file(OUT, b"mine").unwrap();
    refused(&file, OUT);
}

/// A crash at every operation leaves a folder that the next salvage finishes, or a finished one.
///
/// fault: S20
#[test]
fn a_crash_inside_a_salvage_is_begun_again() {
    let (image, _) = specimen(6, true);
    let now = truth(&image);
    let (disk, _) = salvaged(&image).unwrap();
    let mut points = disk.trace().crash_points(image.clone());
    let mut crashes = 0;
    let judge = |crashed: Image, what: &str| {
        let finished = crashed.read(Path::new(OUT).join("salvage.json")).is_ok();
        let (disk, env) = at(&crashed);
        match salvage(STORE, OUT, &env) {
            Ok(done) => assert!(done.whole && !finished, "{what}"),
            Err(error) => {
                assert!(finished && error.to_string().contains("finished"), "{what}: {error}");
            }
        }
        assert_eq!(exported(&disk), now, "{what}");
    };
    while points.advance().is_some() {
        let at = points.position();
        for survival in Survival::EVERY {
            judge(points.survivors(survival, at as u64), &format!("at {at}, {survival:?}"));
            crashes += 1;
        }
        judge(points.after_kill(1).image(), &format!("killed at {at}"));
    }
    assert!(crashes > 50, "{crashes}");
}
