//! How much work of one line may be handed out: limits of number and rate, and the window through
//! which a backlog becomes deliverable again after a start.
//!
//! Invariants: a limit is never passed by what this run hands out; a bucket that a start finds
//! begins empty, since nobody knows what the run before had handed out; a window never holds work
//! back that has a free place in it.

use crate::jobs::JobSettings;

/// The first pause between two reports of a window that stays full, milliseconds.
const BACKPRESSURE_MS: u64 = 50;
/// The longest.
const BACKPRESSURE_MS_MAX: u64 = 5_000;

/// A token bucket: so many in so long, up to so many at once.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    count: u64,
    per_ms: u64,
    /// Tokens, in parts of `per_ms`.
    credit: u64,
    counted_ms: u64,
    /// Somebody went away for want of a token.
    starved: bool,
}

impl Bucket {
    fn full(&self) -> u64 {
        self.count.saturating_mul(self.per_ms)
    }

    fn refill(&mut self, now: u64) {
        let passed = now.saturating_sub(self.counted_ms);
        self.counted_ms = self.counted_ms.max(now);
        let earned = passed.saturating_mul(self.count);
        self.credit = self.credit.saturating_add(earned).min(self.full());
    }

    fn tokens(&self) -> u64 {
        self.credit / self.per_ms
    }
}

/// The backlog of a start on its way to those who work.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    capacity: u64,
    /// Work that the start found and that is not in the window yet.
    waiting: u64,
    /// Work in the window.
    open: u64,
    /// Reports since it last moved.
    attempt: u32,
    /// When the next one is due, log time.
    report_ms: u64,
}

/// A window that stays full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backpressure {
    /// Which report since the window last moved, from 1.
    pub(crate) attempt: u32,
    /// Until the next one, milliseconds.
    pub(crate) backoff_ms: u64,
}

/// How much may be handed out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Most units in work at once; 0: no limit.
    concurrency: u64,
    bucket: Option<Bucket>,
    window: Window,
}

impl Pace {
    /// By these settings, everything allowed at once.
    pub(crate) fn of(settings: &JobSettings) -> Self {
        let mut pace = Self::default();
        pace.set(settings);
        pace
    }

    /// New settings; what was handed out by the old ones counts.
    pub(crate) fn set(&mut self, settings: &JobSettings) {
        self.concurrency = u64::from(settings.concurrency);
        let rate = settings.rate;
        if rate.count == 0 || rate.per_ms == 0 {
            self.bucket = None;
            return;
        }
        let (count, per_ms) = (u64::from(rate.count), rate.per_ms);
        let same = self.bucket.filter(|old| old.count == count && old.per_ms == per_ms);
        let mut new = Bucket { count, per_ms, credit: 0, counted_ms: 0, starved: false };
        new.credit = new.full();
        self.bucket = Some(same.unwrap_or(new));
    }

    /// A start found this line, with so much ready work that goes through a window of this size.
    pub(crate) fn restored(&mut self, now: u64, ready: u64, capacity: u64) -> u64 {
        if let Some(bucket) = &mut self.bucket {
            (bucket.credit, bucket.counted_ms) = (0, now);
        }
        let report_ms = now.saturating_add(BACKPRESSURE_MS);
        let capacity = capacity.max(1);
        self.window = Window { capacity, waiting: ready, report_ms, ..Window::default() };
        self.window.admit()
    }

    /// Whether the end of one unit makes place for another.
    pub(crate) fn is_limited(&self) -> bool {
        self.concurrency > 0
    }

    /// How many of `max` may be handed out while so many are in work.
    pub(crate) fn allowed(&mut self, max: usize, in_work: u64, now: u64) -> usize {
        let mut allowed = max as u64;
        if self.concurrency > 0 {
            allowed = allowed.min(self.concurrency.saturating_sub(in_work));
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(now);
            let tokens = bucket.tokens();
            bucket.starved |= tokens < allowed;
            allowed = allowed.min(tokens);
        }
        if self.window.waiting > 0 {
            allowed = allowed.min(self.window.open);
        }
        usize::try_from(allowed).unwrap_or(max)
    }

    /// So many were taken. Answers how many of the backlog came into the window for them.
    pub(crate) fn took(&mut self, count: usize, now: u64) -> u64 {
        let count = count as u64;
        if let Some(bucket) = &mut self.bucket {
            bucket.credit = bucket.credit.saturating_sub(count.saturating_mul(bucket.per_ms));
        }
        let window = &mut self.window;
        if count == 0 || window.waiting + window.open == 0 {
            return 0;
        }
        window.open = window.open.saturating_sub(count);
        (window.attempt, window.report_ms) = (0, now.saturating_add(BACKPRESSURE_MS));
        window.admit()
    }

