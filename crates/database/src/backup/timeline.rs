//! What the backups of a directory cover together, and from which files a moment is restored.
//!
//! Pure: manifests in, a choice or a refusal out. Invariant: a choice is a checkpoint at or before
//! the moment and every segment from there on without a gap, so that replay reaches the moment.

use std::collections::BTreeMap;

use super::manifest::{CheckpointFile, Manifest, SegmentFile};
use crate::error::Error;
use crate::replay::Until;
use crate::restore::Moment;
use crate::restore::moment::rfc3339;

/// Files from which a moment is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The backup whose end covers the moment.
    pub(crate) backup: u64,
    /// Where to begin.
    pub(crate) checkpoint: CheckpointFile,
    /// What to replay, oldest first.
    pub(crate) segments: Vec<SegmentFile>,
    /// Where to stop.
    pub(crate) until: Until,
}

/// Backups, oldest first, and all their segments.
pub(crate) struct Timeline<'a> {
    manifests: &'a [Manifest],
    /// By the number of the one before.
    behind: BTreeMap<u64, &'a SegmentFile>,
}

/// What can be restored from one checkpoint on.
pub(crate) struct Span<'a> {
    checkpoint: &'a CheckpointFile,
    segments: Vec<SegmentFile>,
    end: &'a Manifest,
}

impl Span<'_> {
    /// The files of this span, replayed to there.
    pub(crate) fn choice(self, until: Until) -> Choice {
        let (backup, checkpoint) = (self.end.number, self.checkpoint.clone());
        Choice { backup, checkpoint, segments: self.segments, until }
    }

    fn covers(&self, moment: Moment) -> bool {
        self.begins_before(moment)
            && match moment {
                Moment::Newest => true,
                Moment::Position(position) => position <= self.end.position,
                Moment::Version(version) => version <= self.end.version,
                Moment::Time(ms) => ms <= self.end.until_ms.max(self.end.log_time_ms),
            }
    }

    fn begins_before(&self, moment: Moment) -> bool {
        match moment {
            Moment::Newest => true,
            Moment::Position(position) => self.checkpoint.position <= position,
            Moment::Version(version) => self.checkpoint.version <= version,
            Moment::Time(ms) => self.checkpoint.log_time_ms <= ms,
        }
    }
}

impl<'a> Timeline<'a> {
    /// The timeline of these backups.
    pub(crate) fn new(manifests: &'a [Manifest]) -> Self {
        let mut behind = BTreeMap::new();
        for segment in manifests.iter().flat_map(|manifest| &manifest.segments) {
            // What was backed up first stays; a repair puts another one there.
            behind.entry(segment.prev_seq).or_insert(segment);
        }
        Self { manifests, behind }
    }

    /// From what to restore a moment.
    pub(crate) fn choose(&self, moment: Moment) -> Result<Choice, Error> {
        if moment == Moment::Newest {
            let newest = self.manifests.last();
            let newest = newest.ok_or_else(|| Error::NotAStore("no backup".to_owned()))?;
            return Ok(Self::own(newest).choice(moment.until()));
        }
        let spans = self.manifests.iter().map(|manifest| self.span(manifest));
        let covering = spans.filter(|span| span.covers(moment));
        // The first backup that reaches the moment: behind a repair a later one may hold the record
        // of a loss in its place.
        let best = covering
            .max_by_key(|span| (span.checkpoint.position, std::cmp::Reverse(span.end.number)));
        best.map(|span| span.choice(moment.until())).ok_or_else(|| self.refusal(moment))
    }

    /// What one backup holds by itself.
    pub(crate) fn own(manifest: &Manifest) -> Span<'_> {
        let checkpoint = &manifest.checkpoint;
        let needed = |segment: &&SegmentFile| segment.next_position > checkpoint.replay_from;
        let segments = manifest.segments.iter().filter(needed).cloned().collect();
        Span { checkpoint, segments, end: manifest }
    }

    /// The same, and what later backups add without a gap.
    fn span(&self, manifest: &'a Manifest) -> Span<'a> {
        let mut span = Self::own(manifest);
        let mut last = manifest.segments.last();
        while let Some(next) = last.and_then(|last| self.behind.get(&last.seq)) {
            span.segments.push((*next).clone());
            last = Some(next);
        }
        let seq = last.map(|last| last.seq);
        let ends = |manifest: &&Manifest| manifest.segments.last().map(|last| last.seq) == seq;
        span.end = self.manifests.iter().rfind(ends).unwrap_or(manifest);
        span
    }

    fn refusal(&self, moment: Moment) -> Error {
        let mut ranges: BTreeMap<u64, Span<'_>> = BTreeMap::new();
        for span in self.manifests.iter().map(|manifest| self.span(manifest)) {
            let number = span.end.number;
            let earlier = ranges.get(&number);
            if earlier.is_none_or(|it| span.checkpoint.position < it.checkpoint.position) {
                ranges.insert(number, span);
            }
        }
        let ranges: Vec<String> = ranges.values().map(describe).collect();
        Error::Invalid(format!(
            "{moment} is in no backup; what can be restored is {}",
            ranges.join(", and ")
        ))
    }
}

fn describe(span: &Span<'_>) -> String {
    let (from, to) = (span.checkpoint, span.end);
    format!(
        "version {} (position {}, {}) to version {} (position {}, {})",
        from.version,
        from.position,
        rfc3339(from.log_time_ms),
        to.version,
        to.position,
        rfc3339(to.until_ms.max(to.log_time_ms))
    )
}
