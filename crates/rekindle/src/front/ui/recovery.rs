//! The recovery screen: one recovery from its verdict to its figures, and those before it.
//!
//! Invariant: values in, markup out; everything that is shown comes from a report.

use maud::{Markup, html};
use rekindle_recovery::report::{Before, Ended, StoredReport};

use super::findings::{actions, figures, findings};
use super::frame::{badge, nothing, part};
use super::history::{self, Past};
use super::limited::{LimitedView, limited};
use super::progress::{ProgressView, progress};
use super::report::{self, outcome};
use super::text;
use super::timeline::timeline;

/// What the screen is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct RecoveryScreen {
    /// A start that is in progress.
    pub(super) progress: Option<ProgressView>,
    /// What recovery mode shows.
    pub(super) limited: Option<LimitedView>,
    /// The recovery that is shown, with its number.
    pub(super) shown: Option<(u64, StoredReport)>,
    /// Whether that is the one of this run.
    pub(super) of_this_run: bool,
    /// Those that are kept, oldest first.
    pub(super) history: Vec<Past>,
    /// The bound of a start, microseconds.
    pub(super) max_micros: u64,
}

/// The figures that stand at the top, with their names for people.
const TILES: [(&str, &str); 7] = [
    ("txns_applied", "transactions replayed"),
    ("discarded_txns", "unfinished, discarded"),
    ("messages", "messages"),
    ("queues", "queues"),
    ("leases_kept", "leases kept"),
    ("leases_reclaimed", "leases reclaimed"),
    ("bytes_cut", "bytes cut"),
];

/// The part that shows a start in progress.
pub(super) fn in_progress(view: &ProgressView) -> Markup {
    html! {
        section.card aria-labelledby="h-progress" {
            h2 #h-progress { "This start" }
            (part("progress", &progress(view)))
        }
    }
}

/// The whole screen.
pub(super) fn screen(view: &RecoveryScreen) -> Markup {
    html! {
        @if let Some(progress) = &view.progress { (in_progress(progress)) }
        @if let Some(view) = &view.limited { (limited(view)) }
        @match &view.shown {
            Some((number, report)) => (one(*number, report, view)),
            None => {
                section.card {
                    (nothing(
                        "No recovery is written down yet. The report of each start is kept here.",
                        None,
                    ))
                }
            }
        }
        section.card aria-labelledby="h-durations" {
            h2 #h-durations { "Starts over time" }
            (history::durations(&view.history, view.max_micros))
        }
        section.card aria-labelledby="h-history" {
            h2 #h-history { "All that are kept" }
            (history::table(&view.history, view.shown.as_ref().map(|(number, _)| *number)))
        }
    }
}

fn one(number: u64, report: &StoredReport, view: &RecoveryScreen) -> Markup {
    html! {
        (headline(number, report, view))
        section.card.wide aria-labelledby="h-timeline" {
            h2 #h-timeline { "Timeline" }
            (timeline(report))
        }
        @if let Some(before) = &report.before { (state_before(before)) }
        section.card aria-labelledby="h-findings" {
            h2 #h-findings { "Findings" (counted(report.findings.len() + report.notes.len())) }
            (findings(report))
        }
        section.card aria-labelledby="h-actions" {
            h2 #h-actions { "Actions" (counted(report::actions(report).count())) }
            (actions(report))
        }
        section.card.wide aria-labelledby="h-figures" {
            h2 #h-figures { "Figures" }
            (figures(report))
        }
    }
}

/// How the store stood before anything was decided.
fn state_before(before: &Before) -> Markup {
    let ended = match before.ended {
        Ended::New => "there was none",
        Ended::Clean => "closed cleanly",
        Ended::Unclean => "killed or lost",
        Ended::Unknown => "not known",
    };
    html! {
        section.card.wide aria-labelledby="h-before" {
            h2 #h-before { "Before this start" }
            dl.tiles {
                div { dt { "last run" } dd { (before.incarnation) } }
                div { dt { "it ended" } dd { (ended) } }
                div { dt { "newest version" } dd { (text::number(before.newest_version)) } }
                div { dt { "journal" } dd { (text::bytes(before.journal_bytes)) } }
                div { dt { "segments" } dd { (text::number(before.journal_segments)) } }
                div { dt { "usable checkpoints" } dd { (text::number(before.checkpoints)) } }
                @if before.checkpoints > 0 {
                    div { dt { "newest checkpoint" } dd { (text::bytes(before.checkpoint_bytes)) } }
                    div { dt { "at version" } dd { (text::number(before.checkpoint_version)) } }
                }
            }
        }
    }
}

