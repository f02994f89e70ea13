//! Recovery of queues: definitions, messages, leases; read top-down.
//!
//! A lease whose deadline lies ahead is kept as it is, one whose deadline passed (downtime counts)
//! is taken back in a transaction of its own, and the ready index is built from what is there. Rows
//! that cannot be read stay, are told, and are not served; they stop nothing else. Recovering twice
//! finds nothing to do: each step looks again before it acts.

mod table;
mod validate;

use std::cell::Cell;
use std::sync::Arc;

use rekindle_database::Snapshot;
use rekindle_recovery::{Failure, Finding, Layer, Meter, Plan};

use crate::claims::Run;
use crate::claims::index::IndexObserver;
use crate::claims::kept::Kept;
use crate::claims::recovery::{Pieces, Step, perform, planned};
use crate::exec::Core;
use crate::keys::Keyspaces;
pub(crate) use validate::Trusted;

/// The layer of queues.
pub(crate) struct QueueLayer {
    pub(crate) keyspaces: Keyspaces,
    /// The run that recovers.
    pub(crate) run: Run,
    /// Now: what lies behind is due.
    pub(crate) log_time_ms: u64,
    /// What an earlier run knew of units that no claim touches; the scan takes it.
    pub(crate) kept: Cell<Option<Kept>>,
    /// Told of each page of rows.
    pub(crate) meter: Meter,
}

/// What recovery gives to the layer above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) queues: u64,
    pub(crate) messages: u64,
    pub(crate) leases_kept: u64,
    pub(crate) leases_reclaimed: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) set_aside: u64,
    pub(crate) read: u64,
}

impl Layer for QueueLayer {
    const NAME: &'static str = "queue";
    type Source = Snapshot;
    type Sink = Core;
    type Pieces = Pieces;
    type Trusted = Trusted;
    type Step = Step;
    type Recovered = Recovered;

    fn scan(&self, source: &Snapshot) -> Result<Pieces, Failure> {
        Pieces::of_queues(source, &self.keyspaces, self.kept.take(), &self.meter)
    }

    fn validate(&self, pieces: Pieces) -> (Trusted, Vec<Finding>) {
        validate::validate(pieces, &self.run, self.log_time_ms)
    }

    fn plan(&self, trusted: &Trusted, findings: &[Finding]) -> Plan<Step> {
        planned(&trusted.steps, "messages", trusted.tally(), findings)
    }

    fn act(
        &self,
        mut trusted: Trusted,
        steps: Vec<Step>,
        sink: &Core,
    ) -> Result<Recovered, Failure> {
        let mut recovered = Recovered {
            queues: trusted.queues.len() as u64,
            messages: trusted.messages,
            leases_kept: trusted.leases_kept,
            set_aside: trusted.set_aside,
            read: trusted.read,
            ..Recovered::default()
        };
        std::mem::take(&mut trusted.waiting).note(&mut sink.index.unowned(), self.log_time_ms);
        for queue in trusted.into_indexes() {
            sink.index.restore(queue);
        }
        // From here on the index follows the transactions, the steps' own included.
        sink.database.observe(Arc::new(IndexObserver {
            index: Arc::downgrade(&sink.index),
            calendar: Arc::clone(&sink.calendar),
            loops: Arc::clone(&sink.loops),
            keyspaces: self.keyspaces,
        }));
        let tally = perform(sink, &steps, self.log_time_ms, |_, _| {})?;
        recovered.leases_reclaimed += tally.reclaimed;
        recovered.dead_lettered += tally.given_up;
        recovered.set_aside += tally.set_aside;
        Ok(recovered)
    }
}
