//! What the worker of jobs asks for: complete, fail, release, heartbeat; one transaction for all.
//!
//! Invariants: a token is checked inside the transaction that uses it, and reading it makes the
//! transaction conflict with whoever changes the claim first; what a worker may do is what
//! jobs/state.rs allows.

use rekindle_database::Transaction;

use crate::bytes::truncated;
use crate::claims::attempts::{Attempts, UNDER_REVIEW};
use crate::claims::grant::check_count;
use crate::claims::lease::Lease;
use crate::claims::settle::{Ended, fenced, hold, load_attempts, load_lease, remove_lease, settle};
use crate::claims::state::{self as claim, Ending, Standing};
use crate::claims::{self, Cause, Decision, Event, Line, Owner, Subject, Token};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::outcome::Outcome;
use crate::jobs::state::{COMPLETED, Change, FAILED, Status, next};
use crate::jobs::{Changed, Failure, Heartbeat, not_a_job};
use crate::keys::subject as key;
use crate::limits::{
    DELAY_MS_MAX, PROGRESS_BYTES_MAX, REASON_BYTES_MAX, RESULT_BYTES_MAX, TOKENS_MAX,
    VISIBILITY_MS_MAX,
};
use crate::loops::step::{self, End};
use crate::producers::{Fingerprint, Session};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    /// It is done, with this result.
    Complete(&'a [u8]),
    /// It went wrong.
    Fail(Failure<'a>),
    /// It is given back.
    Return(Event, &'a str),
    /// The work goes on.
    Heartbeat(Heartbeat<'a>),
    /// The work of an executor goes on, for so long.
    Hold(u64),
    /// A server, or the worker itself, died with it.
    Died(Event, &'a str),
}

impl Action<'_> {
    /// Refuses what is above a limit.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let full = |what: &str, found: usize, limit: usize| {
            let message = format!("{what}: {found} is above the limit of {limit}");
            Err(Error::new(Kind::Full, message))
        };
        match self {
            Self::Complete(result) if result.len() > RESULT_BYTES_MAX => {
                full("bytes of the result", result.len(), RESULT_BYTES_MAX)
            }
            Self::Fail(Failure { retry_in_ms: Some(ms), .. }) if *ms > DELAY_MS_MAX => {
                Err(Error::invalid(format!(
                    "a retry in {ms} ms is above the limit of {DELAY_MS_MAX} ms (366 days)"
                )))
            }
            Self::Hold(ms) | Self::Heartbeat(Heartbeat { by_ms: Some(ms), .. })
                if !(1..=VISIBILITY_MS_MAX).contains(ms) =>
            {
                Err(Error::invalid(format!(
                    "a lease of {ms} ms; choose 1 ms to {VISIBILITY_MS_MAX} ms (12 h)"
                )))
            }
            Self::Heartbeat(Heartbeat { progress: Some(progress), .. })
                if progress.len() > PROGRESS_BYTES_MAX =>
            {
                full("bytes of the progress", progress.len(), PROGRESS_BYTES_MAX)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn fingerprint(&self, token: Token) -> u32 {
        let fingerprint = match self {
            Self::Complete(result) => Fingerprint::of("complete").bytes(result),
            Self::Fail(Failure { error, retry_in_ms, last }) => Fingerprint::of("fail")
                .bytes(error.as_bytes())
                .number(retry_in_ms.unwrap_or(u64::MAX))
                .number(u64::from(*last)),
            Self::Return(_, reason) => Fingerprint::of("release").bytes(reason.as_bytes()),
            Self::Hold(by_ms) => Fingerprint::of("hold").number(*by_ms),
            Self::Died(_, reason) => Fingerprint::of("died").bytes(reason.as_bytes()),
            Self::Heartbeat(Heartbeat { by_ms, progress }) => Fingerprint::of("heartbeat")
                .number(by_ms.unwrap_or(0))
                .bytes(progress.unwrap_or_default()),
        };
        let Token { subject, grant } = token;
        fingerprint.number(subject.line).number(subject.number).number(grant).finish()
    }
}

/// One token and what is asked for it.
pub(crate) type Item<'a> = (Token, Action<'a>);

/// Does what is asked for with each token.
pub(crate) struct Work<'a> {
    items: &'a [Item<'a>],
    identity: Option<Identity>,
}

/// What became of one token; the outer error stops the whole transaction.
type Done = Result<Result<Changed, Error>, Stop>;

impl<'a> Work<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(items: &'a [Item<'a>], identity: Option<Identity>) -> Result<Self, Error> {
        check_count("tokens", items.len(), TOKENS_MAX)?;
        Ok(Self { items, identity })
    }

    /// One token, unless a request with this identity was run before.
    fn once(
        &self,
        core: &Core,
        txn: &mut Transaction,
        session: &mut Session<'_>,
        (at, item): (usize, &Item<'_>),
        now_ms: u64,
    ) -> Done {
        let (token, action) = *item;
        let identity = self.identity.map(|it| (it.item(at), action.fingerprint(token)));
        let act = |txn: &mut Transaction| refusable(act(core, txn, token, action, now_ms));
        Ok(session.once(txn, identity, act)?.map(|answer| answer.value))
    }
}

/// A refusal is about one token. It decides before it writes, so nothing of it was written.
fn refusable(done: Result<Changed, Stop>) -> Done {
    match done {
        Ok(changed) => Ok(Ok(changed)),
        Err(Stop::Refused(error)) if error.kind() != Kind::Corrupt => Ok(Err(error)),
        Err(stop) => Err(stop),
    }
}

impl Command for Work<'_> {
    type Value = Vec<Result<Changed, Error>>;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Self::Value>, Stop> {
        let now_ms = core.database.log_time_ms();
        // A token has its effect once, with or without a kept result.
        let mut session = core.session(now_ms).lenient();
        let mut results = Vec::with_capacity(self.items.len());
        for item in self.items.iter().enumerate() {
            results.push(self.once(core, txn, &mut session, item, now_ms)?);
        }
        session.write(txn)?;
        Ok(Answer::new(results))
    }
}

