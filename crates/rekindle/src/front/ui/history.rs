//! The recoveries that are kept: how long each took as a chart, and as a table.
//!
//! The chart is logarithmic, because a start takes milliseconds or seconds and its bound, seconds,
//! must be on it. Invariant: what the chart shows is in the table as text.

use maud::{Markup, html};

use super::frame::{badge, nothing, scrolling};
use super::report::outcome;
use super::text;

/// One recovery of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// Its number.
    pub(super) number: u64,
    /// What it says; `None`: its file cannot be read.
    pub(super) said: Option<Said>,
}

/// What one line shows of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) incarnation: u64,
    pub(super) started_wall_ms: u64,
    pub(super) micros: u64,
    pub(super) findings: u64,
}

/// How wide and high the drawing is, in its own units.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 100.0;
/// A bar is no wider than this.
const BAR_MAX: f64 = 50.0;
/// The most bars: as many as reports are kept.
const BARS_MAX: usize = 100;

/// The powers of ten, in microseconds, that a chart of these values spans.
fn decades(values: &[u64]) -> (i32, i32) {
    let exponent = |value: u64| i32::try_from(value.max(1).ilog10()).unwrap_or(0);
    let least = values.iter().copied().map(exponent).min().unwrap_or(0);
    let most = values.iter().copied().map(exponent).max().unwrap_or(0) + 1;
    (least, most.max(least + 2))
}

/// How high a value stands, from 0 at the bottom to 1 at the top.
fn height(micros: u64, (least, most): (i32, i32)) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a drawing needs no 53 bits")]
    let log = (micros.max(1) as f64).log10();
    ((log - f64::from(least)) / f64::from(most - least)).clamp(0.0, 1.0)
}

/// A coordinate of the drawing.
fn unit(value: f64) -> String {
    format!("{value:.1}")
}

/// How long the recoveries took, oldest left, with the bound as a line.
pub(super) fn durations(history: &[Past], max_micros: u64) -> Markup {
    let skip = history.len().saturating_sub(BARS_MAX);
    let bars: Vec<(u64, Said)> =
        history.iter().skip(skip).filter_map(|past| Some((past.number, past.said?))).collect();
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
        return nothing("No report is kept yet: the next start writes one.", None);
    };
    let mut values: Vec<u64> = bars.iter().map(|(_, said)| said.micros).collect();
    let slowest = values.iter().copied().max().unwrap_or(0);
    values.push(max_micros);
    let span = decades(&values);
    let label = format!(
        "The last {}: the slowest took {}, the bound is {}",
        text::count(bars.len() as u64, "recovery", "recoveries"),
        text::micros(slowest),
        text::micros(max_micros)
    );
    let bound = HEIGHT * (1.0 - height(max_micros, span));
    html! {
        figure.chart {
            figcaption {
                "Time of each start, logarithmic. "
                "Dashed: " code { "recovery.max_time" } " " (text::micros(max_micros))
            }
            div.plot {
                ol.ys aria-hidden="true" {
                    @for exponent in (span.0..=span.1).rev() {
                        li { (text::micros(10_u64.saturating_pow(exponent.unsigned_abs()))) }
                    }
                }
                svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img"
                    aria-label=(label) {
                    @for exponent in span.0..=span.1 {
                        @let part = f64::from(exponent - span.0) / f64::from(span.1 - span.0);
                        @let y = unit(HEIGHT * (1.0 - part));
                        line.grid x1="0" x2="1000" y1=(y) y2=(y) {}
                    }
                    @for (at, (number, said)) in bars.iter().enumerate() {
                        (bar(at, bars.len(), *number, *said, span))
                    }
                    line.bound x1="0" x2="1000" y1=(unit(bound)) y2=(unit(bound)) {}
                }
                div.xs aria-hidden="true" {
                    span { "start " (first.0) }
                    @if bars.len() > 1 { span { "start " (last.0) } }
                }
            }
        }
    }
}

