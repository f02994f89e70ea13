//! When a checkpoint is due, measured in seconds of recovery.
//!
//! Pure: figures in, decision out. Rates come from real replays of this store where there were any;
//! until then they are defaults that a slow machine reaches.
//!
//! Invariant: a rate is never zero, so a prediction is always finite.

use std::time::Duration;

/// Rates before anything was measured: a fifth of what a slow machine reaches.
const RECORDS_PER_SECOND: f64 = 200_000.0;
const REPLAY_BYTES_PER_SECOND: f64 = 50.0e6;
const LOAD_BYTES_PER_SECOND: f64 = 100.0e6;

/// A replay shorter than this measures the machine's mood.
const SAMPLE: Duration = Duration::from_millis(20);

/// So do fewer records than this, and fewer bytes: what they took is what any start takes.
const SAMPLE_RECORDS: u64 = 1_000;
const SAMPLE_BYTES: u64 = 1 << 20;

/// What of a measured rate is believed: the next start may be cold.
const TRUST: f64 = 0.7;

/// The part of the time at which a checkpoint begins: writing it takes time too.
const BEGIN_AT: f64 = 0.75;

/// However large the state is, this part of the time stays for replay; otherwise a state that takes
/// longer than `max_time` to load would be written over and over.
const REPLAY_SHARE_MIN: f64 = 0.25;

/// What a start would replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Transactions behind the newest named checkpoint's `replay_from`.
    pub records: u64,
    /// Bytes of journal behind it.
    pub bytes: u64,
}

/// How long a start would take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Reading the newest checkpoint.
    pub load: Duration,
    /// Replaying what lies behind it.
    pub replay: Duration,
}

impl Prediction {
    /// Both.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.load.saturating_add(self.replay)
    }
}

/// Decides when the next checkpoint is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    max_time: Duration,
    history_bytes_max: u64,
    records_per_second: f64,
    replay_bytes_per_second: f64,
    load_bytes_per_second: f64,
}

impl Policy {
    /// A policy that keeps recovery under `max_time`, and history, which only a newer checkpoint
    /// lets go, under `history_bytes_max`.
    #[must_use]
    pub fn new(max_time: Duration, history_bytes_max: u64) -> Self {
        Self {
            max_time,
            history_bytes_max,
            records_per_second: RECORDS_PER_SECOND,
            replay_bytes_per_second: REPLAY_BYTES_PER_SECOND,
            load_bytes_per_second: LOAD_BYTES_PER_SECOND,
        }
    }

    /// Learns from a replay of this store. Short ones teach nothing.
    pub fn replayed(&mut self, what: Since, took: Duration) {
        if took < SAMPLE {
            return;
        }
        let bytes_rate = believed(what.bytes, took);
        if what.records >= SAMPLE_RECORDS {
            self.records_per_second = believed(what.records, took);
            if what.bytes > 0 {
                self.replay_bytes_per_second = bytes_rate;
            }
        } else if what.records > 0 && what.bytes >= SAMPLE_BYTES {
            // Most of these bytes may only have been checked, which is quicker.
            self.replay_bytes_per_second = self.replay_bytes_per_second.min(bytes_rate);
        }
    }

    /// Learns from loading a checkpoint of `bytes`.
    pub fn loaded(&mut self, bytes: u64, took: Duration) {
        if took >= SAMPLE && bytes > 0 {
            self.load_bytes_per_second = believed(bytes, took);
        }
    }

    /// How long a start would take now. Of the two replay rates the slower one counts.
    #[must_use]
    pub fn predict(&self, since: Since, checkpoint_bytes: u64) -> Prediction {
        let by_records = seconds(since.records, self.records_per_second);
        let by_bytes = seconds(since.bytes, self.replay_bytes_per_second);
        Prediction {
            load: seconds(checkpoint_bytes, self.load_bytes_per_second),
            replay: by_records.max(by_bytes),
        }
    }

    /// Whether a checkpoint should begin now.
    #[must_use]
    pub fn is_due(&self, since: Since, checkpoint_bytes: u64, history_bytes: u64) -> bool {
        if since == Since::default() {
            return false;
        }
        // The floor follows the older of two checkpoints, so half must be enough for each.
        if history_bytes > self.history_bytes_max / 2 {
            return true;
        }
        let predicted = self.predict(since, checkpoint_bytes);
        let begin_at = self.max_time.mul_f64(BEGIN_AT).saturating_sub(predicted.load);
        predicted.replay >= begin_at.max(self.max_time.mul_f64(REPLAY_SHARE_MIN))
    }
}

