//! Raw records: payloads built by hand, field by field as the format says, and appended to a real
//! journal below the database.

use std::path::Path;
use std::sync::Arc;

use rekindle_env::Env;
use rekindle_journal::{
    Apply, Depth, Entry, Event, Journal, JournalLayer, Layout, LocalJournal, LocalOptions,
    MetaLayer, Record, RecordKind, WriterConfig,
};
use rekindle_recovery::store::{self, StoreLayer};
use rekindle_recovery::{Identity, examine, identity, perform};

/// An operation of keyspace 1, or a row of the registry of names.
#[derive(Clone, Debug)]
pub enum Op<'a> {
    Put(&'a str, &'a str),
    Delete(&'a str),
    Name(&'a [u8], &'a [u8]),
}

fn varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn operations(bytes: &mut Vec<u8>, operations: &[Op<'_>]) {
    varint(bytes, operations.len());
    for operation in operations {
        let (kind, keyspace, key, value) = match operation {
            Op::Put(key, value) => (1, 1_u16, key.as_bytes(), value.as_bytes()),
            Op::Delete(key) => (2, 1, key.as_bytes(), &b""[..]),
            Op::Name(name, number) => (1, 0, *name, *number),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&keyspace.to_le_bytes());
        varint(bytes, key.len());
        varint(bytes, value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
}

/// An entry of a `Txns` record.
pub fn entry(id: u64, changes: &[Op<'_>]) -> Vec<u8> {
    let mut body = id.to_le_bytes().to_vec();
    body.push(0);
    operations(&mut body, changes);
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

/// The payload of `Begin` and `Abort`.
pub fn id(id: u64) -> Vec<u8> {
    id.to_le_bytes().to_vec()
}

/// The payload of a `Part`.
pub fn part(id: u64, changes: &[Op<'_>]) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    operations(&mut bytes, changes);
    bytes
}

/// The payload of a `Commit`.
pub fn commit(id: u64, version: u64, parts: u32) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&1_700_000_000_000_u64.to_le_bytes());
    bytes.extend_from_slice(&parts.to_le_bytes());
    bytes
}

/// The payload of a `Loss` that stands for its own position.
pub fn loss(position: u64, to_position: u64, next_version: u64) -> Vec<u8> {
    let fields = [position, to_position, 0, 0, next_version];
    let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    bytes.extend_from_slice(b"audit");
    bytes
}

/// The payload of a `Feature`.
pub fn feature(level: u32) -> Vec<u8> {
    level.to_le_bytes().to_vec()
}

struct Nothing;

impl Apply for Nothing {
    fn apply(&self, _: &Record<'_>) -> Result<(), String> {
        Ok(())
    }

    fn event(&self, _: Event) {}
}

/// A journal without a database above it.
pub struct RawJournal {
    journal: LocalJournal,
    _lock: Box<dyn rekindle_env::DirectoryLock>,
}

impl RawJournal {
    /// Opens, or makes, a store's journal.
    pub fn open(dir: &Path, env: &Env) -> Self {
        Self::open_with(dir, env, 1 << 20)
    }

    /// The same with segments of this size.
    pub fn open_with(dir: &Path, env: &Env, segment_bytes: u64) -> Self {
        let (disk, clock) = (&*env.disk, &*env.clock);
        store::make_directory(disk, dir).unwrap();
        let lock = store::lock(disk, dir, rekindle_env::LockMode::Exclusive).unwrap();
        let candidate = Identity::generate(&*env.random, identity::ENGINE_MEMORY);
        let layer = StoreLayer {
            dir: dir.to_owned(),
            create: true,
            engines: vec![candidate.engine],
            candidate,
        };
        let seen = examine(&layer, disk, clock).unwrap();
        let (store, _) = perform(&layer, seen, disk, clock).unwrap();
        let layout = Layout::new(dir, 0);
        let meta = MetaLayer { layout: layout.clone(), store_id: store.identity.store_id };
        let meta = examine(&meta, disk, clock).unwrap().trusted;
        let layer = JournalLayer {
            layout,
            store_id: store.identity.store_id,
            node: store.identity.node,
            meta,
            replay_from: 1,
            depth: Depth::Start,
            config: WriterConfig { segment_bytes },
            env: env.clone(),
        };
        let seen = examine(&layer, disk, clock).unwrap();
        let (recovered, _) = perform(&layer, seen, &(), clock).unwrap();
        store.begin(disk, dir).unwrap();
        let options = LocalOptions { background: false, ..LocalOptions::default() };
        let journal = LocalJournal::start(recovered, options, Arc::new(Nothing)).unwrap();
        Self { journal, _lock: lock }
    }

    /// Appends a record that is no `Txns`.
    pub fn append(&self, kind: RecordKind, bytes: &[u8]) {
        self.push(Entry { kind, version: 0, log_time_ms: 0, bytes });
    }

    /// Appends a committed transaction.
    pub fn commit(&self, version: u64, changes: &[Op<'_>]) {
        let bytes = entry(version.wrapping_add(0x100), changes);
        let log_time_ms = 1_700_000_000_000;
        self.push(Entry { kind: RecordKind::Txns, version, log_time_ms, bytes: &bytes });
    }

    fn push(&self, entry: Entry<'_>) {
        if self.journal.append(entry).is_err() {
            self.journal.sync().unwrap();
            self.journal.append(entry).unwrap();
        }
    }

    /// Ends the filling record, so that the next transaction begins another one.
    pub fn sync(&self) {
        self.journal.sync().unwrap();
    }

    /// Syncs and closes.
    pub fn close(self) {
        self.journal.close().unwrap();
    }
}

/// Makes a store whose journal holds what `fill` appends.
pub fn store(dir: &Path, env: &Env, fill: impl FnOnce(&RawJournal)) {
    let journal = RawJournal::open(dir, env);
    fill(&journal);
    journal.close();
}
