//! A mere crash never keeps a store from starting, and is never called corruption.

use rekindle_recovery::{Report, Verdict, exit};

use super::Check;

/// Looks at what a recovery after a crash reported.
///
/// # Errors
/// When it saw corruption where only a crash was.
pub fn check(report: &Report) -> Check {
    let corrupt = report.findings().find(|finding| finding.verdict == Some(Verdict::Corrupt));
    if let Some(finding) = corrupt {
        return Err(format!("a crash was called corruption: {finding}"));
    }
    let healed = report.findings().find(|finding| {
        finding.verdict == Some(Verdict::Healed) && finding.place.file.contains("checkpoints/")
    });
    if let Some(finding) = healed {
        return Err(format!("a checkpoint that was in use did not outlive a crash: {finding}"));
    }
    if [exit::CLEAN, exit::TORN, exit::HEALED].contains(&report.code) {
        return Ok(());
    }
    Err(format!("a crash led to exit code {}", report.code))
}
