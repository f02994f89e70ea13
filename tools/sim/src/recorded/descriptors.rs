//! What the descriptors of a recorded process stand for.
//!
//! Invariant: only files and folders below the recorded root are here; any other descriptor is none
//! of ours. Copies of a descriptor share their place in the file, as the kernel has it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rekindle_env::WriteFile;

/// An open file, for all descriptors that came from one opening.
#[derive(Debug)]
pub struct OpenFile {
    /// The file on the simulated disk.
    pub file: Box<dyn WriteFile>,
    /// Under which name it was opened.
    pub path: PathBuf,
    /// Whether each write goes to the end.
    pub append: bool,
    /// Where the next plain write or read goes.
    pub offset: Cell<u64>,
}

/// What a descriptor stands for.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file.
    File(Rc<OpenFile>),
    /// A folder, by its path on the simulated disk.
    Folder(PathBuf),
}

impl Target {
    /// The path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(open) => &open.path,
            Self::Folder(path) => path,
        }
    }
}

/// The descriptors of one process.
#[derive(Debug, Default)]
pub struct Descriptors {
    targets: BTreeMap<i64, Target>,
}

impl Descriptors {
    /// What a descriptor stands for; `None`: nothing of ours.
    #[must_use]
    pub fn get(&self, descriptor: Option<i64>) -> Option<&Target> {
        self.targets.get(&descriptor?)
    }

    /// The file behind a descriptor.
    #[must_use]
    pub fn file(&self, descriptor: Option<i64>) -> Option<Rc<OpenFile>> {
        match self.get(descriptor)? {
            Target::File(open) => Some(Rc::clone(open)),
            Target::Folder(_) => None,
        }
    }

    /// A descriptor stands for this from now on.
    pub fn give(&mut self, descriptor: i64, target: Option<Target>) {
        match target {
            Some(target) => self.targets.insert(descriptor, target),
            None => self.targets.remove(&descriptor),
        };
    }

    /// A descriptor stands for nothing any more.
    pub fn take(&mut self, descriptor: Option<i64>) {
        if let Some(descriptor) = descriptor {
            self.targets.remove(&descriptor);
        }
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}
