//! What a plan says, and whether it can be done. Pure.
//!
//! Invariants: everything that is wrong with a plan is told at once, each in words that name the
//! spec and what to write instead; a plan that was checked has names that are told apart,
//! dependencies that end, bounds on everything that it may use, and an order to do it in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bytes::truncated;
use crate::jobs;
use crate::keys::queue::is_name;
use crate::limits::{
    LOOP_ARGV_BYTES_MAX, LOOP_CHECKS_MAX, LOOP_ENVIRONMENT_MAX, LOOP_INSTRUCTIONS_BYTES_MAX,
    LOOP_ITERATIONS_MAX, LOOP_PARALLEL_MAX, LOOP_PLAN_BYTES_MAX, LOOP_SPECS_MAX, LOOP_STEP_MS_MAX,
    LOOP_TEXT_BYTES_MAX, LOOP_WALL_MS_MAX, NAME_BYTES_MAX,
};
use crate::loops::order;

/// Names that begin so are the server's own in the environment of a command.
const RESERVED_PREFIX: &str = "REKINDLE_";
/// Longest branch in bytes.
pub(super) const BRANCH_BYTES_MAX: usize = NAME_BYTES_MAX;
/// So many things that are wrong are told, and that there are more.
pub(super) const WRONG_MAX: usize = 100;
/// So much of a text is shown in what is told.
const BRIEF_BYTES: usize = 64;

/// What is to be done: specs, and which of them come before others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What it is called; names its executions, and need not be another one each time.
    pub name: String,
    /// What it is for, for people.
    pub description: String,
    /// How many of its specs run at one time.
    pub parallel: u32,
    /// What is to be done, at least one.
    pub specs: Vec<Spec>,
}

/// One thing that is to be done, by iterations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What it is called within its plan.
    pub name: String,
    /// The specs that have to be completed before it begins.
    pub needs: Vec<String>,
    /// What each iteration is handed on standard input; may be empty.
    pub instructions: String,
    /// The name of the workers that it is handed to; `None`: the server itself.
    pub worker: Option<String>,
    /// What an iteration does.
    pub run: Step,
    /// What tells whether the spec is done: all of them, in this order, after the run. Without any
    /// it is done when the run ends well.
    pub checks: Vec<Step>,
    /// Where its commands run.
    pub directory: Directory,
    /// What is in the environment of its commands beside what the server has.
    pub environment: BTreeMap<String, String>,
    /// What it may use.
    pub budget: Budget,
    /// After so many iterations without progress it waits for a person; `None`: it never does.
    pub stuck_after: Option<u32>,
}

/// One command of an iteration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Whether it may be done twice: one whose end is not known after a crash is repeated then, and
    /// otherwise a person decides.
    pub idempotent: bool,
    /// How long it may take, milliseconds.
    pub time_limit_ms: u64,
}

/// Where the commands of a spec run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directory {
    /// A new one that is removed when the execution is over.
    #[default]
    Temporary,
    /// One that is there; relative to the directory that the server was started in.
    Plain(String),
    /// A worktree of a git repository, on a branch of its own.
    Worktree {
        /// Where the repository is.
        repository: String,
        /// The branch, which is made where it is not there.
        branch: String,
        /// The branch at whose end it is made; `None`, or one that is not there: where the
        /// repository stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
}

/// What an execution may use, over all its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Iterations.
    pub iterations: u32,
    /// Time between its beginning and its end, milliseconds; time that it waits or the server is
    /// away counts, time that it waits for a person does not.
    pub wall_time_ms: u64,
    /// Charged attempts: how often its claim may end badly.
    pub attempts: Option<u32>,
    /// Reported cost, in millionths of whatever is reported.
    pub cost_micros: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            iterations: 100,
            wall_time_ms: 24 * 60 * 60 * 1_000,
            attempts: None,
            cost_micros: None,
        }
    }
}

/// How a plan that can be done is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Indexes of specs: those of a wave need only those of earlier ones. In each, the order of
    /// the plan.
    pub waves: Vec<Vec<usize>>,
}

