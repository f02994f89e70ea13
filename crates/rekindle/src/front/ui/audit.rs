//! The audit log: who did what, when, why, and what came of it.

use maud::{Markup, html};
use rekindle_services::AuditRecord;

use super::frame::{nothing, scrolling};
use super::text;

/// Most records of one page.
pub(super) const AUDIT_PAGE: usize = 100;

/// A page of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct AuditScreen {
    /// The records, oldest first.
    pub(super) records: Vec<AuditRecord>,
    /// Rows that cannot be read.
    pub(super) unreadable: Vec<u64>,
}

/// The whole screen.
pub(super) fn screen(view: &AuditScreen, newest: bool) -> Markup {
    let first = view.records.first().map_or(0, |record| record.number);
    let page = u64::try_from(AUDIT_PAGE).unwrap_or(0);
    html! {
        section.card.wide aria-label="Audit log" {
            @if view.records.is_empty() {
                (nothing(
                    "Nothing is written yet: a record is made when a person decides or changes \
                     something. The same at a terminal:",
                    Some("rekindle audit"),
                ))
            } @else {
                (table(&view.records))
            }
            @if !view.unreadable.is_empty() {
                p.warn {
                    "⚠ " (text::count(view.unreadable.len() as u64, "record", "records"))
                    " of this page cannot be read."
                }
            }
            nav.pages aria-label="Pages" {
                @if !newest { a href="/ui/audit" { "⇤ Newest" } }
                @if first > 1 {
                    a href={ "/ui/audit?after=" (first.saturating_sub(page + 1)) } { "Older →" }
                }
            }
        }
    }
}

/// Records, newest first.
pub(super) fn table(records: &[AuditRecord]) -> Markup {
    let table = html! {
        table.rows {
            caption.unseen { "Audit records, newest first" }
            thead {
                tr {
                    th.number scope="col" { "Record" }
                    th scope="col" { "When" }
                    th scope="col" { "Who" }
                    th scope="col" { "Did" }
                    th scope="col" { "To" }
                    th scope="col" { "Why" }
                    th scope="col" { "Result" }
                }
            }
            tbody {
                @for record in records.iter().rev() {
                    tr {
                        th.number scope="row" { (record.number) }
                        td {
                            time datetime=(text::machine_moment(record.wall_ms)) {
                                (text::moment(record.wall_ms))
                            }
                        }
                        td { (record.who) }
                        td { b { (record.action) } }
                        td { code { (record.target) } }
                        td { (record.why) }
                        td { (record.result) }
                    }
                }
            }
        }
    };
    scrolling("Audit records, newest first", &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newest first; what people wrote is text; older pages are a link away.
    #[test]
    fn records_are_told() {
        let record = |number| AuditRecord {
            number,
            version: 1,
            at_ms: 1,
            wall_ms: 1_000,
            who: "<b>me</b>".to_owned(),
            action: "review.retry".to_owned(),
            target: "m1".to_owned(),
            why: "</td><script>alert(1)</script>".to_owned(),
            result: "ready".to_owned(),
        };
        let view = AuditScreen { records: vec![record(500), record(501)], unreadable: vec![7] };
        let text = screen(&view, true).into_string();
        assert!(text.find(">501<") < text.find(">500<"), "{text}");
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
        assert!(text.contains("/ui/audit?after=399") && text.contains("1 record"), "{text}");
        assert!(!text.contains("Newest"), "{text}");
        let none = screen(&AuditScreen::default(), false).into_string();
        assert!(none.contains("rekindle audit") && none.contains("Newest"), "{none}");
    }
}
