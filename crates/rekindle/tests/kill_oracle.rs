//! What clients were told over many lives of one server, and what may therefore never happen.
//!
//! Invariants: an entry is made before its message is submitted, so a delivery without one is a
//! message that nobody sent; a grant (message and attempt) is counted once for ever; what was
//! acked successfully is finished. Violations are collected, because they are found in tasks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rekindle_client::{Delivery, Durability, Error};
use tokio::sync::watch;

/// A lease may look shorter than it was by what scheduling and the slewing of log time change.
const LEASE_SLACK: Duration = Duration::from_millis(150);

/// What is known of one message.
#[derive(Debug, Default)]
struct Entry {
    /// The id that the sender was given.
    sent: Option<String>,
    /// The id under which it was first delivered.
    received: Option<String>,
    /// Every attempt that was delivered.
    attempts: Vec<u32>,
    /// Nobody else may get it before.
    leased_until: Option<Instant>,
    /// The attempt whose ack was acknowledged.
    done: Option<u32>,
    /// The newest attempt whose nack was acknowledged or whose token was refused: another one
    /// must follow.
    given_up: u32,
}

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<String, Entry>,
    counts: Counts,
    violations: Vec<String>,
}

/// How much happened; printed, so that a run that tests nothing is seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages that were acknowledged to their sender.
    pub sent: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Deliveries that were not the first of their message.
    pub again: u64,
    /// Acks that were acknowledged.
    pub acked: u64,
    /// Nacks that were acknowledged.
    pub nacked: u64,
    /// Leases that were extended.
    pub extended: u64,
    /// Tokens that were refused.
    pub fenced: u64,
}

/// The one oracle of a test.
#[derive(Debug)]
pub struct Oracle {
    known: Mutex<Known>,
    /// Acknowledgements of any kind, for whoever waits for some.
    events: watch::Sender<u64>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self { known: Mutex::default(), events: watch::channel(0).0 }
    }
}

/// What is done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Finish.
    Ack,
    /// Give back.
    Nack,
    /// Hold for this long from now.
    Extend(Duration),
}

impl Oracle {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// A count of acknowledgements that grows.
    pub fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    /// How much happened.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// A message will be submitted.
    pub fn submits(&self, body: &str) {
        let before = self.lock().entries.insert(body.to_owned(), Entry::default());
        assert!(before.is_none(), "{body} is submitted once");
    }

    /// A submission ended.
    pub fn submitted(&self, body: &str, result: Result<(String, Durability), Error>) {
        let mut known = self.lock();
        match result {
            Ok((id, durability)) => {
                known.counts.sent += 1;
                if durability != Durability::Disk {
                    known.violations.push(format!("{body}: acknowledged as {durability:?}"));
                }
                let entry = known.entries.get_mut(body).unwrap();
                let other = entry.received.as_ref().filter(|received| **received != id).cloned();
                entry.sent = Some(id.clone());
                if let Some(other) = other {
                    known.violations.push(format!("{body}: sent as {id}, delivered as {other}"));
                }
            }
            Err(error) => known.violations.push(format!("{body}: not sent: {error}")),
        }
        drop(known);
        self.events.send_modify(|events| *events += 1);
    }

    /// A message came.
    pub fn delivered(&self, delivery: &Delivery, asked: Instant, visibility: Duration) -> String {
        let mut known = self.lock();
        let body = String::from_utf8_lossy(&delivery.body).into_owned();
        known.counts.delivered += 1;
        let attempt = delivery.attempt;
        let Some(entry) = known.entries.get_mut(&body) else {
            known.violations.push(format!("{body:?} was never sent"));
            return body;
        };
        let mut wrong = Vec::new();
        let first = entry.attempts.is_empty();
        if entry.attempts.contains(&attempt) {
            wrong.push("this grant was delivered before".to_owned());
        }
        if let Some(done) = entry.done.filter(|done| *done < attempt) {
            wrong.push(format!("acked with attempt {done}"));
        }
        let id = entry.received.get_or_insert_with(|| delivery.id.clone());
        if *id != delivery.id || entry.sent.as_ref().is_some_and(|sent| *sent != delivery.id) {
            wrong.push(format!("is there twice: {id} ({:?}) and {}", entry.sent, delivery.id));
        }
        let early =
            entry.leased_until.and_then(|until| until.checked_duration_since(Instant::now()));
        if let Some(early) = early.filter(|early| *early > LEASE_SLACK) {
            wrong.push(format!("still leased for {early:?}"));
        }
        entry.attempts.push(attempt);
        entry.leased_until = Some(asked + visibility);
        known.counts.again += u64::from(!first);
        let wrong = wrong.into_iter().map(|wrong| format!("{body}, attempt {attempt}: {wrong}"));
        known.violations.extend(wrong);
        body
    }

    /// Its holder gives a message back now: the lease protects it no longer.
    pub fn gives_back(&self, body: &str) {
        if let Some(entry) = self.lock().entries.get_mut(body) {
            entry.leased_until = None;
        }
    }

    /// A token was used at `asked`.
    pub fn used(
        &self,
        body: &str,
        attempt: u32,
        act: Act,
        result: Result<Durability, Error>,
        asked: Instant,
    ) {
        let mut known = self.lock();
        let Known { entries, counts, violations } = &mut *known;
        let Some(entry) = entries.get_mut(body) else { return };
        match (result, act) {
            (Ok(_), Act::Ack) => {
                counts.acked += 1;
                if entry.done.is_some() {
                    violations.push(format!("{body}, attempt {attempt}: acked twice: {entry:?}"));
                }
                if entry.attempts.iter().any(|other| *other > attempt) {
                    violations.push(format!("{body}, attempt {attempt}: acked late: {entry:?}"));
                }
                entry.done = Some(attempt);
                entry.leased_until = None;
            }
            (Ok(_), Act::Nack) => {
                counts.nacked += 1;
                entry.given_up = entry.given_up.max(attempt);
            }
            (Ok(_), Act::Extend(by)) => {
                counts.extended += 1;
                entry.leased_until = Some(asked + by);
            }
            (Err(Error::Fenced(_)), _) => {
                counts.fenced += 1;
                entry.given_up = entry.given_up.max(attempt);
            }
            (Err(error), _) => {
                violations.push(format!("{body}, attempt {attempt}: {act:?} failed: {error}"));
            }
        }
        drop(known);
        self.events.send_modify(|events| *events += 1);
    }

    /// Something else that may not be.
    pub fn violation(&self, what: String) {
        self.lock().violations.push(what);
    }

    /// Panics when anything happened that may not.
    pub fn check(&self, when: &str) {
        let known = self.lock();
        let violations = &known.violations;
        let some = &violations[..violations.len().min(20)];
        assert!(violations.is_empty(), "{when}: {} violations: {some:#?}", violations.len());
    }

    /// Everything was received and the queues are empty: each message must be finished.
    pub fn check_end(&self) {
        self.check("at the end");
        for (body, entry) in &self.lock().entries {
            assert!(entry.sent.is_some(), "{body} has no outcome: {entry:?}");
            let done = entry.done;
            assert!(done.is_some(), "{body} was acknowledged and is lost: {entry:?}");
            assert!(done > Some(entry.given_up), "{body} was not granted again: {entry:?}");
        }
    }
}
