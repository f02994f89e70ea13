//! `backup verify`: every byte of every backup, and that each can be restored.
//!
//! Invariant: changes nothing; what is wrong is named by file and offset, and no finding hides
//! another file's.

use std::fmt;
use std::path::Path;

use rekindle_env::Env;
use rekindle_recovery::exit;

use super::claims::{Claim, Claims, Said};
use super::folder::{Folder, manifest_file};
use super::manifest::{Manifest, decode_id};
use super::prove::Prover;
use super::timeline::Timeline;
use crate::error::Error;
use crate::replay::Until;
use crate::restore;

/// Something in a backup that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFinding {
    /// Relative to the backup's directory.
    pub file: String,
    /// Offset in the file.
    pub offset: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for BackupFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, expected, found } = self;
        write!(f, "{file} offset {offset}: expected {expected}, found {found}")
    }
}

/// What a look at all backups of a directory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// The backups with a whole manifest, oldest first, and whether each can be restored.
    pub backups: Vec<(Manifest, bool)>,
    /// What is wrong.
    pub findings: Vec<BackupFinding>,
    /// Files that were read.
    pub files: u64,
    /// Bytes of them that count.
    pub bytes: u64,
}

impl BackupReport {
    /// The exit code that it means: 0, or 65.
    #[must_use]
    pub fn code(&self) -> i32 {
        if self.findings.is_empty() { exit::CLEAN } else { exit::CORRUPT }
    }
}

/// Reads every byte of every backup in a directory, and replays each in memory.
///
/// # Errors
/// `NotAStore` when there is no backup, `Busy`, `Io`. Damage is in the report.
pub fn verify_backup(dir: &Path, env: &Env) -> Result<BackupReport, Error> {
    let folder = Folder::open(dir, env)?;
    let mut report = BackupReport::default();
    for found in &folder.found {
        match &found.manifest {
            Ok(manifest) => report.backups.push((manifest.clone(), false)),
            Err(defect) => report.findings.push(BackupFinding {
                file: found.file.clone(),
                offset: defect.offset,
                expected: defect.expected.clone(),
                found: defect.found.clone(),
            }),
        }
    }
    report.files = folder.found.len() as u64;
    check_files(&folder, &mut report)?;
    let mut backups = std::mem::take(&mut report.backups);
    for (manifest, whole) in &mut backups {
        let damaged = |file: &str| report.findings.iter().any(|finding| finding.file == file);
        let mut files = manifest.segments.iter().map(|segment| segment.file.as_str());
        let own = manifest_file(manifest.number);
        if damaged(&own) || damaged(&manifest.checkpoint.file) || files.any(damaged) {
            continue;
        }
        let choice = Timeline::own(manifest).choice(Until::End);
        match restore::rebuild(&folder, manifest, &choice, true) {
            Ok(rebuilt) => match rebuilt.contradiction(manifest) {
                None => *whole = true,
                Some(finding) => report.findings.push(finding),
            },
            Err(Error::Io { context, source }) => return Err(Error::Io { context, source }),
            Err(error) => report.findings.push(BackupFinding {
                file: manifest_file(manifest.number),
                offset: 0,
                expected: "files that can be restored".to_owned(),
                found: error.to_string(),
            }),
        }
    }
    report.backups = backups;
    Ok(report)
}

/// Reads each file that a manifest names, once.
fn check_files(folder: &Folder, report: &mut BackupReport) -> Result<(), Error> {
    let manifests: Vec<&Manifest> = folder.manifests().collect();
    let Some(first) = manifests.first() else { return Ok(()) };
    let store_id = decode_id(&first.store_id).unwrap_or_default();
    let go_on = |_| Ok(());
    let disk = &*folder.env.disk;
    let prover = Prover { disk, dir: &folder.dir, store_id, node: first.node, go_on: &go_on };
    let others = manifests.iter().filter(|manifest| {
        (&manifest.store_id, &manifest.lineage) != (&first.store_id, &first.lineage)
    });
    report.findings.extend(others.map(|other| BackupFinding {
        file: manifest_file(other.number),
        offset: 0,
        expected: format!("store {} lineage {}", first.store_id, first.lineage),
        found: format!("store {} lineage {}", other.store_id, other.lineage),
    }));
    let claims = Claims::of(manifests.iter().copied());
    for said in claims.checkpoints.values() {
        check_file(said, &manifests, report, &|claim| prover.same_checkpoint(claim), &|it| {
            vec![&it.checkpoint]
        })?;
        report.bytes = report.bytes.saturating_add(said.last().map_or(0, |(_, it)| it.bytes));
    }
    for said in claims.segments.values() {
        let look = |claim: &_| prover.same_segment(claim, &mut |_| {});
        check_file(said, &manifests, report, &look, &|it| it.segments.iter().collect())?;
        report.bytes = report.bytes.saturating_add(said.last().map_or(0, |(_, it)| it.used));
    }
    report.files += (claims.checkpoints.len() + claims.segments.len()) as u64;
    Ok(())
}

/// Reads a file as each thing that is said of it, which is one thing unless two histories got into
/// the directory: then it is at most one backup's, and the others are told.
fn check_file<T: Claim>(
    said: &[Said<'_, T>],
    manifests: &[&Manifest],
    report: &mut BackupReport,
    look: &dyn Fn(&T) -> Result<Option<BackupFinding>, Error>,
    of: &dyn for<'m> Fn(&'m Manifest) -> Vec<&'m T>,
) -> Result<(), Error> {
    let (mut right, mut damaged) = (None, None);
    for claim in said {
        match look(claim.1)? {
            None => right = Some(*claim),
            Some(finding) => damaged = Some(finding),
        }
    }
    let Some((holder, claim)) = right.or_else(|| said.last().copied()) else { return Ok(()) };
    if right.is_none() {
        report.findings.extend(damaged);
    }
    if said.len() == 1 {
        return Ok(());
    }
    let others = manifests.iter().filter_map(|manifest| {
        let named = of(manifest).into_iter().find(|it| it.file() == claim.file())?;
        (!named.same_file(claim)).then_some((manifest.number, named))
    });
    report.findings.extend(others.map(|(number, named)| BackupFinding {
        file: manifest_file(number),
        offset: 0,
        expected: format!("{} with checksum {:08x}", named.file(), named.crc32c()),
        found: format!(
            "{:08x}, as {} says: backups of two histories of the store are in this directory",
            claim.crc32c(),
            manifest_file(holder)
        ),
    }));
    Ok(())
}