/// Who a token says it is.
enum Worker {
    /// The claim is this token's.
    Current(Lease),
    /// The claim ended, and nobody claimed the job since.
    Late(Attempts),
}

impl Worker {
    fn status(&self, now_ms: u64) -> Status {
        match self {
            Self::Current(_) => Status::Processing,
            Self::Late(Attempts { due_ms: UNDER_REVIEW, .. }) => Status::NeedsReview,
            Self::Late(attempts) if attempts.due_ms > now_ms => Status::Scheduled,
            Self::Late(_) => Status::Pending,
        }
    }
}

/// Does what a worker asks for with its job.
pub(crate) fn act(
    core: &Core,
    txn: &mut Transaction,
    token: Token,
    action: Action<'_>,
    now_ms: u64,
) -> Result<Changed, Stop> {
    let id = token.subject;
    if !id.is_job() {
        return Err(Stop::Refused(not_a_job(id)));
    }
    action.check()?;
    let line = core.index.line_of(id.line).ok_or_else(|| fenced(id))?;
    let worker = standing(core, txn, token)?;
    let status = worker.status(now_ms);
    match action {
        Action::Complete(result) => {
            next(status, Change::Completed).ok_or_else(|| fenced(id))?;
            complete(core, txn, id, &worker, result, now_ms)?;
            Ok(Changed { id, status: Status::Completed, deadline_ms: 0 })
        }
        Action::Fail(failure) => {
            let ending = |cause| Ending {
                cause,
                reason: failure.error,
                now_ms,
                delay_ms: failure.retry_in_ms,
                last: failure.last,
                begun: true,
            };
            end(core, txn, (&line, id), worker, Event::Failed, ending)
        }
        Action::Return(event, reason) => {
            let (delay_ms, last) = (Some(0), false);
            let ending = |cause| {
                // By the cause that was decided: what is asked for may come too late.
                let withdrawn = cause == Cause::Shutdown && event == Event::Withdrawn;
                let begun = cause != Cause::Released && !withdrawn;
                Ending { cause, reason, now_ms, delay_ms, last, begun }
            };
            end(core, txn, (&line, id), worker, event, ending)
        }
        Action::Died(event, reason) => {
            let (delay_ms, last, begun) = (None, false, true);
            let ending = |cause| Ending { cause, reason, now_ms, delay_ms, last, begun };
            end(core, txn, (&line, id), worker, event, ending)
        }
        Action::Heartbeat(heartbeat) => {
            next(status, Change::Heartbeat).ok_or_else(|| fenced(id))?;
            Ok(go_on(core, txn, token, &line, (worker, Owner::External), heartbeat, now_ms))
        }
        Action::Hold(by_ms) => {
            if let Worker::Current(Lease { holder: Owner::External, .. }) = &worker {
                // No executor's claim, whatever lies where executors leave their traces.
                return Err(Stop::Refused(fenced(id)));
            }
            next(status, Change::Heartbeat).ok_or_else(|| fenced(id))?;
            let heartbeat = Heartbeat { by_ms: Some(by_ms), progress: None };
            Ok(go_on(core, txn, token, &line, (worker, core.run.inside()), heartbeat, now_ms))
        }
    }
}

