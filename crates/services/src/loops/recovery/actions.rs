//! Does what was decided: each execution in a transaction of its own, which looks again.

use rekindle_database::Transaction;
use rekindle_recovery::Failure;

use crate::claims::Cause;
use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::loops::alter::{end_job, withdraw};
use crate::loops::event::{Outcome, Reason, Report, What};
use crate::loops::life::Life;
use crate::loops::recovery::Recovered;
use crate::loops::recovery::plan::Step;
use crate::loops::recovery::validator::{Trusted, Verdict};
use crate::loops::state::Status;
use crate::loops::step::{self, End};
use crate::ticket::Ticket;

/// Steps that are on their way at one time.
const IN_FLIGHT: usize = 1_024;

pub(super) fn act(
    trusted: Trusted,
    steps: &[Step],
    core: &Core,
    now_ms: u64,
) -> Result<Recovered, Failure> {
    let mut recovered = Recovered { unread: trusted.unread, ..Recovered::default() };
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
        core.loops.put(judged.id, &judged.stored);
    }
    let down_ms = trusted.down_ms;
    for steps in steps.chunks(IN_FLIGHT) {
        let start = |step: &Step| core.submit(&mut Do { step: *step, down_ms, now_ms });
        let tickets: Vec<Result<Ticket<()>, Error>> = steps.iter().map(start).collect();
        for ticket in tickets {
            ticket.and_then(Ticket::wait).map_err(failed)?;
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
        let (Step::Ask(id) | Step::Fail(id) | Step::Tell(id) | Step::GoOn(id)) = self.step;
        if let Some(life) = Life::load(core, txn, id)? {
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
            Step::Ask(_) => {
                withdraw(core, txn, &mut life, now_ms)?;
                let reason = Reason::Interrupted { down_ms };
                life.happens(core, txn, What::SetAside { reason }, now_ms)?;
            }
            Step::Fail(_) => {
                let why = format!("nothing was alive for {down_ms} ms, longer than is waited for");
                if let Some(step) = life.row.state.in_flight() {
                    if let Some(job) = life.forget_job() {
                        end_job(core, txn, job, ("recovery", &why), now_ms)?;
                    }
                    let (outcome, report) = (Outcome::CalledOff, Report::default());
                    let output = String::new();
                    let ended = What::StepEnded { step, outcome, report, output };
                    life.happens(core, txn, ended, now_ms)?;
                }
                if life.status(now_ms) != Status::Completed {
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
