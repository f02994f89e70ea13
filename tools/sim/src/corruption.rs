//! The corruption campaign: damage a directory in one place or two, and see whether it is noticed.
//!
//! Invariant: whatever the damage, a start either finds every acknowledged row, or refuses and
//! names the place; `verify` says beforehand which; neither it nor the dry run changes a byte.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle_database::{Error, Report, dry_run, verify};
use rekindle_env::{Image, SimulatedDisk};
use rekindle_recovery::{Verdict, exit};

use crate::history::difference;
use crate::specimen::{Ending, Specimen};
use crate::store::{DIR, Machine, rows};
use crate::workload::BEGIN_WALL_MS;

/// How far from the first the second of two bits is that are near each other: some frames.
const NEAR_BITS: u64 = 512 * 8;

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit of a file turned.
    Flip(PathBuf, u64),
    /// A file ends early.
    Truncate(PathBuf, u64),
    /// Bytes of a file are zero.
    Zero(PathBuf, Range<u64>),
    /// A file or directory is gone.
    Missing(PathBuf),
    /// Two files have changed places.
    Swap(PathBuf, PathBuf),
    /// A file that no program of ours made.
    Extra(PathBuf),
    /// Two at once.
    Both(Box<Damage>, Box<Damage>),
}

/// What became of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Nothing noticed it, and nothing is missing.
    Harmless,
    /// It was named, and nothing is missing.
    Healed,
    /// It was named as a torn tail; only what nothing proves is missing.
    Torn,
    /// The start was refused, and the place named.
    Refused,
}

impl Damage {
    /// Damages an image.
    ///
    /// # Errors
    /// When the place is not there.
    pub fn apply(&self, image: &mut Image) -> std::io::Result<()> {
        match self {
            Self::Flip(path, bit) => image.flip(path, *bit),
            Self::Truncate(path, len) => image.truncate(path, *len),
            Self::Zero(path, range) => image.zero(path, range.clone()),
            Self::Missing(path) => image.remove(path),
            Self::Swap(a, b) => image.swap(a, b),
            Self::Extra(path) => image.write_file(path, b"not ours"),
            Self::Both(one, other) => one.apply(image).and_then(|()| other.apply(image)),
        }
    }

    /// Whether a finding about this file, relative to the store, is about this damage.
    fn is_named_by(&self, file: &str) -> bool {
        let touches = |path: &Path| {
            let relative = path.strip_prefix(DIR).unwrap_or(path).to_string_lossy();
            !file.is_empty() && (file.starts_with(&*relative) || relative.starts_with(file))
        };
        match self {
            Self::Flip(path, _)
            | Self::Truncate(path, _)
            | Self::Zero(path, _)
            | Self::Missing(path)
            | Self::Extra(path) => touches(path),
            Self::Swap(a, b) => touches(a) || touches(b),
            Self::Both(one, other) => one.is_named_by(file) || other.is_named_by(file),
        }
    }

    /// Whether it can leave nothing of frames of the journal.
    fn erases_frames(&self) -> bool {
        let in_journal = |path: &Path| path.parent().is_some_and(|it| it.ends_with("journal"));
        matches!(self, Self::Zero(path, _) if in_journal(path))
    }

    /// Whether it can take what `tip` alone proves: the file, and a frame that nothing else proves.
    fn takes_tip(&self) -> bool {
        match self {
            Self::Both(one, other) => [one, other].iter().any(|it| it.is_named_by("shards/0/tip")),
            _ => false,
        }
    }
}

/// Every damage of whole files: missing, empty, swapped.
#[must_use]
pub fn of_files(image: &Image) -> Vec<Damage> {
    let files: Vec<PathBuf> = image.files().into_iter().map(|(path, _)| path).collect();
    let inside = |path: &PathBuf| path.components().count() > 1;
    let directories = image.directories().into_iter().filter(inside);
    let mut all: Vec<Damage> = directories.map(Damage::Missing).collect();
    for (at, path) in files.iter().enumerate() {
        all.push(Damage::Missing(path.clone()));
        all.push(Damage::Truncate(path.clone(), 0));
        let others = files.iter().skip(at + 1);
        all.extend(others.map(|other| Damage::Swap(path.clone(), other.clone())));
    }
    all
}

/// Files whose names are numbers from which nothing can be counted on.
#[must_use]
pub fn of_names() -> Vec<Damage> {
    let numbers = [u64::MAX, u64::MAX - 1, u64::MAX - 2, (1 << 62) + 1, 1 << 62, 1 << 40];
    let of = |number: u64| {
        [
            format!("shards/0/journal/{number:016x}"),
            format!("shards/0/checkpoints/{number:016x}.ckpt"),
            format!("shards/0/checkpoints/{number:016x}.tmp"),
            format!("quarantine/{number:016x}-meta.a"),
        ]
    };
    let names = numbers.into_iter().flat_map(of);
    names.map(|name| Damage::Extra(Path::new(DIR).join(name))).collect()
}

/// Every file cut at every `step` bytes, and one byte short.
#[must_use]
pub fn truncations(image: &Image, step: u64) -> Vec<Damage> {
    let step = usize::try_from(step).unwrap_or(1);
    let of = |(path, len): (PathBuf, u64)| {
        let lens = (0..len).step_by(step).chain(len.checked_sub(1));
        lens.map(move |len| Damage::Truncate(path.clone(), len))
    };
    image.files().into_iter().flat_map(of).collect()
}

/// 512 bytes of every file zeroed, from every `step` bytes on.
#[must_use]
pub fn zeroed(image: &Image, step: u64) -> Vec<Damage> {
    let step = usize::try_from(step).unwrap_or(1);
    let of = |(path, len): (PathBuf, u64)| {
        let starts = (0..len).step_by(step);
        starts.map(move |start| Damage::Zero(path.clone(), start..(start + 512).min(len)))
    };
    image.files().into_iter().flat_map(of).collect()
}

