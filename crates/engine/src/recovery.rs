//! The layer `engine`: which checkpoint the state is loaded from.
//!
//! Reads top-down as scan, validate, plan, act; the situations are in [`table`]. The journal's meta
//! names up to two checkpoints; the newest whole one that the journal reaches is used. Loading
//! needs no writable disk, so that replay can be judged before any layer acts ([`Trusted::load`]).
//!
//! Invariants: nothing that meta names is ever removed, and nothing at all while the plan refuses;
//! a read that the disk refuses stops the start (70) and is never taken for damage; a checkpoint is
//! used only after every byte of it was verified.

mod findings;
mod scan;
pub mod table;
mod trusted;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rekindle_env::{Disk, EntryKind, ReadDisk};
use rekindle_recovery::numbers::is_near;
use rekindle_recovery::{Action, ActionKind, Failure, Finding, Label, Layer, Plan, quarantine};

use crate::api::Mark;
use crate::checkpoint::{self, FileName, file_name, parse_name};
use crate::files::FilesKind;
use crate::memory::MemoryEngine;
pub use scan::{Piece, Pieces};
use table::{Leftover, LeftoverThen, Named, Owner, Reach, Situation, Then};
use trusted::Loaded;
pub use trusted::Trusted;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// For a start: the checkpoint that is used, every byte, loaded on the way; of the other one
    /// the header and the footer.
    Open,
    /// For a look at what there is: of both the header and the footer.
    Surface,
    /// For `verify` and dry runs: every byte of both. Memory stays bounded; [`Trusted::load`] reads
    /// the used one again.
    Everything,
}

/// The layer that finds the state.
#[derive(Clone, Debug)]
pub struct EngineLayer {
    dir: PathBuf,
    shard: String,
    store_id: [u8; 16],
    named: [u64; 2],
    journal_from: Option<u64>,
    depth: Depth,
    kind: Kind,
}

/// Where the rows of a state are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// In memory, and in checkpoints.
    #[default]
    Memory,
    /// In the files of an engine that has its own; a checkpoint says where they stand.
    Files(FilesKind),
    /// In the files of an engine that this program does not have: nothing can be loaded.
    Elsewhere,
}

impl EngineLayer {
    /// The engine of the shard in `dir/shard` (`shard` as in `shards/0`), whose meta names the
    /// checkpoints `named`, newest first, 0 for none.
    #[must_use]
    pub fn new(
        dir: impl Into<PathBuf>,
        shard: impl Into<String>,
        store_id: [u8; 16],
        named: [u64; 2],
        depth: Depth,
    ) -> Self {
        let named = match named {
            [0, only] => [only, 0],
            [newest, older] if newest == older => [newest, 0],
            other => other,
        };
        let (dir, shard) = (dir.into(), shard.into());
        Self { dir, shard, store_id, named, journal_from: None, depth, kind: Kind::Memory }
    }

    /// Tells the first position that the journal still holds (1: all of them). With it a checkpoint
    /// that the journal does not reach is noticed here, and a whole journal heals the loss of all
    /// checkpoints; without it, replay has to notice the gap.
    #[must_use]
    pub fn with_journal_from(mut self, position: u64) -> Self {
        self.journal_from = Some(position);
        self
    }

    /// The state is of this kind (otherwise: in memory).
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Where the rows are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The folder of the engine's files, where it has some of its own.
    #[must_use]
    pub fn files(&self) -> Option<PathBuf> {
        match self.kind {
            Kind::Memory | Kind::Elsewhere => None,
            Kind::Files(kind) => Some(self.dir.join(&self.shard).join(kind.folder())),
        }
    }

    /// The folder of the checkpoints.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.join(&self.shard).join(checkpoint::DIRECTORY)
    }

    /// A file of it as findings name it.
    fn relative(&self, name: &str) -> String {
        let folder = format!("{}/{}", self.shard, checkpoint::DIRECTORY);
        if name == PLACE { folder } else { format!("{folder}/{name}") }
    }

    /// Whether replay on top of this checkpoint can begin.
    fn reaches(&self, usable: &Usable) -> bool {
        self.journal_from.is_none_or(|from| from <= usable.replay_from)
    }

    fn reach(&self) -> Reach {
        match self.journal_from {
            None => Reach::Unknown,
            // Files that are damaged would have to go before everything can be replayed.
            Some(0 | 1) if self.kind == Kind::Memory || self.named == [0, 0] => Reach::Whole,
            Some(0 | 1) => Reach::Unknown,
            Some(_) => Reach::Cut,
        }
    }
}

