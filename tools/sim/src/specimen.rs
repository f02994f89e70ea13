//! A small directory that holds every kind of record, to be damaged bit by bit.
//!
//! A short mixed run with two checkpoints is closed; then the kinds of records that this version
//! reads but does not write yet (streamed transactions, an accepted loss…) are appended through the
//! journal's own interface. Invariant: everything in it was acknowledged, unless its ending is
//! [`Ending::Killed`]; then all but the last transaction is proved.

use std::path::Path;
use std::sync::Arc;

use rekindle_env::{Image, SimulatedDisk, Survival};
use rekindle_journal::{
    Apply, Depth, Entry, Event, Journal, JournalLayer, Layout, LocalJournal, LocalOptions,
    MetaLayer, Outcome, Record, RecordKind, WriterConfig,
};
use rekindle_recovery::store::StoreLayer;
use rekindle_recovery::{Failure, Identity, examine, identity, perform};

use crate::history::Rows;
use crate::request::Change;
use crate::store::{DIR, Machine, SEGMENT_BYTES, Store, rows};
use crate::workload::{BEGIN_WALL_MS, Length, run};

/// Transactions of the last run of a specimen that was not closed, each in a frame of its own,
/// behind those that recovery settled with.
const LAST_RUN: u64 = 3;

/// How the life of the specimen ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was closed.
    Closed,
    /// It rested, then the power went.
    Idle,
    /// It was killed at work: its last transaction is not proved.
    Killed,
}

/// A directory and what is in it.
#[derive(Debug)]
pub struct Specimen {
    /// The files.
    pub image: Image,
    /// How it ended.
    pub ending: Ending,
    /// All rows.
    pub rows: Rows,
    /// The last version.
    pub version: u64,
    /// How many of the versions are of the last run.
    pub last_run: u64,
}

/// The state behind the journal while records are appended by hand.
struct Nobody;

impl Apply for Nobody {
    fn apply(&self, _: &Record<'_>) -> Result<(), String> {
        Ok(())
    }

    fn event(&self, _: Event) {}
}

impl Specimen {
    /// Makes the specimen of this seed.
    ///
    /// # Errors
    /// When something fails that must not.
    pub fn new(seed: u64, ending: Ending) -> Result<Self, String> {
        let disk = SimulatedDisk::new(seed);
        let length = Length::strict(66, 28, 1_000).without_executors();
        let made = run(&disk, seed, length)?;
        let store = made.store.ok_or("a run without faults ends with an open store")?;
        let version = store.database.current_version();
        store.database.close().map_err(|error| error.to_string())?;
        drop(store);

        let machine = Machine::new(Arc::new(disk.clone()), made.wall_ms, seed);
        let before = append_every_kind(&machine, version).map_err(|error| error.to_string())?;
        let expected = match ending {
            Ending::Closed => before,
            Ending::Idle | Ending::Killed => {
                let store = machine.start(None)?;
                let change = |name: &str| [Change::Put(name.into(), vec![b'x'; 40])];
                for number in 0..LAST_RUN {
                    commit(&store, &change(&format!("last-{number}")))?;
                }
                if ending == Ending::Idle {
                    let ticked = store.database.tick().and_then(|()| store.database.tick());
                    ticked.map_err(|error| error.to_string())?;
                }
                store.database.current_version()
            }
        };
        let image = disk.crash(Survival::None, seed).image();
        let (rows, found) = look(&image, seed)?;
        if found != expected {
            return Err(format!("the specimen is at version {found}, not {expected}"));
        }
        Ok(Self { image, ending, rows, version: found, last_run: found - before })
    }
}

fn commit(store: &Store, changes: &[Change]) -> Result<u64, String> {
    crate::execute::commit(&store.database, store.raw, changes)
        .map_err(|refusal| format!("{refusal:?}"))
}

/// What the specimen holds, from a copy of it.
fn look(image: &Image, seed: u64) -> Result<(Rows, u64), String> {
    let disk = SimulatedDisk::from_image(image.clone(), seed);
    let machine = Machine::new(Arc::new(disk), BEGIN_WALL_MS, seed);
    let database = machine.open().map_err(|error| error.to_string())?;
    Ok((rows(&database)?, database.current_version()))
}

