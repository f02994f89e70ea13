//! A view of a folder: another folder that looks the same, for a library that would write into it.
//!
//! Small files are copied, the others are symbolic links. A library that replaces or removes files
//! then does so in the view only; one that wrote *into* a file would follow a link, so a view is
//! for libraries whose files, once written, are never changed. Invariant: nothing below the folder
//! that is viewed is changed, and the view is gone when it is dropped.

#![allow(clippy::disallowed_methods)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{EntryKind, NativeFolder, ReadDisk};
use crate::real::RealDisk;

/// Files up to this size are copied.
const COPIED_BYTES_MAX: u64 = 1 << 20;

/// How deep a folder may be.
const DEPTH_MAX: usize = 4;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A folder that goes when this does.
#[derive(Debug)]
pub(crate) struct View {
    path: PathBuf,
}

impl View {
    /// A view of `dir`; of a missing one it is empty.
    pub(crate) fn of(dir: &Path) -> io::Result<NativeFolder> {
        let view = Self::create()?;
        // Links in the view lead there from elsewhere.
        let dir = &std::path::absolute(dir)?;
        match fill(dir, &view.path, DEPTH_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            filled => filled?,
        }
        Ok(NativeFolder { path: view.path.clone(), view: Some(view) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty folder.
    pub(crate) fn create() -> io::Result<Self> {
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("rekindle-view-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self { path }),
            }
        }
    }
}

fn fill(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    for entry in RealDisk::new().list(from)? {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        match entry.kind {
            EntryKind::Directory if depth > 0 => {
                std::fs::create_dir(&target)?;
                fill(&source, &target, depth - 1)?;
            }
            EntryKind::File if entry.len <= COPIED_BYTES_MAX => {
                std::fs::copy(&source, &target)?;
            }
            EntryKind::File => std::os::unix::fs::symlink(&source, &target)?,
            EntryKind::Directory | EntryKind::Other => {}
        }
    }
    Ok(())
}

impl Drop for View {
    fn drop(&mut self) {
        // Links are removed, not followed. What is left is a folder of temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_can_be_ruined_and_the_folder_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tables")).unwrap();
        std::fs::write(dir.path().join("current"), b"1").unwrap();
        let large = vec![7; 2 << 20];
        std::fs::write(dir.path().join("tables/1"), &large).unwrap();
        let view = View::of(dir.path()).unwrap();
        assert_eq!(std::fs::read(view.path.join("tables/1")).unwrap(), large);
        std::fs::write(view.path.join("current"), b"2").unwrap();
        std::fs::remove_file(view.path.join("tables/1")).unwrap();
        let path = view.path.clone();
        drop(view);
        assert!(!path.exists());
        assert_eq!(std::fs::read(dir.path().join("current")).unwrap(), b"1");
        assert_eq!(std::fs::read(dir.path().join("tables/1")).unwrap(), large);
        let missing = View::of(&dir.path().join("missing")).unwrap();
        assert_eq!(std::fs::read_dir(&missing.path).unwrap().count(), 0);
    }
}
