//! The running machine: the live image, the handles and locks of its programs, its faults.
//!
//! Invariants: every change goes through [`Machine::record`], which numbers it and shows it to the
//! live image, the durable image and the trace alike; a machine that is off answers nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::content::{Content, DataChange};
use super::durability::Durability;
use super::entries::EntryChange;
use super::fault::{Effect, FaultError, Faults};
use super::image::{Image, NodeId, ROOT};
use super::operation::{Change, Operation, OperationKind};
use crate::locks::Locks;
use crate::pages::{piece, widen};

/// What `available_bytes` answers until a test sets it: a tebibyte.
const AVAILABLE_BYTES: u64 = 1 << 40;

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) live: Image,
    pub(super) durability: Durability,
    pub(super) operations: Vec<Operation>,
    pub(super) recording: bool,
    /// Operations so far, marks not counted.
    pub(super) count: u64,
    pub(super) stop_after: Option<u64>,
    /// When the next sync began; it begins when it is called where nobody says otherwise.
    pub(super) began: Option<u64>,
    pub(super) off: bool,
    pub(super) faults: Faults,
    pub(super) available: u64,
    pub(super) unreadable: Vec<(NodeId, Range<u64>)>,
    random: fastrand::Rng,
    pub(super) locks: Locks,
    handles: BTreeMap<NodeId, usize>,
    /// Files without a name that a handle keeps alive.
    unlinked: BTreeSet<NodeId>,
}

impl Machine {
    /// A machine whose disk holds this image.
    pub(super) fn new(image: Image, seed: u64) -> Self {
        Self::at(image.clone(), Durability::new(image), seed)
    }

    /// A machine with changes that still wait for a sync.
    pub(super) fn at(live: Image, durability: Durability, seed: u64) -> Self {
        live.validate();
        Self {
            live,
            durability,
            operations: Vec::new(),
            recording: true,
            count: 0,
            stop_after: None,
            began: None,
            off: false,
            faults: Faults::default(),
            available: AVAILABLE_BYTES,
            unreadable: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            locks: Locks::default(),
            handles: BTreeMap::new(),
            unlinked: BTreeSet::new(),
        }
    }

    /// Begins a call: fails it, or says what else a fault does to it.
    pub(super) fn call(
        &mut self,
        kind: OperationKind,
        paths: &[&Path],
    ) -> io::Result<Option<Effect>> {
        if self.off {
            return Err(off());
        }
        match self.faults.strike(kind, paths) {
            Some(Effect::Error(error)) => Err(error.error()),
            Some(Effect::FailedSync) if kind != OperationKind::SyncData => {
                Err(FaultError::EIO.error())
            }
            Some(Effect::ShortWrite(error)) if kind != OperationKind::Write => Err(error.error()),
            effect => Ok(effect),
        }
    }

    /// Numbers a change and lets it happen, unless the machine stops before it.
    pub(super) fn record(
        &mut self,
        kind: OperationKind,
        path: &Arc<Path>,
        change: Change,
    ) -> io::Result<()> {
        if self.off || self.stop_after.is_some_and(|last| self.count >= last) {
            self.off = true;
            return Err(off());
        }
        assert!(!self.off, "a machine that is off does nothing");
        change.show(&mut self.live)?;
        if let Change::Entry(change) = &change {
            change.unlinked().into_iter().for_each(|node| self.forget(node));
        }
        self.durability.apply(&change);
        self.count += u64::from(kind != OperationKind::Mark);
        if self.recording {
            self.operations.push(Operation { kind, path: Arc::clone(path), change });
        }
        Ok(())
    }

