//! `loop`: plans of iterations that go on until their checks pass.

mod shown;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use rekindle::plan_file;
use rekindle_recovery::exit;
use rekindle_services::loops::{Ask, Checked, LoopId, Plan};
use serde::Serialize;
use serde_json::{Value, json};

use super::audit::{ask, list};
use super::failure::Failure;
use super::http::{self, Admin};
use super::input::read_whole;
use super::output::{Out, say};
use super::{Outcome, page};

/// How often it is looked for new events.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Args, Debug)]
pub(super) struct LoopArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(subcommand)]
    command: LoopCommand,
}

#[derive(Debug, Subcommand)]
enum LoopCommand {
    /// Check a file with a plan: what is wrong with it, or in which order it is done
    ///
    /// Needs no server and changes nothing. All that is wrong with what it says is told at once, a
    /// line each (exit code 1).
    Check(CheckArgs),
    /// Start a plan; prints its id
    ///
    /// The plan is checked first, as `check` does it. A server runs the commands of specs that name
    /// no worker when it was started with --loop-commands.
    Start {
        /// The plan: TOML, YAML, JSON, or Markdown with front matter; - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// It waits until somebody approves it
        #[arg(long)]
        draft: bool,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Approve a draft: it runs
    Approve(AlterArgs),
    /// List executions
    List {
        /// Only those of this plan
        #[arg(long, value_name = "ID")]
        plan: Option<LoopId>,
        /// Only these statuses, separated by commas
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// The newest first
        #[arg(long)]
        newest: bool,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = page)]
        limit: u64,
        /// Those behind this one
        #[arg(long, value_name = "ID")]
        after: Option<LoopId>,
        /// One line of JSON for each
        #[arg(long)]
        json: bool,
    },
    /// Show a plan with its executions, or one execution with what happened to it last
    Show {
        /// A plan or an execution
        id: LoopId,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the events of an execution, a line of JSON each, until it is over
    Follow {
        /// The execution
        id: LoopId,
        /// Only events behind this number
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u64,
    },
    /// Begin nothing more; a step that runs goes on to its end
    Pause(AlterArgs),
    /// Go on
    Resume(AlterArgs),
    /// Call off, with the step that runs
    Cancel(AlterArgs),
    /// Begin what has failed or was cancelled again, behind what was done
    Retry(AlterArgs),
    /// Begin a new plan as an execution stood before one of its iterations; prints its execution
    ///
    /// The execution may have any status, and is not changed. What it had used stays used; files
    /// are not taken back, and the fork has a directory of its own, or a branch.
    Fork {
        /// An execution
        id: LoopId,
        /// The iteration that the fork begins with: one that was begun, or the next one
        #[arg(long, value_name = "N")]
        at: u32,
        /// Why, for the audit log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the directories of executions that are over; the server does it by itself, too
    Cleanup {
        /// Only say what would be removed, and what is kept and why
        #[arg(long)]
        dry_run: bool,
        /// One line of JSON for each
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct AlterArgs {
    /// A plan (all its executions) or an execution
    id: LoopId,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// The plan: TOML, YAML, JSON, or Markdown with front matter; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The plan as JSON, with all defaults, and the order
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &LoopArgs) -> Outcome {
    let admin = &args.admin;
    match &args.command {
        LoopCommand::Check(args) => check(args),
        LoopCommand::Start { file, draft, json } => start(admin, file, *draft, *json),
        LoopCommand::Approve(alter) => altered(admin, alter, Ask::Approve),
        LoopCommand::Pause(alter) => altered(admin, alter, Ask::Pause),
        LoopCommand::Resume(alter) => altered(admin, alter, Ask::Resume),
        LoopCommand::Cancel(alter) => altered(admin, alter, Ask::Cancel),
        LoopCommand::Retry(alter) => altered(admin, alter, Ask::Retry),
        LoopCommand::List { plan, status, newest, limit, after, json } => {
            let id = |id: &Option<LoopId>| id.map(|id| id.to_string()).unwrap_or_default();
            let (plan, after) = (id(plan), id(after));
            let order = if *newest { "newest" } else { "oldest" };
            let status = status.as_deref().unwrap_or_default();
            if !status.bytes().all(|byte| byte.is_ascii_lowercase() || b"_,".contains(&byte)) {
                let message = format!("{status:?} are no statuses of executions");
                return Err(Failure::new(exit::REFUSED, message));
            }
            let query = [("plan", plan.as_str()), ("status", status), ("after", after.as_str())];
            let query = query.into_iter().filter(|(_, value)| !value.is_empty());
            let query: String = query.map(|(name, value)| format!("&{name}={value}")).collect();
            let answer = ask(admin, &format!("/v1/loops?limit={limit}&order={order}{query}"))?;
            let mut out = Out::new();
            let executions = list(&answer, "executions");
            if *json {
                executions.iter().try_for_each(|execution| out.json(execution))?;
            } else {
                out.line(&shown::executions(&executions))?;
            }
            out.flush()?;
            if answer.get("next").is_some_and(Value::is_string) {
                say("more follow: use --after with the last id");
            }
            Ok(exit::CLEAN)
        }
        LoopCommand::Show { id, json } => {
            let answer = ask(admin, &format!("/v1/loops/{id}"))?;
            let mut out = Out::new();
            if *json {
                out.json(&answer)?;
            } else {
                shown::one(&answer).iter().try_for_each(|line| out.line(line))?;
            }
            out.flush()?;
            Ok(exit::CLEAN)
        }
        LoopCommand::Follow { id, after } => follow(admin, *id, *after),
        LoopCommand::Fork { id, at, reason, json } => fork(admin, *id, (*at, reason), *json),
        LoopCommand::Cleanup { dry_run, json } => cleanup(admin, *dry_run, *json),
    }
}

fn start(admin: &Admin, file: &Path, draft: bool, json: bool) -> Outcome {
    let bytes = read_whole(Some(file))?;
    let plan = plan_file::parse(file, &bytes).and_then(|plan| plan.check().map(|_| plan));
    let plan = match plan {
        Ok(plan) => plan,
        Err(wrong) => {
            wrong.iter().for_each(|why| say(&format!("{}: {why}", shown(file))));
            return Ok(exit::REFUSED);
        }
    };
    let body = json!({ "plan": plan, "draft": draft });
    let answer = http::post(admin.address(), "/v1/loops", &body)?;
    let mut out = Out::new();
    if json {
        out.json(&answer)?;
    } else {
        out.line(answer.get("id").and_then(Value::as_str).unwrap_or_default())?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

fn altered(admin: &Admin, alter: &AlterArgs, asked: Ask) -> Outcome {
    let path = format!("/v1/loops/{}/{}", alter.id, asked.as_str());
    let answer = http::post(admin.address(), &path, &json!({ "reason": alter.reason }))?;
    let mut out = Out::new();
    let changed = answer.get("changed").and_then(Value::as_u64).unwrap_or_default();
    let of = if changed == 1 { "1 execution".to_owned() } else { format!("{changed} executions") };
    out.line(&format!("{}: {}, {of}", alter.id, asked.as_str()))?;
    out.flush()?;
    Ok(exit::CLEAN)
}

fn fork(admin: &Admin, id: LoopId, (at, reason): (u32, &str), json: bool) -> Outcome {
    let body = json!({ "at": at, "reason": reason });
    let answer = http::post(admin.address(), &format!("/v1/loops/{id}/fork"), &body)?;
    let mut out = Out::new();
    if json {
        out.json(&answer)?;
    } else {
        out.line(answer.get("execution").and_then(Value::as_str).unwrap_or_default())?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

/// Prints what happens, until nothing does any more.
fn follow(admin: &Admin, id: LoopId, mut after: u64) -> Outcome {
    let mut out = Out::new();
    loop {
        let answer = ask(admin, &format!("/v1/loops/{id}/events?after={after}"))?;
        for event in list(&answer, "events") {
            after = event.get("sequence").and_then(Value::as_u64).unwrap_or(after);
            out.json(&event)?;
        }
        out.flush()?;
        let is = |name: &str| answer.get(name).and_then(Value::as_bool) == Some(true);
        if is("over") && !is("more") {
            return Ok(exit::CLEAN);
        }
        if !is("more") {
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}

fn cleanup(admin: &Admin, dry_run: bool, json: bool) -> Outcome {
    let answer = match dry_run {
        true => ask(admin, "/v1/loops/cleanup")?,
        false => http::post(admin.address(), "/v1/loops/cleanup", &json!({}))?,
    };
    let mut out = Out::new();
    for one in list(&answer, "directories") {
        if json {
            out.json(&one)?;
            continue;
        }
        let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
        out.line(&format!("{}  {}: {}", text("action"), text("path"), text("why")))?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

fn check(args: &CheckArgs) -> Outcome {
    let bytes = read_whole(Some(&args.file))?;
    let checked = plan_file::parse(&args.file, &bytes)
        .and_then(|plan| plan.check().map(|checked| (plan, checked)));
    let (plan, checked) = match checked {
        Ok(both) => both,
        Err(wrong) => {
            wrong.iter().for_each(|why| say(&format!("{}: {why}", shown(&args.file))));
            return Ok(exit::REFUSED);
        }
    };
    let mut out = Out::new();
    if args.json {
        out.json(&Answer { plan: &plan, order: names(&plan, &checked) })?;
    } else {
        lines(&plan, &checked).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    Ok(exit::CLEAN)
}

fn shown(file: &Path) -> String {
    match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// The names of the specs by waves.
    order: Vec<Vec<&'a str>>,
}

fn names<'a>(plan: &'a Plan, checked: &Checked) -> Vec<Vec<&'a str>> {
    let name = |index: &usize| plan.specs.get(*index).map(|spec| spec.name.as_str());
    checked.waves.iter().map(|wave| wave.iter().filter_map(name).collect()).collect()
}

/// What it does and in which order, for people.
fn lines(plan: &Plan, checked: &Checked) -> Vec<String> {
    let count = |number: usize, one: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    };
    let (specs, waves) = (plan.specs.len(), checked.waves.len());
    let mut lines = vec![format!(
        "plan {} can be done: {}, {}, {} at one time",
        plan.name,
        count(specs, "spec"),
        count(waves, "wave"),
        plan.parallel
    )];
    for (number, wave) in (1..).zip(&checked.waves) {
        for spec in wave.iter().filter_map(|index| plan.specs.get(*index)) {
            let after = match spec.needs.as_slice() {
                [] => String::new(),
                needs => format!(", after {}", needs.join(" and ")),
            };
            lines.push(format!(
                "  {number}  {}{after}: {}, at most {}",
                spec.name,
                count(spec.checks.len(), "check"),
                count(usize::try_from(spec.budget.iterations).unwrap_or(usize::MAX), "iteration")
            ));
        }
    }
    lines
}
