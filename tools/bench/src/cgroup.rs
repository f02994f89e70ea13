//! A group of the kernel that bounds what a server may have in memory, page cache included.
//!
//! It is made below the group that this process is in, in whichever version of the interface has
//! the memory controller:
//!
//! ```text
//! version 2   memory.max, memory.swap.max, memory.peak, memory.stat (anon, file), memory.events
//! version 1   memory.limit_in_bytes, memory.max_usage_in_bytes, memory.stat, memory.oom_control
//! ```
//!
//! Invariants: where no group can be made, it is said why; a group is removed when its handle goes,
//! and no other one is ever changed but for the list of controllers of its parent.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::proc_text;

/// Which interface has the memory controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The file that bounds everything in the group.
    const fn limit(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }

    /// The file with the most that it ever had.
    const fn peak(self) -> &'static str {
        match self {
            Self::One => "memory.max_usage_in_bytes",
            Self::Two => "memory.peak",
        }
    }

    /// The file that counts who was killed for want of memory.
    const fn kills(self) -> &'static str {
        match self {
            Self::One => "memory.oom_control",
            Self::Two => "memory.events",
        }
    }

    /// What `memory.stat` calls memory of processes, and page cache.
    const fn parts(self) -> [&'static str; 2] {
        match self {
            Self::One => ["total_rss", "total_cache"],
            Self::Two => ["anon", "file"],
        }
    }
}

/// Where groups of memory are made.
#[derive(Debug, PartialEq, Eq)]
struct Home {
    version: Version,
    /// The group of this process.
    dir: PathBuf,
    /// The root of what is mounted: the next place to try.
    top: PathBuf,
}

/// Finds it by what the kernel says in `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn home(groups: &str, mounts: &str) -> Result<Home, String> {
    let mounted = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut fields = right.split(' ');
            let (found, options) = (fields.next()?, fields.nth(1)?);
            let fits = found == kind && (option.is_empty() || has(options, option));
            let mut left = left.split(' ').skip(3);
            fits.then(|| Some((left.next()?, left.next()?))).flatten()
        })
    };
    let group = |wanted: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let fits =
                if wanted.is_empty() { controllers.is_empty() } else { has(controllers, wanted) };
            fits.then_some(path)
        })
    };
    // Version 1 first: where it has the controller, version 2 is there without it.
    for (version, kind, name) in [(Version::One, "cgroup", "memory"), (Version::Two, "cgroup2", "")]
    {
        if let (Some((root, place)), Some(group)) = (mounted(kind, name), group(name)) {
            // A container sees a part of the hierarchy: its root is what is mounted.
            let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
            let top = PathBuf::from(place);
            return Ok(Home { version, dir: top.join(below), top });
        }
    }
    Err("no control group with the memory controller is mounted".to_owned())
}

fn has(list: &str, name: &str) -> bool {
    list.split(',').any(|each| each == name)
}

/// A group with a bound.
#[derive(Debug)]
pub(crate) struct Group {
    version: Version,
    dir: PathBuf,
}

/// What is in a group now, and the most that ever was, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// The most that there ever was of both together.
    pub(crate) peak: u64,
    /// Memory of processes.
    pub(crate) anon: u64,
    /// Page cache.
    pub(crate) file: u64,
}

#[allow(clippy::disallowed_methods, reason = "switches of the kernel, not a store's files")]
impl Group {
    /// Makes one in which no more than `bytes` can be; or says why there is none.
    pub(crate) fn new(bytes: u64) -> Result<Self, String> {
        let home = home(&proc_text("/proc/self/cgroup"), &proc_text("/proc/self/mountinfo"))?;
        let Home { version, dir, top } = home;
        // Of version 2 a group that holds processes can have no children with a bound.
        Self::below(version, &dir, bytes).or_else(|here| {
            Self::below(version, &top, bytes).map_err(|there| format!("{here}; {there}"))
        })
    }

