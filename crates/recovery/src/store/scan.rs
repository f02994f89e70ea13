//! Scan of the store layer: the raw copies, and what else lies in the directory.
//!
//! Invariant: reads only the names at the top and whether the store's own directories hold
//! anything; it never follows links and never opens a file other than the two copies.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rekindle_env::{Entry, EntryKind, ReadDisk, durable};

use super::restoring::{NOTE, RESTORING};
use super::table::Rest;
use super::{COPIES, DIRECTORIES, JOURNAL_DIR};
use crate::driver::Failure;
use crate::identity::IDENTITY_LEN;

/// Names at the top that belong to a store without being made at its creation, or to the file
/// system itself (`lost+found` of a fresh volume must not make it "not empty").
const TOLERATED: [&str; 3] = ["executions", "loops", "lost+found"];

/// Those of them that are data of a store when something is in them.
const BESIDE: [&str; 2] = ["executions", "loops"];

/// The bytes of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawCopy {
    /// No such file.
    Absent,
    /// Something that is no regular file.
    Other,
    /// Its content, at most one byte more than a copy has.
    Bytes(Vec<u8>),
}

/// What lies in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// `store.a`.
    pub a: RawCopy,
    /// `store.b`.
    pub b: RawCopy,
    /// What there is beside the copies.
    pub rest: Rest,
    /// Entries at the top that no store has.
    pub unknown: Vec<String>,
    /// Directories that a store has and this one has not.
    pub missing: Vec<&'static str>,
}

/// Reads them.
pub(super) fn scan(disk: &dyn ReadDisk, dir: &Path) -> Result<Pieces, Failure> {
    let top = list(disk, dir)?;
    if top.iter().any(|(name, kind)| name == RESTORING && *kind == EntryKind::File) {
        return Err(Failure::Config(format!(
            "{} holds a restore that did not finish; run the same 'rekindle restore' again, or \
             remove the directory",
            dir.display()
        )));
    }
    let known: BTreeSet<&str> = COPIES.into_iter().chain(DIRECTORIES).chain(TOLERATED).collect();
    let is_known = |name: &str, kind: EntryKind| {
        known.contains(name) && (COPIES.contains(&name) || kind == EntryKind::Directory)
            || name == NOTE && kind == EntryKind::File
    };
    let unknown: Vec<String> = top
        .iter()
        .filter(|(name, kind)| !is_known(name, *kind))
        .map(|(name, _)| name.clone())
        .collect();
    let mut missing = vec![];
    let mut data = false;
    for directory in DIRECTORIES {
        let path = dir.join(directory);
        match stat(disk, &path)? {
            None => missing.push(directory),
            Some(entry) if entry.kind == EntryKind::Directory => {
                let inside = list(disk, &path)?;
                data |= inside.iter().any(|(name, _)| !is_own(directory, name));
            }
            Some(_) => {
                data = true;
                // A link that leads to the segments is as good as their directory.
                if directory == JOURNAL_DIR && is_taken(disk, &path)? {
                    missing.push(directory);
                }
            }
        }
    }
    for name in BESIDE {
        let there = top.iter().any(|(found, _)| found == name);
        data |= there && !list(disk, &dir.join(name))?.is_empty();
    }
    let rest = match (data, unknown.is_empty()) {
        (true, _) => Rest::Data,
        (false, true) => Rest::Nothing,
        (false, false) => Rest::Foreign,
    };
    let [a, b] = COPIES.map(|name| read(disk, &dir.join(name)));
    Ok(Pieces { a: a?, b: b?, rest, unknown, missing })
}

/// Whether `name` inside `directory` is itself one of the store's directories.
fn is_own(directory: &str, name: &str) -> bool {
    DIRECTORIES.iter().any(|own| {
        own.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')) == Some(name)
    })
}

/// Whether something that is no directory has the place of one.
fn is_taken(disk: &dyn ReadDisk, dir: &Path) -> Result<bool, Failure> {
    let listed = durable::list_folder(disk, dir).map_err(|error| failed("list", dir, error))?;
    Ok(listed.is_none())
}

/// The names in a directory; an absent one has none.
fn list(disk: &dyn ReadDisk, dir: &Path) -> Result<Vec<(String, EntryKind)>, Failure> {
    match disk.list(dir) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| (entry.name, entry.kind)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(not_a_store(dir, "list", error)),
    }
}

fn read(disk: &dyn ReadDisk, path: &Path) -> Result<RawCopy, Failure> {
    match stat(disk, path)? {
        None => return Ok(RawCopy::Absent),
        Some(entry) if entry.kind != EntryKind::File => return Ok(RawCopy::Other),
        Some(_) => {}
    }
    let file = disk.open_read(path).map_err(|error| failed("open", path, error))?;
    let mut bytes = vec![0; IDENTITY_LEN + 1];
    let len = file.read_at(&mut bytes, 0).map_err(|error| failed("read", path, error))?;
    bytes.truncate(len);
    Ok(RawCopy::Bytes(bytes))
}

/// The entry at a path; below something that is no directory there is nothing.
fn stat(disk: &dyn ReadDisk, path: &Path) -> Result<Option<Entry>, Failure> {
    match disk.stat(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        other => other.map_err(|error| failed("stat", path, error)),
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("{what} {}", path.display()), error)
}

/// A path that cannot be a store's directory is the caller's mistake, all else is the disk's.
pub(super) fn not_a_store(dir: &Path, what: &str, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let dir = dir.display();
            Failure::Config(format!(
                "{dir} does not exist; create a store with 'rekindle serve --data {dir}'"
            ))
        }
        io::ErrorKind::NotADirectory => {
            Failure::Config(format!("{} is no directory; name another one", dir.display()))
        }
        _ => failed(what, dir, error),
    }
}
