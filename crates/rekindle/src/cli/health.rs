//! `health` and `alerts`: how a server stands, why, and what to do.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use rekindle_recovery::exit;
use rekindle_recovery::report::utc;
use serde_json::{Value, json};

use super::Outcome;
use super::audit::{ask, list, word};
use super::failure::Failure;
use super::http::{self, Admin};
use super::output::{Out, table};

#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct AlertsArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// One line of JSON for each rule, or of what was acknowledged
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<AlertsCommand>,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Take note of damage that was found, so that it is not told any more
    Acknowledge(Acknowledges),
}

#[derive(Args, Debug)]
struct Acknowledges {
    /// The rule: corruption_found
    rule: String,
    /// What was looked at and done, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so, for the audit log [default: the user of this session]
    #[arg(long, value_name = "NAME", env = "USER")]
    by: Option<String>,
}

/// Exit 0 when it is well, 1 when somebody should look, 69 when it does not serve, 70 when its
/// store failed.
pub(super) fn health(args: &HealthArgs) -> Outcome {
    let answer = http::get(args.admin.address(), "/healthz")?;
    let parsed: Result<Value, _> = serde_json::from_slice(&answer.body);
    let health = match parsed {
        // A server that is not well says so with 503, and says why.
        Ok(health) if health.get("system_health").is_some() => health,
        _ => answer.value()?,
    };
    let code = code_of(&health).ok_or_else(|| {
        let message = format!("{} says nothing of its health", args.admin.address());
        Failure::new(exit::REFUSED, message)
    })?;
    let mut out = Out::new();
    if args.json {
        out.json(&health)?;
    } else {
        out.line(&text(&health))?;
    }
    out.flush()?;
    Ok(code)
}

/// The exit code that a health means.
fn code_of(health: &Value) -> Option<i32> {
    let status = health.get("system_health")?.get("status")?.as_str()?;
    Some(match status {
        "ok" => exit::CLEAN,
        "degraded" => exit::REFUSED,
        _ if health.get("poisoned").is_some_and(Value::is_string) => exit::IO,
        _ => exit::UNREACHABLE,
    })
}

fn text(health: &Value) -> String {
    let none = Value::Null;
    let system = health.get("system_health").unwrap_or(&none);
    let mut text = format!("health:    {}", word(system, "status"));
    for reason in list(system, "reasons") {
        let (name, summary) = (word(&reason, "reason"), word(&reason, "summary"));
        let _ = write!(text, "\n  {name}: {summary}\n    next: {}", word(&reason, "next_step"));
    }
    let last = health.get("last_recovery").unwrap_or(&none);
    if last.is_object() {
        let micros = last.get("micros").and_then(Value::as_u64).unwrap_or(0);
        let _ = write!(
            text,
            "\nrecovery:  run {}, code {}, {}.{:03} ms, {} findings",
            word(last, "incarnation"),
            word(last, "code"),
            micros / 1_000,
            micros % 1_000,
            word(last, "findings")
        );
    }
    if let Some(rate) = health.get("recovery_success_rate").and_then(Value::as_f64) {
        let _ = write!(text, "\nstarts:    {:.0} % of the last ones came to serve", rate * 100.0);
    }
    for pattern in list(health, "common_failure_patterns") {
        let (name, runs) = (word(&pattern, "pattern"), word(&pattern, "runs"));
        let _ =
            write!(text, "\n  {name} in {runs} runs\n    next: {}", word(&pattern, "next_step"));
    }
    text
}

/// All rules; exit 0, whatever fires. Or: takes note of damage.
pub(super) fn alerts(args: &AlertsArgs) -> Outcome {
    if let Some(AlertsCommand::Acknowledge(one)) = &args.command {
        return acknowledge(args, one);
    }
    let alerts = list(&ask(&args.admin, "/v1/alerts")?, "alerts");
    let mut out = Out::new();
    if args.json {
        alerts.iter().try_for_each(|alert| out.json(alert))?;
    } else {
        out.line(&rules(&alerts))?;
    }
    out.flush()?;
    Ok(0)
}

fn acknowledge(all: &AlertsArgs, args: &Acknowledges) -> Outcome {
    // What is no name of a rule is refused by the server, not understood as another path.
    let plain = |it: char| if it.is_ascii_alphanumeric() { it } else { '_' };
    let rule: String = args.rule.chars().map(plain).collect();
    let by = args.by.as_deref().unwrap_or_default();
    let body = json!({ "reason": args.reason, "by": by });
    let path = format!("/v1/alerts/{rule}/acknowledge");
    let done = http::post(all.admin.address(), &path, &body)?;
    let mut out = Out::new();
    if all.json {
        out.json(&done)?;
    } else {
        let (result, audit) = (word(&done, "result"), word(&done, "audit"));
        out.line(&format!("{rule}: {result}; audit record {audit}"))?;
    }
    out.flush()?;
    Ok(0)
}

fn rules(alerts: &[Value]) -> String {
    let heading = ["ALERT", "STATE", "SINCE", "VALUE", "THRESHOLD", "UNIT", "SUMMARY"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for alert in alerts {
        let since = alert.get("since").and_then(Value::as_u64);
        rows.push(vec![
            word(alert, "alert"),
            word(alert, "state"),
            since.map_or_else(|| "-".to_owned(), utc),
            word(alert, "value"),
            word(alert, "threshold"),
            word(alert, "unit"),
            word(alert, "summary"),
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_is_an_exit_code_and_says_what_to_do() {
        let health = |status: &str, poisoned: Value| {
            json!({
                "poisoned": poisoned,
                "system_health": {"status": status, "reasons": [
                    {"reason": "disk_low", "summary": "3 bytes are free", "next_step": "buy one"},
                ]},
                "recovery_success_rate": 0.5,
            })
        };
        assert_eq!(code_of(&health("ok", Value::Null)), Some(0));
        assert_eq!(code_of(&health("degraded", Value::Null)), Some(1));
        assert_eq!(code_of(&health("failing", Value::Null)), Some(69));
        assert_eq!(code_of(&health("failing", json!("EIO"))), Some(70));
        assert_eq!(code_of(&json!({})), None);
        assert_eq!(
            text(&health("degraded", Value::Null)),
            "health:    degraded\n  disk_low: 3 bytes are free\n    next: buy one\n\
             starts:    50 % of the last ones came to serve"
        );
    }
}
