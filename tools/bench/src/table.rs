//! The figures as text, Markdown or JSON.
//!
//! Invariant: all three show the same figures in the same order.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::args::{Args, Format, Section};
use crate::book::{Book, Median};
use crate::growth;

/// Everything that was measured, as the arguments ask for it.
pub(crate) fn render(book: &Book, args: &Args, machine: &[(String, String)]) -> String {
    let medians = book.medians();
    if args.format() == Format::Json {
        return as_json(&medians, args, machine);
    }
    let markdown = args.format() == Format::Markdown;
    let mut text = String::new();
    for (name, value) in machine {
        let _ = match markdown {
            true => writeln!(text, "- {name}: {value}"),
            false => writeln!(text, "{name:<10} {value}"),
        };
    }
    let (runs, seconds) = (args.runs, args.seconds);
    let bullet = if markdown { "- " } else { "" };
    let _ = writeln!(text, "{bullet}medians of {runs} runs, {seconds} s per load");
    for (section, figures) in &medians {
        let title = section.title();
        let _ = match markdown {
            true => writeln!(text, "\n### {title}\n"),
            false => writeln!(text, "\n{title}\n"),
        };
        text.push_str(&section_table(figures, markdown));
        if *section == Section::Growth && markdown {
            text.push_str(&chart(figures));
        }
    }
    text
}

/// The curves of growing stores as a chart that hosts of Markdown draw (Mermaid's xychart); those
/// that have every point.
fn chart(figures: &[Median]) -> String {
    let mut curves: Vec<(&str, Vec<f64>)> = vec![];
    for figure in figures {
        let Some((size, curve)) = figure.what.split_once(" k transactions, ") else { continue };
        let known = curves.iter_mut().find(|(name, _)| *name == curve);
        match (known, growth::THOUSANDS.iter().any(|it| it.to_string() == size)) {
            (Some((_, points)), true) => points.push(figure.value),
            (None, true) => curves.push((curve, vec![figure.value])),
            (_, false) => {}
        }
    }
    curves.retain(|(_, points)| points.len() == growth::THOUSANDS.len());
    let names: Vec<&str> = curves.iter().map(|(name, _)| *name).collect();
    let axis = growth::THOUSANDS.map(|thousands| thousands.to_string()).join(", ");
    let mut text = format!("\nThe lines, in this order: {}.\n\n", names.join("; "));
    text.push_str("```mermaid\nxychart-beta\n    title \"Time to open\"\n");
    let _ = writeln!(text, "    x-axis \"thousands of transactions\" [{axis}]");
    text.push_str("    y-axis \"ms\"\n");
    for (_, points) in &curves {
        let points: Vec<String> = points.iter().map(|ms| format!("{ms:.0}")).collect();
        let _ = writeln!(text, "    line [{}]", points.join(", "));
    }
    text.push_str("```\n");
    text
}

/// One table: names, values, the extras that any of them has, goals.
fn section_table(figures: &[Median], markdown: bool) -> String {
    let mut extras: Vec<&'static str> = vec![];
    for (name, _) in figures.iter().flat_map(|figure| &figure.extras) {
        if !extras.contains(name) {
            extras.push(name);
        }
    }
    let mut head = vec!["what".to_owned(), "figure".to_owned(), "lowest..highest".to_owned()];
    head.extend(extras.iter().map(|name| (*name).to_owned()));
    head.push("goal".to_owned());
    let mut rows = vec![head];
    for figure in figures {
        let value = format!("{} {}", number(figure.value), figure.unit);
        let range = format!("{}..{}", number(figure.range.0), number(figure.range.1));
        let mut row = vec![figure.what.clone(), value, range];
        for name in &extras {
            let found = figure.extras.iter().find(|(it, _)| it == name);
            row.push(found.map_or_else(String::new, |(_, value)| number(*value)));
        }
        let goals: Vec<String> = figure.goals.iter().map(judged).collect();
        row.push(goals.join("; "));
        rows.push(row);
    }
    if markdown { markdown_rows(&rows) } else { text_rows(&rows) }
}

/// A goal and whether it was reached; where not, how far.
fn judged((text, reached): &(String, f64)) -> String {
    if *reached >= 1.0 {
        format!("{text}: yes")
    } else {
        format!("{text}: NO, {:.0} %", reached * 100.0)
    }
}

/// Rows as a table of Markdown; the first is its head.
pub(crate) fn markdown_rows(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let line: Vec<_> =
                (0..row.len()).map(|at| if at == 0 { "---" } else { "---:" }).collect();
            let _ = writeln!(text, "|{}|", line.join("|"));
        }
    }
    text
}

/// Rows in columns of one width.
pub(crate) fn text_rows(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match at == 0 || at + 1 == columns {
                true => write!(line, "{cell:<width$}  "),
                false => write!(line, "{cell:>width$}  "),
            };
        }
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}

/// Three significant digits or whole thousands, grouped.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 9.995 {
        return format!("{value:.2}");
    }
    if value.abs() < 99.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn as_json(
    medians: &[(Section, Vec<Median>)],
    args: &Args,
    machine: &[(String, String)],
) -> String {
    let machine: serde_json::Map<String, Value> =
        machine.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let figure = |figure: &Median| {
        let extras: serde_json::Map<String, Value> =
            figure.extras.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let goal = |(text, reached): &(String, f64)| json!({"goal": text, "reached": reached});
        let goals: Vec<Value> = figure.goals.iter().map(goal).collect();
        json!({
            "what": figure.what,
            "unit": figure.unit,
            "value": figure.value,
            "lowest": figure.range.0,
            "highest": figure.range.1,
            "extras": extras,
            "goals": goals,
        })
    };
    let sections: Vec<Value> = medians
        .iter()
        .map(|(section, figures)| {
            let figures: Vec<Value> = figures.iter().map(figure).collect();
            json!({"section": section.title(), "figures": figures})
        })
        .collect();
    let all = json!({
        "machine": machine,
        "runs": args.runs,
        "seconds": args.seconds,
        "sections": sections,
    });
    format!("{all:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let shown = [0.123, 9.99, 12.34, 123.4, 1_234.5, 257_000.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0.12", "9.99", "12.3", "123", "1,234", "257,000", "1,234,567"]);
    }

    #[test]
    fn a_goal_that_was_missed_says_how_far_it_is() {
        assert_eq!(judged(&("0.95 of raw".to_owned(), 1.01)), "0.95 of raw: yes");
        assert_eq!(judged(&("0.95 of raw".to_owned(), 0.8)), "0.95 of raw: NO, 80 %");
    }

    #[test]
    fn whole_curves_are_drawn() {
        let mut book = Book::default();
        book.section(Section::Growth);
        for (at, thousands) in growth::THOUSANDS.into_iter().enumerate() {
            book.add(growth::point(thousands, growth::JOURNAL, (at + 1) as f64 / 10.0));
        }
        book.add(growth::point(growth::THOUSANDS[0], "half a curve", 1.0));
        book.end_run();
        let medians = book.medians();
        let text = chart(&medians[0].1);
        assert!(text.contains("in this order: all in the journal.\n"), "{text}");
        assert!(text.contains("[250, 500, 1000, 2000]"), "{text}");
        assert!(text.contains("    line [100, 200, 300, 400]\n```\n"), "{text}");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["what", "figure", "goal"], ["a", "1,000", "yes"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(text_rows(&rows), "  what  figure  goal\n  a      1,000  yes\n");
        assert!(markdown_rows(&rows).starts_with("| what | figure | goal |\n|---|---:|---:|\n"));
    }
}
