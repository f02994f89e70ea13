//! A disk that measures the journal's writes and syncs.
//!
//! Invariant: it changes nothing that passes through it. It stands between the database and the
//! real disk, so what is measured is what happened, and the layers below know nothing of metrics.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use rekindle_env::{Change, Clock, Env, Watch};

/// The directory whose files are measured.
const JOURNAL_DIRECTORY: &str = "journal";

/// What was measured. Clones share it.
#[derive(Clone, Debug)]
pub struct DiskTimes {
    /// Seconds that each sync of a journal file took; failed ones included.
    pub sync_seconds: Histogram,
    /// Bytes of each write to a journal file: one sync group.
    pub write_bytes: Histogram,
    running: Arc<Running>,
}

/// The same times as numbers, for who looks from time to time.
#[derive(Debug, Default)]
struct Running {
    count: AtomicU64,
    total_ns: AtomicU64,
    /// When the one that goes on began; 0: none does.
    began_ns: AtomicU64,
}

/// Syncs of the journal so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// How many ended.
    pub count: u64,
    /// How long they took.
    pub total_ns: u64,
    /// How long the one that goes on takes by now.
    pub running_ns: u64,
}

impl Default for DiskTimes {
    fn default() -> Self {
        Self {
            // 16 us to 4 s: a fast device with a cache, to one that is about to fail.
            sync_seconds: Histogram::new(exponential_buckets(16e-6, 2.0, 19)),
            // 256 B to 16 MiB: one small message, to the largest frame.
            write_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 9)),
            running: Arc::default(),
        }
    }
}

impl DiskTimes {
    /// The syncs so far, at this boot time.
    #[must_use]
    pub fn syncs(&self, now_ns: u64) -> Syncs {
        let Running { count, total_ns, began_ns } = &*self.running;
        let began_ns = began_ns.load(Ordering::Relaxed);
        let running_ns = if began_ns == 0 { 0 } else { now_ns.saturating_sub(began_ns) };
        let (count, total_ns) = (count.load(Ordering::Relaxed), total_ns.load(Ordering::Relaxed));
        Syncs { count, total_ns, running_ns }
    }

    /// The same environment with a disk that is measured.
    #[must_use]
    pub fn measure(&self, env: &Env) -> Env {
        let watch = Measuring { clock: env.clock.clone(), times: self.clone() };
        env.clone().watched(Arc::new(watch))
    }
}

/// Who measures.
#[derive(Debug)]
struct Measuring {
    clock: Arc<dyn Clock>,
    times: DiskTimes,
}

/// Whether a file belongs to the journal.
fn is_journal(path: &Path) -> bool {
    let directory = path.parent().and_then(Path::file_name);
    directory.is_some_and(|name| name == JOURNAL_DIRECTORY)
}

impl Watch for Measuring {
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        match change {
            Change::Write { path, bytes, .. } if is_journal(path) => {
                let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.times.write_bytes.observe(f64::from(bytes));
                perform()
            }
            Change::Sync { path } if is_journal(path) => {
                let running = &self.times.running;
                let began_ns = self.clock.boot_ns();
                running.began_ns.store(began_ns.max(1), Ordering::Relaxed);
                let result = perform();
                let took_ns = self.clock.boot_ns().saturating_sub(began_ns);
                running.began_ns.store(0, Ordering::Relaxed);
                running.count.fetch_add(1, Ordering::Relaxed);
                running.total_ns.fetch_add(took_ns, Ordering::Relaxed);
                let took = Duration::from_nanos(took_ns);
                self.times.sync_seconds.observe(took.as_secs_f64());
                result
            }
            _ => perform(),
        }
    }
}
