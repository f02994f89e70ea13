//! The durable image: what is surely on the medium, and what a crash may or may not leave.
//!
//! Invariants: a sync of a file makes its bytes and size durable, not its entry; a sync of a
//! directory makes its entries durable, not what they name; both reach as far as the moment at
//! which the sync began. What is not durable waits in order; nothing that is durable depends on
//! something that waits.

use std::collections::{BTreeMap, BTreeSet};

use super::content::DataChange;
use super::crash::Crash;
use super::entries::{EntryChange, close};
use super::image::{Image, NodeId};
use super::operation::Change;
use super::trace::Survival;

/// A change that waits for its sync, with its place in the order of all.
#[derive(Clone, Debug)]
pub(super) struct Pending<C> {
    pub(super) sequence: u64,
    pub(super) change: C,
}

#[derive(Clone, Debug)]
pub(super) struct Durability {
    pub(super) image: Image,
    pub(super) data: BTreeMap<NodeId, Vec<Pending<DataChange>>>,
    pub(super) entries: Vec<Pending<EntryChange>>,
    sequence: u64,
    /// Collect when there are more nodes than this: twice what the last collection left.
    collect_above: usize,
}

impl Durability {
    pub(super) fn new(image: Image) -> Self {
        let collect_above = collect_above(&image);
        Self { image, data: BTreeMap::new(), entries: Vec::new(), sequence: 0, collect_above }
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            // An open handle may outlive its file; what it writes has nowhere to survive.
            Change::Data { file, .. } if !self.image.nodes.contains_key(file) => {}
            Change::Data { file, change } => {
                let pending = Pending { sequence: self.sequence, change: change.clone() };
                let waiting = self.data.entry(*file).or_default();
                assert!(waiting.last().is_none_or(|last| last.sequence < self.sequence));
                waiting.push(pending);
            }
            Change::Entry(change) => {
                if let EntryChange::Create { node, directory, .. } = change {
                    // A file may be synced before its entry is: it needs a place to be durable in.
                    self.image.admit(*node, *directory);
                }
                let pending = Pending { sequence: self.sequence, change: change.clone() };
                assert!(self.entries.last().is_none_or(|last| last.sequence < self.sequence));
                self.entries.push(pending);
            }
            Change::SyncFile { file, before } => self.sync_file(*file, *before),
            Change::FailedSync { file } => self.drop_pages(*file),
            Change::SyncDir { dir, before } => self.sync_dir(*dir, *before),
            Change::Flip { file, offset, bit } => {
                if let Ok(content) = self.image.content_mut(*file) {
                    content.flip(*offset, *bit);
                }
            }
            Change::Mark(_) => {}
        }
        self.sequence += 1;
    }

    /// The moment between the last change and the next.
    pub(super) fn now(&self) -> u64 {
        self.sequence
    }

    /// What a crash right here leaves.
    pub(super) fn survivors(&self, survival: Survival, seed: u64) -> Image {
        Crash::new(self, survival, seed).image()
    }

    fn sync_file(&mut self, file: NodeId, before: u64) {
        assert!(before <= self.sequence, "a sync covers nothing that is still to come");
        let Some(mut pending) = self.data.remove(&file) else { return };
        let later = pending.split_off(pending.partition_point(|it| it.sequence < before));
        if !later.is_empty() {
            self.data.insert(file, later);
        }
        // The file may be long removed, with only an open handle left to sync it.
        let Ok(content) = self.image.content_mut(file) else { return };
        for pending in &pending {
            content.apply(&pending.change);
        }
        debug_assert!(!content.overhangs(), "a size change comes before the bytes it admits");
    }

    /// The kernel marks the pages clean although they were never written; sizes are metadata and
    /// still go their way.
    fn drop_pages(&mut self, file: NodeId) {
        if let Some(pending) = self.data.get_mut(&file) {
            pending.retain(|pending| !matches!(pending.change, DataChange::Write { .. }));
        }
    }

    fn sync_dir(&mut self, dir: NodeId, before: u64) {
        assert!(before <= self.sequence, "a sync covers nothing that is still to come");
        let concerns = |pending: &Pending<EntryChange>| {
            pending.sequence < before && pending.change.places().any(|place| place.dir == dir)
        };
        let mut chosen: Vec<bool> = self.entries.iter().map(concerns).collect();
        // A rename out of another directory needs what happened to its old name before.
        close(self.entries.iter().map(|pending| &pending.change).zip(chosen.iter_mut()));
        let mut chosen = chosen.into_iter();
        let image = &mut self.image;
        self.entries.retain(|pending| {
            let durable = chosen.next().expect("one choice for each change");
            if durable {
                image.apply(&pending.change);
            }
            !durable
        });
        assert!(chosen.next().is_none(), "one choice for each change");
        debug_assert!(!self.entries.iter().any(concerns), "nothing of a synced directory waits");
        if self.image.nodes.len() > self.collect_above {
            self.collect();
        }
    }

    /// Forgets removed files, so that a clone costs what exists and not what ever existed.
    fn collect(&mut self) {
        let keep: BTreeSet<NodeId> = self
            .entries
            .iter()
            .flat_map(|pending| pending.change.places().map(|place| place.dir))
            .chain(self.entries.iter().map(|pending| pending.change.node()))
            .collect();
        self.image.collect(&keep);
        let nodes = &self.image.nodes;
        self.data.retain(|file, _| nodes.contains_key(file));
        self.collect_above = collect_above(&self.image);
        assert!(self.image.nodes.len() < self.collect_above, "the next collection is far");
        self.image.validate();
    }
}

fn collect_above(image: &Image) -> usize {
    image.nodes.len() * 2 + 64
}
