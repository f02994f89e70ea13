//! The layer `meta`: both copies of a shard's metadata, and whether the shard is new.
//!
//! Invariants: a shard without metadata is new only when it provably never held a frame; otherwise
//! missing metadata refuses the start, and nothing is ever deleted because of it.

use std::io;

use rekindle_env::{Disk, EntryKind, ReadDisk, durable};
use rekindle_recovery::{
    Acked, Action, ActionKind, Failure, Finding, Label, Layer, Place, Plan, Row, Table, Verdict,
    quarantine,
};

use crate::codec::meta::Meta;
use crate::codec::segment::HEADER_LEN;
use crate::codec::{Bad, bytes};
use crate::layout::{Layout, MetaCopy, parse_segment_name};

/// Longer files are no meta copies.
const COPY_LIMIT_BYTES: u64 = 1 << 20;

/// What a copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyRead {
    /// No file.
    Missing,
    /// Damaged.
    Bad(Bad),
    /// Whole, of a format that this program does not know.
    Newer(Bad),
    /// Whole.
    Valid(Meta),
}

/// What scan read.
#[derive(Debug)]
pub struct MetaPieces {
    copies: [CopyRead; 2],
    /// No checkpoint, and no byte behind the header of the only possible segment.
    blank: bool,
}

impl MetaPieces {
    /// What `meta.a` and `meta.b` are.
    #[must_use]
    pub fn copies(&self) -> &[CopyRead; 2] {
        &self.copies
    }
}

/// The shard's metadata.
#[derive(Clone, Debug)]
pub struct TrustedMeta {
    /// The newest valid copy; `None` for a new shard.
    pub meta: Option<Meta>,
    /// Whether both copies are whole.
    pub intact: bool,
    condition: MetaCondition,
}

/// The layer.
#[derive(Clone, Debug)]
pub struct MetaLayer {
    /// Where the shard is.
    pub layout: Layout,
    /// The store that it must belong to.
    pub store_id: [u8; 16],
}

/// A copy, as the decision table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// No file.
    Missing,
    /// Damaged.
    Bad,
    /// Whole, of this store.
    Valid,
    /// Whole, of another store, node or shard.
    Foreign,
    /// Whole, of a format that this program does not know.
    Newer,
}

/// The conditions of the decision table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaCondition {
    /// `meta.a`.
    pub a: CopyState,
    /// `meta.b`.
    pub b: CopyState,
    /// The shard provably never held a frame.
    pub blank: bool,
}

impl MetaCondition {
    fn any(&self, state: CopyState) -> bool {
        self.a == state || self.b == state
    }

    fn none_usable(&self) -> bool {
        [self.a, self.b].iter().all(|copy| matches!(copy, CopyState::Missing | CopyState::Bad))
    }

    /// Whether everything that is whole is ours to judge.
    fn known(&self) -> bool {
        !self.any(CopyState::Foreign) && !self.any(CopyState::Newer)
    }
}

/// What the table decides.
pub type MetaDecision = (ActionKind, Option<Verdict>, Acked);

/// A copy of a newer format: the other one must not stand in for it, since the program that wrote
/// it went on from there.
const NEWER: Label = Label("meta-6");

/// The decision table of the shard's metadata.
pub static META_TABLE: Table<MetaCondition, MetaDecision> = Table {
    rows: &[
        Row {
            label: Label("meta-1"),
            when: |c| c.a == CopyState::Valid && c.b == CopyState::Valid,
            then: (ActionKind::Keep, None, Acked::No),
        },
        Row {
            label: Label("meta-2"),
            when: |c| c.known() && (c.a == CopyState::Valid) != (c.b == CopyState::Valid),
            then: (ActionKind::Rebuild, Some(Verdict::Healed), Acked::Yes),
        },
        Row {
            label: Label("meta-3"),
            when: |c| c.none_usable() && c.blank,
            then: (ActionKind::Keep, None, Acked::No),
        },
        Row {
            label: Label("meta-4"),
            when: |c| c.none_usable() && !c.blank,
            then: (ActionKind::Refuse, Some(Verdict::Corrupt), Acked::Yes),
        },
        Row {
            label: Label("meta-5"),
            when: |c| c.any(CopyState::Foreign) && !c.any(CopyState::Newer),
            then: (ActionKind::Refuse, Some(Verdict::Corrupt), Acked::Unknown),
        },
        Row {
            label: NEWER,
            when: |c| c.any(CopyState::Newer),
            then: (ActionKind::Refuse, None, Acked::No),
        },
    ],
};

