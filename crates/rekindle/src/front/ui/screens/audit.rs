//! The audit log, a page of it.

use axum::http::StatusCode;

use super::{page, readable};
use crate::front::http::reply::Answered;
use crate::front::http::request::Asked;
use crate::front::ui::audit::{AUDIT_PAGE, AuditScreen, screen};
use crate::front::ui::frame::{Page, Screen};
use crate::state::Server;

/// `/ui/audit?after=NUMBER`; without it the newest records.
pub(in crate::front::ui) fn list(server: &Server, asked: &Asked) -> Answered {
    let after = match asked.text("after") {
        Some(_) => Some(asked.number("after", 0..=u64::MAX, 0)?),
        None => None,
    };
    let found = readable(server)?.services.audit().list(after, AUDIT_PAGE)?;
    let view = AuditScreen { records: found.records, unreadable: found.unreadable };
    let page_of = Page {
        screen: Some(Screen::Audit),
        title: "Audit",
        live: Some("/ui/live?screen=audit"),
        reload_s: None,
        body: screen(&view, after.is_none()),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}
