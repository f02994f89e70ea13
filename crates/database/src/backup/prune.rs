//! Removing the oldest backups of a directory.
//!
//! Order: what stays is read and checked, then the manifests of what goes are removed, oldest
//! first, then the files that no manifest names any more. Invariants: nothing goes before
//! everything that stays was found whole; a file that a manifest names is never removed; a crash
//! leaves whole backups and, at most, files that no manifest names, which the next run removes.

use std::collections::BTreeSet;
use std::path::Path;

use rekindle_engine::checkpoint;
use rekindle_env::{EntryKind, Env, durable};

use super::claims::Claims;
use super::folder::{DIRECTORIES, Folder, manifest_file};
use super::manifest::{Manifest, checkpoint_file, decode_id, segment_file};
use super::prove::Prover;
use super::verify::BackupFinding;
use crate::error::Error;

/// What a removal of backups does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The backups that stay, oldest first.
    pub kept: Vec<Manifest>,
    /// The backups that go, oldest first.
    pub removed: Vec<Manifest>,
    /// The files that go with them, relative to the directory.
    pub files: Vec<String>,
    /// The lengths of these. A file that the store has too takes no space of its own.
    pub bytes: u64,
}

/// Removes all but the newest `keep` backups of a directory.
///
/// # Errors
/// `Invalid` when none is to be kept, `NotAStore` when there is no backup, `Damaged` when a
/// manifest or anything that stays is not whole (nothing was removed), `Busy`, `Io`.
pub fn prune_backups(dir: &Path, keep: u64, env: &Env) -> Result<Pruned, Error> {
    let folder = Folder::open_to_prune(dir, env)?;
    let pruned = plan(&folder, keep)?;
    let removing = |file: &str| {
        let path = folder.dir.join(file);
        durable::remove_file(&*env.disk, &path)
            .map_err(|error| Error::io(format!("removing {}", path.display()), error))
    };
    for manifest in &pruned.removed {
        removing(&manifest_file(manifest.number))?;
    }
    pruned.files.iter().try_for_each(|file| removing(file))?;
    Ok(pruned)
}

/// What [`prune_backups`] would do; changes no byte.
///
/// # Errors
/// As [`prune_backups`].
pub fn plan_prune(dir: &Path, keep: u64, env: &Env) -> Result<Pruned, Error> {
    plan(&Folder::open(dir, env)?, keep)
}

fn plan(folder: &Folder, keep: u64) -> Result<Pruned, Error> {
    let manifests = folder.whole_manifests()?;
    crate::restore::check_lineage(&manifests)?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    if keep == 0 {
        return Err(Error::Invalid("at least one backup must stay".to_owned()));
    }
    let (removed, kept) = manifests.split_at(manifests.len().saturating_sub(keep));
    assert!(!kept.is_empty(), "a directory without a backup was refused");
    check(folder, kept)?;
    let named: BTreeSet<&str> = kept.iter().flat_map(files_of).collect();
    let (files, bytes) = unnamed(folder, &named)?;
    Ok(Pruned { kept: kept.to_vec(), removed: removed.to_vec(), files, bytes })
}

fn files_of(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let segments = manifest.segments.iter().map(|segment| segment.file.as_str());
    segments.chain([manifest.checkpoint.file.as_str()])
}

/// Reads every byte that stays: an older backup may be the only whole one.
fn check(folder: &Folder, kept: &[Manifest]) -> Result<(), Error> {
    let Some(first) = kept.first() else { return Ok(()) };
    let go_on = |_| Ok(());
    let prover = Prover {
        disk: &*folder.env.disk,
        dir: &folder.dir,
        store_id: decode_id(&first.store_id).expect("checked when it was read"),
        node: first.node,
        go_on: &go_on,
    };
    let refuse = |number: u64, found: Option<BackupFinding>| match found {
        None => Ok(()),
        Some(finding) => Err(Error::Damaged(format!(
            "{finding}; backup {number} would stay and is not whole, so none was removed; see \
             'rekindle backup verify'"
        ))),
    };
    let claims = Claims::of(kept.iter());
    for (number, checkpoint) in claims.checkpoints.values().flatten() {
        refuse(*number, prover.same_checkpoint(checkpoint)?)?;
    }
    for (number, segment) in claims.segments.values().flatten() {
        refuse(*number, prover.same_segment(segment, &mut |_| {})?)?;
    }
    Ok(())
}

/// Files of ours that none of the kept backups names, and their bytes. What has another name than
/// we give is somebody else's, and stays.
fn unnamed(folder: &Folder, named: &BTreeSet<&str>) -> Result<(Vec<String>, u64), Error> {
    let (mut files, mut bytes) = (Vec::new(), 0_u64);
    for directory in DIRECTORIES {
        let dir = folder.dir.join(directory);
        let context = |error| Error::io(format!("reading {}", dir.display()), error);
        for entry in folder.env.disk.list(&dir).map_err(context)? {
            let file = format!("{directory}/{}", entry.name);
            let stays = entry.kind != EntryKind::File || named.contains(file.as_str());
            if !stays && is_ours(&file) {
                bytes = bytes.saturating_add(entry.len);
                files.push(file);
            }
        }
    }
    files.sort_unstable();
    Ok((files, bytes))
}

/// A segment, a checkpoint, or a leftover of one.
fn is_ours(file: &str) -> bool {
    let whole = file.strip_suffix(durable::TEMPORARY_SUFFIX).unwrap_or(file);
    let number = whole.split_once('/').and_then(|(_, name)| {
        let digits = name.split_once('.').map_or(name, |(digits, _)| digits);
        u64::from_str_radix(digits, 16).ok()
    });
    let ours = number.is_some_and(|number| {
        // A checkpoint that is written here has another name until it is whole.
        let written = format!("checkpoints/{}", checkpoint::temporary_name(number));
        whole == segment_file(number) || whole == checkpoint_file(number) || file == written
    });
    let manifest = whole.strip_prefix("backups/").and_then(|name| name.strip_suffix(".json"));
    let leftover = whole != file && manifest.is_some_and(|digits| digits.parse::<u64>().is_ok());
    ours || leftover
}
