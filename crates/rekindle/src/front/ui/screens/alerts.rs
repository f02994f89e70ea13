//! Alerts, gathered from the rules as they stood at the last look.

use axum::http::StatusCode;
use maud::Markup;

use super::page;
use crate::front::http::reply::Answered;
use crate::front::http::request::Asked;
use crate::front::ui::alerts::alerts;
use crate::front::ui::frame::{Page, Screen, part};
use crate::health;
use crate::state::Server;

/// `/ui/alerts`
pub(in crate::front::ui) fn show(server: &Server, _: &Asked) -> Answered {
    let (id, content) = parts(server);
    let page_of = Page {
        screen: Some(Screen::Alerts),
        title: "Alerts",
        live: Some("/ui/live?screen=alerts"),
        reload_s: None,
        body: part(id, &content),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes: all.
pub(super) fn parts(server: &Server) -> (&'static str, Markup) {
    ("alerts", alerts(&server.alerts.all(), &health::of(server)))
}
