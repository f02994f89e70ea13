//! The overview: how the server stands and what it did in the last ten minutes.

use maud::{Markup, html};

use super::chart::{Chart, Line, Unit, chart};
use super::report::Outcome;
use super::samples::{POINT_S, QUEUES_COUNTED, Ring, Sample, float, per_second};
use super::{frame, text};

/// What the overview is made of, besides the samples.
#[derive(Clone, Debug)]
pub(super) struct OverviewScreen {
    /// Since the start, milliseconds.
    pub(super) up_ms: u64,
    /// What the durability mode promises.
    pub(super) durability: String,
    /// What recovery of this run came to, and its summary.
    pub(super) recovery: (Outcome, String),
    /// The bound of a start, microseconds.
    pub(super) max_recovery_micros: u64,
    /// What to type next, where nothing happened yet.
    pub(super) first_command: String,
}

/// The tiles: how it stands now.
pub(super) fn now(view: &OverviewScreen, ring: &Ring) -> Markup {
    let sample = ring.newest().unwrap_or_default();
    let pair = ring.pair();
    let rate = |counter: fn(&Sample) -> u64| {
        let rate = pair.and_then(|pair| per_second(pair, counter));
        rate.map_or_else(|| "–".to_owned(), |rate| Unit::PerSecond.show(rate))
    };
    let (outcome, summary) = &view.recovery;
    html! {
        section.card.headline.{ (outcome.class) } aria-label="Now" {
            p {
                a href="/ui/recovery" { "Recovery" } ": "
                (frame::badge(outcome.sign, outcome.word, outcome.class)) " " (summary)
            }
            dl.tiles {
                div { dt { "sent" } dd { (rate(|it| it.sent)) } }
                div { dt { "received" } dd { (rate(|it| it.received)) } }
                div { dt { "acked" } dd { (rate(|it| it.acked)) } }
                div { dt { "transactions" } dd { (rate(|it| it.transactions)) } }
                div { dt { "ready" } dd { (text::number(sample.ready)) } }
                div { dt { "leased" } dd { (text::number(sample.leased)) } }
                div { dt { "delayed" } dd { (text::number(sample.delayed)) } }
                div { dt { "under review" } dd { (text::number(sample.review)) } }
                div {
                    dt { a href="/ui/queues" { "queues" } }
                    dd { (text::number(sample.queues)) @if sample.more_queues { "+" } }
                }
                div { dt { "up for" } dd { (text::span(view.up_ms)) } }
            }
            p.quiet { "Durability: " (view.durability) "." }
            @if sample.queues == 0 {
                (frame::nothing(
                    "There are no queues yet. Make one and send to it:",
                    Some(&view.first_command),
                ))
            }
        }
    }
}

/// The charts. They change every [`POINT_S`] seconds.
pub(super) fn charts(view: &OverviewScreen, ring: &Ring) -> Markup {
    html! {
        div.charts { @for one in all(view, ring) { (chart(&one)) } }
        p.quiet {
            "A point stands for " (POINT_S) " seconds: the mean of a rate, the last value of the "
            "others. Ten minutes are kept, in memory."
        }
    }
}

/// All charts.
fn all(view: &OverviewScreen, ring: &Ring) -> Vec<Chart> {
    let points = ring.points();
    let newest = ring.newest();
    let rate = |name: &'static str, counter: fn(&Sample) -> u64| Line {
        name,
        now: ring.pair().and_then(|pair| per_second(pair, counter)),
        points: points.iter().map(|point| per_second((*point)?, counter)).collect(),
    };
    let level = |name: &'static str, gauge: fn(&Sample) -> u64| Line {
        name,
        now: newest.map(|sample| float(gauge(&sample))),
        points: points.iter().map(|point| Some(float(gauge(&(*point)?.1)))).collect(),
    };
    let plain = |title, unit, lines| Chart { title, unit, lines, bound: None, note: None };
    let more = newest.is_some_and(|sample| sample.more_queues);
    let counted = more
        .then(|| format!("Of the first {} queues by name.", text::number(QUEUES_COUNTED as u64)));
    let limit = newest.map(|sample| float(sample.state_max_bytes)).filter(|limit| *limit > 0.0);
    vec![
        plain(
            "Messages",
            Unit::PerSecond,
            vec![
                rate("sent", |it| it.sent),
                rate("received", |it| it.received),
                rate("acked", |it| it.acked),
            ],
        ),
        Chart {
            note: counted,
            ..plain(
                "Depth",
                Unit::Count,
                vec![
                    level("ready", |it| it.ready),
                    level("leased", |it| it.leased),
                    level("delayed", |it| it.delayed),
                ],
            )
        },
        plain("Transactions", Unit::PerSecond, vec![rate("committed", |it| it.transactions)]),
        plain(
            "In flight",
            Unit::Count,
            vec![
                level("calls", |it| it.calls),
                level("waiting receivers", |it| it.waiting),
                level("connections", |it| it.connections),
            ],
        ),
        Chart {
            bound: limit.map(|limit| ("limit", limit)),
            ..plain("State", Unit::Bytes, vec![level("state", |it| it.state_bytes)])
        },
        Chart {
            bound: Some(("recovery.max_time", float(view.max_recovery_micros))),
            ..plain(
                "Predicted recovery",
                Unit::Micros,
                vec![level("a start now", |it| it.predicted_micros)],
            )
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ui::report::outcome;

    fn view() -> OverviewScreen {
        OverviewScreen {
            up_ms: 61_000,
            durability: "strict".to_owned(),
            recovery: (outcome(3), "cut <b>".to_owned()),
            max_recovery_micros: 5_000_000,
            first_command: "echo hello | rekindle".to_owned(),
        }
    }

    /// With nothing in it the overview says what to do; with samples it says how it stands.
    #[test]
    fn the_overview_says_how_it_stands() {
        let mut ring = Ring::default();
        let empty = now(&view(), &ring).into_string();
        assert!(empty.contains("no queues yet") && empty.contains("echo hello"), "{empty}");
        assert!(empty.contains("cut &lt;b&gt;") && empty.contains("1 m 1 s"), "{empty}");
        for second in 0..30 {
            ring.push(Sample {
                at_ms: second * 1_000,
                sent: second * 7,
                queues: 2,
                ready: 12_345,
                state_max_bytes: 1 << 30,
                ..Sample::default()
            });
        }
        let text = now(&view(), &ring).into_string();
        assert!(text.contains("12,345") && text.contains("<dd>7/s</dd>"), "{text}");
        assert!(!text.contains("no queues yet"), "{text}");
        let text = charts(&view(), &ring).into_string();
        assert_eq!(text.matches("role=\"img\"").count(), 6);
        assert!(text.contains("1.0 GiB") && text.contains("sent between 7/s and 7/s"), "{text}");
    }
}
