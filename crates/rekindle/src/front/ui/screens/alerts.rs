//! Alerts, gathered from the rules as they stood at the last look.

use axum::http::StatusCode;
use maud::{Markup, html};

use super::reviews::told;
use super::{by, page, serving};
use crate::alerts::{Alert, DAMAGE, State};
use crate::front::http::health::take_note;
use crate::front::http::reply::{self, Answered};
use crate::front::http::request::Asked;
use crate::front::ui::alerts::{acknowledgement, alerts};
use crate::front::ui::frame::{Page, Screen, part};
use crate::front::ui::reviews::done;
use crate::health;
use crate::state::Server;

/// `/ui/alerts`
pub(in crate::front::ui) fn show(server: &Server, asked: &Asked) -> Answered {
    let (id, content) = parts(server);
    let firing = |alert: &Alert| alert.alert == DAMAGE && alert.state == State::Firing;
    let noted = match (server.serving(), asked.text("decided").map(str::parse)) {
        (Some(recovered), Some(Ok(number))) => {
            told(recovered, number)?.filter(|(words, _)| words.starts_with("alert.acknowledge "))
        }
        _ => None,
    };
    let asks =
        server.serving().is_some() && noted.is_none() && server.alerts.all().iter().any(firing);
    let body = html! {
        @if let Some((words, record)) = &noted { (done(words, *record)) }
        (part(id, &content))
        @if asks { (acknowledgement(DAMAGE, &server.form_token)) }
    };
    let page_of = Page {
        screen: Some(Screen::Alerts),
        title: "Alerts",
        live: Some("/ui/live?screen=alerts"),
        reload_s: None,
        body,
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// POST `/ui/alerts/{rule}`: somebody took note of damage.
pub(in crate::front::ui) fn acknowledge(server: &Server, asked: &Asked) -> Answered {
    let recovered = serving(server)?;
    let field = |name| asked.field(name).unwrap_or("").trim();
    let (rule, who) = (asked.text("rule").unwrap_or_default(), by(field("by")));
    let noted = take_note(server, recovered, rule, (field("reason"), &who))?;
    reply::see_other(&format!("/ui/alerts?decided={}", noted.record.value))
}

/// What of it changes: all.
pub(super) fn parts(server: &Server) -> (&'static str, Markup) {
    ("alerts", alerts(&server.alerts.all(), &health::of(server)))
}
