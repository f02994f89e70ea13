//! Taking a backup: seal, pin, bring, prove, and last of all the manifest.
//!
//! Invariants: everything acknowledged before the call is in it; what is read is pinned until the
//! end, whatever the end is; nothing here writes to the store but the seal of its active segment
//! and a checkpoint; writers wait for no more than that seal.

use std::path::{Component, Path};

use rekindle_env::{ReadDisk, durable, in_background, is_full};
use rekindle_journal::archive;
use rekindle_journal::codec::record::TxnsPrefix;
use rekindle_journal::codec::segment::SegmentHeader;
use rekindle_journal::recovery::walk::Joint;
use rekindle_journal::{Layout, Record, RecordKind, SealError, SealedEnd, SegmentPin};

use super::bring::Wanted;
use super::claims::{Claims, Standing};
use super::folder::{Folder, manifest_file};
use super::manifest::{CheckpointFile, Manifest, SegmentFile, encode_id};
use super::manifest::{checkpoint_file, segment_file};
use super::rows::Streamed;
use super::transfer::Transfer;
use super::verify::BackupFinding;
use super::{BACKUPS_MAX, Backup};
use crate::apply::alone;
use crate::checkpoint::{Checkpoints, Kept, Named};
use crate::codec::{CommitMark, Loss};
use crate::core::Core;
use crate::error::Error;
use crate::places;
use crate::recovery::SHARD;

/// Why there is no backup of a new store.
pub(super) const EMPTY: &str = "the store is empty: there is nothing to back up yet";

/// How far the records of a backup go.
#[derive(Clone, Copy, Debug)]
struct Reached {
    version: u64,
    log_time_ms: u64,
}

impl Reached {
    fn note(&mut self, record: &Record<'_>) {
        let (version, log_time_ms) = match record.kind {
            RecordKind::Txns => match TxnsPrefix::decode(record.payload) {
                Some((prefix, _)) => {
                    let last = prefix.base_version + u64::from(prefix.count);
                    (last.saturating_sub(1), prefix.log_time_ms)
                }
                None => return,
            },
            RecordKind::Commit => match CommitMark::decode(record.payload) {
                Ok(mark) => (mark.version, mark.log_time_ms),
                Err(_) => return,
            },
            RecordKind::Loss => match Loss::decode(record.payload) {
                Ok(loss) => (loss.next_version.saturating_sub(1), 0),
                Err(_) => return,
            },
            _ => return,
        };
        self.version = self.version.max(version);
        self.log_time_ms = self.log_time_ms.max(log_time_ms);
    }
}

/// A sealed segment of the store, and where it ends.
struct Sealed {
    seq: u64,
    len: u64,
    end: Joint,
}

impl Core {
    /// Takes a backup into `to`. What holds writers back is done at once; the rest is done after
    /// everything else that wants the machine.
    pub(crate) fn backup(&self, to: &Path) -> Result<Backup, Error> {
        let Some(checkpoints) = &self.checkpoints else {
            return Err(Error::Invalid("this database has no directory to back up".to_owned()));
        };
        let busy = "a backup is being taken; wait until it is done";
        let _one_at_a_time = alone(&checkpoints.backing_up, busy)?;
        let layout = Layout::new(&checkpoints.store, SHARD);
        check_place(to, &layout, &*self.env.disk)?;
        let began_ns = self.env.clock.boot_ns();
        let backup = Folder::open_for_backup(to, &self.env).and_then(|folder| {
            let pin = checkpoints.journal.pin();
            let taking = Taking { core: self, checkpoints, layout, folder, pin };
            taking.check_identity()?;
            taking.check_history()?;
            let begun = taking.begin()?;
            let log = tracing::dispatcher::get_default(Clone::clone);
            let finish = || tracing::dispatcher::with_default(&log, || taking.finish(begun));
            in_background("backup", finish)
                .map_err(|error| Error::io("starting the thread of a backup", error))?
        });
        let backup = backup.map_err(full_or_else)?;
        let took_ms = self.env.clock.boot_ns().saturating_sub(began_ns) / 1_000_000;
        let Manifest { number, version, .. } = backup.manifest;
        tracing::info!(number, version, took_ms, "backup taken to {}", to.display());
        Ok(backup)
    }
}

/// An error of a full disk, of the store or of the backups, is a limit that is reached.
fn full_or_else(error: Error) -> Error {
    match error {
        Error::Io { context, source } if is_full(&source) => {
            Error::Full(format!("{context}: {source}; make room, or choose another place"))
        }
        other => other,
    }
}

