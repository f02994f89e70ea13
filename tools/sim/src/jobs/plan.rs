//! Which request about jobs comes next.
//!
//! Invariant: as in plan.rs; what must be refused (old tokens, stale expectations, a transaction
//! with one of them in the middle) is asked on purpose.

use rekindle_services::claims::Backoff;
use rekindle_services::jobs::{Change, JobId, JobSettings, Status};
use rekindle_services::kv::Expect;
use rekindle_services::queues::Token;
use rekindle_services::schedules::Missed;

use crate::jobs::job::{Job, Place};
use crate::jobs::{Deed, JobRequest, Rota, Step, Task};
use crate::model::Model;
use crate::plan::Planner;
use crate::request::{Outgoing, Request};

/// Types: the last one is never given settings by the setup.
const KINDS: [&str; 3] = ["build", "report", "bare"];

/// Unfinished jobs of a type above which none is submitted.
const UNFINISHED_MAX: usize = 7;

/// Requests with which every run with jobs begins, so that each kind of row is there early.
pub const SETUP: usize = 12;

impl Planner {
    /// The request of the setup at this place.
    pub(crate) fn job_setup(&mut self, at: usize, model: &Model) -> Request {
        let identity = self.identify(1);
        Request::Job(match at {
            0 | 1 => {
                let kind = if at == 0 { "build" } else { "report" };
                JobRequest::SetType(kind.to_owned(), settings(kind, 0), identity)
            }
            2 => {
                let mut tasks: Vec<Task> = (0..2).map(|_| self.task("build")).collect();
                for (task, key) in tasks.iter_mut().zip([Some("one"), None]) {
                    task.unique = key.map(|key| (key.to_owned(), 0));
                    task.in_ms = 0;
                }
                let identity = self.identify(2);
                JobRequest::Submit(tasks, identity)
            }
            3 | 7 => JobRequest::Submit(vec![Task { in_ms: 0, ..self.task("bare") }], None),
            4 | 8 => {
                let kinds = KINDS.map(str::to_owned).to_vec();
                let inside = self.length.executors && at == 8;
                JobRequest::Claim { kinds, max: 2, lease_ms: None, inside }
            }
            5 | 9 => {
                let deed = Deed::Heartbeat { by_ms: 15_000, progress: Some(at as u64) };
                self.work_with(model, deed)
            }
            6 => self.work_with(model, Deed::Complete { mark: 0 }),
            10 => JobRequest::Schedule("steady".to_owned(), rota("steady"), identity),
            _ => JobRequest::Schedule("lone".to_owned(), rota("lone"), identity),
        })
    }

    fn work_with(&mut self, model: &Model, deed: Deed) -> JobRequest {
        let tokens = model.jobs.live_tokens();
        let items = tokens.into_iter().take(1).map(|token| (token, deed)).collect();
        JobRequest::Work(items, self.identify(1))
    }

    /// Any request about jobs.
    pub(crate) fn draw_job(&mut self, model: &Model) -> Request {
        let drawn = self.random.u8(..100);
        let request = match drawn {
            0..=3 => return Request::Tick,
            4..=6 => return Request::Idle,
            7..=23 => self.submit_jobs(model),
            24..=41 => self.claim(),
            42..=67 => self.work(model),
            68..=72 => self.alter(model, Change::Cancelled),
            73..=79 => self.alter(model, Change::Retried),
            80..=81 => self.set_type(),
            82..=84 => self.schedule(model),
            _ => self.transact(model),
        };
        Request::Job(request)
    }

