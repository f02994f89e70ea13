//! What a recovery found, decided and counted.
//!
//! Invariant: at most [`SHOWN_MAX`] of each are on the page; it says how many there are, and the
//! exports have all of them.

use maud::{Markup, html};
use rekindle_recovery::report::{StoredFinding, StoredLayer, StoredReport};

use super::frame::{badge, nothing, scrolling};
use super::report;
use super::text;

/// Most findings, notes and actions, each, of one page.
const SHOWN_MAX: usize = 200;

/// Findings and notes, the worst first.
pub(super) fn findings(report: &StoredReport) -> Markup {
    let all: Vec<&StoredFinding> = report.findings.iter().chain(&report.notes).collect();
    if all.is_empty() {
        return nothing("Nothing was found: every byte that was read is as it was written.", None);
    }
    let mut shown = all.clone();
    shown.sort_by_key(|finding| std::cmp::Reverse(severity(finding)));
    html! {
        ol.findings {
            @for finding in shown.iter().take(SHOWN_MAX) { (one(finding)) }
        }
        (more(all.len()))
    }
}

/// Orders findings by how bad they are.
fn severity(finding: &StoredFinding) -> u8 {
    match finding.verdict.as_deref() {
        Some("corrupt") => 4,
        Some("healed") => 3,
        Some("torn") => 2,
        Some(_) => 1,
        None => 0,
    }
}

fn one(finding: &StoredFinding) -> Markup {
    let (sign, word, class) = report::verdict(finding);
    html! {
        li.finding.(class) {
            p.what {
                (badge(sign, word, class)) " "
                b.label { (finding.label) }
                @if finding.verdict.is_some() {
                    " " span.acked { "acknowledged: " b { (finding.acked) } }
                }
            }
            p.place {
                code { (finding.file) }
                " at byte " b { (text::number(finding.offset)) }
                @if finding.to > finding.from {
                    ", log " b { (finding.from) ".." (finding.to) }
                    " (" (text::bytes(finding.to - finding.from)) ")"
                }
            }
            dl.compare {
                div { dt { "Expected" } dd { (finding.expected) } }
                div { dt { "Found" } dd { (finding.found) } }
            }
        }
    }
}

/// What was decided.
pub(super) fn actions(report: &StoredReport) -> Markup {
    let total = report::actions(report).count();
    if total == 0 {
        return nothing("Nothing had to be decided.", None);
    }
    let table = html! {
        table.rows.cards {
            caption.unseen { "What recovery decided" }
            thead {
                tr {
                    th scope="col" { "Action" }
                    th scope="col" { "What" }
                    th scope="col" { "Why" }
                    th scope="col" { "Label" }
                    th scope="col" { "Layer" }
                }
            }
            tbody {
                @for (layer, action) in report::actions(report).take(SHOWN_MAX) {
                    tr {
                        td { b { (action.kind) } }
                        td { code { (action.target) } }
                        td { (action.detail) }
                        td.label { (action.label) }
                        td { (layer) }
                    }
                }
            }
        }
    };
    html! { (scrolling("What recovery decided", &table)) (more(total)) }
}

fn more(total: usize) -> Markup {
    let left = u64::try_from(total.saturating_sub(SHOWN_MAX)).unwrap_or(0);
    html! {
        @if left > 0 {
            p.more { (text::number(left)) " more are not shown here; the JSON has all of them." }
        }
    }
}

/// What was counted, layer by layer.
pub(super) fn figures(report: &StoredReport) -> Markup {
    let counted: Vec<&StoredLayer> =
        report.layers.iter().filter(|layer| !layer.figures.is_empty()).collect();
    html! {
        @if counted.is_empty() { (nothing("Nothing was counted.", None)) }
        div.figures {
            @for layer in counted {
                table.figures {
                    caption { (layer.layer) }
                    tbody {
                        @for (name, value) in &layer.figures {
                            tr {
                                th scope="row" { (name.replace('_', " ")) }
                                td.number { (figure(name, *value)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A figure with its unit, which its name ends with.
fn figure(name: &str, value: u64) -> String {
    match name.rsplit('_').next() {
        Some("micros") => text::micros(value),
        Some("bytes") => text::bytes(value),
        _ => text::number(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst stands first, all of it is text, and a page has an end.
    #[test]
    fn findings_are_ordered_escaped_and_bounded() {
        let torn = StoredFinding {
            label: "journal-1".into(),
            verdict: Some("torn".into()),
            acked: "no".into(),
            file: "<img src=x onerror=alert(1)>".into(),
            from: 8,
            to: 4_104,
            ..StoredFinding::default()
        };
        let corrupt = StoredFinding {
            label: "journal-7".into(),
            verdict: Some("corrupt".into()),
            ..StoredFinding::default()
        };
        let notes = vec![StoredFinding::default(); SHOWN_MAX + 3];
        let findings_of = vec![torn, corrupt];
        let report = StoredReport { findings: findings_of, notes, ..StoredReport::default() };
        let text = findings(&report).into_string();
        assert!(text.find("journal-7") < text.find("journal-1"), "{text}");
        assert!(text.contains("&lt;img src=x") && !text.contains("<img"), "{text}");
        assert!(text.contains("8..4104") && text.contains("4.0 KiB"), "{text}");
        assert!(text.contains("5 more are not shown here"), "{text}");
        assert_eq!(text.matches("<li").count(), SHOWN_MAX);
    }

    #[test]
    fn figures_have_units() {
        assert_eq!(figure("bytes_cut", 4_096), "4,096");
        assert_eq!(figure("cut_bytes", 4_096), "4.0 KiB");
        assert_eq!(figure("scan_micros", 1_500), "1.50 ms");
    }
}