/// Who this token is; a refusal when the job is somebody else's by now, or finished.
fn standing(core: &Core, txn: &mut Transaction, token: Token) -> Result<Worker, Stop> {
    let id = token.subject;
    let lease = load_lease(core, txn, id)?;
    let attempts = if lease.is_none() { load_attempts(core, txn, id)? } else { None };
    let standing = claim::standing(token.grant, lease.as_ref(), attempts.as_ref());
    match (standing, lease, attempts) {
        (Standing::Current, Some(lease), _) => {
            // Of a dead executor whose work goes on here: a start that found no room left it so.
            let situation = core.run.situation(id, &lease, Event::Lead, 0);
            if claims::decide(situation) == Decision::Resume {
                return Ok(Worker::Current(Lease { holder: core.run.inside(), ..lease }));
            }
            Ok(Worker::Current(lease))
        }
        (Standing::Late, None, Some(attempts)) => {
            // The attempts of a finished job stay for those who look.
            if txn.get(core.keyspaces.job_outcomes, &key::encode(id))?.is_some() {
                return Err(Stop::Refused(fenced(id)));
            }
            Ok(Worker::Late(attempts))
        }
        _ => Err(Stop::Refused(fenced(id))),
    }
}

/// The job is done.
fn complete(
    core: &Core,
    txn: &mut Transaction,
    id: Subject,
    worker: &Worker,
    result: &[u8],
    now_ms: u64,
) -> Result<(), Stop> {
    let (attempt, granted_ms, by) = match worker {
        Worker::Current(lease) => (lease.attempt, lease.granted_ms, lease.owner.as_str()),
        Worker::Late(attempts) => (attempts.attempt, 0, ""),
    };
    let (status, finished_ms) = (COMPLETED, now_ms);
    let outcome = Outcome { status, finished_ms, attempt, granted_ms, by, detail: result };
    txn.put(core.keyspaces.job_outcomes, &key::encode(id), &outcome.encode());
    if let Worker::Current(lease) = worker {
        remove_lease(core, txn, id, lease);
    }
    if let Some(of) = super::of_claim(core, txn, id)?.step {
        step::ended(core, txn, id, of, End::Done(result), now_ms)?;
    }
    Ok(())
}

