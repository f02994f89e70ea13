//! Plans and executions as a tree: a plan, its specs with what they need, and how the execution of
//! each stands.
//!
//! Invariant: the address of the list is its filter; its parameters are those of `GET /v1/loops`,
//! but that the newest come first unless it says otherwise.

use maud::{Markup, html};
use rekindle_services::loops::{Budget, ExecutionInfo, LoopCounts, LoopId, Status};

use super::budget::small;
use super::words::{link, said, standing, step, word};
use crate::front::ui::frame::{nothing, scrolling};
use crate::front::ui::queues::path;
use crate::front::ui::times::{Now, ago, ahead};
use crate::front::ui::{curl, text};

/// Most executions of one page.
pub(in crate::front::ui) const LOOPS_PAGE: usize = 50;

/// Which executions are looked at; empty: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::front::ui) struct Filter {
    /// The id of their plan.
    pub(in crate::front::ui) plan: String,
    /// Words of statuses, with commas.
    pub(in crate::front::ui) status: String,
    /// The oldest first.
    pub(in crate::front::ui) oldest_first: bool,
    /// Behind which execution the page begins.
    pub(in crate::front::ui) after: String,
}

impl Filter {
    /// Those of a plan, in its order.
    pub(super) fn of_plan(plan: LoopId) -> Self {
        Self { plan: plan.to_string(), oldest_first: true, ..Self::default() }
    }

    fn behind(&self, after: &str) -> Self {
        Self { after: after.to_owned(), ..self.clone() }
    }

    fn is_narrow(&self) -> bool {
        !(self.plan.is_empty() && self.status.is_empty())
    }

    /// Its parameters for `base`.
    pub(in crate::front::ui) fn query(&self, base: &str, more: &[(&str, &str)]) -> String {
        let order = if self.oldest_first { "oldest" } else { "" };
        let mut all = vec![
            ("plan", self.plan.as_str()),
            ("status", &self.status),
            ("order", order),
            ("after", &self.after),
        ];
        all.extend_from_slice(more);
        path(base, &all)
    }

    /// The page that shows this.
    pub(super) fn link(&self) -> String {
        self.query("/ui/loops", &[])
    }

    fn api(&self) -> String {
        let plain = Self { oldest_first: false, ..self.clone() };
        let order = if self.oldest_first { "oldest" } else { "newest" };
        plain.query("/v1/loops", &[("order", order), ("limit", &LOOPS_PAGE.to_string())])
    }
}

/// A spec with its execution.
#[derive(Clone, Debug)]
pub(in crate::front::ui) struct Leaf {
    /// What it needs, and what it may use; `None`: that cannot be read.
    pub(in crate::front::ui) spec: Option<(Vec<String>, Budget)>,
    /// Its execution.
    pub(in crate::front::ui) info: ExecutionInfo,
}

/// A plan with those of its specs that are on the page.
#[derive(Clone, Debug)]
pub(in crate::front::ui) struct Branch {
    /// The plan.
    pub(in crate::front::ui) plan: LoopId,
    /// What it is called.
    pub(in crate::front::ui) name: String,
    /// How many specs it has, and who started it; `None`: that cannot be read.
    pub(in crate::front::ui) origin: Option<(u32, String)>,
    /// In the order of the plan.
    pub(in crate::front::ui) leaves: Vec<Leaf>,
}

/// A page of the tree.
#[derive(Clone, Debug, Default)]
pub(in crate::front::ui) struct TreeScreen {
    /// Which.
    pub(in crate::front::ui) filter: Filter,
    /// How many of all stand where.
    pub(in crate::front::ui) counts: LoopCounts,
    /// The plans.
    pub(in crate::front::ui) branches: Vec<Branch>,
    /// Behind which execution more follow.
    pub(in crate::front::ui) next: Option<LoopId>,
    /// Now.
    pub(in crate::front::ui) now: Now,
    /// Where HTTP is answered.
    pub(in crate::front::ui) address: String,
}

/// The whole screen; `parts` are kept up to date.
pub(in crate::front::ui) fn screen(view: &TreeScreen, [counts, tree]: [&Markup; 2]) -> Markup {
    html! {
        section.card.wide aria-labelledby="h-counts" {
            h2 #h-counts { "How many executions stand where" }
            (counts)
        }
        section.card.wide aria-label="Plans and executions" {
            (form(&view.filter))
            (tree)
        }
        section.card.wide aria-labelledby="h-curl" {
            h2 #h-curl { "The same at a terminal" }
            (curl::lines(&[("this page", curl::get(&view.address, &view.filter.api()))]))
        }
    }
}

