//! Request identities: the results of each producer's last requests, so that a retry after an
//! unknown outcome has one effect.
//!
//! A result is written by the transaction that has the effect, so both are there or neither. Kept
//! are the last 1,024 results of a producer and all of the last 24 hours; what is older is trimmed
//! by the producer's own requests and by the tick. Above 16 Mi results in all, or a share of the
//! state's bytes, what is beyond the last 1,024 of anybody goes, and then the oldest of all.
//! Invariant: what was trimmed lies below its producer's floor and is answered *unknown*, never
//! run. A producer that was silent for 7 days (24 hours, when there are very many) is forgotten,
//! floor included; then the era stands for it (forget.rs).

pub(crate) mod chunk;
pub(crate) mod forget;
pub(crate) mod kept;
pub(crate) mod recovery;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet};

use rekindle_database::{KeyspaceId, Transaction};
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Kind};
use crate::exec::{Answer, Core, Stop};
use crate::identity::Identity;
use crate::keys::producer::{self as key, RESULTS};
use chunk::{Chunk, Floor};
use table::{ProducerTable, Trim};

/// Old chunks that go for each new one: two, so that a backlog shrinks.
const TRIM: usize = 2;

/// A result that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The transaction that had the effect.
    pub(crate) version: u64,
    /// The answer.
    pub(crate) answer: Vec<u8>,
}

/// A chunk that was read.
#[derive(Debug)]
struct Loaded {
    producer: [u8; 16],
    number: u64,
    chunk: Chunk,
    changed: bool,
    /// There was none yet.
    is_new: bool,
}

/// The results that one transaction looks up and adds.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    keyspace: KeyspaceId,
    table: &'a ProducerTable,
    now_ms: u64,
    /// Few: most requests have one identity.
    chunks: Vec<Loaded>,
    floors: BTreeMap<[u8; 16], Floor>,
    trims: Vec<Trim>,
    /// Whether requests run without a kept result when too many producers are remembered, or when
    /// theirs may have been forgotten.
    lenient: bool,
    /// Producers whose results are not kept.
    unkept: BTreeSet<[u8; 16]>,
}

impl Loaded {
    fn is(&self, producer: [u8; 16], number: u64) -> bool {
        self.number == number && self.producer == producer
    }
}

impl<'a> Session<'a> {
    /// A session of a transaction at this log time.
    pub(crate) fn new(keyspace: KeyspaceId, table: &'a ProducerTable, now_ms: u64) -> Self {
        let (chunks, floors) = (vec![], BTreeMap::new());
        let (trims, unkept) = (vec![], BTreeSet::new());
        Self { keyspace, table, now_ms, chunks, floors, trims, lenient: false, unkept }
    }

    /// The same for requests that are never refused because too many producers are remembered, or
    /// because theirs was forgotten: they run without a kept result. Only for what something else
    /// keeps from a second effect, as a token does.
    pub(crate) fn lenient(self) -> Self {
        Self { lenient: true, ..self }
    }

    /// The result of this request, if it was run before; a refusal when it cannot be told, or when
    /// the identity was used for something else.
    pub(crate) fn find(
        &mut self,
        txn: &mut Transaction,
        identity: Identity,
        fingerprint: u32,
    ) -> Result<Option<Known>, Stop> {
        let Identity { producer, sequence } = identity;
        if sequence == u64::MAX {
            // Where items are counted up, several would end here and be taken for one.
            return Err(Stop::Refused(Error::invalid(
                "the sequence number of an item is above the largest, 2^64 - 2",
            )));
        }
        let (number, offset) = split(sequence);
        if self.loaded(producer, number).is_none() {
            self.load(txn, producer, number)?;
        }
        if self.floors.get(&producer).is_some_and(|floor| sequence < floor.first_kept) {
            return Err(Stop::Refused(Error::new(
                Kind::Unknown,
                format!(
                    "sequence {sequence} of this producer is older than the results that are kept; \
                     whether it was done cannot be told, and it was not done now"
                ),
            )));
        }
        let loaded = self.loaded(producer, number);
        let Some(entry) = loaded.and_then(|loaded| loaded.chunk.find(offset)) else {
            return Ok(None);
        };
        if entry.fingerprint != fingerprint {
            return Err(Stop::Refused(Error::invalid(format!(
                "sequence {sequence} of this producer was used for a different request; give each \
                 request a sequence of its own"
            ))));
        }
        Ok(Some(Known { version: entry.version, answer: entry.answer }))
    }