fn counted(count: usize) -> Markup {
    html! { " " span.count { (text::number(u64::try_from(count).unwrap_or(u64::MAX))) } }
}

fn headline(number: u64, report: &StoredReport, view: &RecoveryScreen) -> Markup {
    let outcome = outcome(report.code);
    let refusal = report::actions(report).find(|(_, action)| action.kind == "refuse");
    html! {
        section.card.wide.headline.(outcome.class) aria-labelledby="h-one" {
            h2 #h-one {
                (badge(outcome.sign, outcome.word, outcome.class)) " Start " (number)
                @if view.of_this_run { " " small { "of this run" } }
            }
            @if !report.summary.is_empty() { p.summary { (report.summary) } }
            p { (outcome.means) }
            @if let Some((layer, action)) = refusal {
                p.refusal { b { (layer) ": " } (action.detail) " (" (action.label) ")" }
            }
            dl.tiles {
                div.double {
                    dt { "began" }
                    dd {
                        time datetime=(text::machine_moment(report.started_wall_ms)) {
                            (text::moment(report.started_wall_ms))
                        }
                    }
                }
                div { dt { "took" } dd { (text::micros(report.micros)) } }
                @if report.incarnation > 0 {
                    div { dt { "began run" } dd { (report.incarnation) } }
                }
                div { dt { "exit code" } dd { (report.code) } }
                @for (name, words) in TILES {
                    @let value = report.figure(name);
                    @if value > 0 { div { dt { (words) } dd { (text::number(value)) } } }
                }
            }
            (exports(number, view))
        }
    }
}

fn exports(number: u64, view: &RecoveryScreen) -> Markup {
    let numbers = view.history.iter().map(|past| past.number);
    let earlier = numbers.clone().filter(|other| *other < number).max();
    let later = numbers.filter(|other| *other > number).min();
    html! {
        ul.links {
            li {
                a href={ "/ui/recovery/" (number) "/report.md" } download {
                    "Incident report (Markdown)"
                }
            }
            li { a href={ "/v1/recoveries/" (number) } { "JSON" } }
            @if let Some(earlier) = earlier {
                li { a href={ "/ui/recovery/" (earlier) } rel="prev" { "← Start " (earlier) } }
            }
            @if let Some(later) = later {
                li { a href={ "/ui/recovery/" (later) } rel="next" { "Start " (later) " →" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ui::history::Said;
    use rekindle_recovery::report::{StoredAction, StoredLayer};

    /// A refused start says why and what it means; the neighbours are a link away.
    #[test]
    fn a_refused_start_is_explained() {
        let refuse = StoredAction {
            kind: "refuse".into(),
            label: "journal-7".into(),
            detail: "acknowledged <bytes> are lost".into(),
            target: String::new(),
        };
        let layer = StoredLayer {
            layer: "journal".into(),
            actions: vec![refuse],
            ..StoredLayer::default()
        };
        let report = StoredReport { code: 65, layers: vec![layer], ..StoredReport::default() };
        let history = (1..=3).map(|number| Past { number, said: Some(Said::default()) }).collect();
        let view = RecoveryScreen {
            shown: Some((2, report)),
            history,
            max_micros: 5_000_000,
            ..RecoveryScreen::default()
        };
        let text = screen(&view).into_string();
        for part in [
            "corrupt, start refused",
            "No byte was changed",
            "acknowledged &lt;bytes&gt; are lost",
            "href=\"/ui/recovery/1\" rel=\"prev\"",
            "href=\"/ui/recovery/3\" rel=\"next\"",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    /// Before there is any report the screen says so.
    #[test]
    fn an_empty_screen_says_what_comes() {
        let progress = ProgressView { stage: "open".into(), ..ProgressView::default() };
        let view = RecoveryScreen {
            progress: Some(progress),
            max_micros: 5_000_000,
            ..RecoveryScreen::default()
        };
        let text = screen(&view).into_string();
        assert!(text.contains("This start") && text.contains("No recovery is written down yet"));
    }
}