/// Appends a record of every kind to a closed store; answers the last version.
fn append_every_kind(machine: &Machine, version: u64) -> Result<u64, Failure> {
    let journal = open_journal(machine)?;
    let streamed = 0x77 << 40;
    let [one, two, three, lone] = [streamed + 1, streamed + 2, streamed + 3, streamed + 4];
    let put = |kind, payload: &[u8]| append(&journal, kind, 0, payload);
    put(RecordKind::Noop, &[])?;
    put(RecordKind::Begin, &u64::to_le_bytes(one))?;
    put(RecordKind::Begin, &u64::to_le_bytes(two))?;
    put(RecordKind::Part, &part(one, b"streamed-1"))?;
    put(RecordKind::Part, &part(two, b"aborted"))?;
    put(RecordKind::Part, &part(one, b"streamed-2"))?;
    put(RecordKind::Part, &part(lone, b"orphan"))?;
    put(RecordKind::Abort, &u64::to_le_bytes(two))?;
    let log_time_ms = machine.env().clock.wall_ms();
    put(RecordKind::Commit, &numbers(&[one, version + 1, log_time_ms], &2_u32.to_le_bytes()))?;
    append(&journal, RecordKind::Txns, version + 2, &entry(lone + 1, b"by-hand"))?;
    put(RecordKind::Barrier, &[7; 16])?;
    put(RecordKind::Membership, &[1, 2, 3])?;
    put(RecordKind::Feature, &1_u32.to_le_bytes())?;
    let position = journal.durable().position + 1;
    let lsn = journal.durable().lsn;
    let loss = [position, position, lsn, lsn + 8, version + 3];
    put(RecordKind::Loss, &numbers(&loss, b"accepted by a test"))?;
    append(&journal, RecordKind::Txns, version + 3, &entry(lone + 2, b"behind-a-loss"))?;
    put(RecordKind::Begin, &u64::to_le_bytes(three))?;
    put(RecordKind::Part, &part(three, b"incomplete"))?;
    journal.close().map_err(|error| Failure::Config(error.to_string()))?;
    Ok(version + 3)
}

fn append(
    journal: &LocalJournal,
    kind: RecordKind,
    version: u64,
    bytes: &[u8],
) -> Result<(), Failure> {
    let log_time_ms = if kind == RecordKind::Txns { BEGIN_WALL_MS * 2 } else { 0 };
    let entry = Entry { kind, version, log_time_ms, bytes };
    let ticket = journal.append(entry).map_err(|error| Failure::Config(error.to_string()))?;
    match journal.wait(ticket) {
        Outcome::Durable => Ok(()),
        other => Err(Failure::Config(format!("a record of kind {kind:?} became {other:?}"))),
    }
}

fn open_journal(machine: &Machine) -> Result<LocalJournal, Failure> {
    let env = machine.env();
    let candidate = Identity::generate(&*env.random, identity::ENGINE_MEMORY);
    let store =
        StoreLayer { dir: DIR.into(), create: false, engines: vec![candidate.engine], candidate };
    let seen = examine(&store, &*env.disk, &*env.clock)?;
    let who = seen.trusted.identity().cloned();
    let who = who.ok_or_else(|| Failure::Config("a store without an identity".to_owned()))?;
    let layout = Layout::new(Path::new(DIR), 0);
    let meta = MetaLayer { layout: layout.clone(), store_id: who.store_id };
    let seen = examine(&meta, &*env.disk, &*env.clock)?;
    let (meta, _) = perform(&meta, seen, &*env.disk, &*env.clock)?;
    let layer = JournalLayer {
        layout,
        store_id: who.store_id,
        node: who.node,
        meta,
        replay_from: 1,
        depth: Depth::Start,
        config: WriterConfig { segment_bytes: SEGMENT_BYTES },
        env: env.clone(),
    };
    // Segments below the older checkpoint were given back: replay begins where the oldest does.
    let seen = examine(&layer, &*env.disk, &*env.clock)?;
    let (recovered, _) = perform(&layer, seen, &(), &*env.clock)?;
    let options = LocalOptions { background: false, ..LocalOptions::default() };
    LocalJournal::start(recovered, options, Arc::new(Nobody))
}

/// Numbers, little-endian, and what follows them.
fn numbers(numbers: &[u64], rest: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend_from_slice(rest);
    bytes
}

/// One operation in the raw keyspace, as docs/format.md has it.
fn operation(key: &[u8]) -> Vec<u8> {
    let value = b"by hand";
    let len = |bytes: &[u8]| u8::try_from(bytes.len()).expect("short enough for one byte");
    let keyspace = crate::store::KEYSPACES.to_le_bytes();
    let [low, high] = keyspace;
    [&[1, low, high, len(key), len(value)], key, value].concat()
}

fn part(txn_id: u64, key: &[u8]) -> Vec<u8> {
    [&txn_id.to_le_bytes(), &[1][..], &operation(key)].concat()
}

fn entry(txn_id: u64, key: &[u8]) -> Vec<u8> {
    let inner = [&txn_id.to_le_bytes(), &[0, 1][..], &operation(key)].concat();
    let len = u32::try_from(inner.len()).expect("a short entry");
    [&len.to_le_bytes(), &inner[..]].concat()
}
