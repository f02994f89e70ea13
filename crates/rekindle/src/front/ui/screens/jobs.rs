//! Jobs, gathered from the job service: a page of them, one with its forms, types, workers.

use axum::http::StatusCode;
use maud::{Markup, html};
use rekindle_services::jobs::{JobDetail, JobFilter, JobId, Status};

use super::{address_flag, by, facts, page, readable, serving, text};
use crate::boot::Recovered;
use crate::front::http::reply::{self, Answered, Refusal};
use crate::front::http::request::Asked;
use crate::front::ui::frame::{Page, Screen, part};
use crate::front::ui::job;
use crate::front::ui::job_types::{self, TYPES_PAGE, TypesScreen};
use crate::front::ui::jobs::{
    Filter, JOBS_PAGE, JobsScreen, TYPES_PROPOSED, counts, screen, table,
};
use crate::front::ui::queues::path;
use crate::front::ui::times::Now;
use crate::front::ui::workers::{self, WorkersScreen};
use crate::state::Server;

/// What submits a first job, as it is typed on this machine.
fn submit_command(server: &Server) -> String {
    format!("rekindle job submit mail --payload '{{\"to\":\"ada\"}}'{}", address_flag(server))
}

/// Now, by both clocks.
pub(super) fn now(server: &Server, recovered: &Recovered) -> Now {
    Now { log_ms: recovered.database.log_time_ms(), wall_ms: server.env.clock.wall_ms() }
}

