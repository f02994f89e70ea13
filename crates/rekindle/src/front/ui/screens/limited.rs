//! Recovery mode: what the recovery screen shows of it, and the decisions of its forms.

use std::path::Path;

use rekindle_recovery::report::StoredReport;

use crate::front::http::recovery_mode::{decide, write_out};
use crate::front::http::reply::{self, Answered};
use crate::front::http::request::Asked;
use crate::front::ui::limited::LimitedView;
use crate::state::Server;

/// What recovery mode shows, in recovery mode.
pub(super) fn view(server: &Server) -> Option<LimitedView> {
    let seen = server.recovery_mode()?.seen();
    let report = StoredReport::parse(seen.report.to_json().as_bytes());
    Some(LimitedView {
        // Ours, so that it can be read.
        report: report.unwrap_or_default(),
        verdict: seen.report.verdict_line(),
        ranges: seen.ranges,
        plan: seen.plan,
        decided: seen.decided,
        outdated: seen.outdated,
        token: server.form_token.clone(),
    })
}

/// POST `/ui/repair`
pub(in crate::front::ui) fn repair(server: &Server, asked: &Asked) -> Answered {
    let field = |name| asked.field(name).unwrap_or("").trim();
    let ranges = field("accept_loss").split_whitespace().map(str::to_owned);
    // A browser insists on the box; what comes without it accepts nothing.
    let accepted: Vec<String> = ranges.filter(|_| field("accepted") == "yes").collect();
    decide(server, &accepted, field("reason"), &super::by(field("by")))?;
    reply::see_other("/ui/recovery")
}

/// POST `/ui/salvage`
pub(in crate::front::ui) fn salvage(server: &Server, asked: &Asked) -> Answered {
    write_out(server, Path::new(asked.field("export").unwrap_or("").trim()))?;
    reply::see_other("/ui/recovery")
}
