//! Reports that were written down, read back: the list of them, one of them, the times of the last.
//!
//! Invariant: a file that is no report, or cannot be read, is named as such and stops nothing; a
//! directory without reports has none.

use std::io;
use std::path::Path;

use rekindle_env::{Env, durable};
use rekindle_recovery::report::StoredReport;
use serde::Serialize;
use serde_json::Value;

use super::{DIRECTORY, REPORT_BYTES_MAX, file, file_name, numbers};

/// One report in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Listed {
    /// What it says in short.
    Report(Short),
    /// A file that has its name and is none.
    Unreadable {
        /// Its number.
        number: u64,
        /// Why.
        error: String,
    },
}

impl Listed {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Self::Report(short) => short.number,
            Self::Unreadable { number, .. } => *number,
        }
    }
}

/// A report in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "as in the report; findings, notes and actions are counts")]
pub struct Short {
    pub number: u64,
    pub incarnation: u64,
    pub code: i32,
    pub started_wall_ms: u64,
    pub micros: u64,
    pub findings: usize,
    pub notes: usize,
    pub actions: usize,
    /// Whether the start was refused.
    pub refused: bool,
    pub summary: String,
}

impl Short {
    fn of(number: u64, report: &StoredReport) -> Self {
        Self {
            number,
            incarnation: report.incarnation,
            code: report.code,
            started_wall_ms: report.started_wall_ms,
            micros: report.micros,
            findings: report.findings.len(),
            notes: report.notes.len(),
            actions: report.actions().count(),
            refused: report.is_refused(),
            summary: report.summary.clone(),
        }
    }
}

/// A page of reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// Newest first.
    pub recoveries: Vec<Listed>,
    /// Whether there are older ones.
    pub more: bool,
}

/// Up to `limit` reports with numbers below `before`, newest first.
pub fn list(env: &Env, data: &Path, before: Option<u64>, limit: usize) -> io::Result<Page> {
    let mut numbers = numbers_or_none(env, data)?;
    numbers.retain(|number| before.is_none_or(|before| *number < before));
    let skipped = numbers.len().saturating_sub(limit);
    let page = numbers.iter().skip(skipped).rev();
    let recoveries = page.map(|&number| match read(env, data, number) {
        Ok((report, _)) => Listed::Report(Short::of(number, &report)),
        Err(Unread { reason, .. }) => Listed::Unreadable { number, error: reason },
    });
    Ok(Page { recoveries: recoveries.collect(), more: skipped > 0 })
}

/// Why a report cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unread {
    /// For people, with the file's name.
    pub reason: String,
    /// There is no such file; otherwise it is no report or cannot be read.
    pub missing: bool,
}

/// Report `number`: as values, and as the JSON that was written.
pub fn read(env: &Env, data: &Path, number: u64) -> Result<(StoredReport, Value), Unread> {
    let name = format!("{DIRECTORY}/{}", file_name(number));
    let bytes = durable::read_file(env.disk.as_ref(), &file(data, number), REPORT_BYTES_MAX);
    let bytes = bytes.map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let reason = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no report {number} (the last 100 stay)"),
            io::ErrorKind::FileTooLarge => format!("{name} is too large to be a report"),
            _ => format!("{name} cannot be read: {error}"),
        };
        Unread { reason, missing }
    })?;
    let no_report = |error: &dyn std::fmt::Display| {
        let reason = format!("{name} is no report: {error}");
        Unread { reason, missing: false }
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| no_report(&error))?;
    let report = StoredReport::parse(&bytes).map_err(|error| no_report(&error))?;
    Ok((report, value))
}

/// The newest report's number; `None`: there is none.
pub fn newest(env: &Env, data: &Path) -> io::Result<Option<u64>> {
    Ok(numbers_or_none(env, data)?.pop())
}

/// What the last start took, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// The whole recovery.
    pub total_ms: u64,
    /// The part behind the replay: settling what was in flight.
    pub lead_ms: u64,
}