/// Refuses places that cannot hold a backup of this store.
fn check_place(to: &Path, layout: &Layout, disk: &(dyn ReadDisk + 'static)) -> Result<(), Error> {
    let plain = to.components().all(|part| !matches!(part, Component::ParentDir));
    if !to.is_absolute() || !plain {
        return Err(Error::Invalid(format!(
            "{} is no absolute path without '..'; the server writes there",
            to.display()
        )));
    }
    let store = std::path::absolute(&layout.store).unwrap_or_else(|_| layout.store.clone());
    if to.starts_with(&store) || store.starts_with(to) {
        return Err(Error::Invalid(format!(
            "{} is a part of the store's own directory, or holds it; choose another one",
            to.display()
        )));
    }
    let above = places::inside(disk, to)
        .map_err(|error| Error::io(format!("looking above {}", to.display()), error))?;
    match above {
        None => Ok(()),
        Some(inside) => Err(Error::Invalid(format!(
            "{} lies inside of {inside}; choose another directory",
            to.display()
        ))),
    }
}

/// What a backup is of.
struct Begun<'a> {
    source: Source<'a>,
    until_ms: u64,
    sealed: SealedEnd,
}

/// Where its checkpoint comes from.
enum Source<'a> {
    /// It is the store's newest, which is kept meanwhile.
    Named(Named, Kept<'a>),
    /// The store has none with rows: it is written for the backup.
    Rows(Box<Streamed<'a>>),
}

impl Source<'_> {
    /// The last position in it, and where replay on top of it begins, at the latest.
    fn stands(&self) -> (u64, u64) {
        match self {
            Self::Named(newest, _) => (newest.position, newest.replay_from),
            Self::Rows(streamed) => streamed.stands(),
        }
    }
}

/// A backup while it is taken.
pub(super) struct Taking<'a> {
    pub(super) core: &'a Core,
    pub(super) checkpoints: &'a Checkpoints,
    pub(super) layout: Layout,
    pub(super) folder: Folder,
    pin: SegmentPin,
}

