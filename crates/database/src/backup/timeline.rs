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
    /// By the number of the one before: what was backed up first.
    first: BTreeMap<u64, &'a SegmentFile>,
    /// The same where a repair put another one there: what was backed up last.
    last: BTreeMap<u64, &'a SegmentFile>,
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
        let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
        for segment in manifests.iter().flat_map(|manifest| &manifest.segments) {
            // A repair puts another one there; what was backed up in time stays.
            first.entry(segment.prev_seq).or_insert(segment);
            last.insert(segment.prev_seq, segment);
        }
        Self { manifests, first, last }
    }

    /// From what to restore a moment.
    pub(crate) fn choose(&self, moment: Moment) -> Result<Choice, Error> {
        if moment == Moment::Newest {
            let newest = self.manifests.last();
            let newest = newest.ok_or_else(|| Error::NotAStore("no backup".to_owned()))?;
            return Ok(Self::own(newest).choice(moment.until()));
        }
        // The first backup that reaches the moment: behind a repair a later one may hold the record
        // of a loss in its place.
        let best = |spans: Vec<Span<'a>>| {
            let covering = spans.into_iter().filter(|span| span.covers(moment));
            covering
                .max_by_key(|span| (span.checkpoint.position, std::cmp::Reverse(span.end.number)))
        };
        let best = best(self.spans()).or_else(|| best(self.repaired_spans()));
        best.map(|span| span.choice(moment.until()))
            .ok_or_else(|| self.refusal(moment, "is in no backup"))
    }

    /// What one backup holds by itself.
    pub(crate) fn own(manifest: &Manifest) -> Span<'_> {
        let checkpoint = &manifest.checkpoint;
        let needed = |segment: &&SegmentFile| segment.next_position > checkpoint.replay_from;
        let segments = manifest.segments.iter().filter(needed).cloned().collect();
        Span { checkpoint, segments, end: manifest }
    }

    /// The same, and what later backups add without a gap.
    fn spans(&self) -> Vec<Span<'a>> {
        let spans = self.manifests.iter().map(|manifest| {
            let own = Self::own(manifest);
            let last = manifest.segments.last().map_or(0, |last| last.seq);
            self.go_on(own, &self.first, last)
        });
        spans.collect()
    }

    /// The same by way of what a repair put in the place of segments that earlier backups have:
    /// it reaches moments behind the repair that no checkpoint in between is needed for.
    fn repaired_spans(&self) -> Vec<Span<'a>> {
        let spans = self.manifests.iter().map(|manifest| {
            let mut own = Self::own(manifest);
            let last = manifest.segments.last().map_or(0, |last| last.seq);
            let before = own.segments.first().map_or(last, |first| first.prev_seq);
            own.segments.clear();
            self.go_on(own, &self.last, before)
        });
        spans.collect()
    }

    fn go_on(
        &self,
        mut span: Span<'a>,
        behind: &BTreeMap<u64, &'a SegmentFile>,
        mut last: u64,
    ) -> Span<'a> {
        // Numbers only rise, so this ends.
        while let Some(next) = behind.get(&last) {
            span.segments.push((*next).clone());
            last = next.seq;
        }
        let ends = |manifest: &&Manifest| manifest.segments.last().map(|it| it.seq) == Some(last);
        span.end = self.manifests.iter().rfind(ends).unwrap_or(span.end);
        span
    }

    /// Why a moment is refused, and what can be restored.
    pub(crate) fn refusal(&self, moment: Moment, why: &str) -> Error {
        let mut ranges: BTreeMap<u64, Span<'_>> = BTreeMap::new();
        for span in self.spans().into_iter().chain(self.repaired_spans()) {
            let number = span.end.number;
            let earlier = ranges.get(&number);
            if earlier.is_none_or(|it| span.checkpoint.position < it.checkpoint.position) {
                ranges.insert(number, span);
            }
        }
        let ranges: Vec<String> = ranges.values().map(describe).collect();
        Error::Invalid(format!("{moment} {why}; what can be restored is {}", ranges.join(", and ")))
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
