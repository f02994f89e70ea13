//! The checkpoint in a backup of a store on an engine with files of its own.
//!
//! Such a store's checkpoints say where its files stand and hold no rows, so the backup's is
//! written for it, straight into its directory, while writers go on: nothing of the state is kept
//! in memory but a block, and the store's disk holds no second copy. Order: an id of the store is
//! taken, a checkpoint of the store behind it is named, the rows are held between two records; then
//! the journal is sealed and the rows are written. Invariant: an id that a backup has is below one
//! that the store has named durably, so no file of the store, or of a later backup, has it again.

use std::cell::RefCell;

use rekindle_engine::checkpoint::{self, RowStream, Stamp, WriteError};
use rekindle_engine::{EngineError, FileEngine};
use rekindle_journal::Journal;

use super::claims::{Claim, Claims, another};
use super::manifest::{CheckpointFile, checkpoint_file};
use super::prove::Prover;
use super::take::{EMPTY, Taking};
use super::transfer::{SPARE_BYTES, Transfer};
use crate::error::Error;

/// The rows of a store at one mark, not yet written.
pub(super) struct Streamed<'a> {
    rows: Box<dyn RowStream + Send + 'a>,
    stamp: Stamp,
    /// As far as which the journal was synced.
    durable: u64,
    /// What the rows take in memory and in files, about.
    bytes: u64,
    /// The checkpoint of the backup before, where the journal still goes back to it.
    earlier: Option<CheckpointFile>,
}

impl Streamed<'_> {
    /// The last position in it, and where replay on top of it may begin.
    pub(super) fn stands(&self) -> (u64, u64) {
        let own = self.stamp.replay_from;
        let from = self.earlier.as_ref().map_or(own, |earlier| earlier.replay_from.min(own));
        (self.rows.mark().position, from)
    }
}

impl Taking<'_> {
    /// Holds the rows as they are now.
    pub(super) fn rows_of<'e>(&self, engine: &'e dyn FileEngine) -> Result<Streamed<'e>, Error> {
        // What was acknowledged from memory is applied by this.
        self.core.journal.sync()?;
        let stamp = self.checkpoints.stamp(1);
        self.checkpoints.write_again(self.core)?;
        let named = self.checkpoints.named();
        let Some(newest) = named.first() else { return Err(Error::Invalid(EMPTY.to_owned())) };
        assert!(newest.id > stamp.id, "the store knows that the id was given away");
        let held = self.core.state.between_records(|replay| (engine.rows(), replay.replay_from()));
        let (rows, replay_from) = (held.0?, held.1);
        let durable = self.checkpoints.journal.sync()?.position;
        assert!(rows.mark().position <= durable, "a sync covers everything applied before it");
        let stamp = Stamp { replay_from, ..stamp };
        let bytes = engine.disk_bytes().saturating_add(engine.unflushed_bytes());
        Ok(Streamed { rows, stamp, durable, bytes, earlier: self.reached()? })
    }

    /// The checkpoint of the backup before, where the store's journal has everything behind it and
    /// the end of that backup: then it serves once more.
    fn reached(&self) -> Result<Option<CheckpointFile>, Error> {
        let Some(manifest) = self.folder.manifests().last() else { return Ok(None) };
        let in_use = self.checkpoints.journal.segments();
        let (Some(first), Some(last)) = (in_use.first(), manifest.segments.last()) else {
            return Ok(None);
        };
        let (begin, checkpoint) = (self.header(*first)?.first_position, &manifest.checkpoint);
        let reached = begin <= checkpoint.replay_from && in_use.contains(&last.seq);
        Ok(reached.then(|| checkpoint.clone()))
    }

    /// Writes the checkpoint, unless the one before serves, and proves it.
    pub(super) fn write_rows(
        &self,
        streamed: Streamed<'_>,
        claims: &Claims<'_>,
        transfer: &mut Transfer<'_>,
    ) -> Result<CheckpointFile, Error> {
        let go_on = |bytes| self.go_on(bytes);
        let prover = Prover {
            disk: &*self.core.env.disk,
            dir: &self.folder.dir,
            store_id: self.checkpoints.identity.store_id,
            node: self.checkpoints.identity.node,
            go_on: &go_on,
        };
        if let Some(earlier) = &streamed.earlier
            && let Ok(found) = prover.checkpoint(earlier.id)?
            && found.same_file(earlier)
        {
            transfer.counts.kept += 1;
            return Ok(found);
        }
        self.write(streamed, claims, transfer).and_then(|id| {
            let proved = prover.checkpoint(id)?;
            proved.map_err(|finding| {
                Error::Damaged(format!(
                    "what was written is not there: {finding}; no backup was taken"
                ))
            })
        })
    }

    fn write(
        &self,
        streamed: Streamed<'_>,
        claims: &Claims<'_>,
        transfer: &mut Transfer<'_>,
    ) -> Result<u64, Error> {
        let Streamed { mut rows, stamp, durable, bytes, .. } = streamed;
        let disk = &*self.core.env.disk;
        let to = self.folder.dir.join(checkpoint_file(stamp.id));
        if let Some(said) = claims.checkpoint(stamp.id).first() {
            return Err(self.diverged(&another(*said)));
        }
        if transfer.there(&to)?.is_some() {
            // No manifest that can be read names it.
            let file = checkpoint_file(stamp.id);
            return Err(self.diverged(&format!("{file} is there, and this store never wrote it")));
        }
        let folder = self.folder.dir.join(checkpoint::DIRECTORY);
        let available = || {
            let asked = disk.available_bytes(&folder);
            asked.map_err(|error| {
                Error::io(format!("asking for the space of {}", to.display()), error)
            })
        };
        let refuse = |available: u64| {
            Error::Full(format!(
                "{} has {available} bytes left and the checkpoint of the backup takes about \
                 {bytes}; make room or choose another place",
                folder.display()
            ))
        };
        let room = available()?;
        if room < bytes.saturating_add(SPARE_BYTES) {
            return Err(refuse(room));
        }
        let stopped = RefCell::new(None);
        let mut go_on = |written| {
            let asked = self.go_on(written).and_then(|()| match available()? {
                room if room < SPARE_BYTES => Err(refuse(room)),
                _ => Ok(()),
            });
            asked.map_err(|error| *stopped.borrow_mut() = Some(error)).is_ok()
        };
        let written =
            checkpoint::write_rows(disk, &folder, &mut *rows, &stamp, durable, &mut go_on);
        match written {
            Ok(written) => {
                transfer.counts.copied += 1;
                transfer.counts.copied_bytes += written.footer.file_len;
                Ok(stamp.id)
            }
            Err(WriteError::Stopped) => {
                let why = stopped.into_inner();
                Err(why.unwrap_or_else(|| crate::checkpoint::failed(WriteError::Stopped)))
            }
            Err(WriteError::Rows(EngineError::Corrupt { place, found })) => {
                Err(Error::Damaged(format!(
                    "the store's own {place}: {found}; no backup was taken, check the store with \
                     'rekindle verify'"
                )))
            }
            Err(error) => Err(crate::checkpoint::failed(error)),
        }
    }
}
