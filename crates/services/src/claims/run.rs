//! The run that looks at claims: which executors inside the server live, and what dead ones left.
//!
//! Invariant: who holds a claim is decided here and nowhere else, for recovery and for every
//! command alike.

use std::sync::Arc;

use crate::claims::lease::Lease;
use crate::claims::table::{Event, Executor, Owner, Situation, Traces};
use crate::claims::{Subject, Token};

/// The number of this node. A store of one machine is node 1, as its identity says.
const NODE: u64 = 1;

/// One run of one node, as far as claims are concerned. Clones share what was left.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    executor: Executor,
    ended_cleanly: bool,
    traces: Arc<Traces>,
}

impl Run {
    /// This run; whether the one before marked a clean end; what its executors left.
    pub(crate) fn new(incarnation: u64, ended_cleanly: bool, traces: Traces) -> Self {
        let executor = Executor { node: NODE, incarnation };
        Self { executor, ended_cleanly, traces: Arc::new(traces) }
    }

    /// What the executors of this run are.
    pub(crate) fn inside(&self) -> Owner {
        Owner::Inside(self.executor)
    }

    /// A claim that is looked at, at this log time.
    pub(crate) fn situation(
        &self,
        subject: Subject,
        lease: &Lease,
        event: Event,
        now_ms: u64,
    ) -> Situation {
        let left = self.traces.get(&Token { subject, grant: lease.grant }).copied();
        let holder = lease.holder.holder(self.executor, self.ended_cleanly, left);
        Situation { holder, event, due: lease.deadline_ms <= now_ms }
    }
}
