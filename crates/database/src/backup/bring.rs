//! Bringing one file of the store into the directory, and proving it there.
//!
//! Invariants: a file that is there is replaced only when it is not what a manifest says of it, and
//! only by what the manifest says; a file that nothing is said of is a leftover, unless a manifest
//! cannot be read; what is brought is proved before it counts.

use std::path::Path;

use rekindle_env::durable;

use super::claims::{Claim, Said, another};
use super::prove::{Proof, Prover};
use super::take::Taking;
use super::transfer::Transfer;
use crate::error::Error;

/// As many of the last bytes of a checkpoint hold the hash of its state and its end.
const TAIL_BYTES: u64 = 4_096;

/// A file of the store that belongs into the backup.
pub(super) struct Wanted<'a, T> {
    /// Relative to the directory, and to the store's shard.
    pub(super) file: String,
    /// Its length.
    pub(super) len: u64,
    /// The first bytes that count.
    pub(super) used: u64,
    /// What the earlier backups say of it.
    pub(super) said: &'a [Said<'a, T>],
    /// Whether only its last bytes tell it from one of another history.
    pub(super) tail: bool,
}

impl Taking<'_> {
    /// Brings a file where it is not there whole, and proves it.
    pub(super) fn bring<T: Claim>(
        &self,
        wanted: &Wanted<'_, T>,
        transfer: &mut Transfer<'_>,
        prove: &mut dyn FnMut(&Prover<'_>) -> Proof<T>,
    ) -> Result<T, Error> {
        let go_on = |bytes| self.go_on(bytes);
        let prover = |dir| Prover {
            disk: &*self.core.env.disk,
            dir,
            store_id: self.checkpoints.identity.store_id,
            node: self.checkpoints.identity.node,
            go_on: &go_on,
        };
        let shard = self.layout.shard_dir();
        let (from, to) = (shard.join(&wanted.file), self.folder.dir.join(&wanted.file));
        let other = |found: &T| wanted.said.iter().find(|(_, said)| !said.same_file(found));
        let there = transfer.there(&to)?;
        if there == Some(wanted.len)
            && let Ok(found) = prove(&prover(&self.folder.dir))?
        {
            let ours = !wanted.tail || self.same_tail(&from, &to, wanted.len)?;
            if ours && other(&found).is_none() {
                transfer.counts.kept += 1;
                return Ok(found);
            }
            if let (false, Some(said)) = (ours, wanted.said.first()) {
                return Err(self.diverged(&another(*said)));
            }
        }
        if there.is_some() || !wanted.said.is_empty() {
            self.may_be_replaced(wanted, prove(&prover(&shard))?.map_err(|it| self.damaged(&it))?)?;
        }
        if there.is_some() {
            tracing::warn!("{} is damaged and is brought again", to.display());
            transfer.remove(&to)?;
        }
        transfer.bring(&from, &to, wanted.len, wanted.used)?;
        match prove(&prover(&self.folder.dir))? {
            Ok(whole) => Ok(whole),
            Err(finding) => {
                // Of no use to anybody; the store's own file is what it was.
                transfer.remove(&to)?;
                Err(self.damaged(&finding))
            }
        }
    }

    /// Refuses to put the store's own file where a backup needs, or may need, another one.
    fn may_be_replaced<T: Claim>(&self, wanted: &Wanted<'_, T>, own: T) -> Result<(), Error> {
        if let Some(said) = wanted.said.iter().find(|(_, said)| !said.same_file(&own)) {
            return Err(self.diverged(&another(*said)));
        }
        let unread = self.folder.found.iter().find(|found| found.manifest.is_err());
        match unread {
            Some(unread) if wanted.said.is_empty() => Err(self.diverged(&format!(
                "{} cannot be read, and {} is another file than this store has",
                unread.file, wanted.file
            ))),
            _ => Ok(()),
        }
    }

    /// Whether two files of this length end alike.
    fn same_tail(&self, one: &Path, other: &Path, len: u64) -> Result<bool, Error> {
        let tail = |path: &Path| {
            let context = |error| Error::io(format!("reading {}", path.display()), error);
            let file = self.core.env.disk.open_read(path).map_err(context)?;
            let bytes = TAIL_BYTES.min(len);
            let mut tail = vec![0; usize::try_from(bytes).unwrap_or(0)];
            durable::read_exact_at(&*file, &mut tail, len - bytes).map_err(context)?;
            Ok::<_, Error>(tail)
        };
        Ok(tail(one)? == tail(other)?)
    }
}
