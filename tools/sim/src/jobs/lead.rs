//! What a start makes of the claims of executors, as a client may believe it.
//!
//! Invariant: each of them is over or goes on under the new run; those of workers outside are left
//! to their deadlines.

use rekindle_services::claims::Cause;
use rekindle_services::jobs::JobId;

use crate::jobs::evidence::Lead;
use crate::jobs::job::{Place, Span};
use crate::jobs::model::Jobs;

impl Jobs {
    /// A run began. `told`: why the claim of a job is over, as the store says; asked where nobody
    /// else can know.
    ///
    /// # Errors
    /// When the store takes a crash for an end in order, or a claim is of a run to come.
    pub fn lead(
        &mut self,
        lead: &Lead,
        told: impl Fn(JobId) -> Option<Cause>,
    ) -> Result<(), String> {
        if lead.clean && !lead.stopped {
            return Err(format!("run {} takes a crash for an end in order", lead.run));
        }
        self.run = lead.run;
        let held = self.jobs.iter().filter_map(|(id, job)| Some((*id, job.held_inside()?)));
        let held: Vec<_> = held.collect();
        for (id, (own, token, until_ms)) in held {
            if own >= lead.run {
                return Err(format!("job {id} is claimed in run {own}, this is {}", lead.run));
            }
            match lead.cause(own, token, until_ms, || told(id)) {
                Some(Cause::LeaseExpired) => {
                    let when = Span { from_ms: until_ms, ..lead.when };
                    self.settle(id, Cause::LeaseExpired, None, false, when)?;
                }
                Some(cause) => self.settle(id, cause, None, false, lead.when)?,
                None => self.take_over(id, lead)?,
            }
        }
        Ok(())
    }

    /// An executor of the new run has it now, under the same token and attempt, from now on.
    fn take_over(&mut self, id: JobId, lead: &Lead) -> Result<(), String> {
        let kind = self.job(id)?.task.kind.clone();
        let until_ms = lead.when.to_ms + self.settings(&kind).lease_ms;
        let job = self.job(id)?;
        job.inside = Some(lead.run);
        job.begins(Place::Claimed(until_ms), false);
        Ok(())
    }
}
