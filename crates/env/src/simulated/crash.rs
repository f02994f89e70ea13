//! What a crash leaves: the durable image and a choice among the changes that wait for a sync.
//!
//! Invariants: a sector on the medium is always what the page cache held at some moment, so a write
//! that survives in a sector brings along every earlier change of that sector; sizes, bytes and
//! entries survive independently of each other. The choice is a function of the seed. The cost is
//! that of the waiting changes and of one clone of the image.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Content, DataChange};
use super::durability::{Durability, Pending};
use super::entries::{EntryChange, close};
use super::image::{Image, NodeId};
use super::trace::Survival;
use crate::pages::{piece, spans, widen};

/// The bytes that a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// Chances are eighths.
const CERTAIN: u8 = 8;

pub(super) struct Crash<'a> {
    before: &'a Durability,
    survival: Survival,
    random: fastrand::Rng,
    /// How many of eight changes survive: drawn once, so that crashes that keep almost all and
    /// almost nothing are as common as those that keep half.
    chance: u8,
    image: Image,
}

impl<'a> Crash<'a> {
    pub(super) fn new(before: &'a Durability, survival: Survival, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let chance = random.u8(1..CERTAIN);
        assert!((1..CERTAIN).contains(&chance), "everything and nothing are models of their own");
        Self { before, survival, random, chance, image: before.image.clone() }
    }

    pub(super) fn image(mut self) -> Image {
        match self.survival {
            Survival::None => {}
            Survival::All => self.keep_until(u64::MAX),
            Survival::Prefix => {
                let cut = self.cut();
                self.keep_until(cut);
            }
            Survival::Subset | Survival::Torn => {
                self.keep_some_entries();
                for (file, pending) in &self.before.data {
                    self.keep_some_data(*file, pending);
                }
            }
        }
        self.trim();
        self.image.collect(&BTreeSet::new());
        self.image.validate();
        self.image
    }

    /// The sequence number at which a prefix ends, every length being as likely as the others.
    fn cut(&mut self) -> u64 {
        let data = self.before.data.values().flatten().map(|pending| pending.sequence);
        let entries = self.before.entries.iter().map(|pending| pending.sequence);
        let mut sequences: Vec<u64> = data.chain(entries).collect();
        sequences.sort_unstable();
        debug_assert!(sequences.is_sorted_by(|a, b| a < b), "no two changes share a number");
        let kept = self.random.usize(..=sequences.len());
        sequences.get(kept).copied().unwrap_or(u64::MAX)
    }

    /// Keeps what came before a sequence number. Entries and each file's data touch different
    /// things, so their order among each other does not matter.
    fn keep_until(&mut self, end: u64) {
        for pending in self.before.entries.iter().take_while(|pending| pending.sequence < end) {
            self.image.apply(&pending.change);
        }
        for (file, pending) in &self.before.data {
            let mut kept = pending.iter().take_while(|pending| pending.sequence < end).peekable();
            if kept.peek().is_some()
                && let Ok(content) = self.image.content_mut(*file)
            {
                kept.for_each(|pending| content.apply(&pending.change));
            }
        }
    }

    fn keep_some_entries(&mut self) {
        let entries: Vec<&EntryChange> =
            self.before.entries.iter().map(|pending| &pending.change).collect();
        let mut chosen: Vec<bool> = entries.iter().map(|_| self.survives()).collect();
        close(entries.iter().copied().zip(chosen.iter_mut()));
        assert_eq!(chosen.len(), entries.len(), "a choice for each change");
        for (change, _) in entries.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
            self.image.apply(change);
        }
    }

    fn keep_some_data(&mut self, file: NodeId, pending: &[Pending<DataChange>]) {
        let choice = self.choose(pending);
        if let Ok(content) = self.image.content_mut(file) {
            choice.apply(content, pending);
        }
    }

    fn choose(&mut self, pending: &[Pending<DataChange>]) -> Choice {
        let mut choice = Choice::default();
        for (index, pending) in pending.iter().enumerate() {
            let whole = self.survives();
            choice.whole.push(whole);
            let DataChange::Write { offset, data } = &pending.change else { continue };
            for span in spans(*offset, data.len(), SECTOR_BYTES) {
                let survives =
                    if self.survival == Survival::Torn { self.survives() } else { whole };
                if survives {
                    choice.latest.insert(span.unit, index);
                }
            }
        }
        choice
    }

    fn survives(&mut self) -> bool {
        self.random.u8(..CERTAIN) < self.chance
    }

    /// Bytes behind the size that survived are not part of the file.
    fn trim(&mut self) {
        for file in self.before.data.keys() {
            if self.image.content(*file).is_ok_and(|content| content.overhangs())
                && let Ok(content) = self.image.content_mut(*file)
            {
                content.trim();
            }
        }
    }
}

/// Which of a file's waiting changes survive.
#[derive(Debug, Default)]
struct Choice {
    /// For each change, whether it survives as a whole (sizes and holes).
    whole: Vec<bool>,
    /// For each sector, the latest write that survives in it.
    latest: BTreeMap<u64, usize>,
}

impl Choice {
    fn apply(&self, content: &mut Content, pending: &[Pending<DataChange>]) {
        assert_eq!(self.whole.len(), pending.len(), "a choice for each change");
        for (index, (pending, whole)) in pending.iter().zip(&self.whole).enumerate() {
            match &pending.change {
                DataChange::Write { offset, data } => {
                    for span in spans(*offset, data.len(), SECTOR_BYTES) {
                        if self.reaches(span.unit, index) {
                            let at = offset + widen(span.buffer.start);
                            content.store(at, piece(data, span.buffer));
                        }
                    }
                }
                change if *whole => content.apply(change),
                DataChange::Len { from, to } if to < from => {
                    self.zero_sectors(content, *to, u64::MAX, index);
                }
                DataChange::Len { .. } => {}
                DataChange::Punch { offset, len } => {
                    self.zero_sectors(content, *offset, offset.saturating_add(*len), index);
                }
            }
        }
    }

    fn reaches(&self, sector: u64, index: usize) -> bool {
        self.latest.get(&sector).is_some_and(|latest| *latest >= index)
    }

    /// A write that survives was made onto zeros: its sector does not show what was there before.
    fn zero_sectors(&self, content: &mut Content, from: u64, to: u64, index: usize) {
        let sector_len = widen(SECTOR_BYTES);
        let sectors = from / sector_len..to.div_ceil(sector_len);
        for (sector, _) in self.latest.range(sectors).filter(|(_, latest)| **latest > index) {
            let start = sector * sector_len;
            content.zero(from.max(start), to.min(start.saturating_add(sector_len)));
        }
    }
}
