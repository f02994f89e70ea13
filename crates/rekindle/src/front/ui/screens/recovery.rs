//! The recovery screen, gathered from the reports that are kept.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;

use super::{START_RELOAD_S, page, progress_view};
use crate::front::http::recoveries::await_own;
use crate::front::http::reply::{Answered, Refusal};
use crate::front::http::request::Asked;
use crate::front::ui::frame::{Page, Screen};
use crate::front::ui::history::{Past, Said};
use crate::front::ui::recovery::{RecoveryScreen, screen};
use crate::reports::{self, Listed};
use crate::state::Server;

/// `/ui/recovery`: the recovery of this run, or the last one while that is not over.
pub(in crate::front::ui) fn newest(server: &Server, _: &Asked) -> Answered {
    show(server, None)
}

/// `/ui/recovery/{number}`: one that is kept.
pub(in crate::front::ui) fn one(server: &Server, asked: &Asked) -> Answered {
    show(server, Some(number(asked)?))
}

/// `/ui/recovery/{number}/report.md`: the same as an incident report.
pub(in crate::front::ui) fn markdown(server: &Server, asked: &Asked) -> Answered {
    let number = number(asked)?;
    let (report, _) = reports::read(&server.env, &server.config.data, number)
        .map_err(|unread| Refusal::new(StatusCode::NOT_FOUND, unread.reason))?;
    let name = format!("attachment; filename=\"recovery-{number}.md\"");
    let headers = [
        (header::CONTENT_TYPE, "text/markdown; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, report.markdown()).into_response())
}

fn number(asked: &Asked) -> Result<u64, Refusal> {
    let number = asked.text("number").and_then(|text| text.parse().ok());
    number.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "a report has a number"))
}

fn show(server: &Server, asked: Option<u64>) -> Answered {
    await_own(server);
    let (env, data) = (&server.env, &server.config.data);
    let history: Vec<Past> = match reports::list(env, data, None, reports::KEPT) {
        Ok(page) => page.recoveries.into_iter().rev().map(past).collect(),
        Err(error) => {
            let message = format!("the reports cannot be listed: {error}");
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
    };
    let newest = history.iter().rev().find(|past| past.said.is_some()).map(|past| past.number);
    let shown = asked.or(newest).map(|number| (number, reports::read(env, data, number)));
    let shown = match shown {
        Some((number, Ok((report, _)))) => Some((number, report)),
        Some((_, Err(unread))) if asked.is_some() => {
            return Err(Refusal::new(StatusCode::NOT_FOUND, unread.reason));
        }
        _ => None,
    };
    let this_run = server.recovered().map(|recovered| recovered.report.incarnation);
    let of_this_run =
        shown.as_ref().is_some_and(|(_, report)| Some(report.incarnation) == this_run);
    let view = RecoveryScreen {
        progress: progress_view(server),
        limited: super::limited::view(server).filter(|_| asked.is_none()),
        shown,
        of_this_run,
        history,
        max_micros: u64::try_from(server.config.max_recovery.as_micros()).unwrap_or(u64::MAX),
    };
    let title = match asked {
        Some(number) => format!("Recovery: start {number}"),
        None => "Recovery".to_owned(),
    };
    let body = Page {
        screen: Some(Screen::Recovery),
        title: &title,
        live: Some("/ui/live?screen=recovery"),
        reload_s: view.progress.is_some().then_some(START_RELOAD_S),
        body: screen(&view),
    };
    Ok(page(server, StatusCode::OK, &body))
}

/// A line of the history.
fn past(listed: Listed) -> Past {
    match listed {
        Listed::Unreadable { number, .. } => Past { number, said: None },
        Listed::Report(short) => {
            let said = Said {
                code: short.code,
                incarnation: short.incarnation,
                started_wall_ms: short.started_wall_ms,
                micros: short.micros,
                findings: u64::try_from(short.findings).unwrap_or(u64::MAX),
            };
            Past { number: short.number, said: Some(said) }
        }
    }
}
