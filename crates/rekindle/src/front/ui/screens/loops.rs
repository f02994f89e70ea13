//! Loops, gathered from the loop service: the tree, a plan, an execution, its transcript, and what
//! a person asks for.

use axum::http::StatusCode;
use maud::{Markup, html};
use rekindle_services::audit::one_line;
use rekindle_services::limits::LOOP_EVENTS_MAX;
use rekindle_services::loops::event::PlanRef;
use rekindle_services::loops::{
    Ask, ExecutionDetail, ExecutionInfo, LoopFilter, LoopId, PlanInfo, Shown, Spec, Status, What,
};
use rekindle_services::{Error, Loops};

use super::jobs::now;
use super::{by, facts, page, readable, serving, text};
use crate::boot::Recovered;
use crate::front::http::reply::{self, Answered, Refusal};
use crate::front::http::request::Asked;
use crate::front::ui::frame::{Page, Screen, part};
use crate::front::ui::loops::actions::{actions, commands};
use crate::front::ui::loops::execution::{ExecutionScreen, does, headline};
use crate::front::ui::loops::plan::{self, PlanScreen};
use crate::front::ui::loops::transcript::{self, TranscriptScreen, story};
use crate::front::ui::loops::tree::{
    Branch, Filter, LOOPS_PAGE, Leaf, TreeScreen, counts, screen, tree,
};
use crate::front::ui::loops::words::link;
use crate::front::ui::loops::{budget, iterations, steps, strip};
use crate::front::ui::queues::path;
use crate::state::Server;

/// The last events that tell why an execution stands so, and its steps: more than an iteration has
/// whose hundred checks are each done once.
const RECENT_EVENTS: usize = 250;
/// The last events that stand on the page of an execution.
const LAST_EVENTS: usize = 15;

/// The plan and the spec of an execution, which its first event holds; they never change.
fn origin(loops: &Loops, id: LoopId) -> Option<(PlanRef, Spec)> {
    let first = loops.events(id, 0, 1).ok()?.events.into_iter().next()?;
    match first.1.what {
        What::Created { plan, spec, .. } => Some((*plan, *spec)),
        _ => None,
    }
}

