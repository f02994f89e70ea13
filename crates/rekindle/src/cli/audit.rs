//! `audit`: what operators did, to what, why, and what came of it.

use clap::Args;
use rekindle_recovery::report::utc;
use serde_json::Value;

use super::failure::Failure;
use super::http::{self, Admin};
use super::output::{Out, say, table};
use super::{Outcome, page};

#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = page)]
    limit: u64,
    /// Those behind this number, instead of the newest
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &AuditArgs) -> Outcome {
    let after = args.after.map_or_else(String::new, |after| format!("&after={after}"));
    let path = format!("/v1/audit?limit={}{after}", args.limit);
    let answer = http::get(args.admin.address(), &path)?.value()?;
    let records = list(&answer, "records");
    let mut out = Out::new();
    if args.json {
        records.iter().try_for_each(|record| out.json(record))?;
    } else {
        out.line(&text(&records))?;
    }
    out.flush()?;
    let unreadable = list(&answer, "unreadable");
    if !unreadable.is_empty() {
        let numbers = unreadable.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        say(&format!("audit records {numbers} cannot be read; they are left as they are"));
    }
    Ok(0)
}

/// The elements of a list in an answer.
pub(super) fn list(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// A field as people read it.
pub(super) fn word(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Asks for a page and gives its value.
pub(super) fn ask(admin: &Admin, path: &str) -> Result<Value, Failure> {
    http::get(admin.address(), path)?.value()
}

fn text(records: &[Value]) -> String {
    let heading = ["N", "WHEN", "WHO", "ACTION", "TARGET", "WHY", "RESULT"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for record in records {
        let wall_ms = record.get("wall_ms").and_then(Value::as_u64).unwrap_or(0);
        let mut row = vec![word(record, "number"), utc(wall_ms)];
        row.extend(["who", "action", "target", "why", "result"].map(|name| word(record, name)));
        rows.push(row);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_read_who_did_what() {
        let record = json!({
            "number": 7, "wall_ms": 0, "who": "grpc 127.0.0.1", "action": "queue.delete",
            "target": "q", "why": "", "result": "3 messages went with it",
        });
        let text = text(&[record]);
        assert!(
            text.ends_with("grpc 127.0.0.1  queue.delete  q       -    3 messages went with it")
        );
    }
}
