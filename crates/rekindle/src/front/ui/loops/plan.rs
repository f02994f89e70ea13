//! One plan: what it is for, how its executions stand, and its specs as a tree.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rekindle_services::loops::{PlanInfo, Status};

use super::tree::{Branch, Filter, LOOPS_PAGE, branches};
use super::words::{said, standing};
use crate::front::ui::text;
use crate::front::ui::times::{Now, ago};

/// Most characters of a description.
const DESCRIPTION_CHARS: usize = 4 << 10;

/// A screen of a plan.
#[derive(Clone, Debug)]
pub(in crate::front::ui) struct PlanScreen {
    /// The plan.
    pub(in crate::front::ui) info: PlanInfo,
    /// Its first specs.
    pub(in crate::front::ui) branch: Branch,
    /// Now.
    pub(in crate::front::ui) now: Now,
}

/// How it stands; kept up to date.
pub(in crate::front::ui) fn headline(view: &PlanScreen) -> Markup {
    let PlanScreen { info, now, .. } = view;
    let mut counts: BTreeMap<Status, u64> = BTreeMap::new();
    for spec in &info.specs {
        *counts.entry(spec.execution.status).or_default() += 1;
    }
    let all = |status: Status| counts.get(&status).copied().unwrap_or(0);
    let specs = info.specs.len() as u64;
    let class = match () {
        () if all(Status::NeedsReview) > 0 => "warn",
        () if all(Status::Failed) > 0 => "bad",
        () if all(Status::Completed) == specs => "ok",
        () if all(Status::Running) > 0 => "info",
        () => "plain",
    };
    let sum = |used: fn(&rekindle_services::loops::Used) -> u64| {
        info.specs.iter().fold(0_u64, |sum, it| sum.saturating_add(used(&it.execution.used)))
    };
    html! {
        div.headline.(class) {
            h2 #h-loop {
                (said(&info.name)) " "
                @for (status, count) in &counts {
                    (standing(*status)) " " (text::number(*count)) " "
                }
            }
            @if !info.description.is_empty() {
                p.description {
                    (text::cut(&text::printable(&info.description), DESCRIPTION_CHARS))
                }
            }
            dl.tiles {
                div { dt { "specs" } dd { (text::number(specs)) } }
                div { dt { "at one time" } dd { (info.parallel) } }
                div { dt { "iterations" } dd { (text::number(sum(|it| it.iterations.into()))) } }
                div { dt { "cost" } dd { (text::millionths(sum(|it| it.cost_micros))) } }
                div { dt { "started" } dd { (ago(now.log_ms, info.created_ms)) } }
                div.double { dt { "by" } dd { (said(&info.who)) } }
            }
        }
    }
}

/// Its specs; kept up to date.
pub(in crate::front::ui) fn specs(view: &PlanScreen) -> Markup {
    let all = view.info.specs.len();
    html! {
        (branches("Specs and executions", std::slice::from_ref(&view.branch), view.now, false))
        @if all > LOOPS_PAGE {
            p.more {
                "The first " (LOOPS_PAGE) "; "
                a href=(Filter::of_plan(view.info.id).link()) {
                    "all " (text::number(all as u64)) " by pages"
                }
                "."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::info;
    use super::super::tree::Leaf;
    use super::*;
    use rekindle_services::loops::{Budget, PlanSpecInfo};

    /// How its executions stand is counted; of many specs the first are here.
    #[test]
    fn a_plan_is_told() {
        let spec = |status| PlanSpecInfo { needs: vec![], execution: info(status) };
        let plan = info(Status::Draft).plan;
        let mut info_of = PlanInfo {
            id: plan,
            name: "p".to_owned(),
            description: "<script>\x1b".to_owned(),
            parallel: 2,
            who: "<b>ada".to_owned(),
            created_ms: 5_000,
            specs: vec![spec(Status::Completed), spec(Status::Failed), spec(Status::Failed)],
        };
        let leaf = Leaf { spec: Some((vec![], Budget::default())), info: info(Status::Failed) };
        let name = "p".to_owned();
        let branch = Branch { plan, name, origin: None, leaves: vec![leaf] };
        let now = Now { log_ms: 65_000, wall_ms: 65_000 };
        let view = PlanScreen { info: info_of.clone(), branch, now };
        let text = headline(&view).into_string();
        assert!(text.contains("headline bad") && text.contains("failed</span> 2"), "{text}");
        assert!(text.contains("&lt;script&gt;␛") && text.contains("&lt;b&gt;ada"), "{text}");
        assert!(!specs(&view).into_string().contains("by pages"));
        info_of.specs = vec![spec(Status::Completed); LOOPS_PAGE + 1];
        let view = PlanScreen { info: info_of, ..view };
        assert!(headline(&view).into_string().contains("headline ok"));
        let text = specs(&view).into_string();
        assert!(
            text.contains(&format!("plan={plan}&amp;order=oldest\">all 51 by pages")),
            "{text}"
        );
    }
}
