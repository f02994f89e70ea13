//! The machine: what it is, what processes cost, and what is in its page cache.
//!
//! Invariant: nothing here changes a file of anybody; `/proc` is read directly, because a process's
//! cost is no part of a store's environment.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process, nanoseconds.
pub(crate) fn own_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// CPU time of all living threads of a process, nanoseconds; 0 where the kernel does not tell.
#[allow(clippy::disallowed_methods, reason = "/proc is not a store's disk")]
pub(crate) fn cpu_ns_of(process: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    let spent = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(spent).sum()
}

/// The same together with the processes that it started.
#[cfg(feature = "peer-servers")]
#[allow(clippy::disallowed_methods, reason = "/proc is not a store's disk")]
pub(crate) fn cpu_ns_with_children(process: u32) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let is_child = |child: &u32| {
        let status = proc_text(&format!("/proc/{child}/status"));
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent.and_then(|parent| parent.trim().parse().ok()) == Some(process)
    };
    let children = processes.flatten().filter_map(number).filter(is_child);
    cpu_ns_of(process) + children.map(cpu_ns_of).sum::<u64>()
}

/// Resident bytes of this process: now, and the most there ever were.
pub(crate) fn resident() -> (u64, u64) {
    let status = proc_text("/proc/self/status");
    (kib(&status, "VmRSS:"), kib(&status, "VmHWM:"))
}

/// Resident bytes of another process: the most there ever were, and what is now no file's.
pub(crate) fn resident_of(process: u32) -> (u64, u64) {
    let status = proc_text(&format!("/proc/{process}/status"));
    (kib(&status, "VmHWM:"), kib(&status, "RssAnon:"))
}

/// The number behind a name, which the kernel writes in KiB, in bytes; 0 where it is not there.
fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// What a process wrote, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// Passed to calls of `write` and its kin, files and a part of the sockets alike.
    pub(crate) calls: u64,
    /// Pages that became dirty: each counts whole, and again each time that it was clean before.
    pub(crate) pages: u64,
}

/// What a process wrote so far; nothing where the kernel does not tell.
pub(crate) fn wrote(process: u32) -> Wrote {
    wrote_of(&proc_text(&format!("/proc/{process}/io")))
}

fn wrote_of(text: &str) -> Wrote {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Wrote { calls: of("wchar:"), pages: of("write_bytes:") }
}

/// Bytes that a file, or all files below a directory, take on disk: a hole takes none.
#[allow(clippy::disallowed_methods, reason = "the files of a killed server, from outside")]
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| disk_bytes(&entry.path())).sum()
        }
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    }
}

/// Empties the page cache, so that the next reads come from the disk; false when not permitted.
#[allow(clippy::disallowed_methods, reason = "a switch of the kernel, not a store's file")]
pub(crate) fn drop_caches() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

/// The text of a file that the kernel makes; empty where there is none.
#[allow(clippy::disallowed_methods, reason = "/proc is not a store's disk")]
pub(crate) fn proc_text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What a reader of the figures wants to know, as names and values.
pub(crate) fn describe(dir: &Path) -> Vec<(String, String)> {
    let cpu = proc_text("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = proc_text("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let memory = memory.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let memory = memory.unwrap_or(0) / 1_048_576;
    let kernel = proc_text("/proc/sys/kernel/osrelease");
    let load = proc_text("/proc/loadavg");
    let load: Vec<_> = load.split_whitespace().take(3).collect();
    let pairs = [
        ("version", format!("rekindle {}", env!("CARGO_PKG_VERSION"))),
        ("machine", format!("{cores} cores of {model}, {memory} GiB, Linux {}", kernel.trim())),
        ("disk", file_system(dir)),
        ("load", format!("{} at the end (1, 5, 15 minutes)", load.join(" "))),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The file system that holds a directory: its device, type and place.
fn file_system(dir: &Path) -> String {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let mounts = proc_text("/proc/self/mounts");
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (device, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(place).then_some((device, place, kind))
    });
    let nearest = holding.max_by_key(|(_, place, _)| place.len());
    nearest.map_or_else(
        || "unknown".to_owned(),
        |(device, place, kind)| format!("{kind} on {device} at {place}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_costs_time_and_memory() {
        let before = own_cpu_ns();
        let sum = (0..1_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        assert!(own_cpu_ns() > before, "{sum}");
        let (now, most) = resident();
        assert!(now > 0 && most >= now);
        assert_eq!(describe(Path::new("/")).len(), 4);
        let (peak, anon) = resident_of(std::process::id());
        assert!(peak >= anon && anon > 0);
        assert_eq!(resident_of(u32::MAX), (0, 0));
    }

    #[test]
    fn what_was_written_is_read() {
        let text = "rchar: 1\nwchar: 20\nread_bytes: 3\nwrite_bytes: 4096\n\
                    cancelled_write_bytes: 5\n";
        assert_eq!(wrote_of(text), Wrote { calls: 20, pages: 4_096 });
        assert_eq!(wrote_of(""), Wrote::default());
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "files of a test")]
    fn files_are_counted_as_far_as_they_take_space() {
        let place = tempfile::tempdir().expect("a directory");
        let below = place.path().join("a");
        fs::create_dir(&below).expect("a folder");
        fs::write(below.join("b"), vec![1; 100_000]).expect("a file");
        let found = disk_bytes(place.path());
        assert!((100_000..=200_000).contains(&found), "{found}");
        assert_eq!(disk_bytes(&below.join("b")), found);
        assert_eq!(disk_bytes(&place.path().join("nothing")), 0);
    }
}
