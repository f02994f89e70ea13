//! J6: a mere crash leaves nothing that a person must decide about.

use rekindle_recovery::ActionKind;

use super::Check;
use crate::recovered::Recovered;

/// Looks at what the services found when they took the lead.
///
/// # Errors
/// When a row could not be served.
pub fn check(recovered: &Recovered) -> Check {
    let led = recovered.led();
    let mut actions = led.iter().flat_map(|layer| &layer.actions);
    if let Some(action) = actions.find(|action| action.kind == ActionKind::Ask) {
        return Err(format!("a crash asks for a person: {action:?}"));
    }
    if let Some(finding) = led.iter().flat_map(|layer| &layer.findings).next() {
        return Err(format!("a crash left something to be told: {finding}"));
    }
    let waiting = recovered.store.services.reviews().figures().count;
    if waiting > 0 {
        return Err(format!("{waiting} wait for a person after a crash"));
    }
    Ok(())
}