fn bar(at: usize, of: usize, number: u64, said: Said, span: (i32, i32)) -> Markup {
    let place = |at: usize| f64::from(u32::try_from(at).unwrap_or(0));
    let step = WIDTH / place(of.max(1));
    let wide = (step * 0.7).min(BAR_MAX);
    let tall = (HEIGHT * height(said.micros, span)).max(1.5);
    let outcome = outcome(said.code);
    html! {
        a href={ "/ui/recovery/" (number) } tabindex="-1" aria-hidden="true" {
            rect.past.(outcome.class)
                x=(unit((place(at) + 0.5) * step - wide / 2.0)) width=(unit(wide))
                y=(unit(HEIGHT - tall)) height=(unit(tall)) {
                title { "start " (number) ": " (text::micros(said.micros)) ", " (outcome.word) }
            }
        }
    }
}

/// The recoveries that are kept, newest first; `shown` is the one that this page is about.
pub(super) fn table(history: &[Past], shown: Option<u64>) -> Markup {
    if history.is_empty() {
        return nothing("No report is kept yet: the next start writes one.", None);
    }
    let table = html! {
        table.rows {
            caption.unseen { "Recoveries that are kept, newest first" }
            thead {
                tr {
                    th.number scope="col" { "Start" }
                    th scope="col" { "Outcome" }
                    th.number scope="col" { "Took" }
                    th scope="col" { "When" }
                    th.number scope="col" { "Findings" }
                    th.number scope="col" { "Run" }
                }
            }
            tbody {
                @for past in history.iter().rev() {
                    tr.current[shown == Some(past.number)] {
                        th.number scope="row" {
                            a href={ "/ui/recovery/" (past.number) }
                                aria-current=[(shown == Some(past.number)).then_some("true")] {
                                (past.number)
                            }
                        }
                        (line(past))
                    }
                }
            }
        }
    };
    scrolling("Recoveries that are kept, newest first", &table)
}

fn line(past: &Past) -> Markup {
    let Some(said) = past.said else {
        return html! { td colspan="5" { "its file cannot be read" } };
    };
    let outcome = outcome(said.code);
    html! {
        td { (badge(outcome.sign, outcome.word, outcome.class)) }
        td.number { (text::micros(said.micros)) }
        td {
            time datetime=(text::machine_moment(said.started_wall_ms)) {
                (text::moment(said.started_wall_ms))
            }
        }
        td.number { (text::number(said.findings)) }
        td.number { @if said.incarnation > 0 { (said.incarnation) } @else { "–" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(number: u64, code: i32, micros: u64) -> Past {
        Past { number, said: Some(Said { code, micros, ..Said::default() }) }
    }

    /// The scale holds every value and the bound, at least two decades of it.
    #[test]
    fn the_scale_holds_everything() {
        assert_eq!(decades(&[12_000, 5_000_000]), (4, 7));
        assert_eq!(decades(&[5_000_000]), (6, 8));
        assert_eq!(decades(&[0]), (0, 2));
        let span = decades(&[12_000, 5_000_000]);
        assert!(height(12_000, span) > 0.0 && height(5_000_000, span) < 1.0);
        assert!((height(10_000, span), height(10_000_000, span)) == (0.0, 1.0));
    }

    /// The chart and the table link to every report; a file that cannot be read is a row.
    #[test]
    fn every_recovery_has_a_row() {
        let unread = Past { number: 4, said: None };
        let all = vec![past(1, 0, 900), past(2, 3, 1_800), past(3, 65, 2_700), unread];
        let text = table(&all, Some(2)).into_string();
        for n in 1..=4 {
            assert!(text.contains(&format!("href=\"/ui/recovery/{n}\"")), "{text}");
        }
        assert!(text.contains("torn tail cut") && text.contains("corrupt"), "{text}");
        assert!(text.contains("cannot be read"), "{text}");
        assert_eq!(text.matches("aria-current").count(), 1);
        let chart = durations(&all, 5_000_000).into_string();
        assert_eq!(chart.matches("<rect").count(), 3);
        assert!(chart.contains("The last 3 recoveries: the slowest took 2.70 ms"), "{chart}");
        assert!(durations(&[], 5_000_000).into_string().contains("No report is kept yet"));
    }
}