    /// One of them was not handed out after all.
    pub(crate) fn gave_back(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.credit = bucket.credit.saturating_add(bucket.per_ms).min(bucket.full());
        }
    }

    /// Whether there is a token again for somebody who went away without.
    pub(crate) fn refills(&mut self, now: u64) -> bool {
        let Some(bucket) = &mut self.bucket else { return false };
        bucket.refill(now);
        let refills = bucket.starved && bucket.tokens() > 0;
        bucket.starved &= !refills;
        refills
    }

    /// When there is.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let bucket = self.bucket.as_ref().filter(|bucket| bucket.starved)?;
        let missing = bucket.per_ms.saturating_sub(bucket.credit);
        Some(bucket.counted_ms.saturating_add(missing.div_ceil(bucket.count)))
    }

    /// A report is due: the backlog waits, and the window stays full.
    pub(crate) fn backpressure(&mut self, now: u64) -> Option<Backpressure> {
        let window = &mut self.window;
        if window.waiting == 0 || now < window.report_ms {
            return None;
        }
        window.attempt = window.attempt.saturating_add(1);
        let backoff_ms = pause_ms(window.attempt);
        window.report_ms = now.saturating_add(backoff_ms);
        Some(Backpressure { attempt: window.attempt, backoff_ms })
    }

    /// When the next report is due.
    pub(crate) fn report_ms(&self) -> Option<u64> {
        (self.window.waiting > 0).then_some(self.window.report_ms)
    }
}

/// 50 ms x 1.5^n to 5 s.
fn pause_ms(attempt: u32) -> u64 {
    let mut pause = BACKPRESSURE_MS;
    for _ in 0..attempt.min(16) {
        pause = (pause + pause / 2).min(BACKPRESSURE_MS_MAX);
    }
    pause
}

impl Window {
    /// Fills the free places; answers how many came in.
    fn admit(&mut self) -> u64 {
        let count = self.capacity.saturating_sub(self.open).min(self.waiting);
        self.open += count;
        self.waiting -= count;
        debug_assert!(self.open <= self.capacity, "a window holds what it may");
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Rate;

    fn paced(concurrency: u32, count: u32, per_ms: u64) -> Pace {
        let rate = Rate { count, per_ms };
        Pace::of(&JobSettings { concurrency, rate, ..JobSettings::default() })
    }

    /// proves: J10
    #[test]
    fn no_more_are_in_work_than_may_be() {
        let mut pace = paced(3, 0, 0);
        assert_eq!(pace.allowed(10, 0, 1), 3);
        assert_eq!(pace.allowed(10, 2, 1), 1);
        assert_eq!(pace.allowed(10, 5, 1), 0);
        assert!(pace.is_limited() && pace.next_ms().is_none());
    }

    /// In every span of `per_ms`, at most twice the count: what was saved, and what was earned.
    ///
    /// proves: J10
    #[test]
    fn a_rate_is_kept_and_tells_when_it_goes_on() {
        let mut pace = paced(0, 4, 1_000);
        assert_eq!(pace.allowed(10, 0, 5_000), 4);
        pace.took(4, 5_000);
        assert_eq!(pace.allowed(10, 0, 5_100), 0);
        assert_eq!(pace.next_ms(), Some(5_250));
        assert!(!pace.refills(5_249) && pace.refills(5_250) && !pace.refills(5_250));
        assert_eq!(pace.allowed(10, 0, 5_500), 2);
        pace.took(2, 5_500);
        pace.gave_back();
        assert_eq!(pace.allowed(10, 0, 5_500), 1);
        let mut restored = paced(0, 4, 1_000);
        restored.restored(9_000, 0, 100);
        assert_eq!(restored.allowed(10, 0, 9_000), 0, "nobody knows what was handed out before");
        assert_eq!(restored.allowed(10, 0, 9_250), 1);
    }

    /// The window is refilled by what is taken, and says when it stays full, more and more rarely.
    ///
    /// proves: J4
    #[test]
    fn a_backlog_goes_through_its_window() {
        let mut pace = Pace::default();
        assert_eq!(pace.restored(1_000, 150, 100), 100);
        assert_eq!(pace.backpressure(1_000), None, "it is full for no time yet");
        let mut told = Vec::new();
        let mut now = 1_000;
        while told.len() < 14 {
            now = pace.report_ms().expect("a backlog waits");
            told.extend(pace.backpressure(now));
        }
        let pauses: Vec<u64> = told.iter().map(|one| one.backoff_ms).collect();
        let mut expected = vec![75, 112, 168, 252, 378, 567, 850, 1_275, 1_912, 2_868, 4_302];
        expected.extend([5_000, 5_000, 5_000]);
        assert_eq!(pauses, expected);
        assert_eq!(told.first().map(|one| one.attempt), Some(1));
        assert_eq!(pace.allowed(1_000, 0, now), 100);
        assert_eq!(pace.took(30, now), 30);
        assert_eq!((pace.window.waiting, pace.backpressure(now)), (20, None), "it moved");
        assert_eq!(pace.took(100, now), 20);
        assert_eq!((pace.window.waiting, pace.report_ms()), (0, None));
        assert_eq!(pace.allowed(1_000, 0, now), 1_000);
    }
}