/// The bits of all files, counted through.
#[must_use]
pub fn bits(image: &Image) -> u64 {
    image.files().iter().map(|(_, len)| len * 8).sum()
}

/// The damage that turns bit `number` of all files, counted through.
#[must_use]
pub fn flip(image: &Image, mut number: u64) -> Option<Damage> {
    for (path, len) in image.files() {
        if number < len * 8 {
            return Some(Damage::Flip(path, number));
        }
        number -= len * 8;
    }
    None
}

/// Two bits turned: the first counted through all files; the second near it, or anywhere.
#[must_use]
pub fn pair(image: &Image, first: u64, second: u64) -> Option<Damage> {
    let all = bits(image);
    let one = flip(image, first % all)?;
    let other = match &one {
        Damage::Flip(path, bit) if second % 2 == 1 => {
            let len =
                image.files().iter().find(|(file, _)| file == path).map(|(_, len)| len * 8)?;
            Damage::Flip(path.clone(), (bit + 1 + second % NEAR_BITS) % len)
        }
        _ => flip(image, second % all)?,
    };
    (one != other).then(|| Damage::Both(Box::new(one), Box::new(other)))
}

/// Damages a copy of the specimen and looks at what recovery makes of it.
///
/// # Errors
/// When it panics, loses something in silence, starts empty, or names nothing.
pub fn judge(specimen: &Specimen, damage: &Damage) -> Result<Fate, String> {
    let mut image = specimen.image.clone();
    damage.apply(&mut image).map_err(|error| format!("{damage:?}: {error}"))?;
    let judged = catch_unwind(AssertUnwindSafe(|| judge_image(specimen, damage, &image)));
    let judged = judged.unwrap_or_else(|_| Err("it panicked".to_owned()));
    judged.map_err(|broken| format!("{damage:?}: {broken}"))
}

fn judge_image(specimen: &Specimen, damage: &Damage, image: &Image) -> Result<Fate, String> {
    let seen = look(image, |machine| verify(DIR, &machine.env()))?;
    let planned = look(image, |machine| dry_run(DIR, &machine.options(), &machine.env()))?;
    let machine = machine(image);
    let opened = machine.0.open();
    let refused = match &opened {
        Ok(_) => 0,
        Err(Error::Corrupt(_) | Error::Refused { .. }) => exit::CORRUPT,
        Err(Error::NotAStore(_)) => exit::CONFIG,
        Err(other) => return Err(format!("a damage led to {other:?}")),
    };
    for (who, seen) in [("verify", code(&seen)), ("the dry run", code(&planned))] {
        let refuses = if [exit::CORRUPT, exit::CONFIG].contains(&seen) { seen } else { 0 };
        if refuses != refused {
            return Err(format!("{who} says {seen}, a start is answered {refused}"));
        }
    }
    match opened {
        Err(Error::Corrupt(report)) => named(damage, &report),
        Err(Error::Refused { report, .. }) => named(damage, &report),
        Err(_) => Ok(Fate::Refused),
        Ok(database) => {
            let found = rows(&database)?;
            let report = database.report();
            let missing = difference(&specimen.rows, &found);
            let torn = report.findings().any(|finding| finding.verdict == Some(Verdict::Torn));
            let unproven = specimen.ending == Ending::Killed
                || (specimen.ending == Ending::Idle && damage.takes_tip());
            // Zeros in the place of all frames behind a proof: so looks a segment that ends there.
            let erased = specimen.ending == Ending::Killed && damage.erases_frames();
            if unproven && (torn || erased) && missing.is_some() {
                return tolerable(specimen, damage, database.current_version());
            }
            if let Some(first) = missing {
                return Err(format!("in silence: {first}; the report's code is {}", report.code));
            }
            let named = report.findings().any(|finding| damage.is_named_by(&finding.place.file));
            Ok(if named { Fate::Healed } else { Fate::Harmless })
        }
    }
}

/// Only the one transaction that nothing proves may be missing; where the damage takes the proof of
/// earlier ones along, those of the last run.
fn tolerable(specimen: &Specimen, damage: &Damage, version: u64) -> Result<Fate, String> {
    let unproven = match damage {
        Damage::Flip(..) => 1,
        _ => specimen.last_run,
    };
    if version + unproven >= specimen.version {
        return Ok(Fate::Torn);
    }
    Err(format!("cut to version {version} of {}: {unproven} may be missing", specimen.version))
}

/// A refusal must name the place.
fn named(damage: &Damage, report: &Report) -> Result<Fate, String> {
    let corrupt = report.findings().filter(|one| one.verdict == Some(Verdict::Corrupt));
    let files: Vec<&str> = corrupt.map(|finding| finding.place.file.as_str()).collect();
    if files.iter().any(|file| damage.is_named_by(file)) {
        return Ok(Fate::Refused);
    }
    Err(format!("refused, naming {files:?}"))
}

fn machine(image: &Image) -> (Machine, SimulatedDisk) {
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    (Machine::new(Arc::new(disk.clone()), BEGIN_WALL_MS, 1), disk)
}

/// Looks without touching.
fn look(
    image: &Image,
    with: impl FnOnce(&Machine) -> Result<Report, Error>,
) -> Result<Result<Report, Error>, String> {
    let (machine, disk) = machine(image);
    let seen = with(&machine);
    match disk.trace().operations().first() {
        Some(operation) => Err(format!("looking changed the directory: {operation}")),
        None => Ok(seen),
    }
}

fn code(seen: &Result<Report, Error>) -> i32 {
    seen.as_ref().map_or_else(Error::exit_code, |report| report.code)
}
