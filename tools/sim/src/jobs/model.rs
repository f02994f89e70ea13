//! What a client may believe about jobs: for each of them its status, its attempts, its token.
//!
//! Built on the pure state machine of the services and on nothing else of them: a change that it
//! does not allow must not be answered. When a claim ran out, a client knows only between which
//! moments: such times are ranges, which the store narrows. Invariant: every job that was submitted
//! is here until it was kept for as long as its type says.

use std::collections::{BTreeMap, VecDeque};

use rekindle_services::claims::Cause;
use rekindle_services::jobs::state::next;
use rekindle_services::jobs::{Change, Changed, JobId, JobSettings, Status, Submitted};
use rekindle_services::queues::Token;

use crate::jobs::effect::JobEffect;
use crate::jobs::job::{Job, Place, Span};
use crate::jobs::timetable::Timetable;
use crate::jobs::{Deed, Fired, Now, Picked, Task};

/// How many tokens of finished work are remembered, to be refused.
const FENCED_MAX: usize = 8;

/// Crashes in a row after which a person decides.
const CRASHES_MAX: u32 = 3;

/// Everything that a client may believe about jobs.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    /// Settings of types by name.
    pub types: BTreeMap<String, JobSettings>,
    /// Jobs.
    pub jobs: BTreeMap<JobId, Job>,
    /// Schedules.
    pub timetable: Timetable,
    /// Tokens of work that was claimed again or is finished.
    pub fenced: VecDeque<Token>,
    /// Marks of transactions to their versions.
    pub marks: BTreeMap<u64, u64>,
    /// The run of the store.
    pub run: u64,
    /// Unique keys of types to who has them, and until when; 0: until that job is finished.
    unique: BTreeMap<(String, String), (JobId, u64)>,
}

impl Jobs {
    /// Follows one effect.
    ///
    /// # Errors
    /// When a client must not have been answered so.
    pub fn apply(&mut self, effect: &JobEffect) -> Result<(), String> {
        match effect {
            JobEffect::Typed(kind, settings) => {
                self.types.insert(kind.clone(), *settings);
            }
            JobEffect::Submitted { task, result, now } => self.submit(task, *result, *now)?,
            JobEffect::Led(lead) => self.lead(lead, |_| None)?,
            JobEffect::Granted { picked, lease_ms, now } => self.grant(picked, *lease_ms, *now)?,
            JobEffect::Worked { token, deed, result, now } => {
                let done = self.work(*token, *deed, result, *now);
                done.map_err(|broken| format!("{deed:?} of {token}: {broken}"))?;
            }
            JobEffect::Altered { id, change, result, now } => {
                let done = self.alter(*id, *change, result, *now);
                done.map_err(|broken| format!("job {id}, {change:?}: {broken}"))?;
            }
            JobEffect::Scheduled(name, rota, wall_ms) => {
                self.timetable.create(name, rota, *wall_ms)?;
            }
            JobEffect::Unscheduled(name) => {
                let gone = self.timetable.schedules.remove(name);
                gone.ok_or_else(|| format!("schedule {name} was deleted twice"))?;
            }
            JobEffect::Fired(fired) => self.fire(fired)?,
            JobEffect::Marked(mark, version) => {
                self.marks.insert(*mark, *version);
            }
        }
        Ok(())
    }

    /// Time passed, and somebody looked: a start, or (true) a tick, which does all that is due.
    ///
    /// # Errors
    /// When a time of a schedule was lost.
    pub fn pass(&mut self, now: Now, ticked: bool) -> Result<(), String> {
        let over = |job: &Job| matches!(job.place, Place::Claimed(at_ms) if at_ms <= now.log_ms);
        let all: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in all {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if over(job) {
                let Place::Claimed(deadline_ms) = job.place else { continue };
                let ended = Span { from_ms: deadline_ms, to_ms: now.log_ms };
                self.settle(id, Cause::LeaseExpired, None, false, ended)?;
            }
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.ready |= job.status(now) == Some(Status::Pending);
        }
        if !ticked {
            return Ok(());
        }
        let types = &self.types;
        self.jobs.retain(|_, job| !must_be_gone(types, job, now.log_ms));
        self.timetable.ticked(now.wall_ms)
    }

    /// Tokens whose claims still run.
    #[must_use]
    pub fn live_tokens(&self) -> Vec<Token> {
        let claimed = self.jobs.values().filter(|job| job.is_claimed());
        claimed.filter_map(|job| job.token).collect()
    }

