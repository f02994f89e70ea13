//! Between images and disks: fixtures come in, damaged stores go out.
//!
//! Invariant: what is loaded and saved is equal to a reader; holes become zeros on the way out.

use std::io;
use std::path::{Path, PathBuf};

use super::image::Image;
use crate::disk::{Disk, EntryKind, ReadDisk};
use crate::durable::{create_dir_all, create_file, read_file};

/// Images live in memory: a larger file has no business in a fixture.
const FILE_BYTES_MAX: u64 = 1 << 30;

impl Image {
    /// The tree below `dir` of a disk, with `dir` as the root of the image.
    pub fn load(disk: &dyn ReadDisk, dir: &Path) -> io::Result<Self> {
        let mut image = Self::new();
        let mut open = vec![PathBuf::new()];
        while let Some(inside) = open.pop() {
            for entry in disk.list(&dir.join(&inside))? {
                let path = inside.join(&entry.name);
                match entry.kind {
                    EntryKind::File => {
                        let bytes = read_file(disk, &dir.join(&path), FILE_BYTES_MAX)?;
                        image.write_file(&path, &bytes)?;
                    }
                    EntryKind::Directory => {
                        image.create_dir_all(&path)?;
                        open.push(path);
                    }
                    EntryKind::Other => {
                        let text = format!("{} is no file or directory", dir.join(&path).display());
                        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
                    }
                }
            }
        }
        Ok(image)
    }

    /// Writes the image into `dir` of a disk, where none of its files may exist.
    pub fn save(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        create_dir_all(disk, dir)?;
        for inside in self.directories() {
            create_dir_all(disk, &dir.join(inside))?;
        }
        for (path, _) in self.files() {
            create_file(disk, &dir.join(&path), &self.read(&path)?)?;
        }
        Ok(())
    }
}
