//! Torn or corrupt: images whose truth is known from the simulation, each with its label; and what
//! a repair makes of each that is corrupt.
//!
//! A frame that was synced, and that a later synced frame, a header or `tip` proves, must never be
//! cut; bytes that were never synced must never be called lost. Invariant: labels come from the
//! trace of the disk and the marks of the oracle, not from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rekindle_env::{Image, OperationKind, SimulatedDisk, Survival};

use crate::invariants::{nothing_lost, prefix, verdicts};
use crate::mended::Corrupt;
use crate::oracle::{Bounds, Known};
use crate::recovered::{Failed, Recovered};
use crate::request::Request;
use crate::seed::mix;
use crate::workload::Run;

/// The bytes in front of the first frame of a segment.
const HEADER_BYTES: u64 = 4_096;

/// Frames whose damage is tried at one moment.
const FRAMES: u64 = 2;

/// How many images of each label were judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Damage in proved frames.
    pub proved: u64,
    /// Of those, refused as corrupt.
    pub refused: u64,
    /// Damage in the last frame of an idle journal.
    pub idle: u64,
    /// Damage in bytes that were never synced.
    pub unsynced: u64,
    /// Transactions that the repairs of all refused ones cost.
    pub given_up: u64,
}

impl Labelled {
    /// All images.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.proved + self.idle + self.unsynced
    }

    fn note(&mut self, lost: Option<u64>) {
        self.refused += u64::from(lost.is_some());
        self.given_up += lost.unwrap_or(0);
    }
}

/// A write into a segment.
#[derive(Clone, Debug)]
struct Frame {
    path: PathBuf,
    offset: u64,
    len: u64,
}

/// What the disk has done with the frames so far.
#[derive(Debug, Default)]
struct Frames {
    synced: Vec<Frame>,
    waiting: BTreeMap<PathBuf, Vec<Frame>>,
    /// Segments that `meta` names: what lies in others serves nobody, and proves nothing.
    named: BTreeSet<PathBuf>,
    unnamed: Vec<Frame>,
    created: Vec<PathBuf>,
}

impl Frames {
    fn follow(&mut self, operation: &rekindle_env::Operation) {
        let path = operation.path();
        let text = path.to_string_lossy();
        if operation.kind() == OperationKind::SyncData && text.contains("/meta.") {
            let unnamed = std::mem::take(&mut self.unnamed);
            self.named.extend(unnamed.iter().map(|frame| frame.path.clone()));
            self.named.extend(std::mem::take(&mut self.created));
            self.synced.extend(unnamed);
        }
        if !text.contains("/journal/") {
            return;
        }
        match (operation.kind(), operation.written()) {
            (OperationKind::Write, Some((offset, len))) if offset >= HEADER_BYTES => {
                let frame = Frame { path: path.to_owned(), offset, len: len as u64 };
                self.waiting.entry(frame.path.clone()).or_default().push(frame);
            }
            (OperationKind::Create, _) => self.created.push(path.to_owned()),
            (OperationKind::SyncData, _) => {
                let frames = self.waiting.remove(path).unwrap_or_default();
                let named = self.named.contains(path);
                let kept = if named { &mut self.synced } else { &mut self.unnamed };
                kept.extend(frames);
            }
            _ => {}
        }
    }
}

/// Damages images of a run at every `step`-th operation and checks the verdicts.
///
/// # Errors
/// The first verdict that is wrong.
pub fn check(run: &Run, seed: u64, step: usize) -> Result<Labelled, String> {
    let trace = run.disk.trace();
    let mut points = trace.crash_points(Image::new());
    let (mut known, mut frames, mut labelled) =
        (Known::default(), Frames::default(), Labelled::default());
    while let Some(operation) = points.advance() {
        let at = format!("operation {operation}, seed {seed}");
        let answered = operation.mark().is_some() && known.follow(operation);
        frames.follow(operation);
        let position = points.position();
        let bounds = run.oracle.bounds(known);
        let judge = Judge { run, bounds, seed: mix(seed, position as u64) };
        let last = known.answered.checked_sub(1).and_then(|last| run.oracle.asked.get(last));
        let rested = answered
            && known.begun == known.answered
            && last.is_some_and(|asked| asked.request == Request::Idle);
        let wrong = |broken: String| format!("{at}: {broken}");
        if rested && let Some(frame) = frames.synced.last() {
            let image = points.survivors(Survival::None, judge.seed);
            labelled.note(judge.proved(&image, frame, 0).map_err(wrong)?);
            labelled.idle += 1;
        }
        if position.is_multiple_of(step) {
            let proved = frames.synced.len().saturating_sub(1);
            for number in 0..FRAMES.min(proved as u64) {
                // Mostly near the end, where the checkpoints do not reach.
                let back = mix(judge.seed, number) % (proved as u64).min(30);
                let index = proved - 1 - usize::try_from(back).unwrap_or(0);
                let Some(frame) = frames.synced.get(index) else { continue };
                let image = points.survivors(Survival::None, judge.seed);
                labelled.note(judge.proved(&image, frame, number).map_err(wrong)?);
                labelled.proved += 1;
            }
        }
        if let Some(frame) = frames.waiting.values().flatten().last() {
            let image = points.survivors(Survival::All, judge.seed);
            judge.unsynced(image, frame).map_err(wrong)?;
            labelled.unsynced += 1;
        }
    }
    Ok(labelled)
}

