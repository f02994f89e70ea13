//! What was found about a backlog, for people and for programs.
//!
//! Invariant: text and JSON have the same figures in the same order; a goal is judged where it was
//! measured, and nowhere else.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::run::Measured;
use crate::args::Format;
use crate::sizes::{mib, show_count};
use crate::table::{markdown_rows, number, text_rows};

/// A figure: its name in JSON, what it is, its value, its unit.
type Line = (&'static str, &'static str, f64, &'static str);

/// A goal: what it is, the value, and how far it was reached; from 1 on it was.
type Goal = (&'static str, f64, f64);

/// A server is to serve within this time after a kill, seconds.
const SERVING_SECONDS: f64 = 2.0;
/// Memory beside the engine's for each waiting message, bytes.
const MESSAGE_MEMORY_BYTES: f64 = 40.0;
/// Shares of the rates of the engine beside it.
const SENDING_SHARE: f64 = 0.8;
const DELIVERY_SHARE: f64 = 0.5;

impl Measured {
    /// Messages sent in a second.
    pub(crate) fn send_rate(&self) -> f64 {
        self.plan.messages as f64 / self.sent.seconds.max(1e-9)
    }

    /// Messages received and acknowledged in a second.
    pub(crate) fn receive_rate(&self) -> f64 {
        self.received as f64 / self.receive_seconds.max(1e-9)
    }

    /// Bytes of memory of a started server for each waiting message, beyond those of an empty one
    /// and those that the engine says it holds.
    pub(crate) fn memory_of_a_message(&self) -> f64 {
        let rest = self.started.anon.saturating_sub(self.empty_anon + self.started.engine);
        rest as f64 / (self.plan.messages - 1) as f64
    }

    /// The most memory that either process had.
    pub(crate) fn peak(&self) -> u64 {
        self.filled.peak.max(self.ended.peak)
    }

    fn bodies(&self) -> f64 {
        self.plan.messages as f64 * self.plan.bytes as f64
    }
}

fn lines(of: &Measured) -> Vec<Line> {
    let mut lines = sending(of);
    lines.extend(starting(of));
    lines
}

fn sending(of: &Measured) -> Vec<Line> {
    let tenth = (of.plan.messages / 10) as f64;
    let [store, journal, engine, checkpoints, reserve] = of.store.map(mib);
    let [in_journal, in_state] = of.written.map(|bytes| bytes / of.bodies());
    let group = of.filled.group;
    vec![
        ("messages", "messages", of.plan.messages as f64, ""),
        ("send_messages_per_second", "sent", of.send_rate(), "msg/s"),
        (
            "send_first_tenth_messages_per_second",
            "the first tenth",
            tenth / of.sent.first_tenth_seconds.max(1e-9),
            "msg/s",
        ),
        (
            "send_last_tenth_messages_per_second",
            "the last tenth",
            tenth / of.sent.last_tenth_seconds.max(1e-9),
            "msg/s",
        ),
        ("send_cpu_us", "CPU of the server for each", of.send_cpu_us, "us"),
        ("store_mib", "store on disk", store, "MiB"),
        ("journal_mib", "of it journal", journal, "MiB"),
        ("engine_files_mib", "of it files of the engine", engine, "MiB"),
        ("checkpoints_mib", "of it checkpoints", checkpoints, "MiB"),
        ("reserve_mib", "of it the reserve for a full disk", reserve, "MiB"),
        ("journal_written_per_body_byte", "written to the journal", in_journal, "B per body byte"),
        ("state_written_per_body_byte", "written for the state", in_state, "B per body byte"),
        ("sending_peak_mib", "most memory of the process", mib(of.filled.peak), "MiB"),
        ("sending_group_peak_mib", "most in the group", mib(group.peak), "MiB"),
        ("sending_group_anon_mib", "in the group then, processes", mib(group.anon), "MiB"),
        ("sending_group_file_mib", "in the group then, page cache", mib(group.file), "MiB"),
    ]
}

fn starting(of: &Measured) -> Vec<Line> {
    let group = of.ended.group;
    vec![
        ("ready_seconds", "killed; started: ready after", of.ready_seconds, "s"),
        ("first_message_seconds", "first message after", of.first_seconds, "s"),
        ("started_anon_mib", "memory then", mib(of.started.anon), "MiB"),
        ("started_engine_mib", "of it the engine's", mib(of.started.engine), "MiB"),
        ("empty_anon_mib", "memory of an empty server", mib(of.empty_anon), "MiB"),
        ("memory_per_message_bytes", "the rest, for each message", of.memory_of_a_message(), "B"),
        ("received_messages", "received and acknowledged", of.received as f64, ""),
        ("receive_messages_per_second", "delivered", of.receive_rate(), "msg/s"),
        ("receive_cpu_us", "CPU of the server for each", of.receive_cpu_us, "us"),
        ("receiving_peak_mib", "most memory of the process", mib(of.ended.peak), "MiB"),
        ("receiving_anon_mib", "memory at the end", mib(of.ended.anon), "MiB"),
        ("receiving_engine_mib", "of it the engine's", mib(of.ended.engine), "MiB"),
        ("group_peak_mib", "most in the group, all the time", mib(group.peak), "MiB"),
        ("group_anon_mib", "in the group at the end, processes", mib(group.anon), "MiB"),
        ("group_file_mib", "in the group at the end, page cache", mib(group.file), "MiB"),
    ]
}

fn goals(of: &Measured, beside: Option<&Measured>) -> Vec<Goal> {
    let memory = of.memory_of_a_message();
    let mut goals = vec![
        ("first message within 2 s", of.first_seconds, SERVING_SECONDS / of.first_seconds),
        ("40 B of memory for each message", memory, MESSAGE_MEMORY_BYTES / memory.max(1e-9)),
    ];
    if let Some(beside) = beside {
        let sending = of.send_rate() / beside.send_rate();
        let delivery = of.receive_rate() / beside.receive_rate();
        goals.push(("sent by the one beside it, 0.8", sending, sending / SENDING_SHARE));
        goals.push(("delivered by the one beside it, 0.5", delivery, delivery / DELIVERY_SHARE));
    }
    goals
}

/// Everything, as asked for.
pub(crate) fn render(
    measured: &Measured,
    beside: Option<&Measured>,
    machine: &[(String, String)],
    format: Format,
) -> String {
    match format {
        Format::Json => format!("{:#}\n", as_json(measured, beside, machine)),
        Format::Markdown => as_text(measured, beside, machine, true),
        Format::Text => as_text(measured, beside, machine, false),
    }
}

fn as_json(measured: &Measured, beside: Option<&Measured>, machine: &[(String, String)]) -> Value {
    let one = |of: &Measured| {
        let mut all = Map::new();
        all.insert("engine".to_owned(), json!(of.plan.engine.name()));
        all.insert("message_bytes".to_owned(), json!(of.plan.bytes));
        all.insert("memory_limit".to_owned(), json!(of.limit));
        all.extend(
            lines(of).into_iter().map(|(name, _, value, _)| (name.to_owned(), json!(value))),
        );
        Value::Object(all)
    };
    let facts: Map<String, Value> =
        machine.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let goals: Vec<Value> = goals(measured, beside)
        .into_iter()
        .map(|(goal, value, reached)| json!({"goal": goal, "value": value, "reached": reached}))
        .collect();
    json!({
        "machine": facts,
        "backlog": one(measured),
        "beside": beside.map(one),
        "goals": goals,
    })
}

fn as_text(
    measured: &Measured,
    beside: Option<&Measured>,
    machine: &[(String, String)],
    markdown: bool,
) -> String {
    let mut text = String::new();
    let mut facts = machine.to_vec();
    facts.push(("messages".to_owned(), in_words(measured)));
    if let Some(beside) = beside {
        facts.push(("beside".to_owned(), in_words(beside)));
    }
    for (name, value) in facts {
        let _ = match markdown {
            true => writeln!(text, "- {name}: {value}"),
            false => writeln!(text, "{name:<10} {value}"),
        };
    }
    let all: Vec<&Measured> = [Some(measured), beside].into_iter().flatten().collect();
    let mut head = vec!["what".to_owned()];
    head.extend(all.iter().map(|of| of.plan.engine.name().to_owned()));
    head.push("unit".to_owned());
    let mut rows = vec![head];
    let columns: Vec<Vec<Line>> = all.iter().map(|of| lines(of)).collect();
    for (at, (_, what, _, unit)) in lines(measured).into_iter().enumerate() {
        let mut row = vec![what.to_owned()];
        let values = columns.iter().filter_map(|lines| lines.get(at));
        row.extend(values.map(|(_, _, value, _)| number(*value)));
        row.push(unit.to_owned());
        rows.push(row);
    }
    let _ = writeln!(text, "\n{}", if markdown { markdown_rows(&rows) } else { text_rows(&rows) });
    let bullet = if markdown { "- " } else { "" };
    for (goal, value, reached) in goals(measured, beside) {
        let judged = if reached >= 1.0 { "yes" } else { "NO" };
        let _ = writeln!(text, "{bullet}goal: {goal}: {} ({judged})", number(value));
    }
    let _ = writeln!(text, "{bullet}every message received was whole, in order, and once there");
    text
}

fn in_words(of: &Measured) -> String {
    format!(
        "{} of {} B on {}; bound of memory: {}",
        show_count(of.plan.messages),
        of.plan.bytes,
        of.plan.engine,
        of.limit
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::backlog::run::{Memory, Plan};
    use crate::backlog::send::Sent;
    use rekindle_database::EngineKind;

    /// A run that never was.
    pub(crate) fn measured(engine: EngineKind, seconds: f64) -> Measured {
        let plan = Plan { engine, messages: 1_001, bytes: 1_000, receive: 500, limit: None };
        let sent = Sent { seconds, first_tenth_seconds: 0.1, last_tenth_seconds: 0.4 };
        Measured {
            plan,
            limit: "none".to_owned(),
            sent,
            send_cpu_us: 5.0,
            filled: Memory::default(),
            store: [9 << 20, 4 << 20, 3 << 20, 1 << 20, 1 << 20],
            written: [1_101_100.0, 2_002_000.0],
            ready_seconds: 0.5,
            first_seconds: 4.0,
            started: Memory { anon: 130_000, engine: 20_000, ..Memory::default() },
            empty_anon: 10_000,
            received: 500,
            receive_seconds: 2.0 * seconds,
            receive_cpu_us: 9.0,
            ended: Memory::default(),
        }
    }

    #[test]
    fn figures_are_of_what_was_measured() {
        let of = measured(EngineKind::Lsm, 2.0);
        let value = |name| lines(&of).iter().find(|line| line.0 == name).map(|line| line.2);
        assert_eq!(value("send_messages_per_second"), Some(500.5));
        assert_eq!(value("send_last_tenth_messages_per_second"), Some(250.0));
        assert_eq!(value("state_written_per_body_byte"), Some(2.0));
        assert_eq!(value("memory_per_message_bytes"), Some(100.0));
        assert_eq!(value("receive_messages_per_second"), Some(125.0));
    }

    #[test]
    fn goals_are_judged_beside_the_other_engine() {
        let (of, beside) = (measured(EngineKind::Lsm, 2.0), measured(EngineKind::Memory, 1.0));
        let reached: Vec<f64> = goals(&of, Some(&beside)).iter().map(|goal| goal.2).collect();
        assert_eq!(reached, [0.5, 0.4, 0.625, 1.0]);
        assert_eq!(goals(&of, None).len(), 2);
    }

    #[test]
    fn text_and_json_have_the_same_figures() {
        let (of, beside) = (measured(EngineKind::Lsm, 2.0), measured(EngineKind::Memory, 1.0));
        let text = render(&of, Some(&beside), &[], Format::Text);
        for part in ["sent", "500", "1,001", "first message within 2 s: 4.00 (NO)", "0.50 (yes)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let markdown = render(&of, None, &[], Format::Markdown);
        assert!(markdown.contains("| what | lsm | unit |\n|---|---:|---:|\n"), "{markdown}");
        let json = render(&of, Some(&beside), &[], Format::Json);
        let json: Value = serde_json::from_str(&json).unwrap();
        for (name, _, value, _) in lines(&of) {
            assert_eq!(json["backlog"][name], json!(value), "{name}");
        }
        assert_eq!(json["beside"]["engine"], "memory");
        assert_eq!(json["goals"][0]["reached"], 0.5);
        assert_eq!(json["backlog"]["memory_limit"], "none");
    }

    #[test]
    fn docs_name_every_figure() {
        let docs = include_str!("../../../../docs/benchmarks.md");
        for (name, ..) in lines(&measured(EngineKind::Lsm, 1.0)) {
            assert!(docs.contains(&format!("`{name}`")), "docs/benchmarks.md lacks {name}");
        }
    }
}
