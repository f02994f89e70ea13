//! Charts: lines over the last ten minutes, or over whatever comes one after the other, with axes
//! and units that a person can read.
//!
//! All numbers are text beside the drawing, which is stretched and holds none. Invariants: lines
//! differ by their dashes as well as by their colour; a gap in the samples is a gap in the line.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::text;

/// What numbers of a chart are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// How often in a second.
    PerSecond,
    /// How many.
    Count,
    /// A size.
    Bytes,
    /// A time, in microseconds.
    Micros,
    /// Whatever somebody counts, in parts if they like.
    Number,
}

/// What a chart goes over, from left to right.
#[derive(Clone, Debug)]
pub(super) struct Across {
    /// In words.
    pub(super) words: String,
    /// What stands below its beginning, its middle and its end; the middle may be empty.
    pub(super) ticks: [String; 3],
}

impl Across {
    /// The last ten minutes.
    pub(super) fn ten_minutes() -> Self {
        let ticks = ["10 min ago", "5 min ago", "now"].map(str::to_owned);
        Self { words: "the last 10 minutes".to_owned(), ticks }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What it is.
    pub(super) name: &'static str,
    /// What it is now.
    pub(super) now: Option<f64>,
    /// Its points, oldest first.
    pub(super) points: Vec<Option<f64>>,
}

/// One chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) across: Across,
    /// At most three.
    pub(super) lines: Vec<Line>,
    /// A bound, and what it is. Far above the lines it is only said: drawn, it would flatten them.
    pub(super) bound: Option<(&'static str, f64)>,
    /// What must be known to read it.
    pub(super) note: Option<String>,
}

/// A bound further above the lines than so many times is not drawn.
const BOUND_FAR: f64 = 5.0;
/// How wide and high the drawing is, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 100.0;

impl Unit {
    /// A number with its unit.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond if value < 10.0 && value.fract() != 0.0 => format!("{value:.1}/s"),
            Self::PerSecond => format!("{}/s", text::number(whole(value))),
            Self::Count => text::number(whole(value)),
            Self::Bytes => text::bytes(whole(value)),
            Self::Micros => text::micros(whole(value)),
            Self::Number => text::millionths(whole(value * 1e6)),
        }
    }

    /// A number of the axis: without zeros behind the point.
    fn tick(self, value: f64) -> String {
        if value == 0.0 {
            return "0".to_owned();
        }
        let text = self.show(value);
        let Some((number, rest)) = text.split_once(' ') else { return text };
        match number.split_once('.') {
            Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => {
                format!("{whole} {rest}")
            }
            _ => text,
        }
    }

    /// The end of an axis that holds this value: a number that can be halved and read.
    fn top(self, value: f64) -> f64 {
        let value = value.max(match self {
            Self::Bytes => 1_024.0,
            Self::Micros => 100.0,
            Self::PerSecond | Self::Count => 2.0,
            Self::Number => 1e-5,
        });
        let step = match self {
            Self::Bytes => 1_024_f64.powf(value.log(1_024.0).floor()),
            _ => 1.0,
        };
        let decade = 10_f64.powf((value / step).log10().floor());
        let nice = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].map(|it| it * decade * step);
        nice.into_iter().find(|top| *top >= value).unwrap_or(value)
    }
}

/// A number without what is behind the point.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range")]
fn whole(value: f64) -> u64 {
    value.round().clamp(0.0, 9e15) as u64
}

/// The path of a line; each gap begins a new stroke.
fn path(points: &[Option<f64>], top: f64) -> String {
    let last = u32::try_from(points.len().saturating_sub(1)).unwrap_or(1).max(1);
    let mut path = String::new();
    let mut drawing = false;
    for (at, point) in (0_u32..).zip(points) {
        let Some(value) = point else {
            drawing = false;
            continue;
        };
        let x = WIDTH * f64::from(at) / f64::from(last);
        let y = HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0));
        // A stroke of no length still shows a single point: its caps are round.
        let verb = if drawing { "L" } else { "M" };
        let dot = if drawing { "" } else { "h0" };
        let _ = write!(path, "{verb}{x:.0} {y:.1}{dot}");
        drawing = true;
    }
    path
}

/// What somebody hears who cannot see the chart.
fn spoken(chart: &Chart) -> String {
    let mut text = format!("{}, {}", chart.title, chart.across.words);
    for line in &chart.lines {
        let points = line.points.iter().flatten().copied();
        let (least, most) = (points.clone().reduce(f64::min), points.reduce(f64::max));
        if let (Some(least), Some(most)) = (least, most) {
            let (least, most) = (chart.unit.show(least), chart.unit.show(most));
            let _ = write!(text, "; {} between {least} and {most}", line.name);
        }
    }
    text
}

/// What a line is now.
fn now(line: &Line, unit: Unit) -> String {
    line.now.map_or_else(|| "–".to_owned(), |now| unit.show(now))
}