/// A verified checkpoint that the journal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usable {
    /// Its id.
    pub id: u64,
    /// Where its state stands.
    pub mark: Mark,
    /// Where replay on top of it begins.
    pub replay_from: u64,
    /// Length of its file.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The state hash that it promises.
    pub state_hash: u128,
}

/// The name that stands for the folder itself; no file has it.
const PLACE: &str = "";

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Removes a file of the folder that nothing names.
    Remove(String),
    /// Moves a checkpoint that cannot be used, or what has the folder's place, to the quarantine.
    SetAside(String),
}

/// What the layer hands on.
#[derive(Debug)]
pub struct Recovered {
    /// The engine before replay; `None` when [`Trusted::load`] handed it out before, and where the
    /// state has files of its own.
    pub engine: Option<MemoryEngine>,
    /// The usable checkpoints, newest first; the state was loaded from the first. The journal must
    /// keep everything from the last one's `replay_from` (from 1 when there is none).
    pub checkpoints: Vec<Usable>,
    /// Where the engine stands.
    pub mark: Mark,
    /// Where replay begins.
    pub replay_from: u64,
    /// The id of the next checkpoint: above every id that this folder has seen.
    pub next_id: u64,
}

impl Layer for EngineLayer {
    const NAME: &'static str = "engine";
    type Source = dyn ReadDisk;
    type Sink = dyn Disk;
    type Pieces = Pieces;
    type Trusted = Trusted;
    type Step = Step;
    type Recovered = Recovered;

    fn scan(&self, source: &dyn ReadDisk) -> Result<Pieces, Failure> {
        scan::scan(self, source)
    }

    fn validate(&self, pieces: Pieces) -> (Trusted, Vec<Finding>) {
        let situation = Situation {
            newest: self.judge(&pieces.newest),
            older: self.judge(&pieces.older),
            reach: self.reach(),
        };
        debug_assert!(
            situation.newest != Named::None || situation.older == Named::None,
            "without a newest checkpoint there is no older one"
        );
        let decision = table::SITUATIONS.decide(&situation);
        let mut findings = findings::of_named(self, decision, &pieces);
        let refused = decision.then.refuses();
        assert!(
            !refused || findings.iter().any(|finding| finding.label == decision.label),
            "a refused start says why"
        );
        let leftovers: Vec<_> = self.leftovers(&pieces, refused).collect();
        findings.extend(leftovers.iter().map(|(name, leftover)| {
            findings::of_leftover(self.relative(name), table::LEFTOVERS.decide(leftover))
        }));
        let usable = [&pieces.newest, &pieces.older].into_iter().filter_map(|piece| match piece {
            Piece::Whole(usable) if self.reaches(usable) => Some(*usable),
            _ => None,
        });
        let usable: Vec<Usable> = if refused { vec![] } else { usable.collect() };
        let unusable = if refused { vec![] } else { self.unusable(&pieces) };
        let id = |at: usize| usable.get(at).map_or(0, |usable: &Usable| usable.id);
        let names = if refused { self.named } else { [id(0), id(1)] };
        let begins_empty = refused || matches!(decision.then, Then::Empty | Then::ReplayAll);
        assert_eq!(usable.is_empty(), begins_empty, "what is loaded is what was decided");
        let loaded = match (pieces.loaded, usable.first()) {
            (Some(engine), Some(chosen)) if engine.0 == chosen.id => Loaded::Ready(engine.1),
            _ => Loaded::NotYet,
        };
        let trusted = Trusted {
            situation,
            usable,
            leftovers,
            unnamed: pieces.unnamed,
            unusable,
            names,
            next_id: self.next_id(&pieces.entries),
            folder: self.folder(),
            kind: self.kind,
            store_id: self.store_id,
            loaded: Mutex::new(loaded),
        };
        (trusted, findings)
    }