    fn kind(&mut self) -> &'static str {
        // Jobs of the last one are kept for a day.
        let at = if self.random.u8(..14) == 0 { 2 } else { self.random.usize(..2) };
        KINDS.get(at).copied().unwrap_or("build")
    }

    fn task(&mut self, kind: &str) -> Task {
        self.serial += 1;
        let priority = *self.random.choice(&[0, 0, 0, 5, -3]).unwrap_or(&0);
        let in_ms = *self.random.choice(&[0, 0, 0, 0, 1_200, 9_000]).unwrap_or(&0);
        let max_attempts = (self.random.u8(..5) == 0).then_some(1);
        let unique = match self.random.u8(..8) {
            0 => Some(("one".to_owned(), 0)),
            1 => Some(("two".to_owned(), 0)),
            2 => Some(("hour".to_owned(), 30_000)),
            _ => None,
        };
        let (serial, kind) = (self.serial, kind.to_owned());
        Task { serial, mark: 0, kind, priority, in_ms, max_attempts, unique }
    }

    fn submit_jobs(&mut self, model: &Model) -> JobRequest {
        let kind = self.kind();
        let unfinished = |job: &&Job| job.task.kind == kind && job.is_unfinished();
        if model.jobs.jobs.values().filter(unfinished).count() > UNFINISHED_MAX {
            return self.claim();
        }
        let count = if self.random.u8(..3) == 0 { self.random.u64(2..=3) } else { 1 };
        let tasks = (0..count).map(|_| self.task(kind)).collect();
        let identity = self.identify(count).filter(|_| !self.asked.is_multiple_of(3));
        JobRequest::Submit(tasks, identity)
    }

    fn claim(&mut self) -> JobRequest {
        let mut kinds: Vec<String> = KINDS.map(str::to_owned).to_vec();
        self.random.shuffle(&mut kinds);
        kinds.truncate(self.random.usize(1..=3));
        let lease_ms = (self.random.u8(..4) == 0).then_some(12_000);
        let max = self.random.usize(1..=3);
        let inside = self.length.executors && self.random.bool();
        JobRequest::Claim { kinds, max, lease_ms, inside }
    }

    /// What an executor says of its work.
    fn inside_deed(&mut self) -> Deed {
        match self.random.u8(..15) {
            0..=3 => Deed::Complete { mark: 0 },
            4 => Deed::Fail { retry_in_ms: None, last: false },
            5 => Deed::Release,
            6 => Deed::Stop,
            7..=9 => Deed::Died,
            10 => Deed::WorkerDied,
            11 => Deed::Heartbeat { by_ms: 3_000, progress: Some(self.random.u64(1..100)) },
            12 => Deed::Hold { by_ms: 3_000 },
            _ => Deed::Hold { by_ms: 30_000 },
        }
    }

    /// What the worker with this token says; now and then in words that mean nothing from outside.
    fn deed_with(&mut self, model: &Model, token: Token) -> Deed {
        let mut held = model.jobs.jobs.values().filter(|job| job.token == Some(token));
        let held = held.find(|job| job.inside.is_some());
        let (inside, killer) = (held.is_some(), held.is_some_and(|job| job.crashes > 0));
        // Work that kills the server does so again.
        if killer && self.random.u8(..8) > 0 {
            return Deed::Died;
        }
        if self.length.executors && (inside || self.random.u8(..16) == 0) {
            return self.inside_deed();
        }
        self.deed()
    }

    fn deed(&mut self) -> Deed {
        match self.random.u8(..12) {
            0..=4 => Deed::Complete { mark: 0 },
            5 | 6 => Deed::Fail { retry_in_ms: None, last: false },
            7 => Deed::Fail { retry_in_ms: Some(2_500), last: false },
            8 => Deed::Fail { retry_in_ms: None, last: true },
            9 => Deed::Release,
            10 => Deed::Heartbeat { by_ms: 10_000, progress: None },
            _ => Deed::Heartbeat { by_ms: 3_000, progress: Some(self.random.u64(1..100)) },
        }
    }

    fn work(&mut self, model: &Model) -> JobRequest {
        let mut tokens: Vec<Token> = match self.random.u8(..5) {
            // Finished, or claimed by somebody else: to be refused, beside one that is not.
            0 => {
                let live = model.jobs.live_tokens();
                model.jobs.fenced.iter().copied().chain(live.first().copied()).collect()
            }
            // Late ones, too.
            1 => model.jobs.jobs.values().filter_map(|job| job.token).collect(),
            _ => model.jobs.live_tokens(),
        };
        self.random.shuffle(&mut tokens);
        tokens.truncate(self.random.usize(1..=3));
        if tokens.is_empty() {
            return self.claim();
        }
        let items: Vec<(Token, Deed)> =
            tokens.into_iter().map(|token| (token, self.deed_with(model, token))).collect();
        let identity = self.identify(items.len() as u64).filter(|_| self.asked % 3 != 1);
        JobRequest::Work(items, identity)
    }

    fn alter(&mut self, model: &Model, change: Change) -> JobRequest {
        let suits = |job: &Job| match change {
            Change::Cancelled => job.is_unfinished(),
            _ => match job.place {
                Place::Ended(status, _) => status != Status::Completed,
                Place::Waiting(due) => due.to_ms > 0,
                Place::Appointed(_) => true,
                Place::Claimed(_) | Place::Review => false,
            },
        };
        // Some are asked for what is not allowed.
        let any = self.random.u8(..6) == 0;
        let jobs = model.jobs.jobs.iter().filter(|(_, job)| any || suits(job));
        let ids: Vec<JobId> = jobs.map(|(id, _)| *id).collect();
        let Some(id) = self.random.choice(ids) else { return self.claim() };
        let identity = self.identify(1).filter(|_| self.asked.is_multiple_of(2));
        JobRequest::Alter(id, change, identity)
    }

    fn set_type(&mut self) -> JobRequest {
        let (kind, which) = (self.kind(), self.random.u32(..3));
        JobRequest::SetType(kind.to_owned(), settings(kind, which), self.identify(1))
    }

    fn schedule(&mut self, model: &Model) -> JobRequest {
        let name = *self.random.choice(&["steady", "lone", "late"]).unwrap_or(&"lone");
        let there = model.jobs.timetable.schedules.contains_key(name);
        let identity = self.identify(1).filter(|_| self.asked.is_multiple_of(2));
        if there && self.random.u8(..4) > 0 {
            return JobRequest::Unschedule(name.to_owned(), identity);
        }
        JobRequest::Schedule(name.to_owned(), rota(name), identity)
    }

    /// Operations on everything that there is; in some of them one that must be refused.
    fn transact(&mut self, model: &Model) -> JobRequest {
        self.mark += 1;
        let mark = self.mark;
        let value = mark.to_be_bytes().to_vec();
        let mut steps = vec![Step::Put(mark_key(mark), value)];
        if self.random.bool() {
            let key = self.name();
            let found = model.kv.get(&key).map(|(version, _)| *version);
            steps.push(Step::Check(key, found.map_or(Expect::Absent, Expect::Version)));
        }
        if self.random.bool() {
            self.serial += 1;
            let message = Outgoing { serial: self.serial, key: "a".to_owned(), delay_ms: 0 };
            steps.push(Step::Send("orders".to_owned(), message));
        }
        if let Some(token) = self.random.choice(model.live_tokens()) {
            steps.push(Step::Ack(token));
        }
        if let Some(token) = self.random.choice(model.jobs.live_tokens()) {
            let fails = self.random.u8(..4) == 0;
            let done = if fails { self.deed() } else { Deed::Complete { mark } };
            steps.push(Step::Work(token, done));
        }
        if self.random.u8(..3) > 0 {
            let kind = self.kind();
            steps.push(Step::Submit(Task { mark, ..self.task(kind) }));
        }
        self.random.shuffle(&mut steps);
        let refused = self.random.u8(..3) == 0;
        if refused {
            let at = self.random.usize(1..=steps.len());
            let wrong = self.wrong_step(model);
            steps.insert(at, wrong);
        }
        let identity = self.identify(1).filter(|_| self.asked.is_multiple_of(2));
        JobRequest::Run { mark, steps, refused, identity }
    }

    fn wrong_step(&mut self, model: &Model) -> Step {
        let wrong = self.random.u8(..4);
        let fenced = model.fenced.back().copied();
        let done = model.jobs.fenced.back().copied();
        match (wrong, fenced, done) {
            (0, Some(token), _) => Step::Ack(token),
            (1 | 2, _, Some(token)) => Step::Work(token, Deed::Complete { mark: 0 }),
            (3, ..) => {
                self.serial += 1;
                let message = Outgoing { serial: self.serial, key: String::new(), delay_ms: 0 };
                Step::Send("nowhere".to_owned(), message)
            }
            _ => {
                let key = self.name();
                let found = model.kv.get(&key).map_or(0, |(version, _)| *version);
                Step::Check(key, Expect::Version(found + 1))
            }
        }
    }
}

/// Under which key of the kv service a transaction leaves its mark.
#[must_use]
pub fn mark_key(mark: u64) -> Vec<u8> {
    format!("mark-{mark:05}").into_bytes()
}

/// Settings of a type, and some others.
fn settings(kind: &str, which: u32) -> JobSettings {
    let quick = kind == "build";
    let backoff = match which {
        0 if quick => Backoff { base_ms: 0, max_ms: 0 },
        _ => Backoff { base_ms: 2_000, max_ms: 7_000 },
    };
    JobSettings {
        lease_ms: if quick { 4_000 } else { 20_000 },
        max_attempts: if quick { 3 } else { 2 } + which,
        backoff,
        concurrency: if quick { 0 } else { 2 + which },
        keep_completed_ms: 45_000,
        keep_failed_ms: 90_000,
        keep_cancelled_ms: 30_000,
        ..JobSettings::default()
    }
}

/// The schedule of a name.
fn rota(name: &str) -> Rota {
    let (kind, every_s, missed, priority) = match name {
        "steady" => ("build", 20, Missed::All, -1),
        "lone" => ("report", 30, Missed::One, 0),
        _ => ("build", 120, Missed::Skip, 7),
    };
    Rota { kind: kind.to_owned(), every_s, missed, priority }
}
