//! The overview, gathered from the samples of the last ten minutes.

use axum::http::StatusCode;
use maud::{Markup, html};

use super::{first_command, page, serving};
use crate::boot::Recovered;
use crate::front::http::reply::Answered;
use crate::front::http::request::Asked;
use crate::front::ui::frame::{Page, Screen, part};
use crate::front::ui::overview::{OverviewScreen, charts, now};
use crate::front::ui::report::outcome;
use crate::state::Server;

/// `/ui/`
pub(in crate::front::ui) fn show(server: &Server, _: &Asked) -> Answered {
    let parts = parts(server, serving(server)?);
    let body = html! { @for (id, content) in &parts { (part(id, content)) } };
    let page_of = Page {
        screen: Some(Screen::Overview),
        title: "Overview",
        live: Some("/ui/live?screen=overview"),
        reload_s: None,
        body,
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// Its parts.
pub(super) fn parts(server: &Server, recovered: &Recovered) -> [(&'static str, Markup); 2] {
    let max_recovery = server.config.max_recovery.as_micros();
    let view = OverviewScreen {
        up_ms: server.progress.elapsed_ms(),
        durability: server.config.loss_window(),
        recovery: (outcome(recovered.report.code), recovered.report.summary_line()),
        max_recovery_micros: u64::try_from(max_recovery).unwrap_or(u64::MAX),
        firing: server.alerts.firing().iter().map(|alert| alert.alert).collect(),
        // A store that fails says so in the head.
        jobs: recovered.services.jobs().counts(None).unwrap_or_default(),
        loops: recovered.services.loops().counts(),
        first_command: first_command(server),
    };
    let ring = server.page.ring();
    [("now", now(&view, &ring)), ("charts", charts(&view, &ring))]
}
