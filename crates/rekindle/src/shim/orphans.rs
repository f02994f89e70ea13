//! Ending what a command left behind, wherever it hides.
//!
//! Invariants: nothing is killed of a command that is another directory's, and nothing else but a
//! process that is proved to be of the command: it carries the command's word in its environment,
//! or is in the shim's session while the shim's number is still its own, or descends from such a
//! one, or descends from the shim that asks; this process is never among them; every search has a
//! bound in time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use rekindle_env::processes::{self, Process};
use rekindle_env::{Env, ReadDisk};
use rustix::process::Signal;

use super::TOKEN_VARIABLE;
use super::directory::is_copied;
use super::evidence::shim_lives;
use super::files::Files;
use super::handle::Handle;
use super::records::{Claim, ProcessId};
use super::sealed::Found;

/// How long a process that was killed may take to end, nanoseconds: one that waits for a disk that
/// hangs does not end at all.
pub(super) const DYING_NS_MAX: u64 = 10_000_000_000;

/// Whom to look for.
#[derive(Debug)]
struct Target {
    /// The entry that is in the environment of all that the command started.
    entry: String,
    /// The shim's session, while no other can have its number.
    session: Option<u32>,
}

/// Ends every process of a command whose shim is gone; gives how many there were. With the shim
/// alive they are no orphans, and it is asked instead ([`super::Running::kill`]).
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`]: the shim lives. [`io::ErrorKind::InvalidData`]: the files do
/// not say what to look for. [`io::ErrorKind::TimedOut`]: something does not die within ten
/// seconds.
pub fn kill_orphans(env: &Env, dir: &Path) -> io::Result<usize> {
    if shim_lives(env, dir)? {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let Some(target) = target(env, dir)? else { return Ok(0) };
    let until = env.clock.boot_ns().saturating_add(DYING_NS_MAX);
    let mut killed = BTreeSet::new();
    loop {
        let found = belonging(env.disk.as_ref(), &target)?;
        if found.is_empty() {
            return Ok(killed.len());
        }
        for process in found {
            let mut handle = Handle::of(env, ProcessId::from(process))?;
            handle.signal(env, Signal::KILL)?;
            if !handle.wait(env, Some(until))? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            killed.insert((process.pid, process.start_ticks));
        }
        if env.clock.boot_ns() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Whom to look for; nobody where nothing was started, where the command is another directory's, or
/// where the machine was started anew since.
fn target(env: &Env, dir: &Path) -> io::Result<Option<Target>> {
    let disk = env.disk.as_ref();
    let files = Files::new(env, dir);
    let of =
        |token: &str, session| Some(Target { entry: format!("{TOKEN_VARIABLE}={token}"), session });
    let (claim, order) = (files.claim()?, files.order()?);
    if is_copied(env, dir, &claim, &order)? {
        return Ok(None);
    }
    match (claim, order) {
        (Found::Whole(Claim::Shim(identity)), _) => {
            if processes::boot_id(disk)? != identity.boot_id {
                return Ok(None);
            }
            // Ended, but not waited for: the number cannot have been given to another.
            let shim = processes::process(disk, identity.shim.pid)?.map(ProcessId::from);
            let session = (shim == Some(identity.shim)).then_some(identity.shim.pid);
            Ok(of(&identity.token, session))
        }
        (Found::Whole(Claim::Forbidden { .. }), _) | (Found::Absent, Found::Absent) => Ok(None),
        (_, Found::Whole(order)) => Ok(of(&order.token, None)),
        (Found::Damaged(how), _) | (_, Found::Damaged(how)) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, how))
        }
    }
}

/// Every living process of the target.
fn belonging(disk: &dyn ReadDisk, target: &Target) -> io::Result<Vec<Process>> {
    let own = std::process::id();
    let all = processes::processes(disk)?;
    let mut roots = BTreeSet::new();
    for process in all.iter().filter(|process| !process.ended && process.pid != own) {
        let in_session = target.session == Some(process.session);
        if in_session || processes::was_started_with(disk, process.pid, target.entry.as_bytes())? {
            roots.insert(process.pid);
        }
    }
    let mut ours = below(&all, &roots, own);
    ours.extend(all.iter().filter(|process| roots.contains(&process.pid)).copied());
    ours.retain(|process| !process.ended);
    Ok(ours)
}

/// Kills everything that descends from this process, as far as it lives; gives how many.
pub(super) fn kill_descendants(env: &Env) -> io::Result<u32> {
    let own = std::process::id();
    let all = processes::processes(env.disk.as_ref())?;
    let mut count = 0;
    for process in below(&all, &BTreeSet::from([own]), own) {
        if !process.ended {
            match Handle::of(env, ProcessId::from(process))?.signal(env, Signal::KILL) {
                // It became somebody else's (a setuid program); the caller tells that it is left.
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => count += 1,
            }
        }
    }
    Ok(count)
}

/// The children of this process that ended and were not waited for, but for `other`.
pub(super) fn ended_children(env: &Env, other: u32) -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let all = processes::processes(env.disk.as_ref())?;
    let ended = all.iter().filter(|process| process.ended && process.parent == own);
    Ok(ended.map(|process| process.pid).filter(|pid| *pid != other).collect())
}

/// Everything below these roots, without them and without what is only below `own` as one of the
/// found.
fn below(all: &[Process], roots: &BTreeSet<u32>, own: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut seen = roots.clone();
    let mut next: Vec<u32> = roots.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if child.pid != own && seen.insert(child.pid) {
                found.push(*child);
                next.push(child.pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_walked_once_and_never_through_this_process() {
        let of = |pid, parent| Process {
            pid,
            parent,
            group: 0,
            session: 0,
            start_ticks: 1,
            ended: false,
        };
        // 9 is this process; a listing that was not taken at one instant may even hold a circle.
        let all = [of(2, 1), of(3, 2), of(4, 3), of(9, 4), of(10, 9), of(5, 1), of(6, 7), of(7, 6)];
        let pids = |roots: &[u32]| {
            let found = below(&all, &roots.iter().copied().collect(), 9);
            found.iter().map(|process| process.pid).collect::<BTreeSet<_>>()
        };
        assert_eq!(pids(&[2]), BTreeSet::from([3, 4]));
        assert_eq!(pids(&[9]), BTreeSet::from([10]));
        assert_eq!(pids(&[6]), BTreeSet::from([7]));
        assert_eq!(pids(&[8]), BTreeSet::new());
    }
}