/// How many stand where, each a link to these.
pub(in crate::front::ui) fn counts(counts: &LoopCounts) -> Markup {
    html! {
        dl.tiles {
            @for status in Status::ALL {
                @let these = Filter { status: status.as_str().to_owned(), ..Filter::default() };
                div {
                    dt { a href=(these.link()) { (word(status)) } }
                    dd { (text::number(counts.get(&status).copied().unwrap_or(0))) }
                }
            }
        }
    }
}

fn form(filter: &Filter) -> Markup {
    let Filter { plan, status, oldest_first, .. } = filter;
    let several = status.contains(',');
    html! {
        form.filter method="get" action="/ui/loops" role="search" {
            div.field {
                label for="plan" { "Plan" }
                input #plan name="plan" type="text" value=(plan) maxlength="36" size="36"
                    autocomplete="off" spellcheck="false";
            }
            div.field {
                label for="status" { "Status" }
                select #status name="status" {
                    option value="" selected[status.is_empty()] { "any" }
                    @if several { option value=(status) selected { (status) } }
                    @for one in Status::ALL {
                        option value=(one.as_str()) selected[status == one.as_str()] { (word(one)) }
                    }
                }
            }
            div.field {
                label for="order" { "Order" }
                select #order name="order" {
                    option value="newest" selected[!*oldest_first] { "newest first" }
                    option value="oldest" selected[*oldest_first] { "oldest first" }
                }
            }
            button type="submit" { "Filter" }
            @if filter.is_narrow() { a href="/ui/loops" { "All loops" } }
        }
    }
}

/// The tree and where the next page is; kept up to date together.
pub(in crate::front::ui) fn tree(view: &TreeScreen) -> Markup {
    let filter = &view.filter;
    html! {
        @if view.branches.is_empty() {
            (none(filter))
        } @else {
            (branches("Plans and executions", &view.branches, view.now, true))
        }
        @if view.next.is_some() || !filter.after.is_empty() {
            nav.pages aria-label="Pages" {
                @if !filter.after.is_empty() {
                    a href=(filter.behind("").link()) { "⇤ First page" }
                }
                @if let Some(next) = view.next {
                    a href=(filter.behind(&next.to_string()).link()) rel="next" { "Next page →" }
                }
            }
        }
    }
}

/// Why there is nothing, and what to do about it.
fn none(filter: &Filter) -> Markup {
    match (filter.is_narrow(), filter.after.is_empty()) {
        (false, true) => nothing(
            "There are no loops yet. A loop repeats an iteration until its checks pass; write a \
             plan, check it, start it:",
            Some("rekindle loop check plan.toml && rekindle loop start plan.toml"),
        ),
        (true, true) => nothing("No execution fits.", None),
        (_, false) => nothing("No execution follows.", None),
    }
}

/// Plans with their specs; `named`: each with its name above them.
pub(super) fn branches(label: &str, all: &[Branch], now: Now, named: bool) -> Markup {
    let table = html! {
        table.rows.cards.tree {
            caption.unseen { (label) }
            thead {
                tr {
                    th scope="col" { "Spec" }
                    th scope="col" { "Execution" }
                    th scope="col" { "Status" }
                    th scope="col" { "Iterations" }
                    th.number scope="col" { "Wall time" }
                    th.number scope="col" { "Cost" }
                    th scope="col" { "Step now" }
                    th.number scope="col" { "Last event" }
                }
            }
            @for branch in all {
                tbody {
                    @if named { (trunk(branch, now)) }
                    @for leaf in &branch.leaves { (row(leaf, now)) }
                }
            }
        }
    };
    scrolling(label, &table)
}

/// A plan, above its specs.
fn trunk(branch: &Branch, now: Now) -> Markup {
    let here = branch.leaves.len() as u64;
    let made_ms = branch.leaves.first().map(|leaf| leaf.info.created_ms);
    html! {
        tr.trunk {
            th scope="rowgroup" colspan="8" {
                a href=(link(branch.plan)) { (said(&branch.name)) }
                span.quiet {
                    @if let Some((specs, who)) = &branch.origin {
                        " · "
                        @if u64::from(*specs) > here {
                            (text::number(here)) " of its " (text::number((*specs).into()))
                            " specs here"
                        } @else { (text::count((*specs).into(), "spec", "specs")) }
                        " · started by " (said(who))
                    }
                    @if let Some(made_ms) = made_ms { " · " (ago(now.log_ms, made_ms)) }
                }
            }
        }
    }
}