    fn plan(&self, trusted: &Trusted, findings: &[Finding]) -> Plan<Step> {
        let decision = table::SITUATIONS.decide(&trusted.situation);
        let mut plan = Plan {
            steps: vec![],
            actions: vec![self.main_action(decision.label, decision.then, trusted, findings)],
        };
        for name in &trusted.unusable {
            plan.steps.push(Step::SetAside(name.clone()));
            let (kind, label) = (ActionKind::Quarantine, decision.label);
            let detail = "set aside; meta names it no longer".to_owned();
            plan.actions.push(Action { kind, label, target: self.relative(name), detail });
        }
        for (name, leftover) in &trusted.leftovers {
            let row = table::LEFTOVERS.decide(leftover);
            let (kind, detail) = match row.then {
                LeftoverThen::Remove => (ActionKind::Cut, "removed: nothing names it"),
                LeftoverThen::Leave => (ActionKind::Keep, "not a checkpoint: left alone"),
                LeftoverThen::SetAside => {
                    plan.steps.push(Step::SetAside(name.clone()));
                    (ActionKind::Quarantine, "set aside, so that the directory can be made")
                }
                LeftoverThen::Evidence => (ActionKind::Keep, "kept while the start is refused"),
            };
            if row.then == LeftoverThen::Remove {
                plan.steps.push(Step::Remove(name.clone()));
            }
            let target = self.relative(name);
            plan.actions.push(Action { kind, label: row.label, target, detail: detail.to_owned() });
        }
        plan
    }

    fn act(
        &self,
        trusted: Trusted,
        steps: Vec<Step>,
        sink: &dyn Disk,
    ) -> Result<Recovered, Failure> {
        let handed_out = {
            let loaded = trusted.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            matches!(*loaded, Loaded::HandedOut)
        };
        assert!(
            trusted.replay_from() <= trusted.mark().position.saturating_add(1),
            "no record lies between the state and its replay"
        );
        let here = trusted.kind == Kind::Memory && !handed_out;
        let engine = if here { Some(trusted.load(sink)?) } else { None };
        let mut removed = false;
        for step in steps {
            match step {
                Step::Remove(name) => {
                    assert!(!self.names(&name), "a named checkpoint is never removed");
                    remove(sink, &trusted.folder.join(name))?;
                    removed = true;
                }
                Step::SetAside(name) => {
                    let folder = &trusted.folder;
                    let path = if name == PLACE { folder.clone() } else { folder.join(&name) };
                    quarantine::set_aside(sink, &self.dir, 0, &path)
                        .map_err(|error| Failure::io(format!("setting {name} aside"), error))?;
                }
            }
        }
        if removed {
            let context = || format!("sync {}", trusted.folder.display());
            sink.sync_dir(&trusted.folder).map_err(|error| Failure::io(context(), error))?;
        }
        Ok(Recovered {
            engine,
            mark: trusted.mark(),
            replay_from: trusted.replay_from(),
            next_id: trusted.next_id,
            checkpoints: trusted.usable,
        })
    }
}

impl EngineLayer {
    /// What a named checkpoint is worth.
    fn judge(&self, piece: &Piece) -> Named {
        match piece {
            Piece::NotNamed => Named::None,
            Piece::Whole(usable) if self.reaches(usable) => Named::Whole,
            Piece::TooNew(_) => Named::TooNew,
            Piece::Whole(_) | Piece::Damaged(_) | Piece::Missing | Piece::NotAFile => {
                Named::Unusable
            }
        }
    }

    /// Files of named checkpoints that cannot be used, and that are files.
    fn unusable(&self, pieces: &Pieces) -> Vec<String> {
        let named = self.named.into_iter().zip([&pieces.newest, &pieces.older]);
        let unusable = named.filter(|(_, piece)| match piece {
            Piece::Whole(usable) => !self.reaches(usable),
            Piece::Damaged(_) => true,
            Piece::NotNamed | Piece::TooNew(_) | Piece::Missing | Piece::NotAFile => false,
        });
        unusable.map(|(id, _)| file_name(id)).collect()
    }

    /// Whether meta names this file.
    fn names(&self, name: &str) -> bool {
        matches!(parse_name(name), Some(FileName::Finished(id)) if self.named.contains(&id))
    }