impl TrustedMeta {
    /// The same with what other files say in the place of lost copies; for who only looks.
    #[must_use]
    pub fn assuming(self, meta: Meta) -> Self {
        Self { meta: Some(meta), intact: false, ..self }
    }
}

impl Layer for MetaLayer {
    const NAME: &'static str = "meta";
    type Source = dyn ReadDisk;
    type Sink = dyn Disk;
    type Pieces = MetaPieces;
    type Trusted = TrustedMeta;
    type Step = ();
    type Recovered = TrustedMeta;

    fn scan(&self, disk: &dyn ReadDisk) -> Result<MetaPieces, Failure> {
        let read = |copy| self.read_copy(disk, copy);
        let copies = [read(MetaCopy::A)?, read(MetaCopy::B)?];
        let usable = copies.iter().any(|copy| matches!(copy, CopyRead::Valid(_)));
        let blank = !usable && self.blank(disk)?;
        Ok(MetaPieces { copies, blank })
    }

    fn validate(&self, pieces: MetaPieces) -> (TrustedMeta, Vec<Finding>) {
        let [a, b] = &pieces.copies;
        let condition = MetaCondition { a: self.state(a), b: self.state(b), blank: pieces.blank };
        let row = META_TABLE.decide(&condition);
        let (_, verdict, acked) = row.then;
        let mut findings = Vec::new();
        for (copy, read) in MetaCopy::BOTH.into_iter().zip(&pieces.copies) {
            let wrong = match read {
                CopyRead::Missing if row.label == NEWER => continue,
                CopyRead::Missing => Bad::new("a meta copy", "no file"),
                CopyRead::Bad(_) if row.label == NEWER => continue,
                CopyRead::Bad(bad) | CopyRead::Newer(bad) => bad.clone(),
                CopyRead::Valid(meta) if self.state(read) == CopyState::Foreign => {
                    Bad::new(self.own(), format!("{:02x?} node {}", meta.store_id, meta.node))
                }
                CopyRead::Valid(_) => continue,
            };
            if verdict.is_some() || row.label == NEWER {
                let file = self.layout.relative(&self.layout.meta(copy));
                let place = Place { file, ..Place::default() };
                let Bad { expected, found } = wrong;
                findings.push(Finding { label: row.label, place, verdict, acked, expected, found });
            }
        }
        let valid = pieces.copies.iter().filter_map(|copy| match copy {
            CopyRead::Valid(meta) => Some(*meta),
            _ => None,
        });
        let meta = valid.max_by_key(|meta| meta.sequence);
        let intact = condition.a == CopyState::Valid && condition.b == CopyState::Valid;
        (TrustedMeta { meta, intact, condition }, findings)
    }

    fn plan(&self, trusted: &TrustedMeta, findings: &[Finding]) -> Plan<()> {
        let row = META_TABLE.decide(&trusted.condition);
        let (kind, _, _) = row.then;
        let detail = match kind {
            ActionKind::Refuse if row.label == NEWER => newer(findings),
            ActionKind::Refuse => "missing metadata never means an empty start".to_owned(),
            ActionKind::Rebuild => {
                "the next write of the metadata replaces the bad copy".to_owned()
            }
            _ => return Plan { steps: vec![], actions: vec![] },
        };
        let target = self.layout.relative(&self.layout.shard_dir());
        let action = Action { kind, label: row.label, target, detail };
        Plan { steps: vec![], actions: vec![action] }
    }

    /// Writes the newest copy again, over itself. It was read through the kernel's cache, and its
    /// writer may have been killed, or given up, before it was durable: another sync could prove
    /// nothing. The older copy was durable before that one was begun, so a crash in here leaves it.
    fn act(
        &self,
        trusted: TrustedMeta,
        _: Vec<()>,
        disk: &dyn Disk,
    ) -> Result<TrustedMeta, Failure> {
        for copy in MetaCopy::BOTH {
            let cleared =
                quarantine::clear_place(disk, &self.layout.store, &self.layout.meta(copy));
            cleared.map_err(|error| Failure::io("setting aside what is no meta copy", error))?;
        }
        if let Some(meta) = &trusted.meta {
            let path = self.layout.meta(MetaCopy::of(meta.sequence));
            let written = match disk.stat(&path) {
                Ok(Some(_)) => durable::overwrite(disk, &path, &meta.encode())
                    .and_then(|()| durable::sync_parent(disk, &path)),
                Ok(None) => durable::create_file(disk, &path, &meta.encode()),
                Err(error) => Err(error),
            };
            written.map_err(|error| Failure::io("writing meta", error))?;
        }
        Ok(trusted)
    }
}

