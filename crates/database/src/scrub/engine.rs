//! The files of an engine that has its own: read like everything at rest.
//!
//! Unlike the rest they hold what is nowhere else: a damaged table cannot be replaced from memory.
//! Its manifest can.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use rekindle_engine::files::Pace as Reads;
use rekindle_engine::{EngineError, FileEngine};
use rekindle_env::ReadFile;
use rekindle_recovery::Finding;

use super::pace::Paced;
use super::table::{Condition, DAMAGES, What};
use super::{Look, Round, Wrong, finding};
use crate::engines::Held;
use crate::error::Error;
use crate::recovery::SHARD_DIR;

/// A damaged part of the engine's files.
pub(super) struct DamagedPart {
    part: String,
    file: String,
    wrong: Wrong,
    is_renewed: bool,
}

impl Reads for Round<'_> {
    fn open(&self, file: &str) -> io::Result<Box<dyn ReadFile + '_>> {
        let file = self.core.env.disk.open_read(&self.engine_folder().join(file))?;
        Ok(Box::new(Paced { file, pace: self.pace }))
    }

    fn read(&self, bytes: usize) -> io::Result<()> {
        self.pace.after(bytes)
    }
}

impl Round<'_> {
    fn engine_folder(&self) -> PathBuf {
        let folder = match &self.checkpoints.engine {
            Held::Memory(_) => "",
            Held::Files(kind, _) => kind.folder(),
        };
        self.checkpoints.store.join(SHARD_DIR).join(folder)
    }

    /// Looks at the files of the engine. Whether it came to its end.
    pub(super) fn engine_files(&self) -> Result<bool, Error> {
        let Some(engine) = self.checkpoints.engine.files() else { return Ok(true) };
        for part in engine.at_rest()? {
            let gone = || !engine.is_at_rest(&part.file);
            // RocksDB says which of a family's files it is.
            let damaged = RefCell::new(part.file.clone());
            let read = || {
                let Some(found) = engine.check_at_rest(&part.file, self)? else { return Ok(None) };
                damaged.replace(found.file);
                Ok(Some(Wrong { offset: 0, expected: found.expected, found: found.found }))
            };
            if let Look::Damaged(wrong) = self.look_by(&part.file, part.bytes, &gone, &read)? {
                let renewed = self.renew(engine, &part.file);
                let is_renewed = matches!(renewed, Ok(true));
                let (part, file) = (part.file, damaged.into_inner());
                let damaged = DamagedPart { part, file, wrong, is_renewed };
                self.of_engine.borrow_mut().push(damaged);
                renewed?;
            }
            if self.stopped() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has the engine write a damaged part anew, where memory holds it; whether it is whole now.
    fn renew(&self, engine: &dyn FileEngine, part: &str) -> Result<bool, Error> {
        match engine.renew(part) {
            Ok(renewed) => Ok(renewed && matches!(engine.check_at_rest(part, self), Ok(None))),
            // The finding says that nothing could be written.
            Err(EngineError::Io(_) | EngineError::Full(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What the damage means by now.
    pub(super) fn judge_engine_files(&self) -> Vec<Finding> {
        let Some(engine) = self.checkpoints.engine.files() else { return Vec::new() };
        let found = self.of_engine.take().into_iter();
        let found = found.map(|it| {
            let replaced = it.is_renewed || !engine.is_at_rest(&it.part);
            let condition =
                Condition { what: What::EngineFile, needed: true, replaced, passed: false };
            let folder = self.engine_folder();
            let folder = folder.strip_prefix(&self.checkpoints.store).unwrap_or(&folder);
            let file = folder.join(it.file).display().to_string();
            finding(DAMAGES.decide(&condition), file, it.wrong)
        });
        found.collect()
    }
}