    /// Jobs of a type that nobody works on and that are surely pending, first come first.
    #[must_use]
    pub fn pending(&self, kind: &str) -> Vec<JobId> {
        let ready = self.jobs.iter().filter(|(_, job)| job.task.kind == kind && job.ready);
        let mut ready: Vec<(i32, JobId)> =
            ready.map(|(id, job)| (-i32::from(job.task.priority), *id)).collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, id)| id).collect()
    }

    /// How many more jobs of a type may be claimed now.
    #[must_use]
    pub fn room(&self, kind: &str) -> usize {
        let limit = self.settings(kind).concurrency;
        if limit == 0 {
            return usize::MAX;
        }
        let claimed = |job: &&Job| job.task.kind == kind && job.is_claimed();
        let claimed = self.jobs.values().filter(claimed).count();
        usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(claimed)
    }

    /// The settings of a type.
    #[must_use]
    pub fn settings(&self, kind: &str) -> JobSettings {
        self.types.get(kind).copied().unwrap_or_default()
    }

    pub(super) fn job(&mut self, id: JobId) -> Result<&mut Job, String> {
        self.jobs.get_mut(&id).ok_or_else(|| format!("there is no job {id}"))
    }

    fn fence(&mut self, token: Option<Token>) {
        self.fenced.extend(token);
        while self.fenced.len() > FENCED_MAX {
            self.fenced.pop_front();
        }
    }

    fn submit(&mut self, task: &Task, result: Submitted, now: Now) -> Result<(), String> {
        self.types.entry(task.kind.clone()).or_default();
        let holder = self.holder(task, now);
        if result.new == holder.is_some() || holder.is_some_and(|holder| holder != result.id) {
            return Err(format!("{task:?} was answered {result:?}, its key is {holder:?}'s"));
        }
        if !result.new {
            return Ok(());
        }
        self.take_key(task, result.id, now);
        let (place, ready) = match task.in_ms {
            0 => (Place::Waiting(Span::default()), true),
            in_ms => (Place::Appointed(now.wall_ms + in_ms), false),
        };
        let serial = task.serial;
        let twice = self.jobs.values().any(|job| job.task.serial == serial);
        if twice || self.jobs.insert(result.id, Job::new(task.clone(), place, ready)).is_some() {
            return Err(format!("task {serial} is there twice"));
        }
        Ok(())
    }

    /// Who has the key of a task.
    fn holder(&self, task: &Task, now: Now) -> Option<JobId> {
        let (key, _) = task.unique.as_ref()?;
        let &(holder, until_ms) = self.unique.get(&(task.kind.clone(), key.clone()))?;
        let unfinished = self.jobs.get(&holder).is_some_and(Job::is_unfinished);
        let holds = if until_ms == 0 { unfinished } else { now.log_ms < until_ms };
        holds.then_some(holder)
    }

    fn take_key(&mut self, task: &Task, id: JobId, now: Now) {
        let Some((key, window_ms)) = &task.unique else { return };
        let until_ms = if *window_ms == 0 { 0 } else { now.log_ms + window_ms };
        self.unique.insert((task.kind.clone(), key.clone()), (id, until_ms));
    }

    /// Priority first, then age; what surely waits is not overtaken.
    fn grant(&mut self, picked: &Picked, lease_ms: Option<u64>, now: Now) -> Result<(), String> {
        let Picked { id, serial, token, attempt, priority, deadline_ms, inside, ref kind } =
            *picked;
        let wrong = |why: String| Err(format!("job {id} (task {serial}) was claimed: {why}"));
        let (settings, room, run) = (self.settings(kind), self.room(kind), self.run);
        let first = self.pending(kind).first().copied();
        if room == 0 {
            return wrong(format!("{} of {kind} are in work already", settings.concurrency));
        }
        if let Some(first) = first
            && let Some(waits) = self.jobs.get(&first)
            && (-i32::from(waits.task.priority), first) < (-i32::from(priority), id)
        {
            return wrong(format!("before {first}, which waits longer"));
        }
        if self.jobs.values().any(|job| job.token == Some(token)) || self.fenced.contains(&token) {
            return wrong(format!("token {token} is another claim's"));
        }
        let job = self.job(id)?;
        let known = &job.task;
        if (known.serial, &known.kind, known.priority) != (serial, kind, priority) {
            return wrong(format!("it is {known:?}"));
        }
        if job.allows(Change::Claimed, now) != Some(Status::Processing) {
            return wrong(format!("at {now:?} it is {:?}", job.place));
        }
        if attempt != job.attempts + 1 {
            return wrong(format!("attempt {attempt} behind attempt {}", job.attempts));
        }
        let until_ms = now.log_ms + lease_ms.unwrap_or(settings.lease_ms);
        if deadline_ms != until_ms {
            return wrong(format!("until {deadline_ms} instead of {until_ms}"));
        }
        job.attempts = attempt;
        job.inside = inside.then_some(run);
        job.begins(Place::Claimed(deadline_ms), false);
        let before = job.token.replace(token);
        self.fence(before);
        Ok(())
    }

    fn work(
        &mut self,
        token: Token,
        deed: Deed,
        result: &Result<Changed, String>,
        now: Now,
    ) -> Result<(), String> {
        let owner = self.jobs.iter().find(|(_, job)| job.token == Some(token));
        let Some((id, claimed)) = owner.map(|(id, job)| (*id, job.is_claimed())) else {
            return match result {
                Err(kind) if kind == "Fenced" => Ok(()),
                other => Err(format!("a token of finished work was answered {other:?}")),
            };
        };
        if self.is_beside(id, deed)? {
            return match result {
                Err(kind) if kind == "Fenced" => Ok(()),
                other => Err(format!("job {id} was not this worker's: {other:?}")),
            };
        }
        let changed = result.as_ref().map_err(|kind| format!("job {id} refused it: {kind}"))?;
        match deed {
            Deed::Complete { mark } => {
                self.end(id, Change::Completed, Span::at(now.log_ms), now)?;
                self.job(id)?.result = Some(mark);
            }
            Deed::Heartbeat { by_ms, progress } => {
                self.goes_on(id, by_ms, None, changed, now)?;
                let job = self.job(id)?;
                job.progress = progress.or(job.progress);
            }
            Deed::Hold { by_ms } => self.goes_on(id, by_ms, Some(self.run), changed, now)?,
            // It is back already.
            _ if !claimed => {}
            ending => self.ends(id, ending, now)?,
        }
        self.stands(id, changed, now)
    }

    /// Whether a worker asks for what its claim does not give: what waits for a person does not go
    /// on, and nobody outside holds a claim as executors do.
    fn is_beside(&mut self, id: JobId, deed: Deed) -> Result<bool, String> {
        let job = self.job(id)?;
        Ok(match deed {
            Deed::Heartbeat { .. } => job.place == Place::Review,
            Deed::Hold { .. } if job.is_claimed() => job.inside.is_none(),
            Deed::Hold { .. } => job.place == Place::Review,
            _ => false,
        })
    }

    /// A claim goes on; one that is taken up again is `late`'s.
    fn goes_on(
        &mut self,
        id: JobId,
        by_ms: u64,
        late: Option<u64>,
        changed: &Changed,
        now: Now,
    ) -> Result<(), String> {
        let job = self.job(id)?;
        if job.allows(Change::Heartbeat, now) != Some(Status::Processing) {
            return Err(format!("{:?} goes on", job.place));
        }
        if !job.is_claimed() {
            job.inside = late;
        }
        job.begins(Place::Claimed(now.log_ms + by_ms), false);
        if changed.deadline_ms == now.log_ms + by_ms {
            return Ok(());
        }
        Err(format!("it lasts until {}", changed.deadline_ms))
    }

    /// A worker ends its claim.
    fn ends(&mut self, id: JobId, deed: Deed, now: Now) -> Result<(), String> {
        let inside = self.job(id)?.inside.is_some();
        let (cause, pause_ms, last) = match deed {
            Deed::Fail { retry_in_ms, last } => (Cause::Failed, retry_in_ms, last),
            Deed::Release => (Cause::Released, Some(0), false),
            Deed::Stop if inside => (Cause::Shutdown, Some(0), false),
            Deed::Died if inside => (Cause::ServerCrash, None, false),
            Deed::Died | Deed::WorkerDied => (Cause::WorkerCrash, None, false),
            // The end of a server means nothing to somebody outside.
            Deed::Stop => return Ok(()),
            Deed::Complete { .. } | Deed::Heartbeat { .. } | Deed::Hold { .. } => {
                return Err(format!("{deed:?} ends no claim"));
            }
        };
        self.settle(id, cause, pause_ms, last, Span::at(now.log_ms))
    }

    fn alter(
        &mut self,
        id: JobId,
        change: Change,
        result: &Result<Changed, String>,
        now: Now,
    ) -> Result<(), String> {
        let kept = self.jobs.contains_key(&id);
        if !kept && result.as_ref().is_err_and(|kind| kind == "NotFound") {
            return Ok(());
        }
        let job = self.job(id)?;
        let (allowed, sure) = (job.allows(change, now).is_some(), job.status(now).is_some());
        let (task, ended) = (job.task.clone(), !job.is_unfinished());
        let retried = change == Change::Retried;
        let other = self.holder(&task, now).filter(|other| *other != id && ended && retried);
        let Ok(changed) = result else {
            let right = !allowed || !sure || other.is_some();
            return if right { Ok(()) } else { Err(format!("refused: {result:?}")) };
        };
        if !allowed || other.is_some() {
            return Err(format!("answered {changed:?}; its key is {other:?}'s"));
        }
        if retried {
            if ended {
                self.take_key(&task, id, now);
            }
            let job = self.job(id)?;
            (job.charged, job.result) = (0, None);
            job.begins(Place::Waiting(Span::default()), true);
        } else {
            self.end(id, change, Span::at(now.log_ms), now)?;
        }
        self.stands(id, changed, now)
    }

    /// A job is finished: nobody has it any more.
    fn end(&mut self, id: JobId, change: Change, when: Span, now: Now) -> Result<(), String> {
        let job = self.job(id)?;
        let to = job.allows(change, now).filter(|status| status.is_finished());
        let to = to.ok_or_else(|| format!("{change:?} while {:?}", job.place))?;
        job.begins(Place::Ended(to, when), false);
        let token = job.token.take();
        self.fence(token);
        Ok(())
    }

    /// A claim ended then: the job waits again, or for a person, or its attempts are used up.
    pub(super) fn settle(
        &mut self,
        id: JobId,
        cause: Cause,
        pause_ms: Option<u64>,
        last: bool,
        when: Span,
    ) -> Result<(), String> {
        let kind = self.job(id)?.task.kind.clone();
        let settings = self.settings(&kind);
        let job = self.job(id)?;
        let charged = cause.charged();
        job.charged += u32::from(charged);
        job.cause = Some(cause);
        job.crashes = match cause {
            Cause::ServerCrash => job.crashes + 1,
            // It says nothing about the work.
            Cause::Released | Cause::Shutdown => job.crashes,
            _ => 0,
        };
        if cause == Cause::ServerCrash && job.crashes >= CRASHES_MAX {
            next(Status::Processing, Change::SetAside).ok_or("a claim can always be settled")?;
            job.begins(Place::Review, false);
            return Ok(());
        }
        let most = job.task.max_attempts.unwrap_or(settings.max_attempts);
        let free = (!charged).then_some(0);
        let pause = pause_ms.or(free).map_or_else(|| pause(settings, job.charged), Span::at);
        let used_up = charged && (last || (most > 0 && job.charged >= most));
        let change = match (used_up, pause.to_ms) {
            (true, _) => Change::GaveUp,
            (false, 0) => Change::Returned,
            (false, _) => Change::PutOff,
        };
        next(Status::Processing, change).ok_or("a claim can always be settled")?;
        if used_up {
            // In processing whatever the time.
            return self.end(id, Change::GaveUp, when, Now::default());
        }
        let due = if pause.to_ms == 0 { Span::default() } else { when.plus(pause) };
        job.begins(Place::Waiting(due), pause.to_ms == 0);
        Ok(())
    }

    /// What was answered about a job is how it stands.
    fn stands(&mut self, id: JobId, changed: &Changed, now: Now) -> Result<(), String> {
        let expected = self.job(id)?.status(now);
        if changed.id == id && expected.is_none_or(|status| status == changed.status) {
            return Ok(());
        }
        Err(format!("answered {changed:?}, expected {id} {expected:?}"))
    }

    fn fire(&mut self, fired: &Fired) -> Result<(), String> {
        self.timetable.fire(fired)?;
        let task = Task { kind: fired.kind.clone(), priority: fired.priority, ..Task::default() };
        self.types.entry(task.kind.clone()).or_default();
        let mut job = Job::new(task, Place::Waiting(Span::default()), true);
        job.schedule = Some((fired.schedule.clone(), fired.nominal_ms));
        match self.jobs.insert(fired.id, job) {
            None => Ok(()),
            Some(_) => Err(format!("{fired:?} is a job that was there")),
        }
    }
}

