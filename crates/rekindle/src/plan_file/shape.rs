//! The shape that all files with plans have, and the plan that they mean.

use std::collections::BTreeMap;
use std::fmt;

use rekindle_services::limits::LOOP_PLAN_BYTES_MAX;
use rekindle_services::loops::{Budget, Directory, Plan, Spec, Step};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::values::parse_duration;

/// How long a step may take that does not say so: an hour.
const STEP_MS: u64 = 60 * 60 * 1_000;
/// Most of a cost that is told apart from none: a million millions.
const COST_MAX: f64 = 1e12;

/// A plan as it is written down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default = "one")]
    parallel: u32,
    #[serde(default)]
    budget: Limits,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default, alias = "spec")]
    pub(super) specs: Vec<Part>,
}

/// A spec as it is written down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) name: String,
    #[serde(default)]
    needs: Vec<String>,
    pub(super) instructions: Option<String>,
    worker: Option<String>,
    run: Work,
    #[serde(default, alias = "check")]
    checks: Vec<Work>,
    directory: Option<String>,
    worktree: Option<Worktree>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    budget: Limits,
    stuck_after: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Worktree {
    repository: String,
    branch: String,
    from: Option<String>,
}

/// What may be used, as far as it is said.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    iterations: Option<u32>,
    wall_time: Option<Ms>,
    attempts: Option<u32>,
    cost: Option<Cost>,
}

impl Limits {
    /// These, and where they say nothing those of the plan.
    fn budget(self, of_plan: Self) -> Budget {
        let default = Budget::default();
        let wall_time = self.wall_time.or(of_plan.wall_time).map(|Ms(ms)| ms);
        Budget {
            iterations: self.iterations.or(of_plan.iterations).unwrap_or(default.iterations),
            wall_time_ms: wall_time.unwrap_or(default.wall_time_ms),
            attempts: self.attempts.or(of_plan.attempts),
            cost_micros: self.cost.or(of_plan.cost).map(|Cost(micros)| micros),
        }
    }
}

/// A step as it is written down: a list of words, or a table.
#[derive(Debug)]
struct Work {
    argv: Vec<String>,
    idempotent: Option<bool>,
    time_limit: Option<Ms>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    argv: Vec<String>,
    idempotent: Option<bool>,
    time_limit: Option<Ms>,
}

impl<'de> Deserialize<'de> for Work {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Work;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a list of words, such as [\"cargo\", \"test\"], or a table with argv, \
                     idempotent and time_limit",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<Work, A::Error> {
                let argv = Vec::deserialize(SeqAccessDeserializer::new(words))?;
                Ok(Work { argv, idempotent: None, time_limit: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Work, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let Table { argv, idempotent, time_limit } = table;
                Ok(Work { argv, idempotent, time_limit })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Work {
    fn step(self, idempotent: bool) -> Step {
        Step {
            argv: self.argv,
            idempotent: self.idempotent.unwrap_or(idempotent),
            time_limit_ms: self.time_limit.map_or(STEP_MS, |Ms(ms)| ms),
        }
    }
}

/// A duration in milliseconds, written as `250ms`, `5s`, `10m` or `1h`.
#[derive(Clone, Copy, Debug)]
struct Ms(u64);

impl<'de> Deserialize<'de> for Ms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ms = parse_duration(&text).and_then(|it| u64::try_from(it.as_millis()).ok());
        let wrong = || format!("{text:?} is not a duration (a number and ms, s, m or h)");
        ms.map(Self).ok_or_else(|| D::Error::custom(wrong()))
    }
}

/// A cost in millionths.
#[derive(Clone, Copy, Debug)]
struct Cost(u64);

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cost = f64::deserialize(deserializer)?;
        if !(0.0..=COST_MAX).contains(&cost) {
            return Err(D::Error::custom(format!("{cost} is not a cost from 0 to {COST_MAX}")));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self((cost * 1e6).round() as u64))
    }
}

fn one() -> u32 {
    1
}

impl File {
    /// What it means.
    pub(super) fn plan(self) -> Result<Plan, Vec<String>> {
        let mut wrong = Vec::new();
        let (environment, budget) = (self.environment, self.budget);
        // It is copied into each spec.
        let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes.saturating_mul(self.specs.len()) > LOOP_PLAN_BYTES_MAX {
            return Err(vec![format!(
                "the environment of the plan, once for each spec, has more than \
                 {LOOP_PLAN_BYTES_MAX} bytes"
            )]);
        }
        let mut specs = Vec::with_capacity(self.specs.len());
        for part in self.specs {
            let directory = match (part.directory, part.worktree) {
                (None, None) => Directory::Temporary,
                (Some(path), None) => Directory::Plain(path),
                (None, Some(Worktree { repository, branch, from })) => {
                    Directory::Worktree { repository, branch, from }
                }
                (Some(_), Some(_)) => {
                    let name = &part.name;
                    wrong
                        .push(format!("spec {name:?}: it has a directory and a worktree; use one"));
                    continue;
                }
            };
            let mut all = environment.clone();
            all.extend(part.environment);
            specs.push(Spec {
                name: part.name,
                needs: part.needs,
                instructions: part.instructions.unwrap_or_default(),
                worker: part.worker,
                run: part.run.step(false),
                checks: part.checks.into_iter().map(|work| work.step(true)).collect(),
                directory,
                environment: all,
                budget: part.budget.budget(budget),
                stuck_after: part.stuck_after,
            });
        }
        let (name, description, parallel) = (self.name, self.description, self.parallel);
        if wrong.is_empty() { Ok(Plan { name, description, parallel, specs }) } else { Err(wrong) }
    }
}