/// `/ui/loops?plan=ID&status=S,S&order=oldest&after=ID`
pub(in crate::front::ui) fn list(server: &Server, asked: &Asked) -> Answered {
    let view = gather(server, readable(server)?, asked)?;
    let live = view.filter.query("/ui/live", &[("screen", "loops")]);
    let counts = part("loop-counts", &counts(&view.counts));
    let page_of = Page {
        screen: Some(Screen::Loops),
        title: "Loops",
        live: Some(&live),
        reload_s: None,
        body: screen(&view, [&counts, &part("loops", &tree(&view))]),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn parts(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Vec<(&'static str, Markup)> {
    let Ok(view) = gather(server, recovered, asked) else { return vec![] };
    vec![("loop-counts", counts(&view.counts)), ("loops", tree(&view))]
}

fn gather(server: &Server, recovered: &Recovered, asked: &Asked) -> Result<TreeScreen, Refusal> {
    let filter = Filter {
        plan: text(asked, "plan"),
        status: text(asked, "status"),
        oldest_first: asked.text("order") == Some("oldest"),
        after: text(asked, "after"),
    };
    let words = filter.status.split(',').filter(|word| !word.is_empty());
    let statuses = words.map(str::parse::<Status>).collect::<Result<Vec<_>, _>>()?;
    let named = |id: &str| (!id.is_empty()).then(|| id.parse::<LoopId>()).transpose();
    let asked_for = LoopFilter {
        plan: named(&filter.plan)?,
        statuses: &statuses,
        newest_first: !filter.oldest_first,
        after: named(&filter.after)?,
        limit: LOOPS_PAGE,
    };
    let loops = recovered.services.loops();
    let found = loops.list(&asked_for)?;
    let next = found.executions.last().filter(|_| found.more).map(|last| last.id);
    Ok(TreeScreen {
        filter,
        counts: loops.counts(),
        branches: branches(loops, found.executions),
        next,
        now: now(server, recovered),
        address: facts(server).name,
    })
}

/// Executions that follow each other under their plans, each plan in its own order.
fn branches(loops: &Loops, executions: Vec<ExecutionInfo>) -> Vec<Branch> {
    let mut all: Vec<Branch> = vec![];
    for info in executions {
        let origin = origin(loops, info.id);
        let (of, spec) = origin.map(|(plan, spec)| (plan, (spec.needs, spec.budget))).unzip();
        if all.last().is_none_or(|last| last.plan != info.plan) {
            let (plan, name) = (info.plan, info.plan_name.clone());
            all.push(Branch { plan, name, origin: None, leaves: vec![] });
        }
        if let Some(branch) = all.last_mut() {
            branch.origin = of.map(|of| (of.specs, of.who)).or(branch.origin.take());
            branch.leaves.push(Leaf { spec, info });
        }
    }
    for branch in &mut all {
        branch.leaves.sort_by_key(|leaf| leaf.info.id);
    }
    all
}

fn id(asked: &Asked) -> Result<LoopId, Refusal> {
    Ok(asked.text("id").unwrap_or_default().parse()?)
}

/// `/ui/loops/{id}`: a plan, or an execution.
pub(in crate::front::ui) fn one(server: &Server, asked: &Asked) -> Answered {
    let recovered = readable(server)?;
    let id = id(asked)?;
    let name = id.to_string();
    let live = path("/ui/live", &[("screen", "loop"), ("id", &name)]);
    let (title, body) = match recovered.services.loops().show(id)? {
        Shown::Plan(info) => {
            let parts = plan_parts(server, recovered, *info).map(|(id, it)| part(id, &it));
            (format!("Plan {name}"), plan_body(server, id, parts))
        }
        Shown::Execution(detail) => {
            let view = view(server, recovered, *detail)?;
            let parts = execution_parts(server, &view).map(|(id, it)| part(id, &it));
            (format!("Execution {name}"), execution_body(server, &view, parts))
        }
    };
    let page_of = Page {
        screen: Some(Screen::Loops),
        title: &title,
        live: Some(&live),
        reload_s: None,
        body,
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn one_parts(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Vec<(&'static str, Markup)> {
    let shown = id(asked).and_then(|id| Ok(recovered.services.loops().show(id)?));
    match shown {
        Ok(Shown::Plan(info)) => plan_parts(server, recovered, *info).into(),
        Ok(Shown::Execution(detail)) => view(server, recovered, *detail)
            .map(|view| execution_parts(server, &view).into())
            .unwrap_or_default(),
        Err(_) => vec![],
    }
}

fn plan_parts(
    server: &Server,
    recovered: &Recovered,
    info: PlanInfo,
) -> [(&'static str, Markup); 3] {
    let loops = recovered.services.loops();
    let first = info.specs.iter().take(LOOPS_PAGE).map(|spec| spec.execution.clone());
    let mut all = branches(loops, first.collect());
    let (id, name) = (info.id, info.name.clone());
    let branch = all.pop().unwrap_or(Branch { plan: id, name, origin: None, leaves: vec![] });
    // In recovery mode it is looked at only.
    let token = server.serving().map(|_| &server.form_token);
    let takes = |ask: Ask| info.specs.iter().any(|spec| spec.execution.takes(ask));
    let actions = actions(id, takes, token);
    let view = PlanScreen { info, branch, now: now(server, recovered) };
    [("loop", plan::headline(&view)), ("loop-specs", plan::specs(&view)), ("loop-actions", actions)]
}

fn plan_body(server: &Server, id: LoopId, [headline, specs, actions]: [Markup; 3]) -> Markup {
    html! {
        section.card.wide aria-labelledby="h-loop" { (headline) }
        section.card.wide aria-labelledby="h-specs" {
            h2 #h-specs { "Specs and their executions" }
            (specs)
        }
        section.card aria-labelledby="h-decide" {
            h2 #h-decide { "Decide about all of them" }
            (actions)
        }
        (commands(id, &facts(server).name, true))
        p { a href="/ui/loops" { "← All loops" } }
    }
}

/// An execution with the last of its events.
fn view(
    server: &Server,
    recovered: &Recovered,
    detail: ExecutionDetail,
) -> Result<ExecutionScreen, Refusal> {
    let ExecutionDetail { info, spec, .. } = detail;
    let loops = recovered.services.loops();
    let last = |most: usize| {
        let most_events = u64::try_from(most).unwrap_or(u64::MAX);
        let after = info.events.saturating_sub(most_events);
        let mut events = loops.events(info.id, after, most)?.events;
        // What came since the look at it is of the next one.
        events.retain(|(number, _)| *number <= info.events);
        Ok::<_, Error>(events)
    };
    let iterations = server.page.iterations.of(info.id, info.events, || -> Result<_, Error> {
        let events = last(LOOP_EVENTS_MAX)?;
        Ok(iterations::iterations(&events, spec.checks.len()))
    })?;
    let events = last(RECENT_EVENTS)?;
    let place = server.work.place(info.id, &spec.directory).display().to_string();
    Ok(ExecutionScreen { info, spec, events, iterations, place, now: now(server, recovered) })
}

fn execution_parts(server: &Server, view: &ExecutionScreen) -> [(&'static str, Markup); 7] {
    let ExecutionScreen { info, spec, events, iterations, now, .. } = view;
    let token = server.serving().map(|_| &server.form_token);
    let last = events.get(events.len().saturating_sub(LAST_EVENTS)..).unwrap_or_default();
    [
        ("loop", headline(view)),
        ("loop-strip", strip::strip(info, iterations, spec.budget.iterations)),
        ("loop-budget", budget::bars(info, &spec.budget, iterations)),
        ("loop-progress", strip::progress(info, iterations)),
        ("loop-steps", steps::steps(view)),
        ("loop-actions", actions(info.id, |ask| info.takes(ask), token)),
        ("loop-events", story(last, info.id, *now, false)),
    ]
}

fn execution_body(
    server: &Server,
    view: &ExecutionScreen,
    [headline, strip, budget, progress, steps, actions, events]: [Markup; 7],
) -> Markup {
    let id = view.info.id;
    html! {
        section.card.wide aria-labelledby="h-loop" { (headline) }
        section.card.wide aria-labelledby="h-strip" {
            h2 #h-strip { "Iterations" }
            (strip)
        }
        section.card aria-labelledby="h-budget" {
            h2 #h-budget { "Budget" }
            (budget)
        }
        div.half { (progress) }
        section.card.wide aria-labelledby="h-steps" {
            h2 #h-steps { "Steps of this iteration" }
            (steps)
        }
        section.card aria-labelledby="h-decide" {
            h2 #h-decide { "Decide" }
            (actions)
        }
        (does(view))
        section.card.wide aria-labelledby="h-events" {
            h2 #h-events {
                "What happened to it last "
                small { a href={ (link(id)) "/events" } { "the transcript" } }
            }
            (events)
        }
        (commands(id, &facts(server).name, false))
        p { a href=(link(view.info.plan)) { "← Its plan" } }
    }
}

/// POST `/ui/loops/{id}`: the form of a plan, or of an execution.
pub(in crate::front::ui) fn ask(server: &Server, asked: &Asked) -> Answered {
    let (id, field) = (id(asked)?, |name| asked.field(name).unwrap_or("").trim());
    let word = field("ask");
    let ask = Ask::ALL.into_iter().find(|ask| ask.as_str() == word);
    let ask = ask.ok_or_else(|| Refusal::invalid("say what is to be done"))?;
    // A person may write lines; a record is one.
    let (reason, who) = (one_line(field("reason")), by(field("by")));
    if reason.is_empty() {
        return Err(Refusal::invalid("say why: it is kept in the audit log"));
    }
    serving(server)?.services.loops().alter(id, ask, &reason, &who, None)?;
    reply::see_other(&link(id))
}

/// `/ui/loops/{id}/events?after=N`, `?before=N`: the transcript; without either its end.
pub(in crate::front::ui) fn events(server: &Server, asked: &Asked) -> Answered {
    let view = gather_events(server, readable(server)?, asked)?;
    let id = view.id.to_string();
    let query = [
        ("screen", "loop-events"),
        ("id", &id),
        ("after", asked.text("after").unwrap_or("")),
        ("before", asked.text("before").unwrap_or("")),
    ];
    let live = path("/ui/live", &query);
    let title = format!("Transcript of {id}");
    let events = part("loop-events", &transcript::page(&view));
    let page_of = Page {
        screen: Some(Screen::Loops),
        title: &title,
        live: Some(&live),
        reload_s: None,
        body: transcript::screen(&view, &events, &facts(server).name),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes: the end of it grows.
pub(super) fn events_part(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Option<(&'static str, Markup)> {
    let view = gather_events(server, recovered, asked).ok()?;
    Some(("loop-events", transcript::page(&view)))
}

fn gather_events(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Result<TranscriptScreen, Refusal> {
    let id = id(asked)?;
    let number = |name: &str| match asked.text(name) {
        None | Some("") => Ok(None),
        Some(_) => asked.number_if_any(name, 0..=u64::MAX),
    };
    let (after, before) = (number("after")?, number("before")?);
    let loops = recovered.services.loops();
    let Shown::Execution(detail) = loops.show(id)? else {
        let message = "it is a plan: events are of its executions";
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    };
    let info = detail.info;
    let (behind, limit) = transcript::place(info.events, after, before);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let events = loops.events(id, behind, limit)?.events;
    let named = (info.spec, info.plan_name);
    // What came since the first look is there, too.
    let all = events.last().map_or(info.events, |(last, _)| info.events.max(*last));
    Ok(TranscriptScreen { id, named, events, all, now: now(server, recovered) })
}