    fn below(version: Version, parent: &Path, bytes: u64) -> Result<Self, String> {
        if version == Version::Two {
            // Where this is refused, the controller may have been handed down before; if not, the
            // bound below says that it is missing.
            let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory");
        }
        let dir = parent.join(format!("rekindle-bench-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let group = Self { version, dir };
        group.set(version.limit(), &bytes.to_string())?;
        // A kernel without swap, or that does not count it, has no such file.
        let _ = match version {
            Version::One => group.set("memory.memsw.limit_in_bytes", &bytes.to_string()),
            Version::Two => group.set("memory.swap.max", "0"),
        };
        Ok(group)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), String> {
        let path = self.dir.join(name);
        fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The file into which a process writes its number to be in the group.
    pub(crate) fn processes(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// What is in it.
    pub(crate) fn held(&self) -> Held {
        let stat = self.text("memory.stat");
        let [anon, file] = self.version.parts().map(|name| field(&stat, name));
        let peak = self.text(self.version.peak()).trim().parse().unwrap_or(0);
        Held { peak, anon, file }
    }

    /// How many processes of it were killed because it was full.
    pub(crate) fn kills(&self) -> u64 {
        field(&self.text(self.version.kills()), "oom_kill")
    }

    fn text(&self, name: &str) -> String {
        proc_text(&self.dir.join(name).to_string_lossy())
    }
}

impl Drop for Group {
    #[allow(clippy::disallowed_methods, reason = "a switch of the kernel, not a store's file")]
    fn drop(&mut self) {
        // Its processes were waited for; a group that stays all the same bounds nobody.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The number behind a name, each pair on a line of its own; 0 where there is none.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_1_is_used_where_it_has_the_controller() {
        let groups = "8:pids:/\n4:memory:/service/a\n1:cpu:/\n0::/unified\n";
        let found = home(groups, MIXED).unwrap();
        let [dir, top] = ["/sys/fs/cgroup/memory/service/a", "/sys/fs/cgroup/memory"];
        let (dir, top) = (PathBuf::from(dir), PathBuf::from(top));
        assert_eq!(found, Home { version: Version::One, dir, top });
    }

    #[test]
    fn version_2_is_one_tree() {
        let mounts = "25 21 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = home("0::/user.slice/session-1.scope\n", mounts).unwrap();
        let dir = PathBuf::from("/sys/fs/cgroup/user.slice/session-1.scope");
        assert_eq!(found, Home { version: Version::Two, dir, top: "/sys/fs/cgroup".into() });
    }

    #[test]
    fn a_container_has_its_own_root() {
        let mounts =
            "9 8 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory,hugetlb\n";
        let found = home("4:memory,hugetlb:/docker/ab/own\n", mounts).unwrap();
        assert_eq!(found.dir, PathBuf::from("/sys/fs/cgroup/memory/own"));
    }

    #[test]
    fn a_machine_without_groups_says_so() {
        let without = MIXED.replace("cgroup2", "none").replace("rw,memory", "rw,freezer");
        assert!(home("4:memory:/\n", &without).is_err());
        assert!(home("", MIXED).is_err());
    }

    #[test]
    fn fields_are_whole_names() {
        let stat = "anon_thp 1\nanon 4096\nfile_mapped 3\nfile 8192\n";
        assert_eq!(
            [field(stat, "anon"), field(stat, "file"), field(stat, "slab")],
            [4096, 8192, 0]
        );
    }

    #[test]
    fn a_group_that_can_be_made_bounds_and_goes() {
        let Ok(group) = Group::new(64 << 20) else { return };
        let limit = group.text(group.version.limit());
        assert_eq!(limit.trim(), (64 << 20).to_string());
        assert_eq!((group.held().anon, group.kills()), (0, 0));
        let dir = group.dir.clone();
        drop(group);
        assert_eq!(proc_text(&dir.join("memory.stat").to_string_lossy()), "");
    }
}
