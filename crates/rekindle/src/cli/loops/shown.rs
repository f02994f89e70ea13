//! Plans and executions, for people.

use rekindle_recovery::report::utc;
use serde_json::Value;

use super::super::output::table;

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// The step that was begun: `2 run`, `2 check 1`.
fn step(execution: &Value) -> String {
    let Some(step) = execution.get("step").filter(|step| !step.is_null()) else {
        return String::new();
    };
    format!("{} {}", number(step, "iteration"), step_name(step))
}

fn step_name(step: &Value) -> String {
    match number(step, "step") {
        0 => "run".to_owned(),
        check => format!("check {check}"),
    }
}

/// A table of executions.
pub(super) fn executions(executions: &[Value]) -> String {
    let heading = ["EXECUTION", "PLAN", "SPEC", "STATUS", "ITERATIONS", "STEP", "CHANGED"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for execution in executions {
        let used = execution.get("used").cloned().unwrap_or_default();
        rows.push(vec![
            text(execution, "id"),
            text(execution, "plan_name"),
            text(execution, "spec"),
            text(execution, "status"),
            number(&used, "iterations").to_string(),
            step(execution),
            utc(number(execution, "updated_ms")),
        ]);
    }
    table(&rows)
}

/// A plan or an execution.
pub(super) fn one(value: &Value) -> Vec<String> {
    if text(value, "kind") == "plan" { plan(value) } else { execution(value) }
}

fn plan(value: &Value) -> Vec<String> {
    let mut lines = vec![format!(
        "plan {} ({}), by {}, {} at one time",
        text(value, "name"),
        text(value, "id"),
        text(value, "by"),
        number(value, "parallel")
    )];
    let specs = value.get("specs").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_specs: Vec<Value> =
        specs.iter().filter_map(|spec| spec.get("execution").cloned()).collect();
    lines.push(executions(&of_specs));
    lines
}

fn execution(value: &Value) -> Vec<String> {
    let used = value.get("used").cloned().unwrap_or_default();
    let mut lines = vec![
        format!("execution {}", text(value, "id")),
        format!("spec       {} of plan {}", text(value, "spec"), text(value, "plan_name")),
        format!("status     {}", text(value, "status")),
        format!(
            "used       {} iterations, {} attempts, {} s",
            number(&used, "iterations"),
            number(&used, "attempts"),
            number(&used, "wall_time_ms") / 1_000
        ),
    ];
    if let Some(from) = value.get("forked_from").filter(|from| !from.is_null()) {
        let (at, original) = (number(from, "at"), text(from, "execution"));
        lines.push(format!("forked     from {original} at iteration {at}"));
    }
    let step = step(value);
    if !step.is_empty() {
        lines.push(format!("step       {step}"));
    }
    if let Some(review) = value.get("review").filter(|review| !review.is_null()) {
        let (reason, why) = (text(review, "reason"), text(review, "why"));
        lines.push(format!("review     {reason} {why}").trim_end().to_owned());
    }
    let events = value.get("last_events").and_then(Value::as_array).cloned().unwrap_or_default();
    lines.extend(events.iter().map(event));
    lines
}

/// One thing that happened, on a line.
fn event(event: &Value) -> String {
    let mut line = format!(
        "{:>5}  {}  {}",
        number(event, "sequence"),
        utc(number(event, "at_ms")),
        text(event, "event")
    );
    if event.get("iteration").is_some() {
        let (iteration, step) = (number(event, "iteration"), step_name(event));
        line.push_str(&format!(" {iteration} {step}"));
    }
    if let Some(outcome) = event.get("outcome") {
        line.push_str(&format!(" {}", outcome.to_string().replace('"', "")));
    }
    for name in ["why", "cause", "reason", "decision", "who"] {
        let said = text(event, name);
        if !said.is_empty() {
            line.push_str(&format!(" {said}"));
        }
    }
    line.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}
