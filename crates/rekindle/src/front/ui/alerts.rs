//! Alerts: what fires, what the rules are, what to do; and the health of the last runs.

use maud::{Markup, html};

use super::frame::{badge, nothing, scrolling};
use super::reviews::signature;
use super::text;
use crate::alerts::{Alert, State};
use crate::front::http::token::FormToken;
use crate::health::{HealthStatus, Status};

/// All of the screen that changes.
pub(super) fn alerts(all: &[Alert], health: &HealthStatus) -> Markup {
    let firing = || all.iter().filter(|alert| alert.state == State::Firing);
    html! {
        (system(all, health))
        section.card aria-labelledby="h-firing" {
            h2 #h-firing { "Firing" }
            @if firing().next().is_none() {
                (nothing("No alert fires.", None))
            }
            ul.findings {
                @for alert in firing() {
                    li.finding.bad {
                        p.what { (badge("✖", "firing", "bad")) " " b { (alert.alert) } }
                        p { (alert.summary) }
                        p.quiet {
                            @if let Some(since) = alert.since {
                                "Since " (text::moment(since)) ". "
                            }
                            "What to do: " (alert.next_step)
                        }
                    }
                }
            }
        }
        section.card aria-labelledby="h-rules" {
            h2 #h-rules { "Rules" }
            (rules(all))
        }
    }
}

/// The form that takes note of damage. It stands outside of what is kept up to date, so that
/// nothing that somebody types is taken away.
pub(super) fn acknowledgement(rule: &str, token: &FormToken) -> Markup {
    html! {
        section.card aria-labelledby="h-note" {
            h2 #h-note { "Take note of the damage" }
            p {
                "The alert rests until more is found. Nothing is repaired by this; what was found "
                "and when stays in the reports and in the audit log."
            }
            form.decide method="post" action={ "/ui/alerts/" (rule) } {
                input type="hidden" name=(FormToken::FIELD) value=(token.as_str());
                (signature("the audit log"))
                button.main type="submit" { "Acknowledge" }
            }
        }
    }
}

/// How the server stands; what an alert says is said there.
fn system(all: &[Alert], health: &HealthStatus) -> Markup {
    let system = &health.system_health;
    let told = |name: &str| all.iter().any(|it| it.alert == name && it.state == State::Firing);
    let (sign, word, class) = status(system.status);
    html! {
        section.card.headline.(class) aria-label="Health" {
            p {
                (badge(sign, word, class))
                @if let Some(rate) = health.recovery_success_rate {
                    " Of the last starts " b { (format!("{:.0} %", rate * 100.0)) }
                    " came to serve."
                }
            }
            ul.findings {
                @for reason in system.reasons.iter().filter(|it| !told(&it.reason)) {
                    @let (sign, word, class) = status(reason.status);
                    li.finding.(class) {
                        p.what { (badge(sign, word, class)) " " b { (reason.reason) } }
                        p { (reason.summary) }
                        p.quiet { "What to do: " (reason.next_step) }
                    }
                }
            }
            @if !health.common_failure_patterns.is_empty() {
                h3 { "What went wrong in the last runs" }
                ul.findings {
                    @for pattern in &health.common_failure_patterns {
                        li.finding {
                            p.what {
                                b { (pattern.pattern) } " "
                                span.quiet {
                                    (text::count(pattern.runs, "run", "runs")) ", last "
                                    (text::moment(pattern.last_wall_ms))
                                }
                            }
                            @if !pattern.example.is_empty() { p { (pattern.example) } }
                            p.quiet { "What to do: " (pattern.next_step) }
                        }
                    }
                }
            }
        }
    }
}

/// How bad it is, as a sign, a word and a class.
const fn status(status: Status) -> (&'static str, &'static str, &'static str) {
    match status {
        Status::Ok => ("✓", "ok", "ok"),
        Status::Degraded => ("!", "degraded", "warn"),
        Status::Failing => ("✖", "failing", "bad"),
    }
}

fn rules(all: &[Alert]) -> Markup {
    let table = html! {
        table.rows {
            caption.unseen { "Alert rules and how they stand" }
            thead {
                tr {
                    th scope="col" { "Rule" }
                    th scope="col" { "State" }
                    th.number scope="col" { "Now" }
                    th.number scope="col" { "Threshold" }
                }
            }
            tbody {
                @for alert in all {
                    tr {
                        th scope="row" { (alert.alert.replace('_', " ")) }
                        td {
                            @match alert.state {
                                State::Firing => (badge("✖", "firing", "bad")),
                                State::Resolved => (badge("✓", "quiet", "ok")),
                            }
                        }
                        td.number {
                            @match alert.value {
                                Some(value) => (amount(value, alert.unit)),
                                None => span.quiet { "–" },
                            }
                        }
                        td.number { (amount(alert.threshold, alert.unit)) }
                    }
                }
            }
        }
    };
    scrolling("Alert rules and how they stand", &table)
}

/// A number of a rule with its unit.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range")]
fn amount(value: f64, unit: &str) -> String {
    let whole = |value: f64| value.clamp(0.0, 9e15) as u64;
    match unit {
        "seconds" => text::micros(whole(value * 1e6)),
        "bytes" => text::bytes(whole(value)),
        unit if value == 1.0 => format!("1 {}", unit.trim_end_matches('s')),
        unit if value.fract() == 0.0 => format!("{} {unit}", text::number(whole(value))),
        unit => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Reason, SystemHealth};

    /// What fires stands first, with what to do; every rule has a row.
    #[test]
    fn alerts_say_what_to_do() {
        let alert = |name, state, value| Alert {
            alert: name,
            state,
            since: Some(1_000),
            value,
            threshold: 1_500.0,
            unit: "seconds",
            summary: "it is <slow>".to_owned(),
            next_step: "look at the disk",
        };
        let all = [
            alert("sync_slow", State::Firing, Some(0.25)),
            alert("disk_low", State::Resolved, None),
        ];
        let reason = |name: &str, summary: &str| Reason {
            reason: name.to_owned(),
            status: Status::Degraded,
            summary: summary.to_owned(),
            next_step: String::new(),
        };
        let health = HealthStatus {
            last_recovery: None,
            recovery_success_rate: Some(0.5),
            common_failure_patterns: vec![],
            system_health: SystemHealth {
                status: Status::Degraded,
                reasons: vec![reason("sync_slow", "told above"), reason("not_ready", "not yet")],
            },
        };
        let text = alerts(&all, &health).into_string();
        assert_eq!(text.matches("it is &lt;slow&gt;").count(), 1, "{text}");
        assert!(text.contains("not yet") && !text.contains("told above"), "{text}");
        assert_eq!((amount(1.0, "runs"), amount(3.0, "runs")), ("1 run".into(), "3 runs".into()));
        for part in ["50 %", "look at the disk", "degraded", "250 ms", "25 m 0 s", "disk low"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
