//! The quarantine: what recovery takes out of the way and does not throw away.
//!
//! Invariants: nothing in it is ever read again by a start; it has at most [`FILES_MAX`] files and,
//! unless one alone has more, [`BYTES_MAX`] bytes: the oldest go first. What is no file (a
//! directory or a link that stood in a file's place) is moved here too, and left to a person.

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{Disk, Entry, EntryKind, durable};

use crate::numbers::NUMBER_MAX;

/// The folder's name inside a store.
pub const DIRECTORY: &str = "quarantine";

/// Files that are kept.
pub const FILES_MAX: usize = 32;

/// Bytes that are kept; the newest file is kept whatever its length.
pub const BYTES_MAX: u64 = 1 << 30;

/// A free name in the quarantine `dir` for a file of `len` bytes, for which room is made. Names
/// begin with a number that grows: `wall_ms`, or more where that is not above all others.
pub fn place(
    disk: &dyn Disk,
    dir: &Path,
    wall_ms: u64,
    name: &str,
    len: u64,
) -> io::Result<PathBuf> {
    make(disk, dir)?;
    let entries = disk.list(dir)?;
    let mut files: Vec<&Entry> =
        entries.iter().filter(|entry| entry.kind == EntryKind::File).collect();
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut bytes: u64 = files.iter().fold(len, |sum, entry| sum.saturating_add(entry.len));
    let mut count = files.len() + 1;
    for oldest in files {
        if count <= FILES_MAX && bytes <= BYTES_MAX {
            break;
        }
        durable::remove_file(disk, &dir.join(&oldest.name))?;
        bytes = bytes.saturating_sub(oldest.len);
        count -= 1;
    }
    debug_assert!(count <= FILES_MAX, "room was made");
    let highest = entries.iter().filter_map(|entry| number(&entry.name)).max().unwrap_or(0);
    let mut number = wall_ms.min(NUMBER_MAX).max(highest + 1);
    loop {
        let path = dir.join(format!("{number:016x}-{name}"));
        if disk.stat(&path)?.is_none() {
            return Ok(path);
        }
        number += 1;
    }
}

/// Makes the folder. What stands in its place and is no folder, a link to one included, would take
/// or lead away what is set aside: it is moved to a free name beside it.
pub fn make(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    if disk.stat(dir)?.is_some_and(|entry| entry.kind != EntryKind::Directory) {
        let mut number: u64 = 1;
        let aside = loop {
            let aside = dir.with_extension(number.to_string());
            if disk.stat(&aside)?.is_none() {
                break aside;
            }
            number += 1;
        };
        durable::rename(disk, dir, &aside)?;
    }
    durable::create_dir_all(disk, dir)
}

/// Moves a file, directory or link to the quarantine of the store `dir`.
pub fn set_aside(disk: &dyn Disk, store: &Path, wall_ms: u64, path: &Path) -> io::Result<()> {
    let len = disk.stat(path)?.map_or(0, |entry| entry.len);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let target = place(disk, &store.join(DIRECTORY), wall_ms, &name.unwrap_or_default(), len)?;
    durable::rename(disk, path, &target)
}

/// Makes the place of a file free of what is no file: a directory or a link.
pub fn clear_place(disk: &dyn Disk, store: &Path, path: &Path) -> io::Result<()> {
    match disk.stat(path)? {
        Some(entry) if entry.kind != EntryKind::File => set_aside(disk, store, 0, path),
        _ => Ok(()),
    }
}

/// The number that a name begins with; none where it is larger than any of ours.
fn number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.get(..16)?, 16).ok().filter(|number| *number < NUMBER_MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rekindle_env::{ReadDisk as _, SimulatedDisk};

    use super::*;

    fn names(disk: &SimulatedDisk) -> Vec<String> {
        let entries = disk.list(Path::new("store/quarantine")).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    fn aside(disk: &SimulatedDisk, wall_ms: u64, name: &str, len: u64) {
        let path = Path::new("store").join(name);
        durable::create_file(disk, &path, b"x").unwrap();
        disk.open_write(&path).unwrap().set_len(len).unwrap();
        set_aside(disk, Path::new("store"), wall_ms, &path).unwrap();
        assert!(disk.stat(&path).unwrap().is_none());
    }

    fn disk() -> SimulatedDisk {
        let disk = SimulatedDisk::new(1);
        durable::create_dir_all(&disk, Path::new("store")).unwrap();
        disk
    }

    #[test]
    fn the_oldest_go_above_a_number_of_files() {
        let disk = disk();
        for number in 0..FILES_MAX as u64 + 3 {
            // The clock stands still, or goes back: names grow all the same.
            aside(&disk, 900 - number, "a", 10);
        }
        let kept = names(&disk);
        assert_eq!(kept.len(), FILES_MAX);
        assert_eq!(kept.first().unwrap(), &format!("{:016x}-a", 903));
    }

    #[test]
    fn the_oldest_go_above_a_number_of_bytes_and_the_newest_stays() {
        let disk = disk();
        for (wall_ms, name, len) in [(1, "a", 10), (2, "b", BYTES_MAX - 20), (3, "c", 10)] {
            aside(&disk, wall_ms, name, len);
        }
        assert_eq!(names(&disk).len(), 3, "at the bound");
        aside(&disk, 4, "d", 1);
        assert_eq!(
            names(&disk),
            ["0000000000000002-b", "0000000000000003-c", "0000000000000004-d"]
        );
        aside(&disk, 5, "e", 2 * BYTES_MAX);
        assert_eq!(names(&disk), ["0000000000000005-e"]);
    }

    #[test]
    fn what_is_no_file_is_moved_and_stays() {
        let disk = disk();
        let path = Path::new("store/meta.b");
        durable::create_dir_all(&disk, &path.join("inside")).unwrap();
        clear_place(&disk, Path::new("store"), path).unwrap();
        assert!(disk.stat(path).unwrap().is_none());
        clear_place(&disk, Path::new("store"), path).unwrap();
        for number in 0..FILES_MAX as u64 + 1 {
            aside(&disk, number, "a", 1);
        }
        assert_eq!(names(&disk).len(), FILES_MAX + 1);
        assert!(names(&disk).iter().any(|name| name.ends_with("-meta.b")));
        durable::create_file(&disk, path, b"a file").unwrap();
        clear_place(&disk, Path::new("store"), path).unwrap();
        assert!(disk.stat(path).unwrap().is_some());
    }
}
