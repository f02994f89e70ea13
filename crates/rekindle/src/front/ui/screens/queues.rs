//! Queues, gathered from the queue service.

use axum::http::StatusCode;
use maud::{Markup, html};

use super::{address_flag, first_command, page, readable};
use crate::boot::Recovered;
use crate::front::http::reply::{Answered, Refusal};
use crate::front::http::request::Asked;
use crate::front::ui::frame::{Page, Screen, part};
use crate::front::ui::queues::{QUEUES_PAGE, QueuesScreen, about, path, screen, standing, table};
use crate::state::Server;

/// `/ui/queues?prefix=P&after=NAME`
pub(in crate::front::ui) fn list(server: &Server, asked: &Asked) -> Answered {
    let view = gather(server, readable(server)?, asked)?;
    let query = [("screen", "queues"), ("prefix", &*view.prefix), ("after", &*view.after)];
    let live = path("/ui/live", &query);
    let page_of = Page {
        screen: Some(Screen::Queues),
        title: "Queues",
        live: Some(&live),
        reload_s: None,
        body: screen(&view, &part("queues", &table(&view))),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn parts(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Option<(&'static str, Markup)> {
    gather(server, recovered, asked).ok().map(|view| ("queues", table(&view)))
}

/// A page of queues. Names are sorted, so those with a prefix stand together, behind the prefix.
fn gather(server: &Server, recovered: &Recovered, asked: &Asked) -> Result<QueuesScreen, Refusal> {
    let text = |name| asked.text(name).unwrap_or("").trim().to_owned();
    let (prefix, after) = (text("prefix"), text("after"));
    let queues = recovered.services.queues();
    let begin = if after.is_empty() { &prefix } else { &after };
    let (mut found, mut more) = queues.list(begin, QUEUES_PAGE)?;
    // The page begins behind a name; the queue that is called like the prefix belongs to it.
    if after.is_empty()
        && !prefix.is_empty()
        && let Ok(exact) = queues.show(&prefix)
    {
        found.insert(0, exact);
        more |= found.len() > QUEUES_PAGE;
        found.truncate(QUEUES_PAGE);
    }
    let before = found.len();
    found.retain(|queue| queue.name.starts_with(&prefix));
    more &= found.len() == before;
    let first_command = first_command(server);
    // As of the last look of the alerts, for as many queues as they look at.
    let backlog = server.alerts.figures().backlog.into_iter();
    let oldest_ms = backlog.map(|it| (it.queue, it.oldest_age_ms)).collect();
    Ok(QueuesScreen { prefix, after, queues: found, more, oldest_ms, first_command })
}

/// `/ui/queues/{name}`
pub(in crate::front::ui) fn one(server: &Server, asked: &Asked) -> Answered {
    let name = asked.text("name").unwrap_or("");
    let queue = readable(server)?.services.queues().show(name)?;
    let live = path("/ui/live", &[("screen", "queue"), ("name", &queue.name)]);
    let title = format!("Queue {}", queue.name);
    let page_of = Page {
        screen: Some(Screen::Queues),
        title: &title,
        live: Some(&live),
        reload_s: None,
        body: html! {
            section.card.wide aria-label="How full it is" { (part("queue", &standing(&queue))) }
            (about(&queue, &address_flag(server)))
            p { a href="/ui/queues" { "← All queues" } }
        },
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn one_part(recovered: &Recovered, asked: &Asked) -> Option<(&'static str, Markup)> {
    let queue = recovered.services.queues().show(asked.text("name")?).ok()?;
    Some(("queue", standing(&queue)))
}
