//! The figures that rules are judged by, at one moment.

use std::collections::VecDeque;
use std::time::Duration;

use rekindle_services::queues::Backlog;

/// How a server stands. `None`: that is not known now, and the rules keep their state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Runs that ended uncleanly within `alerts.window`, refused starts included.
    pub unclean_ends: Option<u64>,
    /// How the last of them ended, in words.
    pub last_end: String,
    /// Seconds that the start's replay took (within `alerts.window` of it), or that one would take
    /// now: what `recovery.max_time` bounds.
    pub replay_seconds: Option<f64>,
    /// Damages that the start found or that were met since, torn ends and what somebody took note
    /// of not counted.
    pub damages: Option<u64>,
    /// One of them, in words.
    pub damage: String,
    /// Reviews.
    pub review_items: Option<u64>,
    /// How long the oldest of them waits.
    pub review_oldest_seconds: f64,
    /// The most attempts of a message that was handed out within `alerts.window`.
    pub most_attempts: Option<u64>,
    /// Messages dead-lettered within `alerts.window`.
    pub dead_letters: Option<u64>,
    /// The age of the oldest ready message.
    pub backlog_seconds: Option<f64>,
    /// Its queue.
    pub backlog_queue: String,
    /// The same of each queue, the first 1,000 by name.
    pub backlog: Vec<Backlog>,
    /// Bytes that can still be written.
    pub disk_free_bytes: Option<u64>,
    /// Growth is refused: what is free and held back is less than the mark of the store.
    pub disk_low: bool,
    /// The mean time of a sync since the last look, or the time that one takes by now.
    pub sync_seconds: Option<f64>,
}

/// Numbers of the last while, each with its time.
#[derive(Debug, Default)]
pub(super) struct Window {
    seen: VecDeque<(u64, u64)>,
}

impl Window {
    /// Whether nothing was ever added.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Adds a number at this boot time, and lets go of what is older than `keep`.
    pub(super) fn add(&mut self, now_ms: u64, value: u64, keep: Duration) {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        while self.seen.front().is_some_and(|(at, _)| at.saturating_add(keep_ms) < now_ms) {
            self.seen.pop_front();
        }
        self.seen.push_back((now_ms, value));
    }

    /// The largest of them.
    pub(super) fn most(&self) -> u64 {
        self.seen.iter().map(|(_, value)| *value).max().unwrap_or(0)
    }

    /// How much a number that only grows grew.
    pub(super) fn growth(&self) -> u64 {
        let value = |entry: Option<&(u64, u64)>| entry.map_or(0, |(_, value)| *value);
        value(self.seen.back()).saturating_sub(value(self.seen.front()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets_what_is_older() {
        let mut window = Window::default();
        let keep = Duration::from_millis(100);
        for (at, value) in [(0, 9), (50, 10), (140, 13)] {
            window.add(at, value, keep);
        }
        assert_eq!((window.most(), window.growth(), window.seen.len()), (13, 3, 2));
        window.add(1_000, 1, keep);
        assert_eq!((window.most(), window.growth()), (1, 0));
    }
}
