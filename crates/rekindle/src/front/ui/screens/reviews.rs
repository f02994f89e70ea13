//! Reviews: the inbox, one item, and what a person decided about it.

use axum::http::StatusCode;
use maud::Markup;
use rekindle_services::audit::one_line;
use rekindle_services::loops::ExecutionDetail;
use rekindle_services::queues::{Decision, ReviewId};

use super::jobs::now;
use super::{by, page, readable, serving};
use crate::boot::Recovered;
use crate::front::http::reply::{self, Answered, Refusal};
use crate::front::http::request::Asked;
use crate::front::ui::frame::{Page, Screen, part};
use crate::front::ui::loops::review::Place;
use crate::front::ui::queues::path;
use crate::front::ui::reviews::{REVIEWS_PAGE, ReviewsScreen, one, screen, table};
use crate::state::Server;

/// `/ui/reviews?after=ID`
pub(in crate::front::ui) fn list(server: &Server, asked: &Asked) -> Answered {
    let view = gather(readable(server)?, asked)?;
    let query = [("screen", "reviews"), ("after", asked.text("after").unwrap_or(""))];
    let live = path("/ui/live", &query);
    let page_of = Page {
        screen: Some(Screen::Reviews),
        title: "Reviews",
        live: Some(&live),
        reload_s: None,
        body: screen(&view, &part("reviews", &table(&view))),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn parts(recovered: &Recovered, asked: &Asked) -> Option<(&'static str, Markup)> {
    gather(recovered, asked).ok().map(|view| ("reviews", table(&view)))
}

fn gather(recovered: &Recovered, asked: &Asked) -> Result<ReviewsScreen, Refusal> {
    let reviews = recovered.services.reviews();
    let after = asked.text("after").map(str::parse::<ReviewId>).transpose()?;
    let (items, more) = reviews.list(after, REVIEWS_PAGE)?;
    let decided = asked.text("decided").and_then(|number| number.parse().ok());
    let decided = match decided {
        Some(number) => told(recovered, number)?,
        None => None,
    };
    let now_ms = recovered.database.log_time_ms();
    Ok(ReviewsScreen { items, more, waiting: reviews.figures().count, now_ms, decided })
}

/// What an audit record says was decided.
pub(super) fn told(recovered: &Recovered, number: u64) -> Result<Option<(String, u64)>, Refusal> {
    let Some(before) = number.checked_sub(1) else { return Ok(None) };
    let found = recovered.services.audit().list(Some(before), 1)?;
    let record = found.records.into_iter().find(|record| record.number == number);
    Ok(record.map(|it| (format!("{} {}: {}", it.action, it.target, it.result), number)))
}

/// `/ui/reviews/{id}`
pub(in crate::front::ui) fn show(server: &Server, asked: &Asked) -> Answered {
    let recovered = readable(server)?;
    let (item, evidence) = recovered.services.reviews().show(id(asked)?)?;
    let title = format!("Review {}", item.id);
    // In recovery mode it is looked at only.
    let decides = server.serving().map(|_| server.form_token.clone());
    let place = evidence.execution.as_ref().map(|detail| place(server, detail));
    let now = now(server, recovered);
    let page_of = Page {
        screen: Some(Screen::Reviews),
        title: &title,
        live: Some("/ui/live?screen=review"),
        reload_s: None,
        body: one(&item, &evidence, &place.unwrap_or_default(), now, decides.as_ref()),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// Where an execution works, and whether that is there.
fn place(server: &Server, detail: &ExecutionDetail) -> Place {
    let path = server.work.place(detail.info.id, &detail.spec.directory);
    let state = match server.env.disk.stat(&path) {
        Ok(Some(_)) => "it is there".to_owned(),
        Ok(None) => "it is not there".to_owned(),
        Err(error) => format!("it cannot be looked at: {error}"),
    };
    Place { path: path.display().to_string(), state }
}

/// POST `/ui/reviews/{id}`: the form of one item.
pub(in crate::front::ui) fn decide(server: &Server, asked: &Asked) -> Answered {
    let recovered = serving(server)?;
    let field = |name| asked.field(name).unwrap_or("").trim();
    let decision: Decision = field("decision").parse()?;
    let who = by(field("by"));
    let reviews = recovered.services.reviews();
    // A person may write lines; a record is one.
    let reason = one_line(field("reason"));
    let decided = reviews.decide(id(asked)?, decision, &reason, &who)?;
    reply::see_other(&format!("/ui/reviews?decided={}", decided.value.audit))
}

fn id(asked: &Asked) -> Result<ReviewId, Refusal> {
    Ok(asked.text("id").unwrap_or_default().parse()?)
}
