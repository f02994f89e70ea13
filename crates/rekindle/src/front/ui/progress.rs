//! A start that is in progress: where it is, how far, how fast, how long still.
//!
//! Invariant: nothing is promised that nobody knows: without a total there is no bar, without a
//! rate or an earlier start no time that is left.

use maud::{Markup, html};

use super::text;

/// How far a start is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgressView {
    /// What is being done: the stage of the start.
    pub(super) stage: String,
    /// The layer that recovers, and its stage.
    pub(super) layer: Option<(String, String)>,
    /// Since it began, milliseconds.
    pub(super) elapsed_ms: u64,
    /// How long the last start took, milliseconds.
    pub(super) last_ms: Option<u64>,
    /// Until work is accepted, milliseconds.
    pub(super) remaining_ms: Option<u64>,
    /// Bytes read, of how many, and how many a second.
    pub(super) bytes: (u64, u64),
    pub(super) bytes_per_second: u64,
    /// Records looked at, of how many.
    pub(super) records: (u64, Option<u64>),
}

/// The stages of a start, and what each does.
const STAGES: [(&str, &str); 4] = [
    ("starting", "settings are read, addresses are bound"),
    ("open", "the disk is read: identity, checkpoint, journal, replay"),
    ("lead", "what was in flight is settled: leases, timers, indexes"),
    ("serve", "the report is written, the doors are opened"),
];

/// The progress of a start.
pub(super) fn progress(view: &ProgressView) -> Markup {
    let at = STAGES.iter().position(|(stage, _)| *stage == view.stage).unwrap_or(STAGES.len());
    html! {
        ol.steps {
            @for (index, (stage, does)) in STAGES.iter().enumerate() {
                @let (sign, class) = match index.cmp(&at) {
                    std::cmp::Ordering::Less => ("✓", "done"),
                    std::cmp::Ordering::Equal => ("▸", "now"),
                    std::cmp::Ordering::Greater => ("·", "later"),
                };
                li.(class) aria-current=[(index == at).then_some("step")] {
                    span.sign aria-hidden="true" { (sign) } " " b { (stage) } " " span { (does) }
                }
            }
        }
        (bar(view))
        dl.tiles {
            div { dt { "running for" } dd { (text::span(view.elapsed_ms)) } }
            div {
                dt { "left, about" }
                dd { (view.remaining_ms.map_or_else(|| "not known".to_owned(), text::span)) }
            }
            @if let Some((layer, stage)) = &view.layer {
                div { dt { "layer" } dd { (layer) ": " (stage) } }
            }
            @if view.bytes.1 > 0 {
                div {
                    dt { "read" }
                    dd { (text::bytes(view.bytes.0)) " of " (text::bytes(view.bytes.1)) }
                }
                div { dt { "rate" } dd { (text::bytes(view.bytes_per_second)) "/s" } }
            }
            @if view.records.0 > 0 {
                div { dt { "records" } dd { (records(view)) } }
            }
            @if let Some(last_ms) = view.last_ms {
                div { dt { "the last start took" } dd { (text::span(last_ms)) } }
            }
        }
    }
}

/// Bytes of all, or time of what the last start took.
fn bar(view: &ProgressView) -> Markup {
    let (done, total) = view.bytes;
    let (done, total, label) = match (total, view.last_ms) {
        (1.., _) => (done, total, "Bytes read"),
        (0, Some(last_ms)) => (view.elapsed_ms, last_ms, "Time, of what the last start took"),
        (0, None) => return html! {},
    };
    html! { progress max=(total.max(1)) value=(done.min(total)) aria-label=(label) {} }
}

fn records(view: &ProgressView) -> String {
    let (done, total) = view.records;
    match total {
        Some(total) => format!("{} of {}", text::number(done), text::number(total)),
        None => text::number(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done, what is now, what comes; and no promise that nobody can make.
    #[test]
    fn a_start_says_where_it_is() {
        let view = ProgressView {
            stage: "lead".into(),
            layer: Some(("queue".into(), "<scan>".into())),
            elapsed_ms: 2_000,
            last_ms: Some(5_000),
            remaining_ms: Some(3_000),
            bytes: (1 << 20, 4 << 20),
            bytes_per_second: 1 << 19,
            records: (1_000, Some(9_000)),
        };
        let text = progress(&view).into_string();
        for part in [
            "<progress max=\"4194304\" value=\"1048576\"",
            "<dd>3 s</dd>",
            "queue: &lt;scan&gt;",
            "1.0 MiB of 4.0 MiB",
            "512 KiB/s",
            "1,000 of 9,000",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(text.matches("class=\"done\"").count(), 2);
        assert_eq!(text.matches("aria-current=\"step\"").count(), 1);
        let timed = ProgressView { bytes: (0, 0), ..view.clone() };
        assert!(progress(&timed).into_string().contains("<progress max=\"5000\" value=\"2000\""));
        let first = ProgressView { last_ms: None, remaining_ms: None, ..timed };
        let text = progress(&first).into_string();
        assert!(!text.contains("<progress") && text.contains("not known"), "{text}");
    }
}
