//! The first layer, `store`: which directory this is, and whether it may be opened.
//!
//! Reads top-down as scan, validate, plan, act; the situations are in [`table`].
//!
//! Invariants: a directory that is neither empty nor a store is never written to; an identity is
//! made only where nothing can be lost; a copy is rewritten only from a whole one. Creation makes
//! the directories durable, then `store.a`, then `store.b`, so that a crash at any of its
//! operations leaves a situation that the next start completes ([`table`], store-2 to store-4).

mod findings;
pub mod restoring;
mod scan;
pub mod table;

use std::path::{Path, PathBuf};

use rekindle_env::{DirectoryLock, Disk, LockMode, ReadDisk, durable};

use crate::action::{Action, ActionKind};
use crate::driver::{Failure, Layer, Plan};
use crate::finding::{Finding, Label};
use crate::identity::{ENGINE_ROCKSDB, Identity, IdentityCopy, engine_name};
use crate::quarantine;
use findings::Fault;
pub use scan::{Pieces, RawCopy};
use table::{Conditions, Pair, Then};

/// The two copies of the identity, in the order in which they are written.
pub const COPIES: [&str; 2] = ["store.a", "store.b"];

/// The directory of the segments; a store that has begun is nothing without it.
pub const JOURNAL_DIR: &str = "shards/0/journal";

/// The directories of a store, parents first.
pub const DIRECTORIES: [&str; 6] =
    ["shards", "shards/0", JOURNAL_DIR, "shards/0/checkpoints", "reports", "quarantine"];

/// The layer that decides whether a directory is a store.
#[derive(Clone, Debug)]
pub struct StoreLayer {
    /// The directory.
    pub dir: PathBuf,
    /// Whether an absent or empty directory becomes a store; dry runs and `verify` say no.
    pub create: bool,
    /// The identity of a store that is created.
    pub candidate: Identity,
    /// The engines that will do; a store on another one is refused.
    pub engines: Vec<u8>,
}

/// A store that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Who it is.
    pub identity: Identity,
    /// How often the identity was written.
    pub sequence: u64,
}

impl Store {
    /// Whether the shard ever began. Before, an empty `shards/0` is a new store; afterwards it is
    /// a loss.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.sequence > 1
    }

    /// Notes durably that the shard has begun: to be called once its own metadata is durable.
    /// Repeatable.
    pub fn begin(self, disk: &dyn Disk, dir: &Path) -> Result<Self, Failure> {
        if self.begun() {
            return Ok(self);
        }
        let identity = self.identity.clone();
        self.change(disk, dir, identity)
    }

    /// Writes a changed identity, one copy after the other.
    pub fn change(self, disk: &dyn Disk, dir: &Path, identity: Identity) -> Result<Self, Failure> {
        assert_eq!(self.identity.store_id, identity.store_id, "a store stays who it is");
        let copy = IdentityCopy { sequence: self.sequence + 1, identity };
        for name in COPIES {
            write_copy(disk, dir, name, &copy)?;
        }
        Ok(Self { identity: copy.identity, sequence: copy.sequence })
    }
}

/// What the pieces are worth.
#[derive(Debug)]
pub struct Trusted {
    conditions: Conditions,
    newest: Option<IdentityCopy>,
    stale: Option<&'static str>,
    missing: Vec<&'static str>,
}