    /// Adds the result of a request that `find` did not know.
    pub(crate) fn record(&mut self, identity: Identity, fingerprint: u32, answer: &[u8]) {
        if self.unkept.contains(&identity.producer) {
            return;
        }
        let (number, offset) = split(identity.sequence);
        let Identity { producer, .. } = identity;
        let found = self.chunks.iter_mut().find(|loaded| loaded.is(producer, number));
        let loaded = found.expect("`find` looked for it and loaded its chunk");
        loaded.chunk.push(self.now_ms, offset, fingerprint, answer);
        loaded.changed = true;
    }

    /// Runs a part of a request that has a result of its own; a repeated one is answered as before
    /// and not run. A refusal is an answer, which is not kept.
    pub(crate) fn once<T: Recorded>(
        &mut self,
        txn: &mut Transaction,
        identity: Option<(Identity, u32)>,
        run: impl FnOnce(&mut Transaction) -> Result<Result<T, Error>, Stop>,
    ) -> Result<Result<Answer<T>, Error>, Stop> {
        let Some((identity, fingerprint)) = identity else { return Ok(run(txn)?.map(Answer::new)) };
        match self.find(txn, identity, fingerprint) {
            Ok(Some(known)) => {
                let version = Some(known.version);
                return Ok(recall(&known).map(|value| Answer { value, version }));
            }
            Ok(None) => {}
            Err(Stop::Refused(error)) => return Ok(Err(error)),
            Err(failed) => return Err(failed),
        }
        let done = run(txn)?;
        if let Ok(value) = &done {
            self.record(identity, fingerprint, &value.record());
        }
        Ok(done.map(Answer::new))
    }

    fn loaded(&self, producer: [u8; 16], number: u64) -> Option<&Loaded> {
        self.chunks.iter().find(|loaded| loaded.is(producer, number))
    }

    /// Puts what was added into the transaction; the last thing that it writes.
    pub(crate) fn write(self, txn: &mut Transaction) -> Result<(), Stop> {
        for loaded in self.chunks.iter().filter(|loaded| loaded.changed) {
            let key = key::chunk(&loaded.producer, loaded.number);
            txn.put(self.keyspace, &key, loaded.chunk.stored());
        }
        for trim in &self.trims {
            forget::trim(txn, self.keyspace, trim)?;
        }
        Ok(())
    }

    /// Reads a chunk; where there is none yet, the producer's floor, and what may be trimmed.
    fn load(&mut self, txn: &mut Transaction, producer: [u8; 16], number: u64) -> Result<(), Stop> {
        if let Some(row) = txn.get(self.keyspace, &key::chunk(&producer, number))? {
            let chunk = Chunk::parse(&row.bytes, row.version)
                .map_err(|malformed| Stop::Refused(Error::corrupt(malformed.to_string())))?;
            self.chunks.push(Loaded { producer, number, chunk, changed: false, is_new: false });
            return Ok(());
        }
        if let Some(row) = txn.get(self.keyspace, &key::floor(&producer))? {
            let floor = Floor::parse(&row.bytes)
                .map_err(|malformed| Stop::Refused(Error::corrupt(malformed.to_string())))?;
            self.floors.insert(producer, floor);
        } else if forget::may_be_forgotten(txn, self.keyspace, &producer)? {
            if self.lenient {
                self.unkept.insert(producer);
                return Ok(());
            }
            return Err(Stop::Refused(Error::new(Kind::Unknown, forget::FORGOTTEN)));
        }
        if !self.table.has_room_for(&producer) {
            if self.lenient {
                self.unkept.insert(producer);
                return Ok(());
            }
            return Err(Stop::Refused(Error::new(
                Kind::Full,
                "too many producers are remembered; use one producer id for many requests, or none",
            )));
        }
        let new = self.chunks.iter().filter(|it| it.is_new && it.producer == producer).count() + 1;
        self.trims.retain(|trim| trim.producer != producer);
        let trimmable = self.table.trimmable(&producer, self.now_ms, TRIM * new);
        let chunks: Vec<_> = trimmable.into_iter().filter(|old| old.chunk != number).collect();
        if !chunks.is_empty() {
            self.trims.push(Trim { producer, chunks });
        }
        let chunk = Chunk::default();
        self.chunks.push(Loaded { producer, number, chunk, changed: false, is_new: true });
        Ok(())
    }
}

