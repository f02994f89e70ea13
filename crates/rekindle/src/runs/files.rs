//! Run records as files: `DIR/reports/runs/N.json`, one per start of a server on this store.
//!
//! Invariants: a record is written whole or not at all; the last [`KEPT`] are kept; a file that
//! cannot be read is told and hides no other.

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{Env, durable};

use super::RunRecord;
use crate::numbered::{self, file_name};

/// The most that are kept.
pub const KEPT: usize = 1_000;
/// A larger file is no record of ours.
const RECORD_BYTES_MAX: u64 = 64 << 10;

fn directory(data: &Path) -> PathBuf {
    data.join("reports").join("runs")
}

/// Writes a record over the one before of its number.
pub fn write(env: &Env, data: &Path, record: &RunRecord) -> io::Result<()> {
    let disk = env.disk.as_ref();
    let directory = directory(data);
    let mut text = serde_json::to_string(record).map_err(io::Error::other)?;
    text.push('\n');
    let file = directory.join(file_name(record.number));
    match durable::replace_file(disk, &file, text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            durable::create_dir_all(disk, &directory)?;
            durable::replace_file(disk, &file, text.as_bytes())
        }
        done => done,
    }
}

/// Removes what is too old.
pub fn trim(env: &Env, data: &Path) -> io::Result<()> {
    let numbers = numbers(env, data)?;
    let too_many = numbers.len().saturating_sub(KEPT);
    for old in numbers.iter().take(too_many) {
        durable::remove_file(env.disk.as_ref(), &directory(data).join(file_name(*old)))?;
    }
    Ok(())
}

/// The numbers of all records, ascending; none where there is no directory yet.
pub fn numbers(env: &Env, data: &Path) -> io::Result<Vec<u64>> {
    match numbered::numbers(env.disk.as_ref(), &directory(data)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        numbers => numbers,
    }
}

/// One record; what is wrong with it, when something is.
pub fn read(env: &Env, data: &Path, number: u64) -> Result<RunRecord, String> {
    let path = directory(data).join(file_name(number));
    let bytes = durable::read_file(env.disk.as_ref(), &path, RECORD_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    let record: RunRecord = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if record.number == number { Ok(record) } else { Err("it names another run".to_owned()) }
}

/// Records in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Oldest first.
    pub runs: Vec<RunRecord>,
    /// How many of them cannot be read.
    pub unreadable: usize,
    /// Below this number there are older ones.
    pub next: Option<u64>,
}

/// The last `limit` records with numbers below `before`.
pub fn page(env: &Env, data: &Path, before: Option<u64>, limit: usize) -> io::Result<Page> {
    let mut numbers = numbers(env, data)?;
    numbers.retain(|number| before.is_none_or(|before| *number < before));
    let from = numbers.len().saturating_sub(limit);
    let mut page = Page::default();
    if from > 0 {
        page.next = numbers.get(from).copied();
    }
    for number in numbers.into_iter().skip(from) {
        match read(env, data, number) {
            Ok(record) => page.runs.push(record),
            Err(error) => {
                tracing::warn!(number, error, "a run record cannot be read; it is left as it is");
                page.unreadable += 1;
            }
        }
    }
    Ok(page)
}

/// The last `limit` records, oldest first, and how many of them cannot be read.
pub fn last(env: &Env, data: &Path, limit: usize) -> io::Result<(Vec<RunRecord>, usize)> {
    let Page { runs, unreadable, .. } = page(env, data, None, limit)?;
    Ok((runs, unreadable))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        assert_eq!(last(&env, dir.path(), 9).unwrap(), (vec![], 0));
        let total = u64::try_from(KEPT).unwrap() + 3;
        // Made without syncs, or this test would be about the disk.
        durable::create_dir_all(env.disk.as_ref(), &directory(dir.path())).unwrap();
        for number in 1..=total {
            let record = RunRecord { number, ..RunRecord::default() };
            let text = serde_json::to_string(&record).unwrap();
            let file = directory(dir.path()).join(file_name(number));
            env.disk.create(&file).unwrap().write_at(text.as_bytes(), 0).unwrap();
        }
        trim(&env, dir.path()).unwrap();
        let kept = numbers(&env, dir.path()).unwrap();
        assert_eq!(kept, (4..=total).collect::<Vec<_>>());
        let (records, _) = last(&env, dir.path(), 2).unwrap();
        let newest: Vec<u64> = records.iter().map(|record| record.number).collect();
        assert_eq!(newest, [total - 1, total]);
        let older = page(&env, dir.path(), Some(6), 1).unwrap();
        assert_eq!((older.runs[0].number, older.next), (5, Some(5)));
        let oldest = page(&env, dir.path(), older.next, 1).unwrap();
        assert_eq!((oldest.runs[0].number, oldest.next), (4, None));
    }

    /// A file that is no record is told, hides no other, and stays.
    #[test]
    fn hostile_files_are_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let record = |number| RunRecord { number, ..RunRecord::default() };
        write(&env, dir.path(), &record(1)).unwrap();
        write(&env, dir.path(), &record(2)).unwrap();
        let put = |name: &str, text: &[u8]| {
            let path = directory(dir.path()).join(name);
            durable::replace_file(env.disk.as_ref(), &path, text).unwrap();
        };
        put("3.json", b"{");
        put("4.json", br#"{"number":5}"#);
        put("5.json", &vec![b' '; 100_000]);
        put("18446744073709551615.json", b"{}");
        put("x.json", b"{}");
        let (records, unreadable) = last(&env, dir.path(), 100).unwrap();
        assert_eq!((records.len(), unreadable), (2, 3));
        assert_eq!(numbers(&env, dir.path()).unwrap(), [1, 2, 3, 4, 5]);
    }
}