impl MetaLayer {
    fn own(&self) -> String {
        format!("a meta copy of store {:02x?}, shard {}", self.store_id, self.layout.shard)
    }

    fn state(&self, read: &CopyRead) -> CopyState {
        match read {
            CopyRead::Missing => CopyState::Missing,
            CopyRead::Bad(_) => CopyState::Bad,
            CopyRead::Newer(_) => CopyState::Newer,
            CopyRead::Valid(meta) => {
                let own = meta.store_id == self.store_id && meta.shard == self.layout.shard;
                if own { CopyState::Valid } else { CopyState::Foreign }
            }
        }
    }

    fn read_copy(&self, disk: &dyn ReadDisk, copy: MetaCopy) -> Result<CopyRead, Failure> {
        let path = self.layout.meta(copy);
        if is_no_file(disk, &path)? {
            return Ok(CopyRead::Bad(Bad::new("a meta copy", NO_FILE)));
        }
        match durable::read_file(disk, &path, COPY_LIMIT_BYTES) {
            Ok(bytes) => Ok(match (Meta::newer(&bytes), Meta::decode(&bytes)) {
                (Some(newer), _) => CopyRead::Newer(newer),
                (None, Ok(meta)) => CopyRead::Valid(meta),
                (None, Err(bad)) => CopyRead::Bad(bad),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(CopyRead::Missing),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Ok(CopyRead::Bad(Bad::new("4096 bytes", "a larger file")))
            }
            Err(error) => Err(Failure::io(format!("reading {}", path.display()), error)),
        }
    }

    /// Whether the shard never held a frame: what a crash while it was made leaves behind.
    fn blank(&self, disk: &dyn ReadDisk) -> Result<bool, Failure> {
        let checkpoints = entries(disk, &self.layout.shard_dir().join("checkpoints"))?;
        if checkpoints.iter().any(|entry| entry.len > 0) {
            return Ok(false);
        }
        for entry in entries(disk, &self.layout.journal_dir())? {
            if parse_segment_name(&entry.name).is_none() || entry.kind != EntryKind::File {
                return Ok(false);
            }
            let path = self.layout.journal_dir().join(&entry.name);
            let file = disk.open_read(&path).map_err(|e| Failure::io("opening a segment", e))?;
            let blank = zero_from(&*file, HEADER_LEN);
            if !blank.map_err(|e| Failure::io("reading a segment", e))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What the user reads when a newer program wrote a copy.
fn newer(findings: &[Finding]) -> String {
    let finding = findings.iter().find(|finding| finding.label == NEWER);
    let text = finding.map(|finding| {
        let Finding { place, expected, found, .. } = finding;
        format!(
            "{} was written by a newer Rekindle: this program reads {expected}, the file has \
                 {found}; start the store with the newer program",
            place.file
        )
    });
    text.unwrap_or_default()
}

/// What stands where a file should.
pub(super) const NO_FILE: &str = "a directory, link or device";

/// Whether something that is no file stands at this path. It is not opened.
pub(super) fn is_no_file(disk: &dyn ReadDisk, path: &std::path::Path) -> Result<bool, Failure> {
    durable::is_no_file(disk, path)
        .map_err(|e| Failure::io(format!("looking at {}", path.display()), e))
}

/// The entries of a directory, none where it does not exist.
pub(super) fn entries(
    disk: &dyn ReadDisk,
    dir: &std::path::Path,
) -> Result<Vec<rekindle_env::Entry>, Failure> {
    let listed = durable::list_folder(disk, dir);
    let listed =
        listed.map_err(|error| Failure::io(format!("listing {}", dir.display()), error))?;
    // What stands in its place holds no segment: each one that is named is missing.
    Ok(listed.unwrap_or_default())
}

/// Whether a file holds only zeros from an offset on.
fn zero_from(file: &dyn rekindle_env::ReadFile, offset: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = offset;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(true);
        }
        if !bytes::all_zero(buffer.get(..read).unwrap_or_default()) {
            return Ok(false);
        }
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_combination_matches_exactly_one_row() {
        let states = [
            CopyState::Missing,
            CopyState::Bad,
            CopyState::Valid,
            CopyState::Foreign,
            CopyState::Newer,
        ];
        let all = states.into_iter().flat_map(|a| {
            states
                .into_iter()
                .flat_map(move |b| [false, true].map(|blank| MetaCondition { a, b, blank }))
        });
        assert_eq!(META_TABLE.check(all), Vec::<String>::new());
    }
}