/// The chunk of a sequence, and its place in it.
fn split(sequence: u64) -> (u64, u8) {
    let offset = u8::try_from(sequence % RESULTS).expect("a chunk has fewer than 256 results");
    (sequence / RESULTS, offset)
}

/// Tells requests apart: a hash of what was asked for.
#[derive(Default)]
pub(crate) struct Fingerprint(Xxh3);

impl Fingerprint {
    /// Of a request of this kind.
    pub(crate) fn of(kind: &str) -> Self {
        Self::default().bytes(kind.as_bytes())
    }

    /// Adds a field.
    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        self.0.update(&(field.len() as u64).to_le_bytes());
        self.0.update(field);
        self
    }

    /// Adds a number.
    pub(crate) fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// The hash.
    pub(crate) fn finish(&self) -> u32 {
        let [a, b, c, d, ..] = self.0.digest().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// An answer that can be kept for a repeated request.
pub(crate) trait Recorded: Sized {
    /// The kept bytes.
    fn record(&self) -> Vec<u8>;
    /// The answer in kept bytes.
    fn recall(bytes: &[u8]) -> Option<Self>;
}

/// Runs a request with one result: a repeated one is answered as before and not run.
pub(crate) fn once<T: Recorded>(
    core: &Core,
    txn: &mut Transaction,
    identity: Option<(Identity, u32)>,
    now_ms: u64,
    run: impl FnOnce(&mut Transaction) -> Result<T, Stop>,
) -> Result<Answer<T>, Stop> {
    let mut session = core.session(now_ms);
    let answer = session.once(txn, identity, |txn| run(txn).map(Ok))??;
    session.write(txn)?;
    Ok(answer)
}

/// The answer that was kept.
pub(crate) fn recall<T: Recorded>(known: &Known) -> Result<T, Error> {
    T::recall(&known.answer).ok_or_else(|| Error::corrupt("the kept result of this request"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rekindle_database::{Database, Env, Options};
    use rekindle_env::{ManualClock, SeededRandom, SimulatedDisk};

    use super::*;
    use crate::limits::PRODUCERS_MAX;

    /// Too many producers refuse new work, never what ends work.
    ///
    /// fault: S17
    #[test]
    fn a_full_table_refuses_only_what_brings_work() {
        let env = Env {
            disk: Arc::new(SimulatedDisk::new(1)),
            clock: Arc::new(ManualClock::new(1)),
            random: Arc::new(SeededRandom::new(1)),
        };
        let options = Options { background: false, ..Options::default() };
        let database = Database::open_with("store", options, env).unwrap();
        let keyspace = database.keyspace("producers").unwrap();
        let table = ProducerTable::new(u64::MAX);
        for number in 0..PRODUCERS_MAX as u128 {
            table.floored(number.to_be_bytes(), 1);
        }
        let identity = Identity { producer: [9; 16], sequence: 1 };
        let mut txn = database.begin();
        let refused = Session::new(keyspace, &table, 2).find(&mut txn, identity, 7);
        assert!(matches!(refused, Err(Stop::Refused(error)) if error.kind() == Kind::Full));
        let mut session = Session::new(keyspace, &table, 2).lenient();
        for item in 0..3 {
            assert_eq!(session.find(&mut txn, identity.item(item), 7).unwrap(), None);
            session.record(identity.item(item), 7, &[1]);
        }
        session.write(&mut txn).unwrap();
        txn.commit().unwrap();
        let row = database.begin().get(keyspace, &key::chunk(&[9; 16], 0)).unwrap();
        assert_eq!(row, None, "it ran without a kept result");
        // A producer that is remembered goes on being so.
        let known = Identity { producer: 5_u128.to_be_bytes(), sequence: 1 };
        let mut txn = database.begin();
        let mut session = Session::new(keyspace, &table, 2);
        assert_eq!(session.find(&mut txn, known, 7).unwrap(), None);
        session.record(known, 7, &[1]);
        session.write(&mut txn).unwrap();
        txn.commit().unwrap();
        assert!(database.begin().get(keyspace, &key::chunk(&known.producer, 0)).unwrap().is_some());
    }
}
