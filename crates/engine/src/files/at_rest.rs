//! What a scrub reads of an engine's files while it is open.

use std::io;

use rekindle_env::ReadFile;

/// A file, or a part of files, that is written and read by nobody for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtRest {
    /// Its name: a path relative to the folder of the engine, or of a family.
    pub file: String,
    /// How much there is to read, bytes, about.
    pub bytes: u64,
}

/// How fast it is read, and from where.
pub trait Pace {
    /// Opens a file that is relative to the folder of the engine.
    ///
    /// # Errors
    /// What the disk answers.
    fn open(&self, file: &str) -> io::Result<Box<dyn ReadFile + '_>>;

    /// So many bytes were read by other means than [`Pace::open`].
    ///
    /// # Errors
    /// When it is to end.
    fn read(&self, bytes: usize) -> io::Result<()>;
}