impl Trusted {
    /// The identity that the store has; `None` where it is still to be created. The layers above
    /// are examined with it before anything is written.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.newest.as_ref().map(|copy| &copy.identity)
    }

    /// Whether the shard ever began; see [`Store::begun`].
    #[must_use]
    pub fn begun(&self) -> bool {
        self.conditions.begun
    }
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes a directory of [`DIRECTORIES`], or the store's own (empty name).
    MakeDirectory(&'static str),
    /// Writes one copy.
    Write(&'static str, IdentityCopy),
}

impl Layer for StoreLayer {
    const NAME: &'static str = "store";
    type Source = dyn ReadDisk;
    type Sink = dyn Disk;
    type Pieces = Pieces;
    type Trusted = Trusted;
    type Step = Step;
    type Recovered = Store;

    fn scan(&self, source: &dyn ReadDisk) -> Result<Pieces, Failure> {
        scan::scan(source, &self.dir)
    }

    fn validate(&self, pieces: Pieces) -> (Trusted, Vec<Finding>) {
        let [a, b] = [&pieces.a, &pieces.b].map(findings::decode);
        let trusted = self.judge(&pieces, &a, &b);
        let row = table::SITUATIONS.decide(&trusted.conditions);
        let mut findings = match row.then {
            Then::Use | Then::Create | Then::Again | Then::Absent => vec![],
            Then::Foreign => vec![findings::foreign(row.label, &pieces)],
            Then::Finish | Then::Heal | Then::Update | Then::Lost | Then::Newer => {
                findings::of_copies(row.label, row.then, trusted.newest.as_ref(), [&a, &b])
            }
            Then::Contradict => vec![findings::contradiction(row.label, &a, &b)],
            Then::OtherEngine => {
                let found = trusted.newest.as_ref().map_or(0, |copy| copy.identity.engine);
                vec![findings::other_engine(row.label, &self.engines, found)]
            }
            Then::NoJournal => vec![findings::no_journal(row.label)],
        };
        if row.then.opens() {
            findings.extend(findings::entries(&pieces));
        }
        (trusted, findings)
    }

    fn plan(&self, trusted: &Trusted, findings: &[Finding]) -> Plan<Step> {
        let row = table::SITUATIONS.decide(&trusted.conditions);
        let mut steps = vec![];
        match row.then {
            Then::Create | Then::Again => {
                let copy = IdentityCopy { sequence: 1, identity: self.candidate.clone() };
                steps.push(Step::MakeDirectory(""));
                steps.extend(DIRECTORIES.map(Step::MakeDirectory));
                steps.extend(COPIES.map(|name| Step::Write(name, copy.clone())));
            }
            Then::Finish | Then::Heal | Then::Update => {
                let newest = trusted.newest.clone().expect("these rows hold a whole copy");
                let stale = trusted.stale.expect("these rows hold a copy that is not current");
                // The whole copy first: it may be whole only in the cache of a kernel that outlived
                // the process that wrote it, and must last before the other one is touched.
                let whole = COPIES.into_iter().find(|name| *name != stale);
                let whole = whole.expect("a store has two copies");
                steps.push(Step::Write(whole, newest.clone()));
                steps.push(Step::Write(stale, newest));
            }
            _ => {}
        }
        if row.then.opens() {
            steps.extend(trusted.missing.iter().map(|dir| Step::MakeDirectory(dir)));
        }
        Plan { steps, actions: self.actions(row.label, row.then, trusted, findings) }
    }

    fn act(&self, trusted: Trusted, steps: Vec<Step>, sink: &dyn Disk) -> Result<Store, Failure> {
        let mut current = trusted.newest;
        for step in steps {
            match step {
                Step::MakeDirectory(name) => {
                    let dir = self.dir.join(name);
                    clear(sink, &self.dir, &dir).map_err(|error| {
                        Failure::io(format!("clearing the place of {}", dir.display()), error)
                    })?;
                    make_directory(sink, &dir)?;
                }
                Step::Write(name, copy) => {
                    write_copy(sink, &self.dir, name, &copy)?;
                    current = Some(copy);
                }
            }
        }
        let copy = current.expect("a plan that does not refuse keeps or writes a whole copy");
        Ok(Store { identity: copy.identity, sequence: copy.sequence })
    }
}

impl StoreLayer {
    /// Turns what was decoded into the conditions of the table.
    fn judge(
        &self,
        pieces: &Pieces,
        a: &Result<IdentityCopy, Fault>,
        b: &Result<IdentityCopy, Fault>,
    ) -> Trusted {
        let pair = match (a, b) {
            (Ok(a), Ok(b)) if a == b => Pair::Equal,
            (Ok(a), Ok(b))
                if a.identity.store_id == b.identity.store_id
                    && a.sequence.abs_diff(b.sequence) == 1 =>
            {
                Pair::OneOlder
            }
            _ => Pair::Contradict,
        };
        let newest = match (a, b) {
            (Ok(a), Ok(b)) => Some(if b.sequence > a.sequence { b } else { a }),
            (Ok(copy), Err(_)) | (Err(_), Ok(copy)) => Some(copy),
            (Err(_), Err(_)) => None,
        };
        let stale = COPIES.into_iter().zip([a, b]).find(|(_, copy)| copy.as_ref().ok() != newest);
        let conditions = Conditions {
            a: findings::state(a),
            b: findings::state(b),
            pair,
            rest: pieces.rest,
            begun: newest.is_some_and(|copy| copy.sequence > 1),
            journal: !pieces.missing.contains(&JOURNAL_DIR),
            engine: newest.is_none_or(|copy| self.engines.contains(&copy.identity.engine)),
            create: self.create,
        };
        Trusted {
            conditions,
            newest: newest.cloned(),
            stale: stale.map(|(name, _)| name),
            missing: pieces.missing.clone(),
        }
    }

    /// The plan as it is reported; the detail of a refusal is the message that the user reads.
    fn actions(
        &self,
        label: Label,
        then: Then,
        trusted: &Trusted,
        findings: &[Finding],
    ) -> Vec<Action> {
        let (kind, detail) = match then {
            Then::Use => (ActionKind::Keep, "both copies agree".to_owned()),
            Then::Create => (ActionKind::Rebuild, "a new store".to_owned()),
            Then::Again => (ActionKind::Rebuild, "its creation was interrupted".to_owned()),
            Then::Finish => (ActionKind::Rebuild, "its creation is completed".to_owned()),
            Then::Heal => (ActionKind::Rebuild, "from the whole copy".to_owned()),
            Then::Update => (ActionKind::Rebuild, "an interrupted change is completed".to_owned()),
            _ => (ActionKind::Refuse, self.refusal(then, findings)),
        };
        let target = match then {
            Then::Finish | Then::Heal | Then::Update => trusted.stale.unwrap_or_default().into(),
            Then::Use => COPIES.join(", "),
            _ => self.dir.display().to_string(),
        };
        let mut actions = vec![Action { kind, label, target, detail }];
        let entries = findings.iter().filter(|finding| table::is_entry(finding.label));
        actions.extend(entries.map(|finding| Action {
            kind: if finding.label == table::MISSING {
                ActionKind::Rebuild
            } else {
                ActionKind::Keep
            },
            label: finding.label,
            target: finding.place.file.clone(),
            detail: finding.found.clone(),
        }));
        actions
    }

    fn refusal(&self, then: Then, findings: &[Finding]) -> String {
        let dir = self.dir.display();
        let (expected, found) = findings
            .first()
            .map_or(("", ""), |finding| (finding.expected.as_str(), finding.found.as_str()));
        match then {
            Then::Absent => format!(
                "{dir} holds no Rekindle store; create one with 'rekindle serve --data {dir}'"
            ),
            Then::Foreign => format!(
                "{dir} is not empty and no Rekindle store; choose an empty or absent directory, \
                 or the one that holds store.a"
            ),
            Then::Newer => format!(
                "{dir} was written by a newer Rekindle: this program reads {expected}, the store \
                 has {found}; start it with the newer program"
            ),
            Then::OtherEngine => format!(
                "{dir} was created with {found}, but {expected} was asked for; start it with the \
                 engine that it was created with{}",
                own_programs(found)
            ),
            Then::NoJournal => {
                format!("{dir} has lost {JOURNAL_DIR}; bring that directory back from a copy")
            }
            Then::Contradict => format!(
                "store.a and store.b of {dir} contradict each other; bring both back from one copy"
            ),
            _ => format!(
                "no copy of the identity of {dir} is whole; bring store.a or store.b back from a \
                 copy"
            ),
        }
    }
}

/// Moves what has the place of a directory, and is none, to the quarantine.
fn clear(disk: &dyn Disk, store: &Path, dir: &Path) -> std::io::Result<()> {
    match durable::list_folder(disk, dir)? {
        Some(_) => Ok(()),
        None => quarantine::set_aside(disk, store, 0, dir),
    }
}

/// Creates the store's directory, and those above it, where they are missing.
pub fn make_directory(disk: &dyn Disk, dir: &Path) -> Result<(), Failure> {
    durable::create_dir_all(disk, dir)
        .map_err(|error| Failure::io(format!("create directory {}", dir.display()), error))
}

/// Locks a store's directory; [`Failure::Locked`] when another process holds it.
pub fn lock(
    disk: &dyn Disk,
    dir: &Path,
    mode: LockMode,
) -> Result<Box<dyn DirectoryLock>, Failure> {
    match disk.lock(dir, mode) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Failure::Locked(dir.display().to_string())),
        Err(error) => Err(scan::not_a_store(dir, "lock", error)),
    }
}

/// Writes one copy over whatever is there and makes it durable.
fn write_copy(disk: &dyn Disk, dir: &Path, name: &str, copy: &IdentityCopy) -> Result<(), Failure> {
    let path = dir.join(name);
    let bytes = copy.encode();
    let cleared = quarantine::clear_place(disk, dir, &path);
    let written = match cleared.and_then(|()| disk.stat(&path)) {
        Err(error) => Err(error),
        Ok(None) => durable::create_file(disk, &path, &bytes),
        // Whoever created the file may have died before its entry was durable.
        Ok(Some(_)) => {
            durable::overwrite(disk, &path, &bytes).and_then(|()| durable::sync_parent(disk, &path))
        }
    };
    written.map_err(|error| Failure::io(format!("write {}", path.display()), error))
}

/// Where an engine is that not every program has.
fn own_programs(found: &str) -> &'static str {
    if found.ends_with(&engine_name(ENGINE_ROCKSDB)) {
        " (rocksdb is in programs that were built with --features rocksdb)"
    } else {
        ""
    }
}