struct Judge<'a> {
    run: &'a Run,
    bounds: Bounds,
    seed: u64,
}

impl Judge<'_> {
    /// Turns a bit of a frame, or (of the second frame of a moment) does worse.
    fn damage(&self, image: &mut Image, frame: &Frame, worse: bool) -> Result<bool, String> {
        let Ok(len) = image.read(&frame.path).map(|bytes| bytes.len() as u64) else {
            // Given back since: nothing to damage.
            return Ok(false);
        };
        let bit = mix(self.seed, 9) % (frame.len * 8);
        let at = frame.offset * 8 + bit;
        let end = frame.offset + frame.len;
        if end > len {
            return Ok(false);
        }
        let sector = (at / 8 / 512 * 512).max(frame.offset);
        let damaged = match (worse, mix(self.seed, 10) % 4) {
            (true, 0) => image.zero(&frame.path, frame.offset..end),
            (true, 1) => image.zero(&frame.path, sector..(sector / 512 * 512 + 512).min(end)),
            (true, 2) => image.truncate(&frame.path, frame.offset + bit / 8),
            (true, _) => image.remove(&frame.path),
            (false, _) => image.flip(&frame.path, at),
        };
        damaged.map_err(|error| error.to_string())?;
        Ok(true)
    }

    fn recover(&self, image: Image) -> Result<Recovered, Failed> {
        let disk = SimulatedDisk::from_image(image, self.seed);
        Recovered::on(self.run.machine(&disk, self.bounds.wall_ms, self.seed), disk)
    }

    /// Proved bytes are damaged; where the start is refused a repair follows: answers what it cost.
    fn proved(&self, whole: &Image, frame: &Frame, which: u64) -> Result<Option<u64>, String> {
        let mut damaged = whole.clone();
        if !self.damage(&mut damaged, frame, which > 0)? {
            return Ok(None);
        }
        let place = format!("{} offset {}", Path::new(&frame.path).display(), frame.offset);
        let wrong = |broken: String| format!("{place}: {broken}");
        match self.recover(damaged.clone()) {
            Ok(recovered) => {
                let lost = nothing_lost::check(&self.bounds, recovered.version);
                let rows = prefix::check(&self.run.history, recovered.version, &recovered.rows);
                let whole = lost.is_ok() && rows.is_ok();
                verdicts::proved(&recovered.report, whole).map_err(wrong)?;
                // A start is answered only when everything is there.
                lost.and(rows).map_err(wrong)?;
                Ok(None)
            }
            Err(Failed::Open(rekindle_database::Error::Corrupt(_))) => {
                let (history, wall_ms) = (&self.run.history, self.bounds.wall_ms);
                let damaged = &damaged;
                let corrupt = Corrupt { history, whole, damaged, wall_ms, seed: self.seed };
                corrupt.repair().map(Some).map_err(wrong)
            }
            Err(other) => Err(wrong(other.to_string())),
        }
    }

    /// Bytes that nobody had synced are damaged.
    fn unsynced(&self, mut image: Image, frame: &Frame) -> Result<(), String> {
        if !self.damage(&mut image, frame, false)? {
            return Ok(());
        }
        let recovered = self.recover(image).map_err(|failed| failed.to_string())?;
        verdicts::unsynced(&recovered.report)?;
        nothing_lost::check(&self.bounds, recovered.version)?;
        prefix::check(&self.run.history, recovered.version, &recovered.rows)
    }
}