/// A claim that its worker ends.
fn end<'a>(
    core: &Core,
    txn: &mut Transaction,
    (line, id): (&Line, Subject),
    worker: Worker,
    event: Event,
    ending: impl Fn(claims::Cause) -> Ending<'a>,
) -> Result<Changed, Stop> {
    let now_ms = core.database.log_time_ms();
    let Worker::Current(lease) = worker else {
        // It is back already.
        return Ok(Changed { id, status: worker.status(now_ms), deadline_ms: 0 });
    };
    let cause = match claims::decide(core.run.situation(id, &lease, event, now_ms)) {
        Decision::Settle(cause) => cause,
        Decision::Keep | Decision::Resume => {
            let deadline_ms = lease.deadline_ms;
            return Ok(Changed { id, status: Status::Processing, deadline_ms });
        }
    };
    let ended = settle(core, txn, line, id, &lease, &ending(cause))?;
    let (change, status) = after(ended, now_ms);
    debug_assert_eq!(next(Status::Processing, change), Some(status));
    Ok(Changed { id, status, deadline_ms: 0 })
}

/// What became of a job whose claim ended.
fn after(ended: Ended, now_ms: u64) -> (Change, Status) {
    use crate::queues::Settled;
    match ended.settled {
        Settled::DeadLettered => (Change::GaveUp, Status::Failed),
        Settled::UnderReview => (Change::SetAside, Status::NeedsReview),
        _ if ended.due_ms > now_ms => (Change::PutOff, Status::Scheduled),
        _ => (Change::Returned, Status::Pending),
    }
}

/// The claim goes on from now; one that is taken up again has this holder.
fn go_on(
    core: &Core,
    txn: &mut Transaction,
    token: Token,
    line: &Line,
    (worker, holder): (Worker, Owner),
    heartbeat: Heartbeat<'_>,
    now_ms: u64,
) -> Changed {
    let id = token.subject;
    let by_ms = heartbeat.by_ms.unwrap_or(line.lease_ms());
    let lease = match worker {
        Worker::Current(lease) => {
            remove_lease(core, txn, id, &lease);
            claim::extended(&lease, now_ms, by_ms)
        }
        Worker::Late(attempts) => claim::resumed(&attempts, now_ms, by_ms, holder),
    };
    hold(core, txn, token, &lease);
    if let Some(progress) = heartbeat.progress {
        let stored = encode_progress(now_ms, progress);
        txn.put(core.keyspaces.job_progress, &key::encode(id), &stored);
    }
    Changed { id, status: Status::Processing, deadline_ms: lease.deadline_ms }
}

/// A job whose attempts are used up: it has failed. The caller ends its lease.
pub(crate) fn give_up(
    core: &Core,
    txn: &mut Transaction,
    id: Subject,
    lease: &Lease,
    ending: &Ending<'_>,
) {
    let outcome = Outcome {
        status: FAILED,
        finished_ms: ending.now_ms,
        attempt: lease.attempt,
        granted_ms: lease.granted_ms,
        by: &lease.owner,
        detail: truncated(ending.reason, REASON_BYTES_MAX).as_bytes(),
    };
    txn.put(core.keyspaces.job_outcomes, &key::encode(id), &outcome.encode());
}

/// The format of a row of `job_progress`; persisted.
const PROGRESS_FORMAT: u8 = 1;

/// A job's progress, as it is stored: format 1, at_ms 8, the worker's words.
fn encode_progress(now_ms: u64, progress: &[u8]) -> Vec<u8> {
    let mut bytes = vec![PROGRESS_FORMAT];
    bytes.extend_from_slice(&now_ms.to_le_bytes());
    bytes.extend_from_slice(progress);
    bytes
}

/// When it was told, and the worker's words.
pub(crate) fn parse_progress(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (format, rest) = bytes.split_first()?;
    let (at_ms, progress) = rest.split_first_chunk::<8>()?;
    (*format == PROGRESS_FORMAT).then_some((u64::from_le_bytes(*at_ms), progress))
}
