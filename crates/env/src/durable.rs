//! File operations that last: the one place that knows which syncs a change needs.
//!
//! Invariant: once a function here returned `Ok`, a power loss at any later moment leaves its
//! effect; when it fails or the power goes in the middle, the old or the new state is there,
//! except for [`overwrite`], [`create_file`] and [`copy_file`], whose file may be incomplete and
//! must carry its own checksum. After a failed sync the caller must give the file up: the kernel
//! may have dropped its pages.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Entry, EntryKind, ReadDisk, ReadFile};

/// What is appended to a file's name while [`replace_file`] writes its next content.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// How much [`copy_file`] holds in memory.
const COPY_BUFFER_BYTES: usize = 1 << 20;

/// The directory that holds the entry of `path`; `.` for a bare name.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    debug_assert!(path.parent().is_none_or(|parent| parent != path), "a parent is shorter");
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the entry of `path` (its creation, rename or removal) durable.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.sync_dir(parent(path))
}

/// Creates a file that must not exist with this content. A crash may leave it shorter or partly
/// zero, but never after this returned.
pub fn create_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(path)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    sync_parent(disk, path)
}

/// Gives `path` this content, whether it exists or not: a crash leaves the old or the new content,
/// whole. A leftover `.tmp` beside it is replaced.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    assert!(path.file_name().is_some(), "a file has a name");
    let temporary = temporary(path);
    match disk.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    drop(file);
    rename(disk, &temporary, path)
}

/// Writes this content over an existing file, in place, and syncs it. Needs no directory entry, so
/// it costs one sync; a crash in the middle leaves any mixture of old and new sectors.
pub fn overwrite(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open_write(path)?;
    let len = length(bytes);
    file.write_at(bytes, 0)?;
    if file.len()? != len {
        file.set_len(len)?;
    }
    file.sync_data()
}

/// Creates a directory and every missing parent, each entry durable.
pub fn create_dir_all(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut level = path;
    while !level.as_os_str().is_empty() {
        match disk.stat(level)? {
            Some(entry) if entry.kind == EntryKind::File => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Some(_) => {
                // Whoever created it may have been killed before its entry was durable; those above
                // it were made durable first.
                match sync_parent(disk, level) {
                    // Whoever may not open the parent did not create anything in it.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                    synced => synced?,
                }
                break;
            }
            None => missing.push(level.to_path_buf()),
        }
        match level.parent() {
            Some(parent) => level = parent,
            None => break,
        }
    }
    for level in missing.iter().rev() {
        match disk.create_dir(level) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_parent(disk, level)?,
        }
    }
    Ok(())
}

/// Removes a file for good.
pub fn remove_file(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.remove_file(path)?;
    sync_parent(disk, path)
}

/// Renames for good, replacing a file at `to`. The content must have been synced before.
pub fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    assert!(from != to, "a rename to the same name would sync nothing that matters");
    disk.rename(from, to)?;
    sync_parent(disk, to)?;
    if parent(from) == parent(to) { Ok(()) } else { sync_parent(disk, from) }
}

/// Gives a file a second name, which must not exist, for good. The content must have been synced
/// before, and whoever writes to the file afterwards changes it under both names.
pub fn hard_link(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    assert!(from != to, "a second name is another one");
    disk.hard_link(from, to)?;
    sync_parent(disk, to)
}

/// Copies a file to a name that must not exist.
pub fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let source = disk.open_read(from)?;
    let target = disk.create(to)?;
    let mut buf = vec![0; COPY_BUFFER_BYTES];
    let mut offset = 0;
    loop {
        let read = source.read_at(&mut buf, offset)?;
        let Some(part) = buf.get(..read).filter(|part| !part.is_empty()) else { break };
        target.write_at(part, offset)?;
        offset += length(part);
    }
    debug_assert_eq!(target.len()?, offset, "copied to the end");
    target.sync_all()?;
    sync_parent(disk, to)
}

/// Whether an error of a read says that the bytes are not there: the medium does not give them, or
/// something else stands in the file's place. Any other one says something of the machine, such as
/// that too many files are open.
#[must_use]
pub fn is_of_the_medium(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let medium = [Errno::IO, Errno::BADMSG, Errno::NODATA, Errno::UCLEAN, Errno::LOOP];
    let raw = error.raw_os_error();
    medium.iter().any(|it| raw == Some(it.raw_os_error()))
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
        )
}

/// Whether something that is no file stands at this path. It is not opened.
pub fn is_no_file(disk: &(impl ReadDisk + ?Sized), path: &Path) -> io::Result<bool> {
    Ok(disk.stat(path)?.is_some_and(|entry| entry.kind != EntryKind::File))
}

/// What a directory holds: nothing where it is missing, and `None` where something else has its
/// place (a file, or a link that leads to no directory).
pub fn list_folder(disk: &(impl ReadDisk + ?Sized), dir: &Path) -> io::Result<Option<Vec<Entry>>> {
    let error = match disk.list(dir) {
        Ok(entries) => return Ok(Some(entries)),
        Err(error) => error,
    };
    match disk.stat(dir)? {
        Some(entry) if entry.kind != EntryKind::Directory => Ok(None),
        None if error.kind() == io::ErrorKind::NotFound => Ok(Some(Vec::new())),
        _ => Err(error),
    }
}

/// Reads a whole file of at most `limit` bytes; a longer one is refused with
/// [`io::ErrorKind::FileTooLarge`] before anything is allocated.
pub fn read_file(disk: &(impl ReadDisk + ?Sized), path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = disk.open_read(path)?;
    let len = file.len()?;
    let too_large = || {
        let text = format!("{} has {len} bytes, at most {limit} are expected", path.display());
        io::Error::new(io::ErrorKind::FileTooLarge, text)
    };
    if len > limit {
        return Err(too_large());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_large())?];
    let read = file.read_at(&mut bytes, 0)?;
    assert!(read <= bytes.len(), "a disk never reads more than was asked for");
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills `buf` from `offset`; a file that ends before is [`io::ErrorKind::UnexpectedEof`].
pub fn read_exact_at(
    file: &(impl ReadFile + ?Sized),
    buf: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    let wanted = buf.len();
    let read = file.read_at(buf, offset)?;
    assert!(read <= wanted, "a disk never reads more than was asked for");
    if read == wanted {
        return Ok(());
    }
    let text = format!("{wanted} bytes wanted at offset {offset}, the file ends after {read}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a usize fits a u64")
}
