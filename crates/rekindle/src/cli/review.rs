//! `review`: what waits for a person, with the evidence, and the person's decision.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use rekindle_recovery::report::utc;
use serde_json::{Value, json};

use super::audit::{ask, list, word};
use super::http::{self, Admin};
use super::output::{Out, say, table};
use super::{Outcome, page};

#[derive(Args, Debug)]
pub(super) struct ReviewArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(subcommand)]
    command: ReviewCommand,
}

#[derive(Debug, Subcommand)]
enum ReviewCommand {
    /// What waits for a person
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = page)]
        limit: u64,
        /// Those behind this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// One line of JSON for each
        #[arg(long)]
        json: bool,
    },
    /// One of them, with its evidence
    Show {
        /// Its id
        id: String,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Do what is proposed
    Approve(Decides),
    /// Serve it again, its attempts kept
    Retry(Decides),
    /// Give it up: into the dead-letter queue
    Fail(Decides),
}

#[derive(Args, Debug)]
struct Decides {
    /// The id of the review
    id: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who decides, for the audit log [default: the user of this session]
    #[arg(long, value_name = "NAME", env = "USER")]
    by: Option<String>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReviewArgs) -> Outcome {
    let admin = &args.admin;
    match &args.command {
        ReviewCommand::List { limit, after, json } => {
            let after =
                after.as_ref().map_or_else(String::new, |id| format!("&after={}", plain(id)));
            let answer = ask(admin, &format!("/v1/reviews?limit={limit}{after}"))?;
            let items = list(&answer, "reviews");
            let mut out = Out::new();
            if *json {
                items.iter().try_for_each(|item| out.json(item))?;
            } else {
                out.line(&table_of(&items))?;
            }
            out.flush()?;
            if answer.get("more").and_then(Value::as_bool) == Some(true) {
                say("more follow: use --after with the last id");
            }
            Ok(0)
        }
        ReviewCommand::Show { id, json } => {
            let item = ask(admin, &format!("/v1/reviews/{}", plain(id)))?;
            let mut out = Out::new();
            if *json {
                out.json(&item)?;
            } else {
                out.line(&text(&item))?;
            }
            out.flush()?;
            Ok(0)
        }
        ReviewCommand::Approve(decides) => decide(admin, "approve", decides),
        ReviewCommand::Retry(decides) => decide(admin, "retry", decides),
        ReviewCommand::Fail(decides) => decide(admin, "fail", decides),
    }
}

fn decide(admin: &Admin, decision: &str, decides: &Decides) -> Outcome {
    let path = format!("/v1/reviews/{}/{decision}", plain(&decides.id));
    let by = decides.by.as_deref().unwrap_or_default();
    let body = json!({ "reason": decides.reason, "by": by });
    let done = http::post(admin.address(), &path, &body)?;
    let mut out = Out::new();
    if decides.json {
        out.json(&done)?;
    } else {
        let again = done.get("before").and_then(Value::as_bool) == Some(true);
        let before = if again { " (decided so before)" } else { "" };
        let (result, audit) = (word(&done, "result"), word(&done, "audit"));
        out.line(&format!("{}: {result}{before}; audit record {audit}", decides.id))?;
    }
    out.flush()?;
    Ok(0)
}

/// An id as a part of a path (of an execution, too, which has dashes): what is none of ours is
/// refused by the server, not understood as another path.
fn plain(id: &str) -> String {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
    id.bytes().map(|it| if is_plain(it) { char::from(it) } else { '_' }).collect()
}

fn age(item: &Value) -> String {
    let seconds = item.get("age_ms").and_then(Value::as_u64).unwrap_or(0) / 1_000;
    format!("{seconds} s")
}

fn decisions(item: &Value) -> String {
    let words = list(item, "decisions");
    words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn table_of(items: &[Value]) -> String {
    let heading = ["ID", "LABEL", "QUEUE", "WAITS", "FOUND", "DECISIONS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for item in items {
        rows.push(vec![
            word(item, "id"),
            word(item, "label"),
            word(item, "queue"),
            age(item),
            word(item, "found"),
            decisions(item),
        ]);
    }
    table(&rows)
}

/// One review for people.
fn text(item: &Value) -> String {
    let mut text = format!(
        "{}: {} ({})\nqueue:     {}\nwaits:     {}\ndecisions: {}",
        word(item, "id"),
        word(item, "found"),
        word(item, "label"),
        word(item, "queue"),
        age(item),
        decisions(item)
    );
    let Some(evidence) = item.get("evidence") else { return text };
    for row in list(evidence, "rows") {
        let _ = write!(text, "\nrow:       {}: {}", word(&row, "keyspace"), word(&row, "state"));
    }
    let _ = write!(
        text,
        "\nbytes:     {}\nattempts:  {}, {} of them charged, {} crashes of the server in a row",
        word(evidence, "bytes"),
        word(evidence, "attempt"),
        word(evidence, "charged"),
        word(evidence, "crashes")
    );
    for one in list(evidence, "history") {
        let at_ms = one.get("at_ms").and_then(Value::as_u64).unwrap_or(0);
        let (number, cause) = (word(&one, "attempt"), word(&one, "cause"));
        let _ = write!(text, "\n  {number} {} {cause}: {}", utc(at_ms), word(&one, "reason"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_evidence() {
        let item = json!({
            "id": "m1", "label": "claim-8", "queue": "q", "age_ms": 61_000,
            "found": "the server died with it three times in a row",
            "decisions": ["approve", "retry"],
            "evidence": {
                "rows": [{"keyspace": "messages", "state": "good"}], "bytes": 9, "attempt": 3,
                "charged": 3, "crashes": 3,
                "history": [{"attempt": 3, "cause": "server_crash", "at_ms": 0, "reason": ""}],
            },
        });
        let text = text(&item);
        assert!(text.starts_with("m1: the server died with it three times in a row (claim-8)"));
        assert!(text.contains("waits:     61 s\ndecisions: approve, retry"), "{text}");
        assert!(text.ends_with("3 1970-01-01 00:00:00 UTC server_crash: -"), "{text}");
        assert_eq!(plain("../a?b"), "___a_b");
        let execution = "01a21cea-97dc-7f37-a2d8-0217b679b738";
        assert_eq!(plain(execution), execution);
    }
}
