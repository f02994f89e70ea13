//! `queue create`, `list`, `show`, `delete`, `purge`.

use std::time::Duration;

use clap::Args;
use rekindle_client::{Client, QueueCounts, QueueDefinition, QueueInfo};
use rekindle_recovery::exit;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{Out, table};
use crate::cli::{Outcome, durations};

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// The queue
    name: String,
    /// How long a received message stays leased (ms, s, m, h)
    #[arg(long, default_value = "30s", value_parser = durations::parse, value_name = "DURATION")]
    visibility: Duration,
    /// Failed or expired attempts after which a message goes to the dead-letter queue; 0: no limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_attempts: u32,
    /// The dead-letter queue [default: NAME.dead]
    #[arg(long, value_name = "NAME")]
    dead_letter: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// One JSON line per queue
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The queue
    name: String,
    /// One JSON line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct NameArgs {
    /// The queue
    name: String,
}

/// A queue as scripts read it.
#[derive(Serialize)]
struct QueueLine<'a> {
    name: &'a str,
    visibility_ms: u64,
    max_attempts: u32,
    dead_letter: Option<&'a str>,
    ready: u64,
    leased: u64,
    delayed: u64,
    next_expiry_ms: Option<u64>,
    next_ready_ms: Option<u64>,
    keys: u64,
    review: u64,
}

impl<'a> QueueLine<'a> {
    fn new(definition: &'a QueueDefinition, counts: &QueueCounts) -> Self {
        let dead_letter = definition.dead_letter.as_str();
        Self {
            name: &definition.name,
            visibility_ms: definition.visibility_ms,
            max_attempts: definition.max_attempts,
            dead_letter: (!dead_letter.is_empty()).then_some(dead_letter),
            ready: counts.ready,
            leased: counts.leased,
            delayed: counts.delayed,
            next_expiry_ms: counts.next_expiry_ms,
            next_ready_ms: counts.next_ready_ms,
            keys: counts.keys,
            review: counts.review,
        }
    }
}

/// The parts of an answer, empty where the server left one out.
fn parts(queue: QueueInfo) -> (QueueDefinition, QueueCounts) {
    (queue.definition.unwrap_or_default(), queue.counts.unwrap_or_default())
}

pub(super) async fn create(client: &Client, args: CreateArgs) -> Outcome {
    if args.visibility.is_zero() {
        let message = "a visibility of 0 ms; choose 1 ms to 43200000 ms (12 h)";
        return Err(Failure::new(exit::REFUSED, message));
    }
    let definition = QueueDefinition {
        name: args.name,
        visibility_ms: u64::try_from(args.visibility.as_millis()).unwrap_or(u64::MAX),
        max_attempts: args.max_attempts,
        dead_letter: args.dead_letter.unwrap_or_default(),
    };
    let name = definition.name.clone();
    if client.create_queue(definition).await? {
        done(&format!("created queue {name:?}"))
    } else {
        done(&format!("queue {name:?} exists already, just like this"))
    }
}

pub(super) async fn delete(client: &Client, args: &NameArgs) -> Outcome {
    let messages = client.delete_queue(&args.name).await?;
    done(&format!("deleted queue {:?} with {messages} messages", args.name))
}

pub(super) async fn purge(client: &Client, args: &NameArgs) -> Outcome {
    let messages = client.purge_queue(&args.name).await?;
    done(&format!("deleted {messages} messages of queue {:?}", args.name))
}

pub(super) async fn list(client: &Client, args: &ListArgs) -> Outcome {
    let queues = client.list_queues().await?;
    let mut out = Out::new();
    let heading =
        ["NAME", "READY", "LEASED", "DELAYED", "VISIBILITY", "MAX ATTEMPTS", "DEAD LETTER"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for queue in queues {
        let (definition, counts) = parts(queue);
        if args.json {
            out.json(&QueueLine::new(&definition, &counts))?;
        } else {
            rows.push(row(&definition, &counts));
        }
    }
    if !args.json {
        out.line(&table(&rows))?;
    }
    out.flush()?;
    Ok(0)
}

fn row(definition: &QueueDefinition, counts: &QueueCounts) -> Vec<String> {
    vec![
        definition.name.clone(),
        counts.ready.to_string(),
        counts.leased.to_string(),
        counts.delayed.to_string(),
        durations::short(definition.visibility_ms),
        attempts(definition),
        if definition.dead_letter.is_empty() { "-".into() } else { definition.dead_letter.clone() },
    ]
}

fn attempts(definition: &QueueDefinition) -> String {
    match definition.max_attempts {
        0 => "no limit".to_owned(),
        limit => limit.to_string(),
    }
}

pub(super) async fn show(client: &Client, args: &ShowArgs) -> Outcome {
    let (definition, counts) = parts(client.show_queue(&args.name).await?);
    let mut out = Out::new();
    if args.json {
        out.json(&QueueLine::new(&definition, &counts))?;
    } else {
        out.line(&format!("queue         {}", definition.name))?;
        out.line(&format!("visibility    {}", durations::short(definition.visibility_ms)))?;
        out.line(&format!("max attempts  {}", attempts(&definition)))?;
        if !definition.dead_letter.is_empty() {
            out.line(&format!("dead letter   {}", definition.dead_letter))?;
        }
        out.line(&format!("messages      {}", summary(&counts)))?;
        out.line(&format!("keys          {}", counts.keys))?;
        if counts.review > 0 {
            out.line(&format!("review        {} damaged, waiting for a person", counts.review))?;
        }
    }
    out.flush()?;
    Ok(0)
}

/// `0 ready, 12 leased (next in 27 s), 3 delayed`
pub(super) fn summary(counts: &QueueCounts) -> String {
    let next = counts
        .next_expiry_ms
        .filter(|_| counts.leased > 0)
        .map(|millis| format!(" (next in {} s)", durations::seconds_up(millis)))
        .unwrap_or_default();
    format!("{} ready, {} leased{next}, {} delayed", counts.ready, counts.leased, counts.delayed)
}

fn done(line: &str) -> Outcome {
    let mut out = Out::new();
    out.line(line)?;
    out.flush()?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentence that scripts rely on.
    #[test]
    fn the_summary_says_when_the_next_lease_ends() {
        let mut counts = QueueCounts {
            leased: 12,
            delayed: 3,
            next_expiry_ms: Some(26_200),
            ..QueueCounts::default()
        };
        assert_eq!(summary(&counts), "0 ready, 12 leased (next in 27 s), 3 delayed");
        counts = QueueCounts::default();
        assert_eq!(summary(&counts), "0 ready, 0 leased, 0 delayed");
    }

    #[test]
    fn a_queue_is_one_line_of_json() {
        let definition = QueueDefinition {
            name: "q".into(),
            visibility_ms: 30_000,
            ..QueueDefinition::default()
        };
        let line = QueueLine::new(&definition, &QueueCounts { ready: 1, ..QueueCounts::default() });
        assert_eq!(
            serde_json::to_string(&line).expect("a line serializes"),
            concat!(
                r#"{"name":"q","visibility_ms":30000,"max_attempts":0,"dead_letter":null,"#,
                r#""ready":1,"leased":0,"delayed":0,"next_expiry_ms":null,"next_ready_ms":null,"#,
                r#""keys":0,"review":0}"#
            )
        );
    }
}