/// The cautious part of a measured rate, at least one per second.
fn believed(amount: u64, took: Duration) -> f64 {
    (as_f64(amount) / took.as_secs_f64() * TRUST).max(1.0)
}

fn seconds(amount: u64, rate: f64) -> Duration {
    debug_assert!(rate >= 1.0 && rate.is_finite(), "a rate is never zero");
    // 2^64 units at one per second is the largest, which a Duration holds.
    Duration::try_from_secs_f64(as_f64(amount) / rate).unwrap_or(Duration::MAX)
}

fn as_f64(amount: u64) -> f64 {
    // Beyond 2^53 the rounding is far below what a prediction means.
    #[allow(clippy::cast_precision_loss)]
    let amount = amount as f64;
    amount
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn since(records: u64, bytes: u64) -> Since {
        Since { records, bytes }
    }

    #[test]
    fn due_before_recovery_would_take_too_long() {
        let mut policy = Policy::new(5 * SECOND, 1 << 30);
        policy.replayed(since(2_000_000, 200_000_000), SECOND);
        policy.loaded(1_000_000_000, SECOND);
        assert!(!policy.is_due(since(0, 0), 0, u64::MAX), "nothing new, nothing to write");
        assert!(!policy.is_due(since(1_000_000, 100_000_000), 0, 0));
        // 0.7 of the measured rate: 1.4 M records per second, 3.75 s of 5 s.
        assert!(!policy.is_due(since(5_200_000, 500_000_000), 0, 0));
        assert!(policy.is_due(since(5_300_000, 500_000_000), 0, 0));
        assert!(policy.is_due(since(10, 600_000_000), 0, 0), "few, but large");
        let predicted = policy.predict(since(1_400_000, 0), 700_000_000);
        assert_eq!(predicted.total().as_millis(), 2_000);
    }

    #[test]
    fn a_state_that_loads_too_long_does_not_checkpoint_for_ever() {
        let mut policy = Policy::new(4 * SECOND, 1 << 30);
        policy.loaded(1_000_000_000, SECOND);
        policy.replayed(since(1_000_000, 100_000_000), SECOND);
        let state = 100_000_000_000;
        assert!(policy.predict(since(1, 1), state).load > 100 * SECOND);
        assert!(!policy.is_due(since(600_000, 60_000_000), state, 0));
        assert!(policy.is_due(since(720_000, 60_000_000), state, 0), "a quarter of the time");
    }

    #[test]
    fn history_asks_for_a_checkpoint() {
        let policy = Policy::new(5 * SECOND, 1_000);
        assert!(!policy.is_due(since(1, 1), 0, 500));
        assert!(policy.is_due(since(1, 1), 0, 501));
    }

    #[test]
    fn odd_measurements_change_little() {
        let mut policy = Policy::new(5 * SECOND, 1 << 30);
        let before = policy.clone();
        policy.replayed(since(1, 1), Duration::from_millis(1));
        policy.replayed(since(0, 100), SECOND);
        // A start of a few records on a disk that hung: no rate, or each hundred would be due.
        policy.replayed(since(999, (1 << 20) - 1), Duration::MAX);
        policy.loaded(0, SECOND);
        policy.loaded(100, Duration::ZERO);
        assert_eq!(policy, before);
        // A segment of which little was replayed and the rest only checked.
        policy.replayed(since(5, 60_000_000), Duration::from_millis(60));
        policy.replayed(since(0, 60_000_000), SECOND);
        assert_eq!(policy, before);
        policy.replayed(since(100, 50_000_000), 10 * SECOND);
        assert!(policy.predict(since(100, 50_000_000), 0).replay > 10 * SECOND, "a slow disk");
        policy.replayed(since(1_000, 1), Duration::MAX);
        assert_eq!(policy.predict(since(7, 0), 0).replay, 7 * SECOND, "one per second at least");
        assert!(policy.predict(since(u64::MAX, u64::MAX), u64::MAX).total() > SECOND);
    }
}
