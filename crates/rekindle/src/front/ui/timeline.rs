//! The timeline of a recovery: a row for each layer, its stages drawn to scale.
//!
//! A report says how long each stage took and not when it began, so the stages are laid end to end
//! in the order in which a start runs them (docs/recovery.md): every layer below the services is
//! examined, then all of them act, then the services do both. Invariant: every time is also text.

use maud::{Markup, html};
use rekindle_recovery::report::{StoredLayer, StoredReport};

use super::text;

/// The layers that are examined before any of them acts.
const OPENED: [&str; 5] = ["store", "meta", "engine", "journal", "database"];
/// The stages, in the order of the legend.
const STAGES: [&str; 5] = ["scan", "validate", "plan", "act", "report"];
/// How wide the drawing is, in its own units.
const WIDTH: u64 = 1_000;
/// The least width of a stage: what took no time is still seen.
const LEAST: u64 = 3;

/// One stage of one layer, placed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bar<'a> {
    stage: &'a str,
    from_micros: u64,
    micros: u64,
}

/// Which part of a start a stage belongs to: examining, acting, settling.
fn part_of_start(layer: &StoredLayer, stage: &str) -> u8 {
    match (OPENED.contains(&layer.layer.as_str()), stage) {
        (true, "act") => 1,
        (true, _) => 0,
        (false, _) => 2,
    }
}

/// The stages of each layer, laid end to end; and where the last one ends.
fn place(layers: &[StoredLayer]) -> (Vec<Vec<Bar<'_>>>, u64) {
    let mut rows: Vec<Vec<Bar<'_>>> = layers.iter().map(|_| vec![]).collect();
    let mut at_micros = 0_u64;
    for part in 0..=2 {
        for (layer, row) in layers.iter().zip(&mut rows) {
            for stage in layer.stages.iter().filter(|it| part_of_start(layer, &it.stage) == part) {
                let (from_micros, micros) = (at_micros, stage.micros);
                row.push(Bar { stage: &stage.stage, from_micros, micros });
                at_micros = at_micros.saturating_add(micros);
            }
        }
    }
    (rows, at_micros)
}

/// A time as a place in the drawing.
fn scale(micros: u64, whole_micros: u64) -> u64 {
    let scaled = u128::from(micros) * u128::from(WIDTH) / u128::from(whole_micros.max(1));
    u64::try_from(scaled).unwrap_or(WIDTH).min(WIDTH)
}

/// The shortest first, so that none hides a longer one.
fn drawn<'a, 'b>(bars: &'b [Bar<'a>]) -> Vec<&'b Bar<'a>> {
    let mut drawn: Vec<_> = bars.iter().collect();
    drawn.sort_by_key(|bar| bar.micros);
    drawn
}

/// The class that gives a stage its colour.
fn class(stage: &str) -> &'static str {
    STAGES.into_iter().find(|known| *known == stage).unwrap_or("report")
}

/// The timeline of a report.
pub(super) fn timeline(report: &StoredReport) -> Markup {
    let (rows, laid_micros) = place(&report.layers);
    let whole = report.micros.max(laid_micros);
    let between = whole.saturating_sub(laid_micros);
    let total_of = |stage: &str| -> u64 {
        let bars = rows.iter().flatten().filter(|bar| class(bar.stage) == stage);
        bars.fold(0, |sum, bar| sum.saturating_add(bar.micros))
    };
    html! {
        ul.legend {
            @for stage in STAGES {
                @let total = total_of(stage);
                @if total > 0 || stage != "report" {
                    li { span.swatch.(stage) {} (stage) " " b { (text::micros(total)) } }
                }
            }
            @if between > 0 {
                li { span.swatch.rest {} "between stages " b { (text::micros(between)) } }
            }
        }
        table.timeline {
            caption.unseen { "Layers and how long each of their stages took" }
            thead {
                tr {
                    th scope="col" { "Layer" }
                    th.track scope="col" {
                        div.axis aria-hidden="true" {
                            @for quarter in 0..=4_u64 {
                                span { (text::micros(whole / 4 * quarter)) }
                            }
                        }
                        span.unseen { "Stages" }
                    }
                    th.number scope="col" { "Time" }
                }
            }
            tbody {
                @for (layer, bars) in report.layers.iter().zip(&rows) { (row(layer, bars, whole)) }
            }
        }
    }
}

fn row(layer: &StoredLayer, bars: &[Bar<'_>], whole: u64) -> Markup {
    let total = bars.iter().fold(0_u64, |sum, bar| sum.saturating_add(bar.micros));
    html! {
        tr {
            th scope="row" { (layer.layer) }
            td.track {
                svg.bars viewBox="0 0 1000 20" preserveAspectRatio="none" aria-hidden="true" {
                    @for quarter in 1..4_u64 {
                        @let x = quarter * WIDTH / 4;
                        line.grid x1=(x) x2=(x) y1="0" y2="20" {}
                    }
                    @for bar in drawn(bars) {
                        @let width = scale(bar.micros, whole).max(LEAST);
                        @let x = scale(bar.from_micros, whole).min(WIDTH - width);
                        rect.stage.(class(bar.stage)) x=(x) y="2" width=(width) height="16" {
                            title { (layer.layer) ": " (bar.stage) " " (text::micros(bar.micros)) }
                        }
                    }
                }
                p.times {
                    @for (at, bar) in bars.iter().enumerate() {
                        @if at > 0 { " · " }
                        (bar.stage) " " (text::micros(bar.micros))
                    }
                    @if bars.is_empty() { "no stages were timed" }
                }
            }
            td.number { (text::micros(total)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_recovery::report::StoredStage;

    fn layer(name: &str, stages: &[(&str, u64)]) -> StoredLayer {
        let stages =
            stages.iter().map(|&(stage, micros)| StoredStage { stage: stage.into(), micros });
        StoredLayer { layer: name.into(), stages: stages.collect(), ..StoredLayer::default() }
    }

    /// Lower layers are examined, then act; then come the services.
    #[test]
    fn stages_are_laid_in_the_order_of_a_start() {
        let layers = [
            layer("store", &[("scan", 10), ("act", 1)]),
            layer("journal", &[("scan", 20), ("act", 2)]),
            layer("queue", &[("scan", 30), ("act", 3)]),
        ];
        let (rows, end) = place(&layers);
        let starts: Vec<Vec<u64>> =
            rows.iter().map(|row| row.iter().map(|bar| bar.from_micros).collect()).collect();
        assert_eq!((starts, end), (vec![vec![0, 30], vec![10, 31], vec![33, 63]], 66));
    }

    /// Nothing leaves the drawing, whatever a report says.
    #[test]
    fn times_have_a_place_in_the_drawing() {
        assert_eq!((scale(0, 0), scale(5, 10), scale(10, 10)), (0, 500, 1_000));
        assert_eq!(scale(u64::MAX, 1), WIDTH);
        let layers = vec![layer("x", &[("scan", u64::MAX), ("<b>", u64::MAX)])];
        let report = StoredReport { layers, ..StoredReport::default() };
        let text = timeline(&report).into_string();
        assert!(text.contains("&lt;b&gt;") && !text.contains("<b>x"), "{text}");
    }
}