/// How long the newest recovery that was not refused took, as its report says.
#[must_use]
pub fn last_took(env: &Env, data: &Path) -> Option<Took> {
    let numbers = numbers_or_none(env, data).ok()?;
    // A refused start says nothing about one that goes through; a row of them is looked past.
    let newest = numbers.iter().rev().take(8);
    let mut reports = newest.filter_map(|number| read(env, data, *number).ok());
    let (report, _) = reports.find(|(report, _)| !report.is_refused())?;
    let lead_ms = report.micros_behind("database") / 1_000;
    Some(Took { total_ms: report.micros / 1_000, lead_ms })
}

fn numbers_or_none(env: &Env, data: &Path) -> io::Result<Vec<u64>> {
    match numbers(env, data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::write;
    use super::*;
    use rekindle_recovery::report::StageTime;
    use rekindle_recovery::{LayerReport, Report, Stage};

    fn report(micros: u64) -> Report {
        let mut report = Report { micros, incarnation: 7, ..Report::default() };
        for layer in ["database", "queue"] {
            let mut layer = LayerReport::new(layer);
            layer.stages.push(StageTime { stage: Stage::Scan, micros: micros / 4 });
            report.add(layer);
        }
        report
    }

    #[test]
    fn a_store_without_reports_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let page = list(&env, dir.path(), None, 10).unwrap();
        assert_eq!(page, Page { recoveries: vec![], more: false });
        assert_eq!(newest(&env, dir.path()).unwrap(), None);
        assert_eq!(last_took(&env, dir.path()), None);
        assert!(read(&env, dir.path(), 1).unwrap_err().missing);
    }

    /// Newest first, a page at a time; what is no report is named and stops nothing.
    #[test]
    fn what_is_no_report_is_named_and_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        for micros in [4_000, 8_000] {
            write(&env, dir.path(), &report(micros)).unwrap();
        }
        let put = |number, bytes: &[u8]| {
            durable::create_file(env.disk.as_ref(), &file(dir.path(), number), bytes).unwrap();
        };
        put(3, b"\xFF\x00 garbage");
        put(4, br#"{"code":"three","findings":[],"layers":[]}"#);
        put(5, "[".repeat(100_000).as_bytes());
        put(6, b"{}");
        durable::create_dir_all(env.disk.as_ref(), &file(dir.path(), 7)).unwrap();
        let huge = env.disk.create(&file(dir.path(), 8)).unwrap();
        huge.set_len(REPORT_BYTES_MAX + 1).unwrap();
        let page = list(&env, dir.path(), None, 100).unwrap();
        let numbers: Vec<u64> = page
            .recoveries
            .iter()
            .map(|it| match it {
                Listed::Report(short) => short.number,
                Listed::Unreadable { number, error } => {
                    assert!(error.contains(&format!("reports/{number}.json")), "{error}");
                    *number
                }
            })
            .collect();
        assert_eq!(numbers, [8, 7, 6, 5, 4, 3, 2, 1]);
        let readable = page.recoveries.iter().filter(|it| matches!(it, Listed::Report(_)));
        assert_eq!(readable.count(), 2);
        assert!(!page.more);
        assert!(list(&env, dir.path(), Some(3), 1).unwrap().more);
        let last = list(&env, dir.path(), Some(2), 1).unwrap();
        assert!(!last.more);
        assert_eq!(last.recoveries.len(), 1);
        assert_eq!(last_took(&env, dir.path()), Some(Took { total_ms: 8, lead_ms: 2 }));
        assert_eq!(write(&env, dir.path(), &report(1)).unwrap(), 9, "and new ones are written");
    }

    /// A report is written with its number, and read back as it was.
    #[test]
    fn a_report_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let number = write(&env, dir.path(), &report(5)).unwrap();
        let (stored, value) = read(&env, dir.path(), number).unwrap();
        assert_eq!((stored.number, stored.incarnation, stored.micros), (Some(1), 7, 5));
        let written = Report { number: Some(number), ..report(5) };
        assert_eq!(value, serde_json::to_value(&written).unwrap());
    }
}
