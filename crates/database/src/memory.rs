//! How much memory this process may use: the machine's, or its control group's when that is less.
//!
//! Read through the environment's disk, so that a simulated machine simply has none.

use std::path::Path;

use rekindle_env::ReadDisk;

/// Longest of these files.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of memory that this process may use; `None` where it cannot be told.
pub(crate) fn available(disk: &(impl ReadDisk + ?Sized)) -> Option<u64> {
    let machine = read(disk, "/proc/meminfo").and_then(|text| total(&text));
    let group = read(disk, "/proc/self/cgroup").and_then(|text| group_path(&text));
    let limits = group.iter().flat_map(|group| {
        // A group's limit holds for everything below it.
        let levels = Path::new(group).ancestors().map(|level| {
            let level = level.to_string_lossy();
            format!("/sys/fs/cgroup{}/memory.max", level.trim_end_matches('/'))
        });
        levels.collect::<Vec<_>>()
    });
    let version_1 = "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned();
    let limits = limits.chain([version_1]);
    let limits = limits.filter_map(|path| read(disk, &path)?.trim().parse().ok());
    limits.chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The path of the group in the unified hierarchy.
fn group_path(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// A short text file. Its length is not asked: these files say 0.
fn read(disk: &(impl ReadDisk + ?Sized), path: &str) -> Option<String> {
    let file = disk.open_read(Path::new(path)).ok()?;
    let mut bytes = vec![0; FILE_BYTES_MAX];
    let read = file.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(read);
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_and_the_group_are_read() {
        let text = "MemTotal:       24602944 kB\nMemFree: 1 kB\n";
        assert_eq!(total(text), Some(24_602_944 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(group_path("1:x:/a\n0::/user.slice/b\n").as_deref(), Some("/user.slice/b"));
    }

    #[test]
    fn this_machine_has_some() {
        let env = rekindle_env::Env::real();
        assert!(available(&*env.disk).is_none_or(|bytes| bytes > 1 << 20));
    }
}
