//! Recovery mode on the page: what the look at the directory found, and what can be decided.
//!
//! Invariant: a decision is a form with this process's token, a reason, and a box to tick that
//! says what is given up; looking decides nothing.

use std::ops::Range;

use maud::{Markup, html};
use rekindle_recovery::report::StoredReport;

use super::findings::findings;
use super::frame::{badge, nothing};
use super::report::outcome;
use super::reviews::signature;
use crate::front::http::token::FormToken;
use crate::repaired::{Repaired, range_text};

/// What recovery mode shows.
#[derive(Clone, Debug)]
pub(super) struct LimitedView {
    /// What the look found.
    pub(super) report: StoredReport,
    /// The same in a sentence.
    pub(super) verdict: String,
    /// What a repair must accept.
    pub(super) ranges: Vec<Range<u64>>,
    /// What it would do, or why it cannot.
    pub(super) plan: Option<Result<Repaired, String>>,
    /// What was decided here last.
    pub(super) decided: Option<Vec<String>>,
    /// Why all this is of before that.
    pub(super) outdated: Option<String>,
    /// What the forms carry.
    pub(super) token: FormToken,
}

/// The part of the recovery screen that stands above the reports.
pub(super) fn limited(view: &LimitedView) -> Markup {
    let outcome = outcome(view.report.code);
    html! {
        @if let Some(lines) = &view.decided {
            section.card.wide.done role="status" {
                p { (badge("✓", "done", "ok")) }
                @for line in lines { p { (line) } }
            }
        }
        section.card.wide.headline.(outcome.class) aria-labelledby="h-now" {
            h2 #h-now { (badge(outcome.sign, outcome.word, outcome.class)) " The store as it is" }
            p.summary { (view.verdict) }
            @if let Some(why) = &view.outdated { p.warn { "⚠ " (why) } }
            p { (next(view)) }
        }
        section.card.wide aria-labelledby="h-seen" {
            h2 #h-seen { "What every byte of it says" }
            (findings(&view.report))
        }
        @if !view.ranges.is_empty() && view.outdated.is_none() {
            section.card aria-labelledby="h-repair" {
                h2 #h-repair { "Go on without what is damaged" }
                (repair(view))
            }
        }
        section.card aria-labelledby="h-salvage" {
            h2 #h-salvage { "Write out what can be read" }
            (salvage(&view.token))
        }
    }
}

/// What to do next, in words.
fn next(view: &LimitedView) -> &'static str {
    if !view.report.is_refused() {
        "Nothing stands in the way: end this server and start it without --recovery-mode."
    } else if view.ranges.is_empty() {
        "What is damaged is no range of the journal, so no repair can pass it: bring the named \
         file back from a copy, or restore a backup."
    } else {
        "A copy or a backup that holds what is damaged is better than a repair. Where there is \
         none, a repair goes on with everything else."
    }
}

/// The form of a repair; what it would do stands above it.
fn repair(view: &LimitedView) -> Markup {
    let plan = match &view.plan {
        Some(Ok(plan)) => plan,
        Some(Err(reason)) => return nothing(reason, None),
        None => return nothing("There is nothing to repair.", None),
    };
    html! {
        ul.plan { @for line in plan.text() { li { (line) } } }
        form.decide method="post" action="/ui/repair" {
            input type="hidden" name=(FormToken::FIELD) value=(view.token.as_str());
            input type="hidden" name="accept_loss" value=(words(&view.ranges));
            label.choice {
                input type="checkbox" name="accepted" value="yes" required;
                span {
                    "What stood in " b { (words(&view.ranges)) } " is given up for good."
                }
            }
            (signature("the journal and in the audit log"))
            button.main type="submit" { "Repair the store" }
        }
    }
}

/// The form of a salvage.
fn salvage(token: &FormToken) -> Markup {
    html! {
        p { "Lines of JSON, a file for each keyspace. The store is only read." }
        form.decide method="post" action="/ui/salvage" {
            input type="hidden" name=(FormToken::FIELD) value=(token.as_str());
            label for="export" { "A new or empty folder on the server's machine" }
            input #export name="export" type="text" required placeholder="/absolute/path";
            button type="submit" { "Write it out" }
        }
    }
}

/// Ranges as a form carries them.
fn words(ranges: &[Range<u64>]) -> String {
    ranges.iter().map(range_text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_env::OsRandom;

    fn view(plan: Option<Result<Repaired, String>>) -> LimitedView {
        let refused = br#"{"code":65,"summary":"x","findings":[],"notes":[],"layers":[{"layer":
            "journal","actions":[{"kind":"refuse","label":"journal-2","target":"t","detail":"d"}],
            "figures":{},"stages":[]}]}"#;
        LimitedView {
            report: StoredReport::parse(refused).expect("a report"),
            verdict: "<b>damaged</b>".to_owned(),
            ranges: vec![8..16, 24..32],
            plan,
            decided: None,
            outdated: None,
            token: FormToken::draw(&OsRandom),
        }
    }

    /// The form accepts exactly the ranges, and is there only where a repair can be done.
    #[test]
    fn a_repair_is_decided_by_a_form() {
        let plan = Repaired { planned: true, version: 7, ..Repaired::default() };
        let view_of = view(Some(Ok(plan)));
        let text = limited(&view_of).into_string();
        assert!(text.contains("name=\"accept_loss\" value=\"8..16 24..32\""), "{text}");
        assert!(text.contains(view_of.token.as_str()) && text.contains("required"), "{text}");
        assert!(text.contains("&lt;b&gt;damaged") && !text.contains("<b>damaged"), "{text}");
        let blocked = limited(&view(Some(Err("a segment is gone".to_owned())))).into_string();
        assert!(!blocked.contains("/ui/repair") && blocked.contains("a segment is gone"));
        let none = LimitedView { ranges: vec![], ..view(None) };
        let text = limited(&none).into_string();
        assert!(!text.contains("/ui/repair") && text.contains("restore a backup"), "{text}");
        assert!(text.contains("/ui/salvage"), "{text}");
        let outdated = LimitedView { outdated: Some("locked".to_owned()), ..view_of };
        let text = limited(&outdated).into_string();
        assert!(!text.contains("/ui/repair") && text.contains("⚠ locked"), "{text}");
    }
}
