//! The machine: what it is, what processes cost, and what is in its page cache.
//!
//! Invariant: nothing here changes a file of anybody; `/proc` is read directly, because a process's
//! cost is no part of a store's environment.

use std::fs;
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
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (kib("VmRSS:").unwrap_or(0) * 1024, kib("VmHWM:").unwrap_or(0) * 1024)
}

/// Empties the page cache, so that the next reads come from the disk; false when not permitted.
#[allow(clippy::disallowed_methods, reason = "a switch of the kernel, not a store's file")]
pub(crate) fn drop_caches() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

#[allow(clippy::disallowed_methods, reason = "/proc is not a store's disk")]
fn proc_text(path: &str) -> String {
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
    }
}