    /// Everything in the folder that meta does not name.
    fn leftovers(
        &self,
        pieces: &Pieces,
        refused: bool,
    ) -> impl Iterator<Item = (String, Leftover)> {
        let newest = self.newest_named();
        let taken = Leftover { owner: Owner::Place, newer: false, refused };
        let taken = pieces.place_taken.then(|| (PLACE.to_owned(), taken));
        let unnamed = pieces.entries.iter().filter(|entry| !self.names(&entry.name));
        let unnamed = unnamed.map(move |entry| {
            let (owner, newer) = match self.own_name(&entry.name) {
                _ if entry.kind != EntryKind::File => (Owner::Other, false),
                Some(FileName::Finished(id)) => (Owner::Finished, id > newest),
                Some(FileName::Temporary(id)) => (Owner::Temporary, id > newest),
                None => (Owner::Other, false),
            };
            (entry.name.clone(), Leftover { owner, newer, refused })
        });
        taken.into_iter().chain(unnamed)
    }

    fn newest_named(&self) -> u64 {
        self.named.into_iter().max().unwrap_or(0)
    }

    /// What a name says, where it is one of ours: a hostile one must not exhaust the ids.
    fn own_name(&self, name: &str) -> Option<FileName> {
        parse_name(name).filter(|(FileName::Finished(id) | FileName::Temporary(id))| {
            is_near(*id, self.newest_named())
        })
    }

    fn next_id(&self, entries: &[rekindle_env::Entry]) -> u64 {
        let seen = entries.iter().filter_map(|entry| match self.own_name(&entry.name)? {
            FileName::Finished(id) | FileName::Temporary(id) => Some(id),
        });
        seen.chain(self.named).max().unwrap_or(0) + 1
    }

    fn main_action(
        &self,
        label: Label,
        then: Then,
        trusted: &Trusted,
        findings: &[Finding],
    ) -> Action {
        let folder = format!("{}/{}", self.shard, checkpoint::DIRECTORY);
        let chosen = trusted.chosen();
        let target = chosen.map_or(folder, |chosen| self.relative(&file_name(chosen.id)));
        let described = chosen.map(|chosen| {
            let Usable { mark, rows, replay_from, .. } = chosen;
            format!("version {}, {rows} rows, replay from {replay_from}", mark.version)
        });
        let described = described.unwrap_or_else(|| "replay from 1".to_owned());
        let (kind, detail) = match then {
            Then::Empty => (ActionKind::Replay, format!("no checkpoint yet: {described}")),
            Then::Newest => (ActionKind::Keep, described),
            Then::NewestAlone => (ActionKind::Keep, format!("the older one is lost: {described}")),
            Then::Older => (ActionKind::Rebuild, format!("from the older one: {described}")),
            Then::ReplayAll => {
                (ActionKind::Rebuild, "all records are still in the journal: replay from 1".into())
            }
            Then::Corrupt | Then::Newer => (ActionKind::Refuse, refusal(then, label, findings)),
        };
        Action { kind, label, target, detail }
    }
}

/// What the user reads when the start is refused.
fn refusal(then: Then, label: Label, findings: &[Finding]) -> String {
    let of_row = findings.iter().find(|finding| finding.label == label);
    let (file, expected, found) = of_row.map_or(("", "", ""), |finding| {
        (finding.place.file.as_str(), finding.expected.as_str(), finding.found.as_str())
    });
    if then == Then::Newer {
        return format!(
            "{file} was written by a newer Rekindle: expected {expected}, found {found}; start the \
             store with the newer program"
        );
    }
    let of_engine = |folder: &&str| file.contains(&format!("/{folder}"));
    if FilesKind::FOLDERS.iter().any(of_engine) {
        return format!(
            "{file} is damaged: expected {expected}, found {found}; restore a backup or a copy of \
             the store, or see 'rekindle salvage' for what can be read"
        );
    }
    format!(
        "no usable checkpoint, and the journal no longer holds every record: {file}: expected \
         {expected}, found {found}; see 'rekindle verify', or restore a copy of the store"
    )
}

/// Removes a leftover; one that is gone was removed by an earlier, interrupted act.
fn remove(disk: &dyn Disk, path: &Path) -> Result<(), Failure> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
