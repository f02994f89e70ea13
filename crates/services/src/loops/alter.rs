//! What a person asks for about executions, and what time brings: approve, pause, resume, cancel,
//! retry, wake.

use rekindle_database::Transaction;

use crate::audit::{self, NewAudit};
use crate::claims::settle::{load_attempts, load_lease, remove_lease};
use crate::claims::{self, Event, Subject};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::outcome::Outcome as JobOutcome;
use crate::jobs::state::CANCELLED;
use crate::keys::{loops as key, subject as job_key};
use crate::limits::REASON_BYTES_MAX;
use crate::loops::calls::{Altered, Ask};
use crate::loops::event::{Outcome, Report, What};
use crate::loops::id::LoopId;
use crate::loops::life::{Life, load_plan, no_loop, over};
use crate::loops::row::Far;
use crate::loops::state::Status;
use crate::producers::{Fingerprint, once};

/// Checks why something is asked for, and by whom.
pub(super) fn check_reason(why: &str, who: &str) -> Result<(), Error> {
    if why.len() > REASON_BYTES_MAX {
        let len = why.len();
        return Err(Error::invalid(format!(
            "a reason of {len} bytes; at most {REASON_BYTES_MAX} are kept"
        )));
    }
    NewAudit { who, why, ..NewAudit::default() }.check()
}

/// Does what a person asks for.
pub(crate) struct Alter<'a> {
    id: LoopId,
    ask: Ask,
    why: &'a str,
    who: &'a str,
    identity: Option<(Identity, u32)>,
}

impl<'a> Alter<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        id: LoopId,
        ask: Ask,
        why: &'a str,
        who: &'a str,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        check_reason(why, who)?;
        let fingerprint = Fingerprint::of(ask.action()).bytes(&id.to_bytes()).bytes(why.as_bytes());
        let identity = identity.map(|identity| (identity, fingerprint.finish()));
        Ok(Self { id, ask, why, who, identity })
    }

    fn run(&self, core: &Core, txn: &mut Transaction, now_ms: u64) -> Result<Altered, Stop> {
        let mut changed = 0;
        if let Some(life) = Life::load(core, txn, self.id)? {
            self.one(core, txn, life, now_ms)?;
            changed = 1;
        } else {
            let plan = load_plan(core, txn, self.id)?.ok_or_else(|| no_loop(self.id))?;
            let mut lives = Vec::with_capacity(plan.specs.len());
            for spec in &plan.specs {
                lives.extend(Life::load(core, txn, spec.execution)?);
            }
            // Those that wait for a place first: none begins because another one is called off.
            lives.sort_by_key(|life| !life.row.state.is_blocked());
            let mut refused = None;
            for life in lives {
                if self.means(life.status(now_ms), &life) {
                    self.one(core, txn, life, now_ms)?;
                    changed += 1;
                } else {
                    refused = Some(self.refusal(&life, now_ms));
                }
            }
            if changed == 0 {
                // That nothing of it can be is told by the last one.
                return Err(Stop::Refused(refused.unwrap_or_else(|| no_loop(self.id))));
            }
        }
        let (target, result) = (self.id.to_string(), format!("{changed} executions"));
        let action = self.ask.action();
        let (who, why) = (self.who, self.why);
        let entry = NewAudit { who, action, target: &target, why, result: &result };
        audit::add(core, txn, &entry)?;
        Ok(Altered { id: self.id, changed })
    }

    /// Whether it means anything to an execution.
    fn means(&self, status: Status, life: &Life) -> bool {
        let state = &life.row.state;
        self.ask.means(status, state.is_draft(), state.is_paused())
    }

    fn refusal(&self, life: &Life, now_ms: u64) -> Error {
        let (ask, status) = (self.ask.as_str(), life.status(now_ms));
        let message = format!("execution {} is {status}: {ask} means nothing to it", life.id);
        Error::new(Kind::Conflict, message)
    }

    fn one(
        &self,
        core: &Core,
        txn: &mut Transaction,
        mut life: Life,
        now_ms: u64,
    ) -> Result<(), Stop> {
        let status = life.status(now_ms);
        if !self.means(status, &life) {
            return Err(Stop::Refused(self.refusal(&life, now_ms)));
        }
        let who = self.who.to_owned();
        let what = match self.ask {
            Ask::Approve => What::Approved { who },
            Ask::Pause => {
                withdraw(core, txn, &mut life, now_ms)?;
                What::Paused { who }
            }
            Ask::Resume => What::Resumed { who },
            Ask::Cancel => {
                withdraw(core, txn, &mut life, now_ms)?;
                call_off(core, txn, &mut life, (self.who, self.why), now_ms)?;
                What::Cancelled { who }
            }
            Ask::Retry => What::Retried { who },
        };
        life.happens(core, txn, what, now_ms)?;
        let (plan, index) = (life.row.plan, life.row.index);
        let is_blocked = life.row.state.is_blocked();
        life.go_on(core, txn, now_ms)?;
        if self.ask == Ask::Retry {
            // It has a place again, or waits for what it needs.
            let far = if is_blocked { Far::Waits } else { Far::Begun };
            over(core, txn, (plan, index), far, now_ms)?;
        }
        Ok(())
    }
}

