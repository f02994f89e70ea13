//! Each engine with backlogs of several sizes: the figures by which the default engine is chosen.
//!
//! Invariants: each row is a store of its own; one that cannot be is named with its reason.

use std::io::{self, Write};
use std::path::PathBuf;

use rekindle_database::EngineKind;
use serde_json::{Map, Value, json};

use crate::args::{self, Format};
use crate::backlog::{self, Measured, Plan};
use crate::sizes::{Limit, count, mib, show_count, size};
use crate::table::{markdown_rows, number, text_rows};
use crate::{Failed, machine};

/// Arguments of `engines`.
#[derive(Debug, clap::Args)]
pub(crate) struct EnginesArgs {
    /// Only these engines [default: all that are built in]
    #[arg(long, value_name = "ENGINE", value_delimiter = ',')]
    engines: Vec<EngineKind>,
    /// How many messages wait
    #[arg(long, value_delimiter = ',', value_parser = count, default_value = "10k,1M,20M")]
    counts: Vec<u64>,
    /// Bytes of each body
    #[arg(long, value_name = "BYTES", value_parser = backlog::message, default_value = "1KiB")]
    message: u64,
    /// Rows whose bodies take more than this together are left out
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "20GiB")]
    limit: u64,
    /// What the server may have in memory, page cache included; or none
    #[arg(long, value_name = "SIZE", default_value = "none")]
    memory_limit: Limit,
    /// How many messages are received at the end, at most
    #[arg(long, value_name = "COUNT", value_parser = count, default_value = "500k")]
    receive: u64,
    /// A directory on the disk to measure; the stores in it are removed [default: beside this
    /// program]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A row: what was found, or why nothing was.
struct Row {
    engine: EngineKind,
    messages: u64,
    found: Result<Measured, String>,
}

