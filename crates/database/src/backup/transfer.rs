//! Bringing the store's files into a backup: by a second name where that can be, otherwise copied.
//!
//! Invariants: a file has its name only when it is whole and durable; the store's own file is only
//! read; a file that is there is touched only when it is not what it must be.

use std::io;
use std::path::Path;

use rekindle_env::{Disk, EntryKind, durable};

use super::prove::GoOn;
use crate::error::Error;

/// How much is copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A sync each so many bytes, so that none of them has much to do: the disk's other writers wait
/// for it.
const SYNC_BYTES: u64 = 8 << 20;

/// What stays free where files are copied to.
pub(super) const SPARE_BYTES: u64 = 1 << 20;

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) linked: u64,
    pub(super) copied: u64,
    pub(super) copied_bytes: u64,
    pub(super) kept: u64,
}

/// Who brings files.
pub(super) struct Transfer<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) go_on: &'a GoOn<'a>,
    pub(super) counts: Counts,
}

impl Transfer<'_> {
    /// The length of the file that is there.
    pub(super) fn there(&self, to: &Path) -> Result<Option<u64>, Error> {
        let context = |error| Error::io(format!("looking at {}", to.display()), error);
        match self.disk.stat(to).map_err(context)? {
            None => Ok(None),
            Some(entry) if entry.kind != EntryKind::File => Err(Error::Invalid(format!(
                "{} is no file; move it away, or choose another directory",
                to.display()
            ))),
            Some(entry) => Ok(Some(entry.len)),
        }
    }

    /// Takes away a file that is not what it must be.
    pub(super) fn remove(&self, to: &Path) -> Result<(), Error> {
        durable::remove_file(self.disk, to)
            .map_err(|error| Error::io(format!("removing {}", to.display()), error))
    }

    /// Brings a file of `len` bytes, of which the first `used` count, to a name that is free.
    pub(super) fn bring(
        &mut self,
        from: &Path,
        to: &Path,
        len: u64,
        used: u64,
    ) -> Result<(), Error> {
        assert!(used <= len, "what counts is in the file");
        match durable::hard_link(self.disk, from, to) {
            Ok(()) => {
                self.counts.linked += 1;
                return Ok(());
            }
            Err(error) if cannot_link(&error) => {}
            Err(error) => return Err(failed("linking", to, error)),
        }
        let parent = durable::parent(to);
        let available = self.disk.available_bytes(parent);
        let available = available.map_err(|error| failed("asking for the space of", to, error))?;
        if available < used.saturating_add(SPARE_BYTES) {
            return Err(Error::Full(format!(
                "{} has {available} bytes left and the next file of the backup has {used}; make \
                 room or choose another place",
                parent.display()
            )));
        }
        self.copy(from, to, len, used)?;
        self.counts.copied += 1;
        self.counts.copied_bytes += used;
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path, len: u64, used: u64) -> Result<(), Error> {
        let mut name = to.as_os_str().to_os_string();
        name.push(durable::TEMPORARY_SUFFIX);
        let temporary = Path::new(&name);
        let copied = self.copy_to(from, temporary, len, used);
        if copied.is_err() {
            // Best effort: the next backup removes what is left.
            let _ = self.disk.remove_file(temporary);
        }
        copied?;
        durable::rename(self.disk, temporary, to).map_err(|error| failed("naming", to, error))
    }

    fn copy_to(&self, from: &Path, to: &Path, len: u64, used: u64) -> Result<(), Error> {
        let reading = |error| failed("reading", from, error);
        let writing = |error| failed("writing", to, error);
        let source = self.disk.open_read(from).map_err(reading)?;
        let target = self.disk.create(to).map_err(writing)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let (mut offset, mut synced) = (0, 0);
        while offset < used {
            let want = usize::try_from(used - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            (self.go_on)(want as u64)?;
            let piece = buffer.get_mut(..want).unwrap_or_default();
            durable::read_exact_at(&*source, piece, offset).map_err(reading)?;
            target.write_at(piece, offset).map_err(writing)?;
            offset += want as u64;
            if offset - synced >= SYNC_BYTES {
                target.sync_data().map_err(writing)?;
                synced = offset;
            }
        }
        target.set_len(len).map_err(writing)?;
        target.sync_all().map_err(writing)
    }
}

/// Whether a second name cannot be had here; then the file is copied.
fn cannot_link(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()), error)
}