/// The step that runs ends with its execution: its claim is fenced, and whoever does it hears of
/// that.
pub(super) fn call_off(
    core: &Core,
    txn: &mut Transaction,
    life: &mut Life,
    (by, why): (&str, &str),
    now_ms: u64,
) -> Result<(), Stop> {
    let Some(step) = life.row.state.in_flight() else { return Ok(()) };
    if let Some(job) = life.forget_job() {
        end_job(core, txn, job, (by, why), now_ms)?;
    }
    let (outcome, report, output) = (Outcome::CalledOff, Report::default(), String::new());
    life.happens(core, txn, What::StepEnded { step, outcome, report, output }, now_ms)
}

/// A step whose job nobody has claimed, or was proved not to have begun, is taken back.
pub(super) fn withdraw(
    core: &Core,
    txn: &mut Transaction,
    life: &mut Life,
    now_ms: u64,
) -> Result<(), Stop> {
    let (Some(step), Some(job)) = (life.row.state.in_flight(), life.row.job()) else {
        return Ok(());
    };
    if let Some(lease) = load_lease(core, txn, job)? {
        let situation = core.run.situation(job, &lease, Event::Lead, now_ms);
        if claims::decide(situation) != claims::Decision::Settle(claims::Cause::Released) {
            return Ok(());
        }
    }
    life.forget_job();
    end_job(core, txn, job, ("", "its execution does not go on"), now_ms)?;
    life.happens(core, txn, What::StepNotBegun(step), now_ms)
}

/// The job is cancelled, whoever has it.
fn end_job(
    core: &Core,
    txn: &mut Transaction,
    job: Subject,
    (by, why): (&str, &str),
    now_ms: u64,
) -> Result<(), Stop> {
    let lease = load_lease(core, txn, job)?;
    let attempts = load_attempts(core, txn, job)?;
    let attempt = attempts.map_or(0, |attempts| attempts.attempt);
    let outcome = JobOutcome {
        status: CANCELLED,
        finished_ms: now_ms,
        attempt: lease.as_ref().map_or(attempt, |lease| lease.attempt),
        granted_ms: lease.as_ref().map_or(0, |lease| lease.granted_ms),
        by,
        detail: why.as_bytes(),
    };
    txn.put(core.keyspaces.job_outcomes, &job_key::encode(job), &outcome.encode());
    if let Some(lease) = lease {
        remove_lease(core, txn, job, &lease);
    }
    Ok(())
}

impl Command for Alter<'_> {
    type Value = Altered;

    fn frees_work(&self) -> bool {
        matches!(self.ask, Ask::Pause | Ask::Cancel)
    }

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Altered>, Stop> {
        let alter = &*self;
        let now_ms = core.database.log_time_ms();
        once(core, txn, alter.identity, now_ms, |txn| alter.run(core, txn, now_ms))
    }
}

/// Executions are alive: a start tells by that how long nothing was.
pub(crate) struct Alive(pub(crate) u64);

impl Command for Alive {
    type Value = ();
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        txn.put(core.keyspaces.loop_progress, &key::alive(), &self.0.to_le_bytes());
        Ok(Answer::new(()))
    }
}

/// An execution whose time has come goes on.
pub(crate) struct Wake(pub(crate) LoopId);

impl Command for Wake {
    type Value = ();

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        if let Some(life) = Life::load(core, txn, self.0)? {
            life.go_on(core, txn, core.database.log_time_ms())?;
        }
        Ok(Answer::new(()))
    }
}