/// Measures and prints.
pub(crate) fn run(asked: &EnginesArgs, format: Format) -> Result<(), Failed> {
    let dir = args::directory(asked.data.as_deref())?;
    let engines = match &asked.engines[..] {
        [] => EngineKind::ALL.to_vec(),
        some => some.to_vec(),
    };
    let mut rows = vec![];
    for messages in &asked.counts {
        for engine in &engines {
            let (engine, messages) = (*engine, *messages);
            let what = format!("{} messages, {engine}", show_count(messages));
            let _ = writeln!(io::stderr(), "{what}");
            let found = match left_out(asked, messages) {
                Some(why) => Err(why),
                None => {
                    let plan = Plan {
                        engine,
                        messages: messages.max(2),
                        bytes: usize::try_from(asked.message)?,
                        receive: asked.receive,
                        limit: asked.memory_limit.0,
                    };
                    backlog::run_plan(plan, &dir).map_err(|error| error.to_string())
                }
            };
            rows.push(Row { engine, messages, found });
        }
    }
    let text = render(&rows, &machine::describe(&dir), format);
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn left_out(asked: &EnginesArgs, messages: u64) -> Option<String> {
    let bytes = messages.saturating_mul(asked.message);
    let text = || {
        format!(
            "left out: its bodies are {} MiB, and --limit is {} MiB",
            number(mib(bytes)),
            number(mib(asked.limit))
        )
    };
    (bytes > asked.limit).then(text)
}

/// The columns: the name in JSON, the head of the table, the value.
fn columns(of: &Measured) -> [(&'static str, &'static str, f64); 9] {
    [
        ("ready_seconds", "ready s", of.ready_seconds),
        ("first_message_seconds", "first message s", of.first_seconds),
        ("send_messages_per_second", "sent/s", of.send_rate()),
        ("receive_messages_per_second", "delivered/s", of.receive_rate()),
        ("peak_mib", "peak MiB", mib(of.peak())),
        ("started_anon_mib", "started MiB", mib(of.started.anon)),
        ("memory_per_message_bytes", "B/message", of.memory_of_a_message()),
        ("group_peak_mib", "group MiB", mib(of.ended.group.peak)),
        ("store_mib", "store MiB", mib(of.store[0])),
    ]
}

fn render(rows: &[Row], machine: &[(String, String)], format: Format) -> String {
    if format == Format::Json {
        return as_json(rows, machine);
    }
    let markdown = format == Format::Markdown;
    let bullet = if markdown { "- " } else { "" };
    let facts = machine.iter().map(|(name, value)| format!("{bullet}{name}: {value}\n"));
    let mut text: String = facts.collect();
    if let Some(first) = rows.iter().find_map(|row| row.found.as_ref().ok()) {
        text += &format!("{bullet}bound of memory: {}\n", first.limit);
    }
    let mut table = vec![];
    for row in rows {
        let Ok(found) = &row.found else { continue };
        let columns = columns(found);
        if table.is_empty() {
            let heads = columns.iter().map(|(_, head, _)| (*head).to_owned());
            let first = ["messages", "engine"].map(str::to_owned);
            table.push(first.into_iter().chain(heads).collect::<Vec<_>>());
        }
        let values = columns.iter().map(|(_, _, value)| number(*value));
        let first = [show_count(row.messages), row.engine.name().to_owned()];
        table.push(first.into_iter().chain(values).collect());
    }
    text += &format!("\n{}\n", if markdown { markdown_rows(&table) } else { text_rows(&table) });
    for row in rows {
        if let Err(why) = &row.found {
            let messages = show_count(row.messages);
            text += &format!("{bullet}{messages} on {}: {why}\n", row.engine);
        }
    }
    text
}

fn as_json(rows: &[Row], machine: &[(String, String)]) -> String {
    let row = |row: &Row| {
        let mut all = Map::new();
        all.insert("engine".to_owned(), json!(row.engine.name()));
        all.insert("messages".to_owned(), json!(row.messages));
        match &row.found {
            Ok(found) => {
                all.insert("memory_limit".to_owned(), json!(found.limit));
                let figures = columns(found).into_iter();
                all.extend(figures.map(|(name, _, value)| (name.to_owned(), json!(value))));
            }
            Err(why) => {
                all.insert("error".to_owned(), json!(why));
            }
        }
        Value::Object(all)
    };
    let facts: Map<String, Value> =
        machine.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let whole = json!({"machine": facts, "engines": rows.iter().map(row).collect::<Vec<_>>()});
    format!("{whole:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parsed(line: &str) -> Result<EnginesArgs, String> {
        let words = ["rekindle-bench", "engines"].into_iter().chain(line.split_whitespace());
        let args = crate::args::Args::try_parse_from(words).map_err(|error| error.to_string())?;
        match args.command {
            Some(crate::args::Command::Engines(engines)) => Ok(engines),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_counts_are_those_of_the_decision() {
        let args = parsed("").unwrap();
        assert_eq!((args.counts, args.engines), (vec![10_000, 1_000_000, 20_000_000], vec![]));
        let args = parsed("--counts 5k,7 --engines memory,lsm --limit 1GiB").unwrap();
        assert_eq!((args.counts, args.limit), (vec![5_000, 7], 1 << 30));
        assert_eq!(args.engines, [EngineKind::Memory, EngineKind::Lsm]);
        assert!(parsed("--counts 0").is_err() && parsed("--engines btree").is_err());
    }

    #[test]
    fn rows_that_are_too_large_are_named() {
        let args = parsed("--counts 1k,2M --limit 1GiB").unwrap();
        assert_eq!(left_out(&args, 1_000), None);
        let why = left_out(&args, 2_000_000).unwrap();
        assert_eq!(why, "left out: its bodies are 1,953 MiB, and --limit is 1,024 MiB");
        let found = backlog::sample(EngineKind::Lsm, 2.0);
        let docs = include_str!("../../../docs/benchmarks.md");
        for (name, ..) in columns(&found) {
            assert!(docs.contains(&format!("`{name}`")), "docs/benchmarks.md lacks {name}");
        }
        let rows = [
            Row { engine: EngineKind::Lsm, messages: 1_000, found: Ok(found) },
            Row { engine: EngineKind::Lsm, messages: 2_000_000, found: Err(why) },
        ];
        let text = render(&rows, &[], Format::Text);
        assert!(text.contains("2M on lsm: left out"), "{text}");
        assert!(text.contains("messages  engine  ready s") && text.contains("1k"), "{text}");
        let json: Value = serde_json::from_str(&render(&rows, &[], Format::Json)).unwrap();
        assert_eq!(json["engines"][1]["messages"], 2_000_000);
        assert!(json["engines"][1]["error"].as_str().unwrap().starts_with("left out"));
    }
}
