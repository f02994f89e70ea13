//! Schedules, gathered from the schedule service, each with the last job that it made.

use axum::http::StatusCode;
use maud::Markup;

use super::jobs::now;
use super::{address_flag, facts, page, readable, text};
use crate::boot::Recovered;
use crate::front::http::reply::{Answered, Refusal};
use crate::front::http::request::Asked;
use crate::front::ui::frame::{Page, Screen, part};
use crate::front::ui::queues::path;
use crate::front::ui::schedules::{SCHEDULES_PAGE, SchedulesScreen, screen, table};
use crate::state::Server;

/// `/ui/schedules?after=NAME`
pub(in crate::front::ui) fn list(server: &Server, asked: &Asked) -> Answered {
    let view = gather(server, readable(server)?, asked)?;
    let live = path("/ui/live", &[("screen", "schedules"), ("after", &view.after)]);
    let page_of = Page {
        screen: Some(Screen::Schedules),
        title: "Schedules",
        live: Some(&live),
        reload_s: None,
        body: screen(&view, &part("schedules", &table(&view))),
    };
    Ok(page(server, StatusCode::OK, &page_of))
}

/// What of it changes.
pub(super) fn parts(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Option<(&'static str, Markup)> {
    gather(server, recovered, asked).ok().map(|view| ("schedules", table(&view)))
}

fn gather(
    server: &Server,
    recovered: &Recovered,
    asked: &Asked,
) -> Result<SchedulesScreen, Refusal> {
    let after = text(asked, "after");
    let (found, more) = recovered.services.schedules().list(&after, SCHEDULES_PAGE)?;
    let jobs = recovered.services.jobs();
    let schedules = found.into_iter().map(|schedule| {
        // One that was kept for long enough is gone.
        let last = schedule.last_job.and_then(|id| jobs.glance(id).ok());
        (schedule, last)
    });
    let schedules = schedules.collect();
    let first_command = format!(
        "rekindle schedule create nightly --type report --cron '0 3 * * *'{}",
        address_flag(server)
    );
    let (now, address) = (now(server, recovered), facts(server).name);
    Ok(SchedulesScreen { after, schedules, more, now, address, first_command })
}
