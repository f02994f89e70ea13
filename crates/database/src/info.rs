//! What a store is, told from its headers: identity, versions, segments, checkpoints, copies.
//!
//! Invariants: reads only, through the layers that a start uses, so that labels and codes are the
//! same; what is read is bounded by the number of files, not by their length; a damaged store, or
//! one of a newer format, is told as far as it can be read.

mod json;
mod look;
mod text;

use std::path::Path;

use rekindle_engine::FileEngine;
use rekindle_engine::files::Family;
use rekindle_env::{Env, LockMode};
use rekindle_recovery::Report;
use rekindle_recovery::identity::{Identity, Versions};

use crate::database::Database;
use crate::error::Error;
use crate::recovery::lock_directory;

/// How often a store that changes meanwhile is looked at until a look shows no damage.
const LOOKS_MAX: u32 = 5;

/// What a store is.
#[derive(Clone, Debug)]
pub struct StoreInfo {
    /// Its identity, from the newest whole copy.
    pub identity: Option<Identity>,
    /// Its id, from wherever it can still be read.
    pub store_id: Option<[u8; 16]>,
    /// The versions of the newest copy of the identity that is whole, of a newer format too.
    pub versions: Option<Versions>,
    /// `store.a`, `store.b`, `meta.a`, `meta.b`, `tip`.
    pub copies: Vec<CopyInfo>,
    /// When the store was created, while its first segment is still there.
    pub created_wall_ms: Option<u64>,
    /// The highest run that any metadata names.
    pub incarnation: u64,
    /// Whether the last run ended by a close; unknown without metadata.
    pub clean_end: Option<bool>,
    /// The segments.
    pub segments: SegmentsInfo,
    /// The named checkpoints, newest first.
    pub checkpoints: Vec<CheckpointInfo>,
    /// The families of an engine that keeps each keyspace in one of its own; empty where it has
    /// none, or they cannot be read.
    pub families: Vec<Family>,
    /// Files that were set aside.
    pub quarantine: Files,
    /// Reports of recoveries.
    pub reports: Files,
    /// What is wrong, as far as headers show it; its code is the exit code.
    pub report: Report,
    /// Of a store that is open.
    pub running: Option<RunningInfo>,
}

/// One copy of a structure that is kept twice, or `tip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyInfo {
    /// Its file, relative to the store.
    pub file: String,
    /// What it is.
    pub state: CopyState,
    /// How often it was written, where it is whole.
    pub sequence: Option<u64>,
    /// What is wrong with it: offset, what was expected, what was found.
    pub wrong: Option<(u64, String, String)>,
}

/// What a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// Whole, and the newest.
    Whole,
    /// Whole, and older than the other one.
    Older,
    /// No file.
    Missing,
    /// Damaged.
    Damaged,
    /// Written by a newer program.
    Newer,
}

/// The segments of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentsInfo {
    /// How many there are.
    pub count: u64,
    /// Their lengths together; unused parts may take no space.
    pub bytes: u64,
    /// The number of the oldest; 0 where there is none.
    pub oldest: u64,
    /// The number of the newest.
    pub newest: u64,
    /// Position of the first record that the journal holds, where that can be read.
    pub from_position: Option<u64>,
    /// The highest position that is known without reading frames: there may be later ones.
    pub known_position: u64,
    /// Everything below this address is known to be synced.
    pub durable_lsn: u64,
}

/// A checkpoint that the metadata names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its id.
    pub id: u64,
    /// Header and footer fit; `None` where they do not.
    pub holds: Option<CheckpointHolds>,
    /// What is wrong with it: offset, what was expected, what was found.
    pub wrong: Option<(u64, String, String)>,
    /// Whether it was written by a newer program.
    pub newer: bool,
}

/// What a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointHolds {
    /// Its version.
    pub version: u64,
    /// The position of the last record in it.
    pub position: u64,
    /// Where replay on top of it begins.
    pub replay_from: u64,
    /// Its rows.
    pub rows: u64,
    /// Length of its file.
    pub bytes: u64,
}

/// Files of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// How many.
    pub count: u64,
    /// Their lengths together.
    pub bytes: u64,
}

/// What an open store knows beside its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningInfo {
    /// The number of this run.
    pub incarnation: u64,
    /// The newest version that reads see.
    pub visible_version: u64,
    /// The oldest version that can still be read.
    pub oldest_version: u64,
    /// The last synced position.
    pub durable_position: u64,
}

impl StoreInfo {
    /// The exit code: 0, 4 where a second copy stands in, 65 damaged, 78 newer or no store.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.report.code
    }

    /// The versions that are known without reading frames: `from` can be rebuilt, `to` is there;
    /// there may be later ones.
    #[must_use]
    pub fn known_versions(&self) -> (u64, u64) {
        if let Some(running) = self.running {
            return (running.oldest_version, running.visible_version);
        }
        let versions = || self.checkpoints.iter().filter_map(|one| one.holds).map(|it| it.version);
        let whole = self.segments.from_position == Some(1);
        let from = if whole { 0 } else { versions().min().unwrap_or(0) };
        (from, versions().max().unwrap_or(0))
    }
}

/// What the store in a directory is. Changes nothing.
///
/// # Errors
/// `Locked` when another process has the directory, `NotAStore` when there is none, `Io`.
pub fn store_info(path: impl AsRef<Path>, env: &Env) -> Result<StoreInfo, Error> {
    let dir = path.as_ref();
    let _lock = lock_directory(dir, false, LockMode::Shared, env)?;
    let mut info = look::look(dir, env)?;
    info.families = look::families(dir, env, &info);
    Ok(info)
}

/// The same of a store whose directory this process holds locked, and which `database` may have
/// open. Files change meanwhile: what a look takes for damage is looked at again.
///
/// # Errors
/// `Io`.
pub fn store_info_while_held(
    path: impl AsRef<Path>,
    env: &Env,
    database: Option<&Database>,
) -> Result<StoreInfo, Error> {
    let dir = path.as_ref();
    let mut looks = 0;
    loop {
        looks += 1;
        let looked = look::look(dir, env);
        let mut info = match looked {
            // A file that went between the listing and the look at it.
            Err(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound && looks < LOOKS_MAX =>
            {
                continue;
            }
            other => other?,
        };
        let Some(database) = database else { return Ok(info) };
        look::forget_what_is_being_made(&mut info.report);
        let files = database.core().checkpoints.as_ref().and_then(|it| it.engine.files());
        info.families = files.map_or(Ok(Vec::new()), FileEngine::families)?;
        let stats = database.stats();
        info.running = Some(RunningInfo {
            incarnation: database.incarnation(),
            visible_version: stats.visible_version,
            oldest_version: stats.oldest_version,
            durable_position: stats.durable_position,
        });
        if info.code() == 0 || looks == LOOKS_MAX {
            return Ok(info);
        }
    }
}
