//! What happens to an execution, one thing at a time. Pure.
//!
//! Invariants: an event is one transaction and one line of the transcript; the events of an
//! execution alone say everything about it, so its state can be rebuilt from them; times are log
//! time, so they never go back. Persisted and read by people's scripts: names and fields are
//! stable, and new ones have defaults.

use serde::{Deserialize, Serialize};

use crate::loops::id::LoopId;
use crate::loops::plan::Spec;
use crate::loops::state::ForkPoint;

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Log time, milliseconds.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The plan of an execution, as its first event has it: enough to make the plan again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRef {
    /// Names it.
    pub id: LoopId,
    /// What it is called.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How many of its specs run at one time.
    pub parallel: u32,
    /// How many specs it has.
    pub specs: u32,
    /// Which of them this one is, from 0.
    pub index: u32,
    /// Who started it.
    pub who: String,
}

/// A step of an execution: what is done, which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// The iteration, from 1.
    pub iteration: u32,
    /// 0: its run; n: its check n.
    pub step: u32,
    /// The attempt at this step, from 1.
    pub attempt: u32,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// It was made, from this spec.
    Created {
        /// The plan that it is of.
        plan: Box<PlanRef>,
        /// What it is to do.
        spec: Box<Spec>,
        /// A person approves it before it runs.
        draft: bool,
        /// Specs that it needs are not completed yet.
        blocked: bool,
        /// What it was forked from, and how it begins because of that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fork: Option<Box<ForkPoint>>,
    },
    /// A person approved it.
    Approved {
        /// Who.
        who: String,
    },
    /// What it needs is completed.
    Unblocked,
    /// The intent: a step is about to begin.
    StepStarted(StepRef),
    /// The outcome: it ended.
    StepEnded {
        /// Which.
        #[serde(flatten)]
        step: StepRef,
        /// How.
        outcome: Outcome,
        /// What it said of itself.
        #[serde(default, skip_serializing_if = "Report::is_empty")]
        report: Report,
        /// The end of what it printed.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        output: String,
    },
    /// It is proved that it did not begin: it is as if it had not been started.
    StepNotBegun(StepRef),
    /// How it ended is not known, and it may be done twice.
    StepLost {
        /// Which.
        #[serde(flatten)]
        step: StepRef,
        /// What is known.
        why: String,
    },
    /// A person has to decide.
    SetAside {
        /// What about.
        #[serde(flatten)]
        reason: Reason,
    },
    /// A person decided.
    Decided {
        /// What.
        decision: Decision,
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
    /// Whoever worked on it was lost: an attempt is charged.
    Interrupted {
        /// The cause, in a word of claims.
        cause: String,
    },
    /// A person paused it; a step that has begun goes on to its end.
    Paused {
        /// Who.
        who: String,
    },
    /// A person let it go on.
    Resumed {
        /// Who.
        who: String,
    },
    /// All that it was for is done.
    Completed,
    /// It was given up.
    Failed {
        /// Why.
        why: String,
    },
    /// A person called it off.
    Cancelled {
        /// Who.
        who: String,
    },
    /// A person has it tried again, with its whole budget.
    Retried {
        /// Who.
        who: String,
    },
}

impl What {
    /// The word that it has in a transcript.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Approved { .. } => "approved",
            Self::Unblocked => "unblocked",
            Self::StepStarted(_) => "step_started",
            Self::StepEnded { .. } => "step_ended",
            Self::StepNotBegun(_) => "step_not_begun",
            Self::StepLost { .. } => "step_lost",
            Self::SetAside { .. } => "set_aside",
            Self::Decided { .. } => "decided",
            Self::Interrupted { .. } => "interrupted",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Completed => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
            Self::Retried { .. } => "retried",
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// By itself, with this code; 0 is well.
    Exited(i32),
    /// By a signal.
    Signaled(i32),
    /// By its time limit.
    TimedOut,
    /// The machine did not let it start: why.
    NotRun(String),
    /// A worker outside says that it went wrong: why.
    Failed(String),
    /// It was called off with its execution.
    CalledOff,
}

impl Outcome {
    /// Whether it ended well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        *self == Self::Exited(0)
    }
}

/// What an iteration says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How far it is, in millionths of whatever it counts; more is further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_micros: Option<u64>,
    /// What it cost, in millionths.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cost_micros: u64,
    /// Not before this log time: somebody limits its rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_at_ms: Option<u64>,
}

impl Report {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a person has to decide about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// A step began, nobody knows how it ended, and it must not be done twice.
    Unknown {
        /// Which.
        #[serde(flatten)]
        step: StepRef,
        /// What is known.
        why: String,
    },
    /// So many iterations brought it no further.
    Stuck {
        /// How many.
        iterations: u32,
    },
    /// Nothing was alive for longer than it goes on by itself.
    Interrupted {
        /// How long, milliseconds.
        down_ms: u64,
    },
    /// It was made again from its transcript, whose end may be missing.
    Rebuilt {
        /// Events that are known to be lost.
        lost: u64,
    },
    /// Whoever worked on it was lost too often in a row.
    Crashes {
        /// How often.
        times: u32,
    },
}

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It goes on; a step whose end is not known is done again.
    GoOn,
    /// The step whose end is not known ended well.
    Done,
    /// It is given up.
    Fail,
}
