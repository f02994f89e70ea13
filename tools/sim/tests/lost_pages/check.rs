//! What must be true of a store after a power loss.
//!
//! Invariants: it starts, as after any crash; everything acknowledged is there, what was under way
//! wholly or not at all; nothing of it is called corrupt, before the start or behind it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rekindle_database::{Database, EngineKind, Env, Error, store_info, verify};
use rekindle_env::Image;
use rekindle_recovery::exit;
use rekindle_sim::invariants::never_refuses;

use super::workload::{FOLDER, options};

/// The exit code of a directory in which there is no store yet.
const NO_STORE: i32 = exit::CONFIG;

/// What a client knows when the power fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The last version that was acknowledged.
    pub(super) acknowledged: u64,
    /// The newest version that may be there.
    pub(super) begun: u64,
}

/// A folder in memory where there is one, so that syncs of what is only looked at cost nothing.
#[allow(clippy::disallowed_methods, reason = "asks the machine, not a store")]
pub(super) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Writes what is left of a disk into a folder; it need not last.
#[allow(clippy::disallowed_methods, reason = "made behind the store's back")]
pub(super) fn put_down(image: &Image, root: &Path) {
    for folder in image.directories() {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    for (path, _) in image.files() {
        std::fs::write(root.join(&path), image.read(&path).unwrap()).unwrap();
    }
}

/// Opens what a power loss left, and looks at it; answers the version that came back.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn check(
    image: &Image,
    known: Known,
    hashes: &BTreeMap<u64, u128>,
    goes_on: bool,
) -> Result<u64, String> {
    let root = scratch();
    put_down(image, root.path());
    let dir = root.path().join(FOLDER);
    looks_whole(&dir, known)?;
    let database = open(&dir)?;
    never_refuses::check(database.report())?;
    let version = database.current_version();
    is_state(&database, hashes)?;
    within(version, known)?;
    drop(database);
    if goes_on {
        continues(&dir, version, hashes)?;
    }
    Ok(version)
}

/// Whether a version may come back.
///
/// # Errors
/// When it may not.
pub(super) fn within(version: u64, known: Known) -> Result<(), String> {
    let Known { acknowledged, begun } = known;
    if version < acknowledged {
        return Err(format!("version {version} came back, {acknowledged} was acknowledged"));
    }
    if version > begun {
        return Err(format!("version {version} came back, {begun} is the newest that was begun"));
    }
    Ok(())
}

fn looks_whole(dir: &PathBuf, known: Known) -> Result<(), String> {
    match verify(dir, &Env::real()) {
        Ok(report) if report.code == NO_STORE && known.acknowledged == 0 => Ok(()),
        Ok(report) => never_refuses::check(&report).map_err(|error| format!("verify: {error}")),
        Err(Error::NotAStore(_)) if known.acknowledged == 0 => Ok(()),
        Err(error) => Err(format!("verify: {error}")),
    }
}

/// Opens it on the engine that it is on; a new one is of the lsm engine.
fn open(dir: &Path) -> Result<Database, String> {
    let missing = matches!(store_info(dir, &Env::real()), Err(Error::NotAStore(_)));
    let engine = missing.then_some(EngineKind::Lsm);
    let opened = Database::open_with(dir, options(engine), Env::real());
    opened.map_err(|error| format!("refused after a mere power loss: {error}"))
}

fn is_state(database: &Database, hashes: &BTreeMap<u64, u128>) -> Result<(), String> {
    let version = database.current_version();
    match hashes.get(&version) {
        Some(hash) if *hash == database.state_hash() => Ok(()),
        Some(_) => Err(format!("version {version} came back with another state")),
        None => Err(format!("version {version} never was")),
    }
}

/// It starts again with the same state, takes writes, keeps them, and is clean.
fn continues(dir: &Path, version: u64, hashes: &BTreeMap<u64, u128>) -> Result<(), String> {
    let fail = |error: Error| format!("it does not go on: {error}");
    let database = open(dir)?;
    is_state(&database, hashes)?;
    if database.current_version() != version {
        return Err(format!("a second start has {}", database.current_version()));
    }
    // Without threads the owner writes out what a long replay left in memory.
    database.tick().map_err(fail)?;
    let keyspace = database.keyspace("left").map_err(fail)?;
    let mut transaction = database.begin();
    transaction.put(keyspace, b"after", &[7; 3_000]);
    transaction.commit().map_err(fail)?;
    database.checkpoint().map_err(fail)?;
    let (version, hash) = (database.current_version(), database.state_hash());
    database.close().map_err(fail)?;
    drop(database);
    let code = verify(dir, &Env::real()).map_err(fail)?.code;
    let database = open(dir)?;
    if (database.current_version(), database.state_hash(), code) != (version, hash, 0) {
        return Err(format!("it did not keep what it was given behind (verify: {code})"));
    }
    Ok(())
}
