//! The alert rules: each a pure function of figures and thresholds.
//!
//! Invariants: this table is the only list of rules (`/v1/alerts`, metrics, the webhook and
//! docs/reference.md follow it); each says what to do next.

use std::time::Duration;

use super::figures::Figures;

/// What rules are measured against: `[alerts]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// `alerts.window`
    pub window: Duration,
    /// `alerts.crash_loop`
    pub crash_loop: u64,
    /// `recovery.max_time`
    pub recovery: Duration,
    /// `alerts.review_items`
    pub review_items: u64,
    /// `alerts.poison_attempts`
    pub poison_attempts: u64,
    /// `alerts.dead_letters`
    pub dead_letters: u64,
    /// `alerts.backlog_age`
    pub backlog_age: Duration,
    /// `alerts.disk_free`
    pub disk_free: u64,
    /// `alerts.sync_time`
    pub sync_time: Duration,
}

/// Which side of its threshold is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// At it and above.
    High,
    /// Below it.
    Low,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What its value counts: `seconds`, `bytes`, or things.
    pub unit: &'static str,
    /// Which side is bad.
    pub bad: Bad,
    /// Looks in a row that must be bad before it fires.
    pub looks: u32,
    /// The number that is judged.
    pub value: fn(&Figures) -> Option<f64>,
    /// What it is measured against.
    pub threshold: fn(&Thresholds) -> f64,
    /// What is the matter, in words.
    pub summary: fn(&Figures) -> String,
    /// What to do.
    pub next_step: &'static str,
}

/// Numbers of these sizes are exact enough for a threshold.
#[allow(clippy::cast_precision_loss)]
fn float(number: u64) -> f64 {
    number as f64
}

fn count(number: Option<u64>) -> Option<f64> {
    number.map(float)
}

/// The rule that a person must take note of: what it counts does not go away by itself.
pub const DAMAGE: &str = "corruption_found";

/// All rules, in the order of the documents.
pub static RULES: &[Rule] = &[
    Rule {
        name: "recovery_failed",
        unit: "runs",
        bad: Bad::High,
        looks: 1,
        value: |f| count(f.unclean_ends),
        threshold: |_| 1.0,
        summary: |f| format!("a start was refused or a run died: {}", f.last_end),
        next_step: "look at 'rekindle runs list' and at the log of that run",
    },
    Rule {
        name: "crash_loop",
        unit: "runs",
        bad: Bad::High,
        looks: 1,
        value: |f| count(f.unclean_ends),
        threshold: |t| float(t.crash_loop),
        summary: |f| {
            let runs = f.unclean_ends.unwrap_or(0);
            format!("{runs} runs ended uncleanly in a short time, the last one {}", f.last_end)
        },
        next_step: "keep the supervisor from restarting it, and look at 'rekindle runs list'",
    },
    Rule {
        name: "recovery_slow",
        unit: "seconds",
        bad: Bad::High,
        looks: 1,
        value: |f| f.replay_seconds,
        threshold: |t| t.recovery.as_secs_f64(),
        summary: |f| {
            let time = seconds(f.replay_seconds);
            format!("the replay of a start takes {time:.1} s, which is above its bound")
        },
        next_step: "see whether checkpoints fail (the log, rekindle_checkpoints_failed), or raise \
                    recovery.max_time",
    },
    Rule {
        name: DAMAGE,
        unit: "findings",
        bad: Bad::High,
        looks: 1,
        value: |f| count(f.damages),
        threshold: |_| 1.0,
        summary: |f| format!("damages: {}, one of them: {}", f.damages.unwrap_or(0), f.damage),
        next_step: "check the disk; where it serves: 'rekindle recovery show', take a backup, then \
                    'rekindle alerts acknowledge corruption_found --reason TEXT'; where it is \
                    refused: 'rekindle verify --data DIR' names the ways on",
    },
    Rule {
        name: "review_waiting",
        unit: "items",
        bad: Bad::High,
        looks: 1,
        value: |f| count(f.review_items),
        threshold: |t| float(t.review_items),
        summary: |f| {
            let (items, age) = (f.review_items.unwrap_or(0), f.review_oldest_seconds);
            format!("{items} items wait for a person, the oldest for {age:.0} s")
        },
        next_step: "decide with 'rekindle review list' and 'rekindle review show ID'",
    },
    Rule {
        name: "poison_item",
        unit: "attempts",
        bad: Bad::High,
        looks: 1,
        value: |f| count(f.most_attempts),
        threshold: |t| float(t.poison_attempts),
        summary: |f| {
            format!("a message was handed out for the {}th time", f.most_attempts.unwrap_or(0))
        },
        next_step: "look at its workers, or give the queue a limit with --max-attempts",
    },
    Rule {
        name: "dead_letters",
        unit: "messages",
        bad: Bad::High,
        looks: 1,
        value: |f| count(f.dead_letters),
        threshold: |t| float(t.dead_letters),
        summary: |f| format!("{} messages were dead-lettered lately", f.dead_letters.unwrap_or(0)),
        next_step: "look at the headers rekindle-dead-cause and rekindle-dead-reason of what is in \
                    the dead-letter queues",
    },
    Rule {
        name: "backlog_old",
        unit: "seconds",
        bad: Bad::High,
        looks: 1,
        value: |f| f.backlog_seconds,
        threshold: |t| t.backlog_age.as_secs_f64(),
        summary: |f| {
            let age = seconds(f.backlog_seconds);
            format!("a message of queue {} is ready since {age:.0} s", f.backlog_queue)
        },
        next_step: "see whether its workers run, and start more of them",
    },
    Rule {
        name: "disk_low",
        unit: "bytes",
        bad: Bad::Low,
        looks: 1,
        // What growth may take: nothing while it is refused, whatever is free.
        value: |f| if f.disk_low { Some(0.0) } else { count(f.disk_free_bytes) },
        threshold: |t| float(t.disk_free.max(1)),
        summary: |f| {
            let free = f.disk_free_bytes.unwrap_or(0);
            let refused = if f.disk_low { ", and growth is refused" } else { "" };
            format!("{free} bytes are free on the disk{refused}")
        },
        next_step: "give the disk more space; below what a checkpoint needs, growth is refused \
                    (rekindle_disk_low), and goes on by itself once there is room",
    },
    Rule {
        name: "sync_slow",
        unit: "seconds",
        bad: Bad::High,
        looks: 3,
        value: |f| f.sync_seconds,
        threshold: |t| t.sync_time.as_secs_f64(),
        summary: |f| format!("a sync of the journal takes {:.3} s", seconds(f.sync_seconds)),
        next_step: "look at the disk: what else writes there, and whether it fails",
    },
];

fn seconds(value: Option<f64>) -> f64 {
    value.unwrap_or(0.0)
}

impl Rule {
    /// Whether this value fires.
    pub(super) fn is_bad(&self, value: f64, threshold: f64) -> bool {
        match self.bad {
            Bad::High => value >= threshold,
            Bad::Low => value < threshold,
        }
    }

    /// Whether this value lets go of a rule that fires: clearly on the good side, so that a value
    /// near its threshold does not come and go.
    pub(super) fn is_clear(&self, value: f64, threshold: f64) -> bool {
        match self.bad {
            Bad::High => value < threshold * 0.8,
            Bad::Low => value > threshold * 1.2,
        }
    }
}