fn row(leaf: &Leaf, now: Now) -> Markup {
    let Leaf { spec, info } = leaf;
    let budget = spec.as_ref().map(|(_, budget)| budget);
    html! {
        tr {
            td.spec {
                b { (said(&info.spec)) }
                @match spec {
                    Some((needs, _)) if !needs.is_empty() => {
                        " " span.under.quiet {
                            "after " (text::cut(&said(&needs.join(", ")), 120))
                        }
                    },
                    Some(_) => {}
                    None => { " " span.under.warn { "⚠ its first event cannot be read" } },
                }
            }
            td { a.id href=(link(info.id)) { code { (info.id) } } }
            td.inline {
                (standing(info.status))
                @if let Some(at_ms) = info.resume_at_ms {
                    " " span.quiet.keep { (ahead(now.log_ms, at_ms)) }
                }
                @if info.status == Status::NeedsReview {
                    " " a href={ "/ui/reviews/" (info.id) } { "review" }
                }
            }
            td.inline.iterations data-label="iterations" {
                (text::number(info.charged.iterations.into()))
                @if let Some(budget) = budget {
                    span.quiet { " of " (text::number(budget.iterations.into())) }
                    (small(info.charged.iterations.into(), budget.iterations.into()))
                }
            }
            td.number.inline data-label="time" {
                (text::span(info.charged.wall_time_ms))
                @if let Some(budget) = budget {
                    span.quiet { " of " (text::span(budget.wall_time_ms)) }
                }
            }
            td.number.inline data-label="cost" {
                (text::millionths(info.charged.cost_micros))
                @if let Some(most) = budget.and_then(|budget| budget.cost_micros) {
                    span.quiet { " of " (text::millionths(most)) }
                }
            }
            td.inline {
                @if let Some(at) = info.step {
                    span.keep { (step(at.step)) }
                    @if at.attempt > 1 { span.quiet { ", attempt " (at.attempt) } }
                }
            }
            td.number.inline data-label="last event" { (ago(now.log_ms, info.updated_ms)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::{ID, info};
    use super::*;
    use rekindle_services::loops::Used;

    fn leaf(status: Status, needs: &[&str]) -> Leaf {
        let needs = needs.iter().map(|name| (*name).to_owned()).collect();
        let used = Used { iterations: 12, cost_micros: 1_500_000, ..Used::default() };
        let budget = Budget { iterations: 50, ..Budget::default() };
        Leaf { spec: Some((needs, budget)), info: ExecutionInfo { charged: used, ..info(status) } }
    }

    fn view() -> TreeScreen {
        let branch = Branch {
            plan: info(Status::Draft).plan,
            name: "<b>plan".to_owned(),
            origin: Some((12, "<script>ada".to_owned())),
            leaves: vec![leaf(Status::Running, &[]), leaf(Status::Blocked, &["prepare", "<i>"])],
        };
        TreeScreen {
            filter: Filter {
                status: "running,blocked".to_owned(),
                oldest_first: true,
                after: ID.to_owned(),
                ..Filter::default()
            },
            counts: [(Status::Failed, 12_345)].into(),
            branches: vec![branch],
            next: Some(ID.parse().expect("an id")),
            now: Now { log_ms: 65_000, wall_ms: 65_000 },
            address: "127.0.0.1:7610".to_owned(),
        }
    }

    fn shown(view: &TreeScreen) -> String {
        screen(view, [&counts(&view.counts), &tree(view)]).into_string()
    }

    /// Plan, specs with what they need, executions with what they used; what people wrote is text.
    ///
    /// proves: L1, L11
    #[test]
    fn loops_are_a_tree() {
        let text = shown(&view());
        let kept = "status=running%2Cblocked&amp;order=oldest";
        for part in [
            "&lt;b&gt;plan",
            "2 of its 12 specs here",
            "started by &lt;script&gt;ada",
            "after prepare, &lt;i&gt;",
            "12<span class=\"quiet\"> of 50",
            "aria-label=\"iterations: 24 % used\"",
            "1.5",
            "check 1",
            "12,345",
            "href=\"/ui/loops?status=failed\"",
            &format!("href=\"/ui/loops?{kept}&amp;after={ID}\" rel=\"next\""),
            &format!("href=\"/ui/loops?{kept}\""),
            "value=\"running,blocked\" selected",
            &format!(
                "/v1/loops?status=running%2Cblocked&amp;after={ID}&amp;order=oldest&amp;limit=50"
            ),
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("<script") && !text.contains("<i>"), "{text}");
        let newest = TreeScreen { filter: Filter::default(), ..view() };
        assert!(shown(&newest).contains("/v1/loops?order=newest&amp;limit=50'"));
    }

    /// Where nothing is shown, the page says why and what to do.
    #[test]
    fn nothing_has_a_reason() {
        let none = |filter: Filter| {
            tree(&TreeScreen { branches: vec![], next: None, filter, ..view() }).into_string()
        };
        assert!(none(Filter::default()).contains("rekindle loop start"));
        let failed = Filter { status: "failed".to_owned(), ..Filter::default() };
        assert!(none(failed.clone()).contains("No execution fits"));
        assert!(none(failed.behind(ID)).contains("No execution follows"));
    }
}