/// `/ui/jobs?type=T&status=S&unique_key=K&newest_first=false&after=ID`
pub(in crate::front::ui) fn list(server: &Server, asked: &Asked) -> Answered {
    let view = gather(server, readable(server)?, asked)?;
    let live = view.filter.query("/ui/live", &[("screen", "jobs")]);
    let counts = part("job-counts", &counts(&view.filter, &view.counts));
    let page_of = Page {
        screen: Some(Screen::Jobs),
        title: "Jobs",
        live: Some(&live),
        reload_s: None,
        body: screen(&view, [&counts, &part("jobs", &table(&view))]),
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
    vec![("job-counts", counts(&view.filter, &view.counts)), ("jobs", table(&view))]
}

fn gather(server: &Server, recovered: &Recovered, asked: &Asked) -> Result<JobsScreen, Refusal> {
    let filter = Filter {
        kind: text(asked, "type"),
        status: text(asked, "status"),
        unique_key: text(asked, "unique_key"),
        oldest_first: asked.text("newest_first") == Some("false"),
        after: text(asked, "after"),
    };
    let words = filter.status.split(',').filter(|word| !word.is_empty());
    let statuses = words.map(str::parse::<Status>).collect::<Result<Vec<_>, _>>()?;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (kind, unique_key) = (given(&filter.kind), given(&filter.unique_key));
    let asked_for = JobFilter {
        kind: kind.as_deref(),
        statuses: &statuses,
        unique_key: unique_key.as_deref(),
        newest_first: !filter.oldest_first,
        after: given(&filter.after).map(|id| id.parse()).transpose()?,
        events: false,
        limit: JOBS_PAGE,
    };
    let jobs = recovered.services.jobs();
    let counts = jobs.counts(kind.as_deref())?;
    // A key without a type is half a filter: the page says so, the service would refuse it.
    let half = unique_key.is_some() && kind.is_none();
    let found = if half { Default::default() } else { jobs.list(&asked_for)? };
    let (types, _) = jobs.types("", TYPES_PROPOSED)?;
    Ok(JobsScreen {
        filter,
        types: types.into_iter().map(|kind| kind.name).collect(),
        counts,
        jobs: found.jobs,
        next: found.next,
        now: now(server, recovered),
        address: facts(server).name,
        first_command: submit_command(server),
    })
}

fn id(asked: &Asked) -> Result<JobId, Refusal> {
    Ok(asked.text("id").unwrap_or_default().parse()?)
}

/// `/ui/jobs/{id}`
pub(in crate::front::ui) fn one(server: &Server, asked: &Asked) -> Answered {
    let recovered = readable(server)?;
    let detail = recovered.services.jobs().show(id(asked)?)?;
    let name = detail.info.id.to_string();
    let live = path("/ui/live", &[("screen", "job"), ("id", &name)]);
    let title = format!("Job {name}");
    let [headline, story, outcome, actions] =
        one_parts_of(server, recovered, &detail).map(|(id, content)| part(id, &content));
    let body = html! {
        section.card.wide aria-labelledby="h-job" { (headline) }
        section.card aria-labelledby="h-story" {
            h2 #h-story { "What happened to it" }
            (story)
        }
        section.card aria-labelledby="h-decide" {
            h2 #h-decide { "Decide" }
            (actions)
        }
        (job::payload(&detail))
        section.card aria-labelledby="h-outcome" {
            h2 #h-outcome { "What came of it" }
            (outcome)
        }
        (job::commands(&detail.info, &facts(server).name))
        p { a href="/ui/jobs" { "← All jobs" } }
    };
    let page_of =
        Page { screen: Some(Screen::Jobs), title: &title, live: Some(&live), reload_s: None, body };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn one_parts(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Vec<(&'static str, Markup)> {
    let detail = id(asked).and_then(|id| Ok(recovered.services.jobs().show(id)?));
    detail.map(|detail| one_parts_of(server, recovered, &detail).into()).unwrap_or_default()
}

fn one_parts_of(
    server: &Server,
    recovered: &Recovered,
    detail: &JobDetail,
) -> [(&'static str, Markup); 4] {
    let now = now(server, recovered);
    // In recovery mode it is looked at only.
    let token = server.serving().map(|_| &server.form_token);
    [
        ("job", job::headline(&detail.info, now)),
        ("job-story", job::story(&detail.events, now)),
        ("job-outcome", job::outcome(detail, now)),
        ("job-actions", job::actions(&detail.info, token)),
    ]
}

/// POST `/ui/jobs/{id}/cancel`
pub(in crate::front::ui) fn cancel(server: &Server, asked: &Asked) -> Answered {
    let (id, field) = (id(asked)?, |name| asked.field(name).unwrap_or("").trim());
    let (reason, who) = (field("reason"), by(field("by")));
    if reason.is_empty() {
        return Err(Refusal::invalid("say why the job is called off: it is kept with the job"));
    }
    serving(server)?.services.jobs().cancel(id, reason, &who, None)?;
    reply::see_other(&format!("/ui/jobs/{id}"))
}

/// POST `/ui/jobs/{id}/retry`
pub(in crate::front::ui) fn retry(server: &Server, asked: &Asked) -> Answered {
    let id = id(asked)?;
    serving(server)?.services.jobs().retry(id, &by(""), None)?;
    reply::see_other(&format!("/ui/jobs/{id}"))
}

/// `/ui/job-types?after=NAME`
pub(in crate::front::ui) fn types(server: &Server, asked: &Asked) -> Answered {
    let view = gather_types(server, readable(server)?, asked)?;
    let live = path("/ui/live", &[("screen", "job-types"), ("after", &view.after)]);
    let page_of = Page {
        screen: Some(Screen::Jobs),
        title: "Types of jobs",
        live: Some(&live),
        reload_s: None,
        body: job_types::screen(&view, &part("job-types", &job_types::table(&view))),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn types_part(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Option<(&'static str, Markup)> {
    let view = gather_types(server, recovered, asked).ok()?;
    Some(("job-types", job_types::table(&view)))
}

fn gather_types(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Result<TypesScreen, Refusal> {
    let after = text(asked, "after");
    let (types, more) = recovered.services.jobs().types(&after, TYPES_PAGE)?;
    let set_command =
        format!("rekindle job type set TYPE --concurrency 4 --rate 100/1m{}", address_flag(server));
    Ok(TypesScreen { after, types, more, first_command: submit_command(server), set_command })
}

/// `/ui/workers`
pub(in crate::front::ui) fn workers(server: &Server, _: &Asked) -> Answered {
    let (id, content) = workers_part(server, readable(server)?)?;
    let page_of = Page {
        screen: Some(Screen::Workers),
        title: "Workers",
        live: Some("/ui/live?screen=workers"),
        reload_s: None,
        body: html! {
            section.card.wide aria-label="Who has jobs in work" { (part(id, &content)) }
        },
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes: all.
pub(super) fn workers_part(
    server: &Server,
    recovered: &Recovered,
) -> Result<(&'static str, Markup), Refusal> {
    let jobs = recovered.services.jobs();
    let view = WorkersScreen {
        all: jobs.workers()?,
        processing: jobs.counts(None)?.processing,
        now: now(server, recovered),
        first_command: format!("rekindle job work mail{} -- ./send-mail", address_flag(server)),
    };
    Ok(("workers", workers::table(&view)))
}