/// Whether a tick must have removed it.
fn must_be_gone(types: &BTreeMap<String, JobSettings>, job: &Job, log_ms: u64) -> bool {
    let Place::Ended(_, when) = job.place else { return false };
    kept_ms(types, job).is_some_and(|ms| when.to_ms + ms <= log_ms)
}

/// How long it is kept, if it ended.
fn kept_ms(types: &BTreeMap<String, JobSettings>, job: &Job) -> Option<u64> {
    let settings = types.get(&job.task.kind).copied().unwrap_or_default();
    match job.place {
        Place::Ended(Status::Completed, _) => Some(settings.keep_completed_ms),
        Place::Ended(Status::Cancelled, _) => Some(settings.keep_cancelled_ms),
        Place::Ended(..) => Some(settings.keep_failed_ms),
        _ => None,
    }
}

impl Jobs {
    /// Whether a job that is not there may have been kept for long enough.
    #[must_use]
    pub fn may_be_gone(&self, job: &Job, log_ms: u64) -> bool {
        let Place::Ended(_, when) = job.place else { return false };
        kept_ms(&self.types, job).is_some_and(|ms| when.from_ms + ms <= log_ms)
    }
}

/// The pause after so many charged attempts: at least half of what the exponent says.
fn pause(settings: JobSettings, charged: u32) -> Span {
    let doublings = charged.saturating_sub(1).min(40);
    let full_ms = (settings.backoff.base_ms << doublings).min(settings.backoff.max_ms);
    Span { from_ms: full_ms / 2, to_ms: full_ms }
}
