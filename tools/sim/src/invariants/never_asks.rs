//! J6, J7: a mere crash leaves nothing that a person must decide about, but work with which the
//! server died too often.

use rekindle_recovery::ActionKind;

use super::Check;
use crate::recovered::Recovered;
use crate::store::ALL_ROWS;

/// The server died with it three times in a row.
const TOO_OFTEN: &str = "claim-8";

/// Looks at what the services found when they took the lead.
///
/// # Errors
/// When a row could not be served.
pub fn check(recovered: &Recovered) -> Check {
    let led = recovered.led();
    let mut actions = led.iter().flat_map(|layer| &layer.actions);
    if let Some(action) = actions.find(|it| it.kind == ActionKind::Ask && it.label.0 != TOO_OFTEN) {
        return Err(format!("a crash asks for a person: {action:?}"));
    }
    let mut findings = led.iter().flat_map(|layer| &layer.findings);
    if let Some(finding) = findings.find(|finding| finding.label.0 != TOO_OFTEN) {
        return Err(format!("a crash left something to be told: {finding}"));
    }
    let reviews = recovered.store.services.reviews();
    let listed = reviews.list(None, ALL_ROWS).map_err(|error| format!("reviews: {error}"))?.0;
    if listed.len() as u64 != reviews.figures().count {
        return Err(format!("{:?} is another number than {listed:?}", reviews.figures()));
    }
    match listed.iter().find(|review| review.label != TOO_OFTEN) {
        Some(review) => Err(format!("a crash left {review:?} to a person")),
        None => Ok(()),
    }
}
