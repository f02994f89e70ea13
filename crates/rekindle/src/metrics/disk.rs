//! A disk that measures the journal's writes and syncs.
//!
//! Invariant: it changes nothing that passes through it. It stands between the database and the
//! real disk, so what is measured is what happened, and the layers below know nothing of metrics.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use rekindle_env::{
    Clock, DirectoryLock, Disk, Entry, Env, LockMode, ReadDisk, ReadFile, WriteFile,
};

/// The directory whose files are measured.
const JOURNAL_DIRECTORY: &str = "journal";

/// What was measured. Clones share it.
#[derive(Clone, Debug)]
pub struct DiskTimes {
    /// Seconds that each sync of a journal file took; failed ones included.
    pub sync_seconds: Histogram,
    /// Bytes of each write to a journal file: one sync group.
    pub write_bytes: Histogram,
}

impl Default for DiskTimes {
    fn default() -> Self {
        Self {
            // 16 us to 4 s: a fast device with a cache, to one that is about to fail.
            sync_seconds: Histogram::new(exponential_buckets(16e-6, 2.0, 19)),
            // 256 B to 16 MiB: one small message, to the largest frame.
            write_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 9)),
        }
    }
}

impl DiskTimes {
    /// The same environment with a disk that is measured.
    #[must_use]
    pub fn measure(&self, env: &Env) -> Env {
        let disk =
            MeasuredDisk { disk: env.disk.clone(), clock: env.clock.clone(), times: self.clone() };
        Env { disk: Arc::new(disk), clock: env.clock.clone(), random: env.random.clone() }
    }
}

/// The disk.
#[derive(Debug)]
struct MeasuredDisk {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    times: DiskTimes,
}

impl MeasuredDisk {
    /// Measures a file when it belongs to the journal.
    fn wrap(&self, path: &Path, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        let directory = path.parent().and_then(Path::file_name);
        if directory.is_none_or(|name| name != JOURNAL_DIRECTORY) {
            return file;
        }
        Box::new(MeasuredFile { file, clock: self.clock.clone(), times: self.times.clone() })
    }
}

impl ReadDisk for MeasuredDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        self.disk.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.disk.stat(path)
    }
}

impl Disk for MeasuredDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.wrap(path, self.disk.create(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.wrap(path, self.disk.open_write(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        self.disk.lock(dir, mode)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.available_bytes(path)
    }
}

/// A file of the journal.
struct MeasuredFile {
    file: Box<dyn WriteFile>,
    clock: Arc<dyn Clock>,
    times: DiskTimes,
}

impl fmt::Debug for MeasuredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl MeasuredFile {
    /// Runs one sync and notes its time.
    fn timed(&self, sync: impl FnOnce(&dyn WriteFile) -> io::Result<()>) -> io::Result<()> {
        let began_ns = self.clock.boot_ns();
        let result = sync(self.file.as_ref());
        let took_ns = self.clock.boot_ns().saturating_sub(began_ns);
        self.times.sync_seconds.observe(std::time::Duration::from_nanos(took_ns).as_secs_f64());
        result
    }
}

impl ReadFile for MeasuredFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
}

impl WriteFile for MeasuredFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let bytes = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        self.times.write_bytes.observe(f64::from(bytes));
        self.file.write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch_hole(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.timed(|file| file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.timed(|file| file.sync_all())
    }
}
