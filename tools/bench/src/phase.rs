//! A load in three phases: warming up, measured, over; threads or tasks look which one it is.
//!
//! Invariant: an operation counts when it ends in the measured phase, so that what was in flight at
//! its borders is counted once; CPU time is read at the same two borders.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rekindle_env::{Clock, SystemClock};

use crate::machine;

/// The part of a load that warms up: caches, thread stacks, the group commit's estimates.
const WARM_UP_SHARE: u32 = 5;

/// Which phase it is.
#[derive(Debug)]
pub(crate) struct Phase {
    now: AtomicU8,
}

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

impl Default for Phase {
    fn default() -> Self {
        Self { now: AtomicU8::new(WARM_UP) }
    }
}

impl Phase {
    /// Whether the load goes on.
    pub(crate) fn goes_on(&self) -> bool {
        self.now.load(Ordering::Relaxed) != OVER
    }

    /// Whether operations count.
    pub(crate) fn counts(&self) -> bool {
        self.now.load(Ordering::Relaxed) == MEASURED
    }
}

/// What one thread or task did while it counted.
#[derive(Debug, Default)]
pub(crate) struct Work {
    operations: u64,
    /// In nanoseconds.
    latencies: Vec<u64>,
}

impl Work {
    /// Notes one operation that began then.
    pub(crate) fn done_since(&mut self, phase: &Phase, began_ns: u64) {
        if phase.counts() {
            self.operations += 1;
            self.latencies.push(now_ns().saturating_sub(began_ns));
        }
    }

    /// Notes operations whose time is not asked for.
    pub(crate) fn done(&mut self, phase: &Phase, operations: u64) {
        if phase.counts() {
            self.operations += operations;
        }
    }
}

/// What a load reached.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// Operations per second.
    pub(crate) per_second: f64,
    /// CPU time of the process that was watched, microseconds per operation.
    pub(crate) cpu_us: f64,
    /// Half of the operations took at most this long; 0 where it was not measured.
    pub(crate) p50_us: f64,
    /// The same for 99 of 100.
    pub(crate) p99_us: f64,
}

/// The border between two phases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Border {
    ns: u64,
    cpu_ns: u64,
}

/// Nanoseconds of the machine's clock.
pub(crate) fn now_ns() -> u64 {
    SystemClock.boot_ns()
}

/// Walks through the phases in the calling thread. `cpu_ns` is the clock of the watched process.
#[allow(clippy::disallowed_methods, reason = "a load runs for a time")]
pub(crate) fn walk(phase: &Phase, time: Duration, cpu_ns: impl Fn() -> u64) -> [Border; 2] {
    let border = || Border { ns: now_ns(), cpu_ns: cpu_ns() };
    std::thread::sleep(time / WARM_UP_SHARE);
    phase.now.store(MEASURED, Ordering::Relaxed);
    let begin = border();
    std::thread::sleep(time);
    phase.now.store(OVER, Ordering::Relaxed);
    [begin, border()]
}

/// Sums up what all did between the borders.
pub(crate) fn reached([begin, end]: [Border; 2], works: Vec<Work>) -> Reached {
    let operations = works.iter().map(|work| work.operations).sum::<u64>().max(1) as f64;
    let mut latencies: Vec<u64> = works.into_iter().flat_map(|work| work.latencies).collect();
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(0.0, |ns| *ns as f64 / 1e3)
    };
    Reached {
        per_second: operations * 1e9 / end.ns.saturating_sub(begin.ns).max(1) as f64,
        cpu_us: end.cpu_ns.saturating_sub(begin.cpu_ns) as f64 / 1e3 / operations,
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// A load of threads; each runs `body` with its number until the phase says that it is over.
pub(crate) fn threads(
    count: usize,
    time: Duration,
    body: impl Fn(usize, &Phase) -> Work + Sync,
) -> Reached {
    threads_watched(count, time, machine::own_cpu_ns, body)
}

/// The same; the CPU time is that of whom this clock watches.
pub(crate) fn threads_watched(
    count: usize,
    time: Duration,
    cpu_ns: impl Fn() -> u64,
    body: impl Fn(usize, &Phase) -> Work + Sync,
) -> Reached {
    let phase = Phase::default();
    let (borders, works) = std::thread::scope(|scope| {
        let (phase, body) = (&phase, &body);
        let start = |number| scope.spawn(move || body(number, phase));
        let running: Vec<_> = (0..count).map(start).collect();
        let borders = walk(phase, time, cpu_ns);
        let join = |thread: std::thread::ScopedJoinHandle<'_, Work>| {
            thread.join().expect("a thread of the load panicked: the figure would be wrong")
        };
        (borders, running.into_iter().map(join).collect())
    });
    reached(borders, works)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_rates_are_of_what_was_measured() {
        let work = |latencies: Vec<u64>| Work { operations: latencies.len() as u64, latencies };
        let begin = Border { ns: 1_000, cpu_ns: 10 };
        let end = Border { ns: 1_000 + 2_000_000_000, cpu_ns: 10 + 400_000 };
        let works = vec![work((1..=100).map(|n| n * 1_000).collect()), work(vec![1_000; 100])];
        let reached = reached([begin, end], works);
        assert!((reached.per_second - 100.0).abs() < 1e-9);
        assert!((reached.cpu_us - 2.0).abs() < 1e-9);
        assert!((reached.p50_us - 1.0).abs() < 2.0);
        assert!((reached.p99_us - 99.0).abs() < 2.0);
    }

    #[test]
    fn only_the_measured_phase_counts() {
        let time = Duration::from_millis(20);
        let reached = threads(2, time, |_, phase| {
            let mut work = Work::default();
            while phase.goes_on() {
                let began = now_ns();
                std::thread::yield_now();
                work.done_since(phase, began);
            }
            work
        });
        assert!(reached.per_second > 1.0 && reached.p50_us <= reached.p99_us);
    }
}
