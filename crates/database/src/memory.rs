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
    let groups = read(disk, "/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter();
    let limits = limits.filter_map(|path| read(disk, &path)?.trim().parse().ok());
    limits.chain(machine).min()
}

/// The files with the limits of these groups, of both versions of the hierarchy. A group's limit
/// holds for everything below it.
fn limit_files(groups: &str) -> Vec<String> {
    let levels = |group: &str, folder: &str, file: &str| {
        let level = |level: &Path| {
            let level = level.to_string_lossy();
            format!("{folder}{}/{file}", level.trim_end_matches('/'))
        };
        Path::new(group).ancestors().map(level).collect::<Vec<_>>()
    };
    let (unified, memory) = (group_path(groups), memory_path(groups));
    let unified = unified.map(|group| levels(group, "/sys/fs/cgroup", "memory.max"));
    // Inside a container the path may be that of the machine outside: the top is always looked at.
    let memory = levels(memory.unwrap_or("/"), "/sys/fs/cgroup/memory", "memory.limit_in_bytes");
    unified.unwrap_or_default().into_iter().chain(memory).collect()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The path of the group in the unified hierarchy.
fn group_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The path of the group in the hierarchy of version 1 that counts memory.
fn memory_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let controllers = fields.nth(1)?;
        let counts = controllers.split(',').any(|controller| controller == "memory");
        if counts { fields.next() } else { None }
    })
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
        assert_eq!(group_path("1:x:/a\n0::/user.slice/b\n"), Some("/user.slice/b"));
        assert_eq!(memory_path("2:cpu:/x\n1:hugetlb,memory:/a:b\n0::/u\n"), Some("/a:b"));
        assert_eq!(memory_path("0::/u\n"), None);
    }

    /// A bound of the group that the process is in counts, in either hierarchy.
    #[test]
    fn every_level_of_the_groups_is_looked_at() {
        let v1 =
            ["/a/b", "/a", ""].map(|it| format!("/sys/fs/cgroup/memory{it}/memory.limit_in_bytes"));
        assert_eq!(limit_files("3:memory:/a/b\n"), v1);
        let v2 = ["/u/b/memory.max", "/u/memory.max", "/memory.max"];
        let [.., top] = v1;
        let expected: Vec<_> =
            v2.map(|it| format!("/sys/fs/cgroup{it}")).into_iter().chain([top]).collect();
        assert_eq!(limit_files("0::/u/b\n"), expected);
    }

    #[test]
    fn this_machine_has_some() {
        let env = rekindle_env::Env::real();
        assert!(available(&*env.disk).is_none_or(|bytes| bytes > 1 << 20));
    }
}
