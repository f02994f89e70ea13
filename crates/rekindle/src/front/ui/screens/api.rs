//! The document of the interface, for people.

use axum::http::StatusCode;

use super::{facts, page};
use crate::front::http::reply::Answered;
use crate::front::http::request::Asked;
use crate::front::ui::api::screen;
use crate::front::ui::frame::Page;
use crate::state::Server;

/// `/ui/api`.
pub(in crate::front::ui) fn show(server: &Server, _: &Asked) -> Answered {
    let page_of = Page {
        screen: None,
        title: "Interface",
        live: None,
        reload_s: None,
        body: screen(&facts(server).name),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}
