//! Damage in backups: named by `backup verify`, and never restored.
//!
//! Invariant: which bytes count is known from the manifests before anything is damaged: all of a
//! manifest and of a checkpoint, and of a segment what lies in front of its end.

use std::path::PathBuf;
use std::sync::Arc;

use rekindle_database::{Error, Manifest, Moment, list_backups, restore, verify_backup};
use rekindle_env::{Image, SimulatedDisk};
use rekindle_recovery::exit;

use crate::backups::RESTORED;
use crate::history::difference;
use crate::seed::mix;
use crate::store::{BACKUPS, Machine, rows};
use crate::workload::Run;

/// What became of damages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    /// Named by `backup verify`.
    pub named: u64,
    /// In bytes that count for nothing.
    pub harmless: u64,
    /// Restores that were refused.
    pub refused: u64,
    /// Restores that needed nothing of what is damaged, or of moments that no backup has.
    pub passed: u64,
}

/// Turns so many single bytes of a run's backups, one at a time.
///
/// # Errors
/// The first that goes unnoticed, or is restored.
pub fn turn_bytes(run: &Run, seed: u64, count: u64) -> Result<Damaged, String> {
    let image = run.disk.image();
    let machine = machine(&image, run.wall_ms);
    let manifests = list_backups(BACKUPS.as_ref(), &machine.env());
    let manifests = manifests.map_err(|error| error.to_string())?;
    // The names of an image begin at its root.
    let root = BACKUPS.trim_start_matches('/');
    let files = image.files().into_iter().filter(|(path, _)| path.starts_with(root));
    let files: Vec<(PathBuf, u64)> = files.collect();
    let mut damaged = Damaged::default();
    for number in 0..count {
        let index = usize::try_from(mix(seed, number) % files.len().max(1) as u64).unwrap_or(0);
        let Some((path, len)) = files.get(index) else { return Err("no backups".to_owned()) };
        let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let used = used(&manifests, &relative).unwrap_or(*len);
        // Mostly where it counts.
        let within = if number % 8 == 0 { *len } else { used };
        let at = mix(seed, number + (1 << 32)) % within.max(1);
        let one = Turned { run, manifests: &manifests, file: relative, counts: at < used };
        let mut image = image.clone();
        let bit = at * 8 + number % 8;
        image.flip(path, bit).map_err(|error| error.to_string())?;
        one.judge(&image, mix(seed, number + (2 << 32)), &mut damaged)
            .map_err(|broken| format!("bit {bit} of {}: {broken}", path.display()))?;
    }
    Ok(damaged)
}

/// How many bytes of a segment count.
fn used(manifests: &[Manifest], file: &str) -> Option<u64> {
    let segments = manifests.iter().flat_map(|manifest| &manifest.segments);
    segments.filter(|segment| segment.file == file).map(|segment| segment.used).max()
}

fn machine(image: &Image, wall_ms: u64) -> Machine {
    Machine::new(Arc::new(SimulatedDisk::from_image(image.clone(), 1)), wall_ms, 1)
}

/// One damage.
struct Turned<'a> {
    run: &'a Run,
    manifests: &'a [Manifest],
    file: String,
    counts: bool,
}

impl Turned<'_> {
    fn judge(&self, image: &Image, draw: u64, damaged: &mut Damaged) -> Result<(), String> {
        let machine = machine(image, self.run.wall_ms);
        let report = verify_backup(BACKUPS.as_ref(), &machine.env());
        let report = report.map_err(|error| format!("backup verify: {error}"))?;
        let named = report.findings.iter().any(|finding| finding.file == self.file);
        let code = if self.counts { exit::CORRUPT } else { exit::CLEAN };
        if (named, report.code()) != (self.counts, code) {
            return Err(format!("backup verify says {} {:?}", report.code(), report.findings));
        }
        // A backup that it spoils is none that can be restored.
        let spoilt = |it: &Manifest| {
            it.checkpoint.file == self.file
                || it.segments.iter().any(|segment| segment.file == self.file)
        };
        let wrong = report.backups.iter().find(|(it, whole)| *whole == (self.counts && spoilt(it)));
        if let Some((manifest, whole)) = wrong {
            return Err(format!("backup {} can be restored: {whole}", manifest.number));
        }
        damaged.named += u64::from(named);
        damaged.harmless += u64::from(!named);
        for moment in [Moment::Newest, self.draw(draw)] {
            self.bring_back(image, moment, damaged)?;
        }
        Ok(())
    }

    fn draw(&self, draw: u64) -> Moment {
        let last = self.manifests.last().map_or(0, |manifest| manifest.version);
        Moment::Version(1 + mix(draw, 1) % last.max(1))
    }

    /// What comes back is what was; where it needs what is damaged nothing comes back.
    fn bring_back(
        &self,
        image: &Image,
        moment: Moment,
        damaged: &mut Damaged,
    ) -> Result<(), String> {
        let machine = machine(image, self.run.wall_ms);
        let restored = restore(BACKUPS.as_ref(), RESTORED.as_ref(), moment, &machine.env());
        let manifest = self.file.ends_with(".json");
        match restored {
            Ok(restored) if !(manifest && self.counts) => {
                damaged.passed += 1;
                let database = machine.open_at(RESTORED).map_err(|error| error.to_string())?;
                let state = self.run.history.state_at(restored.version);
                let state = state.ok_or("a version that never was came back")?;
                match difference(&state, &rows(&database)?) {
                    None => Ok(()),
                    Some(broken) => Err(format!("{moment} came back with {broken}")),
                }
            }
            Err(Error::Invalid(_)) => {
                damaged.passed += 1;
                Ok(())
            }
            Err(error @ Error::Damaged(_)) if self.counts => {
                damaged.refused += 1;
                if error.to_string().contains(&self.file) {
                    return Ok(());
                }
                Err(format!("{moment} is refused without the file: {error}"))
            }
            other => Err(format!("{moment} is answered {:?}", other.map(|it| it.version))),
        }
    }
}