/// A chart as a card.
pub(super) fn chart(chart: &Chart) -> Markup {
    let points = chart.lines.iter().flat_map(|line| line.points.iter().flatten().copied());
    let most = points.fold(0.0, f64::max);
    let bound = chart.bound.map(|(_, bound)| bound).filter(|bound| *bound <= most * BOUND_FAR);
    let most = most.max(bound.unwrap_or(0.0));
    let top = chart.unit.top(most);
    html! {
        section.card {
            h2 { (chart.title) }
            ul.legend {
                @for (at, line) in chart.lines.iter().enumerate() {
                    li {
                        svg.key viewBox="0 0 20 6" aria-hidden="true" {
                            path.line.{ "l" (at) } d="M0 3H20" {}
                        }
                        (line.name) " " b { (now(line, chart.unit)) }
                    }
                }
                @if let Some((name, at)) = chart.bound {
                    li {
                        @if bound.is_some() {
                            svg.key viewBox="0 0 20 6" aria-hidden="true" {
                                path.bound d="M0 3H20" {}
                            }
                        }
                        (name) " " b { (chart.unit.show(at)) }
                        @if bound.is_none() { span.quiet { " (far above)" } }
                    }
                }
            }
            figure.chart {
                div.plot {
                    ol.ys aria-hidden="true" {
                        @for part in [1.0, 0.5, 0.0] { li { (chart.unit.tick(top * part)) } }
                    }
                    svg viewBox="0 0 600 100" preserveAspectRatio="none" role="img"
                        aria-label=(spoken(chart)) {
                        @for y in [0, 50, 100] { line.grid x1="0" x2="600" y1=(y) y2=(y) {} }
                        @for x in [0, 300, 600] { line.grid x1=(x) x2=(x) y1="0" y2="100" {} }
                        @if let Some(bound) = bound {
                            @let y = format!("{:.1}", HEIGHT * (1.0 - bound / top));
                            line.bound x1="0" x2="600" y1=(y) y2=(y) {}
                        }
                        @for (at, line) in chart.lines.iter().enumerate() {
                            path.line.{ "l" (at) } d=(path(&line.points, top)) {}
                        }
                    }
                    div.xs aria-hidden="true" {
                        @for tick in &chart.across.ticks { span { (tick) } }
                    }
                }
                @if let Some(note) = &chart.note { figcaption { (note) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of an axis holds the value, can be halved, and is a number that one reads.
    #[test]
    fn axes_end_with_readable_numbers() {
        for (unit, value, text) in [
            (Unit::Count, 0.0, "2"),
            (Unit::Count, 3.0, "4"),
            (Unit::Count, 1_201.0, "2,000"),
            (Unit::PerSecond, 41.0, "60/s"),
            (Unit::Micros, 812.0, "1 ms"),
            (Unit::Micros, 5_000_000.0, "6 s"),
            (Unit::Number, 0.35, "0.4"),
            (Unit::Number, 0.0, "0.00001"),
            (Unit::Number, 1_100.0, "2,000"),
            (Unit::Bytes, 10.0, "1 KiB"),
            (Unit::Bytes, 5.0 * 1_048_576.0, "6 MiB"),
        ] {
            let top = unit.top(value);
            assert!(top >= value, "{value}: {top}");
            assert_eq!(unit.tick(top), text, "{value}");
        }
        assert_eq!(Unit::PerSecond.show(0.25), "0.2/s");
        assert_eq!(Unit::PerSecond.show(0.0), "0/s");
    }

    /// A gap begins a new stroke; what leaves the drawing stays at its edge.
    #[test]
    fn lines_have_gaps() {
        let points = [Some(0.0), Some(50.0), None, Some(900.0)];
        assert_eq!(path(&points, 100.0), "M0 100.0h0L200 50.0M600 0.0h0");
        assert_eq!(path(&[], 1.0), "");
        assert_eq!(path(&[Some(1.0)], 1.0), "M0 0.0h0");
    }

    #[test]
    fn a_chart_is_also_text() {
        let line = Line { name: "sent", now: Some(3.0), points: vec![Some(1.0), None, Some(7.0)] };
        let view = Chart {
            title: "Messages",
            unit: Unit::PerSecond,
            across: Across::ten_minutes(),
            lines: vec![line],
            bound: Some(("limit", 9.0)),
            note: Some("a & b".to_owned()),
        };
        let text = chart(&view).into_string();
        assert!(text.contains("Messages, the last 10 minutes; sent between 1/s and 7/s"), "{text}");
        assert!(text.contains("a &amp; b") && text.contains("<b>9/s</b>"), "{text}");
        assert!(text.contains("class=\"bound\" x1"), "{text}");
        let far = Chart { bound: Some(("limit", 9e9)), ..view };
        let text = chart(&far).into_string();
        assert!(text.contains("far above") && !text.contains("class=\"bound\""), "{text}");
    }
}