impl Plan {
    /// Says how it is done.
    ///
    /// # Errors
    /// Everything that is wrong with it, a sentence each; never empty.
    pub fn check(&self) -> Result<Checked, Vec<String>> {
        let mut wrong = Vec::new();
        let bytes = self.bytes();
        if bytes > LOOP_PLAN_BYTES_MAX {
            let most = LOOP_PLAN_BYTES_MAX;
            return Err(vec![format!(
                "the plan has {bytes} bytes; more than {most} are not taken"
            )]);
        }
        if let Some(why) = bad_name(&self.name) {
            wrong.push(format!("the plan's name {} {why}", brief(&self.name)));
        }
        if self.description.len() > LOOP_TEXT_BYTES_MAX {
            wrong.push(format!("the description is longer than {LOOP_TEXT_BYTES_MAX} bytes"));
        }
        if !(1..=LOOP_PARALLEL_MAX).contains(&self.parallel) {
            wrong.push(format!("parallel is {}; use 1 to {LOOP_PARALLEL_MAX}", self.parallel));
        }
        if self.specs.is_empty() {
            wrong.push("the plan has no spec; there is nothing to do".to_owned());
        }
        if self.specs.len() > LOOP_SPECS_MAX {
            let count = self.specs.len();
            wrong.push(format!(
                "the plan has {count} specs; more than {LOOP_SPECS_MAX} are not taken"
            ));
            return Err(wrong);
        }
        for spec in &self.specs {
            let mut of_spec = Vec::new();
            spec.check(&mut of_spec);
            let name = brief(&spec.name);
            wrong.extend(of_spec.into_iter().map(|why| format!("spec {name}: {why}")));
            if wrong.len() > WRONG_MAX {
                break;
            }
        }
        let waves = match order::waves(&self.specs) {
            Ok(waves) => waves,
            Err(more) => {
                wrong.extend(more);
                Vec::new()
            }
        };
        if wrong.is_empty() { Ok(Checked { waves }) } else { Err(told(wrong)) }
    }

    /// All its texts together.
    fn bytes(&self) -> usize {
        self.name.len() + self.description.len() + self.specs.iter().map(Spec::bytes).sum::<usize>()
    }
}

/// What is told of everything that is wrong: the first hundred things, and that there are more.
#[must_use]
pub fn told(mut wrong: Vec<String>) -> Vec<String> {
    if wrong.len() > WRONG_MAX {
        wrong.truncate(WRONG_MAX);
        wrong.push("there is more that is wrong".to_owned());
    }
    wrong
}

/// A text in quotes, or its beginning.
pub(super) fn brief(text: &str) -> String {
    match truncated(text, BRIEF_BYTES) {
        part if part.len() < text.len() => format!("{:?}", format!("{part}…")),
        _ => format!("{text:?}"),
    }
}

impl Spec {
    /// All its texts together.
    pub(super) fn bytes(&self) -> usize {
        let words = |words: &[String]| words.iter().map(|word| word.len() + 1).sum::<usize>();
        let steps = self.checks.iter().chain(std::iter::once(&self.run));
        let environment = self.environment.iter().map(|(name, value)| name.len() + value.len());
        let directory = match &self.directory {
            Directory::Temporary => 0,
            Directory::Plain(path) => path.len(),
            Directory::Worktree { repository, branch, from } => {
                repository.len() + branch.len() + from.as_ref().map_or(0, String::len)
            }
        };
        self.name.len()
            + words(&self.needs)
            + self.instructions.len()
            + self.worker.as_ref().map_or(0, String::len)
            + steps.map(|step| words(&step.argv) + 1).sum::<usize>()
            + environment.sum::<usize>()
            + directory
    }

    fn check(&self, wrong: &mut Vec<String>) {
        if let Some(why) = bad_name(&self.name) {
            wrong.push(format!("its name {why}"));
        }
        if self.instructions.len() > LOOP_INSTRUCTIONS_BYTES_MAX {
            let most = LOOP_INSTRUCTIONS_BYTES_MAX;
            wrong.push(format!("its instructions are longer than {most} bytes"));
        }
        if let Some(worker) = &self.worker
            && let Err(error) = jobs::check_type(worker)
        {
            wrong.push(format!("worker: {error}"));
        }
        self.run.check("run", wrong);
        if self.checks.len() > LOOP_CHECKS_MAX {
            wrong.push(format!("it has more than {LOOP_CHECKS_MAX} checks"));
        }
        for (number, step) in self.checks.iter().enumerate().take(LOOP_CHECKS_MAX) {
            step.check(&format!("check {}", number + 1), wrong);
        }
        self.directory.check(wrong);
        self.check_environment(wrong);
        self.budget.check(wrong);
        let Budget { iterations, .. } = self.budget;
        if self.stuck_after.is_some_and(|after| after == 0 || after > iterations) {
            let text = "stuck_after is more than its iterations, or 0; use 1 to their number";
            wrong.push(text.to_owned());
        }
    }

