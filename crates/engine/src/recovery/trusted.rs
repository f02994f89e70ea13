//! What the pieces are worth, and the engine that is loaded from them.
//!
//! Invariant: nothing is loaded while the plan refuses; loading changes nothing.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rekindle_env::{ReadDisk, ReadFile};
use rekindle_recovery::Failure;

use super::table::{self, Leftover, Situation};
use super::{Kind, Usable};
use crate::api::{Engine, Mark};
use crate::checkpoint::{self, Derived, ReadError, file_name};
use crate::memory::MemoryEngine;

/// What the pieces are worth.
#[derive(Debug)]
pub struct Trusted {
    pub(super) situation: Situation,
    /// The named checkpoints that can be used, newest first.
    pub(super) usable: Vec<Usable>,
    pub(super) leftovers: Vec<(String, Leftover)>,
    pub(super) unnamed: Option<Usable>,
    /// Files of named checkpoints that cannot be used.
    pub(super) unusable: Vec<String>,
    /// What meta should name from here on, newest first.
    pub(super) names: [u64; 2],
    pub(super) next_id: u64,
    pub(super) folder: PathBuf,
    pub(super) kind: Kind,
    pub(super) store_id: [u8; 16],
    pub(super) loaded: Mutex<Loaded>,
}

#[derive(Debug)]
pub(super) enum Loaded {
    NotYet,
    Ready(Box<MemoryEngine>),
    HandedOut,
}

impl Trusted {
    /// The checkpoint that the state is loaded from; `None`: the state begins empty.
    #[must_use]
    pub fn chosen(&self) -> Option<&Usable> {
        self.usable.first()
    }

    /// The named checkpoints that can be used, newest first.
    #[must_use]
    pub fn usable(&self) -> &[Usable] {
        &self.usable
    }

    /// The checkpoints that meta should name from here on, newest first: those that can be used. As
    /// they were where the start is refused.
    #[must_use]
    pub fn names(&self) -> [u64; 2] {
        self.names
    }

    /// Where the engine will stand before replay.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.chosen().map(|chosen| chosen.mark).unwrap_or_default()
    }

    /// The position from which on records must be replayed.
    #[must_use]
    pub fn replay_from(&self) -> u64 {
        self.chosen().map_or(1, |chosen| chosen.replay_from)
    }

    /// The engine at [`Self::mark`], without changing anything. Refused when the plan refuses.
    pub fn load(&self, disk: &dyn ReadDisk) -> Result<MemoryEngine, Failure> {
        let decision = table::SITUATIONS.decide(&self.situation);
        if decision.then.refuses() {
            return Err(Failure::Refused(format!("no state to load ({})", decision.label)));
        }
        if self.kind != Kind::Memory {
            let text = "the state is in the files of an engine, and no checkpoint is loaded";
            return Err(Failure::Config(text.to_owned()));
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Loaded::Ready(engine) = std::mem::replace(&mut *loaded, Loaded::HandedOut) {
            assert_eq!(engine.mark(), self.mark(), "it stands where its checkpoint does");
            return Ok(*engine);
        }
        let Some(chosen) = self.chosen() else { return Ok(MemoryEngine::new()) };
        let load = |file: &dyn ReadFile| checkpoint::load(file, &self.store_id, chosen.id);
        self.read_again(disk, chosen.id, load).map(|(_, engine)| engine)
    }

    /// What the chosen checkpoint keeps of what was derived from the rows at its mark.
    pub fn derived(&self, disk: &dyn ReadDisk) -> Result<Option<Derived>, Failure> {
        let Some(chosen) = self.chosen() else { return Ok(None) };
        self.read_again(disk, chosen.id, |file| {
            checkpoint::derived(file, &self.store_id, chosen.id)
        })
    }

    /// Reads a checkpoint that was verified before.
    fn read_again<T>(
        &self,
        disk: &dyn ReadDisk,
        id: u64,
        read: impl FnOnce(&dyn ReadFile) -> Result<T, ReadError>,
    ) -> Result<T, Failure> {
        let path = self.folder.join(file_name(id));
        let context = || format!("read {}", path.display());
        let file = disk.open_read(&path).map_err(|error| Failure::io(context(), error))?;
        read(&*file).map_err(|error| match error {
            ReadError::Io { source, .. } => Failure::io(context(), source),
            changed => {
                let text = format!("it changed since it was verified: {changed}");
                Failure::io(context(), io::Error::new(io::ErrorKind::InvalidData, text))
            }
        })
    }
}
