//! Where the machine keeps programs, and as whom they run.
//!
//! Invariant: looking never fails: what is not found is not installed.

use std::path::{Path, PathBuf};

/// The first directory that holds all of these programs: of `PATH`, then the ones given.
pub(crate) fn directory_with(programs: &[&str], further: Vec<PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(further);
    places.find(|place| programs.iter().all(|program| place.join(program).is_file()))
}

/// The directories `bin` below the versions that lie in this one, the newest version first.
pub(crate) fn of_versions(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(place) else { return vec![] };
    let version = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut versions: Vec<u32> = entries.flatten().filter_map(version).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|version| place.join(version.to_string()).join("bin")).collect()
}

/// The numbers of a user and of its group.
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let (user, group) = (fields.nth(1)?, fields.next()?);
        Some((user.parse().ok()?, group.parse().ok()?))
    })
}
