//! Which directory a command is of: that of its server, or a copy of it.
//!
//! A copy of a store holds records of commands that run elsewhere, and the machine confirms them:
//! number and start time are those of a process that lives. Invariant: what was written down in
//! another directory is none of ours; nobody here takes it over, and nobody here ends it.

use std::io;
use std::path::Path;

use rekindle_env::{Env, processes};
use serde::{Deserialize, Serialize};

use super::records::Claim;
use super::sealed::Found;
use super::spec::Order;

/// A directory, told apart from every copy of it; one that is moved stays the same. The shim has
/// files open in it, so while it lives these numbers are no other's, and do not change even where
/// a file system makes them up as it goes (an overlay, FUSE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryId {
    /// Which start of the machine the number of the device is of: it may have another after the
    /// next.
    pub boot_id: String,
    /// The device of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl DirectoryId {
    /// That of this directory; `None` where there is none.
    pub(super) fn of(env: &Env, dir: &Path) -> io::Result<Option<Self>> {
        let disk = env.disk.as_ref();
        let Some(found) = disk.inode(dir)? else { return Ok(None) };
        let boot_id = processes::boot_id(disk)?;
        Ok(Some(Self { boot_id, device: found.device, inode: found.number }))
    }

    fn is(&self, other: &Self) -> bool {
        let same_boot = self.boot_id == other.boot_id;
        self.inode == other.inode && (self.device == other.device || !same_boot)
    }
}

/// Whether what lies in a directory was written down in another one, as far as it says. Records
/// that do not name theirs, where directories can be told apart, are taken for another's.
pub(super) fn is_copied(
    env: &Env,
    dir: &Path,
    claim: &Found<Claim>,
    order: &Found<Order>,
) -> io::Result<bool> {
    let runner = match claim.whole() {
        Some(Claim::Shim(identity)) => Some(&identity.directory),
        Some(Claim::Forbidden { .. }) | None => None,
    };
    let asked = order.whole().map(|order| &order.directory);
    let recorded: Vec<_> = runner.into_iter().chain(asked).collect();
    if recorded.is_empty() {
        return Ok(false);
    }
    let here = DirectoryId::of(env, dir)?;
    let is_here = |recorded: &&Option<DirectoryId>| match (recorded, &here) {
        (Some(recorded), Some(here)) => recorded.is(here),
        (recorded, here) => recorded.is_none() && here.is_none(),
    };
    Ok(!recorded.iter().all(is_here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_compared_within_one_start_of_the_machine() {
        let of =
            |boot_id: &str, device, inode| DirectoryId { boot_id: boot_id.into(), device, inode };
        let here = of("a", 1, 7);
        assert!(of("a", 1, 7).is(&here));
        assert!(!of("a", 2, 7).is(&here), "a snapshot");
        assert!(!of("a", 1, 8).is(&here), "a copy");
        assert!(of("b", 2, 7).is(&here), "the same, and the machine was started anew");
        assert!(!of("b", 1, 8).is(&here), "a copy from another machine");
    }
}
