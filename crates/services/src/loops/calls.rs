//! What callers of the loop service hand in and get back.

use std::collections::BTreeMap;

use crate::loops::event::{Event, Reason, StepRef};
use crate::loops::id::LoopId;
use crate::loops::plan::Spec;
use crate::loops::state::{Status, Used};

/// What a person asks for about an execution, or about all executions of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// A draft may run.
    Approve,
    /// Nothing more is begun; a step that has begun goes on to its end.
    Pause,
    /// It goes on.
    Resume,
    /// It is called off, with the step that runs.
    Cancel,
    /// What has failed or was called off begins again behind what was done, with its whole budget.
    Retry,
}

impl Ask {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Approve, Self::Pause, Self::Resume, Self::Cancel, Self::Retry];

    /// The word used in commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }

    /// Its action in the audit log.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Approve => "loop.approve",
            Self::Pause => "loop.pause",
            Self::Resume => "loop.resume",
            Self::Cancel => "loop.cancel",
            Self::Retry => "loop.retry",
        }
    }

    /// Whether it means anything to an execution that stands so, is a draft, is paused.
    #[must_use]
    pub fn means(self, status: Status, draft: bool, paused: bool) -> bool {
        match self {
            Self::Approve => draft && !status.is_finished(),
            Self::Pause => !paused && !status.is_finished(),
            Self::Resume => paused && !status.is_finished(),
            Self::Cancel => !status.is_finished(),
            Self::Retry => matches!(status, Status::Failed | Status::Cancelled),
        }
    }
}

/// A plan that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Names it.
    pub plan: LoopId,
}

/// An execution that was forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The new plan.
    pub plan: LoopId,
    /// Its execution.
    pub execution: LoopId,
}

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Altered {
    /// The plan or the execution that was named.
    pub id: LoopId,
    /// How many executions it changed.
    pub changed: u64,
}

/// A plan as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanInfo {
    /// Names it.
    pub id: LoopId,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How many of its specs run at one time.
    pub parallel: u32,
    /// Who started it.
    pub who: String,
    /// When, log time in milliseconds.
    pub created_ms: u64,
    /// Its specs, in the order of the plan.
    pub specs: Vec<PlanSpecInfo>,
}

/// A spec of a plan as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSpecInfo {
    /// The names of those that come before it.
    pub needs: Vec<String>,
    /// Its execution.
    pub execution: ExecutionInfo,
}

/// An execution as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionInfo {
    /// Names it.
    pub id: LoopId,
    /// Its plan.
    pub plan: LoopId,
    /// What that is called.
    pub plan_name: String,
    /// What its spec is called.
    pub spec: String,
    /// How it stands.
    pub status: Status,
    /// A person approves it before it runs.
    pub draft: bool,
    /// A person paused it; a step that was begun goes on to its end.
    pub paused: bool,
    /// What it used so far; never becomes less.
    pub used: Used,
    /// What of it counts against its budget: what was used since a person had it retried.
    pub charged: Used,
    /// The step that was begun.
    pub step: Option<StepRef>,
    /// The job of that step, for those who look.
    pub job: Option<String>,
    /// What a person has to decide about.
    pub review: Option<Reason>,
    /// When it goes on by itself, log time in milliseconds.
    pub resume_at_ms: Option<u64>,
    /// The furthest that it came, in millionths.
    pub best_micros: Option<u64>,
    /// When it was made, log time in milliseconds.
    pub created_ms: u64,
    /// When something happened to it last, log time in milliseconds.
    pub updated_ms: u64,
    /// How many events it has.
    pub events: u64,
}

impl ExecutionInfo {
    /// Whether it means anything to ask this about it.
    #[must_use]
    pub fn takes(&self, ask: Ask) -> bool {
        ask.means(self.status, self.draft, self.paused)
    }
}

/// What an execution was forked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkedFrom {
    /// The original.
    pub execution: LoopId,
    /// The iteration that the fork began with.
    pub at: u32,
}

/// An execution with what it is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionDetail {
    /// How it stands.
    pub info: ExecutionInfo,
    /// What it is to do.
    pub spec: Spec,
    /// What it was forked from.
    pub forked_from: Option<ForkedFrom>,
    /// What happened to it last, oldest first; all of it by [`super::Loops::events`].
    pub last: Vec<(u64, Event)>,
}

/// A plan, or an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A plan.
    Plan(Box<PlanInfo>),
    /// An execution.
    Execution(Box<ExecutionDetail>),
}

/// Which executions are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopFilter<'a> {
    /// Only of this plan.
    pub plan: Option<LoopId>,
    /// Only these statuses; empty: all.
    pub statuses: &'a [Status],
    /// The newest first.
    pub newest_first: bool,
    /// Behind this one, in that order.
    pub after: Option<LoopId>,
    /// The most; 0: as many as a page may have.
    pub limit: usize,
}

/// A page of executions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoopPage {
    /// In the order in which they were made, or the other way round.
    pub executions: Vec<ExecutionInfo>,
    /// Whether more follow.
    pub more: bool,
}

/// A page of events, oldest first, each with its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<(u64, Event)>,
    /// Whether more follow.
    pub more: bool,
    /// Nothing can happen to the execution any more unless somebody asks for it.
    pub is_over: bool,
}

/// How many executions stand where.
pub type LoopCounts = BTreeMap<Status, u64>;
