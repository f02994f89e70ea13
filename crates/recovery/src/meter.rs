//! How far a recovery is: which layer and stage, bytes and records done of how many.
//!
//! A [`Meter`] is handed down to whoever works and looked at by whoever waits. Invariants: work
//! adds to it once per block, frame or page, never per record; what is done never shrinks; looking
//! at it changes nothing that work sees.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rekindle_env::{Entry, Inode, NativeFolder, NativeMode, ReadDisk, ReadFile};

use crate::report::Stage;

/// A rate is that of the last so many nanoseconds, at least: shorter ones measure single reads.
const WINDOW_NS: u64 = 500_000_000;

/// `records_total` while nobody knows it.
const UNKNOWN: u64 = u64::MAX;

/// A recovery's progress; its copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    at: Mutex<At>,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    records_done: AtomicU64,
    records_total: AtomicU64,
    rate: Mutex<Rate>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            at: Mutex::default(),
            bytes_done: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            records_done: AtomicU64::new(0),
            records_total: AtomicU64::new(UNKNOWN),
            rate: Mutex::default(),
        }
    }
}

/// Where it is.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    layer: Option<&'static str>,
    stage: Option<Stage>,
}

/// The bytes of one window, for the rate.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    since_ns: Option<u64>,
    since_bytes: u64,
    bytes_per_second: u64,
}

/// How far a recovery is, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The layer that works; `None` before the first.
    pub layer: Option<&'static str>,
    /// Its stage.
    pub stage: Option<Stage>,
    /// Bytes read.
    pub bytes_done: u64,
    /// Bytes to be read, those included; an estimate until the journal was scanned.
    pub bytes_total: u64,
    /// Rows loaded, records replayed and rows of services looked at.
    pub records_done: u64,
    /// All of them, once that is known.
    pub records_total: Option<u64>,
    /// The rate of the last moments; 0 while nothing moves.
    pub bytes_per_second: u64,
}

