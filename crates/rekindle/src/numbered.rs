//! Files that are numbered upwards: `N.json` in a folder of their own.
//!
//! Invariant: a name that no program of ours gave, or whose number would take those of all files to
//! come, is not counted, and stays.

use std::io;
use std::path::Path;

use rekindle_env::ReadDisk;
use rekindle_recovery::numbers::{NUMBER_MAX, is_near};

/// The numbers of all files in a folder, ascending.
pub(crate) fn numbers(disk: &(impl ReadDisk + ?Sized), dir: &Path) -> io::Result<Vec<u64>> {
    let entries = disk.list(dir)?;
    let mut numbers: Vec<u64> = entries.iter().filter_map(|it| parse_name(&it.name)).collect();
    numbers.sort_unstable();
    let mut newest = 0;
    numbers.retain(|number| {
        let own = is_near(*number, newest);
        newest = if own { *number } else { newest };
        own
    });
    Ok(numbers)
}

/// The name of file `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number}.json")
}

/// The number in a name; none where no program of ours gave that name.
fn parse_name(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".json")?.parse::<u64>().ok()?;
    let own = (1..=NUMBER_MAX).contains(&number) && name == file_name(number);
    own.then_some(number)
}
