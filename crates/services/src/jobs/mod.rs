//! Jobs: submit, claim, heartbeat, complete, fail, release, cancel, retry, list, show, wait.
//!
//! A job is a unit of work that is remembered after its end: what it was, how often it was tried
//! and why that ended, what came of it. Its claims are those of claims/, as the leases of messages
//! are. Each call that changes something has two forms: `submit_…`, which awaits only room in the
//! journal and gives a [`Ticket`] to await, and the blocking one of the plain name.

mod calls;
mod change;
mod claim;
pub(crate) mod job;
pub(crate) mod kind;
mod list;
pub(crate) mod look;
pub(crate) mod outcome;
mod recorded;
pub(crate) mod recovery;
pub(crate) mod retire;
mod set_type;
pub mod state;
pub(crate) mod submit;
pub(crate) mod work;
mod workers;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

pub use calls::{
    Changed, ClaimRequest, Claimed, Failure, Heartbeat, JobCounts, JobDetail, JobEvent, JobFilter,
    JobId, JobInfo, JobPage, JobSettings, JobSettingsChange, JobTypeInfo, NewJob, Rate, Submitted,
    Unique, When,
};
pub use state::{Change, Status};
pub(crate) use work::give_up;
pub use workers::{WorkerInfo, Workers};

use crate::claims::grant::check_count;
use crate::claims::index::For;
use crate::claims::{Event, Owner, Subject, Token};
use crate::error::Error;
use crate::exec::{Core, Stop};
use crate::identity::Identity;
use crate::jobs::change::{Alter, Ask};
use crate::jobs::kind::JobType;
use crate::jobs::set_type::SetType;
use crate::jobs::submit::Submit;
use crate::jobs::work::{Action, Item, Work};
use crate::keys::subject as key;
use crate::limits::{JOB_TYPES_MAX, LIST_QUEUES_MAX, SEND_MESSAGES_MAX};
use crate::loops::event::StepRef;
use crate::loops::id::LoopId;
use crate::ticket::{Acknowledged, Ticket};
use rekindle_database::Transaction;

/// The jobs of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Jobs {
    core: Arc<Core>,
}

/// The results of a request with several tokens, in their order.
pub type PerJob = Vec<Result<Changed, Error>>;

