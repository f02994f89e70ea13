//! `loop`: plans of iterations that go on until their checks pass.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rekindle::plan_file;
use rekindle_recovery::exit;
use rekindle_services::loops::{Checked, Plan};
use serde::Serialize;

use super::Outcome;
use super::input::read_whole;
use super::output::{Out, say};

#[derive(Args, Debug)]
pub(super) struct LoopArgs {
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
    match &args.command {
        LoopCommand::Check(args) => check(args),
    }
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