    fn check_environment(&self, wrong: &mut Vec<String>) {
        if self.environment.len() > LOOP_ENVIRONMENT_MAX {
            wrong.push(format!("its environment has more than {LOOP_ENVIRONMENT_MAX} names"));
        }
        for (name, value) in self.environment.iter().take(LOOP_ENVIRONMENT_MAX) {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
            if !begins || !name.bytes().all(is_word) || name.len() > NAME_BYTES_MAX {
                let name = brief(name);
                wrong.push(format!(
                    "{name} is no name of an environment variable; use letters, digits and _"
                ));
            } else if name.starts_with(RESERVED_PREFIX) {
                wrong.push(format!("{name}: names that begin with {RESERVED_PREFIX} are reserved"));
            }
            if value.contains('\0') || value.len() > LOOP_TEXT_BYTES_MAX {
                let most = LOOP_TEXT_BYTES_MAX;
                let name = brief(name);
                wrong.push(format!(
                    "the value of {name} has a zero byte, or more than {most} bytes"
                ));
            }
        }
    }
}

impl Step {
    fn check(&self, what: &str, wrong: &mut Vec<String>) {
        match self.argv.first() {
            None => wrong.push(format!("{what} has no command; write [\"program\", \"argument\"]")),
            Some(program) if program.is_empty() => {
                wrong.push(format!("the program of {what} is empty"));
            }
            Some(_) => {}
        }
        if self.argv.iter().any(|word| word.contains('\0')) {
            wrong.push(format!("an argument of {what} has a zero byte, which no program can get"));
        }
        if self.argv.iter().map(|word| word.len() + 1).sum::<usize>() > LOOP_ARGV_BYTES_MAX {
            wrong.push(format!("{what} is longer than {LOOP_ARGV_BYTES_MAX} bytes"));
        }
        if !(1..=LOOP_STEP_MS_MAX).contains(&self.time_limit_ms) {
            let days = LOOP_STEP_MS_MAX / (24 * 60 * 60 * 1_000);
            wrong.push(format!("the time limit of {what} is not between 1ms and {days} days"));
        }
    }
}

impl Directory {
    fn check(&self, wrong: &mut Vec<String>) {
        let path = |what: &str, text: &str, wrong: &mut Vec<String>| {
            if text.is_empty() || text.contains('\0') || text.len() > LOOP_TEXT_BYTES_MAX {
                wrong.push(format!("{what} {} is no path", brief(text)));
            }
        };
        match self {
            Self::Temporary => {}
            Self::Plain(text) => path("directory", text, wrong),
            Self::Worktree { repository, branch, from } => {
                path("repository", repository, wrong);
                for branch in std::iter::once(branch).chain(from).filter(|it| bad_branch(it)) {
                    wrong.push(format!("branch {} is no name that git takes", brief(branch)));
                }
            }
        }
    }
}

impl Budget {
    fn check(&self, wrong: &mut Vec<String>) {
        if !(1..=LOOP_ITERATIONS_MAX).contains(&self.iterations) {
            let got = self.iterations;
            wrong.push(format!("its budget has {got} iterations; use 1 to {LOOP_ITERATIONS_MAX}"));
        }
        if !(1..=LOOP_WALL_MS_MAX).contains(&self.wall_time_ms) {
            let days = LOOP_WALL_MS_MAX / (24 * 60 * 60 * 1_000);
            wrong.push(format!("the wall time of its budget is not between 1ms and {days} days"));
        }
        if self.attempts == Some(0) {
            wrong.push("its budget has 0 attempts; use 1 or more, or leave it out".to_owned());
        }
        if self.cost_micros == Some(0) {
            wrong.push("its budget has a cost of 0; leave it out for none".to_owned());
        }
    }
}

/// Why this cannot be a name of a plan or a spec.
fn bad_name(name: &str) -> Option<String> {
    (!is_name(name)).then(|| format!("is none; use 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -"))
}

/// Whether git would not take this as a branch (git-check-ref-format), or would take it for an
/// option.
fn bad_branch(branch: &str) -> bool {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad_part = |part: &str| {
        part.is_empty()
            || part.starts_with('.')
            || part.ends_with('.')
            || part.to_ascii_lowercase().ends_with(".lock")
    };
    branch.len() > BRANCH_BYTES_MAX
        || branch.starts_with('-')
        || branch == "@"
        || branch.contains("..")
        || branch.contains("@{")
        || branch.contains(forbidden)
        || branch.split('/').any(bad_part)
}
