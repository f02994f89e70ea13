//! The overview: how the server stands and what it did in the last ten minutes.

use maud::{Markup, html};
use rekindle_services::jobs::JobCounts;
use rekindle_services::loops::LoopCounts;

use super::chart::{Across, Chart, Line, Unit, chart};
use super::loops::tree;
use super::report::Outcome;
use super::samples::{POINT_S, QUEUES_COUNTED, Ring, Sample, float, per_second, sync_micros};
use super::{frame, jobs, text};

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
    /// Alerts that fire, by name.
    pub(super) firing: Vec<&'static str>,
    /// How many jobs stand where.
    pub(super) jobs: JobCounts,
    /// How many executions of loops stand where.
    pub(super) loops: LoopCounts,
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
            @if !view.firing.is_empty() {
                p {
                    a href="/ui/alerts" { "Alerts" } ": "
                    @for name in &view.firing {
                        (frame::badge("✖", &name.replace('_', " "), "bad")) " "
                    }
                }
            }
            dl.tiles {
                div { dt { "sent" } dd { (rate(|it| it.sent)) } }
                div { dt { "received" } dd { (rate(|it| it.received)) } }
                div { dt { "acked" } dd { (rate(|it| it.acked)) } }
                div { dt { "transactions" } dd { (rate(|it| it.transactions)) } }
                div { dt { "ready" } dd { (text::number(sample.ready)) } }
                div { dt { "leased" } dd { (text::number(sample.leased)) } }
                div { dt { "delayed" } dd { (text::number(sample.delayed)) } }
                div {
                    dt { a href="/ui/reviews" { "under review" } }
                    dd { (text::number(sample.review)) }
                }
                div { dt { "oldest ready" } dd { (text::micros(sample.oldest_micros)) } }
                div {
                    dt { a href="/ui/queues" { "queues" } }
                    dd { (text::number(sample.queues)) @if sample.more_queues { "+" } }
                }
                div { dt { "up for" } dd { (text::span(view.up_ms)) } }
            }
            @let any_jobs = view.jobs != JobCounts::default();
            @if any_jobs {
                h3 { a href="/ui/jobs" { "Jobs" } }
                (jobs::counts(&jobs::Filter::default(), &view.jobs))
            }
            @if view.loops.values().any(|count| *count > 0) {
                h3 { a href="/ui/loops" { "Loops" } }
                (tree::counts(&view.loops))
            }
            p.quiet { "Durability: " (view.durability) "." }
            @if sample.queues == 0 && !any_jobs {
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

/// Lines of the samples that are kept.
struct Lines<'a> {
    ring: &'a Ring,
    points: Vec<Option<(Sample, Sample)>>,
}

impl Lines<'_> {
    /// What a counter does in a second.
    fn rate(&self, name: &'static str, counter: fn(&Sample) -> u64) -> Line {
        self.between(name, |pair| per_second(pair, counter))
    }

    /// What is told by two samples.
    fn between(&self, name: &'static str, tell: impl Fn((Sample, Sample)) -> Option<f64>) -> Line {
        let now = self.ring.pair().and_then(&tell);
        Line { name, now, points: self.points.iter().map(|point| tell((*point)?)).collect() }
    }

    /// How high something stands.
    fn level(&self, name: &'static str, gauge: fn(&Sample) -> u64) -> Line {
        let now = self.ring.newest().map(|sample| float(gauge(&sample)));
        let points = self.points.iter().map(|point| Some(float(gauge(&(*point)?.1))));
        Line { name, now, points: points.collect() }
    }
}

/// A chart without a bound.
fn plain(title: &'static str, unit: Unit, lines: Vec<Line>) -> Chart {
    Chart { title, unit, across: Across::ten_minutes(), lines, bound: None, note: None }
}

/// All charts.
fn all(view: &OverviewScreen, ring: &Ring) -> Vec<Chart> {
    let lines = Lines { ring, points: ring.points() };
    let mut charts = of_messages(&lines);
    charts.extend(of_the_store(view, &lines));
    charts
}

/// What passes through the queues, and what stands in them.
fn of_messages(lines: &Lines<'_>) -> Vec<Chart> {
    let more = lines.ring.newest().is_some_and(|sample| sample.more_queues);
    let first = text::number(u64::try_from(QUEUES_COUNTED).unwrap_or(u64::MAX));
    let flow = vec![
        lines.rate("sent", |it| it.sent),
        lines.rate("received", |it| it.received),
        lines.rate("acked", |it| it.acked),
    ];
    let depth = vec![
        lines.level("ready", |it| it.ready),
        lines.level("leased", |it| it.leased),
        lines.level("delayed", |it| it.delayed),
    ];
    let oldest = vec![lines.level("age", |it| it.oldest_micros)];
    vec![
        plain("Messages", Unit::PerSecond, flow),
        Chart {
            note: more.then(|| format!("Of the first {first} queues by name.")),
            ..plain("Depth", Unit::Count, depth)
        },
        plain("Oldest ready message", Unit::Micros, oldest),
    ]
}

/// What the journal and the state do, and who asks.
fn of_the_store(view: &OverviewScreen, lines: &Lines<'_>) -> Vec<Chart> {
    let limit = lines.ring.newest().map_or(0.0, |sample| float(sample.state_max_bytes));
    let flight = vec![
        lines.level("calls", |it| it.calls),
        lines.level("waiting receivers", |it| it.waiting),
        lines.level("connections", |it| it.connections),
    ];
    let state = vec![lines.level("state", |it| it.state_bytes)];
    let predicted = vec![lines.level("a start now", |it| it.predicted_micros)];
    let committed = vec![lines.rate("committed", |it| it.transactions)];
    vec![
        plain("Sync of the journal", Unit::Micros, vec![lines.between("mean time", sync_micros)]),
        plain("Transactions", Unit::PerSecond, committed),
        plain("In flight", Unit::Count, flight),
        Chart {
            bound: (limit > 0.0).then_some(("limit", limit)),
            ..plain("State", Unit::Bytes, state)
        },
        Chart {
            bound: Some(("recovery.max_time", float(view.max_recovery_micros))),
            ..plain("Predicted recovery: replay", Unit::Micros, predicted)
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ui::report::outcome;
    use rekindle_services::loops::Status;

    fn view() -> OverviewScreen {
        OverviewScreen {
            up_ms: 61_000,
            durability: "strict".to_owned(),
            recovery: (outcome(3), "cut <b>".to_owned()),
            max_recovery_micros: 5_000_000,
            firing: vec!["disk_low"],
            jobs: JobCounts::default(),
            loops: LoopCounts::new(),
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
        let jobs = JobCounts { failed: 54_321, ..JobCounts::default() };
        let busy = now(&OverviewScreen { jobs, ..view() }, &ring).into_string();
        assert!(busy.contains("status=failed") && busy.contains("54,321"), "{busy}");
        assert!(!busy.contains("no queues yet") && !busy.contains("/ui/loops"), "{busy}");
        let loops = [(Status::NeedsReview, 6_789)].into();
        let busy = now(&OverviewScreen { loops, ..view() }, &ring).into_string();
        assert!(busy.contains("/ui/loops?status=needs_review") && busy.contains("6,789"), "{busy}");
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
        assert!(text.contains("disk low"), "{text}");
        assert!(text.contains("12,345") && text.contains("<dd>7/s</dd>"), "{text}");
        assert!(!text.contains("no queues yet"), "{text}");
        let text = charts(&view(), &ring).into_string();
        assert_eq!(text.matches("role=\"img\"").count(), 8);
        assert!(text.contains("1.0 GiB") && text.contains("sent between 7/s and 7/s"), "{text}");
    }
}
