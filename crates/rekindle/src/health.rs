//! The health of a server: what its runs and reports say, and what is the matter now.
//!
//! Invariant: a status that is not `ok` has reasons, and each reason says what to do.

use std::collections::BTreeMap;

use rekindle_recovery::{Report, exit};
use serde::Serialize;

use crate::progress::Stage;
use crate::runs::{End, RunRecord};
use crate::state::Server;

/// Failure patterns that are told, the most frequent ones.
const PATTERNS_MAX: usize = 5;

/// How a server stands, over its runs and now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthStatus {
    /// The recovery of this run; `None`: it is not done.
    pub last_recovery: Option<LastRecovery>,
    /// The share of starts that came to serve, among the last 100; `None` before the first ended.
    pub recovery_success_rate: Option<f64>,
    /// How runs ended uncleanly and what recoveries found, the most frequent first.
    pub common_failure_patterns: Vec<FailurePattern>,
    /// What is the matter now.
    pub system_health: SystemHealth,
}

/// The recovery of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastRecovery {
    /// The run of the store.
    pub incarnation: u64,
    /// The exit code that it means.
    pub code: i32,
    /// How long it took, microseconds.
    pub micros: u64,
    /// When it began, milliseconds since 1970.
    pub started_wall_ms: u64,
    /// Findings, notes included.
    pub findings: u64,
}

/// Something that goes wrong again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailurePattern {
    /// An end of runs (`killed`, `refused 65`), or a label of findings.
    pub pattern: String,
    /// In how many of the last 100 runs.
    pub runs: u64,
    /// When the last of them began, milliseconds since 1970.
    pub last_wall_ms: u64,
    /// What the last of them said.
    pub example: String,
    /// What to do.
    pub next_step: &'static str,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is the matter.
    Ok,
    /// It serves, and somebody should look.
    Degraded,
    /// It does not serve.
    Failing,
}

/// What is the matter now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SystemHealth {
    /// How bad it is.
    pub status: Status,
    /// Why, the worst first; empty when nothing is.
    pub reasons: Vec<Reason>,
}

/// One thing that is the matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// `not_ready`, `recovery_mode`, `poisoned`, or the name of an alert.
    pub reason: String,
    /// How bad it is.
    pub status: Status,
    /// In words.
    pub summary: String,
    /// What to do.
    pub next_step: String,
}

/// The health of a server now.
#[must_use]
pub fn of(server: &Server) -> HealthStatus {
    let runs = server.run.all();
    HealthStatus {
        last_recovery: server.recovered().map(|recovered| LastRecovery {
            incarnation: recovered.report.incarnation,
            code: recovered.report.code,
            micros: recovered.report.micros,
            started_wall_ms: recovered.report.started_wall_ms,
            findings: recovered.report.findings().count() as u64,
        }),
        recovery_success_rate: success_rate(&runs),
        common_failure_patterns: patterns(&runs),
        system_health: system(server),
    }
}

fn system(server: &Server) -> SystemHealth {
    let mut reasons = Vec::new();
    let recovered = server.recovered();
    if let Some(why) = recovered.and_then(|recovered| recovered.database.poisoned()) {
        reasons.push(Reason {
            reason: "poisoned".to_owned(),
            status: Status::Failing,
            summary: format!("the store failed: {why}"),
            next_step: "check the disk, then start again: recovery keeps everything that was \
                        acknowledged"
                .to_owned(),
        });
    }
    let stage = server.progress.stage();
    if let (Stage::RecoveryMode, Some(mode)) = (stage, server.recovery_mode()) {
        reasons.push(limited(&mode.report()));
    } else if stage != Stage::Ready {
        let (summary, next_step) = match stage {
            Stage::Shutdown => ("it ends", "ask again once it was started"),
            _ => ("it starts", "wait; /readyz says how far it is and how long it will take"),
        };
        reasons.push(Reason {
            reason: "not_ready".to_owned(),
            status: Status::Failing,
            summary: summary.to_owned(),
            next_step: next_step.to_owned(),
        });
    }
    reasons.extend(server.alerts.firing().into_iter().map(|alert| Reason {
        reason: alert.alert.to_owned(),
        status: Status::Degraded,
        summary: alert.summary,
        next_step: alert.next_step.to_owned(),
    }));
    let status = reasons.iter().map(|reason| reason.status).max().unwrap_or(Status::Ok);
    SystemHealth { status, reasons }
}

/// A server that looks at its directory and serves no work: what it found, and what to do.
fn limited(report: &Report) -> Reason {
    let next_step = match report.code {
        exit::CLEAN | exit::TORN | exit::HEALED => {
            "nothing stands in the way: end this one and start without --recovery-mode"
        }
        _ => {
            "decide: /ui/recovery and /v1/recovery-mode name what 'rekindle repair --http \
             HOST:PORT --accept-loss FROM..TO --reason TEXT' would give up; where they name \
             nothing, restore a backup; 'rekindle salvage' writes out what can be read"
        }
    };
    Reason {
        reason: "recovery_mode".to_owned(),
        status: Status::Failing,
        summary: format!("it is in recovery mode and serves no work; {}", report.verdict_line()),
        next_step: next_step.to_owned(),
    }
}

