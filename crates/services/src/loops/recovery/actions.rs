//! Does what was decided: each execution in a transaction of its own, which looks again.

use rekindle_database::Transaction;
use rekindle_recovery::Failure;

use crate::claims::Cause;
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::loops::alter::{call_off, withdraw};
use crate::loops::event::{Reason, What};
use crate::loops::life::Life;
use crate::loops::recovery::plan::Step;
use crate::loops::recovery::validator::{Trusted, Verdict};
use crate::loops::recovery::{Recovered, transcripts};
use crate::loops::step::{self, End};
use crate::ticket::Ticket;

/// When something for which there was no room is looked at again, milliseconds.
const LATER_MS: u64 = 1_000;

/// Steps that are on their way at one time.
const IN_FLIGHT: usize = 1_024;

/// The index is there again. Before the claims of jobs are settled: what these make of executions
/// is followed from here on.
pub(super) fn restore(trusted: &Trusted, core: &Core) {
    for judged in &trusted.executions {
        core.loops.put(judged.id, &judged.stored);
    }
}

pub(super) fn act(
    trusted: Trusted,
    steps: &[Step],
    core: &Core,
    now_ms: u64,
) -> Result<Recovered, Failure> {
    let mut recovered = Recovered {
        unread: trusted.unread,
        transcripts: trusted.transcripts.len() as u64,
        corrupted_records: trusted.corrupted_records,
        ..Recovered::default()
    };
    transcripts::act(&trusted, core);
    for judged in &trusted.executions {
        recovered.executions += 1;
        recovered.incomplete += u64::from(judged.verdict != Verdict::Over);
        match judged.verdict {
            Verdict::Over | Verdict::Unread => {}
            Verdict::Waits => recovered.waiting += 1,
            Verdict::GoOn => recovered.going_on += 1,
            Verdict::Ask => recovered.set_aside += 1,
            Verdict::Fail => recovered.failed += 1,
            Verdict::Tell => recovered.repaired += 1,
        }
    }
    let down_ms = trusted.down_ms;
    for steps in steps.chunks(IN_FLIGHT) {
        let start = |step: &Step| core.submit(&mut Do { step: *step, down_ms, now_ms });
        let tickets: Vec<Result<Ticket<()>, Error>> = steps.iter().map(start).collect();
        for (step, ticket) in steps.iter().zip(tickets) {
            match ticket.and_then(Ticket::wait) {
                Ok(_) => {}
                // One that cannot be read stops nothing else; it stays as it is.
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Conflict) => {
                    tracing::error!(execution = %step.id(), %error, "recovery_error");
                    recovered.unread += 1;
                }
                // The tick looks at it again, where there is room then.
                Err(error) if error.kind() == Kind::Full => {
                    tracing::warn!(execution = %step.id(), %error, "recovery_error");
                    core.loops.wake_at(step.id(), now_ms.saturating_add(LATER_MS));
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(recovered)
}

fn failed(error: Error) -> Failure {
    Failure::io("recover an execution", std::io::Error::other(error))
}

/// One step, as a transaction.
struct Do {
    step: Step,
    down_ms: u64,
    now_ms: u64,
}

impl Command for Do {
    type Value = ();
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        if let Some(life) = Life::load(core, txn, self.step.id())? {
            self.one(core, txn, life)?;
        }
        Ok(Answer::new(()))
    }
}

impl Do {
    fn one(&self, core: &Core, txn: &mut Transaction, mut life: Life) -> Result<(), Stop> {
        let (now_ms, down_ms) = (self.now_ms, self.down_ms);
        match self.step {
            Step::GoOn(_) => {}
            // Its step was lost meanwhile, and a person is asked about that.
            Step::Ask(_) if life.row.state.review().is_some() => {}
            Step::Ask(_) => {
                withdraw(core, txn, &mut life, now_ms)?;
                let reason = Reason::Interrupted { down_ms };
                life.happens(core, txn, What::SetAside { reason }, now_ms)?;
            }
            Step::Fail(_) => {
                let why = format!("nothing was alive for {down_ms} ms, longer than is waited for");
                call_off(core, txn, &mut life, ("recovery", &why), now_ms)?;
                if !life.status(now_ms).is_finished() {
                    life.happens(core, txn, What::Failed { why }, now_ms)?;
                }
            }
            Step::Tell(_) => {
                if let Some(step) = life.row.state.in_flight() {
                    life.forget_job();
                    let end = End::Lost(Cause::ServerCrash, "the job of the step is gone");
                    step::tell(core, txn, &mut life, step, end, now_ms)?;
                }
            }
        }
        life.go_on(core, txn, now_ms)?;
        Ok(())
    }
}