    /// Writes, growing the file first where needed; `part` is what a fault leaves of it.
    pub(super) fn write(
        &mut self,
        file: NodeId,
        path: &Arc<Path>,
        buf: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        let effect = self.call(OperationKind::Write, &[path])?;
        let (landing, error) = match effect {
            Some(Effect::ShortWrite(error)) => {
                let count = self.random.usize(..buf.len().max(1));
                (piece(buf, 0..count), Some(error.error()))
            }
            _ => (buf, None),
        };
        let end = offset.checked_add(widen(landing.len())).filter(|end| in_range(*end));
        let end = end.ok_or(Errno::FBIG)?;
        let len = self.content(file)?.len();
        if !landing.is_empty() {
            if end > len {
                self.resize(OperationKind::SetLen, file, path, end)?;
            }
            let change = DataChange::Write { offset, data: landing.into() };
            self.record(OperationKind::Write, path, Change::Data { file, change })?;
            assert_eq!(self.content(file)?.len(), len.max(end), "the size was there first");
        }
        error.map_or(Ok(()), Err)
    }

    /// Records a new size.
    pub(super) fn resize(
        &mut self,
        kind: OperationKind,
        file: NodeId,
        path: &Arc<Path>,
        len: u64,
    ) -> io::Result<()> {
        if !in_range(len) {
            return Err(Errno::FBIG.into());
        }
        let change = DataChange::Len { from: self.content(file)?.len(), to: len };
        self.record(kind, path, Change::Data { file, change })
    }

    pub(super) fn read(&self, file: NodeId, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content(file)?;
        let end = offset.saturating_add(widen(buf.len())).min(content.len());
        let hit = |(bad, range): &(NodeId, Range<u64>)| {
            *bad == file && range.start < end && offset < range.end
        };
        if self.unreadable.iter().any(hit) {
            return Err(FaultError::EIO.error());
        }
        let read = content.read(buf, offset);
        assert!(read == buf.len() || offset.saturating_add(widen(read)) >= content.len());
        Ok(read)
    }

    pub(super) fn content(&self, file: NodeId) -> io::Result<&Content> {
        Ok(self.live.content(file)?)
    }

    /// When the sync that ends now began.
    pub(super) fn sync_began(&mut self) -> u64 {
        let now = self.durability.now();
        self.began.take().unwrap_or(now).min(now)
    }

    /// Syncs a file, or fails the way a fault wants it.
    pub(super) fn sync_file(&mut self, file: NodeId, path: &Arc<Path>) -> io::Result<()> {
        if self.call(OperationKind::SyncData, &[path])? == Some(Effect::FailedSync) {
            self.record(OperationKind::FailedSync, path, Change::FailedSync { file })?;
            return Err(FaultError::EIO.error());
        }
        let before = self.sync_began();
        self.record(OperationKind::SyncData, path, Change::SyncFile { file, before })
    }

    pub(super) fn entry_change(
        &mut self,
        kind: OperationKind,
        path: &Path,
        change: EntryChange,
    ) -> io::Result<()> {
        self.record(kind, &path.into(), Change::Entry(change))
    }

    /// One more handle on a file.
    pub(super) fn open(&mut self, file: NodeId) {
        assert!(self.content(file).is_ok(), "only files are opened");
        *self.handles.entry(file).or_default() += 1;
    }

    /// One handle less; a file without name and handle is gone.
    pub(super) fn close(&mut self, file: NodeId) {
        let count = self.handles.get_mut(&file).expect("only open files are closed");
        assert!(*count > 0, "a file without handles is not listed");
        *count -= 1;
        if *count == 0 {
            self.handles.remove(&file);
            if self.unlinked.remove(&file) {
                self.live.nodes.remove(&file);
            }
        }
    }

    fn forget(&mut self, node: NodeId) {
        assert!(node != ROOT, "the root is never removed");
        if !self.live.is_directory(node) && self.live.is_named(node) {
            return;
        }
        if self.handles.contains_key(&node) {
            self.unlinked.insert(node);
        } else {
            self.live.nodes.remove(&node);
        }
    }

    /// The live image without what only handles keep.
    pub(super) fn image(&self) -> Image {
        let mut image = self.live.clone();
        image.collect(&BTreeSet::new());
        image
    }
}

/// What Linux takes as a file size.
fn in_range(len: u64) -> bool {
    i64::try_from(len).is_ok()
}

fn off() -> io::Error {
    io::Error::other("the simulated machine is off")
}