/// What a worker asks for with one of its tokens.
#[derive(Clone, Copy, Debug)]
pub enum Done<'a> {
    /// It is done, with this result.
    Complete(&'a [u8]),
    /// It went wrong.
    Fail(Failure<'a>),
    /// It is given back unstarted: why.
    Release(&'a str),
    /// The work goes on.
    Heartbeat(Heartbeat<'a>),
    /// The work goes on for so many milliseconds from now; only of an executor inside the server,
    /// which stays one when it is late.
    Hold(u64),
    /// The server ends before it is done; only of an executor inside the server.
    Stop(&'a str),
    /// A server died with it; only of an executor inside the server.
    Died(&'a str),
    /// Its worker died with it, and the server did not.
    WorkerDied(&'a str),
}

impl<'a> Done<'a> {
    pub(crate) fn action(self) -> Action<'a> {
        match self {
            Self::Complete(result) => Action::Complete(result),
            Self::Fail(failure) => Action::Fail(failure),
            Self::Release(reason) => Action::Return(Event::Released, reason),
            Self::Heartbeat(heartbeat) => Action::Heartbeat(heartbeat),
            Self::Hold(by_ms) => Action::Hold(by_ms),
            Self::Stop(reason) => Action::Return(Event::Stopping, reason),
            Self::Died(reason) => Action::Died(Event::ServerDied, reason),
            Self::WorkerDied(reason) => Action::Died(Event::WorkerDied, reason),
        }
    }
}

/// Refuses what cannot be the name of a type of jobs that somebody submits or claims.
pub fn check_type(name: &str) -> Result<(), Error> {
    kind::check_own(name)
}

/// This is the id or the token of a message.
pub(crate) fn not_a_job(id: Subject) -> Error {
    Error::invalid(format!("{id} is a message; use 'rekindle queue' for it"))
}

/// What the end of a claim needs of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The limit of attempts that it has of its own.
    pub(crate) max_attempts: Option<u32>,
    /// The step of a loop that it is.
    pub(crate) step: Option<(LoopId, StepRef)>,
}

/// The job of a claim.
pub(crate) fn of_claim(core: &Core, txn: &mut Transaction, id: Subject) -> Result<Claim, Stop> {
    let Some(row) = txn.get(core.keyspaces.jobs, &key::encode(id))? else {
        return Err(Stop::Refused(Error::corrupt(format!("job {id} of a claim is missing"))));
    };
    let head = job::parse_head(&row.bytes)
        .map_err(|malformed| Error::corrupt(format!("job {id}: {malformed}")))?;
    Ok(Claim { max_attempts: head.max_attempts, step: head.step })
}

impl Jobs {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Submits one job. Its type begins with its first job.
    pub fn submit(
        &self,
        kind: &str,
        job: &NewJob<'_>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Submitted>, Error> {
        self.core.submit(&mut Submit::new(&self.core, kind, job, identity)?)?.wait()
    }

    /// See [`Jobs::submit`]. Jobs are claimed in the order of these calls: await one before the
    /// next is made, and await the tickets whenever it suits.
    pub async fn submit_job(
        &self,
        kind: &str,
        job: &NewJob<'_>,
        identity: Option<Identity>,
    ) -> Result<Ticket<Submitted>, Error> {
        self.core.submit_async(&mut Submit::new(&self.core, kind, job, identity)?).await
    }

    /// Submits several jobs in their order, each a transaction of its own, all on their way before
    /// the first is awaited; a refused one does not hinder the others. Item `i` has the identity
    /// `identity.item(i)`.
    pub fn submit_all(
        &self,
        jobs: &[(&str, NewJob<'_>)],
        identity: Option<Identity>,
    ) -> Vec<Result<Acknowledged<Submitted>, Error>> {
        let mut tickets = Vec::with_capacity(jobs.len());
        for (at, (kind, job)) in jobs.iter().enumerate() {
            let identity = identity.map(|identity| identity.item(at));
            let ticket = check_count("jobs", jobs.len(), SEND_MESSAGES_MAX)
                .and_then(|()| Submit::new(&self.core, kind, job, identity))
                .and_then(|mut submit| self.core.submit(&mut submit));
            tickets.push(ticket);
        }
        tickets.into_iter().map(|ticket| ticket?.wait()).collect()
    }

    /// Claims up to `request.max` pending jobs; nothing pending is an empty answer.
    pub fn claim(&self, request: &ClaimRequest<'_>) -> Result<Acknowledged<Vec<Claimed>>, Error> {
        claim::claim(&self.core, request)
    }

    /// The same, waiting for the first job until `deadline` resolves (a timer of the caller's
    /// runtime), and for a type that has not begun yet. The deadline ends only the waiting: a grant
    /// that is on its way is awaited. Dropping this future is safe: what was granted and not handed
    /// out is given back.
    pub async fn claim_wait(
        &self,
        request: &ClaimRequest<'_>,
        deadline: impl Future<Output = ()>,
    ) -> Result<Acknowledged<Vec<Claimed>>, Error> {
        claim::claim_wait(&self.core, request, Owner::External, deadline).await
    }

    /// The same for an executor inside this process: its claims die with this run, unless the next
    /// one knows better ([`crate::claims::Trace`]).
    pub async fn claim_inside(
        &self,
        request: &ClaimRequest<'_>,
        deadline: impl Future<Output = ()>,
    ) -> Result<Acknowledged<Vec<Claimed>>, Error> {
        claim::claim_wait(&self.core, request, self.core.run.inside(), deadline).await
    }

    /// Does what their worker asks for with jobs: one transaction for all tokens; token `i` has the
    /// identity `identity.item(i)`.
    pub fn done(
        &self,
        items: &[(Token, Done<'_>)],
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerJob>, Error> {
        let items = actions(items);
        self.core.submit(&mut Work::new(&items, identity)?)?.wait()
    }

    /// See [`Jobs::done`].
    pub async fn submit_done(
        &self,
        items: &[(Token, Done<'_>)],
        identity: Option<Identity>,
    ) -> Result<Ticket<PerJob>, Error> {
        let items = actions(items);
        self.core.submit_async(&mut Work::new(&items, identity)?).await
    }

    /// Calls a job off, whoever works on it: its token is fenced.
    pub fn cancel(
        &self,
        id: JobId,
        reason: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Changed>, Error> {
        self.core.submit(&mut Alter::new(id, Ask::Cancel(reason), who, identity)?)?.wait()
    }

    /// See [`Jobs::cancel`].
    pub async fn submit_cancel(
        &self,
        id: JobId,
        reason: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Changed>, Error> {
        self.core.submit_async(&mut Alter::new(id, Ask::Cancel(reason), who, identity)?).await
    }

    /// Another attempt at once, of a job that has failed, was cancelled, or waits for its time.
    pub fn retry(
        &self,
        id: JobId,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Changed>, Error> {
        self.core.submit(&mut Alter::new(id, Ask::Retry, who, identity)?)?.wait()
    }

    /// See [`Jobs::retry`].
    pub async fn submit_retry(
        &self,
        id: JobId,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Changed>, Error> {
        self.core.submit_async(&mut Alter::new(id, Ask::Retry, who, identity)?).await
    }

    /// Waits until everything that was acknowledged before is known to the other calls: at once,
    /// but in the mode that acknowledges from memory.
    pub async fn settled(&self) -> Result<(), Error> {
        self.core.settled().await
    }

    /// One job with everything that is known of it.
    pub fn show(&self, id: JobId) -> Result<JobDetail, Error> {
        self.core.alive()?;
        if !id.is_job() {
            return Err(not_a_job(id));
        }
        look::show(&self.core, id)
    }

    /// What a list says of one job: not what it carries, so it costs little however large that is.
    pub fn glance(&self, id: JobId) -> Result<JobInfo, Error> {
        self.core.alive()?;
        if !id.is_job() {
            return Err(not_a_job(id));
        }
        look::glance(&self.core, id)
    }

    /// Who holds claims now.
    pub fn workers(&self) -> Result<Workers, Error> {
        self.core.alive()?;
        workers::workers(&self.core)
    }

    /// A page of jobs.
    pub fn list(&self, filter: &JobFilter<'_>) -> Result<JobPage, Error> {
        self.core.alive()?;
        list::list(&self.core, filter)
    }

    /// Waits until a job is finished, or `deadline` resolves: how it stands then.
    pub async fn wait(
        &self,
        id: JobId,
        deadline: impl Future<Output = ()>,
    ) -> Result<JobDetail, Error> {
        let mut deadline = pin!(deadline);
        loop {
            self.settled().await?;
            // Listen first, look, and only then wait: no end in between is missed.
            let mut heard = pin!(self.core.index.listen_for(For::End(id))?);
            let job = self.show(id)?;
            if job.info.status.is_finished() || self.core.closing.load(Ordering::Acquire) {
                return Ok(job);
            }
            let ended = std::future::poll_fn(|context| {
                if heard.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                deadline.as_mut().poll(context).map(|()| false)
            });
            if !ended.await || self.core.closing.load(Ordering::Acquire) {
                return self.show(id);
            }
            // An end is told before reads see it: a look now might miss it, and the next wait too.
            self.core.submit_async(&mut look::End(id)).await?.await?;
        }
    }

    /// Resolves when a job ends from now on, whoever ends it; for those who work on it.
    pub async fn end_of(&self, id: JobId) -> Result<(), Error> {
        self.core.index.listen_for(For::End(id))?.await;
        Ok(())
    }

    /// How many jobs stand where: of one type, or of all.
    pub fn counts(&self, kind: Option<&str>) -> Result<JobCounts, Error> {
        self.core.alive()?;
        if let Some(name) = kind {
            kind::check_name(name)?;
            let kind = self.core.index.job_type(name);
            return Ok(kind.map(|kind| self.core.index.job_counts(kind.id)).unwrap_or_default());
        }
        let (all, _) = self.core.index.list_job_types("", JOB_TYPES_MAX + 1);
        Ok(all.iter().fold(JobCounts::default(), |sum, (_, counts)| sum.plus(counts)))
    }

    /// Up to `limit` types (0: as many as a page may have) with names behind `after`, in the order
    /// of their names, and whether more follow.
    pub fn types(&self, after: &str, limit: usize) -> Result<(Vec<JobTypeInfo>, bool), Error> {
        self.core.alive()?;
        let limit = if limit == 0 { LIST_QUEUES_MAX } else { limit.min(LIST_QUEUES_MAX) };
        let (types, more) = self.core.index.list_job_types(after, limit);
        Ok((types.into_iter().map(|(kind, counts)| type_info(&kind, counts)).collect(), more))
    }

    /// One type.
    pub fn show_type(&self, name: &str) -> Result<JobTypeInfo, Error> {
        self.core.alive()?;
        kind::check_name(name)?;
        let kind = self.core.index.job_type(name).ok_or_else(|| Error::no_job_type(name))?;
        Ok(type_info(&kind, self.core.index.job_counts(kind.id)))
    }

    /// Sets the settings of a type, by whom: they are in force at once, for its waiting jobs, too.
    /// Whether anything changed.
    pub fn set_type(
        &self,
        name: &str,
        settings: &JobSettings,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<bool>, Error> {
        self.core.submit(&mut SetType::new(name, settings.into(), who, identity)?)?.wait()
    }

    /// See [`Jobs::set_type`]; changes only what it is told to change.
    pub async fn submit_set_type(
        &self,
        name: &str,
        change: JobSettingsChange,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<bool>, Error> {
        self.core.submit_async(&mut SetType::new(name, change, who, identity)?).await
    }
}

fn actions<'a>(items: &[(Token, Done<'a>)]) -> Vec<Item<'a>> {
    items.iter().map(|(token, done)| (*token, done.action())).collect()
}

fn type_info(kind: &JobType, counts: JobCounts) -> JobTypeInfo {
    let JobType { name, settings, created_ms, .. } = kind.clone();
    JobTypeInfo { name, settings, created_ms, counts }
}
