//! Alerts: rules over figures, judged from time to time, with a memory of what fires.
//!
//! Invariants: judging is pure (`figures` and thresholds in, changes out) and touches no clock; a
//! rule changes its state only at a look, and each change is told once: in the log, to the webhook,
//! and by what `/v1/alerts` and the metrics show.

mod damage;
pub mod figures;
pub mod rules;
mod watch;
mod webhook;

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

pub use damage::{Damage, Damages, TOLD_APART_MAX};
pub use figures::Figures;
pub use rules::{DAMAGE, RULES, Rule, Thresholds};
pub use watch::{LAST_NOTICES, Watching};
pub use webhook::{Delivered, WAITING_MAX};

/// Looks in a row that must be good before a rule that fires is resolved.
const QUIET_LOOKS: u32 = 2;

/// Settings of alerts that are no thresholds of rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertSettings {
    /// `alerts.interval`
    pub interval: std::time::Duration,
    /// `alerts.webhook`
    pub webhook: Option<crate::posting::Target>,
    /// The rest of `alerts.*`.
    pub thresholds: Thresholds,
}

/// Whether a rule fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Firing,
    /// It does not.
    #[default]
    Resolved,
}

/// How one rule stands; what `/v1/alerts` shows and the webhook is sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// Its name.
    pub alert: &'static str,
    /// Whether it fires.
    pub state: State,
    /// Since when, milliseconds since 1970; `None`: it never fired in this run.
    pub since: Option<u64>,
    /// The number that was judged last.
    pub value: Option<f64>,
    /// What it is measured against.
    pub threshold: f64,
    /// What both count.
    pub unit: &'static str,
    /// What is the matter, in words; empty where nothing is.
    pub summary: String,
    /// What to do.
    pub next_step: &'static str,
}

/// A rule's memory.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    state: State,
    since: Option<u64>,
    /// Looks in a row that spoke for the other state.
    against: u32,
}

/// What the mutex guards.
#[derive(Debug, Default)]
struct Seen {
    figures: Figures,
    memories: Vec<Memory>,
}

/// All rules of a server.
#[derive(Debug)]
pub struct Alerts {
    seen: Mutex<Seen>,
    thresholds: Thresholds,
    /// Damage that was met while serving.
    pub damages: Damages,
    /// What became of what the webhook was sent.
    pub delivered: Delivered,
}

impl Alerts {
    /// Rules with these thresholds, none of which fires.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        let memories = vec![Memory::default(); RULES.len()];
        let seen = Mutex::new(Seen { figures: Figures::default(), memories });
        let (damages, delivered) = (Damages::default(), Delivered::default());
        Self { seen, thresholds, damages, delivered }
    }

    /// Judges these figures at this wall time; answers the rules whose state changed.
    pub fn judge(&self, figures: Figures, wall_ms: u64) -> Vec<Alert> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        let thresholds = &self.thresholds;
        for (rule, memory) in RULES.iter().zip(&mut seen.memories) {
            if memory.look(rule, (rule.value)(&figures), (rule.threshold)(thresholds), wall_ms) {
                changed.push(shown(rule, *memory, &figures, thresholds));
            }
        }
        seen.figures = figures;
        changed
    }

    /// All rules as they stand.
    #[must_use]
    pub fn all(&self) -> Vec<Alert> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let both = RULES.iter().zip(&seen.memories);
        both.map(|(rule, memory)| shown(rule, *memory, &seen.figures, &self.thresholds)).collect()
    }

    /// Those that fire.
    #[must_use]
    pub fn firing(&self) -> Vec<Alert> {
        let mut alerts = self.all();
        alerts.retain(|alert| alert.state == State::Firing);
        alerts
    }

    /// The figures of the last look.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).figures.clone()
    }
}

impl Memory {
    /// One look at a rule; whether its state changed.
    fn look(&mut self, rule: &Rule, value: Option<f64>, threshold: f64, wall_ms: u64) -> bool {
        let Some(value) = value else { return false };
        let (against, needed, next) = match self.state {
            State::Resolved => (rule.is_bad(value, threshold), rule.looks, State::Firing),
            State::Firing => (rule.is_clear(value, threshold), QUIET_LOOKS, State::Resolved),
        };
        self.against = if against { self.against + 1 } else { 0 };
        let changes = self.against >= needed;
        if changes {
            *self = Self { state: next, since: Some(wall_ms), against: 0 };
        }
        changes
    }
}

fn shown(rule: &Rule, memory: Memory, figures: &Figures, thresholds: &Thresholds) -> Alert {
    let firing = memory.state == State::Firing;
    Alert {
        alert: rule.name,
        state: memory.state,
        since: memory.since,
        value: (rule.value)(figures),
        threshold: (rule.threshold)(thresholds),
        unit: rule.unit,
        summary: if firing { (rule.summary)(figures) } else { String::new() },
        next_step: rule.next_step,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