impl Reading {
    /// Until all bytes are read at this rate, milliseconds; `None` while nothing moves.
    #[must_use]
    pub fn bytes_left_ms(&self) -> Option<u64> {
        let left = u128::from(self.bytes_total.saturating_sub(self.bytes_done));
        let ms = (left * 1_000).checked_div(u128::from(self.bytes_per_second))?;
        Some(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

impl Meter {
    /// A layer's stage begins.
    pub fn enter(&self, layer: &'static str, stage: Stage) {
        *self.at() = At { layer: Some(layer), stage: Some(stage) };
    }

    /// So much more is done.
    pub fn advance(&self, bytes: u64, records: u64) {
        self.0.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.0.records_done.fetch_add(records, Ordering::Relaxed);
    }

    /// So many bytes are still to be read, as far as one knows now.
    pub fn expect_bytes(&self, left: u64) {
        let total = self.0.bytes_done.load(Ordering::Relaxed).saturating_add(left);
        self.0.bytes_total.store(total, Ordering::Relaxed);
    }

    /// So many records are still to be looked at; `None`: nobody knows.
    pub fn expect_records(&self, left: Option<u64>) {
        let done = self.0.records_done.load(Ordering::Relaxed);
        let total = left.map_or(UNKNOWN, |left| done.saturating_add(left).min(UNKNOWN - 1));
        self.0.records_total.store(total, Ordering::Relaxed);
    }

    /// How far it is. `now_ns` is that of the clock that the rate is measured by.
    #[must_use]
    pub fn reading(&self, now_ns: u64) -> Reading {
        let At { layer, stage } = *self.at();
        let bytes_done = self.0.bytes_done.load(Ordering::Relaxed);
        let records_done = self.0.records_done.load(Ordering::Relaxed);
        let records_total = self.0.records_total.load(Ordering::Relaxed);
        let known = records_total != UNKNOWN;
        Reading {
            layer,
            stage,
            bytes_done,
            bytes_total: self.0.bytes_total.load(Ordering::Relaxed).max(bytes_done),
            records_done,
            records_total: known.then(|| records_total.max(records_done)),
            bytes_per_second: self.rate(now_ns, bytes_done),
        }
    }

    fn rate(&self, now_ns: u64, bytes: u64) -> u64 {
        let mut rate = self.0.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let since_ns = *rate.since_ns.get_or_insert(now_ns);
        let took_ns = now_ns.saturating_sub(since_ns);
        if took_ns < WINDOW_NS {
            return rate.bytes_per_second;
        }
        let done = u128::from(bytes.saturating_sub(rate.since_bytes));
        let per_second = done * 1_000_000_000 / u128::from(took_ns);
        let bytes_per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
        *rate = Rate { since_ns: Some(now_ns), since_bytes: bytes, bytes_per_second };
        bytes_per_second
    }

    fn at(&self) -> std::sync::MutexGuard<'_, At> {
        // Two words without an invariant between them.
        self.0.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk whose reads are counted.
#[derive(Debug)]
pub struct MeteredDisk {
    inner: Arc<dyn ReadDisk>,
    meter: Meter,
}

impl MeteredDisk {
    /// `inner`, whose reads count for `meter`.
    #[must_use]
    pub fn new(inner: Arc<dyn ReadDisk>, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl ReadDisk for MeteredDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let inner = self.inner.open_read(path)?;
        Ok(Box::new(MeteredFile { inner, meter: self.meter.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.inner.stat(path)
    }

    fn inode(&self, dir: &Path) -> io::Result<Option<Inode>> {
        self.inner.inode(dir)
    }

    fn native(&self, dir: &Path, mode: NativeMode) -> io::Result<NativeFolder> {
        self.inner.native(dir, mode)
    }
}

#[derive(Debug)]
struct MeteredFile {
    inner: Box<dyn ReadFile>,
    meter: Meter,
}

impl ReadFile for MeteredFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.inner.read_at(buf, offset)?;
        self.meter.advance(u64::try_from(read).unwrap_or(u64::MAX), 0);
        Ok(read)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.inner.next_data(offset)
    }

    fn forget_cached(&self, offset: u64, len: u64) {
        self.inner.forget_cached(offset, len);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rekindle_env::Disk as _;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_done_counts_against_what_is_expected() {
        let meter = Meter::default();
        assert_eq!(meter.reading(0), Reading::default());
        meter.enter("engine", Stage::Scan);
        meter.expect_bytes(1_000);
        meter.advance(250, 10);
        meter.clone().expect_records(Some(90));
        let reading = meter.reading(0);
        assert_eq!((reading.layer, reading.stage), (Some("engine"), Some(Stage::Scan)));
        assert_eq!((reading.bytes_done, reading.bytes_total), (250, 1_000));
        assert_eq!((reading.records_done, reading.records_total), (10, Some(100)));
        // An estimate that was too small is no total below what is done.
        meter.advance(2_000, 2_000);
        let reading = meter.reading(0);
        assert_eq!((reading.bytes_done, reading.bytes_total), (2_250, 2_250));
        assert_eq!(reading.records_total, Some(2_010));
        meter.expect_bytes(50);
        meter.expect_records(None);
        let reading = meter.reading(0);
        assert_eq!((reading.bytes_total, reading.records_total), (2_300, None));
    }

    /// The rate is that of the last moments, so that a recovery that stood still for an hour does
    /// not promise another hour.
    #[test]
    fn the_rate_is_that_of_the_last_moments() {
        let meter = Meter::default();
        meter.expect_bytes(10_000);
        assert_eq!(meter.reading(0).bytes_left_ms(), None);
        meter.advance(1_000, 0);
        assert_eq!(meter.reading(WINDOW_NS - 1).bytes_per_second, 0);
        let reading = meter.reading(SECOND);
        assert_eq!((reading.bytes_per_second, reading.bytes_left_ms()), (1_000, Some(9_000)));
        assert_eq!(meter.reading(3_600 * SECOND).bytes_left_ms(), None, "nothing moves");
        meter.advance(4_000, 0);
        let reading = meter.reading(3_601 * SECOND);
        assert_eq!((reading.bytes_per_second, reading.bytes_left_ms()), (4_000, Some(1_250)));
        meter.expect_bytes(0);
        assert_eq!(meter.reading(3_602 * SECOND).bytes_left_ms(), None);
    }

    /// What it is asked beside reads it hands on; only reads count.
    #[test]
    fn a_metered_disk_hands_on_what_it_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let disk = rekindle_env::RealDisk::new();
        let path = dir.path().join("file");
        disk.create(&path).unwrap().write_at(b"twelve bytes", 0).unwrap();
        let meter = Meter::default();
        let metered = MeteredDisk::new(Arc::new(disk), meter.clone());
        assert_eq!(metered.inode(dir.path()).unwrap(), disk.inode(dir.path()).unwrap());
        let folder = metered.native(dir.path(), NativeMode::InPlace).unwrap();
        assert_eq!(folder.path, dir.path());
        assert_eq!(metered.stat(&path).unwrap().unwrap().len, 12);
        assert_eq!(metered.list(dir.path()).unwrap().len(), 1);
        let file = metered.open_read(&path).unwrap();
        assert_eq!((file.len().unwrap(), file.next_data(0).unwrap()), (12, 0));
        file.forget_cached(0, 12);
        assert_eq!(meter.reading(0).bytes_done, 0);
        assert_eq!(file.read_at(&mut [0; 20], 0).unwrap(), 12);
        assert_eq!(meter.reading(0).bytes_done, 12);
    }
}
