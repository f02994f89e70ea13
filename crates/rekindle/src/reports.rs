//! Reports as files: `DIR/reports/N.json`, one per recovery, refused ones included.
//!
//! Invariants: a report is written whole or not at all, and only into a directory that is a store
//! and that this process holds; a report that cannot be written never stops a start, and one that
//! is being written does not delay work (it delays the announcement and the end).

mod read;
mod writing;

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{Env, LockMode, durable};
use rekindle_recovery::{Report, store};

use crate::numbered::{self, file_name};

pub use read::{Listed, Page, Short, Took, Unread, last_took, list, newest, read};
pub use writing::Writing;

/// Where they are.
const DIRECTORY: &str = "reports";
/// The most that are kept.
pub const KEPT: usize = 100;
/// A report larger than this is not read back: it would be no report.
const REPORT_BYTES_MAX: u64 = 64 << 20;

/// Writes a report into an open store and removes what is too old; returns its number.
pub fn write(env: &Env, data: &Path, report: &Report) -> io::Result<u64> {
    let number = next_number(env, data)?;
    write_as(env, data, &Report { number: Some(number), ..report.clone() })?;
    Ok(number)
}

/// The number of the next report; makes the directory of reports where there is none.
pub fn next_number(env: &Env, data: &Path) -> io::Result<u64> {
    durable::create_dir_all(env.disk.as_ref(), &data.join(DIRECTORY))?;
    Ok(numbers(env, data)?.last().copied().unwrap_or(0) + 1)
}

/// Writes a report under its number.
///
/// # Panics
/// When it has none.
pub fn write_as(env: &Env, data: &Path, report: &Report) -> io::Result<()> {
    let number = report.number.expect("it was numbered");
    let numbers = numbers(env, data)?;
    let too_many = (numbers.len() + 1).saturating_sub(KEPT);
    for old in numbers.iter().take(too_many) {
        // One sync of the directory, that of the new file, is enough for all of them.
        env.disk.remove_file(&file(data, *old))?;
    }
    let mut text = report.to_json();
    text.push('\n');
    durable::replace_file(env.disk.as_ref(), &file(data, number), text.as_bytes())
}

/// Writes the report of a refused start, if the directory is a store that nobody else holds now.
pub fn write_refused(env: &Env, data: &Path, report: &Report) -> io::Result<Option<u64>> {
    let is_store = |name: &str| matches!(env.disk.stat(&data.join(name)), Ok(Some(_)));
    if !store::COPIES.into_iter().any(is_store) {
        return Ok(None);
    }
    let Some(lock) = env.disk.lock(data, LockMode::Exclusive)? else { return Ok(None) };
    let number = write(env, data, report)?;
    drop(lock);
    Ok(Some(number))
}

/// The numbers of all reports, ascending.
fn numbers(env: &Env, data: &Path) -> io::Result<Vec<u64>> {
    numbered::numbers(env.disk.as_ref(), &data.join(DIRECTORY))
}

/// The path of report `number`.
fn file(data: &Path, number: u64) -> PathBuf {
    data.join(DIRECTORY).join(file_name(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rekindle_recovery::numbers::NUMBER_MAX;

    /// Reports are numbered upwards, the last ones are kept, and the newest says how long it took.
    #[test]
    fn the_last_reports_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        assert_eq!(last_took(&env, dir.path()), None);
        let total = u64::try_from(KEPT).unwrap() + 3;
        for number in 1..=total {
            let report = Report { micros: number * 1_000, ..Report::default() };
            assert_eq!(write(&env, dir.path(), &report).unwrap(), number);
        }
        let kept = numbers(&env, dir.path()).unwrap();
        assert_eq!(kept, (4..=total).collect::<Vec<_>>());
        assert_eq!(last_took(&env, dir.path()).unwrap().total_ms, total);
    }

    /// A name that is no number of ours does not stop the numbering, and stays.
    #[test]
    fn hostile_names_are_no_reports() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        assert_eq!(write(&env, dir.path(), &Report::default()).unwrap(), 1);
        let largest = [u64::MAX, u64::MAX - 1, NUMBER_MAX + 1].map(file_name);
        let others = ["0.json", "007.json", "+9.json", "x.json"].map(str::to_owned);
        for name in largest.iter().chain(&others) {
            let path = dir.path().join(DIRECTORY).join(name);
            durable::create_file(env.disk.as_ref(), &path, b"x").unwrap();
        }
        assert_eq!(write(&env, dir.path(), &Report::default()).unwrap(), 2);
        assert_eq!(numbers(&env, dir.path()).unwrap(), [1, 2]);
        let path = dir.path().join(DIRECTORY).join(file_name(NUMBER_MAX));
        durable::create_file(env.disk.as_ref(), &path, b"x").unwrap();
        for number in [3, 4] {
            assert_eq!(write(&env, dir.path(), &Report::default()).unwrap(), number);
        }
        assert_eq!(env.disk.list(&dir.path().join(DIRECTORY)).unwrap().len(), 12);
    }

    /// The report of a refused start goes into a store and nowhere else.
    #[test]
    fn a_refused_start_writes_only_into_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let report = Report::default();
        assert_eq!(write_refused(&env, dir.path(), &report).unwrap(), None);
        assert!(env.disk.list(dir.path()).unwrap().is_empty());
        durable::create_file(env.disk.as_ref(), &dir.path().join("store.a"), b"x").unwrap();
        assert_eq!(write_refused(&env, dir.path(), &report).unwrap(), Some(1));
        let _lock = env.disk.lock(dir.path(), LockMode::Exclusive).unwrap().unwrap();
        assert_eq!(write_refused(&env, dir.path(), &report).unwrap(), None, "somebody holds it");
    }
}