/// The share of starts that came to serve. A start that goes on is not counted, and neither is one
/// that was stopped before it served.
fn success_rate(runs: &[RunRecord]) -> Option<f64> {
    let served = |run: &&RunRecord| run.ready_wall_ms.is_some();
    let told = |run: &&RunRecord| served(run) || run.end.is_unclean();
    let all = u32::try_from(runs.iter().filter(told).count()).ok()?;
    let good = u32::try_from(runs.iter().filter(served).count()).ok()?;
    (all > 0).then(|| f64::from(good) / f64::from(all))
}

/// What goes wrong again and again, the most frequent first. Runs come newest first.
fn patterns(runs: &[RunRecord]) -> Vec<FailurePattern> {
    let mut found: BTreeMap<String, FailurePattern> = BTreeMap::new();
    let mut add = |pattern: String, run: &RunRecord, next_step| {
        let entry = found.entry(pattern.clone()).or_insert_with(|| FailurePattern {
            pattern,
            runs: 0,
            last_wall_ms: run.started_wall_ms,
            example: run.reason.clone(),
            next_step,
        });
        entry.runs += 1;
    };
    for run in runs {
        if run.end.is_unclean() {
            add(pattern_of(run), run, next_step_of(run.end));
        }
        let labels = run.recovery.iter().flat_map(|recovery| recovery.labels.keys());
        labels.for_each(|label| {
            add(label.clone(), run, "docs/recovery.md explains the label, and what is left to do");
        });
    }
    let mut patterns: Vec<_> = found.into_values().collect();
    patterns.sort_by(|a, b| b.runs.cmp(&a.runs).then(b.last_wall_ms.cmp(&a.last_wall_ms)));
    patterns.truncate(PATTERNS_MAX);
    patterns
}

fn pattern_of(run: &RunRecord) -> String {
    match (run.end, run.code) {
        (End::Refused, Some(code)) => format!("refused {code}"),
        (end, _) => end.as_str().to_owned(),
    }
}

fn next_step_of(end: End) -> &'static str {
    match end {
        End::Killed => {
            "ask the supervisor and the kernel's log who killed it (no memory, no power)"
        }
        End::Refused => "'rekindle verify --data DIR' says what is wrong and what to do",
        End::Poisoned => "check the disk: a write or sync failed",
        End::Panicked => "report the bug, with the place",
        End::SecondSignal => "give it more time to end (server.shutdown_timeout)",
        _ => "look at the log of that run",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::runs::RecoveryOf;
    use rekindle_env::Env;

    fn run(number: u64, end: End, code: Option<i32>, served: bool) -> RunRecord {
        RunRecord {
            number,
            end,
            code,
            started_wall_ms: number * 1_000,
            ready_wall_ms: served.then_some(number * 1_000 + 1),
            reason: format!("run {number}"),
            ..RunRecord::default()
        }
    }

    /// Starts that served count as good, the same end of several runs is one pattern.
    ///
    /// proves: L11
    #[test]
    fn runs_become_rates_and_patterns() {
        assert_eq!(success_rate(&[]), None);
        let mut torn = run(5, End::Running, None, true);
        let labels = [("journal-1".to_owned(), 1)].into();
        torn.recovery = Some(RecoveryOf { labels, ..RecoveryOf::default() });
        let runs = [
            torn,
            run(4, End::Killed, None, true),
            run(3, End::Refused, Some(65), false),
            run(2, End::Killed, None, true),
            run(1, End::Stopped, Some(0), false),
        ];
        assert_eq!(success_rate(&runs), Some(0.75));
        let patterns = patterns(&runs);
        let told: Vec<_> =
            patterns.iter().map(|it| (it.pattern.as_str(), it.runs, it.last_wall_ms)).collect();
        assert_eq!(told, [("killed", 2, 4_000), ("journal-1", 1, 5_000), ("refused 65", 1, 3_000)]);
        assert_eq!(patterns[0].example, "run 4");
    }

    /// A server that starts is failing, with a reason that says what to do; what an alert says is
    /// degraded.
    #[test]
    fn a_status_has_reasons() {
        let server = Server::new(Config::default(), &Env::real());
        let health = system(&server);
        assert_eq!(health.status, Status::Failing);
        assert_eq!(health.reasons.len(), 1);
        assert_eq!(health.reasons[0].reason, "not_ready");
        server.progress.enter(Stage::Ready);
        assert_eq!(system(&server), SystemHealth { status: Status::Ok, reasons: vec![] });
        let figures = crate::alerts::Figures { damages: Some(1), ..Default::default() };
        server.alerts.judge(figures, 1);
        let health = system(&server);
        assert_eq!(
            (health.status, health.reasons[0].reason.as_str()),
            (Status::Degraded, "corruption_found")
        );
        assert!(!health.reasons[0].next_step.is_empty());
    }
}