impl Taking<'_> {
    /// Whether the directory is this store's.
    fn check_identity(&self) -> Result<(), Error> {
        let who = &self.checkpoints.identity;
        let (store_id, lineage) = (encode_id(who.store_id), encode_id(who.lineage));
        let other = self.folder.manifests().find(|manifest| {
            (&manifest.store_id, &manifest.lineage, manifest.node)
                != (&store_id, &lineage, who.node)
        });
        if let Some(other) = other {
            let dir = self.folder.dir.display();
            return Err(Error::Invalid(format!(
                "{dir} holds backups of store {} lineage {}, this is store {store_id} lineage \
                 {lineage} (a restore begins a new lineage); choose another directory",
                other.store_id, other.lineage
            )));
        }
        if self.folder.found.len() as u64 >= BACKUPS_MAX {
            let dir = self.folder.dir.display();
            return Err(Error::Full(format!(
                "{dir} holds {BACKUPS_MAX} backups; go on in a new directory"
            )));
        }
        Ok(())
    }

    /// Whether the backups there are of this store's own past; where they are not, one more would
    /// put other files in the place of theirs.
    fn check_history(&self) -> Result<(), Error> {
        let manifests: Vec<&Manifest> = self.folder.manifests().collect();
        if manifests.is_empty() {
            return Ok(());
        }
        // What was acknowledged from memory is a part of it.
        self.core.journal.sync()?;
        let in_use = self.checkpoints.journal.segments();
        let mut headers = Vec::with_capacity(in_use.len());
        for seq in &in_use {
            // Damage stops the backup when it reaches it.
            match self.header(*seq) {
                Ok(header) => headers.push(header),
                Err(Error::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let standing = Standing {
            incarnation: self.core.incarnation,
            position: self.core.journal.durable().position,
            active: in_use.last().copied().unwrap_or(0),
            headers,
            checkpoints: self.checkpoints.named(),
        };
        let claims = Claims::of(self.folder.manifests());
        match standing.stranger(&manifests, &claims) {
            None => Ok(()),
            Some(why) => Err(self.diverged(&why)),
        }
    }

    pub(super) fn diverged(&self, why: &str) -> Error {
        let dir = self.folder.dir.display();
        Error::Diverged(format!(
            "{dir} holds backups that are not of this store's past: {why}. The store was rolled \
             back to an older copy, or another copy of it takes its backups there; nothing of them \
             was changed; name another directory"
        ))
    }

    /// A checkpoint where one is due, and the seal.
    fn begin(&self) -> Result<Begun<'_>, Error> {
        let source = match self.checkpoints.engine.files() {
            None => {
                let (newest, kept) = self.checkpoint()?;
                Source::Named(newest, kept)
            }
            Some(engine) => Source::Rows(Box::new(self.rows_of(engine)?)),
        };
        let until_ms = self.core.state.sequencer().clock.close_millisecond();
        let sealed = self.seal()?;
        let (position, _) = source.stands();
        assert!(position < sealed.next_position, "a checkpoint is of what is durable");
        Ok(Begun { source, until_ms, sealed })
    }

    /// Brings and proves the files, and writes the manifest.
    fn finish(&self, begun: Begun<'_>) -> Result<Backup, Error> {
        let Begun { source, until_ms, sealed } = begun;
        let earlier = self.folder.manifests().last().cloned();
        let (_, replay_from) = source.stands();
        let segments = self.needed(replay_from, &sealed, earlier.as_ref())?;
        if let Some(first) = segments.first() {
            self.pin.narrow(first.seq);
        }
        let go_on = |bytes| self.go_on(bytes);
        let disk = &*self.core.env.disk;
        let claims = Claims::of(self.folder.manifests());
        let mut transfer =
            Transfer { disk, go_on: &go_on, counts: super::transfer::Counts::default() };
        let checkpoint = match source {
            Source::Named(newest, _kept) => {
                self.bring_checkpoint(&newest, &claims, &mut transfer)?
            }
            Source::Rows(streamed) => self.write_rows(*streamed, &claims, &mut transfer)?,
        };
        let mut reached =
            Reached { version: checkpoint.version, log_time_ms: checkpoint.log_time_ms };
        let mut files = Vec::with_capacity(segments.len());
        for segment in &segments {
            files.push(self.bring_segment(segment, &claims, &mut transfer, &mut reached)?);
        }
        let continuous =
            earlier.as_ref().and_then(|earlier| earlier.segments.last()).is_none_or(|last| {
                files.first().is_some_and(|f| f.seq <= last.seq || f.prev_seq == last.seq)
            });
        let who = &self.checkpoints.identity;
        let kind = self.checkpoints.engine.kind();
        let (format, engine) = Manifest::of_engine(kind);
        let manifest = Manifest {
            format,
            engine,
            number: self.folder.next_number(),
            earlier: earlier.map(|earlier| earlier.number),
            store_id: encode_id(who.store_id),
            lineage: encode_id(who.lineage),
            node: who.node,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.core.incarnation,
            taken_ms: self.core.env.clock.wall_ms(),
            position: sealed.next_position - 1,
            version: reached.version,
            log_time_ms: reached.log_time_ms,
            until_ms,
            checkpoint,
            segments: files,
        };
        if let Some(what) = manifest.inconsistency() {
            // Nobody could read it: better no backup than one that says that it is one.
            let message = format!("the backup's manifest would have {what}; no backup was taken");
            return Err(Error::Damaged(message));
        }
        let path = self.folder.dir.join(manifest_file(manifest.number));
        durable::replace_file(disk, &path, &manifest.encode())
            .map_err(|error| Error::io(format!("writing {}", path.display()), error))?;
        let dir = self.folder.dir.clone();
        let super::transfer::Counts { linked, copied, copied_bytes, kept } = transfer.counts;
        Ok(Backup { dir, manifest, linked, copied, copied_bytes, kept, continuous })
    }

    /// The newest checkpoint, kept from being removed; taken now where there is none or one is due.
    fn checkpoint(&self) -> Result<(Named, Kept<'_>), Error> {
        // What was acknowledged from memory is applied by this.
        self.core.journal.sync()?;
        let now_ms = self.core.env.clock.boot_ms();
        let (newest, kept) = self.checkpoints.keep_newest();
        if newest.id != 0 && !self.checkpoints.is_due(&self.core.state, now_ms) {
            return Ok((newest, kept));
        }
        drop(kept);
        self.core.checkpoint()?;
        let (newest, kept) = self.checkpoints.keep_newest();
        if newest.id == 0 {
            return Err(Error::Invalid(EMPTY.to_owned()));
        }
        Ok((newest, kept))
    }

    fn seal(&self) -> Result<SealedEnd, Error> {
        match self.checkpoints.journal.seal_active() {
            Ok(sealed) => Ok(sealed),
            Err(SealError::Journal(error)) => Err(error.into()),
            Err(SealError::NotBegun(error)) => Err(Error::io("sealing the store's journal", error)),
        }
    }

    /// The sealed segments that belong into it, oldest first: those that replay on top of the
    /// checkpoint needs, and those since the earlier backup; at least the last one.
    fn needed(
        &self,
        replay_from: u64,
        sealed: &SealedEnd,
        earlier: Option<&Manifest>,
    ) -> Result<Vec<Sealed>, Error> {
        let earlier = earlier.and_then(|earlier| earlier.segments.last());
        let since = earlier.map_or(u64::MAX, |last| last.seq);
        let in_use = self.checkpoints.journal.segments();
        let mut needed = Vec::new();
        let position = Some(sealed.next_position);
        let mut end = Joint { lsn: sealed.end_lsn, chain: Some(sealed.chain), position };
        let mut expected = sealed.seq;
        for seq in in_use.into_iter().rev().filter(|seq| *seq <= sealed.seq) {
            let behind = end.position.unwrap_or(0) > replay_from;
            if !(seq == sealed.seq || behind || seq > since) {
                break;
            }
            let header = self.header(seq)?;
            if seq != expected {
                let path = self.layout.relative(&self.layout.segment(expected));
                return Err(Error::Damaged(format!(
                    "{path} is not in the store although segment {seq} is; check the store with \
                     'rekindle verify'"
                )));
            }
            needed.push(Sealed { seq, len: header.file_size, end });
            let (chain, position) = (Some(header.prev_chain), Some(header.first_position));
            end = Joint { lsn: header.prev_end_lsn, chain, position };
            expected = header.prev_seq;
        }
        needed.reverse();
        Ok(needed)
    }

    pub(super) fn header(&self, seq: u64) -> Result<SegmentHeader, Error> {
        let path = self.layout.segment(seq);
        let context = |error| Error::io(format!("reading {}", path.display()), error);
        let file = self.core.env.disk.open_read(&path).map_err(context)?;
        archive::read_header(&*file).map_err(context)?.map_err(|damage| {
            let (file, offset) = (self.layout.relative(&path), damage.offset);
            let archive::Damage { bad, .. } = damage;
            self.damaged(&BackupFinding { file, offset, expected: bad.expected, found: bad.found })
        })
    }

    fn bring_checkpoint(
        &self,
        newest: &Named,
        claims: &Claims<'_>,
        transfer: &mut Transfer<'_>,
    ) -> Result<CheckpointFile, Error> {
        let wanted = Wanted {
            file: checkpoint_file(newest.id),
            len: newest.bytes,
            used: newest.bytes,
            said: claims.checkpoint(newest.id),
            tail: true,
        };
        self.bring(&wanted, transfer, &mut |prover| prover.checkpoint(newest.id))
    }

    fn bring_segment(
        &self,
        segment: &Sealed,
        claims: &Claims<'_>,
        transfer: &mut Transfer<'_>,
        reached: &mut Reached,
    ) -> Result<SegmentFile, Error> {
        // What is broken off in the middle is not noted.
        let before = *reached;
        let base = self.header(segment.seq)?.base_lsn;
        let wanted = Wanted {
            file: segment_file(segment.seq),
            len: segment.len,
            used: segment.end.lsn.saturating_sub(base).min(segment.len),
            said: claims.segment(segment.seq),
            // Its end is that of this store, down to the chain: no other segment has it.
            tail: false,
        };
        self.bring(&wanted, transfer, &mut |prover| {
            *reached = before;
            prover.segment(segment.seq, &segment.end, &mut |record| reached.note(record))
        })
    }

    pub(super) fn damaged(&self, finding: &BackupFinding) -> Error {
        Error::Damaged(format!(
            "the store's own copy of {finding}; no backup was taken, check the store with \
             'rekindle verify'"
        ))
    }

    /// Gives up when the database is being closed or its disk runs full.
    pub(super) fn go_on(&self, _: u64) -> Result<(), Error> {
        if let Some(halt) = &self.core.state.sequencer().halted {
            return Err(halt.error());
        }
        if self.core.is_disk_low() && self.pin.holds_back() {
            return Err(Error::Full(
                "the store's disk is nearly full, and the backup holds back what would be \
                 removed: it was given up; make room first"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}
